"""Block-sparse attention on Hopper: a warpgroup copies, two or three others multiply, and softmax runs under the products.

    every block of threads, for each of its query blocks:
        producer, one thread:      q, then k and v of every listed tile, by TMA into a ring of `stages` places
        consumers, 64 rows each:   s = q k^T                         wgmma, from shared memory
            for the next tile: s' = q k'^T starts, o += p v starts; then, while both run:
                mask of stored bits, one step of the online softmax on s' -> p'
            o / l, m + log(l)                                        16 bytes a lane, four lanes trading words

Differs from `cuda_mma`: products are asynchronous, read shared memory themselves and belong to 128 threads; copies need one thread and no
registers, so consumers get those (setmaxnreg); of two consumers one multiplies while the other takes exponentials (turns). Where lists are
alike, a grid no larger than the GPU walks on from query block to query block: barriers are set up once, and q, k and v of the next block
arrive while the last one ends. Where a few are much longer, as those of global tokens, the hardware hands blocks out, the longest first.

A NaN or infinity in a masked row of v leaks inside a tile that is visited (0 * NaN); masked q and k do not. float16 or bfloat16, head
dimensions up to 256 in multiples of 8: TMA fills up to 64, 128, 192 or 256 with zeros.
"""
from functools import cache

import numpy as np

from . import _cuda_call
from . import _ptx90 as ptx
from ._cuda import retiled
from ._cuda_call import SHORT, Built, Plan, TensorMaps, scale_in_bits
from ._cuda_needs import Needs
from ._ptx80 import smem_addr, uniform_i32
from ._ptx90 import cuda
from ._wgmma_pipeline import Shape, make_consume, make_produce, padded

__all__ = ["BLOCK", "HALVES", "NEEDS", "SIGNATURE", "forward", "make_attend", "tile_of"]

NEEDS = Needs(("float16", "bfloat16"), (9, 0), only=True, multiple=8, largest=256, features=("softcap", "sinks"))
BLOCK, HALVES = 128, NEEDS.dtypes
SIGNATURE = ("uint64",) * 12 + ("uint32",) * 6 + ("uint64",) * 2 + ("float32",) * 2
REGISTERS = {                   # by consumers, and blocks of threads an SM: what they take, what the producer keeps
    (1, 1): (ptx.reg_inc_240, ptx.reg_dec_24), (1, 2): (ptx.reg_inc_232, ptx.reg_dec_24), (1, 3): (ptx.reg_inc_136, ptx.reg_dec_24),
    (2, 1): (ptx.reg_inc_240, ptx.reg_dec_24), (3, 1): (ptx.reg_inc_160, ptx.reg_dec_32)}
u32, i32 = np.uint32, np.int32
SHARED = 232_448                # bytes of shared memory that a block of threads may have
NEAR = 32 << 20                 # bytes of k and v that heads running side by side may have: they stay in the L2 cache


def forward(q, k, v, layout, *, scale, softcap=None, sinks=None):
    """Attention over the layout's tiles; arguments and results as every kernel's (see `sparsevis.kernels`)."""
    return _cuda_call.forward("cuda_wgmma", NEEDS, _plan, q, k, v, layout, scale=scale, softcap=softcap, sinks=sinks)


def _plan(sizes, layout, scale, softcap):
    (_, _, nq, d), *_, (*_, dv) = sizes.shapes
    mean = layout.nnz / max(1, len(layout.heads or (0,)) * nq)
    return planned(sizes, layout, make_attend(d, dv, tile_of(d, dv, mean), SHORT[sizes.dtype], softcap is not None), scale, softcap)


