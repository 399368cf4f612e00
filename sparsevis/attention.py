"""The public calls: check what was given, choose the file in `kernels/` that computes it, run it.

Nothing falls back: an implementation that cannot do what was asked raises and says which one can.
"""

from functools import lru_cache
from importlib import import_module
from inspect import signature
from math import prod
from pkgutil import iter_modules

import numpy as np

from sparsevis import kernels, reference
from sparsevis.layout import Layout, block_of
from sparsevis.pattern import Pattern, resolve_offset
from sparsevis.patterns import Dense, Global, longformer
from sparsevis.per_head import PerHead

__all__ = ["attention", "attention_grad", "implementations", "longformer_attention"]


def attention(
    q, k, v, pattern=None, *, scale=None, offset=None, impl="cpu", block=None, softcap=None, bias=None, sinks=None, return_lse=False
):
    """Compute attention over the pairs a pattern allows: softmax(scale q k^T) v, over the allowed keys of each query.

    Parameters
    ----------
    q, k, v : array_like
        (batch, heads, nq, d), (batch, kv heads, nk, d) and (batch, kv heads, nk, dv); leading axes may be missing: (heads, n, d) and
        (n, d) work. float16, float32, float64 or ml_dtypes.bfloat16, all of one dtype. Query head h reads key/value head
        h // (heads // kv heads).
    pattern : Pattern, PerHead, Layout or None
        Who may attend whom; None is dense attention.
    scale : float, optional
        Factor of the scores, 1 / sqrt(d) where it is left out; 0.0 is legal.
    offset : int, "top-left" or "bottom-right", optional
        Where query 0 stands among the keys. Must be said for a pattern if nq differs from nk.
    impl : str
        "reference", or the name of a file in `sparsevis.kernels`; see `implementations`.
    block : int or (int, int), optional
        Tile of the layout that is made from a pattern; the kernel's favourite where it is left out.
    softcap, bias, sinks : optional
        See `sparsevis.reference.attention`.
    return_lse : bool
        Return (o, lse).

    Returns
    -------
    o : ndarray
        The output in the dtype of the inputs, with the leading axes of q. A query without any allowed key gets exactly 0.
    lse : ndarray
        Natural logarithm of the softmax's denominator, without the last axis; -inf for a query without keys. float64 for float64
        inputs, float32 otherwise.

    Raises
    ------
    ValueError, TypeError
        If shapes, dtypes or names do not fit; the message says what would.
    NotImplementedError
        If the implementation cannot do what was asked.

    Notes
    -----
    The first call with a compiled implementation takes some seconds, once for each dtype and installation.

    Examples
    --------
    >>> import sparsevis as sv
    >>> q, k, v = np.random.default_rng(0).standard_normal((3, 8, 100, 16))
    >>> dense, window = sv.attention(q, k, v), sv.attention(q, k, v, sv.SlidingWindow(31))
    >>> window.shape, np.allclose(dense[:, -1], window[:, -1])
    ((8, 100, 16), False)
    """
    q, k, v = check_inputs(q, k, v)
    extras = {name: x for name, x in (("softcap", softcap), ("bias", bias), ("sinks", sinks)) if x is not None}
    if impl == "reference":
        o, lse = reference.attention(q, k, v, _mask(pattern, q, k, offset), scale=scale, **extras)
    else:
        o, lse = _run_kernel(_kernel(impl), q, k, v, pattern, scale, offset, block, extras)
    o = o.astype(q.dtype, copy=False)
    lse = lse.astype(np.float64 if q.dtype == np.float64 else np.float32, copy=False)
    return (o, lse) if return_lse else o


def attention_grad(
    do, q, k, v, pattern=None, *, scale=None, offset=None, impl="reference", softcap=None, bias=None, sinks=None, dlse=None
):
    """Return (dq, dk, dv), the vector-Jacobian product of `attention`: what a change of each input does to sum(do * o).

    Parameters
    ----------
    do : array_like
        Cotangent of the output, of its shape.
    dlse : array_like, optional
        Cotangent of the lse, of its shape.
    impl : str
        "reference" or "cpu", the implementations with a backward pass.
    q, k, v, pattern, scale, offset, softcap, bias, sinks
        As for `attention`.

    Returns
    -------
    dq, dk, dv : ndarray
        In the shapes and the dtype of q, k, v. Zero where a query has no key.

    Examples
    --------
    >>> import sparsevis as sv
    >>> q, k, v = np.random.default_rng(0).standard_normal((3, 5, 2))
    >>> dq, dk, dv = sv.attention_grad(np.ones((5, 2)), q, k, v, sv.Causal())
    >>> dv.sum().round(12).item()
    10.0
    """
    q, k, v = check_inputs(q, k, v)
    do = np.asarray(do)
    if do.shape != q.shape[:-1] + v.shape[-1:]:
        raise ValueError(f"do has shape {do.shape}, and needs the output's: {q.shape[:-1] + v.shape[-1:]}")
    extras = {name: x for name, x in (("softcap", softcap), ("bias", bias), ("sinks", sinks)) if x is not None}
    if impl == "reference":
        grads = reference.attention_grad(do, q, k, v, _mask(pattern, q, k, offset), scale=scale, dlse=dlse, **extras)
    elif hasattr(_kernel(impl), "backward"):
        grads = _run_backward(_kernel(impl), do, q, k, v, pattern, scale, offset, extras, dlse)
    else:
        raise NotImplementedError(f"impl={impl!r} has no backward pass; impl='cpu' and impl='reference' have")
    return tuple(g.astype(q.dtype, copy=False) for g in grads)


