"""What threads do together in `cuda_tiled`: by single instructions on a GPU, by barriers in Numba's simulator, under the same names.

Shared memory is one flat array; a place in it is a number of bytes. Of a warp's 32 threads 8 stand side by side, and 4 below each other:

    lane = 16 (row // 2) + 2 column + row % 2

so lanes whose numbers differ by 1 are in one column, and lanes whose numbers differ by 2 in one row. Reading 16 bytes a lane takes a warp
one turn if lanes that differ by 1, or lanes that differ by 2, want the same place; else two or four.
"""
import math
from functools import cache
from threading import current_thread
from types import SimpleNamespace

import numpy as np

from ._cuda import SIMULATED, cuda

__all__ = ["column_of", "kernel", "lanes", "make_bring", "part", "row_of"]

u32, u64 = np.uint32, np.uint64
LOG2E = np.float32(math.log2(math.e))

if SIMULATED:
    def part(function):
        """Nothing: what a kernel calls is Python, as the kernel is."""
        return function
else:
    from . import _ptx80 as ptx
    part = ptx.inline


def kernel(threads, blocks):
    """Compile a kernel for blocks of so many threads, of which a multiprocessor is to hold so many."""
    return cuda.jit if SIMULATED else cuda.jit(launch_bounds=(threads, blocks))


@part
def row_of(t):
    """Which of a warp's four rows is thread t's."""
    return u32((t & u32(1)) | ((t >> u32(3)) & u32(2)))


@part
def column_of(t):
    """Which of the eight columns is thread t's."""
    return u32((t >> u32(1)) & u32(7))


@cache
def lanes(dtype):
    """Return the functions for numbers of a dtype.

    thread() is the number of the thread. start(memory) is the first place; four, one and put read and write places. most(x, room) and
    total(x, room) are the largest and the sum of a row's eight lanes (never NaN by `most`); `room` holds a number a thread, and only the
    simulator needs it. together() makes what a warp wrote visible to it. power(x * unit) is e^x for x <= 0, on a GPU in float32 to 22
    bits. begun() ends a group of copies, landed() waits for all of this thread's, landed_but_one() for all but the last group.
    """
    return (_simulated if SIMULATED else _device)(np.dtype(dtype))


def _simulated(dtype):
    size = dtype.itemsize

    def four(memory, at):
        i = int(at) // size
        return memory[i], memory[i + 1], memory[i + 2], memory[i + 3]

    def one(memory, at):
        return memory[int(at) // size]

    def put(memory, at, x):
        memory[int(at) // size] = x

    def gathered(x, room, join):
        t = thread()
        room[t] = x
        together()
        x = join([room[t & ~14 | 2 * c] for c in range(8)])
        together()
        return x

    def thread():
        return current_thread().threadIdx.x

    def together():
        current_thread().syncthreads()                               # the simulator knows no warps: all wait

    def most(x, room):
        return gathered(x, room, np.fmax.reduce)

    def total(x, room):
        return gathered(x, room, sum)

    def nothing():
        pass
    return SimpleNamespace(start=lambda memory: u32(0), four=four, one=one, put=put, most=most, total=total, power=np.exp,
                           unit=dtype.type(1), together=together, thread=thread, begun=nothing, landed=nothing, landed_but_one=nothing)


def _device(dtype):
    four_bytes = dtype.itemsize == 4
    load, store, shuffle = (ptx.lds_f32, ptx.sts_f32, ptx.shfl_bfly_f32) if four_bytes else (ptx.lds_f64, ptx.sts_f64, ptx.shfl_bfly_f64)

    @part
    def start(memory):
        return ptx.smem_addr(memory)

    @part
    def four_narrow(memory, at):
        return ptx.lds_v4_f32(at)

    @part
    def four_wide(memory, at):
        a, b = ptx.lds_v2_f64(at), ptx.lds_v2_f64(u32(at + u32(16)))
        return a[0], a[1], b[0], b[1]

    @part
    def one(memory, at):
        return load(at)

    @part
    def put(memory, at, x):
        store(at, x)

    @part
    def most(x, room):
        for bit in (2, 4, 8):
            x = max(x, shuffle(x, u32(bit)))
        return x

    @part
    def total(x, room):
        for bit in (2, 4, 8):
            x += shuffle(x, u32(bit))
        return x

    @part
    def power_narrow(x):
        return ptx.ex2(x)

    @part
    def power_wide(x):
        return math.exp(x)

    @part
    def thread():
        return cuda.threadIdx.x

    @part
    def together():
        ptx.warp_sync()

    @part
    def begun():
        ptx.cp_commit()

    @part
    def landed():
        ptx.cp_wait0()

    @part
    def landed_but_one():
        ptx.cp_wait1()
    return SimpleNamespace(start=start, four=four_narrow if four_bytes else four_wide, one=one, put=put, most=most, total=total,
                           power=power_narrow if four_bytes else power_wide,
                           unit=LOG2E if four_bytes else dtype.type(1), together=together, thread=thread, begun=begun, landed=landed,
                           landed_but_one=landed_but_one)


# ---------------------------------------------------------------- rows of an array to shared memory

@cache
def make_bring(dtype, rows, d, pitch, threads, quick):
    """Compile the copy of `rows` rows of d numbers of one head to shared memory, `pitch` bytes apart; zeros beyond the last row and column.

    `quick`: rows begin at multiples of 16 bytes, and hold whole ones: they are copied past the registers, while threads go on.
    """
    dtype = np.dtype(dtype)
    zero, put, thread, whole, size = dtype.type(0), lanes(dtype).put, lanes(dtype).thread, max(4, -(-d // 4) * 4), dtype.itemsize
    if quick and not SIMULATED:
        pieces, live = whole * dtype.itemsize // 16, d * dtype.itemsize // 16
        passes, even = -(-rows * pieces // threads), rows * pieces % threads == 0

        @part
        def bring(memory, to, x, b, h, first):
            t, n = u32(cuda.threadIdx.x), u32(x.shape[2])
            source = u64(ptx.gmem_addr(x) + u64(b) * u64(x.strides[0]) + u64(h) * u64(x.strides[1]))
            step = u64(x.strides[2])
            for i in range(passes):
                e = u32(t + u32(i * threads))
                r, c = u32(e // u32(pieces)), u32(e % u32(pieces))
                there = u32(first + r)
                size = u32(16) if there < n and c < u32(live) else u32(0)
                if even or r < u32(rows):
                    at = u64(source + u64(there) * step + u64(c) * u64(16))
                    ptx.cp_async16(u32(to + r * u32(pitch) + c * u32(16)), at if size else source, size)
        return bring

    @part
    def bring_slowly(memory, to, x, b, h, first):
        for e in range(thread(), rows * whole, threads):
            r, c = e // whole, e % whole
            inside = first + r < x.shape[2] and c < d
            put(memory, u32(to + u32(r) * u32(pitch) + u32(c) * u32(size)), x[b, h, first + r, c] if inside else zero)
    return bring_slowly
