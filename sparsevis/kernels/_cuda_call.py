"""What the tensor-core kernels share on the host: a call is planned once, and later ones only write addresses into the plan.

A plan belongs to a layout and to the shapes, strides and options of a call. It knows the compiled kernel, the grid, and all arguments but
six: where q, k, v, o, lse and sinks lie. A call of PyTorch tensors that was planned can be kept ready (see `_cuda_ready.py`).
"""
import math
from typing import NamedTuple

import numpy as np

from ..arrays import DeviceArray, seen
from ._cuda import SIMULATED, Caller, clear_errors, cuda, device_words, four_axes, needs_device, on_gpu, retiled, upload
from ._cuda_launch import Bound, here, prepare, relaxed, tensor_map

__all__ = ["Built", "Plan", "Sizes", "TensorMaps", "forward", "key_of", "plans", "scale_in_bits", "sized"]

LOG2E = math.log2(math.e)
TINY = float(np.finfo(np.float32).tiny)
SHORT = {"bfloat16": "bf16", "float16": "f16"}


class Built(NamedTuple):
    """A kernel, what it needs to start, and the tiles it walks."""

    kernel: object
    shared: int
    threads: int
    block: tuple[int, int]
    signature: tuple


class Sizes(NamedTuple):
    """The numbers of a call that do not change with the arrays: (batch, heads, n, d) shapes and byte strides of q, k, v."""

    dtype: str
    shapes: tuple
    strides: tuple

    @property
    def heads(self):
        """Query heads of all batch elements."""
        return self.shapes[0][0] * self.shapes[0][1]

    @property
    def real(self):
        """The dtype of lse and sinks."""
        return np.dtype(np.float64 if self.dtype == "float64" else np.float32)

    @property
    def group(self):
        """Query heads that share a key/value head."""
        return self.shapes[0][1] // self.shapes[1][1]


def sized(name, arrays):
    """Check that the rows of arrays can be read 16 bytes at a time, and return their `Sizes`."""
    axes = [four_axes(x.shape, x.strides) for x in arrays]
    for x, (shape, strides), label in zip(arrays, axes, "qkv", strict=False):
        if strides is None or (strides[-1] != x.dtype.itemsize and shape[-1] > 1) or any(s % 16 for s in strides[:-1]) or x.address % 16:
            raise ValueError(f"impl={name!r} reads rows 16 bytes at a time, and {label} (strides {x.strides} bytes) has rows that are not "
                             f"side by side or do not start at multiples of 16 bytes: give {label}.contiguous()")
    return Sizes(arrays[0].dtype.name, *(tuple(part) for part in zip(*axes, strict=True)))


def scale_in_bits(scale):
    """The factor of scores under an exponential of base 2; 0 becomes the smallest normal number, for -inf * 0 would be NaN."""
    if scale < 0:
        raise NotImplementedError(f"scale is {scale}, and tensor-core kernels need it to be 0 or above: negate q")
    return float(np.float32(max(scale * LOG2E, TINY)))


# ---------------------------------------------------------------- a plan

class Plan:
    """A compiled kernel and its arguments, but for where the arrays of a call lie.

    Arguments: q, k, v (whatever `locate` makes of their addresses), o, lse, the layout's six arrays, sinks, then `scalars`.
    """

    def __init__(self, sizes, layout, built, scalars, locate=None):
        tiles = retiled(layout, built.block)
        heads = sizes.shapes[0][1]
        self.sizes, self.threads, self.locate, self.context = sizes, built.threads, locate or tuple, here()
        self.words = device_words(tiles, heads)
        self.fixed, self.grid = [x.address for x in self.words], (tiles.grid[0], sizes.heads)
        self.none = upload(np.full(sizes.heads, -np.inf, sizes.real))
        self.start = prepare(built.kernel, built.shared, built.signature, cuda.get_current_device().id)
        self.bound = Bound(self.start, built.threads, 12, scalars)

    def __call__(self, arrays, o, lse, sinks, stream):
        """Start the kernel."""
        self.run(stream, tuple(x.address for x in arrays), o.address, lse.address, sinks.address)

    def run(self, stream, where, o, lse, sinks):
        """Start the kernel on arrays that lie at these addresses, q, k and v at `where`."""
        self.bound(self.grid, stream, *self.locate(where), o, lse, *self.fixed, sinks)

    def captured(self):
        """A CUDA graph has captured a call: what it reads on the device stays there."""
        if isinstance(self.locate, TensorMaps):
            self.locate.captured = True

    def sinks(self, given):
        """A logit for each query head of all batch elements, on the device."""
        return self.none if given is None else upload(np.resize(np.asarray(given, self.sizes.real), self.sizes.heads))