def planned(sizes, layout, built, scale, softcap, blocks=1):
    """A plan with a kernel that is built; `blocks` of threads share an SM."""
    (_, heads, nq, d), (_, _, nk, _), (*_, dv) = sizes.shapes
    tiles = retiled(layout, built.block)
    nblocks, (rows, keys) = tiles.grid[0], built.block
    items, span = nblocks * sizes.heads, min(sizes.heads, max(1, NEAR // max(1, nk * (d + dv) * 2)) * sizes.group)
    scalars = heads, sizes.group, nq, nblocks, items, span, dv * 2, nq * dv * 2, scale_in_bits(scale), float(softcap or 0)
    plan = Plan(sizes, layout, built, scalars, TensorMaps(sizes, (rows, keys, keys), SHORT[sizes.dtype]))
    plan.grid = min(items, blocks * cuda.get_current_device().MULTIPROCESSOR_COUNT) if alike(tiles) else items
    return plan


def alike(layout):
    """Whether lists of tiles are so much alike that blocks of threads can share them out beforehand: the longest is at most three means.

    A block walks to and fro through lists in the order of their length, so that what it has to do in all is the same for each. Measured on
    an H200, times of the two ways: windows 1.24 and 1.12, causal 1.03; Longformer with 16 global tokens, whose lists are 5 or 256 long, 0.61.
    """
    counts = np.diff(layout.indptr)
    return bool(counts.size) and bool(counts.max() <= 3 * counts.mean())


def tile_of(d, dv, keys_per_query):
    """Rows and keys of the tile that is fastest for head dimensions and a mean number of keys that a query attends."""
    wide = padded(max(d, dv))
    if wide == 64:
        return (192, 128) if keys_per_query >= 512 else (128, 128)
    return 128, {128: 128, 192: 96, 256: 64}[wide]


@cache
def make_attend(d, dv, block=(128, 128), dtype="bf16", softcap=False, *, stages=2, turns=None, edge=True, blocks=1):
    """Compile the kernel for head dimensions, a tile and 16-bit numbers.

    turns: warpgroups take turns on the tensor cores. edge: keep p v running during the exponentials. blocks: of threads that share an SM.
    """
    rows, keys = block
    consumers, shape = rows // 64, Shape(d, dv, rows, keys, stages)
    more_registers, fewer_registers = REGISTERS[consumers, blocks]
    threads, (_, _, at_bar, at_ring, shared) = 128 * (consumers + 1), shape.places
    produce = make_produce(shape)
    consume = make_consume(shape, dtype, softcap, consumers > 1 if turns is None else turns, edge)

    @cuda.jit(launch_bounds=(threads, blocks), fastmath=True)
    def attend(tq, tk, tv, o, lse, heads, order, indptr, indices, kind, tiles, sinks, nheads, group, nq, nblocks, items, span,
               o_row, o_head, scale_log2, limit):
        """tq, tk, tv: addresses of tensor maps; span: heads that run side by side; items: query blocks of all heads."""
        tid = u32(cuda.threadIdx.x)
        warp = u32(uniform_i32(i32(tid >> u32(5))))
        s0 = smem_addr(cuda.shared.array(0, np.uint8, alignment=1024))
        if tid == u32(0):                                            # copies fill a place, every consumer warp empties it
            ptx.mbar_init(u32(s0 + u32(at_bar)), u32(1))
            ptx.mbar_init(u32(s0 + u32(at_bar + 8)), u32(4 * consumers))
            for p in range(stages):
                for i in range(2):
                    ptx.mbar_init(u32(s0 + u32(at_ring + p * 32 + i * 8)), u32(1))
                    ptx.mbar_init(u32(s0 + u32(at_ring + p * 32 + i * 8 + 16)), u32(4 * consumers))
            ptx.fence_mbar_init()
        cuda.syncthreads()
        if warp >= u32(4 * consumers):
            fewer_registers()
            if tid == u32(128 * consumers):
                produce(s0, tq, tk, tv, heads, order, indptr, indices, nheads, group, nblocks, items, span)
        else:
            more_registers()
            consume(s0, o, lse, heads, order, indptr, kind, tiles, sinks, nheads, nq, nblocks, items, span, o_row, o_head,
                    scale_log2, limit, tid, warp)
    return Built(attend, shared, threads, (rows, keys), SIGNATURE)
