"""The gradients of block-sparse attention on tensor cores (`mma.sync`, compute capability 8.0 and newer), from 16-bit numbers.

    every query at once:          delta = rowsum(do * o) - dlse
    every query block at once:    for each tile of its row of the layout:
                                      s, dp = q k^T, do v^T;  p = exp(s - lse);  dq += p (dp - delta) k
    every key block at once:      for each query head that reads it, for each tile of its row of the transposed layout:
                                      s, dp = k q^T, v do^T;  p = exp(s - lse);  dv += p do;  dk += p (dp - delta) q

Differs from `_cuda_backward.py`: products take 16-bit numbers and add in float32; p and ds are rounded to 16 bits before theirs, and never
leave the registers in which the scores came. As there, two walks make seven products a tile instead of five, and every sum has one
owner and one order: the same bits in every run. The walk is in `_cuda_mma_walk.py`, its products in `_cuda_mma_products.py`.

A NaN or infinity in a row of a visited tile may reach the gradients of pairs of that tile that are masked, for 0 * NaN is NaN.
"""
import math
from functools import cache

import numpy as np

from ..arrays import DeviceArray, seen
from ._cuda import SIMULATED, Caller, clear_errors, device_words, needs_device, on_gpu, retiled, upload
from ._cuda_call import SHORT, Built, key_of, plans, scale_in_bits, sized
from ._cuda_launch import Bound, prepare
from ._cuda_mma_products import make_load, make_products, row_bytes
from ._cuda_mma_walk import LOG2E, Shape, make_walk, tensor_core
from ._ptx80 import cp_commit, cp_wait0, cuda, ldg_f32, smem_addr, stg_f32

__all__ = ["Steps", "backward", "make_delta", "make_walk", "pitch_of", "shape_of", "shipped"]

u32, u64, f32 = np.uint32, np.uint64, np.float32
ROWS = 64                       # of a block of `make_delta`
SIGNATURE = ("uint64",) * 5 + ("uint32",) * 4 + ("uint64",) * 3


def backward(needs, do, q, k, v, o, lse, layout, *, scale, dlse=None, softcap=None):
    """Return (dq, dk, dv); arguments as those of `cpu.backward`, `needs` those of the kernel. Sinks are in lse and o already."""
    if SIMULATED:
        raise NotImplementedError("impl='cuda_mma' speaks to tensor cores, which Numba's simulator does not have: impl='cuda_tiled'")
    do, q, k, v, o, lse = map(seen, (do, q, k, v, o, lse))
    rows = do, q, k, v
    key = key_of("gradients", rows, scale, softcap, dlse is not None)
    known = plans(layout).get(key)
    with on_gpu(q), clear_errors("cuda_mma"):
        if known is None:
            asked = [] if softcap is None else ["softcap"]
            needs_device("cuda_mma", needs, q.dtype.name, q.shape[-1], v.shape[-1], asked, "backward")
        caller = Caller(q)
        do, q, k, v, o = (there(x, name, q.dtype) for name, x in zip(("do", "q", "k", "v", "o"), (*rows, o), strict=True))
        lse, dlse = (x if x is None else there(seen(x), name, np.float32) for name, x in (("lse", lse), ("dlse", dlse)))
        for name, x in (("o", o), ("lse", lse), ("dlse", dlse)):
            if x is not None and not x.contiguous:
                raise ValueError(f"impl='cuda_mma' reads {name} without gaps, and it has some (strides {x.strides}): "
                                 f"give {name}.contiguous()")
        if known is None:
            rows = sized("cuda_mma", (do,))
            known = plans(layout)[key] = Steps(layout, sized("cuda_mma", (q, k, v)), rows, scale, softcap, dlse is not None)
        made = [caller.empty(shape, q.dtype) for shape in known.results]
        _, numbers = caller.empty(known.numbers, np.dtype(np.float32))
        where = [x.address for x in (do, q, k, v, o, lse)]
        known.run(caller.stream, *where, dlse.address if dlse else 0, numbers.address, *(x.address for _, x in made))
        return tuple(caller.give_back(x) for x, _ in made)


