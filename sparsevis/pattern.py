"""A pattern is an immutable rule: which key positions a query position may attend.

It is written once, as `allows`, and has no length, no block and no heads. The mask, the formula, the tiles a kernel walks, the exact
counts and the pictures are readings of that one method. Patterns combine with `&`, `|`, `~` and `-`.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from html import escape
from operator import index
from typing import NamedTuple

import numpy as np

from sparsevis import sketch
from sparsevis.readings import Symbol, negate
from sparsevis.sift import MEMORY_LIMIT, check_memory
from sparsevis.tables import Relation
from sparsevis.tally import squares

__all__ = ["And", "Fits", "Not", "Or", "Pattern", "resolve_offset", "share", "sizes", "whole"]


class Fits(NamedTuple):
    """The sizes a pattern can be used at: from `least` to `most` keys, and for at most so many query positions; None is unbounded."""

    least: int = 0
    most: int | None = None
    queries: int | None = None

    def meet(self, other):
        """Return the sizes that fit both."""
        most, queries = (min([x for x in pair if x is not None], default=None) for pair in zip(self[1:], other[1:], strict=True))
        return Fits(max(self.least, other.least), most, queries)

    def __str__(self):
        return f"{self.least} keys" if self.least == self.most else f"{self.least} to {'any' if self.most is None else self.most} keys"


class Pattern:
    """What every pattern can do; a subclass is a frozen dataclass with `allows` and, for pictures, an `ingredient`."""

    ingredient = "dense"

    def allows(self, q, k, n):
        """Tell whether the query at position `q` may attend the key at position `k` of `n`; operators only."""
        raise NotImplementedError(f"{type(self).__name__} has no rule: define allows(self, q, k, n)")

    def __and__(self, other):
        return And(self, other) if isinstance(other, Pattern) else NotImplemented

    def __or__(self, other):
        return Or(self, other) if isinstance(other, Pattern) else NotImplemented

    def __sub__(self, other):
        return And(self, Not(other)) if isinstance(other, Pattern) else NotImplemented

    def __invert__(self):
        return Not(self)

    def __bool__(self):
        raise TypeError("a pattern is neither true nor false: combine patterns with & | ~ (not `and`, `or`, `not`)")

    @property
    def fits(self):
        """The sizes the pattern can be used at; narrower than everything where it holds a table or names positions."""
        return Fits()

    @property
    def length(self):
        """The only number of keys the pattern fits, as with documents; None where there are more."""
        return self.fits.least if self.fits.least == self.fits.most else None

    def formula(self):
        """Return the rule over query position i, key position j and number of keys n, as text that is code again.

        >>> from sparsevis import Causal, SlidingWindow
        >>> (Causal() & SlidingWindow(3, 1)).formula()
        '(j <= i) & ((i - j <= 3) & (j - i <= 1))'
        """
        return str(self.allows(Symbol("i"), Symbol("j"), Symbol("n")))

    def mask(self, nq, nk=None, offset=None):
        """Return the pairs as a boolean array (nq, nk), True where the query may attend the key.

        Parameters
        ----------
        nq, nk : int
            Numbers of queries and keys; `nk` is `nq` where it is left out.
        offset : int, "top-left" or "bottom-right", optional
            Where query 0 stands: query q has position q + offset. Must be said if `nk` differs from `nq`.

        Raises
        ------
        MemoryError
            If the mask would take more than 4 GiB; count with `counts` or build a `Layout` instead.

        Examples
        --------
        >>> from sparsevis import Causal
        >>> Causal().mask(2, 4, offset="bottom-right").astype(int)
        array([[1, 1, 1, 0],
               [1, 1, 1, 1]])
        """
        (nq, nk), offset = sizes(nq, nk, offset)
        check_memory(nq * nk, MEMORY_LIMIT, f"a mask of {nq:,} x {nk:,} pairs")
        answer = self.allows(np.arange(nq)[:, None] + offset, np.arange(nk), nk)
        return np.array(np.broadcast_to(answer, (nq, nk)))

    def counts(self, nq, nk=None, cells=64, offset=None):
        """Return (pairs, cell): exact numbers of pairs in squares of cell x cell positions, at most `cells` squares a side.

        Works at any length without an n x n array; `cell` is a power of two.

        Examples
        --------
        >>> from sparsevis import Causal
        >>> pairs, cell = Causal().counts(1 << 20, cells=2)
        >>> cell, int(pairs.sum()) == (1 << 20) * ((1 << 20) + 1) // 2
        (524288, True)
        """
        (nq, nk), offset = sizes(nq, nk, offset)
        cell = 1 << (-(-max(nq, nk, 1) // cells) - 1).bit_length()
        return squares(self.allows, (nq, nk), cell, offset), cell

    def parts(self):
        """Return the members of the union this pattern is, in order; a pattern that is no union is its own only part.

        >>> from sparsevis import Causal, Global, SlidingWindow
        >>> [p.ingredient for p in (Causal() & (SlidingWindow(3) | Global([0]))).parts()]
        ['window', 'global']
        """
        return (self,)

    def example_length(self):
        """Return a number of keys at which a small picture shows what the pattern does."""
        shown = min(max(16, 1 << (4 * self._scale() - 1).bit_length()), 1 << 16)
        least, most, _ = self.fits
        return max(least, shown if most is None else min(most, shown))

    def _scale(self):
        """The largest of the pattern's own lengths."""
        weight = {"block": 4, "seed": 0, "tokens": 0, "head": 0, "heads": 0}
        sizes = [weight.get(f.name, 1) * getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), int)]
        return max([1, *sizes])

    def to_dict(self):
        """Return the pattern as plain JSON values; `from_dict` makes it again.

        >>> from sparsevis import SlidingWindow, from_dict
        >>> SlidingWindow(3).to_dict()
        {'pattern': 'SlidingWindow', 'left': 3, 'right': 0}
        >>> from_dict(SlidingWindow(3).to_dict()) == SlidingWindow(3)
        True
        """
        return {"pattern": type(self).__name__} | {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    def __repr__(self):
        shown = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != _default(f)]
        return f"{type(self).__name__}({', '.join(shown)})"

    def describe(self, n=None):
        """Return the pattern as code, its formula, its numbers at n positions, and a picture in characters.

        >>> from sparsevis import SlidingWindow
        >>> print(SlidingWindow(1).describe(4))
        SlidingWindow(left=1)
        (i - j <= 1) & (j - i <= 0)
        at n = 4: 7 of 16 pairs · 43.8 % · 1.8 keys a query
        ██······
        ████····
        ··████··
        ····████
        """
        n = self.example_length() if n is None else n
        nq = self._queries(n)
        pairs, cell = self.counts(nq, n, cells=32, offset=0)
        scale = f", each cell {cell} x {cell} pairs" if cell > 1 else ""
        head = [repr(self), _shorten(self.formula()), f"at n = {n:,}{scale}: {sketch.facts(int(pairs.sum()), nq, n)}"]
        return "\n".join([*head, sketch.text(share(pairs, nq, n, cell))])

    def _queries(self, n):
        """As many queries as keys, or as the pattern's table has."""
        return n if self.fits.queries is None else min(n, self.fits.queries)

    def __str__(self):
        return self.describe()

    def layers(self, n, cells=64):
        """Return (ingredient, share) for each part: the share of every cell that this part is the first to allow."""
        out, seen, nq = [], None, self._queries(n)
        for part in self.parts():
            pairs, cell = (part if seen is None else part - seen).counts(nq, n, cells=cells, offset=0)
            out.append((part.ingredient, share(pairs, nq, n, cell)))
            seen = part if seen is None else seen | part
        return out

    def _repr_html_(self):
        n = self.example_length()
        layers = self.layers(n, cells=48)
        nnz = int(self.counts(self._queries(n), n, offset=0)[0].sum())
        picture = sketch.svg(layers, title=f"{self!r} at n = {n}")
        return (
            f'<div style="display:flex;gap:1em;align-items:center">{picture}<div><code>{escape(repr(self))}</code><br>'
            f"<code>{escape(_shorten(self.formula()))}</code><br>n = {n:,}: {escape(sketch.facts(nnz, self._queries(n), n))}</div></div>"
        )