class TensorMaps:
    """Descriptions of arrays for the copy engine, kept by address: a network calls with the same memory again and again."""

    def __init__(self, sizes, boxes, kind, most=3000):
        self.sizes, self.boxes, self.kind, self.most = sizes, boxes, kind, most
        self.kept, self.found, self.older = {}, {}, None
        self.captured = False                           # in a CUDA graph, which goes on reading them

    def __call__(self, addresses):
        """Addresses of the maps of q, k and v, which lie at a tuple of addresses."""
        return self.found.get(addresses) or self._find(addresses)

    def _find(self, addresses):
        if len(self.found) > self.most and not self.captured:
            self.older, self.kept, self.found = self.kept, {}, {}       # a call of another thread may be about to read those of before
        kept, found = self.kept, self.found
        found[addresses] = there = tuple((kept.get(x) or self._made(kept, *x)).address for x in zip(addresses, range(3), strict=True))
        return there

    def _made(self, kept, address, i):
        shape, strides = self.sizes.shapes[i], self.sizes.strides[i]
        if any(n > 1 and s <= 0 for n, s in zip(shape, strides, strict=True)):
            raise ValueError(f"{'qkv'[i]} repeats its numbers along an axis (strides {strides} bytes): give {'qkv'[i]}.contiguous()")
        with relaxed():
            # nothing lies at address 0, and nothing of it is read: a layout over no keys lists no tile
            kept[address, i] = made = upload(tensor_map(address or 16, [max(1, n) for n in shape], strides, self.boxes[i], self.kind))
        return made


def plans(layout):
    """The plans that belong to a layout."""
    return layout.remember(_no_plans)


def _no_plans(layout):
    return {}


def key_of(name, arrays, *options):
    """What a plan is found by: all of a call but where its arrays lie; and that only where rows do not start at multiples of 16 bytes."""
    there = [x for x in arrays if isinstance(x, DeviceArray)]
    odd = any(x.address % 16 for x in there)
    return name, *((x.shape, x.strides) for x in arrays), arrays[0].dtype.name, there[0].device if there else -1, odd, *options


def forward(name, needs, plan, q, k, v, layout, *, scale, softcap, sinks):
    """Run a planned kernel: `plan(sizes, layout, scale, softcap)` makes what is called with addresses and a stream."""
    q, k, v = map(seen, (q, k, v))
    if SIMULATED:
        raise NotImplementedError(f"impl={name!r} speaks to tensor cores, which Numba's simulator does not have: impl='cuda_tiled'")
    asked = [n for n, x in (("softcap", softcap), ("sinks", sinks)) if x is not None]
    key = key_of(name, (q, k, v), scale, softcap)
    known = plans(layout).get(key)
    with on_gpu(q), clear_errors(name):
        if known is None:
            needs_device(name, needs, q.dtype.name, q.shape[-1], v.shape[-1], asked, "forward")
        caller = Caller(q)
        arrays = [x if isinstance(x, DeviceArray) else upload(np.ascontiguousarray(x)) for x in (q, k, v)]
        if known is None:
            known = plans(layout)[key] = plan(sized(name, arrays), layout, scale, softcap)
        (batch, per, nq, _), dv = known.sizes.shapes[0], known.sizes.shapes[2][-1]
        o, to_o = caller.empty((batch * per, nq, dv), q.dtype)
        lse, to_lse = caller.empty((batch * per, nq), known.sizes.real)
        if batch * per * nq:
            known(arrays, to_o, to_lse, known.sinks(sinks), caller.stream)
        return caller.give_back(o), caller.give_back(lse)
