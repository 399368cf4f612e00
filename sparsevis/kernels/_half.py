"""Numbers of 16 bits: widened a tile at a time into float32 on the way in, rounded to the nearest even on the way out.

    float16     sign, 5 bits of exponent, 10 of mantissa        bfloat16    the upper half of a float32

Kernels see them as whole numbers, with a sign (float16) and without (bfloat16): so Numba tells them apart. Widening is exact. Every loop
here is over numbers side by side and without a branch, so that it runs in vector registers.
"""
import numpy as np
from numba import types
from numba.extending import overload

from ._launch import part
from ._rows import line, packed
from ._tile import turn_out

__all__ = ["SEEN_AS", "read", "write"]

SEEN_AS = {"float16": np.int16, "bfloat16": np.uint16}


# ---------------------------------------------------------------- one number

@part
def bits_of(x):
    return np.float32(x).view(np.uint32)


@part
def number_of(bits):
    return np.uint32(bits).view(np.float32)


@part
def from_bfloat16(x):
    return number_of(np.uint32(x) << np.uint32(16))


@part
def to_bfloat16(x):
    bits = bits_of(x)
    even = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return np.uint16((even if x == x else bits | np.uint32(0x400000)) >> np.uint32(16))       # rounded, a NaN might become infinite


@part
def from_float16(x):
    """The same bits, 13 places up, are the number over 2 ** 112: of subnormal ones as well. Infinity and NaN become too large."""
    magnitude = number_of(np.uint32(x & np.uint16(0x7FFF)) << np.uint32(13)) * np.float32(2.0 ** 112)
    special = np.uint32(0x7F800000) if magnitude >= np.float32(65536) else np.uint32(0)
    return number_of(bits_of(magnitude) | special | (np.uint32(x & np.uint16(0x8000)) << np.uint32(16)))


@part
def to_float16(x):
    """Three ways: rounded as bits; subnormal, rounded by adding 1/2, whose last place is theirs; too large."""
    bits = bits_of(x)
    magnitude = np.uint32(bits & np.uint32(0x7FFFFFFF))
    normal = (magnitude + np.uint32(0xFFF) + ((magnitude >> np.uint32(13)) & np.uint32(1)) - np.uint32(112 << 23)) >> np.uint32(13)
    tiny = bits_of(number_of(magnitude) + np.float32(0.5)) - bits_of(0.5)
    huge = np.uint32(0x7E00) if magnitude > np.uint32(0x7F800000) else np.uint32(0x7C00)
    small = tiny if magnitude < bits_of(2.0 ** -14) else normal
    return np.uint16((huge if magnitude >= bits_of(65536) else small) | ((bits >> np.uint32(16)) & np.uint32(0x8000)))


# ---------------------------------------------------------------- many

def make_widened(one):
    @part
    def widened(x, room):
        for i in range(x.shape[0]):
            wide, narrow = room[i], line(x, i)
            for c in range(narrow.size):
                wide[c] = one(narrow[c])
        return packed(room, x.shape[0], x.shape[1])
    return widened


def make_rounded(one):
    @part
    def rounded(x, xt, factor, room):
        turn_out(room, x.shape[0], xt, factor)
        for i in range(x.shape[0]):
            for c in range(x.shape[1]):
                x[i, c] = one(room[i, c])
    return rounded


WIDENED = {types.int16: make_widened(from_float16), types.uint16: make_widened(from_bfloat16)}
ROUNDED = {types.int16: make_rounded(to_float16), types.uint16: make_rounded(to_bfloat16)}


def read(x, room):
    """Return rows of a matrix as the kernels compute with them: where they lie, or widened into the room."""


def write(x, xt, factor, room):
    """`turn_out` into an array of any format; what is rounded goes through the room, where numbers lie side by side."""


@overload(read)
def _(x, room):
    widened = WIDENED.get(x.dtype)
    return (lambda x, room: x) if widened is None else (lambda x, room: widened(x, room))


@overload(write)
def _(x, xt, factor, room):
    rounded = ROUNDED.get(x.dtype)
    if rounded is None:
        return lambda x, xt, factor, room: turn_out(x, x.shape[0], xt, factor)
    return lambda x, xt, factor, room: rounded(x, xt, factor, room)
