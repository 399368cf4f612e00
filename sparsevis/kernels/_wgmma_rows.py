"""What a consumer thread of `cuda_wgmma` does with its registers: mask, cap, softmax, and the way of o to memory.

Of 64 rows of sums a thread holds columns 8 n + 2 (lane % 4) + e of rows 16 warp + lane // 4 + 8 h, e and h 0 or 1, as x[4 n + 2 h + e].
"""
from collections import namedtuple

import numpy as np

from ._ptx80 import ex2, inline, ldg_u32, lg2, pack_bf16, pack_f16, rcp, shfl_bfly_f32, shfl_bfly_u32, stg_f32, stg_v4_u32

__all__ = ["LOG2E", "NOTHING", "ONE", "ZERO", "make_finish", "make_load_bits", "make_soften"]

u32, u64, f32 = np.uint32, np.uint64, np.float32
LN2, LOG2E = f32(np.log(2)), f32(1 / np.log(2))
NOTHING, ZERO, ONE = f32(-np.inf), f32(0), f32(1)
Soften = namedtuple("Soften", "soften rescale pack")


def make_load_bits(rows, words):
    """Return the function that fetches a thread's mask: early, so that the products hide the way."""
    @inline
    def load_bits(M, tiles, t, row, pair):
        """The words of rows `row` and `row + 8` of tile t, shifted so that this thread's first column is bit 0."""
        for h in range(2):
            for w in range(words):
                i = u32((u32(t) * u32(rows) + row + u32(8 * h)) * u32(words) + u32(w))
                M[h * words + w] = u32(ldg_u32(tiles, i) >> pair)
    return load_bits


# ---------------------------------------------------------------- scores to probabilities

def make_soften(keys, words, outputs, dtype, softcap):
    """Return the functions for a tile's scores: to probabilities, the sums' way to a new maximum, and p in 16 bits."""
    columns = keys // 8
    pack2 = pack_bf16 if dtype == "bf16" else pack_f16

    @inline
    def mask(S, M):
        for h in range(2):
            for n in range(columns):
                for e in range(2):
                    if M[h * words + (n >> 2)] & u32(1 << (8 * (n & 3) + e)) == u32(0):
                        S[n * 4 + 2 * h + e] = NOTHING

    @inline
    def cap(S, scale, limit):
        """S = limit tanh(scale S / limit) in bits, where tanh(x) = 1 - 2 / (1 + e^2x)."""
        inner, outer = f32(f32(2) * scale / limit), f32(limit * LOG2E)
        for n in range(4 * columns):
            S[n] = outer - f32(2) * outer * rcp(ONE + ex2(S[n] * inner))

    @inline
    def softmax(S, m, l, scale):
        """One step of the online softmax in base 2: S becomes P, m and l[:2] go on; l[2:] is O's factor."""
        for h in range(2):
            top = m[h]
            for n in range(columns):
                top = max(top, max(S[n * 4 + 2 * h], S[n * 4 + 2 * h + 1]))
            top = max(top, shfl_bfly_f32(top, u32(1)))
            top = max(top, shfl_bfly_f32(top, u32(2)))
            shift = top * scale if top > NOTHING else ZERO           # nothing allowed so far: 2^(-inf - 0) = 0, never NaN
            l[2 + h] = ex2(m[h] * scale - shift)
            m[h] = top
            total = ZERO
            for n in range(columns):
                a, b = ex2(S[n * 4 + 2 * h] * scale - shift), ex2(S[n * 4 + 2 * h + 1] * scale - shift)
                S[n * 4 + 2 * h], S[n * 4 + 2 * h + 1] = a, b
                total += a + b
            l[h] = l[h] * l[2 + h] + total

    @inline
    def soften(S, M, m, l, scale, scale_log2, limit, masked):
        if softcap:
            cap(S, scale_log2, limit)
        if masked:
            mask(S, M)
        softmax(S, m, l, scale)

    @inline
    def rescale(O, l):
        for h in range(2):
            for n in range(outputs // 4):
                O[n * 4 + 2 * h] *= l[2 + h]
                O[n * 4 + 2 * h + 1] *= l[2 + h]

    @inline
    def pack(S, P):
        for n in range(2 * columns):
            P[n] = pack2(S[2 * n], S[2 * n + 1])
    return Soften(soften, rescale, pack)


# ---------------------------------------------------------------- the end of a query block

def make_finish(outputs, dv, dtype):
    """Return the function that joins the sink, divides by the sums and stores o and lse."""
    pack2, groups, pieces = pack_bf16 if dtype == "bf16" else pack_f16, outputs // 16, dv // 8

    @inline
    def trade(a, b, lane, bit):
        """Lanes that differ in `bit` swap the upper one's a for the lower one's b."""
        upper = lane & bit != u32(0)
        got = shfl_bfly_u32(a if upper else b, bit)
        return (got, b) if upper else (a, got)

    @inline
    def store(O, h, factor, to, lane):
        """Write a row of O. A lane has 2 of every 8 columns; four lanes trade until each has 8 of 32, 16 bytes side by side."""
        for g in range(groups):
            n = g * 16 + 2 * h
            a, b = pack2(O[n] * factor, O[n + 1] * factor), pack2(O[n + 4] * factor, O[n + 5] * factor)
            c, d = pack2(O[n + 8] * factor, O[n + 9] * factor), pack2(O[n + 12] * factor, O[n + 13] * factor)
            a, b = trade(a, b, lane, u32(1))
            c, d = trade(c, d, lane, u32(1))
            a, c = trade(a, c, lane, u32(2))
            b, d = trade(b, d, lane, u32(2))
            piece = u32(u32(g * 4) + (lane & u32(3)))
            if to != u64(0) and piece < u32(pieces):
                stg_v4_u32(u64(to + u64(piece) * u64(16)), a, b, c, d)

    @inline
    def finish(O, m, l, scale, sink, o, lse, head, first, nq, o_row, o_head, lane):
        """A row without an allowed key gives 0, and the sink, or -inf."""
        for h in range(2):
            total = l[h]
            total = total + shfl_bfly_f32(total, u32(1))
            total = total + shfl_bfly_f32(total, u32(2))
            mine, top = m[h] * scale, max(m[h] * scale, sink)
            shift = top if top > NOTHING else ZERO
            keep = ex2(mine - shift)
            total = total * keep + ex2(sink - shift)
            factor = ZERO if total == ZERO else keep * rcp(total)
            i = u32(first + u32(8 * h))
            store(O, h, factor, u64(o + u64(head) * o_head + u64(i) * o_row) if i < nq else u64(0), lane)
            if i < nq and lane & u32(3) == u32(0):
                stg_f32(lse, u32(head * nq + i), (shift + lg2(total)) * LN2)
    return finish
