"""From arrays to CUDA kernels and back: whose arrays they are, the stream, layouts and features on the device, and clear errors.

Arrays on a GPU are read where they lie, on their owner's stream, and results are made by their owner; nothing waits, but for JAX, whose
streams have no name. NumPy arrays are copied over, and results back. A kernel sees (batch, heads, n, d) of any strides.
"""
from contextlib import contextmanager, nullcontext
from functools import cache, lru_cache
from math import prod
from warnings import catch_warnings, simplefilter

import numba
import numpy as np

from ..arrays import DeviceArray, compact, on_host, seen
from ._cuda_launch import kinds, numbers, prepare
from ._features import features

INSTALL = 'pip install "sparsevis[cuda]" for drivers of CUDA 13 (580 and later), "sparsevis[cuda12]" for older ones'
try:
    from numba import cuda
except Exception as e:
    needs = "NumPy below 2.5, or a newer numba-cuda" if "row_stack" in str(e) else INSTALL
    raise ImportError(f"impl='cuda*' needs numba.cuda, which did not load ({e}): {needs}; impl='cpu' needs no GPU") from e

__all__ = ["Caller", "Inputs", "clear_errors", "cuda", "device_layout", "device_words", "four_axes", "launch", "needs_device", "on_gpu",
           "retiled", "shared_limit", "upload"]

SIMULATED = bool(numba.config.ENABLE_CUDASIM)


# ---------------------------------------------------------------- is there a device

def needs_device(name, needs=None, *asked):
    """Raise if there is no CUDA device that Numba can use, or if it or what is asked is not what a kernel needs (see `Needs.refusal`)."""
    if not _available():
        raise RuntimeError(f"impl={name!r} needs an NVIDIA GPU and a driver that Numba can load, and found {_why_not()}. "
                           f"With a GPU: {INSTALL}. Without: impl='cpu', or NUMBA_ENABLE_CUDASIM=1 for the simulator, slow and for study")
    if needs is not None:
        refusal = needs.refusal(*asked, needs.capability if SIMULATED else tuple(cuda.get_current_device().compute_capability))
        if refusal:
            raise NotImplementedError(f"impl={name!r} cannot do this: {refusal}. impl='cuda' chooses one that can")


@cache
def _available():
    return cuda.is_available()


def _why_not():
    try:
        cuda.detect() if SIMULATED else cuda.current_context()
    except Exception as e:                               # whatever it is, it is the reason asked for
        return f"none ({' '.join(str(e).split()) or type(e).__name__})"
    return "none that is supported"


@contextmanager
def clear_errors(name):
    """Say what to do where the device has no room, or its driver does not know what the compiler made."""
    try:
        yield
    except Exception as e:
        text = str(e)
        if "OUT_OF_MEMORY" in text or type(e).__name__ in ("OutOfMemoryError", "OutOfMemoryException"):
            free, total = cuda.current_context().get_memory_info()
            room = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB are free"
            raise MemoryError(f"impl={name!r}: the device is out of memory ({room}): take fewer heads or batch elements at once") from e
        if "UNSUPPORTED_PTX" in text or "unsupported toolchain" in text:
            raise RuntimeError(f"impl={name!r}: the driver is older than the installed CUDA compiler: update it, or {INSTALL}") from e
        if "INVALID_VALUE" in text and "SetAttribute" in text:
            raise NotImplementedError(f"impl={name!r} needs more shared memory than this GPU has for a block: cuda_rows needs none") from e
        raise


# ---------------------------------------------------------------- whose arrays

