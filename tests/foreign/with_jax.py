"""What JAX computes: jax.nn.dot_product_attention on the processor, in float32: scores and softmax are in that whatever it is given."""

import numpy as np

from .cases import CASES, SCORED

__all__ = ["NATIVE", "attention", "compute"]

NATIVE = {  # cases that JAX has words for: they are asked in these, the others through a mask
    "causal": {"is_causal": True},
    "causal top-left wide": {"is_causal": True},
    "causal top-left tall": {"is_causal": True},
    "window two-sided": {"local_window_size": 3},
    "window uneven": {"local_window_size": (1, 3)},
    "mistral": {"is_causal": True, "local_window_size": (3, 0)},
    "grouped heads": {"local_window_size": (2, 0)},
}


def compute():
    """Output and natural lse of every case; rows without keys as JAX has them."""
    values = {}
    for case in CASES:
        if case.shape[4] != case.shape[5]:
            continue  # JAX asks for one head dimension of keys and values
        values[f"jax/{case.name}/o"], values[f"jax/{case.name}/lse"] = attention(case, **NATIVE.get(case.name) or {"mask": case.mask[None]})
    for scored in SCORED:
        if scored.sinks is None and scored.softcap is None:
            bias = None if scored.bias is None else scored.bias[None].astype(np.float32)
            told = {"mask": scored.case.mask[None], "scale": scored.scale, "bias": bias}
            values[f"jax scored/{scored.name}/o"], values[f"jax scored/{scored.name}/lse"] = attention(scored.case, **told)
    return values


def attention(case, dtype="float32", **options):
    """(o, lse) with our axes; JAX has positions before heads."""
    import jax

    q, k, v = (x.swapaxes(0, 1)[None].astype(dtype) for x in case.inputs)
    o, lse = jax.nn.dot_product_attention(q, k, v, **options, return_residual=True, implementation="xla")
    return np.array(o[0]).swapaxes(0, 1), np.array(lse[0]).T
