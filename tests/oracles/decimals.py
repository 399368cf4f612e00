"""Attention of one head in 60-digit decimals: a truth beyond float64, by the standard library alone.

Decimals reach 10^999999, so exp(s) is formed as the definition says, with no maximum subtracted. The backward pass applies
the softmax's Jacobian, dp_m / ds_j = p_m ((m == j) - p_j), entry by entry. Arguments are floats and enter exactly.
"""

from decimal import Decimal, localcontext

__all__ = ["DIGITS", "attention", "attention_grad"]

DIGITS = 60


def attention(q, k, v, allowed=None, *, scale=None, softcap=None, bias=None, sink=None):
    """Output (nq, dv) and log-sum-exp (nq,) of q (nq, d), k (nk, d), v (nk, dv): nested lists of Decimals.

    Examples
    --------
    >>> o, lse = attention([[0.0]], [[5.0], [7.0]], [[1.0], [2.0]])
    >>> print(o[0][0], str(lse[0])[:42])
    1.5 0.6931471805599453094172321214581765680755
    """
    with localcontext(prec=DIGITS):
        values = exact(v)
        o, lse = [], []
        for p, _, total in rows(exact(q), exact(k), allowed, scale, softcap, bias, sink):
            o.append([sum((p_j * x[c] for p_j, x in zip(p, values, strict=True)), Decimal(0)) for c in range(width(v))])
            lse.append(total.ln() if total else Decimal("-Infinity"))
        return o, lse


def attention_grad(do, q, k, v, allowed=None, *, scale=None, softcap=None, bias=None, sink=None, dlse=None):
    """Gradients of sum(do * o) + sum(dlse * lse) with respect to q, k and v: nested lists of Decimals."""
    with localcontext(prec=DIGITS):
        do, q, k, v = exact(do), exact(q), exact(k), exact(v)
        sigma = 1 / Decimal(len(q[0])).sqrt() if scale is None else Decimal(float(scale))
        dq, dk, dv = zeros(q), zeros(k), zeros(v)
        for i, (p, slope, _) in enumerate(rows(q, k, allowed, scale, softcap, bias, sink)):
            dp = [dot(do[i], x) for x in v]
            for j in range(len(k)):
                ds = sum((dp[m] * p[m] * ((m == j) - p[j]) for m in range(len(k))), Decimal(0))
                ds += Decimal(0 if dlse is None else float(dlse[i])) * p[j]
                dr = ds * slope[j] * sigma
                add(dq[i], dr, k[j])
                add(dk[j], dr, q[i])
                add(dv[j], p[j], do[i])
        return dq, dk, dv


def rows(q, k, allowed, scale, softcap, bias, sink):
    """For each query: its probabilities (0 where forbidden), the softcap's slopes, and the sum of exponentials."""
    for i, query in enumerate(q):
        sigma = 1 / Decimal(len(query)).sqrt() if scale is None else Decimal(float(scale))
        e, slope = [], []
        for j, key in enumerate(k):
            s, t = sigma * dot(query, key), Decimal(1)
            if softcap is not None:
                up = (2 * s / Decimal(float(softcap))).exp()
                tanh = (up - 1) / (up + 1)
                s, t = Decimal(float(softcap)) * tanh, 1 - tanh * tanh
            if bias is not None:
                s += Decimal(float(bias[i][j]))
            e.append(s.exp() if allowed is None or allowed[i][j] else Decimal(0))
            slope.append(t)
        total = sum(e, Decimal(0)) + (Decimal(0) if sink is None else Decimal(float(sink)).exp())
        yield [x / total if total else Decimal(0) for x in e], slope, total


def exact(table):
    return [[x if isinstance(x, Decimal) else Decimal(float(x)) for x in line] for line in table]


def zeros(table):
    return [[Decimal(0)] * len(line) for line in table]


def add(line, factor, other):
    for c, x in enumerate(other):
        line[c] += factor * x


def dot(x, y):
    return sum((a * b for a, b in zip(x, y, strict=True)), Decimal(0))


def width(x):
    return x.shape[-1] if hasattr(x, "shape") else len(x[0])
