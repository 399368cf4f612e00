"""The instructions of `sparsevis/kernels/_ptx90.py`, emulated: mbarriers, TMA with 128-byte swizzle, wgmma.

wgmma and TMA act at once, in the order of the program; waits for them return. So a missing wait or fence is not seen here.
"""
from collections import namedtuple

import numpy as np
from emulated_ptx80 import a_matrix, widen
from emulator import MACHINE

__all__ = [
    "fence_mbar_init", "fence_tmap", "make_pin", "make_pv", "make_qk", "mbar_arrive", "mbar_arrive_if", "mbar_expect_tx", "mbar_init",
    "mbar_wait", "reg_dec_24", "reg_dec_32", "reg_inc_136", "reg_inc_160", "reg_inc_240", "sched_edge", "tma_load_4d", "wg_wait0",
    "wg_wait1",
]


def _nothing(*_):
    """Orders memory or registers; the emulator has them in order."""


fence_mbar_init = fence_tmap = wg_wait0 = wg_wait1 = sched_edge = _nothing
reg_dec_24 = reg_dec_32 = reg_inc_136 = reg_inc_160 = reg_inc_240 = _nothing


# ---------------------------------------------------------------- mbarriers

class Barrier:
    """An mbarrier: a phase ends when all arrivals and all bytes that it waits for have come."""

    def __init__(self, arrivals):
        self.arrivals = self.missing = arrivals
        self.bytes = self.phase = 0
        self.waiting = []

    def changed(self):
        if self.missing < 0:
            raise RuntimeError(f"more than {self.arrivals} arrivals in one phase of an mbarrier")
        if self.missing == 0 and self.bytes == 0:
            self.phase, self.missing = 1 - self.phase, self.arrivals
            for thread in self.waiting:
                MACHINE.wake(thread)
            self.waiting = []


def _barrier(address):
    if int(address) not in MACHINE.barriers:
        raise RuntimeError(f"no mbarrier was made at shared address {int(address)}")
    return MACHINE.barriers[int(address)]


def mbar_init(address, n):
    MACHINE.barriers[MACHINE.near(address, 8)] = Barrier(int(n))


def mbar_expect_tx(address, n):
    barrier = _barrier(address)
    barrier.bytes += int(n)
    mbar_arrive(address)


def mbar_arrive(address):
    barrier = _barrier(address)
    barrier.missing -= 1
    barrier.changed()


def mbar_arrive_if(address, yes):
    if int(yes):
        mbar_arrive(address)


def mbar_wait(address, parity):
    barrier = _barrier(address)
    if barrier.phase == int(parity):                 # the phase of this parity is not over
        barrier.waiting.append(MACHINE.current)
        MACHINE.wait(f"mbar_wait of shared address {int(address)}, parity {int(parity)}")


# ---------------------------------------------------------------- TMA

def swizzled(addresses):
    """128-byte swizzle: the 16-byte chunk's number is XORed with that of the 128-byte row, modulo 8."""
    return addresses ^ (addresses >> 7 & 7) << 4


def _box(to, rows, columns):
    """Places in shared memory, as numbers of 16-bit words, of a box whose rows are 128 bytes."""
    if int(to) % 1024 or columns != 64:
        raise ValueError(f"a box of {columns} columns at shared address {int(to)}: needs 64, and a multiple of 1024")
    MACHINE.near(int(to), 16)
    MACHINE.near(int(to) + rows * 128 - 16, 16)
    return swizzled(int(to) + np.arange(rows)[:, None] * 128 + np.arange(columns) * 2) >> 1


def tma_load_4d(to, tensor_map, barrier, x, y, head, batch):
    """Rows from y on and 64 columns from x on; zeros where the array has none."""
    where = MACHINE.maps[int(tensor_map)]
    batches, heads, rows, d = where.shape
    box = np.zeros(where.box, np.uint16)
    (lo, hi), (left, right) = ((max(0, int(p)), min(n, int(p) + b)) for p, n, b in zip((y, x), (rows, d), where.box, strict=True))
    if 0 <= int(batch) < batches and 0 <= int(head) < heads and lo < hi and left < right:
        array = MACHINE.memory[where.at:where.at + 2 * batches * heads * rows * d].view(np.uint16).reshape(where.shape)
        box[lo - int(y):hi - int(y), left - int(x):right - int(x)] = array[int(batch), int(head), lo:hi, left:right]
    MACHINE.shared.view(np.uint16)[_box(to, *where.box)] = box
    barrier = _barrier(barrier)
    barrier.bytes -= box.nbytes
    barrier.changed()


