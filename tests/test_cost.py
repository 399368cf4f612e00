"""Costs against the tiles of a mask, counted one by one, and the arithmetic that follows from them."""

import json

import numpy as np
import pytest
from pictures import assert_refused

import sparsevis as sv
from sparsevis import Causal, Dense, Global, Layout, PerHead, RandomBlocks, RandomKeys, SlidingWindow, Strided, cost
from sparsevis.kernels import loops


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
    assert (c.touched, c.key_rows) == (3 * (64 * 64 + 36 * 64 + 36 * 36), 3 * (64 + 64 + 36))
    assert c.flops_backward == 2 * 2 * 15150 * (3 * 8 + 2 * 4)
    assert c.flops_backward_computed == 2 * 2 * 36864 * 32
    assert c.flops_backward_dense == 2 * 2 * 30000 * 32
    assert c.bytes_tiled == 2 * (read_once + 3 * (64 + 64 + 36) * 12 * 2)
    assert c.bytes_dense == 2 * (read_once + 3 * 2 * 100 * 12 * 2)
    assert c.bytes_naive == 2 * (read_once + 2 * 100 * 12 + 2 * 4 * 30000)
    assert c.memory_naive == 2 * 2 * 2 * 30000
    assert c.kv_bytes == c.kv_bytes_dense == 2 * 1 * 100 * 12 * 2
    assert c.intensity == c.flops_computed / c.bytes_tiled
    assert c.intensity_naive == c.flops_dense / c.bytes_naive


def test_defaults():
    c = cost(Causal(), 128)
    assert (c.head_dim, c.value_dim, c.itemsize, c.block) == (64, 64, 4, (64, 64))
    assert cost(Causal(), 128, head_dim=32).value_dim == 32
    assert cost(Causal(), 128, dtype=np.float64).itemsize == 8
    assert cost(Causal(), 128, dtype="bfloat16" if "bfloat16" in np.sctypeDict else np.float16).itemsize == 2


@pytest.mark.parametrize("pattern", [
    None, Causal(), Causal() & Strided(24), RandomKeys(0),
    PerHead(Causal(), SlidingWindow(100), Causal()), PerHead(Causal(), Causal() & Strided(1)),
])  # fmt: skip
@pytest.mark.parametrize("n", [0, 1, 500, 512])
def test_memory_of_the_tiled_kernel_is_that_of_its_layout(pattern, n):
    layout = Layout.of(Dense() if pattern is None else pattern, n)
    assert cost(pattern, n).memory_tiled == layout.nbytes
    if not isinstance(pattern, PerHead):
        assert cost(pattern, n, heads=8).memory_tiled == layout.nbytes


def test_memory_counts_each_distinct_tile_once():
    assert cost(RandomKeys(3), 300).memory_tiled == Layout.of(RandomKeys(3), 300).nbytes


def test_heads_of_one_pattern_may_be_many():
    """RandomBlocks has a field `heads` of its own, which is no number of heads of the call."""
    assert cost(RandomBlocks(8, 2), 64, heads=4).nnz == 4 * 64 * 16


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
    assert c.kv_keys == 4096
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
    assert cost(layout, 50).kv_bytes is None                            # it has no rule to ask
    if not isinstance(pattern, PerHead):
        assert cost(layout, 50, heads=4) == cost(pattern, 50, block=(8, 16), heads=4)


def test_cost_of_a_rectangular_layout_needs_no_offset():
    layout = Layout.of(Causal(), (20, 33), 8, offset="bottom-right")
    assert cost(layout, (20, 33)) == cost(Causal(), (20, 33), block=8, offset=13)


class Touched:
    """An array in slow memory: it remembers what is taken from it or written into it, and counts the products made with that."""

    def __init__(self, array, name, log, flops, head=()):
        self.array, self.name, self.log, self.flops, self.head = array, name, log, flops, head
        self.shape, self.dtype = array.shape, array.dtype

    def __len__(self):
        return len(self.array)

    def reshape(self, *shape):
        return Touched(self.array.reshape(*shape), self.name, self.log, self.flops, self.head)

    def __getitem__(self, key):
        if isinstance(key, slice):
            self.log.append((self.name, self.head, key.start, key.stop, self.array[key].nbytes))
            part = self.array[key].view(Counted)
            part.flops = self.flops
            return part
        return Touched(self.array[key], self.name, self.log, self.flops, (*self.head, int(key)))

    def __setitem__(self, key, value):
        self.log.append((self.name, key[0], key[1].start, key[1].stop, self.array[key].nbytes))
        self.array[key] = value


class Counted(np.ndarray):
    """A part of one in fast memory, whose matrix products are counted: two operations for each product and sum."""

    flops = None

    def __array_finalize__(self, parent):
        self.flops = getattr(parent, "flops", None)

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        a, b = inputs[0], inputs[-1]
        if ufunc is np.matmul:
            self.flops.append(2 * a.shape[0] * a.shape[1] * b.shape[1])
        return getattr(ufunc, method)(*(np.asarray(x) for x in inputs), **options)


