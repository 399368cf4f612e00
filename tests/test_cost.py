"""Costs against the tiles of a mask, counted one by one, and the arithmetic that follows from them."""

import json

import numpy as np
import pytest
from pictures import assert_refused

import sparsevis as sv
from sparsevis import Causal, Dense, Global, Layout, PerHead, RandomKeys, SlidingWindow, cost


def tiles_of(mask, bq, bk):
    """(full, partial) by looking at every tile; one that hangs over the edge is partial."""
    full = partial = 0
    for a in range(0, mask.shape[0], bq):
        for b in range(0, mask.shape[1], bk):
            tile = mask[a : a + bq, b : b + bk]
            full += bool(tile.size == bq * bk and tile.all())
            partial += bool(tile.any() and not (tile.size == bq * bk and tile.all()))
    return full, partial


@pytest.mark.parametrize("block", [1, 8, (4, 16), 100])
@pytest.mark.parametrize(("pattern", "n", "offset"), [
    (None, 30, None), (Dense(), 32, None), (Causal(), 33, None), (Causal(), (20, 33), "bottom-right"), (SlidingWindow(3, 1), (33, 20), -2),
    (RandomKeys(3), 40, None), (Causal() & (SlidingWindow(5) | Global([0])), 41, None), (~Dense(), 17, None),
])  # fmt: skip
def test_counts_by_brute_force(pattern, n, offset, block):
    nq, nk = n if isinstance(n, tuple) else (n, n)
    mask = np.ones((nq, nk), bool) if pattern is None else pattern.mask(nq, nk, offset)
    bq, bk = block if isinstance(block, tuple) else (block, block)
    full, partial = tiles_of(mask, bq, bk)
    c = cost(pattern, n, block=block, offset=offset)
    assert (c.nq, c.nk, c.block, c.heads, c.kv_heads, c.batch) == (nq, nk, (bq, bk), 1, 1, 1)
    assert (c.nnz, c.full, c.partial) == (mask.sum(), full, partial)
    assert c.computed == (full + partial) * bq * bk
    assert all(type(x) is int for x in (c.nnz, c.full, c.partial, c.computed))
    assert c.density == mask.mean()
    assert c.keys_per_query == mask.sum() / nq
    assert np.isnan(c.block_tax) if not mask.any() else c.block_tax == c.computed / mask.sum()


def test_arithmetic_by_hand():
    """100 causal positions in tiles of 64, 3 heads of 8 and 4 over 1 key head, 2 batch elements, float16."""
    c = cost(Causal(), 100, head_dim=8, value_dim=4, heads=3, kv_heads=1, batch=2, dtype=np.float16)
    assert (c.nnz, c.full, c.partial) == (3 * 5050, 0, 9)                # the full tile under the diagonal hangs over the edge
    assert c.computed == 9 * 4096
    assert c.pairs == 30000
    assert c.flops == 2 * 2 * 15150 * 12
    assert c.flops_computed == 2 * 2 * 36864 * 12
    assert c.flops_dense == 2 * 2 * 30000 * 12
    read_once = 300 * (2 * 12 + 4)                                       # q in and o out in 2 bytes, lse in 4
    assert c.bytes_tiled == 2 * (read_once + 9 * 64 * 12 * 2)
    assert c.bytes_naive == 2 * (read_once + 2 * 100 * 12 + 2 * 4 * 30000)
    assert c.memory_naive == 2 * 2 * 2 * 30000
    assert c.intensity == c.flops_computed / c.bytes_tiled


def test_defaults():
    c = cost(Causal(), 128)
    assert (c.head_dim, c.value_dim, c.itemsize, c.block) == (64, 64, 4, (64, 64))
    assert cost(Causal(), 128, head_dim=32).value_dim == 32
    assert cost(Causal(), 128, dtype=np.float64).itemsize == 8
    assert cost(Causal(), 128, dtype="bfloat16" if "bfloat16" in np.sctypeDict else np.float16).itemsize == 2


