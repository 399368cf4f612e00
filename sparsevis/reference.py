"""The golden reference: dense attention in float64 NumPy, one line of mathematics a line of code.

    s   = scale q k^T        the scores
    s   = c tanh(s / c)      softcap, where asked for
    s   = s + bias           where asked for
    p   = exp(s - lse)       over the allowed keys; lse = ln(sum of exp(s) over the allowed keys, and of exp(sink) where asked for)
    o   = p v                over the allowed keys

Nothing here is fast and nothing is clever. This file imports nothing of sparsevis, so that everything else can be judged by it.

Two rules need care. A pair that is not allowed is *selected out*, never multiplied by zero: 0 * nan is nan, and whatever stands in a
forbidden key must not be felt. And a query without any allowed key has output 0 and lse -inf, because its set of keys is empty, not
because its scores are small.

Shapes: q (..., heads, nq, d), k (..., kv heads, nk, d), v (..., kv heads, nk, dv); heads may be missing altogether, (n, d). Query head h
reads key and value head h // (heads // kv heads).
"""

import numpy as np

__all__ = ["attention", "attention_grad", "naive"]


def attention(q, k, v, mask=None, *, scale=None, softcap=None, bias=None, sinks=None):
    """Return (o, lse): the output (..., nq, dv) and the natural logarithm of the softmax's denominator (..., nq), in float64.

    Parameters
    ----------
    q, k, v : array_like
        Queries, keys, values, as in the module's docstring; any float dtype, widened to float64 without loss.
    mask : boolean array_like, optional
        True where the query may attend the key; broadcastable to (..., heads, nq, nk). None allows everything.
    scale : float, optional
        Factor of the scores; 1 / sqrt(d) where it is left out. 0.0 is legal.
    softcap : float, optional
        Scores become softcap * tanh(scores / softcap) (Gemma 2, arXiv 2408.00118), before bias and mask.
    bias : array_like, optional
        Added to the scores; broadcastable like the mask.
    sinks : array_like, optional
        One logit a query head that takes part in the softmax and has no value (gpt-oss); not scaled, not capped.

    Examples
    --------
    >>> o, lse = attention(np.zeros((1, 2)), np.ones((3, 2)), [[0.0], [1.0], [5.0]], mask=[[True, True, False]])
    >>> o.item(), bool(np.isclose(lse.item(), np.log(2)))
    (0.5, True)
    """
    q, k, v, mask = _prepare(q, k, v, mask, softcap)
    with np.errstate(invalid="ignore", over="ignore"):
        p, lse, _ = _softmax(q, k, mask, scale, softcap, bias, sinks)
        return _weigh(p, mask, v), lse


