"""What the clock sees of our own implementations. The layout is made before, which is timed apart."""

from importlib import import_module

import numpy as np

from sparsevis.attention import attention
from sparsevis.bench.problem import Work, grid
from sparsevis.layout import Layout

__all__ = ["our_backward", "our_forward", "our_layout"]


def our_forward(impl, x):
    """Work of the public call."""
    layout = Layout.of(x.pattern, x.n, 64 if impl == "reference" else _kernel(impl).BLOCK)
    return Work(lambda: attention(x.q, x.k, x.v, layout, impl=impl))


def our_backward(impl, x):
    """Work of the kernel's backward pass, the forward pass kept; the public call would do it again."""
    kernel = _kernel(impl)
    layout = Layout.of(x.pattern, x.n, kernel.BLOCK)
    o, lse = kernel.forward(x.q, x.k, x.v, layout, scale=x.scale)
    return Work(lambda: kernel.backward(x.do, x.q, x.k, x.v, o, lse, layout, scale=x.scale), np.stack)


def our_layout(x):
    """Work of making a layout of a pattern."""
    return Work(lambda: Layout.of(x.pattern, x.n, 64), grid)


def _kernel(impl):
    return import_module(f"sparsevis.kernels.{impl}")