def test_memory_of_the_tiled_kernel_is_that_of_its_layout():
    """The docstring counts 8 bytes a listed tile and 8 a block row; a layout serves all heads that share it."""
    for heads in (1, 8):
        c, layout = cost(Causal(), 1024, heads=heads), Layout.of(Causal(), 1024)
        assert abs(c.memory_tiled - (layout.nbytes - layout.tiles.nbytes)) <= 8


def test_dense_costs_what_dense_costs():
    c = cost(None, 256, heads=2)
    assert c == cost(Dense(), 256, heads=2)
    assert (c.nnz, c.computed, c.density, c.block_tax) == (2 * 256**2, 2 * 256**2, 1, 1)
    assert c.flops == c.flops_dense == c.flops_computed
    assert cost(None, (3, 256)).nnz == 768                              # every offset is the same


def test_a_million_positions():
    n = 1 << 20
    c = cost(SlidingWindow(4095), n, heads=32)
    assert c.nnz == 32 * (n * 4096 - 4096 * 4095 // 2)
    assert c.partial == 32 * (2 * n // 64 - 64)
    assert cost(Dense(), n, heads=32, block=128).nnz == 32 * n * n
    assert cost(Causal(), 1 << 27, block=1 << 10).nnz == (1 << 27) * ((1 << 27) + 1) // 2


def test_heads_may_differ():
    heads = PerHead(Causal(), SlidingWindow(3), Causal())
    c = cost(heads, 50, block=8, kv_heads=1)
    alone = [cost(p, 50, block=8) for p in heads]
    assert (c.heads, c.kv_heads) == (3, 1)
    for name in ("nnz", "computed", "full", "partial", "pairs", "flops", "flops_dense"):
        assert getattr(c, name) == sum(getattr(x, name) for x in alone)
    assert cost(heads, 50, heads=3) == cost(heads, 50)


@pytest.mark.parametrize("pattern", [Causal(), PerHead(Causal(), SlidingWindow(3), Causal()), ~Dense()])
def test_cost_of_a_layout_is_that_of_its_pattern(pattern):
    layout = Layout.of(pattern, 50, (8, 16))
    assert cost(layout, 50) == cost(pattern, 50, block=(8, 16))
    if not isinstance(pattern, PerHead):
        assert cost(layout, 50, heads=4) == cost(pattern, 50, block=(8, 16), heads=4)


def test_cost_of_a_rectangular_layout_needs_no_offset():
    layout = Layout.of(Causal(), (20, 33), 8, offset="bottom-right")
    assert cost(layout, (20, 33)) == cost(Causal(), (20, 33), block=8, offset=13)


def test_nothing_costs_nothing():
    c = cost(Causal(), 0)
    assert (c.nnz, c.computed, c.flops, c.density, c.keys_per_query, c.intensity) == (0, 0, 0, 0, 0, 0)
    assert np.isnan(c.block_tax)


def test_row_has_everything():
    c = cost(Causal(), 100, heads=2)
    row = c.row()
    for name in ("nq", "heads", "nnz", "computed", "density", "block_tax", "flops", "bytes_tiled", "memory_naive", "intensity", "pairs"):
        assert row[name] == getattr(c, name)
    assert json.loads(json.dumps(row))["nnz"] == c.nnz
    properties = {name for name, x in vars(sv.Cost).items() if isinstance(x, property)}
    assert properties < set(row)


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: cost(np.tri(3), 3), TypeError, ["ndarray", "Pattern"]),
    (lambda: cost(Causal(), (3, 5)), ValueError, ["3 queries over 5 keys"]),
    (lambda: cost(Causal(), 10, block=0), ValueError, ["block=0"]),
    (lambda: cost(Causal(), -1), ValueError, ["-1"]),
    (lambda: cost(PerHead(Causal(), Dense()), 10, heads=3), ValueError, ["2 heads", "heads=3"]),
    (lambda: cost(Layout.of(Causal(), 9), 10), ValueError, ["(9, 9)", "(10, 10)"]),
    (lambda: cost(Causal(), 10, heads=0), ValueError, ["heads"]),
    (lambda: cost(Causal(), 10, heads=4, kv_heads=3), ValueError, ["4", "3"]),
])  # fmt: skip
def test_refused(call, error, words):
    assert_refused(call, error, words)