@pytest.mark.parametrize(("pattern", "n", "block"), [
    (None, 64, 16), (Causal(), 64, 16), (Causal(), 67, 16), (SlidingWindow(9, 2), 50, (8, 16)), (Causal() & Strided(7), 64, 8),
    (RandomKeys(3), 40, 16), (sv.bigbird(8, random_blocks=1), 80, 8), (PerHead(Causal(), SlidingWindow(3), Causal(), ~Dense()), 33, 8),
])  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_plain_loops_touch_just_what_cost_says(pattern, n, block, dtype, monkeypatch):
    """The kernel itself runs, on arrays that remember: tiles, pairs, operations and bytes. A query block is read once, then at hand."""
    heads, kv_heads, d, dv = 4, 2, 3, 5
    log, flops, tiles, rng = [], [], [], np.random.default_rng(0)
    q, k, v = (Touched(rng.standard_normal((h, n, width)).astype(dtype), name, log, flops)
               for name, h, width in (("q", heads, d), ("k", kv_heads, d), ("v", kv_heads, dv)))  # fmt: skip
    results = iter("ol")

    class Numpy:
        """NumPy, but what a kernel allocates first are its two results."""

        def __getattr__(self, name):
            return getattr(np, name)

        def empty(self, shape, dtype):
            return Touched(np.empty(shape, dtype), next(results), log, flops)

    allowed_pairs = loops.allowed_pairs
    monkeypatch.setattr(loops, "allowed_pairs", lambda *a: tiles.append(allowed_pairs(*a)) or tiles[-1])
    monkeypatch.setattr(loops, "np", Numpy())
    layout = Layout.of(Dense() if pattern is None else pattern, n, block)
    o, _ = loops.forward(q, k, v, layout, scale=1.0)
    monkeypatch.undo()
    assert np.allclose(o.array, sv.attention(q.array, k.array, v.array, layout, scale=1.0, impl="reference"), atol=1e-4)

    c = cost(pattern, n, head_dim=d, value_dim=dv, heads=heads, kv_heads=kv_heads, dtype=dtype, block=block)
    once = [x for i, x in enumerate(log) if x[0] != "q" or x not in log[:i]]
    assert sum(x[-1] for x in once) + unread(once, q) == c.bytes_tiled
    assert (len(tiles), sum(map(np.sum, tiles)), sum(t.size for t in tiles)) == (c.full + c.partial, c.nnz, c.touched)
    assert sum(x[3] - x[2] for x in log if x[0] == "k") == c.key_rows
    assert sum(flops) == 2 * c.touched * (d + dv)
    if n % c.block[0] == n % c.block[1] == 0:
        assert sum(flops) == c.flops_computed


def unread(log, q):
    """Bytes of the query blocks that no tile asked for: a kernel for real hardware loads them before it looks at its list."""
    rows = {(x[1], i) for x in log if x[0] == "q" for i in range(x[2], x[3])}
    return (q.shape[0] * q.shape[1] - len(rows)) * q.shape[2] * q.dtype.itemsize


N = 1 << 20


@pytest.mark.parametrize(("pattern", "nnz"), [
    (Causal(), N * (N + 1) // 2),
    (sv.PrefixLM(1000), N * (N + 1) // 2 + 1000 * 999 // 2),
    (sv.mistral(4096), N * 4096 - 4096 * 4095 // 2),
    (sv.Dilated(100, 100, 3), N * 201 - 3 * 100 * 101),
    (sv.longformer(512, [0]), N * 513 - 256 * 257 + 2 * (N - 257)),
    (sv.BlockWindow(64, 3, 3), 64**2 * (N // 64 * 7 - 12)),
    (Causal() & sv.Chunked(8192), N // 8192 * 8192 * 8193 // 2),
    (sv.streaming_llm(4, 1024), N * 1024 - 1024 * 1023 // 2 + 4 * (N - 1024) - 6),
    (Strided(16), N * N // 16), (Strided(128), N * N // 128),
    (Causal() & Strided(128), 128 * (N // 128) * (N // 128 + 1) // 2),
    (sv.sparse_transformer_fixed(128, 8, merged=True), N // 128 * 128 * 129 // 2 + 128 * 8 * (N // 128) * (N // 128 - 1) // 2),
    (sv.sparse_transformer_strided(1024, merged=True), N * 1024 - 1024 * 1023 // 2 + 1024 * (N // 1024) * (N // 1024 - 1) // 2),
    (sv.RandomBlocks(64, 3), N * 3 * 64),
    (sv.Documents([N // 8] * 8), N * N // 8),
], ids=repr)  # fmt: skip
def test_closed_forms_at_a_million_positions(pattern, nnz):
    """The formulas are those of the papers, or counted by hand; nothing of the counter is in them."""
    assert cost(pattern, N).nnz == nnz


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


def test_prints_as_a_table_beside_dense_attention():
    c = cost(sv.mistral(64), 256, heads=4, kv_heads=2, batch=3)
    lines = str(c).splitlines()
    assert lines[0] == "256 queries, 256 keys; 4 heads over 2 of 64, batch 3, 4 bytes a number; tiles of 64 x 64"
    assert [line.split()[-1] for line in lines if line.startswith("KV cache")] == ["4x"]
    assert f"{4 * (256 * 64 - 64 * 63 // 2) / 1000:.3g} k" in next(line for line in lines if line.startswith("pairs needed"))
    assert repr(c).startswith("Cost(256 queries")
    assert f"{c.nnz:,} pairs" in repr(c)
    assert c._repr_html_().count("<tr>") == 10
    assert json.loads(c.to_json())[0]["block_tax"] == c.block_tax
    assert json.loads(cost(~Dense(), 9).to_json())[0]["block_tax"] is None      # nan is no JSON
    assert "nan" not in str(cost(~Dense(), 9)) + str(cost(None, 0))
