"""The linter: each check finds the rows that brute force finds, and keeps quiet elsewhere."""

import json

import numpy as np
import pytest
from pictures import INSTANCES, assert_refused, instance

import sparsevis as sv
from sparsevis._checks import CHECKS, STACK_CHECKS
from sparsevis._findings import listed, runs_of
from sparsevis.lint import lint
from sparsevis.sift import sift

BOTH = {"global": sv.Global([0, 30]), "rows": sv.Global([30], columns=False), "columns": sv.Global([30], rows=False)}


def only(findings, name):
    """The one finding of a check."""
    (finding,) = findings[name]
    return finding


def names(findings):
    return sorted({f.name for f in findings})


@pytest.mark.parametrize("name", INSTANCES)
@pytest.mark.parametrize("n", [7, 97])
def test_rows_are_those_of_the_mask(name, n):
    pattern, mask = instance(name, n), instance(name, n).mask(n)
    found = lint(pattern, n, causal=True, block=4)
    i, j = np.mgrid[:n, :n]
    bad = {
        "empty rows": ~mask.any(1),
        "future leaks": (mask & (j > i)).any(1),
        "unread keys": ~mask.any(0),
    }
    for check, rows in bad.items():
        assert bool(found[check]) == rows.any()
        if rows.any():
            np.testing.assert_array_equal(only(found, check).rows, np.flatnonzero(rows))
            assert f"{rows.sum():,} of {n:,}" in only(found, check).sentence
    side = -(-n // 4)
    tiles = np.pad(mask, (0, 4 * side - n)).reshape(side, 4, side, 4).any((1, 3)).sum(1) * 16
    needed = np.add.reduceat(mask.sum(1), np.arange(0, n, 4))
    assert bool(found["block tax"]) == (tiles.sum() > 2 * needed.sum())
    if found["block tax"]:
        np.testing.assert_array_equal(only(found, "block tax").rows, np.flatnonzero(np.repeat(tiles > 2 * needed, 4)[:n]))
        assert f"{tiles.sum() / needed.sum():.3g} pairs for one" in only(found, "block tax").sentence
    if not mask.any():
        assert not found["block tax"]


# ---------------------------------------------------------------- empty rows


def test_empty_rows_of_more_queries_than_keys():
    found = lint(sv.Causal(), (9, 6), offset="bottom-right")
    assert only(found, "empty rows").runs == ((0, 2),)
    assert only(found, "empty rows").severity == "error"
    assert not lint(sv.Causal(), (9, 6), offset="top-left")["empty rows"]


# ---------------------------------------------------------------- the future


def test_the_future_by_precedence():
    """`&` binds tighter than `|`: the global row escapes the mask."""
    found = lint(sv.Causal() & sv.SlidingWindow(3) | sv.Global([20]), 64, block=2)
    leak = only(found, "future leaks")
    assert (leak.severity, leak.runs) == ("warning", ((0, 20),))
    assert "Causal() looks back only" in leak.sentence
    assert f"{43 + 20} pairs in the future" in leak.sentence  # row 20 sees 43 later keys, rows 0 to 19 the key 20
    assert "Causal() & (...)" in leak.fix


@pytest.mark.parametrize(("pattern", "severity"), [
    (sv.SlidingWindow(3) | sv.Sink(2), "warning"),
    (sv.BlockWindow(8, 1, 0), "warning"),                             # its own block is two-sided
    (sv.Dilated(3, 0, 2) | sv.Global([5]), "warning"),
    (sv.SlidingWindow(1000, 1), "note"),                              # j <= i + 1
    (sv.Chosen.from_mask(np.tri(3000, k=0, dtype=bool) | (np.eye(3000, k=1) > 0)), "note"),
    (sv.SlidingWindow(20, 1), None),                                  # one pair of 22 is more than a slip
    (sv.longformer(8), None),
    (sv.Causal() & sv.longformer(8), None),
    (sv.SlidingWindow(3, 3), None),
    (sv.SlidingWindow(0, 3), None),                                   # no window looks back here
    (sv.PrefixLM(5), None),
    (sv.Dense() - sv.Causal(), None),                                 # the future alone, and said so
    (sv.Sink(1) | sv.SlidingWindow(9, 9), None),
])  # fmt: skip
def test_what_claims_to_be_causal(pattern, severity):
    found = lint(pattern, pattern.length or 3000, block=2, tax=1e9)["future leaks"]
    assert [f.severity for f in found] == ([severity] if severity else [])
    assert not lint(pattern, pattern.length or 3000, causal=False, tax=1e9)["future leaks"]


def test_a_prefix_is_no_leak_unless_asked():
    assert not lint(sv.PrefixLM(5) & sv.SlidingWindow(None, 9), 30)["future leaks"]
    assert only(lint(sv.PrefixLM(5) | sv.Global([20]), 3000, tax=1e9), "future leaks").runs == ((0, 20),)  # but the token 20 is one
    assert only(lint(sv.PrefixLM(5), 30, causal=True), "future leaks").runs == ((0, 3),)


def test_the_future_lies_where_the_queries_stand():
    assert only(lint(sv.SlidingWindow(2, 1), (5, 9), causal=True, offset="bottom-right"), "future leaks").runs == ((0, 3),)
    assert only(lint(sv.SlidingWindow(2, 1), (5, 9), causal=True, offset="top-left"), "future leaks").runs == ((0, 4),)


# ---------------------------------------------------------------- global tokens


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", BOTH)
def test_one_sided_globals(kind, causal):
    local = sv.SlidingWindow(2, 2) | BOTH[kind]
    found = lint(local & sv.Causal() if causal else local, 64)["one-sided globals"]
    if kind == "global":
        assert found == ()
    else:
        assert found[0].runs == ((30, 30),)
        said = {"rows": ("attending every", "not attended by every"), "columns": ("attended by every", "not attending every")}[kind]
        assert all(word in found[0].sentence for word in said)
        assert ("earlier key" in found[0].sentence) == causal


@pytest.mark.parametrize("name", ["causal", "prefix", "window left open", "window right open", "streaming", "causal documents", "dense"])
def test_ends_of_bands_are_no_globals(name):
    assert not lint(instance(name, 64), 64)["one-sided globals"]


def test_all_of_three_is_no_claim():
    assert [len(lint(sv.Global([-1], rows=False), n)["one-sided globals"]) for n in (2, 3, 4, 5)] == [0, 0, 1, 1]


def test_keys_that_other_queries_may_read():
    """One step of decoding reads the last keys of a cache; that is no finding."""
    assert not lint(sv.SlidingWindow(5), (1, 64), offset="bottom-right")["unread keys"]


def test_globals_of_a_part_of_the_queries():
    pattern = sv.SlidingWindow(2, 2) | sv.Global([30, 5], rows=False)
    found = lint(pattern, (20, 64), offset=20)
    assert only(found, "one-sided globals").runs == ((10, 10),)  # token 30 is query 10; token 5 is none


# ---------------------------------------------------------------- windows


@pytest.mark.parametrize(("pattern", "n", "count"), [
    (sv.SlidingWindow(62), 64, 0), (sv.SlidingWindow(63), 64, 1), (sv.SlidingWindow(100, 100), 64, 2), (sv.SlidingWindow(None, 5), 64, 0),
    (sv.BlockWindow(8, 7, 1), 64, 1), (sv.BlockWindow(8, 6, 1), 64, 0), (sv.Dilated(21, 0, 3), 64, 1), (sv.Dilated(20, 0, 3), 64, 0),
    (sv.Chunked(64), 64, 1), (sv.Chunked(63), 64, 0), (sv.Strided(64), 64, 1), (sv.Fixed(70, 2), 64, 1), (sv.Sink(64), 64, 1),
    (sv.PrefixLM(80), 64, 1), (sv.SlidingWindow(0), 1, 0), (sv.SlidingWindow(5), 1, 0),
])  # fmt: skip
def test_windows_beyond_n(pattern, n, count):
    found = lint(pattern, n)["windows beyond n"]
    assert len(found) == count
    assert all(repr(pattern) in f.sentence and f.runs == ((0, n - 1),) for f in found)


@pytest.mark.parametrize("left", range(8, 22))
@pytest.mark.parametrize("make", [sv.SlidingWindow, lambda left: sv.BlockWindow(2, left, 0), lambda left: sv.Dilated(left, 0, 2)])
def test_a_side_beyond_n_cuts_nothing(make, left):
    n, pattern = 17, make(left)
    wider = np.array_equal(make(100).mask(n), pattern.mask(n))
    assert bool(lint(pattern, n)["windows beyond n"]) == wider


# ---------------------------------------------------------------- block tax


def test_a_smaller_tile_that_helps():
    pattern = sv.sparse_transformer_fixed(32, 8, merged=True) & sv.Strided(1)
    found = only(lint(sv.Fixed(128, 8, group=False), 1024, block=64), "block tax")
    assert "8 pairs for one" in found.sentence
    assert found.fix == "with tiles of 16 x 16 it is 2"  # the largest that keeps the tax
    assert "whole blocks" in only(lint(pattern, 1024, block=(64, 4), tax=1.01), "block tax").fix


def test_the_tax_that_is_allowed():
    for tax, count in ((7.99, 1), (8, 0)):
        assert len(lint(sv.Fixed(128, 8, group=False), 1024, tax=tax)["block tax"]) == count


def test_a_check_that_takes_too_much_memory_says_so(monkeypatch):
    import sparsevis.margins

    def full(rule, shape, block, offset=0, limit=None):
        if block == (3, 3) or block[0] > 1000:
            raise MemoryError("too much")
        return sift(rule, shape, block, offset, limit)

    monkeypatch.setattr(sparsevis.margins, "sift", full)
    found = lint(sv.SlidingWindow(0, 3), 50, block=3)
    assert found.unchecked == ("block tax: too much",)
    assert not found
    assert str(found).endswith("not checked: block tax: too much")
    assert "too much" in found._repr_html_()


# ---------------------------------------------------------------- heads and layers


def test_findings_name_their_heads():
    heads = sv.sparse_transformer_fixed(6, 1, heads=4)
    found = lint(heads, 60, block=2)
    assert (only(found, "empty rows").where, only(found, "empty rows").runs) == ("heads 1, 3", ((0, 4),))
    assert not found["unread keys"]  # heads 0 and 2 read every key
    assert str(found).split("\n")[1].startswith("error: heads 1, 3: 5 of 60 queries have no key")


def test_findings_name_their_layers():
    empty = sv.Sink(0)
    found = lint([sv.Dense(), empty, sv.PerHead(sv.Dense(), empty), empty], 9)
    assert only(found, "empty rows").where == "layers 1, 3; layer 2, head 1"
    assert only(found, "unread keys").sentence.startswith("in layers 1, 3 no query attends 9 of 9 keys")


def test_equal_draws():
    assert not lint(sv.RandomKeys(3, seed=2), 30)["shared draws"]
    assert "seed was left at 0" in only(lint(sv.RandomKeys(3), 30), "shared draws").sentence
    shared = only(lint(sv.PerHead(*[sv.SlidingWindow(2, 2) | sv.RandomKeys(3, seed=5)] * 3), 30), "shared draws")
    assert "RandomKeys(keys_per_query=3, seed=5) draws the same links in heads 0-2" in shared.sentence
    assert not lint(sv.PerHead(*(sv.RandomKeys(3, seed=1 + h) for h in range(3))), 30)["shared draws"]
    one, other = sv.bigbird(4, heads=2, seed=3), sv.bigbird(4, heads=2, seed=4)
    assert "in layer 0, head 1; layer 1, head 0" in only(lint([one, other], 64), "shared draws").sentence
    assert only(lint(sv.RandomBlocks(64, 3, plan="published"), 1024), "shared draws").runs == ((64, 959),)  # no draw for the first and last


@pytest.mark.parametrize(("pattern", "layers"), [
    (sv.SlidingWindow(3), 4), (sv.SlidingWindow(3), 30), (sv.Chunked(9), 3), (sv.longformer(4), 1), (sv.longformer(4), 2),
    (sv.Causal() & sv.Dilated(3, 0, 2), 4), (sv.RandomKeys(2, seed=3), 2),
])  # fmt: skip
def test_unreachable_tokens(pattern, layers):
    n = 61
    step = pattern.mask(n) | np.eye(n, dtype=bool)
    seen = np.eye(n, dtype=bool)
    for _ in range(layers):
        seen = step.astype(int) @ seen > 0
    causal = not np.triu(step, 1).any()
    missed = (np.tri(n, dtype=bool) & ~seen if causal else ~seen).sum(1)
    found = lint(pattern, n, layers=layers)["unreachable tokens"]
    assert bool(found) == missed.any()
    if found:
        np.testing.assert_array_equal(found[0].rows, np.flatnonzero(missed))
        assert f"misses {missed.max()} of" in found[0].sentence
        assert ("multiples of 2" in found[0].sentence) == isinstance(pattern, sv.And)
        assert ("would not change" in found[0].fix) == (pattern == sv.Chunked(9))
    assert not lint(pattern, n)["unreachable tokens"]  # nobody said how many layers


def test_unreachable_tokens_of_a_schedule():
    """Even and odd positions meet once a layer lets them; heads of a layer add up."""
    apart, bridge = sv.Strided(2), sv.PerHead(sv.Strided(2), sv.Chunked(2))
    assert lint([apart] * 5, 20)["unreachable tokens"]
    assert not lint([apart, bridge], 20)["unreachable tokens"]


def test_unreachable_tokens_of_a_long_text():
    n = (1 << 16) + 100
    found = only(lint(sv.SlidingWindow(4095), n, layers=4), "unreachable tokens")
    assert found.runs == ((n - 1, n - 1),)
    assert f"misses {n - 4 * 4095 - 1:,} of {n:,}" in found.sentence


# ---------------------------------------------------------------- the value


def test_nothing_found():
    found = lint(sv.Causal(), 300)
    assert not found
    assert len(found) == 0
    assert str(found) == repr(found) == f"nothing found at n = 300 ({len(CHECKS) + len(STACK_CHECKS)} checks)"
    assert found.rows.size == 0
    assert "<table>" not in found._repr_html_()


def test_the_value():
    found = lint(sv.Causal() & (sv.SlidingWindow(2) | sv.RandomKeys(2)) - sv.SlidingWindow(0), (20, 20), causal=True)
    assert bool(found)
    assert [f.severity for f in found] == sorted((f.severity for f in found), key=["error", "warning", "note"].index)
    assert len(found) == len(list(found)) == len(found.found)
    assert found[0] is found.found[0]
    assert str(found).split("\n")[0] == "1 error, 2 warnings, 1 note at n = 20 (8 checks)"
    assert hash(found) == hash(lint(sv.Causal() & (sv.SlidingWindow(2) | sv.RandomKeys(2)) - sv.SlidingWindow(0), 20, causal=True))
    data = json.loads(json.dumps(found.to_dict()))
    assert data["n"] == 20
    assert [f["name"] for f in data["found"]] == [f.name for f in found]
    assert data["found"][0]["runs"] == [[0, 0]]
    assert found.rows.tolist() == list(range(20))
    assert found["unread keys"][0].of == "keys"
    with pytest.raises(KeyError, match="no check 'empty row'; there are empty rows, "):
        found["empty row"]


def test_html_is_escaped():
    text = lint(sv.RandomKeys(3), 30)._repr_html_()
    assert "<table>" in text
    assert "RandomKeys(keys_per_query=3)" in text
    from sparsevis._findings import Finding, Findings

    assert "&lt;b&gt;" in Findings((Finding("note", "<b>", "", ()),), 3, ())._repr_html_()


def test_runs_and_words():
    chosen = np.zeros(30, bool)
    chosen[[0, 1, 2, 5, 29]] = True
    assert runs_of(chosen) == ((0, 2), (5, 5), (29, 29))
    assert listed(runs_of(chosen)) == "rows 0-2, 5, 29"
    assert listed(runs_of(chosen), most=1) == "rows 0-2 and 2 more"
    assert runs_of(np.zeros(0, bool)) == ()


@pytest.mark.parametrize("shape", [0, (0, 4), (4, 0)])
def test_nothing_to_look_at(shape):
    assert not lint(sv.Causal(), shape, offset=0)


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: lint(np.eye(3, dtype=bool), 3), TypeError, ["ndarray", "Chosen.from_mask"]),
    (lambda: lint([sv.Causal(), 3], 3), TypeError, ["int"]),
    (lambda: lint([], 3), ValueError, ["one pattern a layer", "0"]),
    (lambda: lint([sv.Causal()], 3, layers=2), ValueError, ["there are 1", "layers is 2"]),
    (lambda: lint(sv.Causal(), 3, layers=0), ValueError, ["layers is 0"]),
    (lambda: lint(sv.Causal(), (3, 4)), ValueError, ["3 queries over 4 keys"]),
    (lambda: lint(sv.Causal(), 3, block=0), ValueError, ["block=0"]),
])  # fmt: skip
def test_refused(call, error, words):
    assert_refused(call, error, words)


def test_a_million_positions():
    n = 1 << 20
    found = lint(sv.Causal() & sv.SlidingWindow(4095) | sv.Global([0]), n)
    assert names(found) == ["future leaks"]
    assert f"{n - 1:,} pairs" in only(found, "future leaks").sentence
    holes = lint(sv.Causal() & sv.Fixed(128, 8, group=False), n, tax=100)
    assert only(holes, "empty rows").runs == ((0, 119),)
