"""Small kernels for keys that lie in other ways: packed documents, padding, a ring of cached keys, lists of tiles; whole rows, float32.

As kernel.py, they share nothing with the reference, and `mutants.py` replaces single lines of this text.
"""

import numpy as np

f32 = np.float32


def attend(Q, K, V, ok, factor):
    """(o, lse) of one head's rows over the keys that `ok` allows; what stands in the others is not felt."""
    with np.errstate(invalid="ignore", over="ignore"):
        s = (Q.astype(f32) @ K.astype(f32).T) * f32(factor)
        s = np.where(ok, s, f32(-np.inf))
        m = s.max(-1, initial=-np.inf)
        p = np.exp(s - np.where(np.isneginf(m), f32(0), m)[:, None])
        l = p.sum(-1)
        pv = np.where(ok[..., None], p[..., None] * V.astype(f32), f32(0)).sum(1)
    one = np.where(l == 0, f32(1), l)
    return pv / one[:, None], np.where(l == 0, f32(-np.inf), m + np.log(one))


def near(at, j, causal, window):
    """Whether keys at positions j are near queries at positions `at`; -1 is unbounded."""
    ok = np.ones(np.broadcast_shapes(at.shape, j.shape), bool)
    if window[0] >= 0:
        ok = ok & (at - j <= window[0])
    if window[1] >= 0:
        ok = ok & (j - at <= window[1])
    if causal:
        ok = ok & (j <= at)
    return ok


# -- packed


def packed(q, k, v, *, cu_seqlens_q, cu_seqlens_k, causal=False, window=(-1, -1), scale=None):
    """(positions, heads, d); in each document the last query stands at the last key."""
    (nq, H, d), (_, kv, dv) = q.shape, v.shape
    factor = d**-0.5 if scale is None else scale
    o, lse = np.full((nq, H, dv), np.nan, f32), np.full((H, nq), np.nan, f32)
    documents = len(cu_seqlens_q) - 1
    for b in range(documents):
        q0, q1 = cu_seqlens_q[b], cu_seqlens_q[b + 1]
        k0, k1 = cu_seqlens_k[b], cu_seqlens_k[b + 1]
        shift = (k1 - k0) - (q1 - q0)
        at, j = np.arange(q1 - q0)[:, None] + shift, np.arange(k1 - k0)[None]
        ok = near(at, j, causal, window)
        for h in range(H):
            g = h // (H // kv)
            o[q0:q1, h], lse[h, q0:q1] = attend(q[q0:q1, h], k[k0:k1, g], v[k0:k1, g], ok, factor)
    return o.astype(q.dtype), lse


# -- padded


def padded(q, k, v, *, kv_lengths, causal=False, window=(-1, -1), scale=None):
    """(batch, heads, n, d); the keys of entry b are its first kv_lengths[b], and query 0 stands at key 0."""
    (B, H, nq, d), (_, kv, nk, dv) = q.shape, v.shape
    factor = d**-0.5 if scale is None else scale
    o, lse = np.full((B, H, nq, dv), np.nan, f32), np.full((B, H, nq), np.nan, f32)
    at, j = np.arange(nq)[:, None], np.arange(nk)[None]
    for b in range(B):
        n = kv_lengths[b]
        ok = near(at, j, causal, window)
        ok = ok & (j < n)
        for h in range(H):
            g = h // (H // kv)
            o[b, h], lse[b, h] = attend(q[b, h], k[b, g], v[b, g], ok, factor)
    return o.astype(q.dtype), lse


# -- ring


def ring(q, k, v, *, positions, offset, causal=True, window=(-1, -1), scale=None):
    """(heads, n, d); slot s holds the key of positions[s], -1 in a free slot; query 0 stands at `offset`."""
    (H, nq, d), (kv, nk, dv) = q.shape, v.shape
    factor = d**-0.5 if scale is None else scale
    o, lse = np.full((H, nq, dv), np.nan, f32), np.full((H, nq), np.nan, f32)
    assert len(positions) == nk
    at, j = np.arange(nq)[:, None] + offset, positions[None]
    ok = near(at, j, causal, window)
    ok = ok & (j >= 0)
    for h in range(H):
        g = h // (H // kv)
        o[h], lse[h] = attend(q[h], k[g], v[g], ok, factor)
    return o.astype(q.dtype), lse


# -- tiles


