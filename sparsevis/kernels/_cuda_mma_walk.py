"""One walk over a layout on tensor cores, for gradients (see `_cuda_mma_backward.py`): a block of threads *owns* rows and *meets* others.

    of queries: owns q, do;  meets k, v            of keys: owns k, v;  meets q, do of every query head that reads them
        s, dp = q k^T, do v^T                          s, dp = k q^T, v do^T                  (owned x met)
        p = exp(s - lse);  ds = p (dp - delta)         p = exp(s - lse);  ds = p (dp - delta)
        dq += ds k                                     dv += p do;  dk += ds q

A warp owns 16 or 32 rows. What it met comes in stages of shared memory, one worked on and one on its way; `step` rows of it are met at
once, since their s and dp are registers. The queries' (lse, delta) are registers where they are owned, and in the stage where they are met.
"""
import math
from functools import cache
from typing import NamedTuple

import numpy as np

from . import _ptx80 as ptx
from ._cuda_call import Built
from ._cuda_mma_products import columns_of, make_add, make_load, make_products, make_store, row_bytes
from ._ptx80 import cp_async16, cp_commit, cp_wait0, cuda, ex2, inline, ldg_f32, ldg_i32, ldg_u32, lds_v4_f32, rcp, uniform_i32

__all__ = ["LOG2E", "Shape", "make_walk", "tensor_core"]

u32, u64, i32, f32 = np.uint32, np.uint64, np.int32, np.float32
LOG2E = f32(math.log2(math.e))
SIGNATURE = ("uint64",) * 13 + ("uint32",) * 5 + ("uint64",) * 12 + ("float32",) * 3


class Shape(NamedTuple):
    """How a walk is cut.

    Parameters
    ----------
    warps : int
    strips : int
        Owned rows of a warp, in sixteens.
    split : int
        Warps that share owned rows and divide the columns of the sums, which would not fit one warp's registers.
    met, step : int
        Rows of a stage, and those that are met at once.
    blocks : int
        Blocks of threads that a multiprocessor is to hold.
    """

    warps: int
    strips: int
    split: int
    met: int
    step: int
    blocks: int = 1

    @property
    def own(self):
        """Rows that a block owns."""
        return 16 * self.strips * self.warps // self.split

    def shared(self, d, dv):
        """Bytes of shared memory: what is owned, two stages of what is met; at the end the sums pass through the same place."""
        row, room = row_bytes(d, self.split) + row_bytes(dv, self.split), 2 * columns_of(max(d, dv), self.split) + 16
        return max(self.own * row + 2 * self.met * (row + 8), self.own * self.split * room)


def tensor_core(dtype):
    """Return (mma, pack) for "bf16" or "f16"."""
    return (ptx.mma_bf16, ptx.pack_bf16) if dtype == "bf16" else (ptx.mma_f16, ptx.pack_f16)


# ---------------------------------------------------------------- what happens to a score

@cache
def make_gradient(softcap):
    """Compile (p, ds) of a score before scaling, from dp and the row's numbers; tanh(x) = 1 - 2 / (1 + exp(2 x))."""
    @inline
    def plain(s, dp, lse, delta, scale, cap):
        p = ex2(s * scale - lse)
        return p, p * (dp - delta)

    @inline
    def capped(s, dp, lse, delta, scale, cap):
        bent = f32(1) - f32(2) * rcp(f32(1) + ex2(s * (f32(2) * scale / cap)))
        p = ex2(cap * LOG2E * bent - lse)
        return p, p * (dp - delta) * (f32(1) - bent * bent)
    return capped if softcap else plain


@cache
def make_weigh(of_keys, strips, step, softcap):
    """Compile s, dp -> p, ds in place: a query's (lse, delta) are in registers, `own`, or in shared memory from `met` on."""
    tiles, gradient = step // 8, make_gradient(softcap)

    @inline
    def of_rows(s, g, own, met, scale, cap):
        for m in range(strips):
            for n in range(tiles):
                for i in range(4):
                    e, r = (m * tiles + n) * 4 + i, m * 4 + i // 2 * 2
                    s[e], g[e] = gradient(s[e], g[e], own[r], own[r + 1], scale, cap)

    @inline
    def of_columns(s, g, own, met, scale, cap):
        for n in range(tiles):
            x = lds_v4_f32(u32(met + u32(64 * n)))
            for m in range(strips):
                for h in range(2):
                    e = (m * tiles + n) * 4 + 2 * h
                    s[e], g[e] = gradient(s[e], g[e], x[0], x[1], scale, cap)
                    s[e + 1], g[e + 1] = gradient(s[e + 1], g[e + 1], x[2], x[3], scale, cap)
    return of_columns if of_keys else of_rows


