"""Arrays wherever they lie: NumPy's in host memory, and those of PyTorch, CuPy, JAX or Numba on a GPU, seen without copying them.

A `DeviceArray` says where numbers lie and how they are arranged; it cannot compute. Whoever owns the memory stays its owner.
"""

import ctypes
from dataclasses import dataclass
from functools import cache, lru_cache
from math import prod

import numpy as np

__all__ = ["DeviceArray", "on_device", "on_host", "seen", "traits"]


@dataclass(eq=False, slots=True)
class DeviceArray:
    """Memory of a GPU that somebody else owns.

    Parameters
    ----------
    address : int
        Of the first number.
    shape, strides : tuple of int
        Strides in bytes.
    dtype : numpy.dtype
    library : str
        "torch", "cupy", "jax", "numba" or "other": who makes arrays for the results.
    device : int
        Number of the GPU.
    source : object
        The caller's array, which keeps the memory alive.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype
    library: str
    device: int
    source: object

    @property
    def ndim(self):
        """Number of axes."""
        return len(self.shape)

    @property
    def contiguous(self):
        """Whether the numbers lie in C order without gaps."""
        return self.strides == compact(self.shape, self.dtype.itemsize) or 0 in self.shape


def compact(shape, itemsize):
    """Return the strides in bytes of an array in C order.

    >>> compact((2, 3, 4), 4)
    (48, 16, 4)
    """
    return tuple(itemsize * prod(shape[i + 1 :]) for i in range(len(shape)))


def on_device(x):
    """Whether an array lies on a GPU.

    >>> on_device(np.zeros(3))
    False
    """
    return not isinstance(x, np.ndarray) and (isinstance(x, DeviceArray) or _library(x) is not None)


def on_host(x):
    """Return the numbers as a NumPy array: a copy where they lie on a GPU."""
    if not on_device(x):
        return _asarray(x)
    x = getattr(x, "source", x)
    if _owner(type(x)) == "torch":
        return _asarray(x.detach().cpu())
    move = next((getattr(x, name) for name in ("cpu", "get", "copy_to_host") if hasattr(x, name)), None)
    return np.asarray(x if move is None else move())


def seen(x):
    """Return a NumPy array, or a `DeviceArray` of what lies on a GPU; nothing is copied there.

    Raises
    ------
    TypeError
        For arrays on a GPU of a dtype that NumPy and ml_dtypes do not know.

    Examples
    --------
    >>> seen([[1.0, 2.0]]).shape
    (1, 2)
    """
    if isinstance(x, np.ndarray | DeviceArray):
        return x
    library = _library(x)
    return _asarray(x) if library is None else _READERS[library](x)


def _asarray(x):
    """`np.asarray`, also for tensors of bfloat16, which PyTorch does not show to NumPy."""
    if _owner(type(x)) == "torch" and str(x.dtype) == "torch.bfloat16":
        import torch

        return x.view(torch.int16).numpy().view(_dtype("bfloat16"))
    return np.asarray(x)


def traits(arrays):
    """All but the numbers and the addresses of PyTorch tensors on a GPU, hashable; None if anything else is among them but None.

    Of each: shape, strides, dtype, GPU, and whether it starts at a multiple of 16 bytes.

    >>> traits([np.zeros(3)]) is None
    True
    """
    found = ()
    for x in arrays:
        if x is None:
            found += (None,)
        elif _owner(type(x)) == "torch" and x.is_cuda:
            found += x.shape, x.stride(), x.dtype, x.get_device(), not x.data_ptr() & 15
        else:
            return None
    return found


@lru_cache
def _owner(kind):
    """The package of a type."""
    return kind.__module__.partition(".")[0]


def _library(x):
    """Who owns an array on a GPU; None for what lies in host memory, or is no array."""
    name = _owner(type(x))
    if name == "torch":
        return "torch" if x.is_cuda else None
    if name in ("jax", "jaxlib"):
        return "jax" if _dlpack_device(x)[0] == CUDA else None
    if name == "numba":
        return "numba" if hasattr(x, "__cuda_array_interface__") and not _simulated(x) else None
    if hasattr(x, "__cuda_array_interface__"):
        return "cupy" if name == "cupy" else "other"
    return "dlpack" if hasattr(x, "__dlpack__") and _dlpack_device(x)[0] == CUDA else None


CUDA = 2  # kDLCUDA of the DLPack specification


def _dlpack_device(x):
    try:
        return tuple(map(int, x.__dlpack_device__()))
    except Exception:  # no device at all: nothing of it lies on a GPU
        return None, 0


def _simulated(x):
    return "simulator" in type(x).__module__


# ---------------------------------------------------------------- how each library says it

@cache
def _dtype(name):
    """Return a numpy.dtype by name; bfloat16 is ml_dtypes'."""
    if name != "bfloat16":
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError as e:
        raise ImportError("bfloat16 arrays need ml_dtypes: pip install ml_dtypes") from e
    return np.dtype(ml_dtypes.bfloat16)


@cache
def _torch_dtype(dtype):
    try:
        return _dtype(str(dtype).removeprefix("torch."))
    except TypeError:
        raise TypeError(f"a tensor of {dtype} was given: needs float16, bfloat16, float32 or float64") from None


def _from_torch(x):
    size = x.element_size()
    strides = tuple(size * s for s in x.stride())
    return DeviceArray(x.data_ptr(), tuple(x.shape), strides, _torch_dtype(x.dtype), "torch", x.device.index, x)


def _from_jax(x):
    x.block_until_ready()  # JAX names no stream to wait on
    dtype = np.dtype(x.dtype)
    return DeviceArray(x.unsafe_buffer_pointer(), x.shape, compact(x.shape, dtype.itemsize), dtype, "jax", _dlpack_device(x)[1], x)


def _from_interface(library):
    def read(x):
        given = x.__cuda_array_interface__
        dtype, shape = np.dtype(given["typestr"]), tuple(given["shape"])
        strides = given.get("strides") or compact(shape, dtype.itemsize)
        index = getattr(getattr(x, "device", None), "id", 0)
        return DeviceArray(given["data"][0], shape, tuple(strides), dtype, library, index, x)

    return read


class _Tensor(ctypes.Structure):
    """DLTensor of the DLPack specification."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("device", ctypes.c_int32), ("index", ctypes.c_int32), ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)), ("offset", ctypes.c_uint64),
    )  # fmt: skip


DLPACK_FLOATS = {(2, 16): "float16", (2, 32): "float32", (2, 64): "float64", (4, 16): "bfloat16", (6, 8): "bool"}


def _from_dlpack(x):
    capsule = x.__dlpack__(stream=1) if _dlpack_device(x)[0] == CUDA else x.__dlpack__()  # 1: ready on the default stream
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    t = _Tensor.from_address(pointer(capsule, b"dltensor"))
    name = DLPACK_FLOATS.get((t.code, t.bits))
    if name is None or t.lanes != 1:
        raise TypeError(f"a DLPack array of type code {t.code} with {t.bits} bits was given: needs float16, bfloat16, float32 or float64")
    dtype, shape = _dtype(name), tuple(t.shape[: t.ndim])
    strides = tuple(dtype.itemsize * s for s in t.strides[: t.ndim]) if t.strides else compact(shape, dtype.itemsize)
    return DeviceArray((t.data or 0) + t.offset, shape, strides, dtype, "other", t.index, (x, capsule))


_READERS = {
    "torch": _from_torch, "jax": _from_jax, "dlpack": _from_dlpack,
    **{name: _from_interface(name) for name in ("cupy", "numba", "other")},
}  # fmt: skip
