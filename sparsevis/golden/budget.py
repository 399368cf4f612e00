"""The error each element of a result may have, computed from the inputs and from the roundings a kernel declares.

    want = expect(q, k, v, mask, model=Model(p="float16", out="float16"))
    abs(o - want.values["o"]) <= want.errors["o"]               element by element, or it is a bug or an undeclared rounding

Values come from the reference; the budget looks at the inputs for itself. The bounds are worst cases without fudge factors, and three
facts keep them sharp. The rescales of an online softmax telescope: however many there are, a key's exponent is off by 3u (m - s) in all.
An error that all weights of a row share cancels, so a score error moves an output by its *distance* from the values. And what the
gradient of a query shares over its keys moves it along the mean key, not along the sum of their magnitudes.

For one row, u the unit roundoff, gamma_n = n u / (1 - n u), N the longest chain of roundings:

    delta_j = (gamma_(d+1) + 2 u_operand) |scale| sum |q||k| + (2u + 2u_score) |s_j|     error of a score; a softcap damps it by its slope
    theta_j = delta_j + 3u |s_j - m| + exp u (rescales + 1)                               of an exponent
    C       = sum p_j (e^theta_j - 1) |v_j - o| / (1 - kappa)                             of the weights, on the output
    err_o   = C + ((1 + u_p)(1 + gamma_N) - 1) sum p_j |v_j| + gamma_N |o| + ...          and of products, sums, division, storage
"""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from sparsevis import reference
from sparsevis.golden.model import HALF_STEP, SMALLEST, UNIT, Model

__all__ = ["Expected", "expect"]

LOST = 30.0  # an exponent error beyond which nothing is known about a weight


@dataclass(frozen=True, eq=False)
class Expected:
    """The right results and the error each of their elements may have: dicts by the names o, lse and, with `do`, dq, dk, dv."""

    values: dict
    errors: dict
    top: np.ndarray = field(repr=False)  # the largest score of each row, which some wrong lse lack


def expect(q, k, v, mask=None, *, model=None, scale=None, softcap=None, bias=None, sinks=None, do=None, dlse=None):
    """Return what attention over the allowed pairs gives, and the error budget of a kernel that rounds as `model` says.

    Parameters
    ----------
    q, k, v, mask, scale, softcap, bias, sinks
        As for `sparsevis.reference.attention`.
    model : Model, optional
        What the kernel rounds; `Model.of(q.dtype)` where it is left out.
    do, dlse : array_like, optional
        Cotangents of o and of lse; with `do`, gradients are expected too.

    Examples
    --------
    >>> x = np.eye(4, dtype=np.float32)
    >>> want = expect(x, x, x)
    >>> want.values["o"].shape, bool((want.errors["o"] < 1e-5).all())
    ((4, 4), True)
    """
    model = Model.of(np.asarray(q).dtype) if model is None else model
    features = {"scale": scale, "softcap": softcap, "bias": bias, "sinks": sinks}
    o, lse = reference.attention(q, k, v, mask, **features)
    values = {"o": o, "lse": lse}
    if do is not None:
        values |= zip(("dq", "dk", "dv"), reference.attention_grad(do, q, k, v, mask, dlse=dlse, **features), strict=True)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        f = _look(q, k, v, mask, **features)
        f.delta = _score(f, model)
        errors = _forward(f, model)
        if do is not None:
            errors |= _backward(f, model, errors, values, _finite(do), 0.0 if dlse is None else _finite(dlse), np.shape(k)[-3:-2])
    return Expected(values, errors, f.m)


def _finite(x):
    """In float64; what is not finite becomes 0: the rows it reaches are judged as NaN, and no other may feel it."""
    x = np.asarray(x).astype(np.float64)
    return np.where(np.isfinite(x), x, 0.0)