def longformer_attention(q, k, v, q_global, k_global, v_global, *, window, global_tokens, scale=None, impl="cpu"):
    """Compute Longformer's published layer, in which global tokens have projections of their own (arXiv 2004.05150).

    A global token's row uses `q_global`, `k_global` and `v_global` over all keys. Every other row uses q, k, v alone, in one softmax
    over its window and the global keys together; so the global keys and values matter only where the *query* is global.

    Parameters
    ----------
    q, k, v, q_global, k_global, v_global : array_like
        (..., heads, n, d), as for `attention`.
    window : int
        Keys around the query on both sides together, the query excluded; even.
    global_tokens : int or iterable of int
        Positions of the global tokens; negative ones count from the end; empty for none.
    scale, impl
        As for `attention`.

    Examples
    --------
    >>> import sparsevis as sv
    >>> x = np.random.default_rng(0).standard_normal((3, 4, 16, 8))
    >>> same = sv.longformer_attention(*x, *x, window=4, global_tokens=[0])
    >>> np.allclose(same, sv.attention(*x, sv.longformer(4, [0])))
    True
    """
    q, k, v = check_inputs(q, k, v)
    q_global, k_global, v_global = check_inputs(q_global, k_global, v_global)
    if (q_global.shape, k_global.shape, v_global.shape, q_global.dtype) != (q.shape, k.shape, v.shape, q.dtype):
        raise ValueError("q_global, k_global and v_global need the shapes and the dtype of q, k and v")
    parts = longformer(window, global_tokens).parts()
    local, tokens = parts[0], parts[1].tokens if len(parts) > 1 else ()
    if not tokens:
        return attention(q, k, v, local, scale=scale, impl=impl)
    o = attention(q, k, v, local | Global(tokens, rows=False), scale=scale, impl=impl)
    rows = np.unique(np.array(tokens) % q.shape[-2])
    o[..., rows, :] = attention(q_global[..., rows, :], k_global, v_global, scale=scale, impl=impl)
    return o


def implementations():
    """Return the names `impl` takes.

    >>> implementations()[:2]
    ['reference', 'cpu']
    """
    return ["reference", *sorted(m.name for m in iter_modules(kernels.__path__) if not m.name.startswith("_"))]


def check_inputs(q, k, v):
    """Return q, k, v as arrays of one float dtype whose shapes fit together, or raise."""
    q, k, v = (x.astype(x.dtype.newbyteorder("="), copy=False) for x in map(np.asarray, (q, k, v)))
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not (x.dtype.kind == "f" or x.dtype.name == "bfloat16") or x.dtype.itemsize > 8:
            raise TypeError(f"{name} is {x.dtype}, and needs to be float16, bfloat16, float32 or float64: {name}.astype(np.float32)")
        if x.ndim < 2 or x.ndim != q.ndim:
            raise ValueError(f"q, k, v are {q.shape}, {k.shape}, {v.shape}: need (n, d), (heads, n, d) or (batch, heads, n, d), all alike")
    if not q.dtype == k.dtype == v.dtype:
        raise TypeError(f"q, k, v are {q.dtype}, {k.dtype}, {v.dtype}, and need one dtype: convert two of them")
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"q has head dimension {q.shape[-1]} and k {k.shape[-1]}: they need to be equal")
    if k.shape[:-1] != v.shape[:-1]:
        raise ValueError(f"k is {k.shape} and v {v.shape}: all axes but the last need to be equal")
    if q.shape[:-3] != k.shape[:-3]:
        raise ValueError(f"q is {q.shape} and k {k.shape}: the batch axes need to be equal")
    if q.ndim > 2 and (k.shape[-3] == 0 or q.shape[-3] % k.shape[-3]) and q.shape[-3] != k.shape[-3]:
        raise ValueError(f"{q.shape[-3]} query heads over {k.shape[-3]} key/value heads: the first needs to be a multiple of the second")
    return q, k, v


def layout_for(pattern, heads, nq, nk, offset, block):
    """Return the layout of a pattern for so many heads, queries and keys, or check the one that was given."""
    if isinstance(pattern, Layout):
        if pattern.shape != (nq, nk):
            raise ValueError(f"the layout is for {pattern.shape[0]} queries over {pattern.shape[1]} keys, but there are {nq} over {nk}")
        if offset is not None:
            raise ValueError("offset was given with a layout, which has its own: give it to Layout.of")
        if pattern.heads is not None and len(pattern.heads) != heads:
            raise ValueError(f"the layout is for {len(pattern.heads)} heads, but q has {heads}; see PerHead.cycled({heads})")
        return pattern
    _check_pattern(pattern, heads)
    offset = 0 if pattern is None else resolve_offset(nq, nk, offset)
    return _layout(Dense() if pattern is None else pattern, (nq, nk), block, offset)


