"""A warp-level emulator of the GPU for kernels that speak PTX: their own source runs, and no GPU is needed. Needs greenlet.

    import emulator
    emulator.install()                                     # before any kernel module is imported, in a process of its own
    from sparsevis.kernels import cuda_mma                 # its `from ._ptx80 import cuda, ...` now finds what is here
    q = emulator.alloc(array)                              # copy into the device's memory; returns the address, a uint64
    o = emulator.alloc(shape=(4, 70, 64), dtype="float16") # memory never written: every bit 1, so NaN
    m = emulator.tensor_map(array, box_rows)               # (batch, heads, rows, d) as TMA reads it; the address of its map
    emulator.launch(kernel, (x, y), threads, shared, *arguments)   # a launch of threads with `shared` bytes
    emulator.read(o, "float16", (4, 70, 64))               # a copy of what stands there
    emulator.reset()                                       # forget all of the device's memory

`launch(..., early=True)` makes copies of cp.async when they are asked for, else when they are waited for: what is overwritten too soon
is seen with the first, what is read too soon with the second. `launch(..., seed=3)` lets threads go on in a random order, not in turn.

A thread is a greenlet that runs until it must wait for others. Instructions of a warp (`mma`, `ldmatrix`, `shfl`), of a warpgroup (`wgmma`)
and barriers are solved when the last of their threads comes. Registers and local arrays are Python numbers, floats of 64 bits where
the GPU has 32; what the tensor cores return is float32. Local arrays are lists.

Caught, each with a message: a deadlock, with where every thread waits; an instruction that a part of a warp does not reach; memory that
is not allocated or not aligned; an integer register that was never written. Memory, shared or not, that was never written is NaN.
Not caught: a missing fence, a missing wait for wgmma, a register that wgmma still writes. Those need the device.
"""
import random
import sys
from bisect import bisect_right
from collections import deque
from contextvars import copy_context
from types import ModuleType, SimpleNamespace

import numpy as np
from greenlet import getcurrent, greenlet

__all__ = ["MACHINE", "alloc", "install", "launch", "read", "reset", "tensor_map"]

BASE = 2048                     # where shared memory begins: address 0 is nobody's
GAP = 256                       # bytes between allocations, for reads that go too far


class Thread:
    """A thread: its number, its warp's and warpgroup's meeting places, its copies on the way."""

    def __init__(self, number, run):
        self.number, self.lane, self.greenlet = number, number % 32, run
        self.copies, self.groups, self.where = [], [], "start"
        run.gr_context = copy_context()                      # NumPy's settings of errors


class Meeting:
    """A place where n threads wait for each other; the last to come solves for all."""

    def __init__(self, threads):
        self.threads, self.first = threads, threads[0].number
        self.clear()

    def clear(self):
        self.count, self.values, self.name = 0, [None] * len(self.threads), None


