"""The two roles in `cuda_wgmma`: a producer that fills places in shared memory, consumers that empty them, and barriers between.

A place of the ring holds one tile of k and one of v. Barriers, 8 bytes each: of every place for q full, empty; of every place of the ring
k full, v full, k empty, v empty. `phase` is that of the barriers of the present place, which turns over from round to round.
"""
from typing import NamedTuple

import numpy as np

from . import _ptx90 as ptx
from ._ptx80 import inline, ldg_f32, ldg_i32, uniform_i32
from ._ptx90 import cuda, mbar_arrive_if, mbar_expect_tx, mbar_wait, tma_load_4d
from ._wgmma_rows import LOG2E, NOTHING, ONE, ZERO, make_finish, make_load_bits, make_soften

__all__ = ["Shape", "make_consume", "make_produce", "padded"]

u32, u64, i32 = np.uint32, np.uint64, np.int32


def padded(d):
    """Columns of shared memory: whole groups of 64, 128 bytes each."""
    return -(-d // 64) * 64


class Shape(NamedTuple):
    """Sizes that a kernel is compiled for."""

    d: int
    dv: int
    rows: int
    keys: int
    stages: int

    @property
    def parts(self):
        """Groups of 64 columns: of q and k, and of v."""
        return padded(self.d) // 64, padded(self.dv) // 64

    @property
    def bytes(self):
        """Of q, and of a tile of k and of v."""
        (qk, v), part = self.parts, self.keys * 128
        return qk * self.rows * 128, qk * part, v * part

    @property
    def places(self):
        """Where in shared memory the first k, the first v, the barriers of q and those of the ring lie; and the end."""
        q, k, v = self.bytes
        at_v = q + self.stages * k
        bar = at_v + self.stages * v
        return q, at_v, bar, bar + 16, bar + 16 + 32 * self.stages


# ---------------------------------------------------------------- work

@inline
def item_of(i, span, query_heads, nblocks):
    """Item i as (head, rank in the order of its plane): `span` heads in turn, longest lists first, then the next `span` heads."""
    section = u32(i // u32(span * nblocks))
    inside = u32(i - u32(section * u32(span * nblocks)))
    width = min(span, u32(query_heads - u32(section * span)))
    return u32(u32(section * span) + u32(inside % width)), u32(inside // width)


@inline
def row_of(head, rank, heads, order, nheads, nblocks):
    """The query block, and its row of the lists."""
    first = u32(u32(ldg_i32(heads, u32(head % nheads))) * nblocks)
    block = u32(ldg_i32(order, u32(first + rank)))
    return block, u32(first + block)


@inline
def next_item(at, round_end):
    """To and fro: who had the longest list of one round has the shortest of the next."""
    return u32(u32(2) * round_end - u32(1) - at)


# ---------------------------------------------------------------- the producer

def make_produce(shape):
    """Return what one thread does: bring q, k and v of every item."""
    _, _, rows, keys, stages = shape
    (qk_parts, v_parts), (q_bytes, k_bytes, v_bytes), (at_k, at_v, at_bar, at_ring, _) = shape.parts, shape.bytes, shape.places
    q_part, k_part = rows * 128, keys * 128                          # bytes of 64 columns

    @inline
    def copy(to, tensor_map, bar, parts, step, row, head, batch):
        for s in range(parts):
            tma_load_4d(u32(to + u32(s * step)), tensor_map, bar, i32(s * 64), row, head, batch)

    @inline
    def produce(s0, tq, tk, tv, heads, order, indptr, indices, nheads, group, nblocks, items, span):
        bar = u32(s0 + u32(at_bar))
        ptx.fence_tmap(tq)
        ptx.fence_tmap(tk)
        ptx.fence_tmap(tv)
        stage, phase, q_phase = u32(0), u32(1), u32(1)
        query_heads = u32(items // nblocks)
        at, round_end = u32(cuda.blockIdx.x), u32(cuda.gridDim.x)
        while at < items:
            head, rank = item_of(at, span, query_heads, nblocks)
            block, row = row_of(head, rank, heads, order, nheads, nblocks)
            batch, inside = i32(head // nheads), u32(head % nheads)
            kv = i32(inside // group)
            first, last = ldg_i32(indptr, row), ldg_i32(indptr, u32(row + u32(1)))
            if first < last:
                mbar_wait(u32(bar + u32(8)), q_phase)
                q_phase ^= u32(1)
                mbar_expect_tx(bar, u32(q_bytes))
                copy(s0, tq, bar, qk_parts, q_part, i32(block * u32(rows)), i32(inside), batch)
            for e in range(first, last):
                start = i32(ldg_i32(indices, u32(e)) * keys)
                b = u32(s0 + u32(at_ring) + stage * u32(32))
                mbar_wait(u32(b + u32(16)), phase)
                mbar_expect_tx(b, u32(k_bytes))
                copy(u32(s0 + u32(at_k) + stage * u32(k_bytes)), tk, b, qk_parts, k_part, start, kv, batch)
                mbar_wait(u32(b + u32(24)), phase)
                mbar_expect_tx(u32(b + u32(8)), u32(v_bytes))
                copy(u32(s0 + u32(at_v) + stage * u32(v_bytes)), tv, u32(b + u32(8)), v_parts, k_part, start, kv, batch)
                stage += u32(1)
                if stage == u32(stages):
                    stage = u32(0)
                    phase ^= u32(1)
            at = next_item(at, round_end)
            round_end += u32(cuda.gridDim.x)
    return produce


# ---------------------------------------------------------------- the consumers

def make_consume(shape, dtype, softcap, edge):
    """Return what a thread of the consumers does; flags are those of `cuda_wgmma.make_attend`."""
    d, dv, rows, keys, stages = shape
    words, depth = keys // 32, -(-d // 16) * 16
    _, (_, k_bytes, v_bytes), (at_k, at_v, at_bar, at_ring, _) = shape.parts, shape.bytes, shape.places
    scores, outputs, probabilities, bits = keys // 2, padded(dv) // 2, keys // 4, 2 * words      # registers
    q_part, k_part = rows * 128, keys * 128                          # bytes of 64 columns
    # 128-byte swizzle (bits 62-63), 8 rows are 1024 bytes; the way to the next 64 columns matters only for v
    DESC_K = u64(1 << 62 | 64 << 32 | 1 << 16)
    DESC_V = u64(1 << 62 | 64 << 32 | (k_part >> 4) << 16)
    qk, start_qk = (ptx.make_qk(keys, depth, q_part, k_part, dtype, wait, name) for wait, name in ((True, "qk"), (False, "start_qk")))
    pv, start_pv = (ptx.make_pv(keys, padded(dv), dtype, wait, name) for wait, name in ((True, "pv"), (False, "start_pv")))
    pin_o, pin_p, pin_s = (ptx.make_pin(*x) for x in ((outputs, "f", "pin_o"), (probabilities, "r", "pin_p"), (scores, "f", "pin_s")))
    load_bits, finish = make_load_bits(rows, words), make_finish(outputs, dv, dtype)
    soften, rescale, pack = make_soften(keys, words, outputs, dtype, softcap)

    @inline
    def advance(O, S, P, M, m, l, qd, kd, vd, k_empty, v_empty, lead, scale, scale_log2, limit, masked):
        """The next tile's scores and the last one's values, both under way; softmax runs below the second."""
        start_qk(S, qd, kd)
        start_pv(O, P, vd)
        ptx.wg_wait1()
        pin_s(S)
        mbar_arrive_if(k_empty, lead)
        soften(S, M, m, l, scale, scale_log2, limit, masked)
        if edge:                                                     # else the next wait is pulled above the exponentials
            ptx.sched_edge(l[0] + l[1])
        ptx.wg_wait0()
        pin_o(O)
        pin_p(P)
        mbar_arrive_if(v_empty, lead)
        pack(S, P)
        rescale(O, l)

    @inline
    def after(stage, phase):
        """The next place of the ring; the phase of its barriers turns over at the end."""
        return (u32(0), u32(phase ^ u32(1))) if stage == u32(stages - 1) else (u32(stage + u32(1)), phase)

    @inline
    def look(e, kind, tiles, M, row, pair):
        """Whether entry e of the lists needs a mask, which is fetched then."""
        t = uniform_i32(ldg_i32(kind, u32(e)))
        if t >= 0:
            load_bits(M, tiles, t, row, pair)
        return t >= 0

    @inline
    def consume(s0, o, lse, heads, order, indptr, kind, tiles, sinks, nheads, nq, nblocks, items, span, o_row, o_head, scale_log2, limit,
                tid, warp):
        O, S = cuda.local.array(outputs, np.float32), cuda.local.array(scores, np.float32)
        P, M = cuda.local.array(probabilities, np.uint32), cuda.local.array(bits, np.uint32)
        m, l = cuda.local.array(2, np.float32), cuda.local.array(4, np.float32)
        bar, lane = u32(s0 + u32(at_bar)), u32(tid & u32(31))
        row, pair = u32(warp * u32(16) + (lane >> u32(2))), u32((lane & u32(3)) * u32(2))
        qd = u64(DESC_K | u64((s0 + (warp >> u32(2)) * u32(64 * 128)) >> u32(4)))
        lead = u32(1) if lane == u32(0) else u32(0)                  # every warp says itself that it is through with a place
        scale = ONE if softcap else scale_log2
        query_heads = u32(items // nblocks)
        stage, phase, q_phase = u32(0), u32(0), u32(0)
        for i in range(bits):
            M[i] = u32(0)
        at, round_end = u32(cuda.blockIdx.x), u32(cuda.gridDim.x)
        while at < items:
            head, rank = item_of(at, span, query_heads, nblocks)
            block, line = row_of(head, rank, heads, order, nheads, nblocks)
            first, last = uniform_i32(ldg_i32(indptr, line)), uniform_i32(ldg_i32(indptr, u32(line + u32(1))))
            for i in range(outputs):
                O[i] = ZERO
            for h in range(2):
                m[h], l[h], l[2 + h] = NOTHING, ZERO, ZERO
            if first < last:
                mbar_wait(bar, q_phase)
                q_phase ^= u32(1)
                masked = look(first, kind, tiles, M, row, pair)
                b = u32(s0 + u32(at_ring) + stage * u32(32))
                mbar_wait(b, phase)
                qk(S, qd, u64(DESC_K | u64((s0 + u32(at_k) + stage * u32(k_bytes)) >> u32(4))))
                mbar_arrive_if(u32(b + u32(16)), lead)
                soften(S, M, m, l, scale, scale_log2, limit, masked)
                pack(S, P)
                for e in range(first + 1, last):
                    masked = look(e, kind, tiles, M, row, pair)
                    v_bar = b                                        # where p's values lie
                    vd = u64(DESC_V | u64((s0 + u32(at_v) + stage * u32(v_bytes)) >> u32(4)))
                    mbar_wait(u32(b + u32(8)), phase)
                    stage, phase = after(stage, phase)
                    b = u32(s0 + u32(at_ring) + stage * u32(32))
                    kd = u64(DESC_K | u64((s0 + u32(at_k) + stage * u32(k_bytes)) >> u32(4)))
                    mbar_wait(b, phase)
                    advance(O, S, P, M, m, l, qd, kd, vd, u32(b + u32(16)), u32(v_bar + u32(24)), lead, scale, scale_log2, limit, masked)
                mbar_arrive_if(u32(bar + u32(8)), lead)              # q has been read for the last time
                mbar_wait(u32(b + u32(8)), phase)
                pv(O, P, u64(DESC_V | u64((s0 + u32(at_v) + stage * u32(v_bytes)) >> u32(4))))
                mbar_arrive_if(u32(b + u32(24)), lead)
                stage, phase = after(stage, phase)
            finish(O, m, l, scale, ldg_f32(sinks, head) * LOG2E, o, lse, head, u32(block * u32(rows) + row), nq, o_row, o_head, lane)
            at = next_item(at, round_end)
            round_end += u32(cuda.gridDim.x)
    return consume
