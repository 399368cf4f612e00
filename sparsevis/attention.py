"""The public calls: check what was given, choose the file in `kernels/` that computes it, run it.

Nothing falls back: an implementation that cannot do what was asked raises and says which one can.
"""

import logging
from functools import lru_cache
from importlib import import_module
from pkgutil import iter_modules
from typing import NamedTuple

import numpy as np

from sparsevis import kernels, reference
from sparsevis.arrays import DeviceArray, seen
from sparsevis.inputs import check_features, check_inputs, flatten, mask_and_bias, mask_for, slot_of
from sparsevis.patterns import Global, longformer

__all__ = ["Info", "alibi_slopes", "attention", "attention_grad", "implementations", "longformer_attention"]

log = logging.getLogger("sparsevis")


class Info(NamedTuple):
    """What computed a result: the implementation's name, and why it was that one."""

    impl: str
    why: str


def attention(
    q, k, v, pattern=None, *, scale=None, offset=None, impl="cpu", block=None,
    softcap=None, slopes=None, bias=None, key_mask=None, sinks=None, return_lse=False, return_info=False,
):  # fmt: skip
    """Compute attention over the pairs a pattern allows: softmax(scale q k^T) v, over the allowed keys of each query.

    Parameters
    ----------
    q, k, v : array_like
        (batch, heads, nq, d), (batch, kv heads, nk, d) and (batch, kv heads, nk, dv); leading axes may be missing: (heads, n, d) and
        (n, d) work. float16, float32, float64 or bfloat16, all of one dtype. Query head h reads key/value head
        h // (heads // kv heads). Arrays of PyTorch, CuPy, JAX or Numba on a GPU, and all that speak `__cuda_array_interface__` or
        DLPack, stay there, for impl="cuda".
    pattern : Pattern, PerHead, Layout or None
        Who may attend whom; None is dense attention.
    scale : float, optional
        Factor of the scores, 1 / sqrt(d) where it is left out; 0.0 is legal.
    offset : int, "top-left" or "bottom-right", optional
        Where query 0 stands among the keys. Must be said for a pattern, and for slopes, if nq differs from nk.
    impl : str
        "reference", or the name of a file in `sparsevis.kernels`; see `implementations`. "cuda" takes the fastest one that can do
        what is asked on this GPU, and says which.
    block : int or (int, int), optional
        Tile of the layout that is made from a pattern; the kernel's favourite where it is left out.
    softcap : float, optional
        Scores become softcap * tanh(scores / softcap): Gemma 2 (arXiv 2408.00118).
    slopes : array_like (heads,), optional
        slopes[h] * (j - i) is added to the score of query i and key j: ALiBi (arXiv 2108.12409), see `alibi_slopes`.
    bias : array_like, optional
        Added to the scores; broadcastable to (batch, heads, nq, nk).
    key_mask : boolean array_like (batch, nk), optional
        False for keys that are padding: no query attends them. (nk,) for inputs without a batch axis.
    sinks : array_like (heads,), optional
        One logit a query head that takes part in the softmax and has no value (gpt-oss); neither scaled nor capped.
    return_lse : bool
        Return (o, lse).
    return_info : bool
        Return an `Info` last: which implementation computed it, and why that one. The log of "sparsevis" says the same.

    Returns
    -------
    o : ndarray
        The output in the dtype of the inputs, with the leading axes of q. A query without any allowed key gets exactly 0. Of the
        inputs' library and on their GPU, if they lie on one.
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
    Order: scale, softcap, slopes and bias, pattern and key_mask, softmax, sinks. The first call with a compiled implementation takes
    some seconds, once for each dtype and installation. On a GPU, a call of PyTorch tensors like an earlier one (an equal pattern or the
    same layout, options, shapes, strides, dtypes) is ready: nothing is checked, copied or waited for. Make one before a CUDA graph
    captures it.

    Examples
    --------
    >>> import sparsevis as sv
    >>> q, k, v = np.random.default_rng(0).standard_normal((3, 8, 100, 16))
    >>> dense, window = sv.attention(q, k, v), sv.attention(q, k, v, sv.SlidingWindow(31))
    >>> window.shape, np.allclose(dense[:, -1], window[:, -1])
    ((8, 100, 16), False)
    """
    slot = None
    if slopes is bias is key_mask is None:
        slot = slot_of(pattern, (q, k, v, sinks), "attention", impl, scale, offset, block, softcap)
        if slot is not None and slot.call is not None and (made := slot.call(q, k, v, sinks)):
            _say(impl, slot.info)
            return _results(*made, slot.info, return_lse, return_info)
    q, k, v = check_inputs(q, k, v)
    features = {"softcap": softcap, "slopes": slopes, "bias": bias, "key_mask": key_mask, "sinks": sinks}
    asked, offset = check_features(q, k, pattern, offset, **features)
    info = _choose(impl, q, v, asked, "forward")
    if info.impl == "reference":
        o, lse = reference.attention(q, k, v, scale=scale, **mask_and_bias(mask_for(pattern, q, k, offset), q, k, asked))
    else:
        o, lse = _run_kernel(_kernel(info.impl), q, k, v, pattern, scale, offset, block, asked, slot, info)
    if isinstance(o, np.ndarray):
        o = o.astype(q.dtype, copy=False)
        lse = lse.astype(np.float64 if q.dtype == np.float64 else np.float32, copy=False)
    return _results(o, lse, info, return_lse, return_info)


