"""Block-sparse attention on a GPU, tile by tile through shared memory: the exact one, forward and backward.

    every query block of every head at once, longest lists first, each by a block of threads:
        q to shared memory; the first k on its way
        for each key block that the layout lists:
            v on its way
            s = q k^T                               sums in registers, operands from shared memory
            the next k on its way; mask; one step of the online softmax; p to shared memory, of which a warp reads only its own rows
            acc += p v
        o, lse = acc / l, m + log(l)

Differs from `cuda_rows`: a number that is read from memory serves a whole block of threads, and one that is read from shared memory a whole
row or column of a thread's registers: with 4 rows and 8 columns, 12 reads of 16 bytes feed 128 multiplications, where a thread alone reads
two numbers for each. Copies are on their way while threads compute. Gains, on an H200 in float32, causal, 8,192 tokens: 37.5 TFLOP/s at
head dimension 64 and 38.9 at 128, for 0.2; a product of large matrices makes 51. Products and sums are IEEE float32 or float64, in an order
that never changes: the same bits in every run.

A NaN in a pair that is not allowed stays there: where a block's sums end as no finite numbers, it walks its list again and leaves those
pairs out one by one. Layouts of other tiles than this kernel's are cut anew once, and remembered. The gradients are in `_cuda_backward.py`,
what threads do with a tile in `_cuda_tile.py`. Plain Numba but for what `_cuda_lanes.py` says twice: runs in its simulator as well
(NUMBA_ENABLE_CUDASIM=1), in tiny tiles.
"""
import math
from functools import cache

import numpy as np

from ..arrays import seen
from . import _cuda_backward, _cuda_exact
from ._cuda import SIMULATED, cuda, device_words, needs_device, retiled, shared_limit
from ._cuda_lanes import column_of, kernel, lanes, make_bring, part, row_of
from ._cuda_needs import Needs
from ._cuda_tile import Shape, fitting, make_add, make_mask, make_products, pitch, runs, smaller, weight_pitch
from .cuda_rows import adjusted, not_padding

__all__ = ["BLOCK", "NEEDS", "backward", "forward", "make_attend", "shape_of", "shared"]

NEEDS = Needs(("float32", "float64"), gradients=True)
BLOCK = 64
u32 = np.uint32


def forward(q, k, v, layout, *, scale, softcap=None, sinks=None, slopes=None, key_mask=None, bias=None, offset=0):
    """Attention over the layout's tiles; arguments and results as every kernel's (see `sparsevis.kernels`).

    Arrays with a `__cuda_array_interface__` stay on their device and stream, and so do the results.
    """
    q, k, v = map(seen, (q, k, v))
    needs_device("cuda_tiled", NEEDS, q.dtype.name, q.shape[-1], v.shape[-1], (), "forward")
    asked = {"softcap": softcap, "sinks": sinks, "slopes": slopes, "key_mask": key_mask, "bias": bias, "offset": offset}

    def kernel_of(x):
        shape = shape_of(x.dtype, x.d, x.dv, shared_limit())
        mine = retiled(layout, (shape.rows, shape.columns))
        attend = make_attend(x.dtype, x.d, x.dv, shape, x.quick, x.plain and bool(x.scale > 0))
        return attend, x.heads * mine.grid[0], shape.threads, shared(x.dtype, x.d, x.dv, shape), device_words(mine, x.heads)
    return _cuda_exact.forward("cuda_tiled", kernel_of, q, k, v, layout, scale, asked)


def backward(do, q, k, v, o, lse, layout, *, scale, dlse=None, softcap=None, sinks=None, slopes=None, key_mask=None, bias=None, offset=0):
    """Return (dq, dk, dv): what a change of q, k and v does to sum(do * o) + sum(dlse * lse); arguments as those of `cpu.backward`.

    Sums are made by one block of threads each, in one order: no atomic additions, the same bits in every run.
    """
    do, q, k, v, o, lse = map(seen, (do, q, k, v, o, lse))
    needs_device("cuda_tiled", NEEDS, q.dtype.name, q.shape[-1], v.shape[-1], (), "backward")
    asked = {"softcap": softcap, "slopes": slopes, "key_mask": key_mask, "bias": bias, "offset": offset}
    return _cuda_backward.backward(do, q, k, v, o, lse, layout, scale=scale, dlse=dlse, asked=asked)


# ---------------------------------------------------------------- tiles

def shape_of(dtype, d, dv, limit):
    """The best shape for head dimensions and the bytes of shared memory that a block of threads may have on a GPU.

    A thread's sums are registers: 4 rows of 128 columns, or 2 of 256, are 64 of them in float32; float64 takes half as many rows. Rows of
    64 columns leave room for a third block: for a window of 1,024 keys on an H200 35 TFLOP/s, where two blocks of 8 rows a thread make 31
    (causal 38 and 39).

    >>> shape_of(np.dtype("float32"), 64, 64, 227 << 10), shape_of(np.dtype("float32"), 128, 128, 99 << 10)
    (Shape(down=4, across=8, warps=4, blocks=3), Shape(down=4, across=4, warps=4, blocks=1))
    """
    return fitting("cuda_tiled", list(shapes(dtype, dv)), lambda shape: shared(dtype, d, dv, shape), limit)