class Caller:
    """Whose arrays came in: how they are seen, who makes the results, and on which stream."""

    def __init__(self, q):
        self.of = seen(q)
        self.library = getattr(self.of, "library", "numpy")
        self.stream = _stream(self.library, self.of)

    def see(self, x, name, axes=4):
        """A device array (batch, heads, n, d) of what was given: a view of the caller's memory, or a copy of a NumPy array."""
        x = seen(x)
        if self.library == "numpy":
            x = np.ascontiguousarray(x)
            return upload(x.reshape(four_axes(x.shape, x.strides)[0]) if axes == 4 else x)
        if not isinstance(x, DeviceArray):
            raise TypeError(f"q is on a device and {name} is in host memory: bring all arrays to the same place")
        if x.device != self.of.device:
            raise ValueError(f"q lies on GPU {self.of.device} and {name} on GPU {x.device}: bring all arrays to the same one")
        return _view(x) if axes == 4 else x

    def empty(self, shape, dtype):
        """Return (array to give back, device array to write to)."""
        if self.library == "torch":
            import torch
            mine = torch.empty(shape, dtype=getattr(torch, dtype.name), device=self.of.source.device)
            return mine, DeviceArray(mine.data_ptr(), shape, compact(shape, dtype.itemsize), dtype, "torch", self.of.device, mine)
        if self.library == "cupy":
            import cupy
            mine = cupy.empty(shape, dtype)
        elif self.library == "jax":
            import jax
            mine = jax.device_put(jax.numpy.zeros(shape, dtype), self.of.source.device)
        elif SIMULATED:
            mine = cuda.device_array(shape, dtype)
            return mine, mine
        else:
            mine = _numba_array(shape, dtype)
            return mine, DeviceArray(_address(mine), shape, compact(shape, dtype.itemsize), dtype, "numba", 0, mine)
        return mine, seen(mine)

    def give_back(self, x):
        """The result as the caller gets it; waits only where it must be copied to the host, or where the owner cannot wait for us."""
        if self.library == "jax":
            cuda.synchronize()
        if self.library != "numpy":
            return x
        x = x.copy_to_host()
        return x.view(self.of.dtype) if x.dtype == np.uint16 else x


def _numba_array(shape, dtype):
    """Device memory of Numba's; as 16-bit integers where Numba knows no such floats."""
    return cuda.device_array(shape, dtype if dtype.name != "bfloat16" else np.uint16)


def _address(x):
    return x.__cuda_array_interface__["data"][0] or 0


def upload(x):
    """A device array with the numbers of a NumPy array; Numba cannot copy nothing."""
    raw = x.view(np.uint16) if x.dtype.name == "bfloat16" else x
    there = cuda.to_device(raw) if x.size else cuda.device_array(x.shape, raw.dtype)
    if SIMULATED:
        return there
    return DeviceArray(_address(there), x.shape, compact(x.shape, x.dtype.itemsize), x.dtype, "numba", 0, there)


def on_gpu(q):
    """Work on the GPU where q lies; entering one costs 20 microseconds, so not where one is there already."""
    if not isinstance(q, DeviceArray) or SIMULATED:
        return nullcontext()
    if q.library == "torch":
        import torch
        if torch.cuda.current_device() == q.device == cuda.get_current_device().id:
            return nullcontext()
    return cuda.gpus[q.device]


def _stream(library, q):
    """Handle of the stream on which the owner works; 0 is the default one."""
    if library == "torch":
        import torch
        return torch.cuda.current_stream(q.device).cuda_stream
    if library == "cupy":
        import cupy
        return cupy.cuda.get_current_stream().ptr
    return (getattr(q.source, "__cuda_array_interface__", {}).get("stream") or 0) if library == "other" else 0


def four_axes(shape, strides):
    """Return shape and strides of (..., n, d) as (batch, heads, n, d); None for strides that need a copy.

    >>> four_axes((3, 5, 2), (80, 16, 8)), four_axes((4, 3, 2, 5, 2), (240, 80, 40, 8, 4))
    (((1, 3, 5, 2), (240, 80, 16, 8)), ((12, 2, 5, 2), (80, 40, 8, 4)))
    """
    shape, strides = list(shape), list(strides)
    while len(shape) < 4:
        shape, strides = [1, *shape], [shape[0] * strides[0], *strides]
    while len(shape) > 4:
        (a, b), (s, t) = shape[:2], strides[:2]
        if a > 1 and b > 1 and s != b * t:
            return (prod(shape[:-3]), *shape[-3:]), None
        shape, strides = [a * b, *shape[2:]], [t if b > 1 else s, *strides[2:]]
    return tuple(shape), tuple(strides)


