"""Matrix products of rows in shared memory on tensor cores, and the ways in and out: the parts of `_cuda_mma_walk.py`.

Rows begin at multiples of 128 bytes, and the 16-byte place c of row r lies at c ^ (r & 7): the eight rows that `ldmatrix` reads together,
and eight places that are written together, are in different banks. A lane's address for columns 16 k is that for column 0, with bits 5
and 6 changed, and whole 128 bytes added. Sums of 16 x 8 numbers are 4 registers a lane, and two neighbours, packed to 16 bits, are a left
operand of 16 x 16 (PTX ISA, section 9.7.14).
"""
from functools import cache

import numpy as np

from ._ptx80 import cp_async16, cuda, inline, ldmatrix_x4, ldmatrix_x4_trans, lds_v4_u32, stg_v4_u32, sts_u32, warp_sync

__all__ = ["columns_of", "make_add", "make_load", "make_products", "make_store", "row_bytes"]

u32, u64, f32 = np.uint32, np.uint64, np.float32


def row_bytes(d, split=1):
    """Bytes of a row of shared memory: for 64, 128 or 256 numbers; each of `split` warps finds 64 at least."""
    return 128 if d <= 64 and split == 1 else 256 if d <= 128 else 512


def columns_of(d, split):
    """Columns of the sums that a warp makes."""
    return -(-d // 16) * 16 if split == 1 else 64 if d <= 128 else 128


@cache
def make_load(rows, d, wide, threads):
    """Compile a copy of rows of d numbers to shared memory, 16 bytes a thread at a time; zeros beyond the last row and column."""
    places = wide // 16
    passes, held = -(-rows * places // threads), threads // places
    all_rows = rows * places % threads == 0

    @inline
    def load(to, source, stride, first, limit):
        t = u32(cuda.threadIdx.x)
        r, c = t // u32(places), t % u32(places)
        source = u64(source + u64(c) * u64(16))
        for i in range(passes):
            row = u32(r + u32(i * held))
            there = u32(first + row)
            size = u32(16) if there < limit and c < u32(d // 8) else u32(0)
            if all_rows or row < u32(rows):
                place = u32(to + row * u32(wide) + (c ^ (row & u32(7))) * u32(16))
                cp_async16(place, u64(source + u64(there) * stride) if size else source, size)
    return load


@cache
def make_products(d, wide, strips, step, mma, at_own=0, at_met=0):
    """Compile s += own met^T for 16 * strips owned rows and `step` met ones, of d numbers, that lie at_own and at_met bytes further.

    A loop makes 64 of the d, and another function the rest: one loop over all 128 or 256 would stay a loop, and its copies wait.
    """
    inner, pairs, kept, more = min(4, -(-d // 16)), step // 16, strips * 4, d > 64
    rest = make_products(d - 64, wide, strips, step, mma, at_own + 128, at_met + 128) if more else None

    @inline
    def first(s, own, met):
        """`own` and `met` are where this lane's rows begin, with the lane's own bits of the place."""
        a = cuda.local.array(kept, np.uint32)
        for k in range(inner):
            for m in range(strips):
                x = ldmatrix_x4(u32((own ^ u32(32 * k)) + u32(at_own + m * 16 * wide)))
                a[m * 4], a[m * 4 + 1], a[m * 4 + 2], a[m * 4 + 3] = x[0], x[1], x[2], x[3]
            for n in range(pairs):
                b = ldmatrix_x4(u32((met ^ u32(32 * k)) + u32(at_met + n * 16 * wide)))
                for m in range(strips):
                    for half in range(2):
                        e = ((m * pairs + n) * 2 + half) * 4
                        x = mma((a[m * 4], a[m * 4 + 1], a[m * 4 + 2], a[m * 4 + 3]), (b[2 * half], b[2 * half + 1]),
                                (s[e], s[e + 1], s[e + 2], s[e + 3]))
                        s[e], s[e + 1], s[e + 2], s[e + 3] = x[0], x[1], x[2], x[3]

    @inline
    def both(s, own, met):
        first(s, own, met)
        rest(s, own, met)
    return both if more else first


@cache
def make_add(columns, wide, strips, step, mma, pack, at_met=0):
    """Compile sums += w met, which lies at_met bytes further; w, as `products` left it, is the left operand, two numbers a register."""
    inner, pairs, kept = step // 16, columns // 16, strips * 4

    @inline
    def add(sums, w, met):
        a = cuda.local.array(kept, np.uint32)
        for k in range(inner):
            for m in range(strips):
                for i in range(4):
                    e = (m * inner + k) * 8 + 2 * i
                    a[m * 4 + i] = pack(w[e], w[e + 1])
            for n in range(pairs):
                b = ldmatrix_x4_trans(u32((met ^ u32(n % 4 * 32)) + u32(at_met + n // 4 * 128 + k * 16 * wide)))
                for m in range(strips):
                    for half in range(2):
                        e = ((m * pairs + n) * 2 + half) * 4
                        x = mma((a[m * 4], a[m * 4 + 1], a[m * 4 + 2], a[m * 4 + 3]), (b[2 * half], b[2 * half + 1]),
                                (sums[e], sums[e + 1], sums[e + 2], sums[e + 3]))
                        sums[e], sums[e + 1], sums[e + 2], sums[e + 3] = x[0], x[1], x[2], x[3]
    return add


@cache
def make_store(d, columns, strips, pack):
    """Compile the writing of a warp's sums: through shared memory that only this warp uses, 16 bytes a lane at once."""
    total, wide = 16 * strips * columns // 8, 2 * columns + 16          # 16 bytes more: rows begin in different banks

    @inline
    def store(out, room, sums, factor, first, limit, left):
        """`room`: 16 * strips rows of 2 * columns + 16 bytes. `out`: row 0; `left`: the first column of these sums."""
        lane = u32(cuda.threadIdx.x) & u32(31)
        at = u32(room + (lane >> u32(2)) * u32(wide) + (lane & u32(3)) * u32(4))
        for m in range(strips):
            for n in range(columns // 8):
                e = (m * (columns // 8) + n) * 4
                sts_u32(u32(at + u32(m * 16 * wide + n * 16)), pack(sums[e] * factor, sums[e + 1] * factor))
                sts_u32(u32(at + u32((m * 16 + 8) * wide + n * 16)), pack(sums[e + 2] * factor, sums[e + 3] * factor))
        warp_sync()
        for i in range(total // 32):
            place = u32(lane + u32(32 * i))
            r, c = place // u32(columns // 8), u32(place % u32(columns // 8) * u32(8))
            if u32(first + r) < limit and u32(left + c) < u32(d):
                x = lds_v4_u32(u32(room + r * u32(wide) + c * u32(2)))
                stg_v4_u32(u64(out + u64(u32(first + r)) * u64(2 * d) + u64(u32(left + c)) * u64(2)), x[0], x[1], x[2], x[3])
        warp_sync()
    return store