def shapes(dtype, sums):
    """The shapes to try for sums of so many columns, the best first; in the simulator, where a thread costs much, a single tiny one."""
    if SIMULATED:
        return [Shape(2, 2, 1)]
    wide = dtype.itemsize // 4
    down = max(1, min(4, 16 // runs(sums)) // wide)
    most = [Shape(4, 8, 4, 3)] if runs(sums) <= 2 and wide == 1 else []
    return [*most, Shape(down, 8 // wide, 8), *smaller(down)]


def shared(dtype, d, dv, shape):
    """Bytes of shared memory: places for q, k, v and the weights."""
    return places(dtype, d, dv, shape)[-1]


def places(dtype, d, dv, shape):
    """Where k, v and the weights begin, and the end."""
    at_k = shape.rows * pitch(d, dtype)
    at_v = at_k + shape.columns * pitch(d, dtype)
    at_w = at_v + shape.columns * pitch(dv, dtype)
    return at_k, at_v, at_w, at_w + shape.rows * weight_pitch(dtype, shape)


# ---------------------------------------------------------------- one block of threads

@cache
def make_attend(dtype, d, dv, shape, quick, plain):
    """Compile the kernel. `quick`: see `make_bring`. `plain`: no features, a scale above 0: the maximum may be sought before scaling."""
    T, (down, across, *_), threads, lane, mask = dtype.type, shape, shape.threads, lanes(dtype), make_mask(shape)
    at_k, at_v, at_w, _ = places(dtype, d, dv, shape)
    size, row_pitch, v_pitch, w_pitch = dtype.itemsize, pitch(d, dtype), pitch(dv, dtype), weight_pitch(dtype, shape)
    bring_q, bring_k = (make_bring(dtype, n, d, row_pitch, threads, quick) for n in (shape.rows, shape.columns))
    bring_v, products = make_bring(dtype, shape.columns, dv, v_pitch, threads, quick), make_products(dtype, d, shape, row_pitch, row_pitch)
    add, add_carefully = make_add(dtype, dv, shape, w_pitch, v_pitch)
    start, begun, landed_but_one, together = lane.start, lane.begun, lane.landed_but_one, lane.together
    look, bits = mask.look, down * mask.words
    count, sums, held, rows, columns = down * across, down * runs(dv) * 4, 4 * down, shape.rows, shape.columns
    adjust, soften, forbid, finish = make_softmax(dtype, dv, shape, plain)
    zero, one, nothing, unit, spare = T(0), T(1), T(-math.inf), lane.unit, threads if SIMULATED else 1

    @kernel(threads, shape.blocks)
    def attend(q, k, v, o, lse, layout, scale, features):
        planes, order, indptr, indices, kind, tiles = layout
        sinks = features[2]
        memory = cuda.shared.array(0, dtype)
        room = cuda.shared.array(spare, T)
        s, acc, a = cuda.local.array(count, T), cuda.local.array(sums, T), cuda.local.array(held, T)
        m, l, M, seen = cuda.local.array(down, T), cuda.local.array(down, T), cuda.local.array(bits, u32), cuda.local.array(down, u32)
        t, heads = u32(cuda.threadIdx.x), u32(lse.shape[0])
        h, rank = u32(u32(cuda.blockIdx.x) % heads), u32(u32(cuda.blockIdx.x) // heads)
        b, head, plane = u32(h // u32(q.shape[1])), u32(h % u32(q.shape[1])), u32(u32(planes[h]) * u32(u32(cuda.gridDim.x) // heads))
        kv, block = u32(head // u32(q.shape[1] // k.shape[1])), u32(order[plane + rank])
        begin, end, first = u32(indptr[plane + block]), u32(indptr[plane + block + u32(1)]), u32(block * u32(rows))
        row, c, base = u32((t >> u32(5)) * u32(4 * down) + row_of(t)), column_of(t), start(memory)
        own, met = u32(base + row * u32(row_pitch)), u32(base + u32(at_k) + c * u32(row_pitch))
        w, met_v = u32(base + u32(at_w) + row * u32(w_pitch)), u32(base + u32(at_v) + c * u32(4 * size))
        factor = scale * unit if plain else unit
        bring_q(memory, base, q, b, head, first)
        careful = False
        while True:
            for i in range(sums):
                acc[i] = zero
            for i in range(down):
                m[i], seen[i] = sinks[h] / scale if plain else sinks[h], u32(0)
                l[i] = one if c == u32(0) and sinks[h] > nothing else zero    # a sink is a key seen already, whose value is 0
            if begin < end:
                bring_k(memory, u32(base + u32(at_k)), k, b, kv, u32(u32(indices[begin]) * u32(columns)))
            begun()
            for e in range(begin, end):
                tile, left = kind[e], u32(u32(indices[e]) * u32(columns))
                look(M, tiles, tile, row, c)
                bring_v(memory, u32(base + u32(at_v)), v, b, kv, left)
                begun()
                landed_but_one()
                cuda.syncthreads()                                   # q and this k are there
                products(memory, s, a, own, met)
                cuda.syncthreads()                                   # nobody reads k any more
                if u32(e + 1) < end:
                    bring_k(memory, u32(base + u32(at_k)), k, b, kv, u32(u32(indices[u32(e + 1)]) * u32(columns)))
                begun()
                masked = adjust(s, M, seen, scale, features, h, u32(first + row), u32(left + c), lse.shape[1], tile >= 0)
                soften(memory, s, m, l, acc, factor, u32(w + c * u32(size)), room)
                if careful and masked:
                    forbid(memory, M, u32(w + c * u32(size)))
                together()
                landed_but_one()
                cuda.syncthreads()                                   # v is there
                if careful:
                    add_carefully(memory, acc, w, met_v)
                else:
                    add(memory, acc, a, w, met_v)
                cuda.syncthreads()                                   # nobody reads v any more
            strange = 0
            for i in range(sums):
                if acc[i] - acc[i] != zero:
                    strange = 1
            if careful or cuda.syncthreads_or(strange) == 0:
                break
            careful = True
        finish(o, lse, h, u32(first + row), c, acc, m, l, seen, sinks[h], scale, room)
    return attend


@cache
def make_softmax(dtype, dv, shape, plain):
    """Compile what happens to a tile's scores, and the end: see the names."""
    T, (down, across, *_), lane, mask = dtype.type, shape, lanes(dtype), make_mask(shape)
    most, total, power, put = lane.most, lane.total, lane.power, lane.put
    size, w_pitch, turns = dtype.itemsize, weight_pitch(dtype, shape), runs(dv)
    allowed, without, words = mask.allowed, mask.without, mask.words
    zero, one, nothing, forbidden = T(0), T(1), T(-math.inf), T(-0.0)

    @part
    def adjust(s, M, seen, scale, features, h, first, left, nq, masked):
        """Scale, features, mask: what is not allowed becomes -inf, whatever it was. Return whether anything may be forbidden."""
        kept = features[4]
        if not plain:
            if kept.shape[0] > 0:
                masked = True
                for n in range(across):
                    j = u32(left + u32(8 * n))
                    if j < u32(kept.shape[1]):
                        if not not_padding(kept, h, u32(features[3].shape[0]), j):
                            without(M, n)
        for i in range(down):
            for w in range(words):
                seen[i] |= M[i * words + w] & u32(0x01010101)        # this thread's bits among its neighbours'
            if not plain:
                for n in range(across):
                    x = s[i * across + n] * scale
                    if u32(first + u32(4 * i)) < u32(nq) and allowed(M, i, n):
                        x = adjusted(x, features, h, np.int64(first + u32(4 * i)), np.int64(left + u32(8 * n)))
                    s[i * across + n] = x
        if masked:
            for i in range(down):
                for n in range(across):
                    if not allowed(M, i, n):
                        s[i * across + n] = nothing
        return masked

    @part
    def soften(memory, s, m, l, acc, factor, w, room):
        """One step of the online softmax: weights to shared memory; m and l go on, and acc shrinks by what the maxima grew."""
        for i in range(down):
            top = m[i]
            for n in range(across):
                top = max(top, s[i * across + n])                    # never NaN: that comes through the exponential
            top = most(top, room)
            shift = top if top != nothing else zero                  # no score yet: -inf - -inf would be NaN
            shrink = power((m[i] - shift) * factor)
            m[i] = top
            l[i] *= shrink
            for n in range(across):
                p = power((s[i * across + n] - shift) * factor)
                l[i] += p
                put(memory, u32(w + u32(i * 4 * w_pitch) + u32(n * 8 * size)), p)
            for j in range(4 * turns):
                acc[i * 4 * turns + j] *= shrink

    @part
    def forbid(memory, M, w):
        for i in range(down):
            for n in range(across):
                if not allowed(M, i, n):
                    put(memory, u32(w + u32(i * 4 * w_pitch) + u32(n * 8 * size)), forbidden)

    @part
    def finish(o, lse, h, first, c, acc, m, l, seen, sink, scale, room):
        """Divide by the sums. A row without an allowed key gives 0, by the layout's word; a live row of scores -inf gives NaN."""
        for i in range(down):
            r, sum_of_row = u32(first + u32(4 * i)), total(l[i], room)
            alive = most(one if seen[i] != u32(0) else zero, room) > zero
            if r < u32(lse.shape[1]):
                for j in range(4 * turns):
                    x = u32(c * u32(4) + u32(j // 4 * 32 + j % 4))
                    if x < u32(o.shape[2]):
                        o[h, r, x] = acc[i * 4 * turns + j] / sum_of_row if alive else zero
                if c == u32(0):
                    top = m[i] * scale if plain else m[i]
                    lse[h, r] = sink if not alive else top + T(math.log(sum_of_row)) if sum_of_row != zero else nothing
    return adjust, soften, forbid, finish