def pairs_of(layout, kind, rows, columns):
    """The pairs of a tile within the lengths."""
    if kind == -1:
        return np.ones((rows, columns), bool)
    bits = np.unpackbits(layout.tiles[kind], axis=-1, bitorder="little")
    return bits[:rows, :columns].astype(bool)


def lists(q, k, v, *, layout, scale=None):
    """(heads, n, d); each block of queries walks its list of tiles, one step of an online softmax a tile."""
    (H, nq, d), (kv, nk, dv) = q.shape, v.shape
    factor = d**-0.5 if scale is None else scale
    o, lse = np.full((H, nq, dv), np.nan, f32), np.full((H, nq), np.nan, f32)
    bq, bk = layout.block
    rows = -(-nq // bq)
    for h in range(H):
        g = h // (H // kv)
        plane = layout.heads[h] if layout.heads else 0
        for r in range(rows):
            i0, i1 = r * bq, min(r * bq + bq, nq)
            m, l = np.full(i1 - i0, -np.inf, f32), np.zeros(i1 - i0, f32)
            acc = np.zeros((i1 - i0, dv), f32)
            row = plane * rows + r
            for e in range(layout.indptr[row], layout.indptr[row + 1]):
                j0, j1 = layout.indices[e] * bk, min(layout.indices[e] * bk + bk, nk)
                ok = pairs_of(layout, layout.kind[e], i1 - i0, j1 - j0)
                part, L = attend(q[h, i0:i1], k[g, j0:j1], v[g, j0:j1], ok, factor)
                new = np.maximum(m, L)
                safe = np.where(np.isneginf(new), f32(0), new)
                old, w = l * np.exp(m - safe), np.exp(L - safe)
                acc = acc * np.exp(m - safe)[:, None] + np.where(w[:, None] == 0, f32(0), part * w[:, None])
                l = old + w
                m = new
            one = np.where(l == 0, f32(1), l)
            o[h, i0:i1] = acc / one[:, None]
            lse[h, i0:i1] = np.where(l == 0, f32(-np.inf), m + np.log(one))
    return o.astype(q.dtype), lse


# -- tiles backward


def lists_backward(do, q, k, v, *, o, lse, layout, scale=None):
    """dq walks the lists; dk and dv walk those of the transposed layout."""
    (H, nq, d), (kv, nk, _) = q.shape, k.shape
    factor = d**-0.5 if scale is None else scale
    dq, dk, dv_ = np.zeros(q.shape, f32), np.zeros(k.shape, f32), np.zeros(v.shape, f32)
    delta = (do.astype(f32) * o).sum(-1)
    turned = layout.T
    for h in range(H):
        g = h // (H // kv)
        for i, j, ok in walked(layout, h, nq, nk):
            p, ds = again(do, q, k, v, lse, delta, h, g, i, j, ok, factor)
            dq[h, i] += (ds @ k[g, j].astype(f32)) * f32(factor)
        for j, i, ok in walked(turned, h, nk, nq):
            p, ds = again(do, q, k, v, lse, delta, h, g, i, j, ok.T, factor)
            dk[g, j] += (ds.T @ q[h, i].astype(f32)) * f32(factor)
            dv_[g, j] += p.T @ do[h, i].astype(f32)
    return dq.astype(q.dtype), dk.astype(q.dtype), dv_.astype(q.dtype)


def walked(layout, h, n, m):
    """(rows, columns, pairs) of every tile of a head."""
    b, c = layout.block
    rows = -(-n // b)
    plane = layout.heads[h] if layout.heads else 0
    for r in range(rows):
        for e in range(layout.indptr[plane * rows + r], layout.indptr[plane * rows + r + 1]):
            i, j = slice(r * b, min(r * b + b, n)), slice(layout.indices[e] * c, min(layout.indices[e] * c + c, m))
            yield i, j, pairs_of(layout, layout.kind[e], i.stop - i.start, j.stop - j.start)


def again(do, q, k, v, lse, delta, h, g, i, j, ok, factor):
    """P and dS of a tile."""
    s = (q[h, i].astype(f32) @ k[g, j].astype(f32).T) * f32(factor)
    L = np.where(np.isneginf(lse[h, i]), f32(0), lse[h, i])
    p = np.where(ok, np.exp(s - L[:, None]), f32(0))
    dp = do[h, i].astype(f32) @ v[g, j].astype(f32).T
    return p, np.where(ok, p * (dp - delta[h, i][:, None]), f32(0))
