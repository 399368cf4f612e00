"""The gradients of block-sparse attention on a GPU: a walk over the layout for dq, one over the transposed layout for dk and dv.

    every query block at once:                              every key block at once:
        for each tile of its row of the layout:                 for each query head that reads it, for each tile of its column:
            s, dp = q k^T, do v^T                                   s, dp = k q^T, v do^T
            p = exp(s - lse)                                        p = exp(s - lse)
            dq += p (dp - delta) k                                  dv += p do; dk += p (dp - delta) q

delta = rowsum(do * o) - dlse. The probabilities come again from the lse that the forward pass kept (Dao et al. 2022, arXiv:2205.14135).
One walk could make all three if dq were added up by atomic additions, whose order is another in every run. Two walks spend two more
products a tile, seven instead of five, and every sum has one owner and one order: the same bits in every run.
"""
import math
from functools import cache

from ._cuda import Inputs, clear_errors, cuda, device_layout, launch, on_gpu, retiled
from ._cuda_tile import parts, shape_of
from .cuda_rows import allowed, not_padding

__all__ = ["backward"]

THREADS = 64
ROOM = 4096             # bytes; forward has more, but one matrix of weights less


def backward(do, q, k, v, o, lse, layout, *, scale, dlse, asked):
    """See `cuda_tiled.backward`."""
    with on_gpu(q), clear_errors("cuda_tiled"):
        x = Inputs("cuda_tiled", q, k, v, scale, asked)
        see, empty, stream = x.caller.see, x.caller.empty, x.caller.stream
        lse = lse[..., None]
        dlse = (lse, False) if dlse is None else (dlse[..., None], True)
        do, o, lse, dlse_seen = see(do, "do"), see(o, "o"), see(lse, "lse"), see(dlse[0], "dlse")
        sizes = (x.heads, x.nq, x.d), (x.kv_heads, x.nk, x.d), (x.kv_heads, x.nk, x.dv)
        (dq, to_dq), (dk, to_dk), (dv, to_dv), (_, delta) = (empty(size, x.dtype) for size in (*sizes, (x.heads, x.nq)))
        shape = shape_of(x.dtype, x.d + x.dv)
        mine = retiled(layout, shape[:2])
        given = x.q, x.k, x.v, do, lse, delta
        if x.heads * x.nq:
            launch("cuda_tiled", sum_rows, -(-x.heads * x.nq // THREADS), THREADS, stream, do, o, dlse_seen, dlse[1], delta)
            work = *given, to_dq, device_layout(mine, x.heads), x.scale, x.features
            launch("cuda_tiled", make_of_queries(x.dtype, shape, x.d), x.heads * mine.grid[0], shape.threads, stream, *work)
        if x.kv_heads * x.nk:
            work = *given, to_dk, to_dv, device_layout(mine.T, x.heads), x.scale, x.features
            launch("cuda_tiled", make_of_keys(x.dtype, shape, x.d, x.dv), x.kv_heads * mine.grid[1], shape.threads, stream, *work)
        return tuple(map(x.caller.give_back, (dq, dk, dv)))


@cuda.jit
def sum_rows(do, o, dlse, has_dlse, delta):
    """delta = rowsum(do * o) - dlse: one thread, one query."""
    heads, nq = delta.shape
    item = cuda.grid(1)
    if item < heads * nq:
        h, i = item // nq, item % nq
        x, y = do[h // do.shape[1], h % do.shape[1]], o[h // o.shape[1], h % o.shape[1]]
        total = delta.dtype.type(0)
        for c in range(x.shape[1]):
            total += x[i, c] * y[i, c]
        delta[h, i] = total - dlse[h // dlse.shape[1], h % dlse.shape[1]][i, 0] if has_dlse else total


@cuda.jit(device=True)
def gradient(s, dp, lse, delta, features, h, i, j):
    """Return (p, ds) of one pair: its probability, and the gradient of its score as it was before a cap; never -0, see `_cuda_tile.add`."""
    plain, softcap, _, slopes, _, bias, which, offset = features
    zero, steep = slopes.dtype.type(0), slopes.dtype.type(1)
    if softcap > 0:
        bent = math.tanh(s / softcap)
        s, steep = softcap * bent, steep - bent * bent
    if not plain:
        s += slopes[h] * slopes.dtype.type(j - i - offset)
        if bias.shape[0] > 0:
            s += bias[which[h], i, j]
    s -= lse
    p = math.exp(s if not s > 0 else zero)                           # never above 1, however scores were rounded
    return p, p * (dp - delta) * steep + zero


# ---------------------------------------------------------------- dq: a block of queries

@cache
def make_of_queries(dtype, shape, d):
    """Compile the walk over the layout, for keys of d numbers."""
    p = parts(dtype, shape, d, d, ROOM)
    T, zero, forbidden, column, products, add, store = p.T, p.zero, p.forbidden, p.column, p.products, p.add, p.store
    rows, columns, across, down, owned = p.rows, p.columns, p.across, p.down, p.owned
    total, step, held, pitch, pitch_y, wide = p.total, p.step, p.held, p.pitch, p.pitch_y, p.wide

    @cuda.jit
    def of_queries(q, k, v, do, lse, delta, dq, layout, scale, features):
        planes, order, indptr, indices, kind, tiles, _, _ = layout
        kept, heads = features[4], dq.shape[0]
        xt = cuda.shared.array((step, pitch), T)
        yt = cuda.shared.array((step, pitch_y), T)
        w = cuda.shared.array((columns, pitch), T)
        g = cuda.shared.array((columns, pitch), T)
        ys = cuda.shared.array((held, wide), T)
        acc = cuda.local.array(total, T)
        t, h = cuda.threadIdx.x, cuda.blockIdx.x % heads
        top, block = t // across * down, order[planes[h], cuda.blockIdx.x // heads]
        kv = h // q.shape[1] * k.shape[1] + h % q.shape[1] // (q.shape[1] // k.shape[1])
        row, first, ls = planes[h] * order.shape[1] + block, block * rows, lse[h // lse.shape[1], h % lse.shape[1]]
        for i in range(total):
            acc[i] = zero
        for e in range(indptr[row], indptr[row + 1]):
            start = indices[e] * columns
            products(w, q[h // q.shape[1], h % q.shape[1]], first, k[kv // k.shape[1], kv % k.shape[1]], start, xt, yt)
            products(g, do[h // do.shape[1], h % do.shape[1]], first, v[kv // v.shape[1], kv % v.shape[1]], start, xt, yt)
            for i in range(down):
                for n in range(owned):
                    r, c = top + i, column(t, n)
                    at, far, ds = first + r, start + c, forbidden
                    if at < dq.shape[1] and allowed(kind[e], tiles, r, c) and not_padding(kept, h, heads, far):
                        _, ds = gradient(w[c, r] * scale, g[c, r], ls[at, 0], delta[h, at], features, h, at, far)
                    g[c, r] = ds
            add(acc, g, k[kv // k.shape[1], kv % k.shape[1]], start, ys)
        store(dq[h], first, acc, scale)
    return of_queries


# ---------------------------------------------------------------- dk, dv: a block of keys

@cache
def make_of_keys(dtype, shape, d, dv):
    """Compile the walk over the transposed layout, for keys of d numbers and values of dv."""
    p, values = parts(dtype, shape, d, max(d, dv), ROOM), parts(dtype, shape, dv, max(d, dv), ROOM)
    T, zero, forbidden, column, products = p.T, p.zero, p.forbidden, p.column, p.products
    add_queries, add_do, store_dk, store_dv = p.add, values.add, p.store, values.store
    rows, columns, across, down, owned = p.rows, p.columns, p.across, p.down, p.owned
    total, total_v, step, held, pitch, pitch_y, wide = p.total, values.total, p.step, p.held, p.pitch, p.pitch_y, max(p.wide, values.wide)
    one = T(1)

    @cuda.jit
    def of_keys(q, k, v, do, lse, delta, dk, dv, layout, scale, features):
        planes, order, indptr, indices, kind, tiles, _, _ = layout
        kept, (heads, nq) = features[4], delta.shape
        xt = cuda.shared.array((step, pitch), T)
        yt = cuda.shared.array((step, pitch_y), T)
        w = cuda.shared.array((columns, pitch), T)
        g = cuda.shared.array((columns, pitch), T)
        ys = cuda.shared.array((held, wide), T)
        acc, acc_v = cuda.local.array(total, T), cuda.local.array(total_v, T)
        t, kv = cuda.threadIdx.x, cuda.blockIdx.x % dk.shape[0]
        group = q.shape[1] // k.shape[1]
        h0 = kv // k.shape[1] * q.shape[1] + kv % k.shape[1] * group
        top, block = t // across * down, order[planes[h0], cuda.blockIdx.x // dk.shape[0]]
        first = block * rows
        for i in range(total):
            acc[i] = zero
        for i in range(total_v):
            acc_v[i] = zero
        for h in range(h0, h0 + group):
            row, ls = planes[h] * order.shape[1] + block, lse[h // lse.shape[1], h % lse.shape[1]]
            for e in range(indptr[row], indptr[row + 1]):
                start = indices[e] * columns
                products(w, k[kv // k.shape[1], kv % k.shape[1]], first, q[h // q.shape[1], h % q.shape[1]], start, xt, yt)
                products(g, v[kv // v.shape[1], kv % v.shape[1]], first, do[h // do.shape[1], h % do.shape[1]], start, xt, yt)
                for i in range(down):
                    for n in range(owned):
                        r, c = top + i, column(t, n)
                        at, far, p, ds = start + c, first + r, forbidden, forbidden
                        if far < dk.shape[1] and at < nq and allowed(kind[e], tiles, r, c) and not_padding(kept, h, heads, far):
                            p, ds = gradient(w[c, r] * scale, g[c, r], ls[at, 0], delta[h, at], features, h, at, far)
                        w[c, r], g[c, r] = p, ds
                add_do(acc_v, w, do[h // do.shape[1], h % do.shape[1]], start, ys)
                add_queries(acc, g, q[h // q.shape[1], h % q.shape[1]], start, ys)
        store_dk(dk[kv], first, acc, scale)
        store_dv(dv[kv], first, acc_v, one)
    return of_keys
