"""Attention one entry at a time: plain Python floats, every sum by `math.fsum`, written from the definition alone.

For query i of head h, over its allowed keys j, with g = h // group the key/value head that h reads:

    s_j = softcap * tanh(scale * q_i.k_j / softcap) + bias_ij      (no softcap: s_j = scale * q_i.k_j + bias_ij)
    l   = sum_j exp(s_j) + exp(sink_h),   p_j = exp(s_j) / l,   o_i = sum_j p_j v_j,   lse_i = ln l

A row without allowed keys has o = 0, lse = -inf (or the sink) and no gradient. Slow: meant for up to some 40 keys, all of them finite.
"""

import math

__all__ = ["attention", "attention_grad", "row"]


def attention(q, k, v, allowed=None, *, scale=None, softcap=None, bias=None, sinks=None):
    """Output and log-sum-exp, as nested lists (heads, nq, dv) and (heads, nq).

    Parameters
    ----------
    q, k, v : nested sequences or arrays (heads, nq, d), (kv_heads, nk, d), (kv_heads, nk, dv)
    allowed : bool array (nq, nk) or (heads, nq, nk), optional
    scale : float, optional
        1 / sqrt(d) unless given.
    softcap : float, optional
    bias : array (nq, nk) or (heads, nq, nk), optional
    sinks : sequence of one float a query head, optional

    Examples
    --------
    >>> o, lse = attention([[[0.0]]], [[[5.0], [7.0]]], [[[1.0], [2.0]]])
    >>> o, math.exp(lse[0][0])
    ([[[1.5]]], 2.0)
    """
    o, lse = [], []
    for h in range(len(q)):
        value = v[h // (len(q) // len(k))]
        rows = [row(q, k, h, i, allowed, scale, softcap, bias, sinks) for i in range(len(q[h]))]
        o.append([[math.fsum(p[j] * float(value[j][c]) for j in p) for c in range(width(v))] for p, _, _ in rows])
        lse.append([total for _, _, total in rows])
    return o, lse


def attention_grad(do, q, k, v, allowed=None, *, scale=None, softcap=None, bias=None, sinks=None, dlse=None):
    """Gradients of sum(do * o) + sum(dlse * lse) with respect to q, k and v: nested lists of their shapes.

    By the chain rule ds_j = p_j (do.v_j - sum_m p_m do.v_m + dlse), and dq, dk follow through the softcap's slope and the scale.

    Examples
    --------
    >>> dq, dk, dv = attention_grad([[[1.0]]], [[[0.0]]], [[[1.0], [-1.0]]], [[[2.0], [0.0]]])
    >>> dq, dk, dv
    ([[[1.0]]], [[[0.0], [0.0]]], [[[0.5], [0.5]]])
    """
    group = len(q) // len(k)
    scale = 1 / math.sqrt(width(q)) if scale is None else scale
    dq = []
    dk = [[[[] for _ in range(width(k))] for _ in head] for head in k]         # every entry a list of terms, summed at the end
    dv = [[[[] for _ in range(width(v))] for _ in head] for head in v]
    for h in range(len(q)):
        g = h // group
        dq.append([])
        for i in range(len(q[h])):
            p, slope, _ = row(q, k, h, i, allowed, scale, softcap, bias, sinks)
            dp = {j: dot(do[h][i], v[g][j]) for j in p}
            mean = math.fsum(p[j] * dp[j] for j in p)
            extra = 0.0 if dlse is None else float(dlse[h][i])
            dr = {j: p[j] * math.fsum((dp[j], -mean, extra)) * slope[j] * scale for j in p}
            dq[h].append([math.fsum(dr[j] * float(k[g][j][c]) for j in p) for c in range(width(q))])
            for j in p:
                for c in range(width(k)):
                    dk[g][j][c].append(dr[j] * float(q[h][i][c]))
                for c in range(width(v)):
                    dv[g][j][c].append(p[j] * float(do[h][i][c]))
    return dq, summed(dk), summed(dv)


def row(q, k, h, i, allowed=None, scale=None, softcap=None, bias=None, sinks=None):
    """Probabilities {key: p}, slopes of the softcap {key: slope} and lse of query i of head h; only allowed keys appear."""
    keys = k[h // (len(q) // len(k))]
    scale = 1 / math.sqrt(width(q)) if scale is None else scale
    s, slope = {}, {}
    for j in range(len(keys)):
        if allowed is None or entry(allowed, h, i, j):
            r = scale * dot(q[h][i], keys[j])
            s[j], slope[j] = (r, 1.0) if softcap is None else capped(r, softcap)
            if bias is not None:
                s[j] += float(entry(bias, h, i, j))
    terms = list(s.values())
    if sinks is not None and sinks[h] > -math.inf:
        terms.append(float(sinks[h]))
    if not terms:
        return {}, {}, -math.inf
    top = max(terms)
    total = math.fsum(math.exp(x - top) for x in terms)
    return {j: math.exp(s[j] - top) / total for j in s}, slope, top + math.log(total)


def capped(r, softcap):
    """`softcap * tanh(r / softcap)` and its slope 1 / cosh(r / softcap)^2, which exp(-2 |x|) gives without overflow."""
    e = math.exp(-2 * abs(r / softcap))
    return softcap * math.tanh(r / softcap), 4 * e / (1 + e) ** 2


def dot(x, y):
    return math.fsum(float(a) * float(b) for a, b in zip(x, y, strict=True))


def entry(table, h, i, j):
    return table[h][i][j] if table.ndim == 3 else table[i][j]


def width(x):
    """Length of a row; an array without rows still knows it."""
    return x.shape[-1] if hasattr(x, "shape") else len(x[0][0])


def summed(terms):
    return [[[math.fsum(cell) for cell in line] for line in head] for head in terms]