class Machine:
    """The device: memory, and the block of threads that runs now."""

    def __init__(self, size=1 << 24):
        self.size, self.maps, self.ready = size, {}, deque()
        self.reset()

    def reset(self):
        """Forget all of the device's memory."""
        self.memory = np.full(self.size, 0xFF, np.uint8)
        self.starts, self.ends, self.maps = [0], [1024], {}
        self.words, self.numbers, self.reals = (self.memory.view(t) for t in (np.uint32, np.int32, np.float32))

    def alloc(self, array=None, shape=None, dtype=None):
        """Copy an array into the device's memory, or leave a place for one; the address."""
        raw = np.full(int(np.prod(shape)) * np.dtype(dtype).itemsize, 0xFF, np.uint8) if array is None else (
            np.ascontiguousarray(array).reshape(-1).view(np.uint8))
        start = -(-(self.ends[-1] + GAP) // 128) * 128
        if start + raw.size + GAP > self.size:
            raise MemoryError(f"the emulated device has {self.size} bytes: reset() between cases, or emulate a smaller one")
        self.memory[start:start + raw.size] = raw
        self.starts.append(start)
        self.ends.append(start + raw.size)
        return np.uint64(start)

    def at(self, address, size):
        """The place of `size` bytes in the device's memory, checked."""
        a = int(address)
        i = bisect_right(self.starts, a) - 1
        if a % size or i <= 0 or a + size > self.ends[i]:
            raise IndexError(f"{size} bytes at global address {a} {'are not aligned' if a % size else 'lie outside every allocation'}")
        return a

    def near(self, address, size):
        """The place of `size` bytes in shared memory, checked."""
        a = int(address)
        if a % size or a < BASE or a + size > self.end:
            why = "are not aligned" if a % size else f"lie outside the {self.end - BASE} of this launch"
            raise IndexError(f"{size} bytes at shared address {a - BASE} {why}")
        return a

    def launch(self, kernel, grid, threads, shared, *arguments, early=False, seed=None):
        """Run every block of a grid (x, y), one after another."""
        if threads % 32:
            raise ValueError(f"{threads} threads are not whole warps")
        self.grid, self.early, self.random = (*grid, 1)[:3], early, None if seed is None else random.Random(seed)
        for z in range(self.grid[2]):
            for y in range(self.grid[1]):
                for x in range(self.grid[0]):
                    self.place = x, y, z
                    self.block(kernel, threads, shared, arguments)

    def block(self, kernel, threads, shared, arguments):
        """Run one block of threads to its end."""
        self.end = BASE + shared
        self.shared = np.full(-(-self.end // 16) * 16, 0xFF, np.uint8)
        self.rows, self.shared_words, self.shared_reals = (
            self.shared.view(np.uint16).reshape(-1, 8), self.shared.view(np.uint32), self.shared.view(np.float32))
        self.barriers, self.named, self.hub = {}, {}, getcurrent()
        everyone = [Thread(t, greenlet(lambda _: kernel(*arguments), self.hub)) for t in range(threads)]
        self.everyone = Meeting(everyone)
        for n, name in ((32, "warp"), (128, "warpgroup")):
            for i in range(0, threads, n):
                some = Meeting(everyone[i:i + n])
                for thread in some.threads:
                    setattr(thread, name, some)
        self.ready = deque((thread, None) for thread in everyone)
        while self.ready:
            self.current, value = self._next()
            self.current.greenlet.switch(value)
        waiting = {}
        for thread in everyone:
            if not thread.greenlet.dead:
                waiting.setdefault(thread.where, []).append(thread.number)
        if waiting:
            raise RuntimeError(f"deadlock in block {self.place}: threads wait at {waiting}")

    def _next(self):
        if self.random:
            self.ready.rotate(self.random.randrange(len(self.ready)))
        return self.ready.popleft()

    def wait(self, where):
        """Let others run until somebody wakes this thread; what they say."""
        self.current.where = where
        return self.hub.switch()

    def wake(self, thread, value=None):
        """A thread that waits may go on."""
        self.ready.append((thread, value))

    def meet(self, meeting, name, value=None, solve=None):
        """Wait for all threads of a meeting place; solve(values) gives what each of them returns, in order."""
        thread = self.current
        if meeting.count and meeting.name != name:
            raise RuntimeError(f"thread {thread.number} comes to {name}, others of its warp or group to {meeting.name}")
        meeting.name = name
        meeting.values[thread.number - meeting.first] = value
        meeting.count += 1
        if meeting.count < len(meeting.threads):
            return self.wait(name)
        values = meeting.values
        meeting.clear()
        results = solve(values) if solve else [None] * len(values)
        mine = None
        for other, result in zip(meeting.threads, results, strict=True):
            if other is thread:
                mine = result
            else:
                self.ready.append((other, result))
        return mine

    def warp(self, name, value=None, solve=None):
        """All 32 threads of a warp."""
        return self.meet(self.current.warp, name, value, solve)

    def warpgroup(self, name, value=None, solve=None):
        """All 128 threads of a warpgroup."""
        return self.meet(self.current.warpgroup, name, value, solve)

    def tensor_map(self, array, box_rows, box_columns=64):
        """The address of the map of a (batch, heads, rows, d) array of 16-bit numbers, which is copied; `address_of` says where."""
        at = self.alloc(shape=(128,), dtype=np.uint8)
        where = self.alloc(array)
        self.maps[int(at)] = SimpleNamespace(at=int(where), shape=array.shape, dtype=array.dtype, box=(box_rows, box_columns))
        return at

    def read(self, address, dtype, shape):
        """A copy of an array in the device's memory."""
        a, n = int(address), int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.memory[a:a + n].view(dtype).reshape(shape).copy()


MACHINE = Machine()
alloc, launch, read, reset, tensor_map = MACHINE.alloc, MACHINE.launch, MACHINE.read, MACHINE.reset, MACHINE.tensor_map


# ---------------------------------------------------------------- what kernels import

class Three:
    """threadIdx and its like: x, y, z of the thread that asks."""

    def __init__(self, of):
        self.of = of

    x = property(lambda self: self.of()[0])
    y = property(lambda self: self.of()[1])
    z = property(lambda self: self.of()[2])


def _local(n, dtype):
    """Registers, never written: a float is NaN, an integer is no number at all."""
    return [float("nan") if np.dtype(dtype).kind == "f" else None] * n


def _jit(*given, **options):
    return given[0] if given and callable(given[0]) else lambda f: f


def cuda():
    """What kernels use of numba.cuda."""
    m = MACHINE
    return SimpleNamespace(
        jit=_jit, threadIdx=Three(lambda: (m.current.number, 0, 0)), blockIdx=Three(lambda: m.place), gridDim=Three(lambda: m.grid),
        blockDim=Three(lambda: (len(m.everyone.threads), 1, 1)), syncthreads=lambda: m.meet(m.everyone, "syncthreads"),
        syncwarp=lambda: m.warp("syncwarp"), shared=SimpleNamespace(array=lambda *shape, **kw: BASE), local=SimpleNamespace(array=_local))


def install():
    """Put the emulated instructions in the place of `sparsevis.kernels._ptx80` and `_ptx90`."""
    import emulated_ptx80
    import emulated_ptx90
    np.seterr(over="ignore", invalid="ignore")
    for name, source in (("_ptx80", emulated_ptx80), ("_ptx90", emulated_ptx90)):
        full = f"sparsevis.kernels.{name}"
        if full in sys.modules and not hasattr(sys.modules[full], "EMULATED"):
            raise RuntimeError(f"{full} is imported already: install the emulator first, in a process of its own")
        module = ModuleType(full)
        vars(module).update({n: getattr(source, n) for n in source.__all__}, cuda=cuda(), inline=lambda function: function, EMULATED=True)
        sys.modules[full] = module


if __name__ == "__main__":                       # the same machine, whether this file is run or imported
    sys.modules["emulator"] = sys.modules["__main__"]
