"""Costs over lengths and layers: each row is what `cost` says, and each crossover is where counting finds it."""

import json
from math import isqrt

import pytest
from pictures import assert_refused

import sparsevis as sv
from sparsevis import Causal, cost, cost_curve, cost_schedule
from sparsevis.tabular import amount

WHAT = {name: name for name in ("flops", "flops_computed", "bytes_tiled", "kv_bytes")} | {"memory_tiled": "memory_naive"}


def test_rows_are_costs():
    asked = {"head_dim": 8, "heads": 4, "kv_heads": 2, "batch": 3, "dtype": "float64", "block": (8, 16)}
    curve = cost_curve(sv.mistral(10), [64, 16, 33, 16], **asked)
    assert curve.lengths == (16, 33, 64)
    assert curve.rows == tuple(cost(sv.mistral(10), n, **asked) for n in (16, 33, 64))
    assert curve.dense == tuple(cost(None, n, **asked) for n in (16, 33, 64))
    assert (curve.name, curve.against, curve.skipped) == ("SlidingWindow(left=9)", "dense", {})
    assert [row["n"] for row in json.loads(curve.to_json())] == [16, 33, 64]


def test_a_family_changes_with_the_length():
    def strided(n):
        return sv.sparse_transformer_strided(isqrt(n), merged=True)

    curve = cost_curve(strided, [64, 256])
    assert curve.name == "strided"
    assert [c.nnz for c in curve.rows] == [int(strided(n).mask(n).sum()) for n in (64, 256)]


@pytest.mark.parametrize("family", [sv.mistral(40), sv.streaming_llm(3, 20), sv.longformer(30)])
@pytest.mark.parametrize("against", [None, Causal()])
def test_crossovers_are_where_counting_finds_them(family, against):
    """Every length is counted one by one; the curve knows seven of them."""
    lengths = [8, 16, 32, 64, 128, 256, 300]
    curve = cost_curve(family, lengths, block=8, against=against)
    pairs = {n: (cost(family, n, block=8), cost(against, n, block=8)) for n in range(8, 301)}
    for what, theirs in WHAT.items():
        less = {n: getattr(a, what) < getattr(b, theirs) for n, (a, b) in pairs.items()}
        if not less[300]:
            assert what not in curve.crossovers
            continue
        found = curve.crossovers[what]
        assert less[found]
        assert found == 8 or not less[found - 1]
        assert all(less[n] for n in lengths if n >= found)
        assert found == 8 or not all(less[n] for n in lengths if n >= found / 2)


def test_crossovers_by_hand():
    curve = cost_curve(sv.mistral(512), [256, 1024], against=Causal())
    assert curve.crossovers["flops"] == curve.crossovers["kv_bytes"] == 513   # a key is dropped for the first time
    assert curve.crossovers["flops_computed"] == 577                         # and a tile of 64 keys when 64 more have come
    assert cost_curve(Causal(), [8, 16], against=Causal()).crossovers == {"memory_tiled": 9}       # 24 + 512 bytes < 2 x 4 x 81
    longformer = sv.longformer(30)                                           # 31 n - 240 + 2 (n - 16) pairs
    assert cost_curve(longformer, [16, 64]).crossovers["flops"] == 18        # n^2 - 33 n + 272 is 0 at 16 and 17
    assert cost_curve(longformer, [32, 64], against=Causal()).crossovers["flops"] == 56


def test_what_cannot_be_counted_is_told():
    curve = cost_curve(sv.RandomKeys(8), [64, 4096], block=8, memory_limit=1 << 20)
    assert curve.lengths == (64,)
    assert list(curve.skipped) == [4096]
    assert "over the limit of" in curve.skipped[4096]
    assert "n = 4,096 skipped" in str(curve)


def test_prints_as_a_table():
    curve = cost_curve(sv.mistral(100), [64, 128], name="window 100", against=Causal())
    lines = str(curve).splitlines()
    assert lines[0] == "window 100"
    assert lines[1].split()[:3] == ["n", "pairs", "block"]
    assert "of Causal()" in lines[1]
    assert lines[4].startswith("128 ")
    assert amount(curve.rows[1].flops_computed, "FLOP") in lines[4]
    assert lines[-1] == "less than Causal(): memory from n = 64, KV cache from n = 101"
    assert curve._repr_html_().count("<tr>") == 3
    assert curve == cost_curve(sv.mistral(100), [64, 128], name="window 100", against=Causal())
    assert hash(curve) == hash(cost_curve(sv.mistral(100), [64, 128], name="window 100"))


def test_a_schedule_layer_by_layer():
    layers = [sv.mistral(16), Causal(), sv.mistral(16), None, sv.PerHead(Causal(), sv.mistral(4))]
    model = cost_schedule(layers, 100, heads=2, kv_heads=1, head_dim=4, dtype="float16")
    each = [cost(p, 100, heads=2, kv_heads=1, head_dim=4, dtype="float16") for p in layers]
    assert model.rows == tuple(each)
    assert [c.kv_bytes for c in model.rows] == [keys * 8 * 2 for keys in (16, 100, 16, 100, 100)]
    assert (model.kv_bytes, model.kv_bytes_dense) == (332 * 16, 500 * 16)
    assert model.flops_computed == sum(c.flops_computed for c in each)
    lines = str(model).splitlines()
    assert lines[0].startswith("5 layers; 100 queries")
    assert [line.split()[0] for line in lines[3:]] == ["0", "1", "2", "3", "4", "all"]
    assert lines[-1].endswith("5.31 kB      8 kB")
    assert [row["layer"] for row in model.to_dicts()] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: cost_curve(Causal(), []), ValueError, ["ns is []"]),
    (lambda: cost_curve(Causal(), [0, 4]), ValueError, ["[0, 4]"]),
    (lambda: cost_curve([Causal()], [4]), TypeError, ["list", "function of n"]),
    (lambda: cost_curve(sv.Layout.of(Causal(), 4), [4]), TypeError, ["Layout is of one length"]),
    (lambda: cost_schedule([], 4), ValueError, ["one layer or more"]),
])  # fmt: skip
def test_refused(call, error, words):
    assert_refused(call, error, words)
