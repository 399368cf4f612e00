"""Automatic checks for exercises: is an answer right, and if not, where does it first go wrong?

An answer may be a pattern, a mask, an array, a number, a set of positions, a word, or a function that computes one of them. What is
expected is never typed out as an answer if it can be computed, counted or drawn. A wrong answer raises `NotYet`, an AssertionError: in a
notebook it reads as a sentence under a drawing of the first row that differs; under pytest it fails the test with the same words.
"""

from collections.abc import Mapping, Set
from inspect import isfunction
from itertools import product
from numbers import Integral, Number

import numpy as np

from sparsevis._first_row import Numbers, Row, show
from sparsevis.diff import diff
from sparsevis.pattern import Pattern
from sparsevis.per_head import PerHead

__all__ = ["NotYet", "check"]

LENGTHS = (24, 25)  # where two patterns are compared: the second tells the last position from position 23
_ON, _OFF = "█#1", "·.0"


class NotYet(AssertionError):
    """An answer that is missing or wrong.

    Attributes
    ----------
    words : str
        What differs, in a sentence.
    rows : object or None
        The first row that differs, yours over the expected one; prints as text, shows as SVG.
    """

    def __init__(self, words, rows=None):
        super().__init__(words if rows is None else f"{words}\n{rows}")
        self.words, self.rows = words, rows

    def _render_traceback_(self):  # what IPython shows instead of a traceback: the way into this file helps nobody
        return [self.words]


def check(answer, expected, at=None, *, tolerance=1e-6):
    """Check an answer: print one line if it is right, else draw where it first differs, say so in words, and raise.

    Parameters
    ----------
    answer : object
        The learner's. `...`, None, and a function that returns None or raises NotImplementedError are not answers yet.
    expected : object
        What it is held against, which also says what is compared:

        * a Pattern, a boolean matrix, or a picture (lines of ``█`` and ``·``): who attends whom. The answer is a Pattern, a mask, or a
          function of (query, key) that says whether the pair is allowed;
        * a PerHead: the same, head by head;
        * a set: positions in any order;
        * a number, an array, a str, a bool: the value;
        * a dict: each of its values;
        * a function: what it returns. The answer is a function, too.
    at : int, or sequence, optional
        For patterns, the lengths at which they are compared, 24 and 25 if left out; for functions, the arguments of each call, a tuple
        where there are several.
    tolerance : float
        Relative deviation allowed of numbers that are not whole, for arrays of the largest magnitude expected.

    Raises
    ------
    NotYet
        If there is no answer, or it is wrong.
    TypeError, ValueError
        If the check itself makes no sense.

    Examples
    --------
    >>> import sparsevis as sv
    >>> check(sv.SlidingWindow(1), '''
    ...     █···
    ...     ██··
    ...     ·██·
    ...     ··██''')
    Right: 7 pairs, each as expected.
    >>> check(lambda query, key: query - 2 <= key <= query, sv.SlidingWindow(1), at=8)
    Traceback (most recent call last):
    sparsevis.exercises.NotYet: Not yet. At length 8, 6 of 8 queries differ; the first is query 2: it should not attend key 0.
    Over all queries: yours has one key a query more on the left.
                ↓
      yours     ███·····
      expected  ·██·····
    >>> check(lambda n: n * n, lambda n: sv.cost(sv.Dense(), n).nnz, at=[1, 7, 1000])
    Right: 3 calls, each as expected.
    """
    __tracebackhide__ = True  # an error in the learner's function is shown where it is, not on the way to it
    try:
        said = _compared(answer, expected, at, tolerance, "")
    except NotYet as wrong:
        show(wrong.rows)
        raise wrong from None
    print(f"Right: {said}.")


def _compared(answer, expected, at, tolerance, where):
    """What was found right, in words."""
    __tracebackhide__ = True
    if _missing(answer):
        raise NotYet(f"Not yet. {where}There is no answer: write yours where the ... stands, and run that cell.")
    if isfunction(expected):
        return _functions(answer, expected, at, tolerance)
    if isinstance(expected, PerHead):
        return _heads(answer, expected, at, where)
    if _is_pairs(expected):
        return _pairs(answer, expected, at, where)
    if isinstance(expected, Mapping):
        return _entries(answer, expected, at, tolerance, where)
    if at is not None:
        raise ValueError("check: at= says lengths of patterns or arguments of functions, and what is expected is neither")
    if isinstance(expected, Set):
        return _positions(answer, expected, where)
    if isinstance(expected, str | bool | np.bool_):
        return _words(answer, expected, where)
    return _numbers(answer, expected, tolerance, where)


def _missing(answer):
    if isinstance(answer, Mapping):
        return _missing(list(answer.values()))
    return answer is None or answer is ... or (isinstance(answer, list | tuple) and any(x is ... or x is None for x in answer))


