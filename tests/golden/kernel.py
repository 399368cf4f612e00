"""A small tiled attention in the arithmetic of a GPU kernel, forward and backward: what the kit judges in its own tests.

Accumulation in float32, P and dS rounded to the dtype of the inputs before the second product. It shares nothing with the reference.
`mutants.py` replaces single lines of this text; the lines are therefore one statement each.
"""

import numpy as np

f32 = np.float32
BM, BN = 16, 16


def store(x, dtype):
    """x rounded to dtype, kept in float32."""
    return np.asarray(x, f32).astype(dtype).astype(f32)


def load(x, start, size):
    """Rows start ... start + size in float32; rows beyond the end are zero."""
    out = np.zeros((*x.shape[:-2], size, x.shape[-1]), f32)
    rows = x[..., start : start + size, :]
    out[..., : rows.shape[-2], :] = rows
    return out


def allowed(i, j, nq, nk, causal, window, global_keys, offset, mask):
    if mask is not None:
        return mask[..., np.minimum(i, nq - 1), np.minimum(j, nk - 1)]
    at = i + offset
    ok = np.ones(np.broadcast_shapes(i.shape, j.shape), bool)
    if window[0] is not None:
        ok = ok & (at - j <= window[0])
    if window[1] is not None:
        ok = ok & (j - at <= window[1])
    if global_keys:
        ok = ok | (j < global_keys)
    if causal:
        ok = ok & (j <= at)
    return ok


def forward(
    q, k, v, *, causal=False, window=(None, None), global_keys=0, mask=None, offset=0, scale=None, softcap=None, sinks=None, bias=None,
    slopes=None,
):  # fmt: skip
    (B, H, nq, d), (kv, nk, dv) = q.shape, v.shape[1:]
    heads = np.arange(H) // (H // kv)
    factor = d**-0.5 if scale is None else scale
    dtype = q.dtype
    o, lse = np.zeros((B, H, nq, dv), dtype), np.zeros((B, H, nq), f32)
    for i0 in range(0, nq, BM):
        Q = load(q, i0, BM)
        i = np.arange(i0, i0 + BM)[:, None]
        m = np.full((B, H, BM), -np.inf, f32)
        l = np.zeros((B, H, BM), f32)
        acc = np.zeros((B, H, BM, dv), f32)
        for j0 in range(0, nk, BN):
            K, V = load(k, j0, BN)[:, heads], load(v, j0, BN)[:, heads]
            j = np.arange(j0, j0 + BN)[None]
            ok = allowed(i, j, nq, nk, causal, window, global_keys, offset, mask)
            ok = ok & (j < nk)
            s = (Q @ K.swapaxes(-1, -2)) * f32(factor)
            if softcap is not None:
                s = f32(softcap) * np.tanh(s / f32(softcap))
            if bias is not None:
                s = s + bias[:, np.minimum(i, nq - 1), np.minimum(j, nk - 1)].astype(f32)
            if slopes is not None:
                s = s + slopes[:, None, None] * (j - (i + offset)).astype(f32)
            s = np.where(ok, s, f32(-np.inf))
            new = np.maximum(m, s.max(-1))
            safe = np.where(np.isneginf(new), f32(0), new)
            alpha = np.where(np.isneginf(m), f32(0), np.exp(m - safe))
            p = np.exp(s - safe[..., None])
            l = l * alpha + p.sum(-1)
            pv = select(store(p, dtype), ok, V)
            acc = acc * alpha[..., None] + pv
            m = new
        if sinks is not None:
            sink = sinks.astype(f32)[:, None]
            new = np.maximum(m, sink)
            alpha = np.where(np.isneginf(m), f32(0), np.exp(m - new))
            l = l * alpha + np.exp(sink - new)
            acc = acc * alpha[..., None]
            m = new
        one = np.where(l == 0, f32(1), l)
        out = acc / one[..., None]
        L = np.where(l == 0, f32(-np.inf), m + np.log(one))
        n = min(BM, nq - i0)
        o[:, :, i0 : i0 + n] = out[:, :, :n]
        lse[:, :, i0 : i0 + n] = L[:, :, :n]
    return o, lse


def select(p, ok, V):
    """p @ V in which a forbidden value is not felt, NaN or not."""
    if np.isfinite(V).all():
        return p @ V
    return np.where(ok[..., None], p[..., None] * V[..., None, :, :], f32(0)).sum(-2)


def backward(
    do, q, k, v, *, o, lse, dlse, causal=False, window=(None, None), global_keys=0, mask=None, offset=0, scale=None, softcap=None,
    sinks=None, bias=None, slopes=None,
):  # fmt: skip
    (_, H, nq, d), (kv, nk, _) = q.shape, v.shape[1:]
    mask = None if mask is None else mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    group = H // kv
    factor = d**-0.5 if scale is None else scale
    dtype = q.dtype
    dq, dk, dv_ = np.zeros(q.shape, f32), np.zeros(k.shape, f32), np.zeros(v.shape, f32)
    delta = (do.astype(f32) * o).sum(-1)
    delta = delta - np.where(np.isneginf(lse), f32(0), dlse)
    i = np.arange(nq)[:, None]
    dO, Q = do.astype(f32), q.astype(f32)
    for h in range(H):
        g = h // group
        for j0 in range(0, nk, BN):
            n = min(BN, nk - j0)
            K, V = k[:, g, j0 : j0 + n].astype(f32), v[:, g, j0 : j0 + n].astype(f32)
            j = np.arange(j0, j0 + n)[None]
            ok = allowed(i, j, nq, nk, causal, window, global_keys, offset, None if mask is None else mask[:, h % mask.shape[1]])
            s = (Q[:, h] @ K.swapaxes(-1, -2)) * f32(factor)
            slope = f32(1)
            if softcap is not None:
                t = np.tanh(s / f32(softcap))
                s, slope = f32(softcap) * t, 1 - t * t
            if bias is not None:
                s = s + bias[h, i, j].astype(f32)
            if slopes is not None:
                s = s + slopes[h] * (j - (i + offset)).astype(f32)
            L = lse[:, h, :, None]
            p = np.where(ok, np.exp(s - np.where(np.isneginf(L), f32(0), L)), f32(0))
            dp = dO[:, h] @ V.swapaxes(-1, -2)
            ds = np.where(ok, p * (dp - delta[:, h, :, None]) * slope, f32(0))
            ds16 = store(ds, dtype)
            dv_[:, g, j0 : j0 + n] += store(p, dtype).swapaxes(-1, -2) @ dO[:, h]
            dk[:, g, j0 : j0 + n] += (ds16.swapaxes(-1, -2) @ Q[:, h]) * f32(factor)
            dq[:, h] += (ds16 @ K) * f32(factor)
    return dq.astype(dtype), dk.astype(dtype), dv_.astype(dtype)
