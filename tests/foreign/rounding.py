"""How far two correct attentions may lie apart: a worst-case bound on rounding, derived from the inputs.

Sums in any order, any number of rescales of an online softmax, exp to 4 units of roundoff; N. J. Higham's
gamma_n = n u / (1 - n u) is carried through score, softmax and weighted mean. No safety factor, no absolute tolerance.
"""

import numpy as np

__all__ = ["UNIT", "assert_within", "attend", "bound"]

UNIT = {"float64": 2.0**-53, "float32": 2.0**-24}


def scores_of(q, k, v, mask, scale, softcap, bias, sinks):
    """Final scores, what their rounding grows with, mask and values; a sink is one more key, of value 0, with a given score."""
    k, v = (np.repeat(x, q.shape[-3] // x.shape[-3], axis=-3) for x in (k, v))
    scale = 1 / np.sqrt(q.shape[-1]) if scale is None else scale
    scores, size = q @ k.swapaxes(-1, -2) * scale, np.abs(q) @ np.abs(k).swapaxes(-1, -2) * abs(scale)
    if softcap is not None:
        scores = softcap * np.tanh(scores / softcap)
    if bias is not None:
        scores = scores + bias
    if sinks is not None:
        column = np.broadcast_to(np.asarray(sinks)[:, None, None], (*scores.shape[:-1], 1))
        scores, size = np.concatenate([scores, column], -1), np.concatenate([size, 0 * column], -1)
        mask = np.concatenate([mask, np.ones(column.shape, bool)], -1)
        v = np.concatenate([v, np.zeros_like(v[:, :1])], -2)
    return scores, size, mask, v


def attend(q, k, v, mask, *, scale=None, softcap=None, bias=None, sinks=None):
    """Dense float64 attention over `mask`, (heads, nq, nk): output, lse, probabilities."""
    scores, _, mask, v = scores_of(q, k, v, mask, scale, softcap, bias, sinks)
    kept = np.where(mask, scores, -np.inf)
    top = np.where(mask.any(-1), kept.max(-1, initial=-np.inf), 0.0)[..., None]
    p = np.exp(kept - top)
    total = p.sum(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        lse = (np.log(total) + top)[..., 0]
    p = p / np.where(total > 0, total, 1)
    return p @ v, lse, p


def bound(q, k, v, mask, u, **options):
    """Bounds on the error of one computed output and lse with unit roundoff `u`, element by element; 0 on rows without keys."""
    o, lse, p = attend(q, k, v, mask, **options)
    scores, size, mask, v = scores_of(q, k, v, mask, *(options.get(name) for name in ("scale", "softcap", "bias", "sinks")))
    keys = mask.sum(-1, keepdims=True)

    def gamma(count):
        return count * u / (1 - count * u)

    top = np.where(mask, scores, -np.inf).max(-1, keepdims=True, initial=-np.inf)
    drop = np.where(mask, np.abs(scores - np.where(keys > 0, top, 0)), 0)
    # every weight is off by a factor exp(+-theta): dot product and scaling (a cap only shrinks their error), tanh and bias,
    # subtraction of the maximum, exp and its rescales
    extra = 2 * u * np.abs(scores) + (8 * u * options["softcap"] if "softcap" in options else 0)
    theta = gamma(q.shape[-1] + 4) * size + extra + 3 * u * drop + 4 * u * (keys + 1)
    grown, lost = p * np.expm1(theta), (p * -np.expm1(-theta)).sum(-1, keepdims=True)
    spread = sum_over_keys(grown, v, o) / (1 - lost)
    chain = gamma(2 * keys + 2)
    err_o = spread + chain * ((p + grown) @ np.abs(v) / (1 - lost) + np.abs(o) + spread) / (1 - chain)
    err_o = err_o + 4 * u * (np.abs(o) + err_o)
    live, top, chain, lost = keys[..., 0] > 0, np.where(keys > 0, top, 0)[..., 0], chain[..., 0], lost[..., 0]
    log_total = np.where(live, lse - top, 0)
    err_lse = np.maximum(np.log1p(grown.sum(-1)), -np.log1p(-lost)) + chain / (1 - chain) + u * (5 * np.abs(top) + 8 * log_total)
    return np.where(live[..., None], err_o, 0), np.where(live, err_lse, 0)


def sum_over_keys(weights, v, o):
    """sum_j weights_ij |v_jc - o_ic|, a head dimension at a time."""
    columns = [(weights * np.abs(v[..., None, :, c] - o[..., :, None, c])).sum(-1) for c in range(v.shape[-1])]
    return np.stack(columns, axis=-1)


def assert_within(got, want, err):
    """Every element of `got` lies within `err` of `want`; -inf equals -inf, NaN equals nothing."""
    assert got.shape == want.shape
    with np.errstate(invalid="ignore"):
        wrong = ~((got == want) | (np.abs(got - want) <= err))
    if wrong.any():
        at = tuple(np.argwhere(wrong)[0].tolist())
        raise AssertionError(f"{wrong.sum()} of {wrong.size} differ, first at {at}: {got[at]} and {want[at]}, {err[at]:.2e} apart at most")
