"""Block-sparse FlashAttention as one writes it on the board: plain loops over tiles, one function per idea.

    for each query head, for each query block:
        m, l, acc = -inf, 0, 0                          a row each: maximum, sum, weighted sum of values so far
        for each key block that the layout lists:
            s   = scale * q_block @ k_block.T           -inf where a pair is not allowed
            m'  = max(m, rowmax(s))
            p   = exp(s - m')
            a   = exp(m - m')                           what was summed under the old maximum shrinks by this
            l   = a * l + rowsum(p)
            acc = a * acc + p @ v_block
            m   = m'
        o, lse = acc / l, m + log(l)

A softmax seems to need the maximum of a whole row before its first exponential. Milakov & Gimelshein (2018, arXiv:1805.02867) keep a
running one and correct the sum when it moves: one pass is enough. Dao et al. (2022, arXiv:2205.14135) carry the weighted sum of values
along in the same way, tile by tile, so the n x n scores never exist: memory is one tile, and a tile the layout does not list costs nothing.
"""
from typing import NamedTuple

import numpy as np

from ._features import features, flat

__all__ = ["BLOCK", "forward"]

BLOCK = 64


def forward(q, k, v, layout, *, scale, softcap=None, sinks=None, slopes=None, key_mask=None, bias=None, offset=0):
    """Attention over the layout's tiles; arguments and results as every kernel's (see `sparsevis.kernels`).

    Examples
    --------
    >>> from sparsevis import Causal, Layout
    >>> q, k, v = np.zeros((1, 2, 1)), np.zeros((1, 2, 1)), np.array([[[0.0], [1.0]]])
    >>> o, lse = forward(q, k, v, Layout.of(Causal(), 2), scale=1.0)
    >>> o.ravel(), np.exp(lse).ravel()
    (array([0. , 0.5]), array([1., 2.]))
    """
    q, k, v = map(flat, (q, k, v))
    heads, nq, _ = q.shape
    f = features((heads, nq, k.shape[1]), q.dtype, softcap, sinks, slopes, key_mask, bias, offset)
    o, lse = np.empty((heads, nq, v.shape[2]), q.dtype), np.empty((heads, nq), q.dtype)
    bq, planes = layout.block[0], layout.planes(heads)
    q_blocks = -(-nq // bq)
    for h in range(heads):
        kv = h // (heads // len(k))                                  # grouped-query attention: heads share keys and values
        for b in range(q_blocks):
            rows = slice(b * bq, min((b + 1) * bq, nq))
            o[h, rows], lse[h, rows] = attend(q[h], k[kv], v[kv], layout, planes[h] * q_blocks + b, rows, scale, f.of_head(h, heads))
    return o, lse


class Running(NamedTuple):
    """What is known of each query row after the tiles seen so far."""

    m: np.ndarray        # (rows,)     maximum of the scores
    l: np.ndarray        # (rows,)     sum of exp(score - m)
    acc: np.ndarray      # (rows, dv)  sum of exp(score - m) * value


def attend(q, k, v, layout, row, rows, scale, f):
    """One block of queries against every key block in its row of the layout."""
    bk, count, dtype = layout.block[1], rows.stop - rows.start, q.dtype
    sink = dtype.type(-np.inf) if f.sinks is None else f.sinks
    # a sink is a key seen already, whose value is 0
    state = Running(np.full(count, sink), np.full(count, sink > -np.inf, dtype), np.zeros((count, v.shape[1]), dtype))
    has_key = np.zeros(count, bool)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):        # NaN and infinity may come in, and may come out
        for e in range(layout.indptr[row], layout.indptr[row + 1]):
            keys = slice(layout.indices[e] * bk, min((layout.indices[e] + 1) * bk, len(k)))
            allowed = allowed_pairs(layout, layout.kind[e], count, keys.stop - keys.start)
            if f.key_mask is not None:
                allowed = allowed & f.key_mask[keys]
            has_key |= allowed.any(axis=1)
            s = np.where(allowed, scores(q, k, rows, keys, scale, f), dtype.type(-np.inf))     # replaced: NaN + -inf would be NaN
            state = online_softmax(state, s, v[keys], allowed)
        return finish(state, has_key, sink)


def allowed_pairs(layout, kind, rows, cols):
    """Which pairs of a tile are allowed: all of a full tile; else the stored bits, without what hangs over the edge."""
    if kind < 0:
        return np.ones((rows, cols), bool)
    bits = np.unpackbits(layout.tiles[kind], axis=-1, count=layout.block[1], bitorder="little")
    return bits[:rows, :cols].astype(bool)


def scores(q, k, rows, keys, scale, f):
    """One tile of scores, and what the features of this head make of them."""
    s = q[rows] @ k[keys].T * scale
    if f.softcap is not None:
        s = f.softcap * np.tanh(s / f.softcap)
    if f.slopes is not None:
        distance = np.arange(keys.start, keys.stop) - np.arange(rows.start, rows.stop)[:, None] - f.offset
        s = s + f.slopes * distance.astype(q.dtype)
    if f.bias is not None:
        s = s + f.bias[rows, keys].astype(q.dtype)
    return s


def online_softmax(state, s, v, allowed):
    """Take one more tile into account: correct what was summed for the new maximum, then add."""
    m = np.maximum(state.m, s.max(axis=1))
    shift = np.where(m == -np.inf, 0, m)                 # no score yet: -inf - -inf would be NaN, exp(-inf - 0) is 0
    p = np.exp(s - shift[:, None])
    a = np.exp(state.m - shift)
    return Running(m, a * state.l + p.sum(axis=1), a[:, None] * state.acc + weighted_values(p, v, allowed))


def weighted_values(p, v, allowed):
    """Return p @ v, where a value that a query must not see counts nothing: its p is 0, but 0 * NaN is NaN."""
    if np.isfinite(v).all():
        return p @ v
    return np.where(allowed[:, :, None], p[:, :, None] * v, 0).sum(axis=1)


def finish(state, has_key, sink):
    """Divide by the sums. A row without an allowed key gives 0, by the layout's word; a live row of scores -inf gives NaN, as softmax."""
    m, l, acc = state
    return np.where(has_key[:, None], acc / l[:, None], 0), np.where(has_key, m + np.log(l), sink)