@dataclass(frozen=True, repr=False)
class And(Pattern):
    """The pairs both patterns allow."""

    a: Pattern
    b: Pattern

    def __post_init__(self):
        _are_patterns(self)

    def allows(self, q, k, n):
        """See `Pattern.allows`."""
        return self.a.allows(q, k, n) & self.b.allows(q, k, n)

    @property
    def fits(self):
        """See `Pattern.fits`."""
        return _fit_both(self.a, self.b)

    @property
    def ingredient(self):
        """That of the more telling of the two."""
        return self.b.ingredient if self.a.ingredient == "dense" else self.a.ingredient

    def parts(self):
        """See `Pattern.parts`: a union below is drawn to the top."""
        if len(self.a.parts()) == len(self.b.parts()) == 1:
            return (self,)
        return tuple(And(a, b) for a in self.a.parts() for b in self.b.parts())

    def _scale(self):
        return max(self.a._scale(), self.b._scale())

    def __repr__(self):
        if isinstance(self.b, Not):
            return f"{_nested(self.a)} - {_nested(self.b.a)}"
        return f"{_nested(self.a)} & {_nested(self.b)}"


@dataclass(frozen=True, repr=False)
class Or(Pattern):
    """The pairs either pattern allows."""

    a: Pattern
    b: Pattern

    def __post_init__(self):
        _are_patterns(self)

    def allows(self, q, k, n):
        """See `Pattern.allows`."""
        return self.a.allows(q, k, n) | self.b.allows(q, k, n)

    @property
    def fits(self):
        """See `Pattern.fits`."""
        return _fit_both(self.a, self.b)

    @property
    def ingredient(self):
        """That of the first part."""
        return self.a.ingredient

    def parts(self):
        """See `Pattern.parts`."""
        return self.a.parts() + self.b.parts()

    def _scale(self):
        return max(self.a._scale(), self.b._scale())

    def __repr__(self):
        left = repr(self.a) if isinstance(self.a, Or) else _nested(self.a)
        return f"{left} | {_nested(self.b)}"


