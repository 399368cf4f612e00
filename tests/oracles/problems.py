"""Problems to put to an implementation of attention, the answer of the scalar loops, and how far rounding may carry an answer.

Nothing here calls the package: the tolerance, too, follows from the inputs alone.
"""

import math
from types import SimpleNamespace

import numpy as np

from . import scalar

__all__ = ["FEATURES", "NAMES", "U", "assert_close", "budget", "changed", "oracle", "problem", "same_bits"]

U = 2.0**-53
NAMES = ("o", "lse", "dq", "dk", "dv")
FEATURES = ("softcap", "bias", "sinks", "scale")


def problem(seed, nq=5, nk=7, d=3, dv=4, heads=4, kv_heads=2, mask="holes", features=FEATURES):
    """A call of attention (`inputs`, keywords included) and the cotangents (`do`, `dlse`) of its outputs, all numbers of order one.

    The masks: "dense", "causal", "none" allowed, and "holes" drawn for each head, with a row without keys and a key without rows.
    """
    rng = np.random.default_rng(seed)
    holes = rng.random((heads, nq, nk)) < 0.6
    holes[:, nq // 2 : nq // 2 + 1] = False
    holes[:, :, nk // 3 : nk // 3 + 1] = False
    masks = {"dense": None, "causal": np.tri(nq, nk, dtype=bool), "holes": holes, "none": np.zeros((nq, nk), bool)}
    q, k, v = rng.normal(size=(heads, nq, d)), rng.normal(size=(kv_heads, nk, d)), rng.normal(size=(kv_heads, nk, dv))
    bias, sinks = rng.normal(size=(heads, nq, nk)), 3 * rng.normal(size=heads)
    options = {"softcap": 1.5, "bias": bias, "sinks": sinks, "scale": 0.37}
    inputs = {"q": q, "k": k, "v": v, "mask": masks[mask]} | {name: options[name] for name in features}
    return SimpleNamespace(inputs=inputs, do=rng.normal(size=(heads, nq, dv)), dlse=rng.normal(size=(heads, nq)))


def changed(p, **inputs):
    """The same problem with other inputs."""
    return SimpleNamespace(inputs=p.inputs | inputs, do=p.do, dlse=p.dlse)


def oracle(p):
    """The five results of the scalar loops."""
    inputs = dict(p.inputs)
    mask = inputs.pop("mask")
    results = scalar.attention(**inputs, allowed=mask) + scalar.attention_grad(p.do, **inputs, allowed=mask, dlse=p.dlse)
    shapes = (p.do.shape, p.dlse.shape, *(inputs[x].shape for x in "qkv"))
    return [np.array(x, float).reshape(shape) for x, shape in zip(results, shapes, strict=True)]


def budget(p, u=U):
    """How far from the truth an evaluation with unit roundoff u may fall, to first order and in the worst case.

    A score is off by T, hence a probability by a relative e. What cancels later is measured by `size`, the sum of its magnitudes.
    """
    q, k, v = (np.abs(np.asarray(p.inputs[x], float)) for x in "qkv")
    (heads, nq, d), (kv_heads, nk, dv) = q.shape, v.shape
    k, v = (np.repeat(x, heads // kv_heads, axis=0) for x in (k, v))
    scale = abs(1 / math.sqrt(d) if p.inputs.get("scale") is None else p.inputs["scale"])
    softcap, bias, sinks = (p.inputs.get(x) for x in ("softcap", "bias", "sinks"))
    forward = {x: y for x, y in p.inputs.items() if x != "mask"} | {"v": np.repeat(np.eye(nk)[None], kv_heads, axis=0)}
    prob, lse = scalar.attention(**forward, allowed=p.inputs["mask"])                  # v = identity: o is the probabilities
    prob, lse = np.array(prob).reshape(heads, nq, nk), np.array(lse).reshape(heads, nq)
    allowed = np.broadcast_to(True if p.inputs["mask"] is None else p.inputs["mask"], prob.shape)
    score = np.where(allowed, scale * np.einsum("hic,hjc->hij", q, k) + (0 if bias is None else np.abs(bias)), 0)
    top = np.maximum(score.max(-1, initial=0), 0 if sinks is None else np.abs(sinks)[:, None])
    T = u * ((d + 24) * top + 8)
    e = (2 * T + (2 * nk + 8) * u)[..., None]
    dp = np.einsum("hic,hjc->hij", np.abs(p.do), v)
    size = prob * (dp + (prob * dp).sum(-1, keepdims=True) + np.abs(p.dlse)[..., None])
    slope = 0 if softcap is None else 2 * T[..., None] / softcap + 12 * u
    ds = scale * size * (2 * e + (2 * dv + 2 * nk + nq * heads // kv_heads + 14) * u + slope)
    gather = lambda x: x.reshape(kv_heads, heads // kv_heads, nk, x.shape[-1]).sum(1)
    errors = (
        e * (prob @ v),
        T + (nk + 4) * u + 2 * u * (np.where(np.isfinite(lse), np.abs(lse), 0) + top),
        ds @ k,
        gather(ds.swapaxes(1, 2) @ q),
        gather((prob * (e + (nq * heads // kv_heads + 4) * u)).swapaxes(1, 2) @ np.abs(p.do)),
    )
    return [x + 1e-300 for x in errors]                                     # exp may underflow


def assert_close(got, want, error):
    """Float64 results (o, lse, dq, dk, dv, or the first of them) of the shapes wanted, each within its error of what is wanted."""
    for name, x, y, err in zip(NAMES, got, want, error, strict=False):
        assert (x.shape, x.dtype) == (y.shape, np.float64), name
        err = np.broadcast_to(err, x.shape)
        with np.errstate(invalid="ignore"):
            bad = np.argwhere(~((x == y) | (np.abs(x - y) <= err)))
        if len(bad):
            at = tuple(bad[0].tolist())
            raise AssertionError(f"{name}{list(at)} is {x[at]!r}, not {y[at]!r} within {err[at]:.1e}; {len(bad)} entries are wrong")


def same_bits(x, y):
    return x.shape == y.shape and x.dtype == y.dtype and x.tobytes() == y.tobytes()
