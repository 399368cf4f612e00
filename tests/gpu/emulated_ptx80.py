"""The instructions of `sparsevis/kernels/_ptx80.py`, emulated: same names, same arguments. Layouts are those of the PTX ISA, section 9.7.

A lane l of a warp has g, t = divmod(l, 4). Of a 16 x 8 accumulator it holds (row g or g + 8, columns 2t and 2t + 1), and so on.
"""
import math
import struct

import numpy as np
from emulator import BASE, MACHINE

__all__ = [
    "cp_async16", "cp_commit", "cp_wait0", "cp_wait1", "cp_wait2", "ex2", "gmem_addr", "ldg_f32", "ldg_i32", "ldg_u32",
    "ldg_v4_u32", "ldmatrix_x4", "ldmatrix_x4_trans", "lds_v4_f32", "lds_v4_u32", "lg2", "mma_bf16", "mma_f16", "mma_tf32", "pack_bf16",
    "pack_f16", "rcp", "shfl_bfly_f32", "shfl_bfly_u32", "smem_addr", "stg_f32", "stg_u32", "stg_v4_f32", "stg_v4_u32", "sts_f32",
    "sts_u32", "sts_v4_u32", "uniform_i32", "warp_sync",
]


# ---------------------------------------------------------------- numbers

def widen(bits, kind):
    """float32 of 16-bit numbers given by their bits; of tf32 (32 bits, 10 of them mantissa) by cutting the rest."""
    if kind == "bf16":
        return (bits.astype(np.uint32) << 16).view(np.float32)
    return bits.view(np.float16).astype(np.float32) if kind == "f16" else (bits & np.uint32(0xFFFFE000)).view(np.float32)


def _bf16(x):
    bits = struct.unpack("<I", struct.pack("<f", x))[0] if abs(x) < 3.4e38 or x != x else 0x7F800000 | (x < 0) << 31
    return 0x7FFF if x != x else bits + 0x7FFF + (bits >> 16 & 1) >> 16


def _f16(x):
    return int(np.float64(x).astype(np.float32).astype(np.float16).view(np.uint16)) if x != x or abs(x) > 65000 else (
        struct.unpack("<H", struct.pack("<e", x))[0])


def pack_bf16(lo, hi):
    return _bf16(lo) | _bf16(hi) << 16


def pack_f16(lo, hi):
    return _f16(lo) | _f16(hi) << 16


def ex2(x):
    if x > 128:
        return math.inf
    return 0.0 if x < -126 else 2.0**x if x == x else x


def lg2(x):
    return math.log2(x) if x > 0 else -math.inf if x == 0 else math.nan


def rcp(x):
    return 1.0 / x if x != 0 else math.copysign(math.inf, x)


# ---------------------------------------------------------------- the warp

def a_matrix(registers, kind):
    """The 16 x 16 left factor from a warp's (32, 4) registers."""
    halves = widen(registers.view(np.uint16), kind).reshape(8, 4, 2, 2, 2)           # g, t, right half, lower half, which of the pair
    return halves.transpose(3, 0, 2, 1, 4).reshape(16, 16)


def _mma(kind):
    def solve(values):
        a, b, c = (np.array([v[i] for v in values], t) for i, t in enumerate((np.uint32, np.uint32, np.float32)))
        if kind == "tf32":
            left = widen(a, kind).reshape(8, 4, 2, 2).transpose(3, 0, 2, 1).reshape(16, 8)
            right = widen(b, kind).reshape(8, 4, 2).transpose(2, 1, 0).reshape(8, 8)
        else:
            left = a_matrix(a, kind)
            right = widen(b.view(np.uint16), kind).reshape(8, 4, 2, 2).transpose(2, 1, 3, 0).reshape(16, 8)
        d = left @ right + c.reshape(8, 4, 2, 2).transpose(2, 0, 1, 3).reshape(16, 8)
        return d.reshape(2, 8, 4, 2).transpose(1, 2, 0, 3).reshape(32, 4).tolist()

    def mma(a, b, c):
        return MACHINE.warp(f"mma_{kind}", (a, b, c), solve)
    return mma


