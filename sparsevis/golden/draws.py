"""The numbers of golden vectors: SplitMix64, which any language can write in four lines, and the arrays of a call made of them.

NumPy keeps the bits of its generators from release to release, but not what its distributions make of them; here there is no distribution.
G. L. Steele, D. Lea, C. H. Flood 2014, doi 10.1145/2660193.2660195.
"""

import numpy as np

from sparsevis.golden.call import VALUES, Problem
from sparsevis.golden.model import dtype_of

__all__ = ["BITS", "numbers", "problem_of"]

BITS = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 24}  # as many as every number of [-2, 2) may have


def numbers(state, size, dtype="float32"):
    """Return `size` numbers in [-2, 2), and the state after them, by SplitMix64; exact in the dtype.

    >>> numbers(1234567, 2, "bfloat16")[0]
    array([-0.609375, -1.3125  ])
    """
    bits, step = BITS[dtype], 0x9E3779B97F4A7C15
    after = (state + size * step) % 2**64
    z = np.uint64(state % 2**64) + np.arange(1, size + 1, dtype=np.uint64) * np.uint64(step)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(64 - bits)).astype(np.float64) / 2.0 ** (bits - 2) - 2, after


def problem_of(call, dtype, state):
    """The arrays of a call, drawn in the order q, k, v, do, dlse, bias, and made what `call.values` says; sinks are a table."""
    heads, mask, drawn = call.kv_heads * call.group, call.mask, []
    for *shape, d in (
        (call.batch, heads, call.nq, call.d), (call.batch, call.kv_heads, call.nk, call.d), (call.batch, call.kv_heads, call.nk, call.dv),
        (call.batch, heads, call.nq, call.dv), (call.batch, heads, call.nq), (heads, call.nq, call.nk),
    ):  # fmt: skip
        x, state = numbers(state, int(np.prod(shape)) * d, dtype)
        drawn.append(x.reshape(*shape, d))
    q, k, v, do, dlse, bias = drawn
    shape = (call.batch, call.kv_heads, call.group, call.nq, call.nk)
    unseen = ~np.broadcast_to(mask, (call.batch, heads, *shape[3:])).reshape(shape).any((2, 3))
    q, k, v = VALUES[call.values](q, k, v, unseen, dtype_of(dtype))
    sinks = np.resize([-1.0, 0.5, 3.0, -8.0, 8.0], heads) if call.sinks else None
    q, k, v, do, dlse, bias = (x.astype(dtype_of(dtype)) for x in (q, k, v, do, dlse, bias))
    sinks = None if sinks is None else sinks.astype(dtype_of(dtype))
    return Problem(q, k, v, do, dlse, mask, call.scale, call.softcap, sinks, bias if call.bias else None)
