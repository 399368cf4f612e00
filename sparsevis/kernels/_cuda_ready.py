"""Calls of PyTorch tensors that were planned and wait for nothing but addresses: what the host does from the second call on.

Results are made, the addresses of all arrays are written into the plan's block of arguments, and the kernels start on the current stream.
Nothing is checked again, for a ready call is found by all that was checked (see `inputs.slot_of`); nothing is copied, nothing waits, and
all memory is PyTorch's, so a CUDA graph may capture it. No tensor of a call is kept.
"""
from math import prod

from ._cuda import clear_errors
from ._cuda_call import key_of, plans
from ._cuda_launch import here

__all__ = ["Ready", "ReadyGradients", "ready", "ready_gradients"]

CAPTURED = set()                # plans that a CUDA graph has captured: it reads their memory for as long as it lives, which nobody can see
LINE = 256                      # bytes: where arrays in a common piece of memory begin


def ready(name, q, k, v, layout, *, scale, softcap=None, sinks=None):
    """The ready call like one that has just been made, or None; it takes the tensors q, k, v and sinks, and returns o and lse."""
    plan = plans(layout).get(key_of(name, (q, k, v), scale, softcap))
    if plan is None or not all(x.library == "torch" for x in (q, k, v)) or not plan.sizes.heads * q.shape[-2]:
        return None
    return Ready(name, plan, q.source, v.source)


def ready_gradients(name, do, q, k, v, layout, *, scale, softcap=None, sinks=None, dlse=None):
    """As `ready`: the ready call takes the tensors do, q, k, v, dlse and sinks, and returns dq, dk and dv."""
    first = ready(name, q, k, v, layout, scale=scale, softcap=softcap)
    steps = plans(layout).get(key_of("gradients", (do, q, k, v), scale, softcap, dlse is not None))
    return None if first is None or steps is None else ReadyGradients(first, steps, q.source, v.source)


class Ready:
    """A planned forward pass."""

    def __init__(self, name, plan, q, v):
        import torch
        self.name, self.none = name, plan.none.address
        self.plan, self.index, self.batch, self.real = plan, q.get_device(), plan.sizes.shapes[0][0], getattr(torch, plan.sizes.real.name)
        self.o, self.lse = q.shape[:-1] + v.shape[-1:], q.shape[:-1]
        self.captures = torch.cuda.is_current_stream_capturing
        self.stream = getattr(torch._C, "_cuda_getCurrentRawStream", None) or (lambda index: torch.cuda.current_stream(index).cuda_stream)

    def __call__(self, q, k, v, sinks=None):
        """Return (o, lse); None where this thread works in another CUDA context than the kernel's."""
        if not self.can_start(self):
            return None
        try:
            o, lse = q.new_empty(self.o), q.new_empty(self.lse, dtype=self.real)
            self.start(q, k, v, o.data_ptr(), lse.data_ptr(), sinks)
        except Exception:
            with clear_errors(self.name):
                raise
        return o, lse

    def can_start(self, whole):
        """Whether the kernel's CUDA context is the current one; and keep the whole call, if a CUDA graph captures it."""
        if here() != self.plan.context:
            return False
        if self.captures():
            self.plan.captured()
            CAPTURED.add(whole)
        return True

    def start(self, q, k, v, o, lse, sinks):
        """Start the kernel; o and lse are addresses, sinks a tensor or None."""
        plan, at_sinks = self.plan, self.none
        if sinks is not None:
            if self.batch > 1 or sinks.dtype != self.real or sinks.get_device() != self.index or not sinks.is_contiguous():
                sinks = q.new_empty(plan.sizes.shapes[0][:2], dtype=self.real).copy_(sinks.detach())
            at_sinks = sinks.data_ptr()
        plan.run(self.stream(self.index), (q.data_ptr(), k.data_ptr(), v.data_ptr()), o, lse, at_sinks)


class ReadyGradients:
    """A planned forward pass, and the backward pass that reads its results."""

    def __init__(self, first, steps, q, v):
        import torch
        self.first, self.steps, self.bytes = first, steps, torch.uint8
        real, rows = first.plan.sizes.real.itemsize, prod(q.shape[:-1])
        self.at_lse = -(-rows * v.shape[-1] * q.element_size() // LINE) * LINE
        self.at_numbers = self.at_lse + -(-rows * real // LINE) * LINE
        self.size = self.at_numbers + prod(steps.numbers) * real

    def __call__(self, do, q, k, v, dlse=None, sinks=None):
        """Return (dq, dk, dv); None where this thread works in another CUDA context than the kernels'."""
        first = self.first
        if not first.can_start(self):
            return None
        try:
            between = q.new_empty(self.size, dtype=self.bytes)      # o, lse and the steps' numbers
            o = between.data_ptr()
            lse, numbers = o + self.at_lse, o + self.at_numbers
            first.start(q, k, v, o, lse, sinks)
            dq, dk, dv = q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)
            given = do.data_ptr(), q.data_ptr(), k.data_ptr(), v.data_ptr(), o, lse, 0 if dlse is None else dlse.data_ptr(), numbers
            self.steps.run(first.stream(first.index), *given, dq.data_ptr(), dk.data_ptr(), dv.data_ptr())
        except Exception:
            with clear_errors(first.name):
                raise
        return dq, dk, dv
