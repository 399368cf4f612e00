"""What a rule `allows(q, k, n)` may be fed; what comes out is a reading of the rule.

    ints            a bool
    index arrays    a boolean mask
    Interval        a Verdict for each of many tiles at once: may the rule hold somewhere in it, does it hold everywhere
    Symbol          the formula, as Python syntax

A rule is written with `& | ~`, comparisons, `+ - * // %`, `abs` and `at(table, position)`, and works for all of them. The
interval reading is *sound* and may be loose: it can call a tile "perhaps", never empty or full when it is not.
"""

import ast
from itertools import product

import numpy as np

__all__ = ["Interval", "Relation", "Steps", "Symbol", "Verdict", "at", "extent", "negate"]


class Reading:
    """What all symbolic readings have in common: no truth value, and NumPy leaves their operators alone."""

    __array_ufunc__ = None  # ndarray - Interval must reach Interval.__rsub__, not loop over the array
    __hash__ = None

    def __bool__(self):
        raise TypeError("a rule is asked about many positions at once: write & | ~ for and, or, not; no if, no a < b < c")


class Verdict(Reading):
    """What is known of a rule over each tile: `some` (it may hold somewhere) and `every` (it holds everywhere).

    `marks` tells tiles apart: two tiles of one size whose marks are equal hold the very same pairs. None where not asked for.
    """

    def __init__(self, some, every, marks=None):
        self.some, self.every = np.asarray(some), np.asarray(every)
        self.marks = None if marks is None else _where_open(self, marks)

    def __and__(self, other):
        return Verdict(self.some & other.some, self.every & other.every, _both(self.marks, other.marks))

    def __or__(self, other):
        return Verdict(self.some | other.some, self.every | other.every, _both(self.marks, other.marks))

    def __invert__(self):
        return Verdict(~self.every, ~self.some, self.marks)


