"""What `lint` looks for: each check is one function over a `Case` that yields findings, most often none.

A new check is a function here and a line in `CHECKS`, or in `STACK_CHECKS` if it looks at all heads and layers together.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sparsevis._findings import Finding, numbered, place_of, runs_of
from sparsevis.margins import keys_of_queries, queries_of_keys, sifted, tiles_of_rows
from sparsevis.pattern import And, Not, Or, Pattern
from sparsevis.patterns import BlockWindow, Causal, Chunked, Dilated, Fixed, PrefixLM, Sink, SlidingWindow, Strided
from sparsevis.per_head import PerHead
from sparsevis.receptive_field import receptive_field
from sparsevis.sift import MEMORY_LIMIT

__all__ = ["CHECKS", "STACK_CHECKS", "Case"]


@dataclass(frozen=True)
class Case:
    """What a check is given: a pattern (None for the checks of a stack), the whole stack it stands in, and what the caller said."""

    pattern: Pattern | None
    stack: tuple[tuple[Pattern, ...], ...]  # heads of each layer
    where: str
    nq: int
    nk: int
    offset: int
    causal: bool | None
    layers: int | None
    block: tuple[int, int]
    tax: float
    made: dict = field(default_factory=dict, repr=False)  # tiles by pattern, shared by all cases

    def tiles(self, pattern):
        """The tiles of a pattern at the positions of the case, found once."""
        if pattern not in self.made:
            self.made[pattern] = sifted(pattern.allows, (self.nq, self.nk), self.offset)
        return self.made[pattern]

    @cached_property
    def keys(self):
        """Keys of each query."""
        return keys_of_queries(self.tiles(self.pattern))

    @cached_property
    def readers(self):
        """Queries of each key."""
        return queries_of_keys(self.tiles(self.pattern))

    @cached_property
    def future(self):
        """Keys of each query that lie after it."""
        return keys_of_queries(self.tiles(self.pattern - Causal()))

    @property
    def last(self):
        """The position of the last query."""
        return self.nq - 1 + self.offset


def empty_rows(case):
    """Queries without a key."""
    empty = case.keys == 0
    if empty.any():
        yield Finding(
            "error",
            f"{_share(empty, 'queries')} {_verb(empty, 'has', 'have')} no key: their output is 0 here, and NaN or a mean elsewhere",
            "let every query see itself with | SlidingWindow(0), or leave these queries out",
            runs_of(empty),
        )


def future_leaks(case):
    """Pairs in the future, where a pattern says or suggests that there are none."""
    if case.causal is False:
        return
    future, meant = case.future, [leaf.prefix for leaf, _ in leaves(case.pattern) if isinstance(leaf, PrefixLM)]
    if meant and not case.causal and future.any():
        future = keys_of_queries(case.tiles(case.pattern - PrefixLM(max(meant))))
    leaking, pairs = future > 0, int(future.sum())
    backward = [leaf for leaf, kept in leaves(case.pattern) if kept and _looks_back(leaf)]
    if case.causal:
        severity, why = "error", "causal=True was said"
    elif backward:
        severity, why = "warning", f"{backward[0]!r} looks back only"
    elif pairs < 0.01 * case.keys.sum():
        severity, why = "note", f"all but {100 * pairs / case.keys.sum():.2g} % of the pairs look back"
    else:
        return
    if pairs:
        yield Finding(
            severity,
            f"{why}, but {_share(leaking, 'queries')} {_verb(leaking, 'attends', 'attend')} later keys: "
            f"{pairs:,} pair{'s' * (pairs > 1)} in the future",
            "write Causal() & (...) around the whole, since & binds tighter than |"
            + ("" if case.causal else "; if the future may be seen, say causal=False"),
            runs_of(leaking),
        )


def one_sided_globals(case):
    """Tokens that attend all and are not attended by all, or the other way: the short way through them runs in one direction only."""
    first, end = max(0, case.offset), min(case.nk, case.last + 1)  # of the positions that are queries and keys
    if first >= end:
        return
    causal, (as_rows, as_keys) = not case.future.any(), (slice(first - case.offset, end - case.offset), slice(first, end))
    position, key = np.arange(case.nq) + case.offset, np.arange(case.nk)
    most = (np.clip(position + 1, 0, case.nk), np.clip(case.last + 1 - key, 0, case.nq)) if causal else (case.nk, case.nq)
    attends, attended = case.keys == most[0], case.readers == most[1]
    first_query, last_key = (0, case.nk - 1) if causal else (None, None)  # which attend all and are attended by all in any causal pattern
    attends_far = _stand_out(attends, case.keys, first_query)[as_rows]
    attended_far = _stand_out(attended, case.readers, last_key)[as_keys]
    keys, queries = ("every earlier key", "every later query") if causal else ("every key", "every query")
    for lone, whole, part in (
        (attends_far & ~attended[as_keys], f"attending {keys}", f"not attended by {queries}"),
        (attended_far & ~attends[as_rows], f"attended by {queries}", f"not attending {keys}"),
    ):
        rows = np.zeros(case.nq, bool)
        rows[as_rows] = lone
        if lone.any():
            yield Finding(
                "note",
                f"{_share(rows, 'tokens')}: {whole}, but {part}",
                "Global(tokens) has both sides, which two hops between any two tokens need; leave it if a sink or a summary is meant",
                runs_of(rows),
            )


def windows_beyond(case):
    """Sides of windows, and sizes, that are longer than what there is."""
    everything, farthest = ((0, case.nq - 1),), {"left": case.last, "right": case.nk - 1 - case.offset}
    for leaf in dict.fromkeys(leaf for leaf, _ in leaves(case.pattern)):
        for side, far in farthest.items() if type(leaf) in _UNITS else ():
            unit = getattr(leaf, _UNITS[type(leaf)]) if _UNITS[type(leaf)] else 1
            if getattr(leaf, side) and 0 < far // unit <= getattr(leaf, side):
                yield Finding(
                    "note",
                    f"{leaf!r} reaches {getattr(leaf, side) * unit:,} positions to the {side}, and no key is more than {far:,} away: "
                    "nothing is cut off on that side",
                    f"take a longer text, or a shorter window if it is meant to save work ({side}=None says that all is meant)",
                    everything,
                )
        if type(leaf) in _SIZES and getattr(leaf, _SIZES[type(leaf)]) >= case.nk:
            name = _SIZES[type(leaf)]
            said = f"{leaf!r}: the {name} is not less than the {case.nk:,} keys there are"
            yield Finding("note", said, f"take a longer text or a smaller {name}", everything)


def block_tax(case):
    """Tiles that make a kernel compute much more than is needed."""
    (down, right), many = case.block, max(1, 2048 // max(case.block))
    tries = [(case.block, 1 << 28), ((many * down, many * right), 1 << 28), (case.block, MEMORY_LIMIT)]
    found = sifted(case.pattern.allows, (case.nq, case.nk), case.offset, tries)
    computed = tiles_of_rows(found, case.block) * down * right
    needed = np.add.reduceat(case.keys, np.arange(0, case.nq, down))
    ratio = lambda down, right: int(tiles_of_rows(found, (down, right)).sum()) * down * right / needed.sum()  # noqa: E731
    if computed.sum() <= case.tax * needed.sum():
        return
    smaller = [(down // s, right // s) for s in (2, 4, 8, 16) if down % s == right % s == 0 and min(down, right) // s >= 8]
    enough = next((b for b in smaller if ratio(*b) <= case.tax), None)
    yield Finding(
        "warning",
        f"tiles of {down} x {right} make a kernel compute {computed.sum() / needed.sum():.3g} pairs for one that is needed",
        f"with tiles of {enough[0]} x {enough[1]} it is {ratio(*enough):.3g}" if enough
        else "let the pattern have whole blocks of keys (BlockWindow, RandomBlocks, Global(block=)): they cost a kernel no more",
        runs_of(np.repeat(computed > case.tax * needed, down)[: case.nq]),
    )  # fmt: skip


def unreachable_tokens(case):
    """Keys that a query has not seen after all layers."""
    if case.layers is None or (case.nq, case.offset) != (case.nk, 0):
        return
    patterns = [PerHead(*heads) if len(heads) > 1 else heads[0] for heads in case.stack]
    query = None if case.nq <= 1 << 16 else case.nq - 1  # all of them would take minutes: see `receptive_field`
    field = receptive_field(patterns, case.nq, query, layers=case.layers)
    missed = np.zeros(case.nq, np.int64)
    missed[slice(None) if query is None else query] = field.unreachable
    if not missed.any():
        return
    worst, blind = int(np.argmax(missed)), missed > 0
    said = f"after {case.layers:,} layer{'s' * (case.layers > 1)} "
    said += f"{_share(blind, 'queries')} have not seen all {'earlier ' * field.causal}keys: " if query is None else ""
    said += f"query {worst:,} misses {int(missed[worst]):,} of {worst + 1 if field.causal else case.nk:,}"
    said += ", the most" if query is None else " (the only one followed at this length)"
    said += f"; all distances are multiples of {field.gridding}" if field.gridding > 1 else ""
    fix = (
        "more layers would not change it: add links between the parts, as global tokens do; leave it if they are meant to be apart"
        if field.closed else "take more layers, longer windows or global tokens; the receptive field of each layer is in `receptive_field`"
    )  # fmt: skip
    yield Finding("warning", said, fix, runs_of(blind))


def unread_keys(case):
    """Keys that no query attends, in any head of a layer."""
    if (case.nq, case.offset) != (case.nk, 0):
        return  # some queries of many: the others may read them
    for heads in dict.fromkeys(case.stack):
        unread = sum(queries_of_keys(case.tiles(p)) for p in dict.fromkeys(heads)) == 0
        if unread.any():
            layers = [layer for layer, other in enumerate(case.stack) if other == heads]
            where = f"in {numbered('layer', layers)} " if len(case.stack) > 1 else ""
            yield Finding(
                "warning",
                f"{where}no query attends {_share(unread, 'keys')}: nobody reads what these tokens hold",
                "give every token a reader: a window, or itself with | SlidingWindow(0)",
                runs_of(unread),
                of="keys",
            )


def shared_draws(case):
    """Random links that are the same in several heads or layers, or in all because the seed was left as it is."""
    users = {}
    for layer, heads in enumerate(case.stack):
        for head, pattern in enumerate(heads):
            for leaf in dict.fromkeys(leaf for leaf, _ in leaves(pattern) if hasattr(leaf, "seed")):
                users.setdefault(leaf, []).append((layer, head))
    for leaf, at in users.items():
        if len(at) > 1:
            said = f"{leaf!r} draws the same links in {place_of(at, case.stack)}", "give each its own seed: together they reach more keys"
        elif leaf.seed == type(leaf).seed:
            said = (
                f"{leaf!r}: the seed was left at {leaf.seed}, so every head and layer that is given this pattern draws the same links",
                "say seed=, another for each head and layer (PerHead holds a pattern a head, a list one a layer)",
            )
        else:
            continue
        yield Finding("note", *said, runs_of(keys_of_queries(case.tiles(leaf)) > 0))


CHECKS = {
    "empty rows": empty_rows,
    "future leaks": future_leaks,
    "one-sided globals": one_sided_globals,
    "windows beyond n": windows_beyond,
    "block tax": block_tax,
}
STACK_CHECKS = {"unreachable tokens": unreachable_tokens, "unread keys": unread_keys, "shared draws": shared_draws}

_UNITS = {SlidingWindow: None, BlockWindow: "block", Dilated: "dilation"}  # fields that say what left and right are counted in
_SIZES = {Chunked: "size", Strided: "stride", Fixed: "stride", Sink: "count", PrefixLM: "prefix"}


def leaves(pattern, kept=True):
    """Give (leaf, whether it allows rather than takes away) for every pattern in a composition."""
    if isinstance(pattern, Not):
        yield from leaves(pattern.a, not kept)
    elif isinstance(pattern, And | Or):
        yield from leaves(pattern.a, kept)
        yield from leaves(pattern.b, kept)
    else:
        yield pattern, kept


def _looks_back(leaf):
    return isinstance(leaf, Causal) or (getattr(leaf, "right", None) == 0 and getattr(leaf, "left", 0) != 0)


def _stand_out(full, counts, but=None):
    """Where full entries have twice as many as a neighbour of their run, as rows of global tokens have and ends of a band have not.

    A run that holds the entry `but` does not count.
    """
    out, framed = np.zeros(full.size, bool), np.concatenate([[np.inf], counts, [np.inf]])  # nothing stands out from an edge
    for a, b in runs_of(full):
        ends = (framed[a + 1], framed[a]), (framed[b + 1], framed[b + 2])
        out[a : b + 1] = any(own > 3 and own >= 2 * beside for own, beside in ends) and not (but is not None and a <= but <= b)
    return out


def _share(chosen, what):
    return f"{int(chosen.sum()):,} of {chosen.size:,} {what}"


def _verb(chosen, one, several):
    return one if chosen.sum() == 1 else several
