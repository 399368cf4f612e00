"""What the clock sees of PyTorch: scaled_dot_product_attention, and FlexAttention compiled; both on the arrays the others have."""

from functools import partial
from shutil import which

import numpy as np

from sparsevis.bench.problem import Work, grid
from sparsevis.patterns import Causal, Dense

__all__ = ["flex", "flex_layout", "no_compiler", "sdpa", "torch_backward", "torch_forward"]


def torch_forward(attend, x):
    """Work of one call; `attend` makes, of a problem, a function of q, k, v."""
    import torch

    tensors, call = _tensors(x.q, x.k, x.v), attend(x)

    def without_gradients():
        with torch.no_grad():
            return call(*tensors)

    return Work(without_gradients, lambda o: o[0].numpy())


def torch_backward(attend, x):
    """Work of a backward pass, the forward pass kept."""
    import torch

    inputs, do = [t.requires_grad_() for t in _tensors(x.q, x.k, x.v)], _tensors(x.do)
    o = attend(x)(*inputs)
    return Work(lambda: torch.autograd.grad(o, inputs, do, retain_graph=True), lambda grads: np.stack([g[0].numpy() for g in grads]))


def sdpa(x):
    """Return scaled_dot_product_attention; a pattern it has no name for becomes a boolean mask, and all pairs are computed."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    if x.pattern in (Dense(), Causal()):
        return partial(scaled_dot_product_attention, is_causal=x.pattern == Causal())
    return partial(scaled_dot_product_attention, attn_mask=torch.from_numpy(x.layout().mask()))


def flex(block, x):
    """Return FlexAttention compiled for one block mask."""
    from torch.nn.attention.flex_attention import flex_attention

    return partial(_compiled(flex_attention), block_mask=flex_layout(block, x).call())


def flex_layout(block, x, compiled=False):
    """Work of create_block_mask, as it is or compiled."""
    from torch.nn.attention.flex_attention import create_block_mask

    create = partial(_compiled(create_block_mask) if compiled else create_block_mask, device="cpu", BLOCK_SIZE=block)
    rule = _rule(x)
    return Work(lambda: create(rule, None, None, x.n, x.n), lambda mask: mask.to_dense()[0, 0].numpy() > 0)


def no_compiler(case):
    """Return what torch.compile lacks on this machine, or None."""
    if any(map(which, ("g++", "clang++", "c++", "cl"))):
        return None
    return "torch.compile needs a C++ compiler: apt install g++, dnf install gcc-c++, or xcode-select --install"


def _compiled(function):
    import torch

    limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
    setattr(torch._dynamo.config, limit, 256)  # every mask is compiled anew
    return torch.compile(function, dynamic=False)


def _rule(x):
    """The pattern's own rule, fed with tensors; where all of its tiles are full, as BigBird's, a table of them."""
    import torch

    if len(x.layout().tiles) or x.pattern == Dense():
        return lambda b, h, q, k: x.pattern.allows(q, k, x.n)
    table = torch.from_numpy(grid(x.layout()))
    return lambda b, h, q, k: table[q // 64, k // 64]


def _tensors(*arrays):
    import torch

    return [torch.from_numpy(a)[None] for a in arrays]
