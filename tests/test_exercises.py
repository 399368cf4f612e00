"""Checks of exercises: what counts as right, where a wrong answer is said to part, and how that is shown."""

import re
import subprocess
import sys

import numpy as np
import pytest

import sparsevis as sv
from sparsevis import exercises
from sparsevis.exercises import NotYet, check

PICTURE = """
    █···
    ██··
    ·██·
    ··██"""


def refused(*args, **options):
    with pytest.raises(NotYet) as caught:
        check(*args, **options)
    return str(caught.value)


@pytest.mark.parametrize(("answer", "expected", "at"), [
    (sv.SlidingWindow(1), PICTURE, None),
    (sv.SlidingWindow(1).mask(4), PICTURE, None),
    (sv.SlidingWindow(1).mask(4).astype(int).tolist(), PICTURE, None),
    (lambda i, j: i - 1 <= j <= i, PICTURE, None),
    (lambda i, j: i - 1 <= j <= i, sv.SlidingWindow(1), 9),
    (sv.Causal() & sv.SlidingWindow(3, 3), sv.SlidingWindow(3), None),
    (sv.SlidingWindow(1), sv.SlidingWindow(1).mask(7), None),
    (sv.PerHead(sv.Causal(), sv.Dense()), sv.PerHead(sv.Causal(), sv.Dense()), None),
    (sv.SlidingWindow(4095), sv.mistral(4096), [1 << 16]),
    (10, 10, None), (10.0, 10, None), (np.int64(10), np.float32(10), None), (0.1 + 0.2, 0.3, None),
    ([0.5, np.nan], np.array([0.5, np.nan]), None), (np.eye(3, dtype=int), np.eye(3), None),
    ({3, 4}, {4, 3}, None), ([4, 3], {3, 4}, None), (np.array([3, 4]), {3, 4}, None), (set(), set(), None),
    (True, True, None), (" Window", "window", None),
    ({"a": 1, "b": {2}}, {"a": 1, "b": {2}}, None),
    (lambda n: n * n, lambda n: sv.cost(sv.Dense(), n).nnz, [1, 7, 300]),
    (lambda n, w: n * w - w * (w - 1) // 2, lambda n, w: sv.cost(sv.mistral(w), n).nnz, [(8, 3), (100, 17)]),
    (lambda n: sv.Causal(), lambda n: np.tri(n, dtype=bool), [3, 8]),
])  # fmt: skip
def test_right(answer, expected, at, capsys):
    assert check(answer, expected, at) is None
    out = capsys.readouterr().out
    assert out.startswith("Right: ")
    assert out.count("\n") == 1


@pytest.mark.parametrize("answer", [..., None, [..., 3], {"a": ..., "b": 1}])
@pytest.mark.parametrize("expected", [3, sv.Causal(), {1, 2}, "word", True, np.eye(2), {"a": 1, "b": 1}, lambda n: n])
def test_no_answer_yet(answer, expected):
    assert "There is no answer: write yours where the ... stands" in refused(answer, expected)


def test_functions_that_are_not_written():
    def stub(n): ...

    def raising(n):
        raise NotImplementedError

    for function in (stub, raising, lambda n: ...):
        assert "returns None" in refused(function, lambda n: n, at=[3])
    assert "returns None" in refused(lambda i, j: None, sv.Causal(), at=4)
    class Stub(sv.Pattern):
        def allows(self, q, k, n): ...

    assert "Stub.allows returns None" in refused(Stub(), sv.Causal(), at=4)
    with pytest.raises(ZeroDivisionError):
        check(lambda n: n / 0, lambda n: n, at=[3])


@pytest.mark.parametrize(("answer", "expected", "words"), [
    (sv.SlidingWindow(2), PICTURE, ["2 of 4 queries differ; the first is query 2: it should not attend key 0."]),
    (sv.SlidingWindow(2), sv.SlidingWindow(1), ["At length 24, 22 of 24 queries", "Over all queries: yours has one key a query more"]),
    (sv.SlidingWindow(0), PICTURE, ["3 of 4 queries", "query 1: it should also attend key 0."]),
    (sv.SlidingWindow(0, 1), PICTURE, ["query 0: it should not attend key 1."]),
    (np.eye(4, k=-1, dtype=bool), PICTURE, ["query 0: it should also attend key 0."]),
    (sv.Global([23]), sv.Global([-1]), ["At length 25, 25 of 25 queries", "should not attend key 23 and should also attend key 24"]),
    (np.ones((3, 4), bool), PICTURE, ["needs the shape (4, 4)", "(3, 4)"]),
    (np.full((4, 4), 0.5), PICTURE, ["True and False", "float64"]),
    (3, PICTURE, ["pattern or a mask is asked for", "an int"]),
    (sv.Causal(), sv.PerHead(sv.Causal(), sv.Dense()), ["one pattern for each of 2 heads"]),
    (sv.PerHead(sv.Causal()), sv.PerHead(sv.Causal(), sv.Dense()), ["2 heads are asked for, and yours has 1"]),
    (sv.PerHead(sv.Causal(), sv.Causal()), sv.PerHead(sv.Causal(), sv.Dense()), ["Head 1: ", "query 0"]),
    (9, 10, ["9 is too small by one"]), (11, 10, ["11 is too large by one"]), (20, 10, ["20 is too large: 2 times"]),
    (-3, 10, ["-3 is too small."]), (float("nan"), 10, ["not a number"]), (0.31, 0.3, ["too large: 1.03 times"]),
    ("ten", 10, ["Numbers are asked for", "a str"]), ([1, 2], 10, ["one number is asked for", "shape (2,)"]),
    ([1.0, 2.0, 3.5], np.array([1.0, 2.0, 3.0]), ["first difference is at [2]", "3.5"]),
    (np.ones((2, 3)), np.array([[1.0, 1, 1], [1, 2, 1]]), ["1 of 2 rows differ", "[1, 1]"]),
    ({1, 2}, {2, 3, 4}, ["position 1 should not be there; 2 missing"]), (3, {3}, ["set of positions", "an int"]),
    (True, False, ["True is not it"]), (1, True, ["True or False is asked for", "an int"]), ("a", "b", ["'a' is not it"]),
    ({"a": 1}, {"a": 1, "b": 2}, ["'a', 'b'"]), ({"a": 1, "b": 3}, {"a": 1, "b": 2}, ["b: 3 is too large by one"]),
])  # fmt: skip
def test_wrong(answer, expected, words, capsys):
    said = refused(answer, expected)
    assert said.startswith("Not yet. ")
    assert [w for w in words if w not in said] == []
    assert capsys.readouterr().out == ""


def test_a_call_that_is_wrong_is_named():
    def pairs(n, window):
        return n * window

    assert "pairs(8, 3): 24 is too large" in refused(pairs, lambda n, w: sv.cost(sv.mistral(w), n).nnz, at=[(8, 1), (8, 3)])
    assert "your function(array" in refused(lambda x: 0, lambda x: x.sum(), at=[np.arange(3)])
    assert "A function is asked for" in refused(3, lambda n: n, at=[3])


def test_a_wrong_number_does_not_tell_the_right_one():
    assert "1234" not in refused(7, 1234)


def test_the_row_is_drawn_with_its_differences_marked():
    lines = refused(sv.SlidingWindow(2, 1), PICTURE).splitlines()[-3:]
    assert lines == ["             ↓", "  yours     ██··", "  expected  █···"]


def test_a_long_row_is_cut_around_the_first_difference():
    row = refused(sv.SlidingWindow(300), sv.SlidingWindow(301), at=2000)
    assert "of keys 0 to 63" in row
    assert len(max(row.splitlines()[2:], key=len)) <= 12 + 64
    far = refused(sv.Global([900], rows=False), sv.Global([901], rows=False), at=1000)
    assert "of keys 884 to 947" in far


def test_svg_tells_extra_and_missing_pairs_apart():
    rows = exercises.Row(np.array([True, True, False, False]), np.array([True, False, True, False]), "query", 1)
    svg = rows._repr_html_()
    fills = re.findall(r'<rect [^>]*rx="([\d.]+)" fill="(#\w+)"( fill-opacity)?', svg)
    assert len(fills) == 8
    solid = [(radius, hue) for radius, hue, faint in fills if not faint]
    assert len(solid) == 4  # two allowed pairs a row
    assert len(set(solid)) == 3  # in both, only in yours, only expected: by colour and, for the last, by shape
    assert "query 1" in svg


def test_notebooks_show_the_words_and_not_the_traceback():
    with pytest.raises(NotYet) as caught:
        check(sv.SlidingWindow(2), PICTURE)
    assert caught.value._render_traceback_() == [caught.value.words]
    assert "↓" not in caught.value.words
    assert isinstance(caught.value, AssertionError)


def test_an_error_in_an_answer_is_shown_where_it_is():
    def broken(n):
        return n / 0

    with pytest.raises(ZeroDivisionError) as caught:
        check(broken, lambda n: n, at=[3])
    shown = [entry.name for entry in caught.traceback.filter(caught)]
    assert shown == ["test_an_error_in_an_answer_is_shown_where_it_is", "broken"]


def test_checks_that_make_no_sense():
    with pytest.raises(ValueError, match="needs at="):
        check(lambda n: n, lambda n: n)
    with pytest.raises(ValueError, match="lengths of patterns or arguments"):
        check(3, 3, at=[1])
    with pytest.raises(TypeError, match="cannot compare with an object"):
        check(3, object())


def test_answers_are_left_as_they_are():
    mask = np.tri(6, dtype=int)
    kept = mask.copy()
    check(mask, sv.Causal(), at=6)
    assert (mask == kept).all()
    assert mask.flags.writeable


def test_matplotlib_and_ipython_are_not_needed():
    loaded = "print(*({'matplotlib', 'numba', 'IPython'} & set(sys.modules)))"
    code = f"import sys, sparsevis as sv; sv.check(sv.Causal(), sv.Causal()); {loaded}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Right: 325 pairs, each as expected.\n\n"