def there(x, name, dtype):
    """An array on the device, of the dtype that is needed."""
    if isinstance(x, DeviceArray):
        if x.dtype != dtype:
            raise TypeError(f"impl='cuda_mma': {name} is {x.dtype}, and needs to be {np.dtype(dtype)}")
        return x
    return upload(np.ascontiguousarray(x, dtype))


class Steps:
    """The three kernels of a call, and all of their arguments but where the arrays lie."""

    def __init__(self, layout, sizes, rows, scale, softcap, has_dlse):
        (batch, per, nq, d), (_, kv_per, nk, _), (*_, dv) = sizes.shapes
        gpu, dtype = cuda.get_current_device(), SHORT[sizes.dtype]
        device, limit = gpu.id, gpu.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        pitch, heads = pitch_of(nq), batch * per
        self.numbers, self.results = (heads, pitch, 2), ((heads, nq, d), (batch * kv_per, nk, d), (batch * kv_per, nk, dv))
        do_steps, q_steps, k_steps, v_steps = ([s[2], s[1], s[0]] for s in (*rows.strides, *sizes.strides))
        delta = make_delta(dv, dtype)
        start = prepare(delta.kernel, delta.shared, delta.signature, device)
        self.kernels = [(Bound(start, delta.threads, 5, [per, nq, pitch, int(has_dlse), *do_steps]), (pitch // ROWS, heads))]
        self.words = []                                 # what is read while a kernel runs
        for of_keys in (True, False):
            built = make_walk(of_keys, d, dv, dtype, softcap is not None, shape_of(of_keys, d, dv, softcap is not None, limit))
            mine = retiled(layout, built.block[::-1]).T if of_keys else retiled(layout, built.block)
            words, ends = device_words(mine, per), [nk, nq] if of_keys else [nq, nk]
            steps = [*k_steps, *v_steps, *q_steps, *do_steps] if of_keys else [*q_steps, *do_steps, *k_steps, *v_steps]
            tail = [per, per // kv_per, *ends, pitch, *steps, scale_in_bits(scale), float(scale), float(softcap or 0)]
            start, grid = prepare(built.kernel, built.shared, built.signature, device), (mine.grid[0], batch * (kv_per if of_keys else per))
            self.kernels.append((Bound(start, built.threads, 7, [x.address for x in words] + tail), grid))
            self.words.append(words)

    def run(self, stream, do, q, k, v, o, lse, dlse, numbers, dq, dk, dv):
        """Start the kernels on arrays that lie at these addresses; dq, dk and dv are written to."""
        given = (do, o, lse, dlse, numbers), (k, v, q, do, numbers, dk, dv), (q, do, k, v, numbers, dq, 0)
        for (start, grid), addresses in zip(self.kernels, given, strict=True):
            if all(grid):
                start(grid, stream, *addresses)


def pitch_of(nq):
    """Queries between two heads' numbers: whole blocks of any walk."""
    return -(-nq // 256) * 256


# ---------------------------------------------------------------- shapes

def shape_of(of_keys, d, dv, softcap=False, limit=227 << 10):
    """The best shape of a walk for head dimensions, and for the bytes of shared memory that a block may have.

    Consumer cards give 99 KiB, an A100 163, an H100 227.

    Sums of 128 columns and 16 rows, twice for keys, are half of a thread's registers; 64 columns leave room for 32 rows, with which
    each operand that is read serves two products. More than 128 columns are divided between two warps.

    >>> shape_of(True, 128, 128).own, shape_of(True, 128, 128, limit=99 << 10).met
    (128, 32)
    """
    size = max(d, dv)
    if size <= 64:
        ways = Shape(4, 2, 1, 64, 32, 2), Shape(4, 2, 1, 32, 32, 2)
    elif size <= 128 and of_keys:
        ways = Shape(8, 1, 1, 64, 32 if softcap else 64), Shape(8, 1, 1, 32, 32)
        if not softcap:
            ways = Shape(8, 1, 1, 128, 64), *ways       # 3.23 ms where 64 met rows take 3.37: causal, 8192, head dimension 128, on an H200
    elif size <= 128:
        ways = Shape(4, 2, 1, 32, 32, 2), Shape(8, 1, 1, 64, 64), Shape(8, 1, 1, 32, 32)
    else:
        split = 2 if of_keys else 1
        ways = Shape(4 * split, 1, split, 32, 32), Shape(4 * split, 1, split, 16, 16)
    for way in ways:
        if way.blocks * way.shared(d, dv) <= limit:
            return way
    raise NotImplementedError(f"impl='cuda_mma' needs {way.shared(d, dv)} bytes of shared memory for gradients of head dimensions {d} and "
                              f"{dv}, and this GPU has {limit}: impl='cuda_tiled' takes float32")


def shipped():
    """Yield (name, build) of every kernel for common head dimensions, on the three kinds of GPU."""
    for d, dv in ((16, 16), (40, 40), (64, 64), (80, 80), (96, 96), (128, 128), (192, 192), (256, 256), (64, 128), (192, 128), (128, 64)):
        for dtype, capped in (("bf16", False), ("f16", True)):
            yield f"delta dv {dv} {dtype}", lambda a=(dv, dtype): make_delta(*a)
            for of_keys in (True, False):
                for shape in {shape_of(of_keys, d, dv, capped, limit << 10) for limit in (99, 163, 227)}:
                    name = f"{'keys' if of_keys else 'queries'} d {d} dv {dv} {dtype}{' softcap' * capped} {tuple(shape)}"
                    yield name, lambda a=(of_keys, d, dv, dtype, capped, shape): make_walk(*a)


# ---------------------------------------------------------------- delta

@cache
def make_delta(dv, dtype):
    """Compile (lse in bits, delta) of every query: delta = rowsum(do * o) - dlse is the diagonal of do o^T, less dlse.

    The tensor cores make it from the numbers as they lie; memory alone is waited for. Queries without a key have lse inf here, for which
    every probability is 0, and so have those beyond the last, up to `pitch`.
    """
    threads, wide, (mma, _) = 2 * ROWS, row_bytes(dv), tensor_core(dtype)
    load, products, at_o = make_load(ROWS, dv, wide, threads), make_products(dv, wide, 1, 16, mma), ROWS * wide

    @cuda.jit(launch_bounds=(threads, 1))
    def delta(do, o, lse, dlse, numbers, per, nq, pitch, has_dlse, do_row, do_head, do_batch):
        """Grid (pitch / 64, query heads of all batch elements); o, lse, dlse and numbers are contiguous."""
        t, h = u32(cuda.threadIdx.x), u32(cuda.blockIdx.y)
        lane, warp, first = t & u32(31), t >> u32(5), u32(u32(cuda.blockIdx.x) * u32(ROWS))
        memory = smem_addr(cuda.shared.array(0, np.uint8, alignment=1024))
        load(memory, u64(do + u64(h // per) * do_batch + u64(h % per) * do_head), do_row, first, nq)
        load(u32(memory + u32(at_o)), u64(o + u64(h) * u64(nq) * u64(2 * dv)), u64(2 * dv), first, nq)
        cp_commit()
        cp_wait0()
        cuda.syncthreads()
        s = cuda.local.array(8, np.float32)
        for i in range(8):
            s[i] = f32(0)
        x7, top = lane & u32(7), u32(warp * u32(16))
        up, down = u32(((lane >> u32(4)) ^ x7) << u32(4)), u32((((lane >> u32(3)) & u32(1)) ^ x7) << u32(4))
        products(s, u32(memory + (top + (lane & u32(15))) * u32(wide) + up),
                 u32(memory + u32(at_o) + (top + x7 + ((lane >> u32(4)) << u32(3))) * u32(wide) + down))
        g, odd = lane >> u32(2), (lane >> u32(2)) & u32(1)
        if lane & u32(3) == g >> u32(1):                                # this lane holds the diagonal of rows g and g + 8
            for i in range(2):
                row = u32(first + top + g + u32(8 * i))
                x, y = (s[6 * i + 1] if odd else s[6 * i]), f32(math.inf)
                if row < nq:
                    at = u32(h * nq + row)
                    y = ldg_f32(lse, at) * LOG2E
                    if y == f32(-math.inf):
                        y = f32(math.inf)
                    if has_dlse:
                        x -= ldg_f32(dlse, at)
                at = u32((h * pitch + row) * u32(2))
                stg_f32(numbers, at, y)
                stg_f32(numbers, u32(at + u32(1)), x)
    return Built(delta, 2 * ROWS * wide, threads, (ROWS, ROWS), SIGNATURE)