def _results(o, lse, info, return_lse, return_info):
    if not (return_lse or return_info):
        return o
    return (o, *([lse] if return_lse else []), *([info] if return_info else []))


def attention_grad(
    do, q, k, v, pattern=None, *, scale=None, offset=None, impl="reference",
    softcap=None, slopes=None, bias=None, key_mask=None, sinks=None, dlse=None,
):  # fmt: skip
    """Return (dq, dk, dv), the vector-Jacobian product of `attention`: what a change of each input does to sum(do * o).

    Parameters
    ----------
    do : array_like
        Cotangent of the output, of its shape.
    dlse : array_like, optional
        Cotangent of the lse, of its shape.
    impl : str
        "reference", "cpu", "cuda_tiled", "cuda_mma", or "cuda" for the faster of the last two that can: those with a backward pass.
    q, k, v, pattern, scale, offset, softcap, slopes, bias, key_mask, sinks
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
    slot = None
    if slopes is bias is key_mask is None:
        slot = slot_of(pattern, (do, q, k, v, dlse, sinks), "gradients", impl, scale, offset, softcap)
        if slot is not None and slot.call is not None and (made := slot.call(do, q, k, v, dlse, sinks)):
            _say(impl, slot.info)
            return made
    q, k, v = check_inputs(q, k, v)
    do = seen(do)
    if do.shape != q.shape[:-1] + v.shape[-1:]:
        raise ValueError(f"do has shape {do.shape}, and needs the output's: {q.shape[:-1] + v.shape[-1:]}")
    features = {"softcap": softcap, "slopes": slopes, "bias": bias, "key_mask": key_mask, "sinks": sinks}
    asked, offset = check_features(q, k, pattern, offset, **features)
    info = _choose(impl, q, v, asked, "backward")
    impl = info.impl
    if impl == "reference":
        folded = mask_and_bias(mask_for(pattern, q, k, offset), q, k, asked)
        grads = reference.attention_grad(do, q, k, v, scale=scale, dlse=dlse, **folded)
    elif hasattr(_kernel(impl), "backward"):
        grads = _run_backward(_kernel(impl), do, q, k, v, pattern, scale, offset, asked, dlse, slot, info)
    else:
        raise NotImplementedError(f"impl={impl!r} has no backward pass; impl='cpu', 'cuda' and 'reference' have")
    return tuple(g.astype(q.dtype, copy=False) if isinstance(g, np.ndarray) else g for g in grads)


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
    if isinstance(q, DeviceArray):
        raise NotImplementedError("longformer_attention puts two results together in host memory: give NumPy arrays")
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


def alibi_slopes(heads):
    """Return the slopes that ALiBi gives to so many heads (arXiv 2108.12409), for `attention(..., slopes=...)`.

    2 ** (-8 / heads), and its powers. Where `heads` is no power of two: those of the next smaller one, then every other one of twice as
    many heads, as the paper's code, BLOOM and MPT do.

    Examples
    --------
    >>> alibi_slopes(4).tolist()
    [0.25, 0.0625, 0.015625, 0.00390625]
    >>> np.log2(alibi_slopes(6)).tolist()
    [-2.0, -4.0, -6.0, -8.0, -1.0, -3.0]
    """
    if heads < 1:
        raise ValueError(f"alibi_slopes({heads}): needs one head or more")
    whole = 1 << (int(heads).bit_length() - 1)
    geometric = 2.0 ** (-8 / whole * np.arange(1, whole + 1))
    return geometric if whole == heads else np.append(geometric, alibi_slopes(2 * whole)[::2][: heads - whole])


def implementations():
    """Return the names `impl` takes.

    >>> implementations()[:2]
    ['reference', 'cpu']
    """
    return ["reference", *sorted(m.name for m in iter_modules(kernels.__path__) if not m.name.startswith("_"))]


@lru_cache
def _kernel(impl):
    if impl not in implementations():
        raise ValueError(f"impl={impl!r}: needs one of {', '.join(implementations())}")
    return import_module(f"sparsevis.kernels.{impl}") if impl != "reference" else reference


def _choose(impl, q, v, asked, call):
    """Return the `Info` of the implementation; "cuda" stands for several."""
    if isinstance(q, DeviceArray) and not impl.startswith("cuda"):
        raise ValueError(f"q, k, v lie on GPU {q.device}, where impl={impl!r} cannot compute: impl='cuda', or bring them to host memory")
    kernel = _kernel(impl)
    if not hasattr(kernel, "choose"):
        return Info(impl, "asked for by name")
    info = Info(*kernel.choose(q.dtype.name, q.shape[-1], v.shape[-1], tuple(asked), call))
    _say(impl, info)
    return info


def _say(impl, info):
    if impl != info.impl:
        log.info("impl=%r is %s: %s", impl, *info)


def _run_kernel(kernel, q, k, v, pattern, scale, offset, block, extras, slot, info):
    """Call the kernel, and give the results the leading axes of q; keep the call ready, if it has a slot."""
    flat, layout, options = flatten(kernel, kernel.forward, q, k, v, pattern, scale, offset, block, extras)
    o, lse = kernel.forward(*flat, layout, **options)
    if slot is not None:
        slot.info, slot.call = info, _ready().ready(info.impl, *flat, layout, **options)
    return o.reshape(*q.shape[:-1], v.shape[-1]), lse.reshape(q.shape[:-1])


def _run_backward(kernel, do, q, k, v, pattern, scale, offset, extras, dlse, slot, info):
    """Run forward for o and lse, then the kernel's backward pass; keep both ready, if the call has a slot."""
    flat, layout, options = flatten(kernel, kernel.backward, q, k, v, pattern, scale, offset, None, extras)
    o, lse = kernel.forward(*flat, layout, **options)
    if isinstance(q, np.ndarray):
        do, dlse = np.asarray(do, o.dtype), None if dlse is None else np.asarray(dlse, lse.dtype)
    grads = kernel.backward(do, *flat, o, lse, layout, dlse=dlse, **options)
    if slot is not None:
        slot.info, slot.call = info, _ready().ready_gradients(info.impl, do, *flat, layout, dlse=dlse, **options)
    return tuple(g.reshape(x.shape) for g, x in zip(grads, (q, k, v), strict=True))


def _ready():
    return import_module("sparsevis.kernels._cuda_ready")
