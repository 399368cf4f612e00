"""Block-sparse attention on Hopper: one warpgroup copies, one to three others multiply, and softmax runs under the products.

    every block of threads, for each of its query blocks:
        producer, one thread:      q, then k and v of every listed tile, by TMA into a ring of `stages` places
        consumers, 64 rows each:   s = q k^T                         wgmma, from shared memory
            for the next tile: s' = q k'^T starts, o += p v starts; then, while both run:
                mask of stored bits, one step of the online softmax on s' -> p'
            o / l, m + log(l)                                        16 bytes a lane, four lanes trading words

Differs from `cuda_mma`: products are asynchronous, read shared memory themselves and belong to 128 threads; copies need one thread and no
registers, so consumers get those (setmaxnreg). Where lists are alike, a grid no larger than the GPU walks on from query block to query
block: barriers are set up once, and q, k and v of the next block arrive while the last one ends; where a few are much longer, as those of
global tokens, the hardware hands blocks out, the longest first. Short lists of 64 columns are walked in tiles of 64 x 64 by three blocks of
threads an SM. Measured on an H200, bfloat16, causal, 8,192 tokens: 457 TFLOP/s at head dimension 64 and 623 at 128, where `cuda_mma` makes
253 and 294. What was tried and left is in benchmarks/notes/gpu.md.

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

__all__ = ["BLOCK", "HALVES", "NEEDS", "SIGNATURE", "forward", "make_attend", "planned", "skew", "tile_of"]

NEEDS = Needs(("float16", "bfloat16"), (9, 0), only=True, multiple=8, largest=256, features=("softcap", "sinks"))
BLOCK, HALVES = 128, NEEDS.dtypes
SIGNATURE = ("uint64",) * 12 + ("uint32",) * 6 + ("uint64",) * 2 + ("float32",) * 2
REGISTERS = {                   # by consumers, and blocks of threads an SM: what they take, what the producer keeps
    (1, 3): (ptx.reg_inc_136, ptx.reg_dec_24), (2, 1): (ptx.reg_inc_240, ptx.reg_dec_24), (3, 1): (ptx.reg_inc_160, ptx.reg_dec_32)}
u32, i32 = np.uint32, np.int32
NEAR = 32 << 20                 # bytes of k and v that heads running side by side may have: they stay in the L2 cache


def forward(q, k, v, layout, *, scale, softcap=None, sinks=None):
    """Attention over the layout's tiles; arguments and results as every kernel's (see `sparsevis.kernels`)."""
    return _cuda_call.forward("cuda_wgmma", NEEDS, _plan, q, k, v, layout, scale=scale, softcap=softcap, sinks=sinks)


def _plan(sizes, layout, scale, softcap):
    (_, _, nq, d), *_, (*_, dv) = sizes.shapes
    block, blocks = tile_of(d, dv, layout.nnz / max(1, len(layout.heads or (0,)) * nq), skew(layout))
    built = make_attend(d, dv, block, SHORT[sizes.dtype], softcap is not None, blocks=blocks)
    return planned(sizes, layout, built, scale, softcap, blocks)


def planned(sizes, layout, built, scale, softcap, blocks=1):
    """A plan with a kernel that is built; `blocks` of threads share an SM."""
    (_, heads, nq, d), (_, _, nk, _), (*_, dv) = sizes.shapes
    tiles = retiled(layout, built.block)
    nblocks, (rows, keys), uneven = tiles.grid[0], built.block, skew(tiles)
    items, near = nblocks * sizes.heads, max(1, NEAR // max(1, nk * (d + dv) * 2)) * sizes.group
    span = sizes.heads if uneven > 3 else min(sizes.heads, near)
    scalars = heads, sizes.group, nq, nblocks, items, span, dv * 2, nq * dv * 2, scale_in_bits(scale), float(softcap or 0)
    plan = Plan(sizes, layout, built, scalars, TensorMaps(sizes, (rows, keys, keys), SHORT[sizes.dtype]))
    plan.grid = min(items, blocks * cuda.get_current_device().MULTIPROCESSOR_COUNT) if uneven < 1.5 else items
    return plan


def skew(layout):
    """How many times longer the longest list of tiles is than the mean one: by this, blocks of threads share query blocks out.

    Below 1.5, as for windows, they walk on through an equal share, to and fro in the order of length: 1.05 to 1.3 times faster on an H200
    than if the hardware hands query blocks out. Up to 3, as for causal attention, that is 1.1 times faster, with as many heads side by
    side as the cache holds. Beyond, as for the rows of global tokens, the longest lists of all heads come first: 1.7 times faster.
    """
    counts = np.diff(layout.indptr)
    return float(counts.max() / max(counts.mean(), 1e-9)) if counts.size else 0.0


def tile_of(d, dv, keys_per_query, uneven):
    """Rows and keys of the tile that is fastest, and how many blocks of threads share an SM.

    For head dimensions, a mean number of keys that a query attends, and a `skew`.
    """
    wide = padded(max(d, dv))
    if wide == 64:
        return ((64, 64), 3) if keys_per_query < 2048 or uneven > 3 else ((192, 128), 1)
    return (128, {128: 128, 192: 96, 256: 64}[wide]), 1


@cache
def make_attend(d, dv, block=(128, 128), dtype="bf16", softcap=False, *, stages=2, edge=None, blocks=1):
    """Compile the kernel for head dimensions, a tile and 16-bit numbers.

    blocks: of threads that share an SM. edge: keep p v running during the exponentials, as is best where consumers are several.
    """
    rows, keys = block
    consumers, shape = rows // 64, Shape(d, dv, rows, keys, stages)
    more_registers, fewer_registers = REGISTERS[consumers, blocks]
    threads, (_, _, at_bar, at_ring, shared) = 128 * (consumers + 1), shape.places
    produce = make_produce(shape)
    consume = make_consume(shape, dtype, softcap, consumers > 1 if edge is None else edge)

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