def _view(x):
    """A caller's array as (batch, heads, n, d), where it lies."""
    shape, strides = four_axes(x.shape, x.strides)
    if strides is None:
        raise ValueError(f"an array of shape {x.shape} has batch axes that cannot be one without a copy: give x.contiguous()")
    return DeviceArray(x.address, shape, strides, x.dtype, x.library, x.device, x.source)


# ---------------------------------------------------------------- what a kernel is given

class Inputs:
    """The checked arguments of one call, on the device: q, k, v and features, and the sizes that matter."""

    def __init__(self, name, q, k, v, scale, asked, dtypes=("float32", "float64")):
        q, k, v = map(seen, (q, k, v))
        names = [x.dtype.name for x in (q, k, v)]
        if len(set(names)) > 1 or names[0] not in dtypes:
            raise TypeError(f"impl={name!r}: q, k, v are {', '.join(names)}, and need to be all {' or all '.join(dtypes)}")
        self.dtype, self.caller = q.dtype, Caller(q)
        self.q, self.k, self.v = (self.caller.see(x, label) for x, label in ((q, "q"), (k, "k"), (v, "v")))
        (batch, per, self.nq, self.d), self.nk, self.dv = self.q.shape, self.k.shape[2], self.v.shape[3]
        self.heads, self.kv_heads = batch * per, batch * self.k.shape[1]
        self.quick = not SIMULATED and self.d > 0 < self.dv and all(map(self.is_quick, (self.q, self.k, self.v)))
        self.scale = (np.float32 if self.dtype.itemsize < 4 else self.dtype.type)(scale)
        self.plain = all(asked.get(name) is None for name in ("softcap", "slopes", "key_mask", "bias"))
        self.features = self._features(**asked)

    @staticmethod
    def is_quick(x):
        """Whether rows of a device array begin at multiples of 16 bytes and hold whole ones."""
        size, (*strides, step) = x.dtype.itemsize, x.strides
        return step == size and not any(n % 16 for n in (x.address, x.shape[-1] * size, *strides))

    def _features(self, softcap=None, sinks=None, slopes=None, key_mask=None, bias=None, offset=0):
        """A tuple for the kernels; what is not asked for is neutral: no cap, sinks of -inf, slopes of 0, no masks, no bias."""
        dtype = np.dtype(type(self.scale))
        if softcap is sinks is slopes is key_mask is bias is None:
            return (*_neutral(self.heads, self.nk, dtype, 0 if SIMULATED else cuda.get_current_device().id), np.int64(offset))
        sinks, slopes, key_mask, bias = (None if x is None else on_host(x) for x in (sinks, slopes, key_mask, bias))
        f = features((self.heads, self.nq, self.nk), dtype, softcap, sinks, slopes, key_mask, bias, offset)
        return (*_uploaded_features(softcap, f.sinks, f.slopes, f.key_mask, f.bias, self.heads, self.nk, dtype), np.int64(offset))


@lru_cache(64)
def _neutral(heads, nk, dtype, device):
    """What stands for no feature at all: uploaded once, so that a call copies nothing and a CUDA graph may record it."""
    return _uploaded_features(None, None, None, None, None, heads, nk, dtype)


def _uploaded_features(softcap, sinks, slopes, key_mask, bias, heads, nk, dtype):
    plain = softcap is None and slopes is None and bias is None
    sinks = np.full(heads, -np.inf, dtype) if sinks is None else sinks
    slopes = np.zeros(heads, dtype) if slopes is None else slopes
    kept = np.empty((0, nk), bool) if key_mask is None else key_mask
    arrays = (upload(np.ascontiguousarray(x)) for x in (sinks, slopes, kept, *_matrices(bias, heads, dtype)))
    return np.int64(plain), dtype.type(softcap or 0), *arrays


