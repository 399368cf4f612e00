"""Block-sparse attention on a GPU, tile by tile through shared memory: the exact one, forward and backward.

    every query block of every head at once, longest lists first, each by a block of threads:
        for each key block that the layout lists:
            s = q k^T                               in registers; q and k pass through shared memory, 16 numbers of each row at a time
            mask, one step of the online softmax    the maximum of a row is agreed on in shared memory
            acc += p v                              p and v pass through shared memory
        o, lse = acc / l, m + log(l)

Differs from `cuda_rows`: a number that is read from memory serves a whole block of threads, and one that is read from shared memory
serves a whole row of a thread's registers (`_cuda_tile.py`). Gains: 64 x 64 products for 128 numbers read, where a thread alone reads two
numbers for each product. Products and sums are IEEE float32 or float64, in an order that never changes: the same bits in every run.

Layouts of other tiles than this kernel's, 64 x 64 in float32 and 32 x 32 in float64, are cut anew once, and remembered. A NaN in a pair that is not
allowed stays there. The gradients are in `_cuda_backward.py`. Plain Numba: runs in its simulator as well (NUMBA_ENABLE_CUDASIM=1).
"""
import math
from functools import cache

import numpy as np

from . import _cuda_backward
from ._cuda import Inputs, clear_errors, cuda, device_layout, launch, needs_device, on_gpu, retiled
from ._cuda_needs import Needs
from ._cuda_tile import parts, shape_of
from .cuda_rows import adjusted, allowed, not_padding

__all__ = ["BLOCK", "NEEDS", "backward", "forward"]

NEEDS = Needs(("float32", "float64"), gradients=True)
BLOCK = 64


def forward(q, k, v, layout, *, scale, softcap=None, sinks=None, slopes=None, key_mask=None, bias=None, offset=0):
    """Attention over the layout's tiles; arguments and results as every kernel's (see `sparsevis.kernels`).

    Arrays with a `__cuda_array_interface__` stay on their device and stream, and so do the results.
    """
    needs_device("cuda_tiled", NEEDS, q.dtype.name, q.shape[-1], v.shape[-1], (), "forward")
    asked = {"softcap": softcap, "sinks": sinks, "slopes": slopes, "key_mask": key_mask, "bias": bias, "offset": offset}
    with on_gpu(q), clear_errors("cuda_tiled"):
        x = Inputs("cuda_tiled", q, k, v, scale, asked)
        o, to_o = x.caller.empty((x.heads, x.nq, x.dv), x.dtype)
        lse, to_lse = x.caller.empty((x.heads, x.nq), x.dtype)
        if x.heads * x.nq:
            shape = shape_of(x.dtype, x.dv)
            mine = retiled(layout, shape[:2])
            work = x.q, x.k, x.v, to_o, to_lse, device_layout(mine, x.heads), x.scale, x.features
            launch("cuda_tiled", make_attend(x.dtype, shape, x.dv), x.heads * mine.grid[0], shape.threads, x.caller.stream, *work)
        return x.caller.give_back(o), x.caller.give_back(lse)


def backward(do, q, k, v, o, lse, layout, *, scale, dlse=None, softcap=None, sinks=None, slopes=None, key_mask=None, bias=None, offset=0):
    """Return (dq, dk, dv): what a change of q, k and v does to sum(do * o) + sum(dlse * lse); arguments as those of `cpu.backward`.

    Sums are made by one block of threads each, in one order: no atomic additions, the same bits in every run.
    """
    needs_device("cuda_tiled", NEEDS, q.dtype.name, q.shape[-1], v.shape[-1], (), "backward")
    asked = {"softcap": softcap, "slopes": slopes, "key_mask": key_mask, "bias": bias, "offset": offset}
    return _cuda_backward.backward(do, q, k, v, o, lse, layout, scale=scale, dlse=dlse, asked=asked)


# ---------------------------------------------------------------- one block of threads

