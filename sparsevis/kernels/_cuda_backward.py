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
from dataclasses import replace
from functools import cache

import numpy as np

from ..arrays import DeviceArray, seen
from ._cuda import SIMULATED, Inputs, clear_errors, cuda, device_words, launch, on_gpu, retiled, shared_limit
from ._cuda_call import key_of, plans
from ._cuda_exact import Start, Steps, can_be_planned
from ._cuda_lanes import column_of, kernel, lanes, make_bring, part, row_of
from ._cuda_tile import Shape, fitting, make_add, make_mask, make_products, pitch, runs, smaller, weight_pitch
from .cuda_rows import not_padding

__all__ = ["backward", "make_of_keys", "make_of_queries", "shape_of", "shared"]

THREADS = 64
u32 = np.uint32


def backward(do, q, k, v, o, lse, layout, *, scale, dlse, asked):
    """See `cuda_tiled.backward`."""
    key, dlse = key_of("gradients", (do, q, k, v), scale, asked["softcap"], dlse is not None), None if dlse is None else seen(dlse)
    with on_gpu(q), clear_errors("cuda_tiled"):
        x = Inputs("cuda_tiled", q, k, v, scale, asked)
        see, empty = x.caller.see, x.caller.empty
        if isinstance(dlse, DeviceArray) and not dlse.contiguous:
            raise ValueError(f"impl='cuda_tiled' reads dlse without gaps, and it has some (strides {dlse.strides}): give dlse.contiguous()")
        do, o, lse, dlse_seen = see(do, "do"), see(o, "o"), see(column(lse), "lse"), see(column(lse if dlse is None else dlse), "dlse")
        sizes = (x.heads, x.nq, x.d), (x.kv_heads, x.nk, x.d), (x.kv_heads, x.nk, x.dv)
        (dq, to_dq), (dk, to_dk), (dv, to_dv), (_, delta) = (empty(size, x.dtype) for size in (*sizes, (x.heads, x.nq)))
        shape = shape_of(x.dtype, x.d, x.dv, shared_limit())
        of_rows, of_columns = retiled(layout, (shape.rows, shape.columns)), retiled(layout, (shape.columns, shape.rows)).T
        how = x.dtype, x.d, x.dv, shape, x.quick and x.is_quick(do), x.plain
        given, rest = (x.q, x.k, x.v, do, lse, delta), (x.scale, x.features)
        threads, room = shape.threads, shared(x.dtype, x.d, x.dv, shape)
        sums = do, o, dlse_seen, np.int32(dlse is not None), delta
        works = [                                        # kernel, blocks, threads, bytes of shared memory, arguments, and who of them moves
            (sum_rows, -(-x.heads * x.nq // THREADS), THREADS, 0, sums, (do, o, dlse_seen, delta)),
            (make_of_queries(*how), x.heads * of_rows.grid[0], threads, room, (*given, to_dq, device_words(of_rows, x.heads), *rest),
             (*given, to_dq)),
            (make_of_keys(*how), x.kv_heads * of_columns.grid[0], threads, room,
             (*given, to_dk, to_dv, device_words(of_columns, x.heads), *rest), (*given, to_dk, to_dv))]
        for kernel, grid, threads, room, arguments, _ in works:
            if grid:
                launch("cuda_tiled", kernel, grid, threads, x.caller.stream, *arguments, shared=room)
        if can_be_planned(x, asked) and all(grid for _, grid, *_ in works) and key not in plans(layout):
            plans(layout)[key] = Steps(x, [Start(*work) for work in works])
        return tuple(map(x.caller.give_back, (dq, dk, dv)))


def column(x):
    """An array of a number a query, as rows of one number."""
    x = seen(x)
    return replace(x, shape=(*x.shape, 1), strides=(*x.strides, x.dtype.itemsize)) if isinstance(x, DeviceArray) else x[..., None]


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


# ---------------------------------------------------------------- tiles

def shape_of(dtype, d, dv, limit):
    """The best shape of both walks for head dimensions and the bytes of shared memory that a block of threads may have on a GPU.

    A thread of the second walk keeps sums of dk and of dv, and the scores of two products.

    >>> shape_of(np.dtype("float32"), 64, 64, 227 << 10), shape_of(np.dtype("float32"), 128, 128, 227 << 10)
    (Shape(down=4, across=8, warps=4, blocks=2), Shape(down=4, across=4, warps=8, blocks=1))
    """
    return fitting("cuda_tiled", shapes(dtype, max(d, dv)), lambda shape: shared(dtype, d, dv, shape), limit)


def shapes(dtype, sums):
    """The shapes to try, the best first; in the simulator, where a thread costs much, a single tiny one."""
    if SIMULATED:
        return [Shape(2, 2, 1)]
    wide = dtype.itemsize // 4
    down = max(1, min(4, 16 // runs(sums)) // wide)
    best = Shape(4, 8, 4, 2) if runs(sums) <= 2 and wide == 1 else Shape(down, 4, 8)
    return [best, *smaller(down)]


def shared(dtype, d, dv, shape):
    """Bytes of shared memory: places for what is owned and what is met, and for the weights."""
    return places(dtype, d, dv, shape)[-1]


def places(dtype, d, dv, shape):
    """Where the second owned array, the two that are met and the weights begin; and the end."""
    narrow, wide = pitch(d, dtype), pitch(dv, dtype)
    second = shape.rows * narrow
    met = second + shape.rows * wide
    met_second = met + shape.columns * narrow
    weights = met_second + shape.columns * wide
    return second, met, met_second, weights, weights + shape.rows * weight_pitch(dtype, shape)


# ---------------------------------------------------------------- one pair

@cache
def make_gradient(dtype, plain):
    """Compile (p, ds) of a pair: its probability, and the gradient of its score as it was before a cap; never -0, see `make_add`."""
    T, power, unit = dtype.type, lanes(dtype).power, lanes(dtype).unit
    zero, one = T(0), T(1)

    @part
    def gradient(s, dp, lse, delta, features, h, i, j):
        _, softcap, _, slopes, _, bias, which, offset = features
        steep = one
        if not plain:
            if softcap > zero:
                bent = math.tanh(s / softcap)
                s, steep = softcap * bent, one - bent * bent
            s += slopes[h] * T(np.int64(j) - np.int64(i) - offset)
            if bias.shape[0] > 0:
                s += bias[which[h], i, j]
        s -= lse
        p = power((s if not s > zero else zero) * unit)                         # never above 1, however scores were rounded
        return p + zero, p * (dp - delta) * steep + zero
    return gradient


@cache
def make_store(dtype, n, shape):
    """Compile out[first + rows] = sums * factor, without what lies beyond the edges."""
    down, turns = shape.down, runs(n)

    @part
    def store(out, first, c, sums, factor):
        for i in range(down):
            r = u32(first + u32(4 * i))
            if r < u32(out.shape[0]):
                for j in range(4 * turns):
                    x = u32(c * u32(4) + u32(j // 4 * 32 + j % 4))
                    if x < u32(out.shape[1]):
                        out[r, x] = sums[i * 4 * turns + j] * factor
    return store


# ---------------------------------------------------------------- dq: a block of queries

@cache
def make_of_queries(dtype, d, dv, shape, quick, plain):
    """Compile the walk over the layout."""
    T, (down, across, *_), threads, lane, mask = dtype.type, shape, shape.threads, lanes(dtype), make_mask(shape)
    at_do, at_k, at_v, at_w, _ = places(dtype, d, dv, shape)
    size, narrow, wide, w_pitch = dtype.itemsize, pitch(d, dtype), pitch(dv, dtype), weight_pitch(dtype, shape)
    bring_q, bring_k = (make_bring(dtype, n, d, narrow, threads, quick) for n in (shape.rows, shape.columns))
    bring_do, bring_v = (make_bring(dtype, n, dv, wide, threads, quick) for n in (shape.rows, shape.columns))
    products, products_v = make_products(dtype, d, shape, narrow, narrow), make_products(dtype, dv, shape, wide, wide)
    add, add_carefully = make_add(dtype, d, shape, w_pitch, narrow)
    store, gradient = make_store(dtype, d, shape), make_gradient(dtype, plain)
    start, put, begun, landed, together = lane.start, lane.put, lane.begun, lane.landed, lane.together
    look, allowed, bits, rows, columns = mask.look, mask.allowed, down * mask.words, shape.rows, shape.columns
    count, sums, held, zero, forbidden, inf = down * across, down * runs(d) * 4, 4 * down, T(0), T(-0.0), T(math.inf)

    @kernel(threads, shape.blocks)
    def of_queries(q, k, v, do, lse, delta, dq, layout, scale, features):
        planes, order, indptr, indices, kind, tiles = layout
        kept = features[4]
        memory = cuda.shared.array(0, dtype)
        s, g, a, acc = cuda.local.array(count, T), cuda.local.array(count, T), cuda.local.array(held, T), cuda.local.array(sums, T)
        M, ls, de = cuda.local.array(bits, u32), cuda.local.array(down, T), cuda.local.array(down, T)
        t, heads = u32(cuda.threadIdx.x), u32(dq.shape[0])
        h, rank = u32(u32(cuda.blockIdx.x) % heads), u32(u32(cuda.blockIdx.x) // heads)
        b, head, plane = u32(h // u32(q.shape[1])), u32(h % u32(q.shape[1])), u32(u32(planes[h]) * u32(u32(cuda.gridDim.x) // heads))
        kv, block = u32(head // u32(q.shape[1] // k.shape[1])), u32(order[plane + rank])
        begin, end, first = u32(indptr[plane + block]), u32(indptr[plane + block + u32(1)]), u32(block * u32(rows))
        row, c, base = u32((t >> u32(5)) * u32(4 * down) + row_of(t)), column_of(t), start(memory)
        bring_q(memory, base, q, b, head, first)
        bring_do(memory, u32(base + u32(at_do)), do, h // u32(do.shape[1]), h % u32(do.shape[1]), first)
        for i in range(down):
            r = u32(first + row + u32(4 * i))
            ls[i], de[i] = inf, zero
            if r < u32(dq.shape[1]):
                ls[i], de[i] = lse[h // u32(lse.shape[1]), h % u32(lse.shape[1]), r, 0], delta[h, r]
        careful = False
        while True:
            for i in range(sums):
                acc[i] = zero
            if begin < end:
                bring_k(memory, u32(base + u32(at_k)), k, b, kv, u32(u32(indices[begin]) * u32(columns)))
                bring_v(memory, u32(base + u32(at_v)), v, b, kv, u32(u32(indices[begin]) * u32(columns)))
            begun()
            for e in range(begin, end):
                left, coming = u32(u32(indices[e]) * u32(columns)), u32(u32(indices[min(u32(e + 1), u32(end - u32(1)))]) * u32(columns))
                look(M, tiles, kind[e], row, c)
                landed()
                cuda.syncthreads()                                   # k and v are there
                products(memory, s, a, u32(base + row * u32(narrow)), u32(base + u32(at_k) + c * u32(narrow)))
                products_v(memory, g, a, u32(base + u32(at_do) + row * u32(wide)), u32(base + u32(at_v) + c * u32(wide)))
                cuda.syncthreads()                                   # nobody reads v any more
                if u32(e + 1) < end:
                    bring_v(memory, u32(base + u32(at_v)), v, b, kv, coming)
                for i in range(down):
                    for n in range(across):
                        r, j, ds = u32(first + row + u32(4 * i)), u32(left + c + u32(8 * n)), forbidden
                        if allowed(M, i, n) and r < u32(dq.shape[1]) and not_padding(kept, h, heads, j):
                            _, ds = gradient(s[i * across + n] * scale, g[i * across + n], ls[i], de[i], features, h, r, j)
                        put(memory, u32(base + u32(at_w) + (row + u32(4 * i)) * u32(w_pitch) + (c + u32(8 * n)) * u32(size)), ds)
                together()
                if careful:
                    add_carefully(memory, acc, u32(base + u32(at_w) + row * u32(w_pitch)), u32(base + u32(at_k) + c * u32(4 * size)))
                else:
                    add(memory, acc, a, u32(base + u32(at_w) + row * u32(w_pitch)), u32(base + u32(at_k) + c * u32(4 * size)))
                cuda.syncthreads()                                   # nobody reads k any more
                if u32(e + 1) < end:
                    bring_k(memory, u32(base + u32(at_k)), k, b, kv, coming)
                begun()
            strange = 0
            for i in range(sums):
                if acc[i] - acc[i] != zero:
                    strange = 1
            if careful or cuda.syncthreads_or(strange) == 0:
                break
            careful = True
        store(dq[h], u32(first + row), c, acc, scale)
    return of_queries


# ---------------------------------------------------------------- dk, dv: a block of keys

@cache
def make_of_keys(dtype, d, dv, shape, quick, plain):
    """Compile the walk over the transposed layout."""
    T, (down, across, *_), threads, lane, mask = dtype.type, shape, shape.threads, lanes(dtype), make_mask(shape)
    at_v, at_q, at_do, at_w, _ = places(dtype, d, dv, shape)
    size, narrow, wide, w_pitch = dtype.itemsize, pitch(d, dtype), pitch(dv, dtype), weight_pitch(dtype, shape)
    bring_k, bring_q = (make_bring(dtype, n, d, narrow, threads, quick) for n in (shape.rows, shape.columns))
    bring_v, bring_do = (make_bring(dtype, n, dv, wide, threads, quick) for n in (shape.rows, shape.columns))
    products, products_v = make_products(dtype, d, shape, narrow, narrow), make_products(dtype, dv, shape, wide, wide)
    (add, add_carefully), (add_v, add_v_carefully) = make_add(dtype, d, shape, w_pitch, narrow), make_add(dtype, dv, shape, w_pitch, wide)
    store, store_v, gradient = make_store(dtype, d, shape), make_store(dtype, dv, shape), make_gradient(dtype, plain)
    start, put, begun, landed, together = lane.start, lane.put, lane.begun, lane.landed, lane.together
    look, allowed, bits, rows, columns = mask.look, mask.allowed, down * mask.words, shape.rows, shape.columns
    count, sums, sums_v, held, zero, one, forbidden = down * across, down * runs(d) * 4, down * runs(dv) * 4, 4 * down, T(0), T(1), T(-0.0)

    def make_rows(begin, end):
        """Two loops, for one over all rows would stay a loop, and s and g would be memory."""
        @part
        def rows_to_weights(s, g, M, ls, de, scale, features, h, left, first, nq, nk, all_heads):
            for r in range(begin, end):
                for n in range(across):
                    i, j, p, ds = u32(left + u32(8 * n)), u32(first + u32(4 * r)), forbidden, forbidden
                    if allowed(M, r, n) and i < u32(nq) and j < u32(nk) and not_padding(features[4], h, u32(all_heads), j):
                        p, ds = gradient(s[r * across + n] * scale, g[r * across + n], ls[n], de[n], features, h, i, j)
                    s[r * across + n], g[r * across + n] = p, ds
        return rows_to_weights

    upper, lower = make_rows(0, (down + 1) // 2), make_rows((down + 1) // 2, down)

    @part
    def weigh(memory, w, x):
        """Write a thread's weights."""
        for i in range(down):
            for n in range(across):
                put(memory, u32(w + u32(i * 4 * w_pitch) + u32(n * 8 * size)), x[i * across + n])
        together()

    @kernel(threads, shape.blocks)
    def of_keys(q, k, v, do, lse, delta, dk, dv, layout, scale, features):
        planes, order, indptr, indices, kind, tiles = layout
        all_heads, nq = delta.shape
        memory = cuda.shared.array(0, dtype)
        s, g, a, M = cuda.local.array(count, T), cuda.local.array(count, T), cuda.local.array(held, T), cuda.local.array(bits, u32)
        acc, acc_v = cuda.local.array(sums, T), cuda.local.array(sums_v, T)
        ls, de = cuda.local.array(across, T), cuda.local.array(across, T)
        t, kv_heads, group = u32(cuda.threadIdx.x), u32(dk.shape[0]), u32(q.shape[1] // k.shape[1])
        kv, rank = u32(u32(cuda.blockIdx.x) % kv_heads), u32(u32(cuda.blockIdx.x) // kv_heads)
        nblocks = u32(u32(cuda.gridDim.x) // kv_heads)
        b, h0 = u32(kv // u32(k.shape[1])), u32(kv * group)
        block = u32(order[u32(planes[h0]) * nblocks + rank])
        first, row, c, base = u32(block * u32(rows)), u32((t >> u32(5)) * u32(4 * down) + row_of(t)), column_of(t), start(memory)
        w = u32(base + u32(at_w) + row * u32(w_pitch))
        bring_k(memory, base, k, b, kv % u32(k.shape[1]), first)
        bring_v(memory, u32(base + u32(at_v)), v, b, kv % u32(k.shape[1]), first)
        careful = False
        while True:
            for i in range(sums):
                acc[i] = zero
            for i in range(sums_v):
                acc_v[i] = zero
            for h in range(h0, h0 + group):
                line = u32(u32(planes[h]) * nblocks + block)
                for e in range(indptr[line], indptr[line + u32(1)]):
                    left = u32(u32(indices[e]) * u32(columns))
                    bring_q(memory, u32(base + u32(at_q)), q, b, h % u32(q.shape[1]), left)
                    bring_do(memory, u32(base + u32(at_do)), do, h // u32(do.shape[1]), h % u32(do.shape[1]), left)
                    begun()
                    look(M, tiles, kind[e], row, c)
                    landed()
                    cuda.syncthreads()                               # q and do are there
                    products(memory, s, a, u32(base + row * u32(narrow)), u32(base + u32(at_q) + c * u32(narrow)))
                    products_v(memory, g, a, u32(base + u32(at_v) + row * u32(wide)), u32(base + u32(at_do) + c * u32(wide)))
                    for n in range(across):
                        i = u32(left + c + u32(8 * n))
                        ls[n], de[n] = zero, zero
                        if i < u32(nq):
                            ls[n], de[n] = lse[h // u32(lse.shape[1]), h % u32(lse.shape[1]), i, 0], delta[h, i]
                    upper(s, g, M, ls, de, scale, features, h, u32(left + c), u32(first + row), nq, dk.shape[1], all_heads)
                    lower(s, g, M, ls, de, scale, features, h, u32(left + c), u32(first + row), nq, dk.shape[1], all_heads)
                    weigh(memory, u32(w + c * u32(size)), s)
                    if careful:
                        add_v_carefully(memory, acc_v, w, u32(base + u32(at_do) + c * u32(4 * size)))
                    else:
                        add_v(memory, acc_v, a, w, u32(base + u32(at_do) + c * u32(4 * size)))
                    together()
                    weigh(memory, u32(w + c * u32(size)), g)
                    if careful:
                        add_carefully(memory, acc, w, u32(base + u32(at_q) + c * u32(4 * size)))
                    else:
                        add(memory, acc, a, w, u32(base + u32(at_q) + c * u32(4 * size)))
                    cuda.syncthreads()                               # nobody reads q or do any more
            strange = 0
            for i in range(sums):
                if acc[i] - acc[i] != zero:
                    strange = 1
            for i in range(sums_v):
                if acc_v[i] - acc_v[i] != zero:
                    strange = 1
            if careful or cuda.syncthreads_or(strange) == 0:
                break
            careful = True
        store(dk[kv], u32(first + row), c, acc, scale)
        store_v(dv[kv], u32(first + row), c, acc_v, one)
    return of_keys
