"""The attention of other libraries as functions to check, and their gradients as backward passes.

    check(adapters.sdpa); check(adapters.flex); check(adapters.jax_attention)
    check(mine, backward=autograd(mine), arrays="torch")
"""

import inspect
import warnings

from sparsevis.golden.dialect import Dialect
from sparsevis.golden.named import NAMED

__all__ = ["adapter", "autograd", "flex", "jax_attention", "sdpa"]


def adapter(dialect):
    """Declare a function's dialect where it is written, so that `check(fn)` needs no more.

    >>> from sparsevis.golden import Dialect
    >>> @adapter(Dialect(axes="nhd"))
    ... def mine(q, k, v): ...
    >>> mine.dialect.axes
    'nhd'
    """

    def declare(fn):
        fn.dialect = dialect
        return fn

    return declare


# ---------------------------------------------------------------- gradients


def autograd(fn, lse=False):
    """Return backward(do, q, k, v, ...): the gradients that PyTorch or JAX takes through `fn`, whichever the arrays belong to.

    With `lse=True`, for functions that return (o, lse), the gradient of the lse is asked for as well.
    """

    def backward(do, q, k, v, *, dlse=None, **said):
        if hasattr(q, "detach"):
            return _through_torch(fn, do, dlse, q, k, v, said)
        import jax

        out, pull = jax.vjp(lambda q, k, v: _results(fn(q, k, v, **said), dlse), q, k, v)
        return pull(tuple(x.astype(y.dtype) for x, y in zip((do, dlse), out, strict=False)))

    return _signed(backward, fn, lse)


def _results(out, dlse):
    """(o,) or (o, lse), as the cotangents go."""
    out = out if isinstance(out, tuple | list) else (out,)
    return tuple(out[: 1 if dlse is None else 2])


def _through_torch(fn, do, dlse, q, k, v, said):
    import torch

    q, k, v = (x.detach().requires_grad_() for x in (q, k, v))
    out = _results(fn(q, k, v, **said), dlse)
    if out[0].grad_fn is None:  # nothing of the output hangs on the inputs: no key at all
        return tuple(map(torch.zeros_like, (q, k, v)))
    found = torch.autograd.grad(out, (q, k, v), [x.to(y.dtype) for x, y in zip((do, dlse), out, strict=False)], allow_unused=True)
    return tuple(torch.zeros_like(x) if g is None else g for x, g in zip((q, k, v), found, strict=True))


def _has_signature(fn):
    try:
        return bool(inspect.signature(fn))
    except (TypeError, ValueError):
        return False


def _signed(backward, fn, lse):
    """`backward` with the parameters of `fn` after do."""
    given = list(inspect.signature(fn).parameters.values()) if _has_signature(fn) else []
    kinds = inspect.Parameter
    more = [kinds("dlse", kinds.KEYWORD_ONLY)] if lse else []
    plain = [p for p in given if p.kind is not kinds.VAR_KEYWORD]
    backward.__signature__ = inspect.Signature([kinds("do", kinds.POSITIONAL_OR_KEYWORD), *plain, *more])
    return backward


# ---------------------------------------------------------------- their attention


@adapter(Dialect(axes="bhnd", align="top-left", mask_axes=4, arrays="torch"))
def sdpa(q, k, v, *, mask=None, causal=False, scale=None, bias=None):
    """PyTorch's scaled_dot_product_attention; a bias is an additive mask."""
    import torch

    shape = {"scale": scale, "enable_gqa": q.shape[1] != k.shape[1]}
    if bias is not None:
        allowed = torch.ones(bias.shape[-2:], dtype=torch.bool) if mask is None else mask
        allowed = allowed.tril() if causal else allowed
        mask, causal = bias.masked_fill(~allowed, -torch.inf), False
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, **shape)


@adapter(Dialect(axes="bhnd", mask_axes=4, arrays="torch"))
def flex(q, k, v, *, mask=None, scale=None, softcap=None, bias=None):
    """PyTorch's FlexAttention, uncompiled; its mask_mod reads the mask, its score_mod does softcap and bias."""
    import torch
    from torch.nn.attention import flex_attention as module

    batch, heads, nq = q.shape[:3]

    def score_mod(score, b, h, i, j):
        score = score if softcap is None else softcap * torch.tanh(score / softcap)
        return score if bias is None else score + bias[h, i, j]

    options = {"scale": scale, "enable_gqa": heads != k.shape[1]}
    options |= {"score_mod": score_mod} if softcap is not None or bias is not None else {}
    if mask is not None:
        every = mask.expand(batch, heads, *mask.shape[-2:])
        mask_mod = lambda b, h, i, j: every[b, h, i, j]  # noqa: E731
        options["block_mask"] = module.create_block_mask(mask_mod, batch, heads, nq, k.shape[2], device=q.device, BLOCK_SIZE=16)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "flex_attention called without torch.compile")
        o, aux = module.flex_attention(q, k, v, **options, return_aux=module.AuxRequest(lse=True))
    return o, aux.lse


@adapter(NAMED["jax"])
def jax_attention(q, k, v, *, mask=None, causal=False, window=None, scale=None, bias=None, kv_lengths=None):
    """JAX's dot_product_attention; it leaves open what a query without keys gets."""
    import jax

    if q.shape[-1] != v.shape[-1]:
        raise NotImplementedError("values of another dimension than keys")
    mask = mask if mask is None or mask.ndim == 4 else mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    given = {"bias": None if bias is None else bias[None], "mask": mask, "scale": scale, "is_causal": causal}
    sides = None if window in (None, (None, None)) else tuple(max(q.shape[1], k.shape[1]) if x is None else x for x in window)
    return jax.nn.dot_product_attention(q, k, v, **given, local_window_size=sides, key_value_seq_lengths=kv_lengths)