@cache
def make_mask(own, met, strips, step):
    """Compile (bits, mask): read the bits of a lane's pairs in a stored tile, and make 0 of what is not allowed."""
    words, some, tiles = -(-met // 32), max(1, step // 32), step // 8

    @inline
    def bits(b, tiles, tile, row, column):
        """Bit 0 of a word becomes that of the lane's first column."""
        at = u32(u32(tile) * u32(own * words) + row * u32(words) + column // u32(32))
        for m in range(strips * 2):
            for w in range(some):
                b[m * some + w] = u32(ldg_u32(tiles, u32(at + u32(m * 8 * words + w))) >> (column % u32(32)))

    @inline
    def mask(s, g, b):
        for m in range(strips):
            for n in range(tiles):
                for i in range(4):
                    if b[(2 * m + i // 2) * some + n // 4] & u32(1 << (n % 4 * 8 + i % 2)) == u32(0):
                        s[(m * tiles + n) * 4 + i], g[(m * tiles + n) * 4 + i] = f32(0), f32(0)
    return bits, mask


# ---------------------------------------------------------------- the walk

@inline
def listed(h, e, end, last, heads, indptr, blocks, block):
    """The next tile at or after e: of this head, or of the first that has one (e == end if none has)."""
    while e == end and u32(h + u32(1)) < last:
        h = u32(h + u32(1))
        row = u32(u32(ldg_i32(heads, h)) * blocks + block)
        e, end = u32(ldg_i32(indptr, row)), u32(ldg_i32(indptr, u32(row + u32(1))))
    return h, e, end


@cache
def make_fetch(of_keys, rows, d, dv, wide, wide_v, threads):
    """Compile the copy of a met tile into a stage: its rows, the others' behind them, and (lse, delta) of queries that are met."""
    load, load_v = make_load(rows, d, wide, threads), make_load(rows, dv, wide_v, threads)

    @inline
    def fetch(stage, met, met_v, numbers, b, h, tile, per, group, pitch, limit, row, head, batch, v_row, v_head, v_batch):
        t, first, met_h = u32(cuda.threadIdx.x), u32(u32(tile) * u32(rows)), h if of_keys else u32(h // group)
        load(stage, u64(met + u64(b) * batch + u64(met_h) * head), row, first, limit)
        load_v(u32(stage + u32(rows * wide)), u64(met_v + u64(b) * v_batch + u64(met_h) * v_head), v_row, first, limit)
        if of_keys and t < u32(rows // 2):
            source = u64(numbers + u64(u32(u32(b * per + h) * pitch + first + t * u32(2))) * u64(8))
            cp_async16(u32(stage + u32(rows * (wide + wide_v)) + t * u32(16)), source, u32(16))
    return fetch


@cache
def make_walk(of_keys, d, dv, dtype, softcap, shape):
    """Compile a walk: (dk, dv) of key blocks if `of_keys`, else dq of query blocks; numbers of d and dv a row, "bf16" or "f16"."""
    warps, strips, split, met_rows, step, blocks = shape
    threads, own_rows, chunks, high = 32 * warps, shape.own, met_rows // step, 16 * strips
    mma, pack = tensor_core(dtype)
    wide, wide_v, columns, columns_v = row_bytes(d, split), row_bytes(dv, split), columns_of(d, split), columns_of(dv, split)
    load, load_v = make_load(own_rows, d, wide, threads), make_load(own_rows, dv, wide_v, threads)
    fetch = make_fetch(of_keys, met_rows, d, dv, wide, wide_v, threads)
    at_v, at_met, met_at_v, met_numbers = own_rows * wide, own_rows * (wide + wide_v), met_rows * wide, met_rows * (wide + wide_v)
    products, products_v = make_products(d, wide, strips, step, mma), make_products(dv, wide_v, strips, step, mma, at_v, met_at_v)
    add, add_v = make_add(columns, wide, strips, step, mma, pack), make_add(columns_v, wide_v, strips, step, mma, pack, met_at_v)
    store, store_v = make_store(d, columns, strips, pack), make_store(dv, columns_v, strips, pack)
    weigh, (bits, mask) = make_weigh(of_keys, strips, step, softcap), make_mask(own_rows, met_rows, strips, step)
    scores, total, total_v = strips * step // 2, strips * columns // 2, strips * columns_v // 2 if of_keys else 1
    rows, words = 4 * strips, strips * 2 * max(1, step // 32)
    room = high * (2 * columns_of(max(d, dv), split) + 16)
    stage_bytes = met_numbers + 8 * met_rows

    @cuda.jit(launch_bounds=(threads, blocks), fastmath=True)
    def walk(own, own_v, met, met_v, numbers, out, out_v, heads, order, indptr, indices, kind, tiles, per, group, n_own, n_met, pitch,
             own_row, own_head, own_batch, own_v_row, own_v_head, own_v_batch, met_row, met_head, met_batch, met_v_row, met_v_head,
             met_v_batch, scale_log2, scale, cap):
        """Grid (blocks of owned rows, their heads of all batch elements). `numbers`: (lse in bits, delta), see `make_delta`."""
        t, y, count = u32(cuda.threadIdx.x), u32(cuda.blockIdx.y), u32(cuda.gridDim.x)
        lane, warp, memory = t & u32(31), u32(uniform_i32(i32(t >> u32(5)))), ptx.smem_addr(cuda.shared.array(0, np.uint8, alignment=1024))
        readers = group if of_keys else u32(1)                          # query heads that this block serves
        mine = u32(per // readers)
        b, mine_h = u32(y // mine), u32(y % mine)
        h = u32(mine_h * readers)
        last, row = u32(h + readers), u32(u32(ldg_i32(heads, h)) * count)
        block = u32(uniform_i32(ldg_i32(order, u32(row + u32(cuda.blockIdx.x)))))
        row, first = u32(row + block), u32(block * u32(own_rows))
        h, e, end = listed(h, u32(ldg_i32(indptr, row)), u32(ldg_i32(indptr, u32(row + u32(1)))), last, heads, indptr, count, block)

        load(memory, u64(own + u64(b) * own_batch + u64(mine_h) * own_head), own_row, first, n_own)
        load_v(u32(memory + u32(at_v)), u64(own_v + u64(b) * own_v_batch + u64(mine_h) * own_v_head), own_v_row, first, n_own)
        stage, other = u32(memory + u32(at_met)), u32(memory + u32(at_met + stage_bytes))
        if e < end:
            fetch(stage, met, met_v, numbers, b, h, ldg_i32(indices, e), per, group, pitch, n_met, met_row, met_head, met_batch, met_v_row,
                  met_v_head, met_v_batch)
        cp_commit()

        s, g = cuda.local.array(scores, np.float32), cuda.local.array(scores, np.float32)
        sums, sums_v = cuda.local.array(total, np.float32), cuda.local.array(total_v, np.float32)
        allowed, mine_n = cuda.local.array(words, np.uint32), cuda.local.array(rows, np.float32)
        for i in range(total):
            sums[i] = f32(0)
        for i in range(total_v):
            sums_v[i] = f32(0)
        top, part, x7 = u32(warp // u32(split) * u32(high)), u32(warp % u32(split)), lane & u32(7)
        up, down = u32(((lane >> u32(4)) ^ x7) << u32(4)), u32((((lane >> u32(3)) & u32(1)) ^ x7) << u32(4))
        mine_at = u32(memory + (top + (lane & u32(15))) * u32(wide) + up)
        mine_v = u32(memory + (top + (lane & u32(15))) * u32(wide_v) + up)
        line, turned = u32(x7 + ((lane >> u32(4)) << u32(3))), lane & u32(15)
        g_row, t2 = u32(lane >> u32(2)), u32((lane & u32(3)) * u32(2))
        if not of_keys:
            for m in range(rows // 2):
                at = u32((u32(b * per + h) * pitch + first + top + g_row + u32(8 * m)) * u32(2))
                mine_n[2 * m], mine_n[2 * m + 1] = ldg_f32(numbers, at), ldg_f32(numbers, u32(at + u32(1)))

        while e < end:
            tile = ldg_i32(kind, e)
            h, e, end = listed(h, u32(e + u32(1)), end, last, heads, indptr, count, block)
            coming = ldg_i32(indices, e) if e < end else i32(0)
            cp_wait0()
            cuda.syncthreads()                                          # this tile has landed for all, and nobody reads the last one
            if e < end:
                b = u32(uniform_i32(i32(b)))                            # or the compiler keeps addresses of b in registers it does not have
                fetch(other, met, met_v, numbers, b, h, coming, per, group, pitch, n_met, met_row, met_head, met_batch, met_v_row,
                      met_v_head, met_v_batch)
            cp_commit()
            for c in range(chunks):
                at, at_values = u32(stage + u32(c * step * wide)), u32(stage + u32(c * step * wide_v))
                for i in range(scores):
                    s[i], g[i] = f32(0), f32(0)
                products(s, mine_at, u32(at + line * u32(wide) + down))
                products_v(g, mine_v, u32(at_values + line * u32(wide_v) + down))
                weigh(s, g, mine_n, u32(stage + u32(met_numbers) + (u32(c * step) + t2) * u32(8)), scale_log2, cap)
                if tile >= 0:
                    bits(allowed, tiles, tile, u32(top + g_row), u32(u32(c * step) + t2))
                    mask(s, g, allowed)
                if of_keys:
                    add_v(sums_v, s, u32(at_values + turned * u32(wide_v) + up + part * u32(2 * columns_v)))
                add(sums, g, u32(at + turned * u32(wide) + up + part * u32(2 * columns)))
            stage, other = other, stage
        cp_wait0()
        cuda.syncthreads()

        room_at, first = u32(memory + warp * u32(room)), u32(first + top)
        store(u64(out + u64(y) * u64(n_own) * u64(2 * d)), room_at, sums, scale, first, n_own, u32(part * u32(columns)))
        if of_keys:
            store_v(u64(out_v + u64(y) * u64(n_own) * u64(2 * dv)), room_at, sums_v, f32(1), first, n_own, u32(part * u32(columns_v)))
    return Built(walk, shape.shared(d, dv), threads, (own_rows, met_rows), SIGNATURE)
