"""A kernel of Numba started straight by the driver: 12 to 20 microseconds on the host, where Numba's own call takes 95 to 200.

Numba passes scalars as they are, and an array as seven numbers and more (none, none, size, item size, address, shape, strides), one after
another; a kernel's parameters are the driver's. So the block of arguments is made once for each signature, and a launch writes numbers
into it; or, where a plan knows most of them, once for each plan, and a launch writes addresses only (`Bound`). More than 48 KiB of shared
memory must be asked for, once for each compiled kernel.
"""
import ctypes
from contextlib import contextmanager
from functools import cache
from struct import Struct, calcsize
from threading import Lock

import numpy as np

from ..arrays import DeviceArray

__all__ = ["Bound", "Prepared", "here", "kinds", "numbers", "prepare", "relaxed", "tensor_map"]

C_TYPES = {"int32": ctypes.c_int32, "uint32": ctypes.c_uint32, "int64": ctypes.c_int64, "uint64": ctypes.c_uint64,
           "float32": ctypes.c_float, "float64": ctypes.c_double, "bool": ctypes.c_bool}


@cache
def driver():
    """CUDA's driver interface; a part of numba-cuda."""
    from cuda.bindings import driver
    return driver


def checked(result):
    """What a driver's function returned, or the error it met."""
    status, *values = result
    if int(status):
        raise RuntimeError(f"the CUDA driver says {status!s}")
    return values[0] if len(values) == 1 else values


def here():
    """Number of the CUDA context in which this thread works: a kernel that was prepared in it can be started."""
    return int(driver().cuCtxGetCurrent()[1] or 0)


@contextmanager
def relaxed():
    """Memory may be asked for while a CUDA graph is captured: it is done at once, and no part of the graph."""
    cu = driver()
    before = checked(cu.cuThreadExchangeStreamCaptureMode(cu.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED))
    try:
        yield
    finally:
        checked(cu.cuThreadExchangeStreamCaptureMode(before))


# ---------------------------------------------------------------- arguments as numbers

def kinds(arguments):
    """The signature of arguments, hashable: an array's dtype, axes and order, a scalar's dtype, a tuple's parts."""
    return tuple(kinds(x) if isinstance(x, tuple) else
                 (x.dtype.name, x.ndim, "C" if x.contiguous else "A") if isinstance(x, DeviceArray) else np.dtype(type(x)).name
                 for x in arguments)


def numbers(arguments):
    """Arguments as the driver takes them: plain numbers, one after another."""
    for x in arguments:
        if isinstance(x, tuple):
            yield from numbers(x)
        elif isinstance(x, DeviceArray):
            size = 1
            for n in x.shape:
                size *= n
            yield from (0, 0, size, x.dtype.itemsize, x.address, *x.shape, *x.strides)
        else:
            yield x.item() if hasattr(x, "item") else x


def _type(kind):
    from numba.cuda import types
    from numba.cuda.np.numpy_support import from_dtype
    if isinstance(kind, str):
        return from_dtype(np.dtype(kind))
    if len(kind) == 3 and isinstance(kind[1], int):
        return types.Array(from_dtype(np.dtype(kind[0])), kind[1], kind[2])
    return types.BaseTuple.from_types([_type(k) for k in kind])


def _slots(kind):
    """C types of an argument's numbers."""
    if isinstance(kind, str):
        yield C_TYPES[kind]
    elif len(kind) == 3 and isinstance(kind[1], int):
        yield from (ctypes.c_int64,) * (5 + 2 * kind[1])
    else:
        for k in kind:
            yield from _slots(k)


# ---------------------------------------------------------------- one compiled kernel

