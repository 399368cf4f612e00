"""What a rule `allows(q, k, n)` may be fed; what comes out is a reading of the rule.

    ints            a bool
    index arrays    a boolean mask
    Interval        a Verdict for each of many tiles at once: may the rule hold somewhere in it, does it hold everywhere
    Symbol          the formula, as Python syntax

A rule is written with `& | ~`, comparisons, `+ - * // %`, `abs` and `at(table, position)`, and works for all of them. The
interval reading is *sound* and may be loose: it can call a tile "perhaps", never empty or full when it is not.
"""

import ast

import numpy as np

__all__ = ["Interval", "Symbol", "Verdict", "at", "extent", "high", "low", "negate"]


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
        return Interval(self.lo + low(other), self.hi + high(other), _sum(self, other, 1), self.rest + _rest(other))

    def __sub__(self, other):
        return Interval(self.lo - high(other), self.hi - low(other), _sum(self, other, -1), self.rest + _rest(other))

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
        return Verdict(self.lo <= high(other), self.hi <= low(other), _difference(self, other))

    def __lt__(self, other):
        return Verdict(self.lo < high(other), self.hi < low(other), _difference(self, other))

    def __ge__(self, other):
        return ~(self < other)

    def __gt__(self, other):
        return ~(self <= other)

    def __eq__(self, other):
        lo, hi = low(other), high(other)
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


def at(table, *index):
    """Look a position (or a pair) up in a table (see `sparsevis.tables`), whatever the reading."""
    if isinstance(index[0], Symbol):
        place, name = index[0].node if len(index) == 1 else ast.Tuple([x.node for x in index]), ast.Name(table.name)
        name.table = table  # for whoever prints the formula as code that is to run
        return Symbol(ast.Subscript(name, place))
    return table.read(*index)


def negate(answer):
    """`~` for every reading; plain bools need `not`, because ~True is -2, which is true."""
    return not answer if isinstance(answer, bool) else ~answer


def extent(position):
    """One past the largest position in a reading; 0 for none, and for a symbol."""
    return 0 if isinstance(position, Symbol) else int(np.max(high(position), initial=-1)) + 1


def low(x):
    """Return the smallest position of each range; of anything else, itself."""
    return x.lo if isinstance(x, Interval) else x


def high(x):
    """Return the largest position of each range; of anything else, itself."""
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


def _node(x):
    if not isinstance(x, Symbol):
        return ast.Constant(int(x)) if x >= 0 else ast.UnaryOp(ast.USub(), ast.Constant(-int(x)))
    return x.node


def _positive(size):
    if isinstance(size, Reading) or not size > 0:
        raise TypeError(f"// and % need a positive number on their right, not {size!r}")
