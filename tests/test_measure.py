"""What is measured is never asserted to be fast: only what was called, counted, skipped and said."""

import json
import sys
from dataclasses import replace
from math import nan

import numpy as np
import pytest
from pictures import assert_refused

import sparsevis as sv
from sparsevis import Roofline, cost, measure
from sparsevis.measure import Measured, Measurement

ROOF = Roofline(flops=1e9, bandwidth=1e9, threads=1, dtype="float32")


def row(n, seconds, dense, roof=nan):
    costs = [cost(p, n, block=8, head_dim=4, heads=2) for p in (sv.mistral(16), None)]
    return Measured(n, *costs, seconds, dense, 1000, roof)


def measurement(*rows, roof=None):
    return Measurement("window", "cpu", rows, roof, {})


def test_counts_of_every_length():
    asked = {"heads": 4, "kv_heads": 2, "head_dim": 8, "value_dim": 4, "batch": 2, "dtype": np.float64, "block": 16}
    result = measure(sv.mistral(16), [64, 32, 64], impl="loops", rounds=2, name="window", **asked)
    assert [r.n for r in result.rows] == [32, 64]
    for r in result.rows:
        assert r.cost == cost(sv.mistral(16), r.n, **asked)
        assert r.dense_cost == cost(None, r.n, **asked)
        assert r.seconds > 0
        assert r.dense_seconds > 0
        assert r.memory is None or r.memory >= 0
    assert (result.name, result.impl, result.roofline, result.skipped) == ("window", "loops", None, {})


