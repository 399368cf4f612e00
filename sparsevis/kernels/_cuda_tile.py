"""What a block of threads does with one tile in shared memory and registers: two products and a mask.

A tile has `queries` rows and `keys` columns. Thread t stands at (t // across, t % across) and owns `down` neighbouring rows; of the
columns it owns every run of four that is its turn, so that neighbours read neighbouring numbers: column(t, n) = n // 4 * 4 across + ...
Numbers owned lie in registers, what others need in shared memory. Both products are sums of outer products: for each step of the inner
dimension a thread reads `down` + 8 numbers and makes `down` * 8 multiplications of them.
"""
import math
from functools import cache
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from ._cuda import cuda

__all__ = ["Shape", "parts", "shape_of"]

STEP = 16               # of an inner dimension, in shared memory at once
PAD = 1                 # number between rows of shared memory: threads that go down a column hit other banks


class Shape(NamedTuple):
    """How a tile is spread over threads."""

    rows: int
    columns: int
    across: int         # threads side by side
    down: int           # rows of a thread

    @property
    def threads(self):
        """Threads of a block."""
        return self.across * self.rows // self.down


def shape_of(dtype, sums):
    """The shape for kernels that keep so many sums a row: 64 x 64 in float32, half as wide in float64; more sums, more threads.

    >>> shape_of(np.dtype("float32"), 64), shape_of(np.dtype("float64"), 256)
    (Shape(rows=64, columns=64, across=8, down=8), Shape(rows=32, columns=32, across=8, down=1))
    """
    side = 256 // dtype.itemsize
    down = max(1, min(8, side * 8 // max(1, sums)))
    return Shape(side, side, 8, 1 << (down.bit_length() - 1))


def wide(n, across):
    """Columns that a thread sums of matrices of n columns: whole runs of four."""
    return max(1, -(-n // (4 * across))) * 4


@cache
def parts(dtype, shape, n, widest, room):
    """Compile-time constants and device functions for tiles of a shape and sums of n columns.

    Rows that are to be summed pass through `room` bytes of shared memory, in the backward pass with others that are up to `widest`: all
    buffers of a kernel together stay below 48 KiB.
    """
    rows, columns, across, down = shape
    threads, owned, sums = shape.threads, columns // across, wide(n, across)
    held = max(1, min(STEP, columns, room // (dtype.itemsize * wide(widest, across) * across)))
    held = 1 << (held.bit_length() - 1)                              # rows at once, a divisor of the columns
    T, zero, registers = dtype.type, dtype.type(0), down * owned

    @cuda.jit(device=True)
    def column(t, i):
        """The i-th column that thread t owns."""
        return i // 4 * (4 * across) + t % across * 4 + i % 4

    @cuda.jit(device=True)
    def products(w, x, x0, y, y0, xt, yt):
        """w[column, row] = x[x0 + row] . y[y0 + column] of the pairs that this thread owns; beyond the edges stand zeros.

        Registers have no addresses: every index of s must be known when the loops are unrolled, so s lives here alone.
        """
        t = cuda.threadIdx.x
        top = t // across * down
        s = cuda.local.array(registers, T)
        a = cuda.local.array(down, T)
        for i in range(registers):
            s[i] = zero
        cuda.syncthreads()                                           # nobody reads what stands in w any more
        for c0 in range(0, x.shape[1], STEP):
            cuda.syncthreads()                                       # nor what stands here
            for e in range(t, rows * STEP, threads):
                r, c = e // STEP, e % STEP
                xt[c, r] = x[x0 + r, c0 + c] if x0 + r < x.shape[0] and c0 + c < x.shape[1] else zero
            for e in range(t, columns * STEP, threads):
                r, c = e // STEP, e % STEP
                yt[c, r] = y[y0 + r, c0 + c] if y0 + r < y.shape[0] and c0 + c < y.shape[1] else zero
            cuda.syncthreads()
            for c in range(STEP):
                for i in range(down):
                    a[i] = xt[c, top + i]
                for j in range(owned):
                    b = yt[c, column(t, j)]
                    for i in range(down):
                        s[i * owned + j] += a[i] * b
        for j in range(owned):
            for i in range(down):
                w[column(t, j), top + i] = s[i * owned + j]

    @cuda.jit(device=True)
    def add(acc, w, y, y0, ys):
        """acc += sum over columns j of w[j, row] * y[y0 + j]; a weight of -0 says that the pair is not allowed.

        Where y holds NaN or infinity, those pairs are left out one by one: 0 * NaN would be NaN.
        """
        t = cuda.threadIdx.x
        top = t // across * down
        a = cuda.local.array(down, T)
        for j0 in range(0, columns, held):
            cuda.syncthreads()
            strange = 0
            for e in range(t, held * sums * across, threads):
                r, c = e // (sums * across), e % (sums * across)
                z = y[y0 + j0 + r, c] if y0 + j0 + r < y.shape[0] and c < y.shape[1] else zero
                ys[r, c] = z
                if z - z != zero:
                    strange = 1
            if cuda.syncthreads_or(strange):
                for j in range(held):
                    for i in range(down):
                        p = w[j0 + j, top + i]
                        if p != zero or math.copysign(1.0, p) > 0:
                            for n in range(sums):
                                acc[i * sums + n] += p * ys[j, column(t, n)]
            else:
                for j in range(held):
                    for i in range(down):
                        a[i] = w[j0 + j, top + i]
                    for n in range(sums):
                        b = ys[j, column(t, n)]
                        for i in range(down):
                            acc[i * sums + n] += a[i] * b

    @cuda.jit(device=True)
    def store(out, x0, acc, factor):
        """out[x0 + rows] = acc * factor, without what lies beyond the edges."""
        t = cuda.threadIdx.x
        for i in range(down):
            r = x0 + t // across * down + i
            if r < out.shape[0]:
                for n in range(sums):
                    if column(t, n) < out.shape[1]:
                        out[r, column(t, n)] = acc[i * sums + n] * factor

    sizes = {"rows": rows, "columns": columns, "across": across, "down": down, "owned": owned, "sums": sums, "held": held, "step": STEP}
    return SimpleNamespace(T=T, zero=zero, forbidden=T(-0.0), column=column, products=products, add=add, store=store, pitch=rows + PAD,
                           pitch_y=columns + PAD, **sizes, total=down * sums, wide=sums * across)
