"""Attention of one head in ball arithmetic: every number is an interval of 160 bits that is proven to hold the truth.

`Arb` is F. Johansson's midpoint-radius arithmetic (doi 10.1109/TC.2017.2690633), here through python-flint. Whatever the reference
returns can then be certified: its distance from the truth is below its error budget for certain, or the comparison is False. Exponentials
are formed as the definition says, without a maximum: balls do not overflow.
"""

from contextlib import contextmanager

import numpy as np

__all__ = ["BITS", "attention", "attention_grad", "certified", "share"]

BITS = 160


def attention(q, k, v, allowed=None, *, scale=None, softcap=None, bias=None, sink=None):
    """Output (nq, dv) and log-sum-exp (nq,) of q (nq, d), k (nk, d), v (nk, dv): object arrays of balls.

    Rows without keys hold 0, and None for the lse; keys that no row is allowed may hold anything.
    """
    with precision():
        p, _, lse = softmax(q, k, allowed, scale, softcap, bias, sink)
        return product(p, balls(dead(v, allowed))), lse


def attention_grad(do, q, k, v, allowed=None, *, scale=None, softcap=None, bias=None, sink=None, dlse=None):
    """Gradients of sum(do * o) + sum(dlse * lse) with respect to q, k and v: object arrays of balls."""
    with precision():
        p, slope, _ = softmax(q, k, allowed, scale, softcap, bias, sink)
        q, k, v, do = balls(q), balls(dead(k, allowed)), balls(dead(v, allowed)), balls(do)
        dp = product(do, v.T)
        mean = (p * dp).sum(1) if p.shape[1] else balls(np.zeros(len(p)))
        extra = balls(np.zeros(len(p)) if dlse is None else np.where(np.isfinite(dlse), dlse, 0.0))
        ds = p * (dp - (mean - extra)[:, None]) * slope
        return product(ds, k), product(ds.T, q), product(p.T, do)


def softmax(q, k, allowed, scale, softcap, bias, sink):
    """Probabilities (0 where forbidden), derivatives of the final scores by q.k, and the lse of each row."""
    from flint import arb

    nq, nk = len(q), len(k)
    allowed = np.ones((nq, nk), bool) if allowed is None else allowed
    sigma = (arb(q.shape[1]).rsqrt() if q.shape[1] else arb(1)) if scale is None else arb(float(scale))
    raw = product(balls(dead(q, np.asarray(allowed).T)), balls(dead(k, allowed)).T)
    p, slope, lse = balls(np.zeros((nq, nk))), balls(np.zeros((nq, nk))), np.full(nq, None)
    for i in range(nq):
        total = arb(0) if sink is None else arb(float(sink)).exp()
        for j in np.flatnonzero(allowed[i]):
            s, slope[i, j] = sigma * raw[i, j], sigma
            if softcap is not None:
                cap = arb(float(softcap))
                tanh = (s / cap).tanh()
                s, slope[i, j] = cap * tanh, sigma * (1 - tanh * tanh)
            if bias is not None:
                s = s + arb(float(bias[i, j]))
            p[i, j] = s.exp()
            total = total + p[i, j]
        if total > 0:
            p[i], lse[i] = p[i] / total, total.log()
    return p, slope, lse


def product(x, y):
    """x @ y of object arrays, by flint's own matrix product."""
    from flint import arb_mat

    if not (x.shape[0] and x.shape[1] and y.shape[1]):
        return balls(np.zeros((x.shape[0], y.shape[1])))
    z = arb_mat(x.tolist()) * arb_mat(y.tolist())
    return np.array(z.entries(), object).reshape(x.shape[0], y.shape[1])


def dead(x, allowed):
    """x with zeros in the rows that nothing is allowed to read, whatever stood there."""
    if allowed is None:
        return x
    return np.where(np.asarray(allowed).any(0)[:, None], x, 0.0)


def balls(x):
    """Floats as exact balls."""
    from flint import arb

    if np.asarray(x).dtype == object:
        return x
    found = np.empty(np.shape(x), object)
    for at, y in np.ndenumerate(x):
        found[at] = arb(float(y))
    return found


def certified(got, truth, error):
    """Whether every |got - truth| is at most its error, for certain; a truth of None stands for -inf."""
    return share(got, truth, error) is not None


def share(got, truth, error):
    """The largest |got - truth| / error, for certain not exceeded, or None where one of them is not proven to be at most 1."""
    from flint import arb

    worst = 0.0
    with precision():
        for x, true, err in zip(np.ravel(got), np.ravel(truth), np.ravel(error), strict=True):
            if true is None:
                if x != -np.inf:
                    return None
                continue
            if not np.isfinite(x):
                return None
            off = abs(arb(float(x)) - true)
            if not off <= arb(float(err)):
                return None
            if err > 0:
                worst = max(worst, float((off / arb(float(err))).upper()))
    return worst


@contextmanager
def precision():
    import flint

    before, flint.ctx.prec = flint.ctx.prec, BITS
    try:
        yield
    finally:
        flint.ctx.prec = before
