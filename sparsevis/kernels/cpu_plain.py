"""The loops of `loops`, number by number and compiled by Numba: nothing hidden.

    for each query head, for each query block:              spread over threads
        for each key block that the layout lists:
            for each query i of the block:
                for each key j of the block that i may attend:          s = scale * (q[i] . k[j])
                the largest s so far; what was summed under the old one shrinks by e ** (old - new)
                for each such j:                                        p = e ** (s - largest); l += p; acc += p * v[j]
        o, lse = acc / l, largest + log(l)

Differs from `loops`: a pair that is not allowed is skipped, where a product of matrices computes it and selects it out; so 0 * NaN cannot
happen, and no rule about it is needed. Gains, for 8 heads of 64 float32 on 2 cores of Zen 4: 34 GFLOP/s where `loops`, whose time goes
into NumPy's passes over small tiles, has 19 (causal, n = 2,048), and 33 where it has 15 (window 256).

`cpu` is the rung above: the same loops turned so that queries stand side by side in vector registers.
"""
import numpy as np

from ._features import features, flat
from ._launch import compiled, longest_first, loose, on_all_threads, part

__all__ = ["BLOCK", "forward"]

BLOCK = 64


def forward(q, k, v, layout, *, scale, softcap=None, sinks=None, slopes=None, key_mask=None, bias=None, offset=0):
    """Attention over the layout's tiles; arguments and results as every kernel's (see `sparsevis.kernels`).

    Spread over `numba.get_num_threads()` threads when called from the main thread; called from any other, it stays there.
    """
    q, k, v = (np.require(flat(x), requirements="CAWE") for x in (q, k, v))        # one type to Numba, however they lay
    (heads, nq, _), (bq, bk) = q.shape, layout.block
    f = features((heads, nq, k.shape[1]), q.dtype, softcap, sinks, slopes, key_mask, bias, offset)
    f = f._replace(bias=None if f.bias is None else np.require(f.bias, requirements="CAWE"))
    o, lse = np.empty((heads, nq, v.shape[2]), q.dtype), np.empty((heads, nq), q.dtype)
    if not lse.size:
        return o, lse
    planes, q_blocks = layout.planes(heads), layout.grid[0]
    tiles = layout.indptr, layout.indices, layout.kind, layout.tiles, bk
    items, scale = iter(longest_first(layout, planes, 1).tolist()), q.dtype.type(scale)

    def work(_):
        with np.errstate(all="ignore"):                              # heeded where Numba is told not to compile
            for item in items:                                       # all threads share it: each takes the next
                h, b = divmod(item, q_blocks)
                kv, row, rows = h // (heads // len(k)), planes[h] * q_blocks + b, (b * bq, min((b + 1) * bq, nq))
                ATTEND(q[h], k[kv], v[kv], o[h], lse[h], tiles, row, rows, scale, f.of_head(h, heads))
    on_all_threads(work, (), lambda: None, heads * q_blocks)
    return o, lse


# ---------------------------------------------------------------- one block of queries

def attend(q, k, v, o, lse, layout, row, rows, scale, f):
    """Queries rows[0] ... rows[1] of one head against every key block in their row of the layout."""
    indptr, indices, kind, tiles, bk = layout
    (first, last), sink = rows, sink_of(f.sinks, lse)
    m, l, seen = np.full(last - first, sink), np.full(last - first, sink > -np.inf).astype(q.dtype), np.zeros(last - first, np.int64)
    s, keys, acc = np.empty(bk, q.dtype), np.empty(bk, np.int64), np.zeros((last - first, v.shape[1]), q.dtype)
    for e in range(indptr[row], indptr[row + 1]):
        start = indices[e] * bk
        stop = min(start + bk, len(k))
        for r in range(last - first):
            n = allowed_keys(keys, kind[e], tiles, r, start, stop, f.key_mask)
            seen[r] += n
            m_new = scores(s, keys[:n], q, k, first + r, m[r], scale, f.softcap, f.slopes, f.bias, f.offset)
            l[r] = add_values(acc[r], l[r], s, keys[:n], v, m[r], m_new)
            m[r] = m_new
    for r in range(last - first):
        if seen[r]:
            o[first + r], lse[first + r] = acc[r] / l[r], m[r] + np.log(l[r])
        else:
            o[first + r], lse[first + r] = 0, sink


@part
def sink_of(sink, like):
    """Return the sink, a key seen already whose value is 0; -inf for none."""
    if sink is None:
        return like.dtype.type(-np.inf)
    return sink


@part
def allowed_keys(keys, kind, tiles, r, start, stop, key_mask):
    """Write down the keys of a tile that its row r may attend, and return how many there are."""
    n = 0
    for j in range(start, stop):
        if kind < 0 or tiles[kind, r, (j - start) // 8] >> (j - start) % 8 & 1:
            keys[n] = j
            n += not_padding(key_mask, j)
    return n


@part
def not_padding(key_mask, j):
    if key_mask is None:
        return True
    return key_mask[j]


@part
def scores(s, keys, q, k, i, m, scale, softcap, slope, bias, offset):
    """Fill in the scores of query i with some keys; return the largest so far."""
    for n in range(keys.size):
        j = keys[n]
        x = dot(q, i, k, j) * scale
        if softcap is not None:
            x = softcap * np.tanh(x / softcap)
        if slope is not None:
            x += slope * s.dtype.type(j - i - offset)
        if bias is not None:
            x += bias[i, j]
        s[n] = x
        if s[n] > m:                                     # never for NaN: that comes through exp
            m = s[n]
    return m


@loose
def dot(q, i, k, j):
    """q[i] . k[j]; without leave to reorder the sum it could not use vector registers.

    Given the matrices, not their rows: two array views a pair would cost a third of all time.
    """
    total = q.dtype.type(0)
    for c in range(q.shape[1]):
        total += q[i, c] * k[j, c]
    return total


@part
def add_values(acc, l, s, keys, v, m, m_new):
    """Correct what was summed under the old maximum, then add these keys; return the new sum of exponentials."""
    shift = m_new if m_new != -np.inf else acc.dtype.type(0)         # no score yet: -inf - -inf would be NaN, exp(-inf - 0) is 0
    shrink = np.exp(m - shift)
    for c in range(acc.size):
        acc[c] *= shrink
    l *= shrink
    for n in range(keys.size):
        s[n] = np.exp(s[n] - shift)
        l += s[n]
    fours = keys.size // 4 * 4
    for n in range(0, fours, 4):                         # four keys at once, so acc is read and written a quarter as often: 3 times faster
        w, x, y, z = keys[n], keys[n + 1], keys[n + 2], keys[n + 3]
        for c in range(acc.size):
            acc[c] += s[n] * v[w, c] + s[n + 1] * v[x, c] + s[n + 2] * v[y, c] + s[n + 3] * v[z, c]
    for n in range(fours, keys.size):
        for c in range(acc.size):
            acc[c] += s[n] * v[keys[n], c]
    return l


ATTEND = compiled(attend, "attend")
