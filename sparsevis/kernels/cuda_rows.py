"""Block-sparse attention on a GPU, as one explains it on a board: one thread, one query.

    every query of every head at once, each by a thread of its own:
        m, l, acc = sink, 1 or 0, 0
        for each key block that the layout lists for the query's block:
            for each key j of the block that the query may attend:
                s = scale * (q . k[j])
                if s > m: what was summed under the old maximum shrinks by e ** (m - s); m = s
                p = e ** (s - m); l += p; acc += p * v[j]
        o, lse = acc / l, m + log(l)

Differs from `loops`: the two outer loops are gone, since thousands of threads do their turns at the same time; and a step of the online
softmax takes one key, not a tile. Nothing is shared between threads, so each reads every key for itself: `cuda_tiled`, the rung above,
lets a block of threads read it once. A pair that is not allowed is skipped, so what stands there cannot matter.

float32 and float64, any tiles, any head dimensions, every feature. Runs in Numba's simulator as well (NUMBA_ENABLE_CUDASIM=1).
"""
import math

from ..arrays import seen
from . import _cuda_exact
from ._cuda import cuda, device_layout, needs_device
from ._cuda_needs import Needs

__all__ = ["BLOCK", "NEEDS", "forward"]

NEEDS = Needs(("float32", "float64"))
BLOCK = 64
THREADS = 64                    # a block's: its queries are neighbours and walk nearly the same keys


def forward(q, k, v, layout, *, scale, softcap=None, sinks=None, slopes=None, key_mask=None, bias=None, offset=0):
    """Attention over the layout's tiles; arguments and results as every kernel's (see `sparsevis.kernels`).

    Arrays with a `__cuda_array_interface__` stay on their device and stream, and so do the results.
    """
    asked = {"softcap": softcap, "sinks": sinks, "slopes": slopes, "key_mask": key_mask, "bias": bias, "offset": offset}
    q, k, v = map(seen, (q, k, v))
    needs_device("cuda_rows", NEEDS, q.dtype.name, q.shape[-1], v.shape[-1], (), "forward")

    def kernel_of(x):
        return attend, -(-x.heads * x.nq // THREADS), THREADS, 0, device_layout(layout, x.heads)
    return _cuda_exact.forward("cuda_rows", kernel_of, q, k, v, layout, scale, asked)


# ---------------------------------------------------------------- one thread

@cuda.jit
def attend(q, k, v, o, lse, layout, scale, features):
    """One query against every key block in its row of the layout; its output row is where the sums grow."""
    planes, _, indptr, indices, kind, tiles, bq, bk = layout
    _, _, sinks, _, kept, _, _, _ = features
    heads, nq = lse.shape
    item = cuda.grid(1)
    if item >= heads * nq:
        return
    h, i = item // nq, item % nq
    b, head = h // q.shape[1], h % q.shape[1]
    kv = head // (q.shape[1] // k.shape[1])                          # grouped-query attention: heads share keys and values
    acc = o[h, i]
    for c in range(acc.size):
        acc[c] = 0
    m = sinks[h]                                                     # a sink is a key seen already, whose value is 0
    l = lse.dtype.type(m > -math.inf)
    seen = 0
    row = planes[h] * (-(-nq // bq)) + i // bq
    for e in range(indptr[row], indptr[row + 1]):
        first = indices[e] * bk
        for j in range(first, min(first + bk, k.shape[2])):
            if allowed(kind[e], tiles, i % bq, j - first) and not_padding(kept, h, heads, j):
                seen += 1
                s = adjusted(dot(q[b, head, i], k[b, kv, j], scale), features, h, i, j)
                m, l = online_softmax(m, l, acc, s, v[b, kv, j])
    finish(o, lse, h, i, m, l, seen, sinks[h])


@cuda.jit(device=True)
def allowed(kind, tiles, r, c):
    """Whether a pair of a tile is allowed: all of a full tile are; else the stored bit says."""
    return kind < 0 or (tiles[kind, r, c // 8] >> (c % 8)) & 1 != 0


@cuda.jit(device=True)
def not_padding(kept, h, heads, j):
    """Whether key j of the batch element is one."""
    return kept.shape[0] == 0 or kept[h // (heads // kept.shape[0]), j]


@cuda.jit(device=True)
def dot(q, k, scale):
    """The score of one pair, before the features."""
    total = q.dtype.type(0)
    for c in range(q.size):
        total += q[c] * k[c]
    return total * scale


@cuda.jit(device=True)
def adjusted(s, features, h, i, j):
    """A score after cap, slope and bias."""
    plain, softcap, _, slopes, _, bias, which, offset = features
    if plain:
        return s
    if softcap > 0:
        s = softcap * math.tanh(s / softcap)
    s += slopes[h] * slopes.dtype.type(j - i - offset)
    if bias.shape[0] > 0:
        s += bias[which[h], i, j]
    return s


@cuda.jit(device=True)
def online_softmax(m, l, acc, s, v):
    """Take one more key into account; return the new maximum and sum."""
    if s > m:                                                        # never for NaN: that comes through exp
        shrink = math.exp(m - s)
        l *= shrink
        for c in range(acc.size):
            acc[c] *= shrink
        m = s
    p = math.exp(s - m) if m != -math.inf else math.exp(s)           # no score yet: -inf - -inf would be NaN
    l += p
    for c in range(acc.size):
        acc[c] += p * v[c]
    return m, l


@cuda.jit(device=True)
def finish(o, lse, h, i, m, l, seen, sink):
    """Divide by the sum. A row without an allowed key gives 0, by the layout's word; a live row of scores -inf gives NaN, as softmax."""
    if seen == 0:
        lse[h, i] = sink
        return
    for c in range(o.shape[2]):
        o[h, i, c] /= l
    lse[h, i] = m + math.log(l) if l != 0 else -math.inf