class Interval(Reading):
    """Ranges `lo .. hi` of positions, both ends included: arrays with one entry a tile.

    Inside a tile the value is `base` plus something that depends on `rest` alone; so two tiles of one size with equal `base` and
    `rest` read alike, and `i - j` of all tiles on one block diagonal is decided once.
    """

    def __init__(self, lo, hi, base=None, rest=()):
        self.lo, self.hi, self.base, self.rest = lo, hi, base, rest

    @classmethod
    def marked(cls, lo, hi):
        """The same ranges, keeping track of what tells tiles apart."""
        return cls(lo, hi, lo)

    def _like(self, lo, hi, base, rest=None):
        if self.base is None:
            return Interval(lo, hi)
        return Interval(lo, hi, base(self.base), self.rest if rest is None else rest)

    def __add__(self, other):
        return Interval(self.lo + _low(other), self.hi + _high(other), _sum(self, other, 1), self.rest + _rest(other))

    def __sub__(self, other):
        return Interval(self.lo - _high(other), self.hi - _low(other), _sum(self, other, -1), self.rest + _rest(other))

    def __rsub__(self, number):
        return self * -1 + number

    def __mul__(self, number):
        ends = self.lo * number, self.hi * number
        return self._like(np.minimum(*ends), np.maximum(*ends), lambda base: base * number)

    def __floordiv__(self, size):
        _positive(size)
        rest = () if self.base is None else (self.base % size, *self.rest)
        return self._like(self.lo // size, self.hi // size, lambda base: base // size, rest)

    def __mod__(self, size):
        _positive(size)
        wraps = self.lo // size != self.hi // size
        lo, hi = np.where(wraps, 0, self.lo % size), np.where(wraps, size - 1, self.hi % size)
        rest = () if self.base is None else (self.base % size, *self.rest)
        return self._like(lo, hi, lambda base: 0 * base, rest)

    def __abs__(self):
        near, far = np.minimum(abs(self.lo), abs(self.hi)), np.maximum(abs(self.lo), abs(self.hi))
        rest = () if self.base is None else (self.base, *self.rest)
        return self._like(np.where((self.lo <= 0) & (self.hi >= 0), 0, near), far, lambda base: 0 * base, rest)

    def __le__(self, other):
        return Verdict(self.lo <= _high(other), self.hi <= _low(other), _difference(self, other))

    def __lt__(self, other):
        return Verdict(self.lo < _high(other), self.hi < _low(other), _difference(self, other))

    def __ge__(self, other):
        return ~(self < other)

    def __gt__(self, other):
        return ~(self <= other)

    def __eq__(self, other):
        lo, hi = _low(other), _high(other)
        every = (self.lo == hi) & (self.hi == lo)
        return Verdict((self.lo <= hi) & (self.hi >= lo), every, _difference(self, other))

    def __ne__(self, other):
        return ~(self == other)

    __radd__, __rmul__ = __add__, __mul__


class Symbol(Reading):
    """A name or an expression; operators build Python syntax, so that the formula is code again.

    >>> i, j = Symbol("i"), Symbol("j")
    >>> print((i - j <= 2) & (j <= i))
    (i - j <= 2) & (j <= i)
    """

    def __init__(self, node):
        self.node = ast.Name(node) if isinstance(node, str) else node

    def __str__(self):
        return ast.unparse(self.node)

    def __abs__(self):
        return Symbol(ast.Call(ast.Name("abs"), [self.node], []))

    def __invert__(self):
        return Symbol(ast.UnaryOp(ast.Invert(), self.node))


def _operator(op, swap=False):
    def combine(a, b):
        a, b = (b, a) if swap else (a, b)
        return Symbol(ast.BinOp(_node(a), op(), _node(b)))

    return combine


def _comparison(op):
    return lambda a, b: Symbol(ast.Compare(_node(a), [op()], [_node(b)]))


_OPERATORS = {"add": ast.Add, "sub": ast.Sub, "mul": ast.Mult, "floordiv": ast.FloorDiv, "mod": ast.Mod, "and": ast.BitAnd, "or": ast.BitOr}
_COMPARISONS = {"le": ast.LtE, "lt": ast.Lt, "ge": ast.GtE, "gt": ast.Gt, "eq": ast.Eq, "ne": ast.NotEq}
for _name, _op in _OPERATORS.items():
    setattr(Symbol, f"__{_name}__", _operator(_op))
    setattr(Symbol, f"__r{_name}__", _operator(_op, swap=True))
for _name, _op in _COMPARISONS.items():
    setattr(Symbol, f"__{_name}__", _comparison(_op))


class Steps:
    """A staircase: position x stands on step `at(steps, x)`; step s is `lengths[s]` positions wide."""

    def __init__(self, lengths, name="step"):
        self.ends, self.name = np.cumsum(lengths, dtype=np.int64), name

    def value(self, x):
        """The step of each position."""
        return np.searchsorted(self.ends, x, side="right")

    def read(self, x):
        """`at` for every reading but the symbol."""
        if isinstance(x, Interval):
            rest = () if x.base is None else (x.base, *x.rest)
            return x._like(self.value(x.lo), self.value(x.hi), lambda base: 0 * base, rest)
        step = self.value(x)
        return int(step) if np.ndim(x) == 0 else step


class Relation:
    """A set of pairs (row, column), compared by value; what `at` looks up where a rule is a table.

    Stored as sorted codes `row * columns + column`: memory grows with the pairs, never with rows x columns.
    """

    def __init__(self, rows, columns, codes, name="table"):
        self.rows, self.columns, self.name = int(rows), int(columns), name
        self.codes = np.unique(np.asarray(codes, np.int64))
        self.codes.setflags(write=False)
        self._coarse = {}

    @classmethod
    def of(cls, mask, name="table"):
        """The pairs that are True in a boolean matrix."""
        return cls(*mask.shape, np.flatnonzero(mask), name)

    def __eq__(self, other):
        if not isinstance(other, Relation):
            return NotImplemented
        return (self.rows, self.columns) == (other.rows, other.columns) and np.array_equal(self.codes, other.codes)

    def __hash__(self):
        return hash((self.rows, self.columns, self.codes.tobytes()))

    def __repr__(self):
        return f"<{self.rows} x {self.columns} table, {self.codes.size} pairs>"

    def lists(self):
        """The columns of each row, as lists."""
        cuts = np.searchsorted(self.codes, np.arange(1, self.rows) * self.columns)
        return [part.tolist() for part in np.split(self.codes % max(1, self.columns), cuts)]

    def read(self, i, j):
        """`at` for every reading but the symbol."""
        self._check(i, j)
        if isinstance(i, Interval):
            return self._verdict(i, j)
        i, j = np.asarray(i, np.int64), np.asarray(j, np.int64)
        if i.ndim > 1 and i.shape[-1] == 1 and j.shape[-1] > 1 and (np.diff(j, axis=-1) == 1).all():
            return self._rectangles(i[..., 0], j[..., 0, :] if j.ndim > 1 else j)
        return self._member(i, j)

    def _check(self, i, j):
        for what, x, size in (("row", i, self.rows), ("column", j, self.columns)):
            if np.size(_low(x)) and (np.min(_low(x)) < 0 or np.max(_high(x)) >= size):
                raise ValueError(f"position {int(np.max(_high(x)))} is outside the table: it has {size} {what}s (0 to {size - 1})")

    def _member(self, i, j):
        code = i * self.columns + j
        if not self.codes.size:
            return np.zeros(code.shape, bool)[()]
        found = self.codes[np.minimum(np.searchsorted(self.codes, code), self.codes.size - 1)] == code
        return bool(found) if found.ndim == 0 else found

    def _rectangles(self, i, j):
        """The same where columns run on by one: two searches a row instead of one a pair (at 64 columns a tile, 20 times faster)."""
        width = j.shape[-1]
        start = i * self.columns + j[..., :1]
        lo, hi = np.searchsorted(self.codes, start), np.searchsorted(self.codes, start + width)
        out = np.zeros((*lo.shape, width), bool).reshape(-1, width)
        lo, count = lo.ravel(), (hi - lo).ravel()
        row = np.repeat(np.arange(lo.size), count)
        entry = np.arange(row.size) - np.repeat(np.cumsum(count) - count, count) + lo[row]
        out[row, self.codes[entry] - start.ravel()[row]] = True
        return out.reshape(*start.shape, width)

    def _verdict(self, i, j):
        """Cover each rectangle with at most 2 x 2 aligned squares of a power of two and ask how many pairs those hold."""
        a, b = (int(np.max(x.hi - x.lo, initial=0)).bit_length() for x in (i, j))
        held, area = 0, 0
        for row, column in product(_covering(i, a), _covering(j, b)):
            (r, again_r), (c, again_c) = row, column
            once = ~(again_r | again_c)
            held = held + once * self._count(r, c, a, b)
            area = area + once * (np.minimum((r + 1) << a, self.rows) - (r << a)) * (np.minimum((c + 1) << b, self.columns) - (c << b))
        return Verdict(held > 0, held == area, None if i.base is None else (1, i.base, j.base, *i.rest, *j.rest))

    def _count(self, r, c, a, b):
        if (a, b) not in self._coarse:
            rows, columns = np.divmod(self.codes, max(1, self.columns))
            self._coarse[a, b] = np.unique((rows >> a) * self.columns + (columns >> b), return_counts=True)
        codes, counts = self._coarse[a, b]
        if not codes.size:
            return np.zeros(np.broadcast(r, c).shape, np.int64)
        code = r * self.columns + c
        place = np.minimum(np.searchsorted(codes, code), codes.size - 1)
        return np.where(codes[place] == code, counts[place], 0)


def at(table, *index):
    """Look a position (or a pair) up in a `Steps` or a `Relation`, whatever the reading."""
    if isinstance(index[0], Symbol):
        place = index[0].node if len(index) == 1 else ast.Tuple([x.node for x in index])
        return Symbol(ast.Subscript(ast.Name(table.name), place))
    return table.read(*index)


def negate(answer):
    """`~` for every reading; plain bools need `not`, because ~True is -2, which is true."""
    return not answer if isinstance(answer, bool) else ~answer


def extent(position):
    """One past the largest position in a reading; 0 for none, and for a symbol."""
    return 0 if isinstance(position, Symbol) else int(np.max(_high(position), initial=-1)) + 1


def _low(x):
    return x.lo if isinstance(x, Interval) else x


def _high(x):
    return x.hi if isinstance(x, Interval) else x


def _rest(x):
    return x.rest if isinstance(x, Interval) else ()


def _sum(a, b, sign):
    if a.base is None:
        return None
    return a.base + sign * (b.base if isinstance(b, Interval) else b)


def _difference(a, b):
    """What tells tiles apart in a comparison: the difference of the two sides, and what they hang on besides."""
    return None if a.base is None else (1, _sum(a, b, -1), *a.rest, *_rest(b))


def _both(a, b):
    return None if a is None or b is None else a + b


def _where_open(verdict, marks):
    """Marks count only where the tile is undecided, 0 elsewhere; every comparison's first mark is a 1 that says which."""
    open_ = verdict.some & ~verdict.every
    return tuple(np.where(open_, mark, 0) for mark in marks)


def _covering(x, power):
    first, last = x.lo >> power, x.hi >> power
    return (first, np.zeros(np.shape(first), bool)), (last, last == first)


def _node(x):
    if not isinstance(x, Symbol):
        return ast.Constant(int(x)) if x >= 0 else ast.UnaryOp(ast.USub(), ast.Constant(-int(x)))
    return x.node


def _positive(size):
    if isinstance(size, Reading) or not size > 0:
        raise TypeError(f"// and % need a positive number on their right, not {size!r}")
