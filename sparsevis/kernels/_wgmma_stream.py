"""Consumers of `cuda_wgmma` for whom query blocks follow each other without a gap.

While p v of a block's last tile runs, so does q k^T of the next block's first one; the old block is finished when p v is done. That
needs a second place for q, and the old maxima and sums until then.
"""
import numpy as np

from . import _ptx90 as ptx
from ._ptx80 import inline, ldg_f32, ldg_i32, uniform_i32
from ._ptx90 import cuda, mbar_arrive_if, mbar_wait
from ._wgmma_pipeline import item_of, next_item, padded, row_of
from ._wgmma_rows import LOG2E, NOTHING, ONE, ZERO, make_blank, make_finish, make_load_bits, make_soften

__all__ = ["make_consume"]

u32, u64 = np.uint32, np.uint64


def make_consume(shape, dtype, softcap, turns, edge, lazy, halves, polynomial):
    """Return what a thread of the consumers does; flags are those of `cuda_wgmma.make_attend`."""
    d, dv, rows, keys, stages, q_places = shape
    consumers, words, half = rows // 64, keys // 32, keys // 2
    (q_bytes, k_bytes, v_bytes), (at_k, at_v, at_bar, at_ring, _) = shape.bytes, shape.places
    scores, outputs, probabilities, bits = keys // 2, padded(dv) // 2, keys // 4, 2 * words      # registers
    q_part, k_part = rows * 128, keys * 128                          # bytes of 64 columns
    # 128-byte swizzle (bits 62-63), 8 rows are 1024 bytes; the way to the next 64 columns matters only for v
    DESC_K = u64(1 << 62 | 64 << 32 | 1 << 16)
    DESC_V = u64(1 << 62 | 64 << 32 | (k_part >> 4) << 16)
    skip = u64(half * 128 >> 4)                                      # to the second half of the keys
    pv, start_pv = (ptx.make_pv(keys, padded(dv), dtype, wait, name) for wait, name in ((True, "pv"), (False, "start_pv")))
    pin_o, pin_p = ptx.make_pin(outputs, "f", "pin_o"), ptx.make_pin(probabilities, "r", "pin_p")
    load_bits, finish, blank = make_load_bits(rows, words), make_finish(outputs, dv, dtype), make_blank(dv)

    def make_steps(width):
        """The first and every further step of a list, for `width` keys. Across a branch no product may run: ptxas would wait for each."""
        depth = -(-d // 16) * 16
        qk, start_qk = (ptx.make_qk(width, depth, q_part, k_part, dtype, wait, name) for wait, name in ((True, "qk"), (False, "start_qk")))
        pin_s = ptx.make_pin(width // 2, "f", "pin_s")
        soften, rescale, pack = make_soften(width, keys, words, outputs, dtype, softcap, lazy, polynomial)

        @inline
        def begin(S, P, M, m, l, qd, kd, k_empty, lead, scale, scale_log2, limit, masked, second):
            qk(S, qd, kd)
            mbar_arrive_if(k_empty, lead)
            soften(S, M, m, l, scale, scale_log2, limit, masked)
            pack(S, P, second)

        @inline
        def advance(O, S, P, M, m, l, qd, kd, vd, k_empty, v_empty, lead, wg, scale, scale_log2, limit, masked, second):
            start_qk(S, qd, kd)
            start_pv(O, P, vd)
            if turns:
                ptx.turn_pass(u32((wg + u32(1)) % u32(consumers) + u32(1)))
            ptx.wg_wait1()
            pin_s(S)
            mbar_arrive_if(k_empty, lead)
            soften(S, M, m, l, scale, scale_log2, limit, masked)
            if edge:                                                 # else the next wait is pulled above the exponentials
                ptx.sched_edge(l[0] + l[1])
            ptx.wg_wait0()
            pin_o(O)
            pin_p(P)
            mbar_arrive_if(v_empty, lead)
            pack(S, P, second)
        return begin, advance, rescale

    begin, advance, rescale = make_steps(keys)
    begin_half, advance_half, _ = make_steps(half) if halves else (begin, advance, rescale)

    @inline
    def after(stage, phase):
        """The next place of the ring; the phase of its barriers turns over at the end."""
        return (u32(0), u32(phase ^ u32(1))) if stage == u32(stages - 1) else (u32(stage + u32(1)), phase)

    @inline
    def look(e, kind, tiles, parts, M, row, pair, wg):
        """Whether entry e of the lists needs a mask, which is fetched, all of its keys, or but the second half."""
        t = uniform_i32(ldg_i32(kind, u32(e)))
        need = u32(3) if t < 0 else u32(7)
        if halves and t >= 0:
            need = u32(uniform_i32(ldg_i32(parts, u32(t)))) >> u32(wg * u32(3)) & u32(7)
        masked, whole, second = need & u32(4) != u32(0), need & u32(3) == u32(3), need & u32(3) == u32(2)
        if masked:
            load_bits(M, tiles, t, row, pair, u32(words // 2) if second else u32(0))
        return masked, whole, second

    @inline
    def seek(at, round_end, o, lse, heads, order, indptr, sinks, nheads, nq, nblocks, items, span, o_row, o_head, row, lane):
        """The next item that has a list, and its list; those without are written. Equal ends of the list: there is none."""
        head, block, first, last = u32(0), u32(0), np.int32(0), np.int32(0)
        while at < items and first == last:
            head, rank = item_of(at, span, u32(items // nblocks), nblocks)
            block, line = row_of(head, rank, heads, order, nheads, nblocks)
            first, last = uniform_i32(ldg_i32(indptr, line)), uniform_i32(ldg_i32(indptr, u32(line + u32(1))))
            if first == last:
                blank(ldg_f32(sinks, head), o, lse, head, u32(block * u32(rows) + row), nq, o_row, o_head, lane)
            at = next_item(at, round_end)
            round_end += u32(cuda.gridDim.x)
        return at, round_end, head, u32(block * u32(rows) + row), first, last

    @inline
    def consume(s0, o, lse, heads, order, indptr, kind, tiles, sinks, parts, nheads, nq, nblocks, items, span, o_row, o_head, scale_log2,
                limit, tid, warp):
        O, S = cuda.local.array(outputs, np.float32), cuda.local.array(scores, np.float32)
        P, M = cuda.local.array(probabilities, np.uint32), cuda.local.array(bits, np.uint32)
        m, l = cuda.local.array(2, np.float32), cuda.local.array(4, np.float32)
        old_m, old_l = cuda.local.array(2, np.float32), cuda.local.array(2, np.float32)
        bar, wg, lane = u32(s0 + u32(at_bar)), u32(warp >> u32(2)), u32(tid & u32(31))
        row, pair = u32(warp * u32(16) + (lane >> u32(2))), u32((lane & u32(3)) * u32(2))
        first_qd = u64(DESC_K | u64((s0 + wg * u32(64 * 128)) >> u32(4)))
        lead = u32(1) if lane == u32(0) else u32(0)                  # every warp says itself that it is through with a place
        scale = ONE if softcap else scale_log2
        stage, phase, nth, qd = u32(0), u32(0), u32(0), first_qd
        for i in range(bits):
            M[i] = u32(0)
        for i in range(outputs):
            O[i] = ZERO
        for h in range(2):
            m[h], l[h], l[2 + h] = NOTHING, ZERO, ZERO
        if turns and wg == u32(consumers - 1):
            ptx.turn_pass(u32(1))
        at, round_end, head, mine, e, last = seek(u32(cuda.blockIdx.x), u32(cuda.gridDim.x), o, lse, heads, order, indptr, sinks, nheads, nq,
                                                  nblocks, items, span, o_row, o_head, row, lane)
        if e < last:
            masked, whole, second = look(e, kind, tiles, parts, M, row, pair, wg)
            b = u32(s0 + u32(at_ring))
            kd = u64(DESC_K | u64((s0 + u32(at_k)) >> u32(4)))
            mbar_wait(bar, u32(0))
            mbar_wait(b, phase)
            if halves and not whole:
                begin_half(S, P, M, m, l, qd, u64(kd + (skip if second else u64(0))), u32(b + u32(16)), lead, scale, scale_log2, limit,
                           masked, second)
            else:
                begin(S, P, M, m, l, qd, kd, u32(b + u32(16)), lead, scale, scale_log2, limit, masked, second)
            busy = True
            while busy:
                e += np.int32(1)
                before, old_head, old_mine = e < last, head, mine
                if not before:                                       # q has been read for the last time; o is finished below
                    mbar_arrive_if(u32(bar + u32(nth % u32(q_places)) * u32(16) + u32(8)), lead)
                    at, round_end, head, mine, e, last = seek(at, round_end, o, lse, heads, order, indptr, sinks, nheads, nq, nblocks,
                                                              items, span, o_row, o_head, row, lane)
                    busy = e < last
                    nth += u32(1)
                    for h in range(2):
                        old_m[h], old_l[h], m[h], l[h] = m[h], l[h], NOTHING, ZERO
                    if busy:
                        q_place = u32(nth % u32(q_places))
                        qd = u64(first_qd + u64(q_place * u32(q_bytes) >> u32(4)))
                        mbar_wait(u32(bar + q_place * u32(16)), u32(nth // u32(q_places)) & u32(1))
                if busy:
                    masked, whole, second = look(e, kind, tiles, parts, M, row, pair, wg)
                    v_bar = b                                        # where p's values lie
                    vd = u64(DESC_V | u64((s0 + u32(at_v) + stage * u32(v_bytes)) >> u32(4)))
                    mbar_wait(u32(b + u32(8)), phase)
                    stage, phase = after(stage, phase)
                    b = u32(s0 + u32(at_ring) + stage * u32(32))
                    kd = u64(DESC_K | u64((s0 + u32(at_k) + stage * u32(k_bytes)) >> u32(4)))
                    mbar_wait(b, phase)
                    if turns:
                        ptx.turn_wait(u32(wg + u32(1)))
                    if halves and not whole:
                        start = u64(kd + (skip if second else u64(0)))
                        advance_half(O, S, P, M, m, l, qd, start, vd, u32(b + u32(16)), u32(v_bar + u32(24)), lead, wg, scale, scale_log2,
                                     limit, masked, second)
                    else:
                        advance(O, S, P, M, m, l, qd, kd, vd, u32(b + u32(16)), u32(v_bar + u32(24)), lead, wg, scale, scale_log2,
                                limit, masked, second)
                    if before:
                        rescale(O, l)
                    else:
                        finish(O, old_m, old_l, scale, ldg_f32(sinks, old_head) * LOG2E, o, lse, old_head, old_mine, nq, o_row, o_head,
                               lane)
                        for i in range(outputs):
                            O[i] = ZERO
            mbar_wait(u32(b + u32(8)), phase)
            pv(O, P, u64(DESC_V | u64((s0 + u32(at_v) + stage * u32(v_bytes)) >> u32(4))))
            finish(O, old_m, old_l, scale, ldg_f32(sinks, old_head) * LOG2E, o, lse, old_head, old_mine, nq, o_row, o_head, lane)
    return consume