def _is_pairs(expected):
    if isinstance(expected, str):
        return set("".join(expected.split())) <= set(_ON + _OFF) and bool(expected.strip())
    return isinstance(expected, Pattern) or (isinstance(expected, np.ndarray) and expected.dtype == bool and expected.ndim == 2)


# ---------------------------------------------------------------- who attends whom


def _pairs(answer, expected, at, where):
    __tracebackhide__ = True
    if isinstance(expected, str):
        expected = np.array([[c in _ON for c in line] for line in expected.split()])
    if isinstance(expected, Pattern):
        shapes = [(n, n) for n in (LENGTHS if at is None else np.atleast_1d(at).tolist())]
    else:
        shapes = [expected.shape]
    found = [_pairs_at(answer, expected, shape, where) for shape in shapes]
    return f"{found[-1]:,} pair{'s' * (found[-1] != 1)}, each as expected"


def _pairs_at(answer, expected, shape, where):
    __tracebackhide__ = True
    name = f"{where}At length {shape[0]:,}, " if isinstance(expected, Pattern) else where
    if isinstance(answer, Pattern):
        given = _written(answer, shape[1])
    else:
        given = _mask(_asked(answer, shape) if callable(answer) else answer, shape, where)
    found = diff(given, expected, shape, names=("yours", "expected"))
    if not found:
        return found.both
    row = int(found.rows[0])
    more, less = (set(x.tolist()) for x in found.keys(row))
    told = [f"should not attend {_listed(more)}"] * bool(more) + [f"should also attend {_listed(less)}"] * bool(less)
    differ = f"{found.rows.size:,} of {shape[0]:,} queries differ; the first is query {row:,}" if shape[0] > 1 else f"query {row} differs"
    words = f"{name}{differ}: it {' and '.join(told)}."
    if found.diagnosis:
        words += f"\nOver all queries: {found.diagnosis}."
    want = expected.mask(*shape)[row] if isinstance(expected, Pattern) else expected[row]
    raise NotYet(f"Not yet. {words[0].upper()}{words[1:]}", Row(want ^ np.isin(np.arange(shape[1]), [*more, *less]), want, "query", row))


def _written(pattern, n):
    """The pattern, if its class has a rule: `allows` may still be a stub."""
    place = np.zeros((1, 1), int)
    if n and pattern.allows(place, place, n) is None:
        raise NotYet(f"Not yet. {type(pattern).__name__}.allows returns None: write its rule where the ... stands, with a return.")
    return pattern


def _asked(rule, shape):
    """The mask of a function of one query and one key."""
    __tracebackhide__ = True
    said = [_called(rule, pair) for pair in product(*map(range, shape))]
    if any(x is None for x in said):
        raise NotYet(f"Not yet. {_name(rule)} returns None: write its answer where the ... stands, with a return, and run that cell.")
    return np.array([bool(x) for x in said]).reshape(shape)


def _mask(answer, shape, where):
    if isinstance(answer, PerHead | Number | str | Mapping | Set):
        raise NotYet(f"Not yet. {where}A pattern or a mask is asked for, and the answer is {_article(answer)}.")
    mask = np.asarray(answer)
    if mask.shape != shape:
        raise NotYet(f"Not yet. {where}The mask needs the shape {shape}, queries down and keys right, and yours has {mask.shape}.")
    if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
        raise NotYet(f"Not yet. {where}A mask holds True and False, and yours holds other values, of dtype {mask.dtype}.")
    return mask.astype(bool)


def _heads(answer, expected, at, where):
    if not isinstance(answer, PerHead):
        raise NotYet(f"Not yet. {where}A PerHead is asked for, one pattern for each of {len(expected.patterns)} heads.")
    if len(answer.patterns) != len(expected.patterns):
        raise NotYet(f"Not yet. {where}{len(expected.patterns)} heads are asked for, and yours has {len(answer.patterns)}.")
    for head, (yours, pattern) in enumerate(zip(answer.patterns, expected.patterns, strict=True)):
        _pairs(yours, pattern, at, f"{where}Head {head}: ")
    return f"{len(expected.patterns)} heads, each as expected"


# ---------------------------------------------------------------- values


def _functions(answer, expected, at, tolerance):
    __tracebackhide__ = True
    if at is None:
        raise ValueError("check needs at=, the arguments to call the functions with: at=[8, 16], or at=[(8, 3), (16, 5)] for two arguments")
    if not callable(answer):
        raise NotYet(f"Not yet. A function is asked for, and the answer is {_article(answer)}.")
    calls = [at] if isinstance(at, Number) else list(at)
    for case in calls:
        arguments = case if isinstance(case, tuple) else (case,)
        where = f"{_name(answer)}({', '.join(_short(x) for x in arguments)}): "
        got = _called(answer, arguments)
        if got is None:
            raise NotYet(f"Not yet. {where}it returns None: write its answer where the ... stands, with a return, and run that cell.")
        _compared(got, expected(*arguments), None, tolerance, where)
    return f"{len(calls)} call{'s' * (len(calls) != 1)}, each as expected"