def test_each_call_is_attention_over_the_pattern(monkeypatch):
    """Warm-up, weighing and rounds, on inputs of the shapes asked for; dense attention in turn with the pattern."""
    seen = []
    attend = lambda q, k, v, layout, **options: seen.append((q, k, v, layout, options)) or (q[..., :4], q[..., 0])
    monkeypatch.setattr(sys.modules["sparsevis.measure"], "attention", attend)
    asked = {"heads": 4, "kv_heads": 2, "head_dim": 8, "value_dim": 4, "dtype": "float16"}
    result = measure(lambda n: sv.mistral(n // 4), [32], impl="loops", rounds=3, **asked)
    layouts = [layout for *_, layout, _ in seen]
    window, dense = sv.Layout.of(sv.mistral(8), 32), sv.Layout.of(sv.Dense(), 32)
    assert layouts == [window, window, dense, window, dense, dense, window, window, dense]
    for q, k, v, _, options in seen:
        assert (q.shape, k.shape, v.shape) == ((1, 4, 32, 8), (1, 2, 32, 8), (1, 2, 32, 4))
        assert {x.dtype.name for x in (q, k, v)} == {"float16"}
        assert options == {"impl": "loops", "return_lse": True}
    assert result.rows[0].cost.nnz == 4 * int(sv.mistral(8).mask(32).sum())


def test_memory_is_of_layout_and_call_without_the_result(monkeypatch):
    grew = iter([(10_000,), (50_000,)])
    monkeypatch.setattr(sys.modules["sparsevis.measure"], "grown", lambda call: (call(), 0.0, *next(grew)))
    result = measure(sv.mistral(4), [16], impl="loops", heads=2, head_dim=4, rounds=1, dense=False)
    assert result.rows[0].memory == 10_000 + 50_000 - 2 * 16 * (4 + 1) * 4       # o and lse, float32


def test_without_dense_there_is_no_promise():
    result = measure(sv.mistral(4), [16], impl="loops", heads=1, head_dim=4, rounds=1, dense=False)
    (only,) = result.rows
    assert np.isnan([only.dense_seconds, only.promised, only.speedup, only.gap, result.gap, only.roof_gap]).all()
    assert result.crossover is None
    assert "promise" not in str(result).splitlines()[-1]
    assert json.loads(result.to_json())[0]["gap"] is None


def test_the_budget_leaves_out_what_would_take_too_long(monkeypatch):
    """On a machine whose clock stands still and which takes a second for each tile, 0.5 for each of dense attention."""
    room, asked = sys.modules["sparsevis.measure"], []

    def timed(pattern, qkv, impl, block, both, rounds):
        n = qkv[0].shape[-2]
        asked.append((n, both))
        tiles = [cost(p, n, block=block).computed / block**2 for p in (pattern, None)]
        return [tiles[0], tiles[1] / 2 if both else nan], 0

    monkeypatch.setattr(room, "perf_counter", lambda: 0.0)
    monkeypatch.setattr(room, "_timed", timed)
    # 1, 3, 7 and 15 tiles of a window beside 1, 4, 16 and 64: with one round and the weighing, 2, 6, 14 and 30 s, and 1, 4, 16, 64 s
    result = measure(sv.mistral(8), [8, 16, 32, 64], impl="loops", heads=1, head_dim=4, block=8, rounds=1, budget=20)
    assert asked == [(8, True), (16, True), (32, False)]
    assert [r.dense_seconds == r.dense_seconds for r in result.rows] == [True, True, False]
    assert result.skipped == {64: "it would take about 30 s, and 20 s of the budget are left"}
    assert "n = 64 skipped: it would take about 30 s" in str(result)


def test_the_reference_is_not_asked_for_more_than_fits():
    result = measure(None, [16, 1 << 16], impl="reference", heads=1, head_dim=4, rounds=1, dense=False, budget=1e9)
    assert [r.n for r in result.rows] == [16]
    assert "4 GiB" in result.skipped[1 << 16]


def test_gaps_are_numbers():
    r = row(64, seconds=3.0, dense=8.0, roof=1.5)
    assert r.promised == 8 * r.cost.computed / r.dense_cost.computed
    assert (r.speedup, r.roof_gap, r.gap) == (8 / 3, 2, 3 / r.promised)
    assert r.rate == r.cost.flops_computed / 3
    two = measurement(row(64, 1.0, 4.0, 1.0), row(128, 4.0, 16.0, 1.0), row(256, 1.0, nan, nan))
    assert two.roof_gap == pytest.approx(2)
    assert two.gap == pytest.approx((two.rows[0].gap * two.rows[1].gap) ** 0.5)


def test_crossover_lies_where_the_two_times_meet():
    rows = row(64, 4.0, 1.0), row(256, 4.0, 16.0), row(512, 1.0, 9.0), row(1024, 1.0, nan)
    assert measurement(*rows).crossover == 128         # a factor of 4 slower, then 4 faster: half way on logarithmic axes
    assert measurement(*rows[1:]).crossover == 256
    assert measurement(rows[1], rows[0]).crossover is None
    assert measurement(rows[0]).crossover is None


def test_says_the_gap():
    rows = [replace(row(n, s, 8 * s), roof=ROOF.seconds(4e9, 1)) for n, s in ((64, 2.0), (128, 8.0))]
    result = measurement(*rows, roof=ROOF)
    lines = str(result).splitlines()
    assert lines[0] == "window, impl='cpu'"
    assert lines[3].split()[:3] == ["64", "2", "s"]
    assert lines[-2] == f"{result.gap:.2f} times the time that the computed pairs promise"
    assert lines[-1] == "1.00 times the time of the roof, 1 GFLOP/s and 1 GB/s on 1 threads"
    assert result._repr_html_().count("<tr>") == 3
    (first, _) = result.to_dicts()
    assert (first["name"], first["n"], first["seconds"], first["nnz"]) == ("window", 64, 2.0, rows[0].cost.nnz)
    assert len({result, measurement(*rows, roof=ROOF)}) == 1


def test_a_roofline_is_taken_or_measured(monkeypatch):
    asked = []
    monkeypatch.setattr(sys.modules["sparsevis.measure"], "roofline", lambda dtype: asked.append(dtype) or ROOF)
    call = lambda roof: measure(sv.mistral(4), [16], impl="loops", heads=1, head_dim=4, rounds=1, dense=False, roof=roof)
    (taken,) = call(ROOF).rows
    assert taken.roof == max(taken.cost.flops_computed, taken.cost.bytes_tiled) / 1e9
    assert not asked
    assert call(True).roofline == ROOF
    assert asked == [np.float32]
    assert call(False).roofline is None


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: measure(None, []), ValueError, ["ns=[]"]),
    (lambda: measure(None, [8], rounds=0), ValueError, ["rounds=0"]),
    (lambda: measure(None, [8], budget=0), ValueError, ["budget=0"]),
    (lambda: measure("window", [8]), TypeError, ["str"]),
    (lambda: measure(None, [8], impl="quick"), ValueError, ["quick"]),
])  # fmt: skip
def test_refused(call, error, words):
    assert_refused(call, error, words)
