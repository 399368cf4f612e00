"""Where two patterns part: the pairs only one of them allows, counted exactly at any length, and the common mistake that explains them.

The difference of patterns is a pattern, so it is counted as any other is. A mistake is named only if it makes one pattern out of the
other to the last pair; the mistakes known stand in `_mistakes`.
"""

from dataclasses import dataclass
from html import escape

import numpy as np

from sparsevis import sketch
from sparsevis._findings import listed, runs_of
from sparsevis._mistakes import Side, explain
from sparsevis.margins import cell_counts, keys_of_queries, sifted
from sparsevis.pattern import Pattern, share, sizes
from sparsevis.patterns import Chosen
from sparsevis.readings import negate
from sparsevis.tally import tally

__all__ = ["Difference", "diff"]


@dataclass(frozen=True, eq=False, repr=False)
class Difference:
    """What two patterns do not share. Prints as sentences and a picture, shows as HTML, exports as a dict.

    Attributes
    ----------
    names : (str, str)
        What the two are called.
    shape : (int, int)
        Numbers of queries and keys.
    only_a, only_b, both : int
        Pairs that the first alone, the second alone, and both allow.
    keys_only_a, keys_only_b : int64 array (nq,)
        The first two by query.
    diagnosis : str or None
        The one mistake that explains every pair of the difference, if it is a known one.
    """

    names: tuple[str, str]
    shape: tuple[int, int]
    only_a: int
    only_b: int
    both: int
    keys_only_a: np.ndarray
    keys_only_b: np.ndarray
    diagnosis: str | None
    _rules: tuple = ()

    def __post_init__(self):
        for counts in (self.keys_only_a, self.keys_only_b):
            counts.setflags(write=False)

    def __bool__(self):
        return self.only_a + self.only_b > 0

    @property
    def rows(self):
        """The queries whose keys differ, as an int64 array."""
        return np.flatnonzero(self.keys_only_a + self.keys_only_b)

    @property
    def sentence(self):
        """What differs, in words."""
        a, b = self.names
        if not self:
            return f"{a} and {b} allow the same {self.both:,} pairs"
        counts = f"{self.only_a:,} pair{'s' * (self.only_a != 1)} only in {a}, {self.only_b:,} only in {b}"
        return f"{counts}: {self.diagnosis}" if self.diagnosis else counts

    def keys(self, row):
        """Return the keys of one query that are only in the first, and only in the second, as int64 arrays."""
        if not 0 <= row < self.shape[0]:
            raise ValueError(f"row is {row}, and needs to lie from 0 to {self.shape[0] - 1}")
        return tuple(np.flatnonzero(_row(rule, row, self.shape[1])) for rule in self._rules[:2])

    def counts(self, cells=64):
        """Return (pairs only in the first, only in the second, in both, cell): exact numbers in squares of cell x cell positions.

        At most `cells` squares a side; see `Pattern.counts`.
        """
        found = [cell_counts(rule, self.shape, cells) for rule in self._rules]
        return *(pairs for pairs, _ in found), found[0][1]

    def to_dict(self, first=10):
        """Return plain JSON values, and the keys of the first rows that differ."""
        rows = [{"row": int(row)} | self._keys(row) for row in self.rows[:first]]
        return {
            "names": list(self.names), "shape": list(self.shape), "only_a": self.only_a, "only_b": self.only_b, "both": self.both,
            "sentence": self.sentence, "diagnosis": self.diagnosis,
            "rows": [list(run) for run in self._runs()], "first": rows,
        }  # fmt: skip

    def _keys(self, row):
        only_a, only_b = self.keys(row)
        return {"only_a": only_a.tolist(), "only_b": only_b.tolist()}

    def _runs(self):
        return runs_of(self.keys_only_a + self.keys_only_b > 0)

    def _lines(self, first=4):
        yield self.sentence
        if not self:
            return
        rows = self.rows
        yield f"{self.both:,} pairs in both; {rows.size:,} of {self.shape[0]:,} queries differ: {listed(self._runs())}"
        for row in rows[:first]:
            sides = zip(self.names, self.keys(row), strict=True)
            yield f"query {row:,}: " + "; ".join(f"only in {name} {_listed_keys(keys)}" for name, keys in sides if keys.size)

    def __str__(self):
        *counts, cell = self.counts(32)
        what = f"each cell {cell:,} x {cell:,} pairs: " if cell > 1 else ""
        key = f"{what}aa only in {self.names[0]}, bb only in {self.names[1]}, {'ab of each some, ' * (cell > 1)}██ in both"
        return "\n".join([*self._lines(), key, _picture(*counts[:2], share(counts[2], *self.shape, cell))])

    __repr__ = __str__

    def _repr_html_(self):
        *counts, cell = self.counts(48)
        shares = [share(pairs, *self.shape, cell) for pairs in counts]
        picture = sketch.svg([(INGREDIENTS[x], shares[x]) for x in (2, 0, 1)], title=self.sentence)
        words = "<br>".join(escape(line) for line in self._lines())
        return f'<div style="display:flex;gap:1em;align-items:center">{picture}<div>{words}</div></div>'