@cache
def make_attend(dtype, shape, dv):
    """Compile the kernel for values of dv numbers."""
    p = parts(dtype, shape, dv, dv, 16384)
    T, zero, forbidden, column, products, add = p.T, p.zero, p.forbidden, p.column, p.products, p.add
    rows, columns, across, down, owned, sums = p.rows, p.columns, p.across, p.down, p.owned, p.sums
    total, step, held, pitch, pitch_y, wide = p.total, p.step, p.held, p.pitch, p.pitch_y, p.wide
    nothing, one = T(-math.inf), T(1)

    @cuda.jit
    def attend(q, k, v, o, lse, layout, scale, features):
        planes, order, indptr, indices, kind, tiles, _, _ = layout
        plain, _, sinks, _, kept, _, _, _ = features
        xt = cuda.shared.array((step, pitch), T)
        yt = cuda.shared.array((step, pitch_y), T)
        w = cuda.shared.array((columns, pitch), T)
        ys = cuda.shared.array((held, wide), T)
        room = cuda.shared.array((rows, across), T)
        acc, shrink = cuda.local.array(total, T), cuda.local.array(down, T)
        m, l = cuda.local.array(down, T), cuda.local.array(down, T)
        live, seen = cuda.local.array(down, np.uint32), cuda.local.array(down, np.uint32)
        t, heads = cuda.threadIdx.x, lse.shape[0]
        top, left = t // across * down, t % across
        h = cuda.blockIdx.x % heads
        block = order[planes[h], cuda.blockIdx.x // heads]
        b, head = h // q.shape[1], h % q.shape[1]
        kv, row, first = head // (q.shape[1] // k.shape[1]), planes[h] * order.shape[1] + block, block * rows
        for i in range(total):
            acc[i] = zero
        for i in range(down):
            m[i], seen[i] = sinks[h], 0
            l[i] = one if left == 0 and sinks[h] > nothing else zero          # a sink is a key seen already, whose value is 0
        for e in range(indptr[row], indptr[row + 1]):
            start = indices[e] * columns
            products(w, q[b, head], first, k[b, kv], start, xt, yt)
            for i in range(down):                                    # what is not allowed becomes -inf, whatever it was
                live[i], largest = 0, nothing
                for n in range(owned):
                    r, c, x = top + i, column(t, n), nothing
                    if first + r < lse.shape[1] and allowed(kind[e], tiles, r, c) and not_padding(kept, h, heads, start + c):
                        live[i] |= np.uint32(1) << np.uint32(n)
                        x = adjusted(w[c, r] * scale, features, h, first + r, start + c)
                    w[c, r] = x
                    if x > largest:                                  # never for NaN: that comes through exp
                        largest = x
                room[top + i, left] = largest
            cuda.syncthreads()
            for i in range(down):
                largest = m[i]
                for n in range(across):
                    if room[top + i, n] > largest:
                        largest = room[top + i, n]
                shift = largest if largest != nothing else zero      # no score yet: -inf - -inf would be NaN
                shrink[i] = math.exp(m[i] - shift)
                m[i] = largest
                seen[i] |= live[i]
                l[i] *= shrink[i]
                for n in range(owned):
                    r, c = top + i, column(t, n)
                    if live[i] >> np.uint32(n) & np.uint32(1):
                        w[c, r] = math.exp(w[c, r] - shift)
                        l[i] += w[c, r]
                    else:
                        w[c, r] = forbidden
            for i in range(down):
                for n in range(sums):
                    acc[i * sums + n] *= shrink[i]
            add(acc, w, v[b, kv], start, ys)
        finish(o, lse, h, first, acc, m, l, seen, sinks[h], room)

    @cuda.jit(device=True)
    def finish(o, lse, h, first, acc, m, l, seen, sink, room):
        """Divide by the sums. A row without an allowed key gives 0, by the layout's word; a live row of scores -inf gives NaN."""
        t = cuda.threadIdx.x
        top, left = t // across * down, t % across
        for i in range(down):
            room[top + i, left] = l[i]
        cuda.syncthreads()
        for i in range(down):
            l[i] = zero
            for n in range(across):
                l[i] += room[top + i, n]
        cuda.syncthreads()
        for i in range(down):
            room[top + i, left] = zero if seen[i] == 0 else one
        cuda.syncthreads()
        for i in range(down):
            r, keys = first + top + i, zero
            for n in range(across):
                keys += room[top + i, n]
            if r < lse.shape[1]:
                for n in range(sums):
                    if column(t, n) < o.shape[2]:
                        o[h, r, column(t, n)] = acc[i * sums + n] / l[i] if keys > zero else zero
                if left == 0:
                    lse[h, r] = sink if keys == zero else m[i] + T(math.log(l[i])) if l[i] != zero else nothing
    return attend