# ---------------------------------------------------------------- wgmma

Descriptor = namedtuple("Descriptor", "start leading stride")


def _descriptor(bits, offset):
    d = int(bits)
    if d >> 62 != 1:
        raise ValueError(f"descriptor {d:#x} does not say 128-byte swizzle")
    return Descriptor(((d & 0x3FFF) << 4) + offset, (d >> 16 & 0x3FFF) << 4, (d >> 32 & 0x3FFF) << 4)


def _gather(addresses, kind):
    addresses = swizzled(addresses)
    MACHINE.near(addresses.min(), 2)
    MACHINE.near(addresses.max(), 2)
    return widen(MACHINE.shared.view(np.uint16)[addresses >> 1], kind)


def _k_major(bits, offset, rows, kind):
    """rows x 16, numbers of the inner dimension side by side."""
    d, r, k = _descriptor(bits, offset), np.arange(rows)[:, None], np.arange(16)
    return _gather(d.start + r // 8 * d.stride + r % 8 * 128 + k * 2, kind)


def _mn_major(bits, offset, columns, kind):
    """16 x columns, numbers of the inner dimension below each other."""
    d, k, n = _descriptor(bits, offset), np.arange(16)[:, None], np.arange(columns)
    return _gather(d.start + n // 64 * d.leading + k // 8 * d.stride + k % 8 * 128 + n % 64 * 2, kind)


def _one(values, i):
    """A descriptor, which all threads of a warpgroup must agree on."""
    if len({int(v[i]) for v in values}) > 1:
        raise RuntimeError("threads of one warpgroup give wgmma different descriptors")
    return values[0][i]


def _spread(result, values):
    """64 x n accumulators into the registers of 128 threads."""
    n = result.shape[1] // 8
    for v, row in zip(values, result.reshape(4, 2, 8, n, 4, 2).transpose(0, 2, 4, 3, 1, 5).reshape(128, 4 * n).tolist(), strict=True):
        v[0][:len(row)] = row
    return [None] * 128


def _collected(values, columns):
    n = columns // 8
    return np.array([v[0][:4 * n] for v in values], np.float32).reshape(4, 8, 4, n, 2, 2).transpose(0, 4, 1, 3, 2, 5).reshape(64, columns)


def make_qk(columns, d, q_stride, k_stride, dtype="bf16", wait=True, name="wg_qk"):
    """s = q k^T of 64 rows, both in shared memory; strides are between parts of 64 numbers of d."""
    def solve(values):
        q, k, total = _one(values, 1), _one(values, 2), 0
        for step in range(d // 16):
            part, inside = step // 4, step % 4 * 32
            total = total + _k_major(q, part * q_stride + inside, 64, dtype) @ _k_major(k, part * k_stride + inside, columns, dtype).T
        return _spread(total, values)

    def qk(s, q, k):
        return MACHINE.warpgroup(name, (s, q, k), solve)
    return qk


def make_pv(rows, d, dtype="bf16", wait=True, name="wg_pv"):
    """o += p v of 64 rows, p in registers, v in shared memory."""
    def solve(values):
        v, total = _one(values, 2), _collected(values, d)
        p = np.array([x[1][:rows // 4] for x in values], np.uint32)
        for step in range(rows // 16):
            registers = np.ascontiguousarray(p[:, 4 * step:4 * step + 4])
            left = np.concatenate([a_matrix(registers[i:i + 32], dtype) for i in range(0, 128, 32)])
            total = total + left @ _mn_major(v, step * 16 * 128, d, dtype)
        return _spread(total, values)

    def pv(o, p, v):
        return MACHINE.warpgroup(name, (o, p, v), solve)
    return pv


def make_pin(n, kind="f", name="pin"):
    return _nothing