def _entries(answer, expected, at, tolerance, where):
    __tracebackhide__ = True
    if not isinstance(answer, Mapping) or set(answer) != set(expected):
        raise NotYet(f"Not yet. {where}A dict with the keys {', '.join(map(repr, expected))} is asked for.")
    for key, value in expected.items():
        _compared(answer[key], value, at if _is_pairs(value) or isfunction(value) else None, tolerance, f"{where}{key}: ")
    return f"{len(expected)} answers, each as expected"


def _positions(answer, expected, where):
    if isinstance(answer, Number | str | Mapping | Pattern) or not all(isinstance(x, Integral) for x in answer):
        raise NotYet(f"Not yet. {where}A set of positions is asked for, such as {{3, 4}}, and the answer is {_article(answer)}.")
    got, want = {int(x) for x in answer}, {int(x) for x in expected}
    if got == want:
        return f"{len(want)} position{'s' * (len(want) != 1)}, as expected"
    told = [f"{_listed(got - want)} should not be there"] * bool(got - want) + [f"{len(want - got)} missing"] * bool(want - got)
    n = max(got | want) + 1
    rows = Row(*(np.isin(np.arange(n), [*x]) for x in (got, want)), "position", None) if min(got | want) >= 0 else None
    raise NotYet(f"Not yet. {where}{'; '.join(told)}.".replace("keys", "positions").replace("key", "position"), rows)


def _words(answer, expected, where):
    plain = lambda x: x.strip().casefold() if isinstance(x, str) else x  # noqa: E731
    if isinstance(expected, str) != isinstance(answer, str) or not isinstance(answer, str | bool | np.bool_):
        asked = "A word" if isinstance(expected, str) else "True or False"
        raise NotYet(f"Not yet. {where}{asked} is asked for, and the answer is {_article(answer)}.")
    if plain(answer) != plain(expected):
        raise NotYet(f"Not yet. {where}{answer!r} is not it.")
    return f"{answer!r}"


def _numbers(answer, expected, tolerance, where):
    want = np.asarray(expected)
    if want.dtype.kind not in "biuf":
        raise TypeError(f"check cannot compare with {_article(expected)}: it needs one of those that help(check) lists")
    try:
        got = np.asarray(answer)
        got = got if got.dtype.kind in "biuf" else got.astype(float)
    except (TypeError, ValueError):
        raise NotYet(f"Not yet. {where}Numbers are asked for, and the answer is {_article(answer)}.") from None
    if got.shape != want.shape:
        raise NotYet(f"Not yet. {where}{_shaped(want)} is asked for, and the answer is {_shaped(got)}.")
    if want.dtype.kind in "biu":
        wrong = got != want
    else:
        allowed = tolerance * np.max(np.abs(want), initial=0, where=np.isfinite(want))
        wrong = ~(np.isclose(got, want, rtol=0, atol=allowed, equal_nan=True))
    if not wrong.any():
        return f"{got.item():,}" if want.ndim == 0 else f"{want.size:,} numbers, each as expected"
    if want.ndim == 0:
        raise NotYet(f"Not yet. {where}{_beside(got.item(), want.item())}.")
    place = tuple(int(x) for x in np.argwhere(wrong)[0])
    rows = wrong.any(-1).sum()
    count = f"{rows:,} of {wrong[..., 0].size:,} rows differ; the first difference is" if want.ndim > 1 else "The first difference is"
    which = ", ".join(map(str, place))
    raise NotYet(f"Not yet. {where}{count} at [{which}].", Numbers(got[place[:-1]], want[place[:-1]], place))


def _beside(got, want):
    """How a number misses, without saying the number it should be."""
    if got != got:
        return f"{got} is not a number"
    side = "large" if got > want else "small"
    if isinstance(want, int) and abs(got - want) == 1:
        return f"{got:,} is too {side} by one"
    if want and got / want > 0 and np.isfinite(got):
        return f"{got:,} is too {side}: {got / want:.3g} times what is expected"
    return f"{got:,} is too {side}"


# ---------------------------------------------------------------- words


def _called(function, arguments):
    __tracebackhide__ = True
    try:
        found = function(*arguments)
    except NotImplementedError:
        return None
    return None if found is ... else found


def _listed(keys, most=6):
    keys = sorted(keys)
    listed = ", ".join(f"{j:,}" for j in keys[:most]) + (f" and {len(keys) - most:,} more" if len(keys) > most else "")
    return f"key{'s' * (len(keys) > 1)} {listed}"


def _name(function):
    name = getattr(function, "__name__", "")
    return "your function" if name in ("", "<lambda>") else name


def _short(x):
    return f"{type(x).__name__} {x.shape}" if isinstance(x, np.ndarray) and x.size > 4 else repr(x)


def _article(x):
    name = type(x).__name__
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"


def _shaped(x):
    return "one number" if x.ndim == 0 else f"an array of shape {x.shape}"