INGREDIENTS = ("global", "window", "dense")  # whose colours the pairs only in a, only in b and in both take in pictures


def diff(a, b, n, *, offset=None, names=("a", "b")):
    """Compare two patterns pair by pair, at any length.

    Parameters
    ----------
    a, b : Pattern or boolean array (nq, nk)
        An array is a mask somebody else made; where its rows stand does not matter.
    n : int or (int, int)
        Number of positions, or numbers of queries and keys.
    offset : int, "top-left" or "bottom-right", optional
        As for `Pattern.mask`; a pair, such as ("top-left", "bottom-right"), places the two patterns apart.
    names : (str, str)
        What to call them.

    Returns
    -------
    Difference

    Examples
    --------
    >>> from sparsevis import SlidingWindow
    >>> print(diff(SlidingWindow(2), SlidingWindow(1), 6))
    4 pairs only in a, 0 only in b: a has one key a query more on the left
    11 pairs in both; 4 of 6 queries differ: rows 2-5
    query 2: only in a 0
    query 3: only in a 1
    query 4: only in a 2
    query 5: only in a 3
    aa only in a, bb only in b, ██ in both
    ██··········
    ████········
    aa████······
    ··aa████····
    ····aa████··
    ······aa████
    """
    offsets = offset if isinstance(offset, tuple | list) else (offset, offset)
    (nq, nk), _ = sizes(*(n if isinstance(n, tuple | list) else (n, None)), 0)
    names = tuple(map(str, names))
    if len(names) != 2 or names[0] == names[1] or len(offsets) != 2:
        raise ValueError(f"names is {names} and offset {offset!r}: diff needs two different names, and one offset or two")
    first, second = sides = [_side(p, (nq, nk), at, name) for p, at, name in zip((a, b), offsets, names, strict=True)]
    rules = _without(first.rule, second.rule), _without(second.rule, first.rule), lambda q, k, n: first.rule(q, k, n) & second.rule(q, k, n)
    rows = [keys_of_queries(sifted(rule, (nq, nk))) for rule in rules[:2]]
    only_a, only_b, both = *(int(keys.sum()) for keys in rows), tally(rules[2], (nq, nk), (64, 64)).nnz
    diagnosis = explain(*sides, (nq, nk), np.flatnonzero(rows[0] + rows[1])) if only_a + only_b else None
    return Difference(names, (nq, nk), only_a, only_b, both, *rows, diagnosis, rules)


def _side(given, shape, offset, name):
    """A pattern, or a mask, at its place."""
    if isinstance(given, Pattern):
        return Side(given, sizes(*shape, offset)[1], name)
    mask = np.asarray(given)
    if mask.dtype != bool or mask.ndim != 2:
        raise TypeError(f"diff needs a Pattern or a boolean matrix, not {type(given).__name__}; of a PerHead, take a head: p[0]")
    if mask.shape != shape:
        raise ValueError(f"the mask {name} is {mask.shape[0]} x {mask.shape[1]}, but n says {shape[0]} x {shape[1]}")
    return Side(Chosen.from_mask(mask), 0, name)


def _without(rule, other):
    return lambda q, k, n: rule(q, k, n) & negate(other(q, k, n))


def _row(rule, row, nk):
    return np.broadcast_to(rule(np.array([[row]]), np.arange(nk), nk), (1, nk))[0]


def _listed_keys(keys):
    runs = [(int(run[0]), int(run[-1])) for run in np.split(keys, np.flatnonzero(np.diff(keys) > 1) + 1)]
    return listed(tuple(runs)).removeprefix("rows ").removeprefix("row ")


def _picture(only_a, only_b, both):
    """Two characters a cell: aa, bb, ab, or a shade for the share of pairs in both."""
    words = np.array([["", "bb"], ["aa", "ab"]])[(only_a > 0).astype(int), (only_b > 0).astype(int)]
    lines = sketch.text(both).split("\n") if both.size else []
    return "\n".join("".join(word or line[2 * x : 2 * x + 2] for x, word in enumerate(words[y])) for y, line in enumerate(lines))