mma_bf16, mma_f16, mma_tf32 = _mma("bf16"), _mma("f16"), _mma("tf32")


def _ldmatrix(trans):
    name = "ldmatrix_x4" + "_trans" * trans

    def solve(addresses):
        m = MACHINE.rows[[MACHINE.near(a, 16) >> 4 for a in addresses]].reshape(4, 8, 8)
        m = np.ascontiguousarray(m.transpose(0, 2, 1)) if trans else m
        return m.view(np.uint32).reshape(4, 32).T.tolist()

    def ldmatrix(address):
        return MACHINE.warp(name, address, solve)
    return ldmatrix


ldmatrix_x4, ldmatrix_x4_trans = _ldmatrix(False), _ldmatrix(True)


def _shuffle(name):
    def solve(values):
        return [values[lane ^ values[lane][1]][0] for lane in range(32)]
    return lambda x, m: MACHINE.warp(name, (x, int(m)), solve)


shfl_bfly_f32, shfl_bfly_u32 = _shuffle("shfl_bfly_f32"), _shuffle("shfl_bfly_u32")


def uniform_i32(x):
    return MACHINE.warp("uniform_i32", np.int32(x), lambda values: [values[0]] * 32)


def warp_sync():
    MACHINE.warp("warp_sync")


# ---------------------------------------------------------------- memory

def smem_addr(array):
    return np.uint32(BASE)


def gmem_addr(array):
    raise NotImplementedError("an emulated kernel takes addresses, never arrays")


def _copy(to, source, size):
    m, to = MACHINE, MACHINE.near(to, 16)
    m.shared[to:to + 16] = 0
    if size:
        source = m.at(source, 16)
        m.shared[to:to + size] = m.memory[source:source + size]


def cp_async16(to, source, size):
    if MACHINE.early:
        _copy(to, source, int(size))
    else:
        MACHINE.current.copies.append((to, source, int(size)))


def cp_commit():
    thread = MACHINE.current
    thread.groups.append(thread.copies)
    thread.copies = []


def _cp_wait(n):
    def cp_wait():
        groups = MACHINE.current.groups
        while len(groups) > n:
            for copy in groups.pop(0):
                _copy(*copy)
    return cp_wait


cp_wait0, cp_wait1, cp_wait2 = _cp_wait(0), _cp_wait(1), _cp_wait(2)


def ldg_i32(base, i):
    return MACHINE.numbers[MACHINE.at(int(base) + 4 * int(i), 4) >> 2]


def ldg_u32(base, i):
    return MACHINE.words[MACHINE.at(int(base) + 4 * int(i), 4) >> 2]


def ldg_f32(base, i):
    return float(MACHINE.reals[MACHINE.at(int(base) + 4 * int(i), 4) >> 2])


def stg_f32(base, i, x):
    MACHINE.reals[MACHINE.at(int(base) + 4 * int(i), 4) >> 2] = x


def stg_u32(address, x):
    MACHINE.words[MACHINE.at(address, 4) >> 2] = x


def _four_there(name):
    def load(address):
        i = MACHINE.at(address, 16) >> 2
        return tuple(getattr(MACHINE, name)[i:i + 4].tolist())

    def store(address, *x):
        i = MACHINE.at(address, 16) >> 2
        getattr(MACHINE, name)[i:i + 4] = x
    return load, store


def _four_near(name):
    def load(address):
        i = MACHINE.near(address, 16) >> 2
        return tuple(getattr(MACHINE, name)[i:i + 4].tolist())

    def store(address, *x):
        i = MACHINE.near(address, 16) >> 2
        getattr(MACHINE, name)[i:i + 4] = x
    return load, store


ldg_v4_u32, stg_v4_u32 = _four_there("words")
_, stg_v4_f32 = _four_there("reals")
lds_v4_u32, sts_v4_u32 = _four_near("shared_words")
lds_v4_f32, _ = _four_near("shared_reals")


def sts_f32(address, x):
    MACHINE.shared_reals[MACHINE.near(address, 4) >> 2] = x


def sts_u32(address, x):
    MACHINE.shared_words[MACHINE.near(address, 4) >> 2] = x
