"""What a rule may be fed: intervals against all the positions they hold, symbols against Python's own evaluation."""

import itertools
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsevis.readings import Interval, Symbol, Verdict, at, extent, negate
from sparsevis.tables import Relation, Steps

COMPARE = [operator.le, operator.lt, operator.ge, operator.gt, operator.eq, operator.ne]
UNARY = {
    "itself": lambda x: x,
    "plus": lambda x: x + 3,
    "plus in front": lambda x: 3 + x,
    "minus": lambda x: x - 4,
    "taken off": lambda x: 5 - x,
    "times": lambda x: x * 3,
    "times less": lambda x: x * -2,
    "times in front": lambda x: 2 * x,
    "times nothing": lambda x: x * 0,
    "divided": lambda x: x // 3,
    "rest": lambda x: x % 4,
    "rest of one": lambda x: x % 1,
    "size": lambda x: abs(x - 3),
    "rest of the block": lambda x: (x // 2) % 3,
    "block of the rest": lambda x: (x % 7) // 2,
    "size of the rest": lambda x: abs(x % 5 - 2) * 2,
}
RANGES = [(a, b) for a in range(-6, 8) for b in range(a, min(a + 12, 9))]


def tiles():
    """All the ranges at once, as one Interval of arrays."""
    lo, hi = np.array(RANGES).T
    return Interval(lo, hi)


@pytest.mark.parametrize("name", UNARY)
def test_interval_arithmetic_holds_every_value(name):
    f = UNARY[name]
    got = f(tiles())
    for (a, b), lo, hi in zip(RANGES, got.lo, got.hi, strict=True):
        values = [f(x) for x in range(a, b + 1)]
        assert lo <= min(values)
        assert max(values) <= hi, (a, b)


@pytest.mark.parametrize("name", ["itself", "plus", "taken off", "times", "times less", "divided", "size"])
def test_interval_arithmetic_is_tight_where_it_can_be(name):
    got = UNARY[name](tiles())
    for (a, b), lo, hi in zip(RANGES, got.lo, got.hi, strict=True):
        values = [UNARY[name](x) for x in range(a, b + 1)]
        assert (lo, hi) == (min(values), max(values))


def test_rest_of_a_range_within_one_group_is_tight():
    got = Interval(np.array([3, 4, 8, 5]), np.array([5, 7, 11, 6])) % 4
    assert got.lo.tolist() == [0, 0, 0, 1]
    assert got.hi.tolist() == [3, 3, 3, 2]
    assert ((Interval(np.array([5]), np.array([6])) % 4).lo, (Interval(np.array([5]), np.array([6])) % 4).hi) == (1, 2)


@pytest.mark.parametrize("compare", COMPARE)
def test_comparisons_of_two_ranges(compare):
    ranges = [(a, b) for a, b in RANGES if -2 <= a and b <= 4]
    pairs = list(itertools.product(ranges, ranges))
    x, y = (Interval(*np.array([p[side] for p in pairs]).T) for side in (0, 1))
    verdict = compare(x, y)
    for (p, q), some, every in zip(pairs, verdict.some, verdict.every, strict=True):
        answers = {compare(a, b) for a in range(p[0], p[1] + 1) for b in range(q[0], q[1] + 1)}
        assert (some, every) == (True in answers, answers == {True}), (p, q)


@pytest.mark.parametrize("compare", COMPARE)
def test_comparisons_with_a_number(compare):
    """From both sides, with Python's numbers and NumPy's, which must not loop over the interval."""
    for number in (-3, 0, 2, np.int64(2)):
        for left in (False, True):
            verdict = compare(number, tiles()) if left else compare(tiles(), number)
            for (a, b), some, every in zip(RANGES, verdict.some, verdict.every, strict=True):
                answers = {compare(number, x) if left else compare(x, number) for x in range(a, b + 1)}
                assert (some, every) == (True in answers, answers == {True})


def test_difference_of_two_ranges():
    got = Interval(np.array([2]), np.array([5])) - Interval(np.array([1]), np.array([3]))
    assert (got.lo, got.hi) == (-1, 4)
    both = Interval(np.array([2]), np.array([5])) + Interval(np.array([1]), np.array([3]))
    assert (both.lo, both.hi) == (3, 8)


def test_numpy_numbers_on_the_left():
    x = Interval(np.array([1]), np.array([4]))
    for got, want in [(np.int64(9) - x, (5, 8)), (np.int64(2) * x, (2, 8)), (np.int64(2) + x, (3, 6))]:
        assert isinstance(got, Interval)
        assert (got.lo, got.hi) == want
    moved = np.array([10, 20]) - x                                   # one number a tile: not an array of intervals
    assert isinstance(moved, Interval)
    assert (moved.lo.tolist(), moved.hi.tolist()) == ([6, 16], [9, 19])
    assert isinstance(np.array([1, 9]) <= x, Verdict)


def test_verdicts():
    kinds = {"empty": (False, False), "open": (True, False), "full": (True, True)}
    a, b = (Verdict(*np.array(x).T) for x in zip(*itertools.product(kinds.values(), kinds.values()), strict=True))
    both, either, no = a & b, a | b, ~a
    for i, (x, y) in enumerate(itertools.product(kinds, kinds)):
        name = lambda v, i=i: {pair: name for name, pair in kinds.items()}[bool(v.some[i]), bool(v.every[i])]
        assert name(both) == ("empty" if "empty" in (x, y) else "full" if x == y == "full" else "open")
        assert name(either) == ("full" if "full" in (x, y) else "empty" if x == y == "empty" else "open")
        assert name(no) == {"empty": "full", "full": "empty", "open": "open"}[x]


@pytest.mark.parametrize(
    "misuse",
    [
        lambda x: bool(x),
        lambda x: 0 <= x < 3,
        lambda x: x < 3 and x > 1,
        lambda x: not x == 2,
        lambda x: 5 if x > 2 else 6,
        lambda x: bool(x == 2),
        lambda x: hash(x),
    ],
)
def test_python_logic_is_refused(misuse):
    for x in (Symbol("i"), tiles()):
        with pytest.raises(TypeError):
            misuse(x)


@pytest.mark.parametrize("size", [0, -2, Interval(np.array([1]), np.array([2]))])
def test_division_needs_a_positive_number(size):
    for divide in (operator.floordiv, operator.mod):
        with pytest.raises(TypeError, match="positive number"):
            divide(tiles(), size)


def test_two_unknowns_cannot_be_multiplied():
    with pytest.raises(TypeError):
        tiles() * tiles()


# ---------------------------------------------------------------- marks


@pytest.mark.parametrize("rule", [
    lambda i, j: i - j <= 2,
    lambda i, j: (i - j) % 3 == 0,
    lambda i, j: (i // 2 - j // 3) % 2 == 1,
    lambda i, j: abs(i // 3 - j) < 4,
    lambda i, j: abs(i % 5 - 2) * 3 >= j % 4,
    lambda i, j: (2 * i + j * -3 + 7) // 4 == 1,
    lambda i, j: 6 - i % 4 > j // 5 * 2,
    lambda i, j: (i < 5) | ((i - j) % 4 == 0) & ~(j >= 9),
    lambda i, j: ~((i // 4 == j // 4) | (j % 6 >= 4)) & (i != j),
    lambda i, j: ((i % 2 == 0) & (j < 6)) | ((i % 2 == 1) & (j >= 6)),
])  # fmt: skip
@pytest.mark.parametrize("side", [(1, 1), (2, 3), (4, 4), (5, 2)])
def test_equal_marks_mean_equal_tiles(rule, side):
    """Any two undecided tiles of one size with equal marks hold the very same pairs, and none of them has marks of zeros alone."""
    n = 26
    r, c = (x.ravel() for x in np.mgrid[0 : n - side[0], 0 : n - side[1]])
    told = rule(Interval.marked(r, r + side[0] - 1), Interval.marked(c, c + side[1] - 1))
    exact = rule(r[:, None, None] + np.arange(side[0])[:, None], c[:, None, None] + np.arange(side[1]))
    exact = np.broadcast_to(exact, (r.size, *side))
    assert (told.some >= exact.any((1, 2))).all()
    assert (told.every <= exact.all((1, 2))).all()
    marks = np.stack([np.broadcast_to(m, r.shape) for m in told.marks])
    seen = {}
    for x in np.flatnonzero(told.some & ~told.every):
        key = tuple(marks[:, x].tolist())
        assert any(key)
        assert seen.setdefault(key, exact[x].tobytes()) == exact[x].tobytes()
    assert not marks[:, ~told.some | told.every].any()


def test_a_stride_has_as_many_marks_as_residues():
    r, c = (x.ravel() for x in np.mgrid[0:40, 0:40])
    told = (Interval.marked(r * 4, r * 4 + 3) - Interval.marked(c * 4, c * 4 + 3)) % 6 == 0
    assert len({m.tobytes() for m in np.stack(told.marks, 1)}) <= 2 * 6 * 6      # not one for each block diagonal times place


def test_no_marks_unless_asked_for():
    x = tiles()
    assert (((x // 2) % 3 == 1) & (abs(x) < 2) | ~(x > 1)).marks is None


# ---------------------------------------------------------------- symbols


@given(st.data())
def test_a_formula_is_its_rule(data):
    """Build an expression of symbols, and the same of arrays, by the same choices; the printed text evaluates to the arrays."""
    i, j, n = np.arange(7)[:, None], np.arange(9), 9
    names = {"i": i, "j": j, "n": n}

    def number(depth):
        kind = data.draw(st.sampled_from(["name", "number", *["sum", "rest", "size"] * (depth > 0)]))
        if kind == "name":
            name = data.draw(st.sampled_from(sorted(names)))
            return Symbol(name), names[name]
        if kind == "number":
            x = data.draw(st.integers(-5, 9))
            return x, x
        if kind == "sum":
            op = data.draw(st.sampled_from([operator.add, operator.sub, operator.mul]))
            (a, x), (b, y) = number(depth - 1), number(depth - 1)
            return op(a, b), op(x, y)
        a, x = number(depth - 1)
        if kind == "size":
            return abs(a), abs(x)
        op, size = data.draw(st.sampled_from([operator.floordiv, operator.mod])), data.draw(st.integers(1, 6))
        return op(a, size), op(x, size)

    def answer(depth):
        kind = data.draw(st.sampled_from(["compare", *["and", "or", "not"] * (depth > 0)]))
        if kind == "compare":
            (a, x), (b, y) = number(2), number(2)
            op = data.draw(st.sampled_from(COMPARE))
            return op(a + Symbol("i"), b), op(x + i, y)
        (a, x), (b, y) = answer(depth - 1), answer(depth - 1)
        return {"and": (a & b, x & y), "or": (a | b, x | y), "not": (~a, ~x)}[kind]

    symbol, want = answer(3)
    got = eval(str(symbol), {"abs": abs}, names)  # the text is made here, of whole numbers and operators
    assert (np.broadcast_to(got, (7, 9)) == np.broadcast_to(want, (7, 9))).all(), str(symbol)


def test_formulas_need_no_more_parentheses_than_python():
    i, j = Symbol("i"), Symbol("j")
    assert str((i - j <= 2) & (j <= i)) == "(i - j <= 2) & (j <= i)"
    assert str(i - (j - 3)) == "i - (j - 3)"
    assert str(2 - i) == "2 - i"
    assert str((i + j) % 4 // 2) == "(i + j) % 4 // 2"
    assert str(~(i == j)) == "~(i == j)"
    assert str(abs(i - j) < -1) == "abs(i - j) < -1"
    assert str(at(Steps([1]), i) == at(Steps([1]), j)) == "step[i] == step[j]"
    assert str(at(Relation(1, 1, [], "table"), i // 2, j)) == "table[i // 2, j]"


def test_not_of_plain_bools():
    assert negate(True) is False
    assert negate(False) is True
    assert not negate(np.bool_(True))
    assert negate(np.array([True, False])).tolist() == [False, True]
    assert str(negate(Symbol("i") == 1)) == "~(i == 1)"


def test_extent():
    assert extent(4) == 5
    assert extent(np.array([[3], [7]])) == 8
    assert extent(np.array([], int)) == 0
    assert extent(Interval(np.array([0, 5]), np.array([4, 11]))) == 12
    assert extent(Interval(np.array([], int), np.array([], int))) == 0
    assert extent(Symbol("i")) == 0
    assert extent(-3) == 0