@dataclass(frozen=True, repr=False)
class Not(Pattern):
    """The pairs the pattern does not allow."""

    a: Pattern

    def __post_init__(self):
        _are_patterns(self)

    def allows(self, q, k, n):
        """See `Pattern.allows`."""
        return negate(self.a.allows(q, k, n))

    @property
    def fits(self):
        """See `Pattern.fits`."""
        return self.a.fits

    def _scale(self):
        return self.a._scale()

    def __repr__(self):
        return f"~{_nested(self.a)}"


def resolve_offset(nq, nk, offset):
    """Return the position of query 0 as an int: `offset` itself, 0 for "top-left", nk - nq for "bottom-right"."""
    if offset is None:
        if nq != nk:
            raise ValueError(f'{nq} queries over {nk} keys: say offset="top-left", offset="bottom-right" or a number')
        return 0
    if isinstance(offset, str):
        if offset not in ("top-left", "bottom-right"):
            raise ValueError(f'offset={offset!r}: needs "top-left", "bottom-right" or a whole number')
        return nk - nq if offset == "bottom-right" else 0
    return index(offset)


def whole(pattern, name, low, high=None, none=False):
    """Check that a field is a whole number from `low` to `high` (or None, if `none`), and store it as a plain int."""
    value = getattr(pattern, name)
    high = None if isinstance(high, Symbol) else high
    if isinstance(value, Symbol) or (none and value is None):
        return
    allowed = f"a whole number {'>= ' + str(low) if high is None else f'from {low} to {high}'}{' or None' if none else ''}"
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{type(pattern).__name__}: {name} is {value!r}, and needs {allowed}") from None
    if isinstance(value, bool | np.bool_) or number < low or (high is not None and number > high):
        raise ValueError(f"{type(pattern).__name__}: {name} is {value!r}, and needs {allowed}")
    object.__setattr__(pattern, name, number)


def sizes(nq, nk, offset):
    """Return ((nq, nk), offset) as plain ints, nk being nq where it is None, or raise."""
    nq, nk = index(nq), index(nq if nk is None else nk)
    if nq < 0 or nk < 0:
        raise ValueError(f"{nq} queries over {nk} keys: lengths cannot be negative")
    return (nq, nk), resolve_offset(nq, nk, offset)


def _fit_both(a, b):
    both = a.fits.meet(b.fits)
    if both.most is not None and both.least > both.most:
        raise ValueError(f"{a!r} is for {a.fits} and {b!r} for {b.fits}: they cannot be combined")
    return both


def _are_patterns(composition):
    for f in fields(composition):
        if not isinstance(getattr(composition, f.name), Pattern):
            raise TypeError(f"{type(composition).__name__}: {f.name} is {getattr(composition, f.name)!r}, and needs to be a Pattern")


def share(pairs, nq, nk, cell):
    """Return counts of cells as shares of all pairs in each; those at the edges are smaller."""
    height = np.minimum(cell, nq - cell * np.arange(pairs.shape[0]))
    width = np.minimum(cell, nk - cell * np.arange(pairs.shape[1]))
    return pairs / np.outer(height, width)


def _nested(pattern):
    return f"({pattern!r})" if isinstance(pattern, And | Or) else repr(pattern)


def _default(field):
    return field.default if field.default is not MISSING else field


def _shorten(text, limit=300):
    return text if len(text) <= limit else text[: limit - 4] + " ..."


def _plain(value):
    if isinstance(value, Pattern):
        return value.to_dict()
    if isinstance(value, Relation):
        return {"columns": value.columns, "rows": value.lists()}
    return list(value) if isinstance(value, tuple) else value
