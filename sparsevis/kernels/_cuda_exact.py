"""What `cuda_rows` and `cuda_tiled` share on the host: a call is planned once, and later ones only write addresses into the plan.

These kernels take arrays, each of which the driver gets as numbers: a plan writes all of them once, and knows where the addresses stand
that change from call to call. It is made of what the first call checked and uploaded. Calls with arrays of features other than sinks are
not planned. As plans of `_cuda_call.py`, these serve `_cuda_ready.py`.
"""
import numpy as np

from ._cuda import SIMULATED, Inputs, clear_errors, cuda, launch, on_gpu, upload
from ._cuda_call import Sizes, key_of, plans
from ._cuda_launch import Block, checked, here, kinds, numbers, prepare

__all__ = ["Start", "Steps", "can_be_planned", "forward"]


class Start:
    """A kernel, its grid and its arguments, of which some arrays change their places."""

    def __init__(self, kernel, grid, threads, shared, arguments, changing):
        signature = kinds(arguments)
        self.kernel, self.grid = prepare(kernel, shared, signature, cuda.get_current_device().id), (grid, threads)
        self.block, self.kept = Block(signature), arguments              # arrays of the layout live as long as the plan
        self.block.write(numbers(arguments))
        found = dict(places(arguments))
        self.slots = [self.block.slots[found[id(x)]] for x in changing]

    def __call__(self, stream, *addresses):
        """Start it on a stream, given by its handle, with the changing arrays at these addresses."""
        kernel, (grid, threads) = self.kernel, self.grid
        with self.block.lock:                                            # the driver copies the block before it returns
            for slot, address in zip(self.slots, addresses, strict=True):
                slot.value = address
            checked(kernel.launch(kernel.function, grid, 1, 1, threads, 1, 1, kernel.shared, stream, self.block.address, 0))


def places(arguments, first=0):
    """Yield (id of an array, number of the slot of its address) of arguments that may be tuples."""
    for x in arguments:
        inside = list(numbers((x,)))
        if isinstance(x, tuple):
            yield from places(x, first)
        elif len(inside) > 1:
            yield id(x), first + 4                                       # see `numbers`
        first += len(inside)


class Plan:
    """A planned forward pass, with the faces that `_cuda_ready.py` asks for."""

    def __init__(self, x, start):
        shapes, strides = zip(*((a.shape, a.strides) for a in (x.q, x.k, x.v)), strict=True)
        self.sizes, self.context, self.start = Sizes(x.dtype.name, shapes, strides), here(), start
        self.none = upload(np.full(x.heads, -np.inf, x.dtype))

    def run(self, stream, where, o, lse, sinks):
        """Start the kernel on arrays that lie at these addresses, q, k and v at `where`."""
        self.start(stream, *where, o, lse, sinks)

    def captured(self):
        """A CUDA graph has captured a call: all that is read but its arrays lives with the plan anyway."""


class Steps:
    """A planned backward pass: `starts` of the three kernels."""

    def __init__(self, x, starts):
        self.numbers, self.starts = (x.heads, x.nq), starts

    def run(self, stream, do, q, k, v, o, lse, dlse, numbers, dq, dk, dv):
        """Start the kernels on arrays that lie at these addresses; dq, dk and dv are written to."""
        given = (do, o, dlse or lse, numbers), (q, k, v, do, lse, numbers, dq), (q, k, v, do, lse, numbers, dk, dv)
        for start, addresses in zip(self.starts, given, strict=True):
            start(stream, *addresses)


def can_be_planned(x, asked):
    """Whether all that changes from call to call is where arrays lie."""
    return not SIMULATED and x.caller.library == "torch" and all(asked[name] is None for name in ("slopes", "key_mask", "bias"))


def forward(name, kernel_of, q, k, v, layout, scale, asked):
    """Run a forward kernel, and plan calls like this one; `kernel_of(inputs)` returns (kernel, blocks, threads, shared bytes, lists)."""
    with on_gpu(q), clear_errors(name):
        x = Inputs(name, q, k, v, scale, asked)
        o, to_o = x.caller.empty((x.heads, x.nq, x.dv), x.dtype)
        lse, to_lse = x.caller.empty((x.heads, x.nq), x.dtype)
        if x.heads * x.nq:
            kernel, grid, threads, shared, lists = kernel_of(x)
            work = x.q, x.k, x.v, to_o, to_lse, lists, x.scale, x.features
            launch(name, kernel, grid, threads, x.caller.stream, *work, shared=shared)
            key = key_of(name, (q, k, v), scale, asked["softcap"])
            if can_be_planned(x, asked) and key not in plans(layout):
                start = Start(kernel, grid, threads, shared, work, (x.q, x.k, x.v, to_o, to_lse, x.features[2]))
                plans(layout)[key] = Plan(x, start)
        return x.caller.give_back(o), x.caller.give_back(lse)
