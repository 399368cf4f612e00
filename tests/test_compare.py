"""Sparse beside dense: errors and kept mass by brute force, tables that say them."""

import html.parser
import sys

import numpy as np
import pytest
from pictures import assert_refused

from sparsevis import Causal, Dense, Global, PerHead, SlidingWindow, attention, compare, cost

PATTERNS = {"window": SlidingWindow(3, 3), "causal": Causal(), "holes": Causal() - SlidingWindow(2), "all": Dense()}


def draw(heads=2, kv_heads=1, nq=20, nk=20, d=4, dv=3, batch=(), dtype=np.float64):
    rng = np.random.default_rng(1)
    shapes = (*batch, heads, nq, d), (*batch, kv_heads, nk, d), (*batch, kv_heads, nk, dv)
    return [rng.standard_normal(x).astype(dtype) for x in shapes]


def probabilities(q, k, scale=None):
    """Dense attention weights, by hand."""
    k = np.repeat(k, q.shape[-3] // k.shape[-3], axis=-3)
    s = np.einsum("...id,...jd->...ij", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale)
    p = np.exp(s - s.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


@pytest.mark.parametrize("impl", ["reference", "loops"])
@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("scale", [None, 2.0])
def test_mass_is_the_dense_probability_inside_the_pattern(impl, batch, scale):
    q, k, v = draw(batch=batch)
    result, p = compare(q, k, v, PATTERNS, impl=impl, repeats=0, scale=scale), probabilities(q, k, scale)
    dense = np.einsum("...ij,...jd->...id", p, np.repeat(v, 2, axis=-3))
    for name, pattern in PATTERNS.items():
        row, mask = result[name], pattern.mask(20)
        assert row.mass.shape == (*batch, 2, 20)
        assert np.allclose(row.mass, (p * mask).sum(-1), rtol=0, atol=1e-14)
        assert abs(row.mass_kept - (p * mask).sum(-1).mean()) < 1e-14
        kept = np.where(mask, p, 0)
        kept = kept / np.where(kept.sum(-1) > 0, kept.sum(-1), 1)[..., None]
        off = np.einsum("...ij,...jd->...id", kept, np.repeat(v, 2, axis=-3)) - dense
        assert abs(row.error - abs(off).max()) < 1e-14
        assert abs(row.relative_error - np.linalg.norm(off) / np.linalg.norm(dense)) < 1e-14
        assert row.pattern == pattern
        assert row.cost == cost(pattern, 20, head_dim=4, value_dim=3, heads=2, kv_heads=1, batch=len(batch) * 2 or 1, dtype=np.float64)
    assert (result["all"].error, result["all"].relative_error, result["all"].mass_kept) == (0, 0, 1)


def test_dense_comes_first_by_itself():
    result = compare(*draw(), PATTERNS, impl="loops", repeats=0)
    assert [row.name for row in result] == ["dense", *PATTERNS]
    assert len(result) == 5
    assert result["dense"].pattern is None
    assert (result["dense"].mass == 1).all()
    assert result["dense"].error == 0
    with pytest.raises(KeyError, match=r"'nonsense'.*dense, window, causal"):
        result["nonsense"]


def test_the_name_of_the_measure_is_taken():
    """A pattern called dense would replace what everything is measured against."""
    assert_refused(lambda: compare(*draw(), {"dense": Causal()}, impl="loops", repeats=0), ValueError, ["dense"])


@pytest.mark.parametrize(("nq", "nk", "offset"), [(5, 20, "bottom-right"), (5, 20, 3), (20, 5, "top-left")])
def test_rectangles(nq, nk, offset):
    q, k, v = draw(nq=nq, nk=nk)
    result = compare(q, k, v, {"causal": Causal()}, impl="loops", repeats=0, offset=offset)
    mask = Causal().mask(nq, nk, offset)
    assert np.allclose(result["causal"].mass, (probabilities(q, k) * mask).sum(-1), rtol=0, atol=1e-14)
    assert result["causal"].cost.nnz == 2 * mask.sum()


def test_heads_may_differ():
    q, k, v = draw()
    heads = PerHead(Causal(), SlidingWindow(2) | Global([0]))
    result = compare(q, k, v, {"heads": heads}, impl="loops", repeats=0)
    assert np.allclose(result["heads"].mass, (probabilities(q, k) * heads.mask(20)).sum(-1), rtol=0, atol=1e-14)
    assert result["heads"].cost.nnz == heads.mask(20).sum()


def test_one_head_without_an_axis():
    q, k, v = (x[0] for x in draw())
    row = compare(q, k, v, PATTERNS, impl="loops", repeats=0)["window"]
    assert row.mass.shape == (20,)
    assert (row.cost.heads, row.cost.batch) == (1, 1)


def test_float32_keeps_no_more_than_there_is():
    q, k, v = (30 * x for x in draw(dtype=np.float32, nq=64, nk=64))
    row = compare(q, k, v, {"all but one": ~SlidingWindow(0)}, impl="loops", repeats=0)["all but one"]
    assert row.mass.max() <= 1
    want = (probabilities(q.astype(float), k.astype(float)) * ~np.eye(64, dtype=bool)).sum(-1)
    assert np.allclose(row.mass, want, rtol=0, atol=1e-3)


def test_outputs_are_the_kernels_own():
    """An implementation asked for is the one that is measured."""
    q, k, v = draw(dtype=np.float32)
    for impl in ("loops", "reference"):
        off = attention(q, k, v, Causal(), impl=impl).astype(float) - attention(q, k, v, impl=impl)
        assert abs(compare(q, k, v, PATTERNS, impl=impl, repeats=0)["causal"].error - abs(off).max()) < 1e-7
    assert_refused(lambda: compare(q, k, v, PATTERNS, impl="fast"), ValueError, ["'fast'"])


# ---------------------------------------------------------------- tables


def test_dicts():
    result = compare(*draw(), PATTERNS, impl="loops", repeats=2)
    rows = result.to_dicts()
    assert [r["name"] for r in rows] == ["dense", *PATTERNS]
    numbers = ["nnz", "density", "keys_per_query", "block_tax", "mass_kept", "error", "relative_error", "seconds", "speedup"]
    assert list(rows[1]) == ["name", *numbers]
    for r, row in zip(rows, result, strict=True):
        assert (r["nnz"], r["density"], r["mass_kept"], r["error"]) == (row.cost.nnz, row.cost.density, row.mass_kept, row.error)
        assert r["seconds"] > 0
        assert r["speedup"] == rows[0]["seconds"] / r["seconds"]
    assert rows[0]["speedup"] == 1


def test_no_timing_unless_asked_for():
    result = compare(*draw(), PATTERNS, impl="loops", repeats=0)
    assert all(np.isnan(r["seconds"]) and np.isnan(r["speedup"]) for r in result.to_dicts())
    assert "ms" not in str(result)


def test_times_are_medians(monkeypatch):
    """Two calls timed in turn by a clock that ticks 1, 2, 3, ... seconds: dense takes 1, 3, 5 of them, the other 2, 4, 6."""
    module = sys.modules["sparsevis.compare"]                           # the file; sparsevis.compare is the function
    ticks = iter(t for x in range(1, 7) for t in (100 * x, 100 * x + x))
    monkeypatch.setattr(module, "perf_counter", lambda: next(ticks))
    result = compare(*draw(), {"causal": Causal()}, impl="loops", repeats=3)
    assert [row.seconds for row in result] == [3, 4]
    assert str(result).split("\n")[3].split()[-2:] == ["ms", "0.75x"]


def test_table():
    result = compare(*draw(), {"window": SlidingWindow(3, 3), "a longer name": Causal()}, impl="loops", repeats=0)
    lines = str(result).split("\n")
    assert len(lines) == 2 + 3
    assert len({len(line) for line in lines[:2]}) == 1                  # a row without times ends early
    assert lines[0].split()[:3] == ["pattern", "pairs", "density"]
    assert lines[2].startswith("dense          ")
    assert lines[3].split()[:4] == ["window", "256", "32.0", "%"]          # 2 heads x (20 x 7 - 12) of 800
    assert repr(result) == str(result)


class Cells(html.parser.HTMLParser):
    """The text of every cell, and the tags met."""

    def __init__(self):
        super().__init__()
        self.tags, self.cells = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


def test_html_is_escaped():
    name = "<script>alert('x')</script> & more"
    result = compare(*draw(), {name: Causal()}, impl="loops", repeats=0)
    page = Cells()
    page.feed(result._repr_html_())
    assert "script" not in page.tags
    assert name in page.cells
    assert page.tags.count("tr") == 3
    assert len(page.cells) == 3 * 9


def test_results_compare_by_identity():
    """A row holds arrays, which have no one truth: == must not raise."""
    a, b = (compare(*draw(), PATTERNS, impl="loops", repeats=0) for _ in range(2))
    assert a == a
    assert a != b
    assert len({a, b}) == 2


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: compare(*draw(), [Causal()]), TypeError, ["list", "dict"]),
    (lambda: compare(*draw(), Causal()), TypeError, ["Causal", "dict"]),
    (lambda: compare(*draw(), {"a": np.tri(20)}, impl="loops"), TypeError, ["ndarray"]),
    (lambda: compare(*draw(nk=9), {"a": Causal()}, impl="loops"), ValueError, ["20 queries over 9 keys"]),
    (lambda: compare(*draw(heads=3, kv_heads=2), {}), ValueError, ["3 query heads"]),
])  # fmt: skip
def test_refused(call, error, words):
    assert_refused(call, error, words)
