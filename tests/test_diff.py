"""Differences: counts, rows and keys against brute force; mistakes named when they explain all, and only then."""

import json

import numpy as np
import pytest
from pictures import INSTANCES, assert_refused, instance, placed

import sparsevis as sv
from sparsevis._mistakes import MISTAKES
from sparsevis.diff import diff

W, CAUSAL = sv.SlidingWindow, sv.Causal()


@pytest.mark.parametrize("name", INSTANCES)
@pytest.mark.parametrize("n", [7, 70])
def test_counts_are_those_of_the_masks(name, n):
    a, b = instance(name, n), W(4, 1)
    for nq, nk, offset in placed(a, n):
        x, y = a.mask(nq, nk, offset), b.mask(nq, nk, offset)
        d = diff(a, b, (nq, nk), offset=offset)
        assert (d.only_a, d.only_b, d.both) == ((x & ~y).sum(), (y & ~x).sum(), (x & y).sum())
        np.testing.assert_array_equal(d.keys_only_a, (x & ~y).sum(1))
        np.testing.assert_array_equal(d.keys_only_b, (y & ~x).sum(1))
        np.testing.assert_array_equal(d.rows, np.flatnonzero((x != y).any(1)))
        assert bool(d) == (x != y).any()
        for row in (0, nq - 1):
            for keys, mask in zip(d.keys(row), (x & ~y, y & ~x), strict=True):
                np.testing.assert_array_equal(keys, np.flatnonzero(mask[row]))
        *counts, cell = d.counts(9)
        for pairs, mask in zip(counts, (x & ~y, y & ~x, x & y), strict=True):
            high, wide = pairs.shape
            assert (high, wide) == (-(-nq // cell), -(-nk // cell))
            padded = np.pad(mask, ((0, high * cell - nq), (0, wide * cell - nk)))
            np.testing.assert_array_equal(pairs, padded.reshape(high, cell, wide, cell).sum((1, 3)))


@pytest.mark.parametrize("name", INSTANCES)
def test_a_pattern_and_its_mask_are_the_same(name):
    pattern = instance(name, 40)
    d = diff(pattern, pattern.mask(40), 40)
    assert not d
    assert d.sentence == f"a and b allow the same {pattern.mask(40).sum():,} pairs"
    assert (d.diagnosis, d.rows.size, d.both) == (None, 0, pattern.mask(40).sum())


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(("a", "b", "words"), [
    (W(4), W(3), "a has one key a query more on the left"),
    (W(3, 3), W(3, 4), "b has one key a query more on the right"),
    (W(3, 3), W(4, 4), "b has one key a query more on each side"),
    (CAUSAL & (W(4) | sv.Global([0])), CAUSAL & (W(5) | sv.Global([0])), "b has one key a query more on the left"),
    (sv.BlockWindow(4, 1, 0), sv.BlockWindow(4, 2, 0), "b has one block of keys a query more on the left"),
    (sv.Dilated(3, 0, 2), sv.Dilated(2, 0, 2), "a has one slot a query more on the left"),
    (W(2, 2), W(1, 1), "a has one key a query more on each side"),
    (W(8, 8), W(4, 4), "b has half the window of a: 8 is the number of one side in a, of both in b"),
    (W(4, 4), W(9, 9), "a has half the window of b: 9 is the number of one side in b, of both in a"),
    (sv.longformer(8), CAUSAL & sv.longformer(8), "a attends the future, and b is a & Causal()"),
    (CAUSAL & W(3) | sv.Global([0]), CAUSAL & (W(3) | sv.Global([0])), "a attends the future, and b is a & Causal()"),
    (sv.Dilated(6, 6, 3), sv.Dilated.by_reach(6, 6, 3), "the sides of the dilated window (6, 6) are slots in a, and positions in b"),
    (sv.Dilated.by_reach(7, 0, 3), sv.Dilated(7, 0, 3), "the sides of the dilated window (7, 0) are slots in b, and positions in a"),
    (CAUSAL - W(0), CAUSAL, "b lets every query attend itself, a does not"),
    (sv.Strided(3) & CAUSAL, W(2) | sv.Sink(1), None),
    (W(2) | sv.Global([9]), W(2) | sv.Global([9], rows=False),
     "b lacks the rows of the global tokens: they are attended, and do not attend all"),
    (W(2) | sv.Global([9], columns=False), W(2) | sv.Global([9]),
     "a lacks the columns of the global tokens: they attend all, and are not attended"),
    (sv.Strided(4) & W(5, 2), sv.Strided(4) & W(2, 5), "b is a with queries and keys exchanged"),
    (CAUSAL, ~CAUSAL, "b is the opposite of a: in one of them True stands for what is masked"),
    (sv.Chunked(5), sv.Chunked(4), "Chunked has size=4 in b and size=5 in a"),
    (W(3) | sv.Strided(6), W(3) | sv.Strided(7), "Strided has stride=6 in a and stride=7 in b"),
    (W(3) | sv.RandomKeys(2), W(3) | sv.RandomKeys(2, seed=7), "RandomKeys has seed=0 in a and seed=7 in b"),
    (W(9), W(5), "SlidingWindow has left=9 in a and left=5 in b"),
    (W(9) | sv.Sink(3), W(5) | sv.Sink(1), "SlidingWindow has left=9 in a and left=5 in b; Sink has count=3 in a and count=1 in b"),
    (sv.PrefixLM(20), sv.PrefixLM(3), "PrefixLM has prefix=20 in a and prefix=3 in b"),
    (W(9) | sv.Sink(3) | sv.Strided(7), W(5) | sv.Sink(1) | sv.Strided(9), None),
    (sv.longformer(8), sv.bigbird(4), None),
])  # fmt: skip
@pytest.mark.parametrize("masks", ["none", "a", "b"])
def test_mistakes(a, b, words, masks):
    n = 36
    given = a.mask(n) if masks == "a" else a, b.mask(n) if masks == "b" else b
    d = diff(*given, n)
    by_reading = words and (words.startswith("SlidingWindow has") or "seed" in words or "PrefixLM" in words)
    if masks != "none" and by_reading:  # of a mask nothing can be read
        assert d.diagnosis is None
    elif masks == "none" or d.diagnosis is not None:
        assert d.diagnosis == words
    if d.diagnosis:
        assert d.sentence.endswith(f": {d.diagnosis}")


@pytest.mark.parametrize(("ours", "theirs", "words"), [
    ("top-left", "bottom-right", "a is aligned top-left, b bottom-right"),
    ("bottom-right", "top-left", "a is aligned bottom-right, b top-left"),
    (2, 3, "every query of b stands one position later than in a"),
    (3, 2, "every query of b stands one position earlier than in a"),
])  # fmt: skip
@pytest.mark.parametrize("shape", [(9, 20), (20, 9)])
@pytest.mark.parametrize("given", ["pattern", "mask"])
def test_places(ours, theirs, words, shape, given):
    pattern = CAUSAL & W(8)
    if given == "pattern":
        d = diff(pattern, pattern, shape, offset=(ours, theirs))
    else:
        d = diff(pattern, pattern.mask(*shape, theirs), shape, offset=ours)
    assert d.diagnosis == words
    x, y = pattern.mask(*shape, ours), pattern.mask(*shape, theirs)
    assert (d.only_a, d.only_b) == ((x & ~y).sum(), (y & ~x).sum())


def test_corners_are_named_of_corners_alone():
    assert diff(CAUSAL, CAUSAL, (9, 20), offset=(3, 8)).diagnosis is None


def test_a_mistake_but_for_one_pair_is_no_diagnosis():
    """A window one longer explains all but one pair: nothing is said."""
    mask = W(4).mask(50)
    assert diff(W(3), mask, 50).diagnosis == "b has one key a query more on the left"
    mask[30, 45] = True
    assert diff(W(3), mask, 50).diagnosis is None
    mask[30, 45], mask[20, 17] = False, False
    assert diff(W(3), mask, 50).diagnosis is None


def test_a_changed_number_that_does_not_fit_is_passed_over():
    d = diff(sv.RandomKeys(9) | W(3), sv.RandomKeys(9) | W(6), 9)         # ten distinct keys of nine are refused
    assert d.diagnosis is None or "RandomKeys" not in d.diagnosis
    assert diff(sv.Chosen.from_mask(np.tri(5, dtype=bool)), CAUSAL - W(0), 5).diagnosis == "a lets every query attend itself, b does not"


EXAMPLES = {
    "window_longer": (W(4), W(3), {}),
    "aligned_apart": (CAUSAL, CAUSAL, {"n": (5, 9), "offset": ("top-left", "bottom-right")}),
    "future_seen": (W(3, 3), W(3), {}),
    "itself_left_out": (W(3) - W(0), W(3), {}),
    "exchanged": (W(3, 1), W(1, 3), {}),
    "rows_one_off": (W(3, 1), W(3, 1), {"offset": (0, 1)}),
    "dilation_counted": (sv.Dilated(6, 6, 3), sv.Dilated(2, 2, 3), {}),
    "one_sided_global": (sv.Global([3]), sv.Global([3], rows=False), {}),
    "opposite": (sv.Chunked(3), ~sv.Chunked(3), {}),
    "number_off": (sv.Sink(3), sv.Sink(4), {}),
    "written_otherwise": (sv.Sink(3), sv.Sink(9), {}),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.__name__)
def test_each_mistake_is_found_alone_and_nothing_else_by_it(mistake, monkeypatch):
    monkeypatch.setattr("sparsevis._mistakes.MISTAKES", [mistake])
    a, b, more = EXAMPLES[mistake.__name__]
    more = {"n": 30} | more
    assert diff(a, b, **more).diagnosis
    assert diff(b, a, **more | ({"offset": more["offset"][::-1]} if "offset" in more else {})).diagnosis
    strange = np.random.default_rng(3).random((30, 30)) < 0.3
    assert diff(W(3), strange, 30).diagnosis is None


# ---------------------------------------------------------------- the value


def test_printed():
    assert str(diff(W(1), W(0, 1), 5, names=("mine", "theirs"))) == "\n".join([
        "4 pairs only in mine, 4 only in theirs: theirs is mine with queries and keys exchanged",
        "5 pairs in both; 5 of 5 queries differ: rows 0-4",
        "query 0: only in theirs 1",
        "query 1: only in mine 0; only in theirs 2",
        "query 2: only in mine 1; only in theirs 3",
        "query 3: only in mine 2; only in theirs 4",
        "aa only in mine, bb only in theirs, ██ in both",
        "██bb······",
        "aa██bb····",
        "··aa██bb··",
        "····aa██bb",
        "······aa██",
    ])  # fmt: skip


def test_printed_of_many_positions():
    lines = str(diff(W(70), W(0, 70), 1000)).split("\n")
    assert lines[-33].startswith("each cell 32 x 32 pairs: aa only in a, bb only in b, ab of each some")
    assert lines[-32][:10] == "abbbbbbb··"
    assert lines[-31][:12] == "aaabbbbbbb··"
    assert len(lines[-32:]) == 32


def test_keys_are_listed_as_runs():
    other = W(0) | sv.Chosen.from_indices([[5, 6]] + [[]] * 11)
    assert "query 0: only in a 1-4, 7-11" in str(diff(sv.Global([0], columns=False), other, 12))


def test_dicts():
    d = diff(W(2), W(1), 6)
    data = json.loads(json.dumps(d.to_dict(first=2)))
    assert data == {
        "names": ["a", "b"], "shape": [6, 6], "only_a": 4, "only_b": 0, "both": 11, "rows": [[2, 5]],
        "sentence": "4 pairs only in a, 0 only in b: a has one key a query more on the left",
        "diagnosis": "a has one key a query more on the left",
        "first": [{"row": 2, "only_a": [0], "only_b": []}, {"row": 3, "only_a": [1], "only_b": []}],
    }  # fmt: skip


def test_html():
    text = diff(W(2), W(1), 60, names=("<a>", "b"))._repr_html_()
    assert "<svg" in text
    assert "&lt;a&gt;" in text
    assert "<a>" not in text


def test_one_pair():
    d = diff(W(1), W(1) - (sv.Sink(1) & ~W(0)), 2)
    assert d.sentence.startswith("1 pair only in a, 0 only in b")


@pytest.mark.parametrize("n", [0, 1, (0, 4), (4, 0)])
def test_nothing(n):
    d = diff(CAUSAL, sv.Dense(), n, offset=0)
    assert not d
    assert "the same" in str(d)
    assert "svg" in d._repr_html_()


def test_a_million_positions():
    n = 1 << 20
    d = diff(W(4095), W(4096), n)
    assert (d.only_a, d.only_b) == (0, n - 4096)
    assert d.diagnosis == "b has one key a query more on the left"
    assert d.rows[[0, -1]].tolist() == [4096, n - 1]
    assert [keys.tolist() for keys in d.keys(n - 1)] == [[], [n - 1 - 4096]]
    stride = diff(sv.sparse_transformer_strided(128, merged=True), CAUSAL & sv.Strided(128), n)
    assert stride.only_b == 0
    assert stride.only_a == 127 * n - 127 * 128 // 2  # of the window, all but the query itself


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: diff(sv.PerHead(CAUSAL), CAUSAL, 4), TypeError, ["PerHead", "p[0]"]),
    (lambda: diff(CAUSAL, np.eye(4), 4), TypeError, ["boolean matrix"]),
    (lambda: diff(CAUSAL, np.eye(4, dtype=bool), 5), ValueError, ["4 x 4", "5 x 5"]),
    (lambda: diff(CAUSAL, CAUSAL, (4, 5)), ValueError, ["4 queries over 5 keys"]),
    (lambda: diff(CAUSAL, CAUSAL, 4, names=("x", "x")), ValueError, ["two different names"]),
    (lambda: diff(CAUSAL, CAUSAL, 4, names=("x",)), ValueError, ["two different names"]),
    (lambda: diff(CAUSAL, CAUSAL, 4, offset=(1, 2, 3)), ValueError, ["one offset or two"]),
    (lambda: diff(CAUSAL, W(0), 4).keys(4), ValueError, ["row is 4", "0 to 3"]),
])  # fmt: skip
def test_refused(call, error, words):
    assert_refused(call, error, words)
