"""Where numbers lie: heads of any strides, read where they are.

An array is a type to Numba, and its layout in memory is part of the type: for each new one a kernel would be compiled again, 5 s. So what
crosses the border is always the same: an address a head, and the bytes from row to row. Inside, `rows` makes matrices of them again.
"""
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from ._launch import part

__all__ = ["Heads", "address", "heads", "line", "matrix", "packed", "rows"]


class Heads(NamedTuple):
    """Matrices (rows, columns) in memory that somebody else keeps."""

    address: np.ndarray         # int64 (heads,), in bytes
    stride: int                 # bytes from row to row
    rows: int
    columns: int


def heads(x):
    """Return the matrices (n, d) of an array (..., n, d), however its other axes lie; the caller keeps the array.

    >>> h = heads(np.zeros((5, 2, 3)).swapaxes(0, 1))
    >>> h.stride, h.rows, h.columns, np.diff(h.address)
    (48, 5, 3, array([24]))
    """
    at = np.array(x.ctypes.data, np.int64)
    for size, stride in zip(x.shape[:-2], x.strides, strict=False):
        at = at[..., None] + np.arange(size) * stride
    return Heads(at.reshape(-1), x.strides[-2], *x.shape[-2:])


# ---------------------------------------------------------------- compiled

@intrinsic
def matrix(typing, like, at, rows, columns, stride):
    """Return the numbers at an address as a matrix to read, of like's dtype, its rows `stride` bytes apart."""
    made = types.Array(like.dtype, 2, "A", readonly=True)

    def emit(context, builder, sig, args):
        return _array(context, builder, made, args[1], args[2:4], [args[4], _itemsize(context, like)])
    return made(like, types.int64, types.int64, types.int64, types.int64), emit


@intrinsic
def line(typing, x, i):
    """x[i], whose numbers Numba then knows to lie side by side: loops over it use vector registers."""
    made = types.Array(x.dtype, 1, "C", readonly=True)

    def emit(context, builder, sig, args):
        view, size = context.make_array(x)(context, builder, args[0]), _itemsize(context, x)
        at = builder.add(builder.ptrtoint(view.data, size.type), builder.mul(args[1], builder.extract_value(view.strides, 0)))
        return _array(context, builder, made, at, [builder.extract_value(view.shape, 1)], [size])
    return made(x, types.int64), emit


@intrinsic
def address(typing, x):
    """Where the array's first element lies; `x.ctypes` could not be cached."""
    def emit(context, builder, sig, args):
        view = context.make_array(x)(context, builder, args[0])
        return builder.ptrtoint(view.data, ir.IntType(64))
    return types.int64(x), emit


def _itemsize(context, array_type):
    return context.get_constant(types.intp, array_type.dtype.bitwidth // 8)


def _array(context, builder, made, at, shape, strides):
    array = context.make_array(made)(context, builder)
    populate_array(array, builder.inttoptr(at, array.data.type), shape, strides, strides[-1], meminfo=None)
    return array._getvalue()


@part
def rows(x, like, h, first, count):
    """Rows first ... first + count of a head."""
    return matrix(like, x.address[h] + first * x.stride, count, x.columns, x.stride)


@part
def packed(room, count, columns):
    """The first rows of a buffer of ours."""
    return matrix(room, address(room), count, columns, room.shape[1] * room.itemsize)
