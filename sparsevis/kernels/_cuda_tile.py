"""Products of tiles on ordinary cores: numbers owned lie in registers, what others need in shared memory, 16 bytes at a time.

A warp owns 4 `down` rows of a tile and meets all of its 8 `across` columns; of the rows a thread owns every fourth, of the columns every
eighth, and of sums of n columns every run of four that is its turn (see `_cuda_lanes.py`). For four steps of the inner dimension it reads
`down` + `across` times 16 bytes and makes 4 `down` `across` multiplications: 12 reads for 128 with 4 and 8.
"""
import math
from functools import cache
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from ._cuda_lanes import column_of, lanes, part

__all__ = ["Shape", "fitting", "make_add", "make_mask", "make_products", "pitch", "runs", "smaller", "weight_pitch"]

u32 = np.uint32


class Shape(NamedTuple):
    """How a tile is spread over threads."""

    down: int                   # rows of a thread
    across: int                 # columns of a thread
    warps: int
    blocks: int = 1             # of threads that a multiprocessor is to hold

    @property
    def rows(self):
        """Rows of a tile: those a block of threads owns."""
        return 4 * self.down * self.warps

    @property
    def columns(self):
        """Columns of a tile: those it meets at once."""
        return 8 * self.across

    @property
    def threads(self):
        """Threads of a block."""
        return 32 * self.warps


