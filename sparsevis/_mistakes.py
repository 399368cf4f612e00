"""Common mistakes between two patterns: each changes one pattern as somebody might by mistake, and counts if it becomes the other.

A new mistake is a function here that yields (rule, words) for a side, and a line in `MISTAKES`. In the words, {x} stands for the side
that was changed and {y} for the other, which it became.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from sparsevis.pattern import And, Not, Or, Pattern
from sparsevis.patterns import BlockWindow, Causal, Dilated, Global, SlidingWindow
from sparsevis.readings import negate
from sparsevis.tally import tally

__all__ = ["MISTAKES", "Side", "explain"]


@dataclass(frozen=True)
class Side:
    """One of the two: a pattern, the position of its first query, and its name."""

    pattern: Pattern
    offset: int
    name: str

    def rule(self, q, k, n):
        """The pattern's rule, over rows instead of positions."""
        return self.pattern.allows(q + self.offset, k, n)


def explain(a, b, shape, rows):
    """Return the words of the first mistake that makes one side out of the other, pair by pair, or None."""
    some = np.unique(rows[[0, rows.size // 2, -1]])[:, None]  # most guesses fail on these rows already
    for mistake in MISTAKES:
        for x, y in ((a, b), (b, a)):
            for rule, words in mistake(x, y, shape):
                try:
                    if _agree(rule, y.rule, some, shape[1]) and not _apart(rule, y.rule, shape):
                        return words.format(x=x.name, y=y.name)
                except (ValueError, MemoryError):
                    continue  # the changed pattern does not fit these sizes, or takes too much to judge
    return None


def future_seen(x, y, shape):
    """One of them lacks Causal()."""
    yield _of(x, x.pattern & Causal()), "{x} attends the future, and {y} is {x} & Causal()"


def window_longer(x, y, shape):
    """A window that is one longer, on one side or on both, or counts both sides together where the other counts one."""
    ones = {SlidingWindow: "one key a query", BlockWindow: "one block of keys a query", Dilated: "one slot a query"}

    def longer(leaf):
        left, right = (getattr(leaf, side, None) for side in ("left", "right"))
        if type(leaf) not in ones:
            return
        if left is not None:
            yield replace(leaf, left=left + 1), f"{{y}} has {ones[type(leaf)]} more on the left"
        if right is not None:
            yield replace(leaf, right=right + 1), f"{{y}} has {ones[type(leaf)]} more on the right"
        if left is not None and right is not None:
            yield replace(leaf, left=left + 1, right=right + 1), f"{{y}} has {ones[type(leaf)]} more on each side"
            if left == right > 2:
                half = f"{{y}} has half the window of {{x}}: {left} is the number of one side in {{x}}, of both in {{y}}"
                yield replace(leaf, left=left // 2, right=right // 2), half

    yield from _edited(x, longer)


def aligned_apart(x, y, shape):
    """Top-left against bottom-right."""
    far = shape[1] - shape[0]
    if far and x.offset in (0, far):
        corners = ("top-left", "bottom-right")[:: -1 if x.offset else 1]
        yield _of(x, x.pattern, far - 2 * x.offset), f"{{x}} is aligned {corners[0]}, {{y}} {corners[1]}"


def rows_one_off(x, y, shape):
    """Rows that are one off; both ways, because a table cannot be asked beyond its rows."""
    for step, word in ((1, "later"), (-1, "earlier")):
        yield _of(x, x.pattern, step), f"every query of {{y}} stands one position {word} than in {{x}}"


def dilation_counted(x, y, shape):
    """The sides of a dilated window as slots, or as positions."""

    def by_reach(leaf):
        if isinstance(leaf, Dilated):
            said = f"the sides of the dilated window ({leaf.left}, {leaf.right}) are slots in {{x}}, and positions in {{y}}"
            yield Dilated.by_reach(leaf.left, leaf.right, leaf.dilation), said

    yield from _edited(x, by_reach)


def itself_left_out(x, y, shape):
    """The query itself is a key, or not."""
    yield _of(x, x.pattern | SlidingWindow(0)), "{y} lets every query attend itself, {x} does not"


def one_sided_global(x, y, shape):
    """Rows or columns of global tokens are missing."""

    def halved(leaf):
        if isinstance(leaf, Global) and leaf.rows and leaf.columns:
            yield replace(leaf, rows=False), "{y} lacks the rows of the global tokens: they are attended, and do not attend all"
            yield replace(leaf, columns=False), "{y} lacks the columns of the global tokens: they attend all, and are not attended"

    yield from _edited(x, halved)


def exchanged(x, y, shape):
    """Queries and keys in each other's place."""
    if shape[0] == shape[1] and x.offset == 0:
        yield lambda q, k, n: x.pattern.allows(k, q, n), "{y} is {x} with queries and keys exchanged"


def opposite(x, y, shape):
    """True for what is allowed, or for what is masked."""
    yield _of(x, ~x.pattern), "{y} is the opposite of {x}: in one of them True stands for what is masked"


def number_off(x, y, shape):
    """A number of the pattern that is one more."""

    def more(leaf):
        for f in fields(leaf):
            value = getattr(leaf, f.name)
            if type(value) is int and f.name not in ("seed", "head", "heads"):
                yield f.name, value + 1

    def changed(leaf):
        for name, value in more(leaf):
            try:
                yield replace(leaf, **{name: value}), f"{type(leaf).__name__} has {name}={value - 1} in {{x}} and {name}={value} in {{y}}"
            except ValueError:
                continue

    yield from _edited(x, changed)


def written_otherwise(x, y, shape):
    """The same composition, with other values in one or two of its parts: true by reading, whatever the values."""
    differing = dict.fromkeys(_parallel(x.pattern, y.pattern) or ()) if x.offset == y.offset else ()
    if 1 <= len(differing) <= 2:
        words = [_told(*pair) for pair in differing]
        if all(words):
            yield y.rule, "; ".join(words)


def _told(ours, theirs):
    """What is different in two parts of one kind, in words; None where it is a table, or too long."""
    both = [(f.name, getattr(ours, f.name), getattr(theirs, f.name)) for f in fields(ours)]
    both = [(name, repr(one), repr(other)) for name, one, other in both if one != other]
    if any("<" in text or len(text) > 40 for _, *texts in both for text in texts):
        return None
    here, there = (", ".join(f"{name}={texts[side]}" for name, *texts in both) for side in (0, 1))
    return f"{type(ours).__name__} has {here} in {{x}} and {there} in {{y}}"


MISTAKES = [
    window_longer, aligned_apart, future_seen, itself_left_out, exchanged, rows_one_off, dilation_counted, one_sided_global, opposite,
    number_off, written_otherwise,
]  # fmt: skip


def _of(side, pattern, later=0):
    return Side(pattern, side.offset + later, side.name).rule


def _edited(side, edit):
    """(rule, words) of the side's pattern with one of its parts edited, in every way."""
    for pattern, words in _variants(side.pattern, edit):
        yield _of(side, pattern), words


def _variants(pattern, edit):
    if isinstance(pattern, Not):
        yield from ((Not(new), words) for new, words in _variants(pattern.a, edit))
    elif isinstance(pattern, And | Or):
        yield from ((type(pattern)(new, pattern.b), words) for new, words in _variants(pattern.a, edit))
        yield from ((type(pattern)(pattern.a, new), words) for new, words in _variants(pattern.b, edit))
    else:
        yield from edit(pattern)


def _parallel(a, b):
    """The parts in which two compositions of one form differ, as pairs; None if their forms do."""
    if type(a) is not type(b):
        return None
    if isinstance(a, And | Or | Not):
        below = [_parallel(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)]
        return None if None in below else [pair for pairs in below for pair in pairs]
    return [] if a == b else [(a, b)]


def _agree(rule, other, rows, nk):
    keys = np.arange(nk)
    return all(np.array_equal(*(np.broadcast_to(x(row[:, None], keys, nk), (1, nk)) for x in (rule, other))) for row in rows)


def _apart(rule, other, shape):
    """How many pairs the two rules do not share."""

    def either(q, k, n):
        one, two = rule(q, k, n), other(q, k, n)
        return (one & negate(two)) | (two & negate(one))

    return tally(either, shape, (64, 64)).nnz
