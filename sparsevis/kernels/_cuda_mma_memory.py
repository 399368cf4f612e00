"""Matrices of 16-bit numbers in shared memory, as `cuda_mma` keeps them: rows of 16-byte pieces whose order is XORed with the row's number.

ldmatrix reads eight rows at the same columns, and a copy writes the columns of one row. If pieces stood in order, eight rows would meet in
the same four banks. Piece p of row r stands at p XOR (r mod 8) instead: rows differ, and so do columns, and nothing is lost to padding.
"""
import numpy as np

from . import _ptx80 as ptx
from ._ptx80 import inline

__all__ = ["filled", "lane_at", "make_load", "piece_at", "pitch", "put", "step_at", "taken"]

u32, u64, i32 = np.uint32, np.uint64, np.int32


def pitch(d):
    """Bytes between rows in shared memory: whole groups of 8 pieces of 16 bytes, which the XOR permutes."""
    return -(-d // 64) * 128


def filled(d):
    """Columns that are computed: whole steps of 16."""
    return -(-d // 16) * 16


@inline
def piece_at(piece, row):
    """Byte of a row of shared memory where a 16-byte piece stands: its number's low bits XOR the row's, which is given modulo 8."""
    return u32((piece ^ row) * u32(16))


@inline
def put(to, a, b, tid):
    """Let two addresses wait in shared memory: with 128 columns of values, all registers are taken (56 bytes were spilled)."""
    if tid == u32(0):
        ptx.sts_v4_u32(to, u32(a), u32(a >> u64(32)), u32(b), u32(b >> u64(32)))


@inline
def taken(at):
    """The two addresses."""
    x = ptx.lds_v4_u32(at)
    return u64(u64(x[0]) | u64(x[1]) << u64(32)), u64(u64(x[2]) | u64(x[3]) << u64(32))


@inline
def lane_at(first, row, odd, step):
    """Address that a lane gives to ldmatrix for the first 16 columns: its row, and the left or right half of them."""
    return u32(first + row * u32(step) + piece_at(odd, u32(row & u32(7))))


@inline
def step_at(at, step):
    """The address for columns 16 step and on: rows begin at multiples of 128 bytes, so two bits change, or whole 128 bytes are added."""
    return u32((at ^ u32((step & 3) * 32)) + u32((step >> 2) * 128))


def make_load(rows, d, threads):
    """Return the function that starts to copy rows of d numbers to shared memory; zeros stand beyond the last row, and up to 16 columns."""
    full, live = filled(d) // 8, d // 8                              # pieces of 16 bytes
    across = max(1 << (full - 1).bit_length(), threads // rows)      # threads side by side; some of them idle where full is no power of 2
    down, step = threads // across, pitch(d)

    @inline
    def load(to, source, stride, first, end, tid):
        below, piece = u32(tid // u32(across)), u32(tid % u32(across))
        if piece < u32(full):
            left = i32(end) - i32(first + below)                     # rows that are there, from this thread's first one on
            left = i32(left if piece < u32(live) else 0)
            at = u64(source + u64(u32(first + below)) * stride + u64(piece) * u64(16))
            to = u32(to + below * u32(step) + piece_at(piece, u32(below & u32(7))))
            for turn in range(rows // down):
                size = u32(16) if left > i32(turn * down) else u32(0)                            # 0: the address is not read
                ptx.cp_async16(u32((to ^ u32((turn * down & 7) * 16)) + u32(turn * down * step)), at, size)
                at = u64(at + stride * u64(down))
    return load
