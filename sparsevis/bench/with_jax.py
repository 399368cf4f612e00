"""What the clock sees of JAX: dot_product_attention, jitted. It computes all pairs and masks them, whatever the pattern."""

from functools import partial

import numpy as np

from sparsevis.bench.problem import Work
from sparsevis.patterns import Causal, Dense

__all__ = ["jax_backward", "jax_forward"]


def jax_forward(x):
    """Work of one call; JAX returns before it is done, hence the blocking."""
    attend, inputs = _attention(x)
    return Work(lambda: attend(*inputs).block_until_ready(), _heads_first)


def jax_backward(x):
    """Work of a backward pass, the forward pass kept."""
    import jax

    attend, inputs = _attention(x)
    _, pull = jax.vjp(attend, *inputs)
    back, do = jax.jit(lambda pull, do: pull(do)), _heads_last(x.do)
    return Work(lambda: jax.block_until_ready(back(pull, do)), lambda grads: np.stack([_heads_first(g) for g in grads]))


def _attention(x):
    import jax

    options = {"is_causal": True} if x.pattern == Causal() else {}
    if x.pattern not in (Dense(), Causal()):
        options["mask"] = jax.numpy.asarray(x.layout().mask())[None, None]
    return jax.jit(partial(jax.nn.dot_product_attention, **options)), [_heads_last(a) for a in (x.q, x.k, x.v)]


def _heads_last(a):
    import jax

    return jax.numpy.asarray(np.ascontiguousarray(a.swapaxes(0, 1))[None])


def _heads_first(a):
    return np.asarray(a)[0].swapaxes(0, 1)