class Block:
    """The arguments of a kernel, side by side in memory, and the list of their addresses that the driver reads."""

    def __init__(self, signature):
        types = [c for kind in signature for c in _slots(kind)]
        self.codes = "".join(c._type_ for c in types)
        self.memory = bytearray(calcsize(self.codes))
        self.slots = [c.from_buffer(self.memory, calcsize(self.codes[: i + 1]) - ctypes.sizeof(c)) for i, c in enumerate(types)]
        self.list = (ctypes.c_void_p * len(types))(*map(ctypes.addressof, self.slots))
        self.address, self.lock = ctypes.addressof(self.list), Lock()

    def write(self, values, first=0):
        """Numbers for all arguments from the `first` on, wrapped around where they are negative or too large."""
        for slot, value in zip(self.slots[first:], values, strict=True):
            slot.value = value


class Prepared:
    """A kernel compiled for one signature on the current device, with the block of its arguments."""

    def __init__(self, kernel, shared, signature):
        cu = driver()
        compiled = kernel.compile(tuple(map(_type, signature)))
        function = compiled._codelibrary.get_cufunc()
        if shared > 48 * 1024:
            limit = cu.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            checked(cu.cuKernelSetAttribute(limit, shared, function.handle, function.device.id))
        self.function, self.shared, self.launch = checked(cu.cuKernelGetFunction(function.handle)), shared, cu.cuLaunchKernel
        self.registers, self.local = compiled.regs_per_thread, compiled.local_mem_per_thread
        self.signature, self.block = signature, Block(signature)

    def __call__(self, grid, threads, stream, values):
        """Start it on a stream, given by its handle, with plain numbers."""
        x, y = grid if isinstance(grid, tuple) else (grid, 1)
        with self.block.lock:                            # the driver copies the block before it returns
            self.block.write(values)
            checked(self.launch(self.function, x, y, 1, threads, 1, 1, self.shared, stream, self.block.address, 0))


class Bound:
    """A prepared kernel with a block of its own, in which all arguments are written but the first few: each call brings those."""

    def __init__(self, prepared, threads, few, values):
        block = Block(prepared.signature)
        block.write(values, few)
        self.block, self.memory, self.address, self.lock = block, block.memory, block.address, block.lock
        self.pack, self.launch = Struct(block.codes[:few]).pack_into, prepared.launch
        self.function, self.threads, self.shared = prepared.function, threads, prepared.shared

    def __call__(self, grid, stream, *first):
        """Start it on a stream, given by its handle; the first arguments are not negative."""
        x, y = grid if isinstance(grid, tuple) else (grid, 1)
        with self.lock:                                  # the driver copies the block before it returns
            self.pack(self.memory, 0, *first)
            status, = self.launch(self.function, x, y, 1, self.threads, 1, 1, self.shared, stream, self.address, 0)
        if status:
            checked((status,))


@cache
def prepare(kernel, shared, signature, device):
    """A kernel ready to start; `device` is the number of the current one."""
    return Prepared(kernel, shared, signature)


# ---------------------------------------------------------------- what the copy engine of sm_90 reads

def tensor_map(address, shape, strides, box_rows, dtype):
    """The 128 bytes by which TMA knows a (batch, heads, rows, d) array of 16-bit numbers: boxes of 64 columns, zeros beyond, swizzled.

    Strides are in bytes, multiples of 16, as the address is; that of the last axis is 2. NVIDIA CUDA driver API, cuTensorMapEncodeTiled.
    """
    cu = driver()
    wide, narrow, kind = cu.cuuint64_t, cu.cuuint32_t, cu.CUtensorMapDataType
    steps = [s if n > 1 else 16 for n, s in zip(shape, strides, strict=True)]           # of an axis of one, none is taken
    encoded = checked(cu.cuTensorMapEncodeTiled(
        kind.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 if dtype == "bf16" else kind.CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 4, address,
        [wide(n) for n in shape[::-1]], [wide(s) for s in steps[2::-1]], [narrow(n) for n in (64, box_rows, 1, 1)], [narrow(1)] * 4,
        cu.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE, cu.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_128B,
        cu.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_256B, cu.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE))
    return np.frombuffer(ctypes.string_at(int(encoded.getPtr()), 128), np.uint8).copy()
