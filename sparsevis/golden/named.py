"""The dialects of known interfaces by name, for functions written to them: check(fn, dialect="flash")."""

from sparsevis.golden.dialect import Dialect

__all__ = ["NAMED", "named"]

FLASH = {"window": "flash", "align": "bottom-right", "names": {"window": "window_size", "scale": "softmax_scale", "slopes": "alibi_slopes"}}
FLASH["also"] = {"return_attn_probs": True}

NAMED = {
    "sparsevis": Dialect(mask_axes=4),
    # flash_attn_func, of flash-attention 2 and 3; they differ in the lse of a query without keys
    "flash": Dialect(axes="bnhd", empty_lse=float("inf"), **FLASH),
    "flash-3": Dialect(axes="bnhd", **FLASH),
    # flash_attn_varlen_func: packed documents, cu_seqlens_q, cu_seqlens_k
    "flash-varlen": Dialect(axes="nhd", empty_lse=float("inf"), **FLASH),
    # single_prefill_with_kv_cache of FlashInfer
    "flashinfer": Dialect(
        axes="nhd", window="left", align="bottom-right", lse="base 2", also={"return_lse": True},
        names={"window": "window_left", "scale": "sm_scale", "softcap": "logits_soft_cap", "mask": "custom_mask"},
    ),
    # torch.nn.functional.scaled_dot_product_attention itself
    "sdpa": Dialect(
        axes="bhnd", align="top-left", mask_axes=4, arrays="torch", takes=("mask", "causal", "scale"), also={"enable_gqa": True},
        names={"mask": "attn_mask", "causal": "is_causal"},
    ),
    "jax": Dialect(axes="bnhd", align="top-left", mask_axes=4, arrays="jax", empty=None),
}  # fmt: skip


def named(name):
    """Return a dialect by its name.

    >>> named("flash").align
    'bottom-right'
    """
    if name not in NAMED:
        raise ValueError(f"no dialect is called {name!r}; there are {', '.join(NAMED)}, and Dialect(...) says any other")
    return NAMED[name]