def attention_grad(do, q, k, v, mask=None, *, scale=None, softcap=None, bias=None, sinks=None, dlse=None):
    """Return (dq, dk, dv): the vector-Jacobian product of `attention`, in float64.

    Parameters
    ----------
    do : array_like
        Cotangent of the output, (..., nq, dv).
    dlse : array_like, optional
        Cotangent of the lse, (..., nq); 0 where it is left out.
    q, k, v, mask, scale, softcap, bias, sinks
        As for `attention`. Gradients of keys and values are summed over the query heads that read them.

    Examples
    --------
    >>> q, k, v = np.zeros((1, 2)), np.ones((2, 2)), np.array([[0.0], [1.0]])
    >>> attention_grad(np.ones((1, 1)), q, k, v)[2].ravel()
    array([0.5, 0.5])
    """
    kv_shape = np.shape(k)
    q, k, v, mask = _prepare(q, k, v, mask, softcap)
    do = np.asarray(do, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        p, _, slope = _softmax(q, k, mask, scale, softcap, bias, sinks)
        dp = _select(mask, do @ _turn(v))  # how the result grows with each probability
        delta = _total(mask, p * dp)  # and with all of them together
        if dlse is not None:
            delta = delta - np.where(mask.any(-1), np.asarray(dlse, np.float64), 0)[..., None]
        ds = _select(mask, p * (dp - delta) * slope)  # with each raw score
        dq = _weigh(ds, mask, k)
        dk = _weigh(_turn(ds), _turn(mask), q)
        dv = _weigh(_turn(p), _turn(mask), do)
    return dq, _sum_groups(dk, kv_shape), _sum_groups(dv, kv_shape)


def naive(q, k, v, mask=None, *, scale=None):
    """Return dense attention as one first writes it: the whole n x n matrix, in the precision of the inputs.

    Examples
    --------
    >>> x = np.eye(2, dtype=np.float32)
    >>> naive(x, x, x).dtype
    dtype('float32')
    """
    q, k, v = np.asarray(q), _repeat(np.asarray(k), q), _repeat(np.asarray(v), q)
    s = q @ _turn(k) * q.dtype.type(q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        s = np.where(mask, s, q.dtype.type(-np.inf))
    s = s - s.max(-1, keepdims=True)  # a row without keys gives nan here, as it does in every first version
    p = np.exp(s)
    return p / p.sum(-1, keepdims=True) @ v


def _prepare(q, k, v, mask, softcap):
    """Float64 inputs with a key and value head for every query head, and a mask of the full shape."""
    q, k, v = (np.asarray(x).astype(np.float64) for x in (q, k, v))
    mask = np.asarray(True if mask is None else mask)
    if not q.ndim == k.ndim == v.ndim >= 2 or q.shape[-1] != k.shape[-1] or k.shape[:-1] != v.shape[:-1]:
        needed = "(..., heads, nq, d), (..., kv heads, nk, d), (..., kv heads, nk, dv)"
        raise ValueError(f"q, k, v are {q.shape}, {k.shape}, {v.shape}: need {needed}")
    if q.ndim > 2 and q.shape[-3] % max(1, k.shape[-3]):
        raise ValueError(f"{q.shape[-3]} query heads over {k.shape[-3]} key/value heads: the first needs to be a multiple of the second")
    if mask.dtype != bool:
        raise TypeError(f"mask is {mask.dtype}, and needs to be boolean, True where a query may attend (an additive mask is a bias)")
    if softcap is not None and not softcap > 0:
        raise ValueError(f"softcap is {softcap}, and needs to be above 0, or None for no cap")
    k, v = _repeat(k, q), _repeat(v, q)
    return q, k, v, np.broadcast_to(mask, (*np.broadcast_shapes(q.shape[:-2], k.shape[:-2]), q.shape[-2], k.shape[-2]))


def _repeat(x, q):
    """Each key/value head as often as query heads read it: interleaved, 0 0 1 1, not tiled 0 1 0 1."""
    if np.ndim(q) < 3 or np.ndim(x) < 3 or x.shape[-3] == 0 or x.shape[-3] == np.shape(q)[-3]:
        return x
    return np.repeat(x, np.shape(q)[-3] // x.shape[-3], axis=-3)


def _softmax(q, k, mask, scale, softcap, bias, sinks):
    """(p, lse, slope): probabilities, log-denominators, and the derivative of the final score by q . k."""
    scale = (q.shape[-1] ** -0.5 if q.shape[-1] else 1.0) if scale is None else float(scale)
    s, slope = _select(mask, q @ _turn(k) * scale), scale
    if softcap is not None:
        tanh = np.tanh(s / softcap)
        s, slope = softcap * tanh, scale * (1 - tanh**2)
    if bias is not None:
        s = _select(mask, s + np.asarray(bias, np.float64))
    sink = np.full(s.shape[:-1], -np.inf) if sinks is None else np.broadcast_to(np.asarray(sinks, np.float64)[..., None], s.shape[:-1])
    top = np.max(s, axis=-1, initial=-np.inf, where=mask)
    top = np.maximum(top, sink)
    top = np.where(np.isneginf(top), 0.0, top)  # an empty row, or one of scores that are all -inf
    e = np.where(mask, np.exp(s - top[..., None]), 0.0)
    total = e.sum(-1) + np.exp(sink - top)
    empty = ~mask.any(-1)
    with np.errstate(divide="ignore"):
        lse = np.where(empty, sink, top + np.log(total))
        p = np.where(mask, e / np.where(empty, 1.0, total)[..., None], 0.0)
    return p, lse, slope


def _weigh(weights, mask, x):
    """Return weights @ x over the allowed pairs alone, so that nan and inf in a forbidden x are never met."""
    strange = ~np.isfinite(x).all(-1)
    y = weights @ np.where(strange[..., None], 0.0, x)
    for j in np.unique(np.nonzero(strange)[-1]):
        hit = mask[..., :, j] & strange[..., None, j]
        y = y + np.where(hit[..., None], weights[..., :, j, None] * x[..., None, j, :], 0.0)
    return y


def _total(mask, x):
    return np.where(mask, x, 0.0).sum(-1, keepdims=True)


def _select(mask, x):
    return np.where(mask, x, 0.0)


def _turn(x):
    return np.swapaxes(x, -1, -2)


def _sum_groups(dx, kv_shape):
    """Add up the gradients of the query heads that read one key/value head."""
    if len(kv_shape) < 3 or dx.shape[-3] == kv_shape[-3] or kv_shape[-3] == 0:
        return dx
    return dx.reshape(*dx.shape[:-3], kv_shape[-3], dx.shape[-3] // kv_shape[-3], *dx.shape[-2:]).sum(-3)