def pitch(n, dtype):
    """Bytes between rows of n numbers: an odd number of 16 bytes, so that eight rows below each other are in other banks.

    >>> pitch(64, np.dtype("float32")), pitch(5, np.dtype("float64"))
    (272, 80)
    """
    pieces = max(1, -(-n // 4)) * 4 * np.dtype(dtype).itemsize // 16
    return 16 * (pieces + 1 - pieces % 2)


def runs(n):
    """Runs of four columns that a thread owns of n.

    >>> runs(64), runs(65), runs(0)
    (2, 3, 1)
    """
    return max(1, -(-n // 32))


def fitting(name, shapes, shared, limit):
    """Return the first shape whose `shared(shape)` bytes, for all blocks of a multiprocessor, are within the limit of a block."""
    for shape in shapes:
        if (shared(shape) + 1024) * shape.blocks <= limit + 1024:    # every block has 1 KiB of the system's
            return shape
    raise NotImplementedError(f"impl={name!r} needs {shared(shapes[-1])} bytes of shared memory for head dimensions this large, and this "
                              f"GPU has {limit} for a block: impl='cuda_rows' needs none")


def smaller(down):
    """Shapes for GPUs with less shared memory, or larger head dimensions, than those for which `down` rows a thread are best."""
    return [Shape(max(1, down // cut), across, warps) for cut, across, warps in ((1, 4, 4), (2, 4, 4), (4, 2, 4), (8, 1, 2), (8, 1, 1))]


def weight_pitch(dtype, shape):
    """Bytes between rows of weights: lanes that write one number each, 8 side by side and 4 below each other, are in 32 banks."""
    return (shape.columns + 8) * dtype.itemsize


# ---------------------------------------------------------------- what threads do with a tile

@cache
def make_products(dtype, d, shape, own_pitch, met_pitch):
    """Compile s[i, n] = own row i . met column n of those that a thread owns, d numbers each."""
    T, four, (down, across, *_) = np.dtype(dtype).type, lanes(dtype).four, shape
    steps, size, zero = -(-d // 4), 4 * np.dtype(dtype).itemsize, T(0)
    scores = down * across

    @part
    def products(memory, s, a, own, met):
        """`own` and `met`: places of the thread's first row and of its first column; `a`: registers for 4 numbers of each row."""
        for i in range(scores):
            s[i] = zero
        for step in range(steps):
            for i in range(down):
                x = four(memory, u32(own + u32(i * 4 * own_pitch) + u32(step) * u32(size)))
                a[4 * i], a[4 * i + 1], a[4 * i + 2], a[4 * i + 3] = x[0], x[1], x[2], x[3]
            for n in range(across):
                b = four(memory, u32(met + u32(n * 8 * met_pitch) + u32(step) * u32(size)))
                for i in range(down):
                    s[i * across + n] += a[4 * i] * b[0]
                    s[i * across + n] += a[4 * i + 1] * b[1]
                    s[i * across + n] += a[4 * i + 2] * b[2]
                    s[i * across + n] += a[4 * i + 3] * b[3]
    return products


@cache
def make_add(dtype, n, shape, w_pitch, met_pitch):
    """Compile sums += w met, for sums of n columns: w are the tile's weights in shared memory, met has a row for each of its columns."""
    T, read, (down, across, *_) = np.dtype(dtype).type, lanes(dtype), shape
    four, one, thread, size, turns, met_rows, zero = read.four, read.one, read.thread, np.dtype(dtype).itemsize, runs(n), 8 * across, T(0)
    last, ragged = 32 * (turns - 1), n % 32 != 0

    @part
    def beyond():
        """Bytes back to column 0 where the thread's last run lies beyond the n columns: what it sums then, nobody wants."""
        left = u32(column_of(u32(thread())) * u32(4) + u32(last))
        return u32(left * u32(size)) if ragged and left >= u32(n) else u32(0)

    @part
    def add(memory, sums, a, w, met):
        """`w` and `met`: places of the thread's first row, and of its first run of columns."""
        back = beyond()
        for step in range(met_rows // 4):
            for i in range(down):
                x = four(memory, u32(w + u32(i * 4 * w_pitch) + u32(step) * u32(4 * size)))
                a[4 * i], a[4 * i + 1], a[4 * i + 2], a[4 * i + 3] = x[0], x[1], x[2], x[3]
            for e in range(4):
                for j in range(turns):
                    at = u32(met + (u32(step) * u32(4) + u32(e)) * u32(met_pitch) + u32(j * 32 * size))
                    b = four(memory, u32(at - back) if ragged and j == turns - 1 else at)
                    for i in range(down):
                        sums[(i * turns + j) * 4] += a[4 * i + e] * b[0]
                        sums[(i * turns + j) * 4 + 1] += a[4 * i + e] * b[1]
                        sums[(i * turns + j) * 4 + 2] += a[4 * i + e] * b[2]
                        sums[(i * turns + j) * 4 + 3] += a[4 * i + e] * b[3]

    @part
    def add_carefully(memory, sums, w, met):
        """The same without what is not allowed, which has the weight -0: there 0 times NaN would be NaN."""
        back = beyond()
        for step in range(met_rows):
            for i in range(down):
                x = one(memory, u32(w + u32(i * 4 * w_pitch) + u32(step) * u32(size)))
                if x != zero or math.copysign(1.0, x) > 0:
                    for j in range(turns):
                        at = u32(met + u32(step) * u32(met_pitch) + u32(j * 32 * size))
                        b = four(memory, u32(at - back) if ragged and j == turns - 1 else at)
                        for e in range(4):
                            sums[(i * turns + j) * 4 + e] += x * b[e]
    return add, add_carefully


@cache
def make_mask(shape):
    """Compile (look, allowed, padding): a thread's bits of a tile, one of them, and what padded keys take from them."""
    down, across = shape[:2]
    words, every = -(-across // 4), u32(0xFFFFFFFF)

    @part
    def look(M, tiles, t, row, column):
        """M: the words of the thread's rows, shifted so that its first column is bit 0; of a full tile, all bits."""
        for i in range(down):
            for w in range(words):
                M[i * words + w] = every
                if t >= 0:
                    M[i * words + w] = u32(tiles[t, row + u32(4 * i), w] >> column)

    @part
    def allowed(M, i, n):
        return M[i * words + n // 4] & u32(1 << (8 * (n % 4))) != u32(0)

    @part
    def without(M, n):
        """Column n is nobody's."""
        for i in range(down):
            M[i * words + n // 4] &= u32(0xFFFFFFFF ^ (1 << (8 * (n % 4))))
    return SimpleNamespace(look=look, allowed=allowed, without=without, words=words)