def _matrices(bias, heads, dtype):
    """A bias (..., nq, nk) as its distinct matrices (count, nq, nk), and the one that each head reads."""
    if bias is None:
        return np.empty((0, 1, 1), dtype), np.zeros(heads, np.int64)
    axes = bias.shape[:-2]
    once = bias[tuple(slice(1) if stride == 0 else slice(None) for stride in bias.strides[:-2])]      # an axis that repeats
    number = np.broadcast_to(np.arange(prod(once.shape[:-2])).reshape(once.shape[:-2]), axes)
    return once.reshape(-1, *bias.shape[-2:]), np.resize(number.ravel(), heads)


# ---------------------------------------------------------------- layouts on the device

def retiled(layout, block):
    """The layout in a kernel's own tiles: cut once, and kept beside it."""
    return layout if layout.block == block else layout.remember(_cut(block))


@cache
def _cut(block):
    """One function a block, since `remember` goes by functions."""
    return lambda layout: layout.retile(block)


def _there(layout, make, *details):
    """What `make(layout, *details)` uploads to the current device: once, and kept beside the layout."""
    return layout.remember(_maker(make, details, 0 if SIMULATED else cuda.get_current_device().id))


@cache
def _maker(make, details, device):
    return lambda layout: make(layout, *details)


def device_layout(layout, heads):
    """The layout's own arrays on the device, uploaded once: (planes, order, indptr, indices, kind, tiles, bq, bk)."""
    order, *lists = _there(layout, _uploaded)
    return (_there(layout, _planes, heads, np.int64), order, *lists, *map(np.int64, layout.block))


def _uploaded(layout):
    """Lists and tiles as they are; and the block rows of each plane, those with the longest lists first."""
    arrays = (_longest_first(layout).astype(np.int64), layout.indptr, layout.indices, layout.kind, layout.tiles)
    return tuple(upload(np.ascontiguousarray(x)) for x in arrays)


def _longest_first(layout):
    counts = np.diff(layout.indptr).reshape(-1, max(1, layout.grid[0]))
    return np.argsort(-counts, axis=1, kind="stable")


def _planes(layout, heads, dtype):
    return upload(np.ascontiguousarray(layout.planes(heads), dtype))


def device_words(layout, heads):
    """The layout as tensor-core kernels read it, 32 bits a number: (planes of the heads, order, indptr, indices, kind, tiles)."""
    return (_there(layout, _planes, heads, np.int32), *_there(layout, _words))


def _words(layout):
    """Bits of a tile's row fill whole words, zeros beyond; the order is of all planes, one after another."""
    if len(layout.indices) >= 2**31:
        raise NotImplementedError(f"the layout lists {len(layout.indices):,} tiles, more than a 32-bit number counts: take larger tiles")
    missing = -layout.tiles.shape[2] % 4
    tiles = np.ascontiguousarray(np.pad(layout.tiles, ((0, 0), (0, 0), (0, missing)))).view(np.uint32)       # a transposed one's are not
    narrow = (_longest_first(layout).ravel(), layout.indptr, layout.indices, layout.kind)
    return (*(upload(np.ascontiguousarray(x, np.int32)) for x in narrow), upload(tiles))


# ---------------------------------------------------------------- start a kernel

def shared_limit():
    """Bytes of shared memory that a block of threads may have."""
    return 1 << 30 if SIMULATED else cuda.get_current_device().MAX_SHARED_MEMORY_PER_BLOCK_OPTIN


def launch(name, kernel, blocks, threads, stream, *arguments, shared=0):
    """Start a kernel, with `shared` bytes of memory for each block; a small grid is no reason for a warning."""
    with clear_errors(name):
        if not SIMULATED:
            prepare(kernel, shared, kinds(arguments), cuda.get_current_device().id)(blocks, threads, stream, tuple(numbers(arguments)))
            return
        with catch_warnings():
            simplefilter("ignore", numba.core.errors.NumbaPerformanceWarning)
            kernel[blocks, threads, 0, shared](*arguments)