@lru_cache(maxsize=8)
def _layout(pattern, shape, block, offset):
    """Layouts of recent calls; a layer is called many times."""
    return Layout.of(pattern, shape, block, offset)


def _check_pattern(pattern, heads):
    if not (pattern is None or isinstance(pattern, Pattern | PerHead)):
        hint = " (a boolean mask: Chosen.from_mask(mask))" if isinstance(pattern, np.ndarray) else ""
        raise TypeError(f"pattern is a {type(pattern).__name__}, and needs to be a Pattern, a PerHead, a Layout or None{hint}")
    if isinstance(pattern, PerHead) and len(pattern) != heads:
        raise ValueError(f"the pattern is for {len(pattern)} heads, but q has {heads}; see PerHead.cycled({heads})")


def _mask(pattern, q, k, offset):
    """What the reference needs: a dense boolean mask, or None."""
    heads, nq, nk = q.shape[-3] if q.ndim > 2 else 1, q.shape[-2], k.shape[-2]
    if isinstance(pattern, Layout):
        mask = layout_for(pattern, heads, nq, nk, offset, None).mask()
    else:
        _check_pattern(pattern, heads)
        mask = None if pattern is None else pattern.mask(nq, nk, resolve_offset(nq, nk, offset))
    return mask[0] if mask is not None and mask.ndim > q.ndim else mask  # the one head of an input without a head axis


def _kernel(impl):
    if impl not in implementations():
        raise ValueError(f"impl={impl!r}: needs one of {', '.join(implementations())}")
    return import_module(f"sparsevis.kernels.{impl}") if impl != "reference" else reference


def _run_kernel(kernel, q, k, v, pattern, scale, offset, block, extras):
    """Flatten batch and heads, widen 16-bit inputs, and call the kernel."""
    flat, layout, options = _flatten(kernel, kernel.forward, q, k, v, pattern, scale, offset, block, extras)
    o, lse = kernel.forward(*flat, layout, **options)
    return o.reshape(*q.shape[:-1], v.shape[-1]), lse.reshape(q.shape[:-1])


def _run_backward(kernel, do, q, k, v, pattern, scale, offset, extras, dlse):
    """Run forward for o and lse, then the kernel's backward pass."""
    flat, layout, options = _flatten(kernel, kernel.backward, q, k, v, pattern, scale, offset, None, extras)
    o, lse = kernel.forward(*flat, layout, **options)
    do = np.ascontiguousarray(do.reshape(o.shape), o.dtype)
    dlse = None if dlse is None else np.ascontiguousarray(np.reshape(dlse, lse.shape), lse.dtype)
    grads = kernel.backward(do, *flat, o, lse, layout, dlse=dlse, **options)
    return tuple(g.reshape(x.shape) for g, x in zip(grads, (q, k, v), strict=True))


def _flatten(kernel, call, q, k, v, pattern, scale, offset, block, extras):
    """What a kernel takes: (heads, n, d) arrays, a layout, and options without batch axes."""
    cannot = [name for name in extras if name not in signature(call).parameters]
    if cannot:
        name = kernel.__name__.rpartition(".")[2]
        raise NotImplementedError(f"impl={name!r} does not know {', '.join(cannot)}; impl='reference' does")
    heads, (nq, d), nk = q.shape[-3] if q.ndim > 2 else 1, q.shape[-2:], k.shape[-2]
    if block is not None and isinstance(pattern, Layout) and block_of(block) != pattern.block:
        raise ValueError(f"block={block!r} was given with a layout of tiles {pattern.block}: leave it out, or see Layout.retile")
    layout = layout_for(pattern, heads, nq, nk, offset, block_of(kernel.BLOCK if block is None else block))
    dtype = np.float64 if q.dtype == np.float64 else np.float32
    flat = [np.ascontiguousarray(x.reshape(prod(x.shape[:-2]), *x.shape[-2:]), dtype) for x in (q, k, v)]
    options = {"scale": (d**-0.5 if d else 1.0) if scale is None else float(scale)} | extras
    if "bias" in extras:
        options["bias"] = _flat_bias(np.asarray(extras["bias"], dtype), (*q.shape[:-1], nk))
    if "sinks" in extras:
        options["sinks"] = np.asarray(extras["sinks"], dtype).reshape(-1)
    return flat, layout, options


def _flat_bias(bias, shape):
    """A bias as (heads or 1, nq, nk); one that all batch elements share is not repeated."""
    np.broadcast_to(bias, shape)  # raises where it does not fit
    if bias.ndim <= 3:
        return np.broadcast_to(bias, (*bias.shape[:-2], *shape[-2:]) if bias.ndim == 3 else shape[-2:])
    return np.broadcast_to(bias, shape).reshape(-1, *shape[-2:])