def _look(q, k, v, mask, scale, softcap, bias, sinks):
    """Everything the budget needs to know of a call, with a key and value head for every query head."""
    q, k, v = map(_finite, (q, k, v))
    if q.ndim > 2 and k.shape[-3] not in (0, q.shape[-3]):
        k, v = (np.repeat(x, q.shape[-3] // k.shape[-3], axis=-3) for x in (k, v))
    scale = (q.shape[-1] ** -0.5 if q.shape[-1] else 1.0) if scale is None else float(scale)
    mask = np.broadcast_to(True if mask is None else mask, (*q.shape[:-1], k.shape[-2]))
    raw = np.where(mask, q @ _turn(k) * scale, 0.0)
    tanh = np.zeros_like(raw) if softcap is None else np.tanh(raw / softcap)
    s = raw if softcap is None else softcap * tanh
    s = np.where(mask, s if bias is None else s + bias, -np.inf)
    sink = np.full(s.shape[:-1], -np.inf) if sinks is None else np.broadcast_to(np.asarray(sinks, float)[..., None], s.shape[:-1])
    m = np.maximum(s.max(-1, initial=-np.inf), sink)
    safe = np.where(np.isneginf(m), 0.0, m)
    e, e_sink = np.exp(s - safe[..., None]), np.exp(sink - safe)
    l = e.sum(-1) + e_sink
    l = np.where(l == 0, 1.0, l)
    p = e / l[..., None]
    return SimpleNamespace(
        q=q, k=k, v=v, mask=mask, scale=abs(scale), softcap=softcap, bias=bias, sink=None if sinks is None else sink, raw=raw, tanh=tanh,
        s=np.where(np.isfinite(s), s, 0.0), m=m, safe=safe, l=l, p=p, p_sink=e_sink / l, o=p @ v, lse=safe + np.log(l), some=mask.any(-1),
    )  # fmt: skip


def _groups(mask, size):
    """How many groups of `size` neighbouring keys hold a key of the row."""
    return sum((mask[..., j : j + size].any(-1).astype(int) for j in range(0, mask.shape[-1], size)), np.zeros(mask.shape[:-1], int))


def _chain(mask, model):
    """Longest chain of additions in a row's sums."""
    n = mask.sum(-1)
    return n if model.step is None else np.minimum(n, model.step + _groups(mask, model.step))


def _score(f, model):
    """Error of each score before the softmax."""
    u, unit, d = model.u, UNIT[model.operand], f.q.shape[-1]
    size = np.abs(f.q) @ np.abs(_turn(f.k)) * f.scale
    delta = (model.gamma(d + 1) + 2 * unit + unit**2) * size + (2 * u + 2 * UNIT[model.score]) * np.abs(f.raw)
    delta = delta + (d + 1) * SMALLEST[model.acc] * (1 + f.scale)
    if f.softcap is not None:
        slope = np.minimum(1.0, 1 - f.tanh**2 + delta / f.softcap)  # the largest within reach of the error
        delta = delta * slope + (model.tanh + 2) * u * np.abs(f.softcap * f.tanh)
    return np.where(f.mask, delta if f.bias is None else delta + u * np.abs(f.s), 0.0)


def _forward(f, model):
    """Errors of o and lse."""
    u, mask, v, o = model.u, f.mask, f.v, f.o
    count = mask.sum(-1)
    turns = np.zeros(count.shape, int) if model.tile is None else np.maximum(_groups(mask, model.tile) - 1, 0)
    turns = turns + (f.sink is not None)
    g = model.gamma(_chain(mask, model) + turns + 2)
    common = model.exp * u * (turns + 1)
    if model.merged:  # a weight is exp(lse of a part - lse of the whole)
        largest = np.where(mask, np.abs(f.s), 0.0).max(-1, initial=0.0) + np.log(np.maximum(count, 1))
        common = common + (4 * u + UNIT[model.lse]) * largest + (2 * model.exp + 6) * u
    theta = f.delta + 3 * u * np.abs(f.s - f.safe[..., None]) + common[..., None] + (UNIT[model.p] if model.rounded_sum else 0.0)
    theta = np.where(mask, np.minimum(theta, LOST), 0.0)
    grow, shrink = (f.p * np.expm1(theta)).sum(-1), (f.p * -np.expm1(-theta)).sum(-1)
    if f.sink is not None:  # one more key, of value 0
        off = np.minimum(3 * u * np.abs(f.sink - f.safe) + common, LOST)
        grow, shrink = grow + f.p_sink * np.expm1(off), shrink + f.p_sink * -np.expm1(-off)
    left = np.maximum(1 - shrink, 1e-9)[..., None]
    weight, excess = f.p * np.exp(theta) / left, f.p * np.expm1(theta) / left
    centred, mass = np.empty_like(o), np.empty_like(o)
    for c in range(o.shape[-1]):
        size, far = np.abs(v[..., None, :, c]), np.abs(v[..., None, :, c] - o[..., :, c, None])
        off_sink = 0.0 if f.sink is None else f.p_sink * np.expm1(off) * np.abs(o[..., c]) / left[..., 0]
        widest = np.maximum(np.where(mask, far, 0).max(-1, initial=0), 0.0 if f.sink is None else np.abs(o[..., c]))
        centred[..., c] = np.minimum((excess * far).sum(-1) + off_sink, widest)
        mass[..., c] = np.minimum((weight * size).sum(-1), np.where(mask, size, 0).max(-1, initial=0))
    g_row, unit = g[..., None], (0.0 if model.rounded_sum else UNIT[model.p]) + 2 * UNIT[model.operand]
    lost = (HALF_STEP[model.p] + SMALLEST[model.acc]) / f.l  # of a weight too small for its dtype
    terms = ((1 + unit) * (1 + g_row) - 1) * mass + g_row * (np.abs(o) + centred)
    terms = terms + lost[..., None] * (mask @ np.abs(v) + count[..., None] * (np.abs(o) + 1))
    before = centred + terms / (1 - g_row) + 3 * u * (np.abs(o) + centred)
    err_o = before + UNIT[model.out] * (np.abs(o) + before) + HALF_STEP[model.out]
    err_lse = np.maximum(np.log1p(grow), -np.log(left[..., 0])) + g + lost * count
    err_lse = err_lse + u * (3 * np.abs(f.safe) + (model.exp + 2) * np.abs(np.log(f.l)) + np.abs(f.lse)) + UNIT[model.lse] * np.abs(f.lse)
    f.count, f.turns = count, turns
    return {"o": np.where(f.some[..., None], err_o, 0.0), "lse": np.where(np.isneginf(f.m), 0.0, err_lse)}


def _backward(f, model, errors, values, do, dlse, kv_heads):
    """Errors of dq, dk, dv: P again from the scores and the stored lse, D from the stored o or from P and dP, then three products."""
    u, unit, mask, P = model.u, UNIT[model.operand], f.mask, f.p
    dP = np.where(mask, do @ _turn(f.v), 0.0)
    D = (P * dP).sum(-1) - np.where(f.some, dlse, 0.0)
    gap = np.abs(np.where(mask, dP - D[..., None], 0.0))
    lse = np.where(np.isneginf(f.m), 0.0, f.lse)
    entry = np.where(mask, np.minimum(f.delta + 3 * u * np.abs(f.s - lse[..., None]) + model.exp * u, LOST), 0.0)
    row = np.where(f.some, np.minimum(errors["lse"] + 2 * u * np.abs(lse), LOST), 0.0)
    both = entry + row[..., None]
    slip = (model.gamma(f.v.shape[-1] + 1) + 2 * unit) * (np.abs(do) @ np.abs(_turn(f.v))) + UNIT[model.dp] * np.abs(dP)
    slip = np.where(mask, slip + HALF_STEP[model.dp] + 2 * u * gap + SMALLEST[model.acc], 0.0)
    from_o = (np.abs(do) * (errors["o"] + model.gamma(do.shape[-1] + 2) * (np.abs(f.o) + errors["o"]))).sum(-1)
    wide = P * np.exp(both)
    from_p = (P * np.expm1(both) * np.abs(dP) + wide * slip).sum(-1) + model.gamma(f.count + 2) * (wide * (np.abs(dP) + slip)).sum(-1)
    shift = np.where(f.some, np.maximum(from_o, from_p) + u * np.abs(D) + u * np.abs(dlse), 0.0)
    slope, bend = 1 - f.tanh**2, np.zeros_like(P)
    if f.softcap is not None:
        bend = np.where(mask, 2 * np.abs(f.tanh) * (f.delta / f.softcap + model.tanh * u) + 4 * u, 0.0)
    lost = np.where(mask, SMALLEST[model.acc] * (gap + 1), 0.0)  # where exp gives 0
    whole = P * np.expm1(both) * gap + wide * (slip + shift[..., None]) + lost  # error of P (dP - D)
    alone = P * np.expm1(entry) * gap + P * np.exp(entry) * slip + lost  # without what the row shares
    turned = (P * gap + whole) * bend
    dS, whole, alone = P * gap * slope, whole * slope + turned, alone * slope + turned
    tiny = np.where(mask, HALF_STEP[model.p] + SMALLEST[model.acc], 0.0)
    stored = (UNIT[model.p] + 2 * unit) * (dS + whole) + tiny  # dS rounded before the second product
    err_P = P * np.expm1(both) + (UNIT[model.p] + 2 * unit) * wide + tiny
    Q, K, dO = np.abs(f.q), np.abs(f.k), np.abs(do)
    mean_key = np.abs((P * slope) @ f.k) + (P * (np.expm1(entry) * slope + bend)) @ K
    grow = np.exp(row)[..., None]
    dq = grow * f.scale * (alone @ K + shift[..., None] * mean_key) + f.scale * stored @ K
    dq = dq + np.expm1(row)[..., None] * np.abs(_finite(values["dq"]))

    def finish(name, error, size, mask):
        """A sum over the True of each row: over the heads of a group, accumulated and stored."""
        group = 1 if name == "dq" or not kv_heads else mask.shape[-3] // max(1, kv_heads[0])
        chain, parts = _chain(mask, model), _groups(mask, model.tile or max(1, mask.shape[-1]))
        if group > 1:
            whose = ((error, -3), (size, -3), (chain, -2), (parts, -2))
            split = [x.reshape(*x.shape[:heads], kv_heads[0], group, *x.shape[heads:][1:]).sum(heads) for x, heads in whose]
            error, size, chain, parts = split
        error = error + (model.gamma(chain + 3) + UNIT[model.carry] * parts)[..., None] * (size + error)
        error = error + UNIT[model.out] * (np.abs(_finite(values[name])) + error) + HALF_STEP[model.out]
        return np.where((chain > 0)[..., None], error + 3 * u * np.abs(_finite(values[name])), 0.0)

    down = _turn(mask)
    return {
        "dq": finish("dq", dq, f.scale * (dS + whole) @ K, mask),
        "dk": finish("dk", f.scale * _turn(whole + stored) @ Q, f.scale * _turn(dS + whole) @ Q, down),
        "dv": finish("dv", _turn(err_P) @ dO, _turn(P + err_P) @ dO, down),
    }


def _turn(x):
    return np.swapaxes(x, -1, -2)
