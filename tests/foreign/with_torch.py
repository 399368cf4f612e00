"""What PyTorch computes: scaled_dot_product_attention and FlexAttention, uncompiled, on the processor."""

import warnings

import numpy as np

from .cases import CASES, SCORED

__all__ = ["SINGLE", "compute"]

SINGLE = ("causal bottom-right tall", "window and global", "documents causal", "grouped heads")  # also in float32


def compute():
    """Outputs of scaled_dot_product_attention; outputs, natural lse and masks of FlexAttention."""
    values = {}
    with warnings.catch_warnings():
        # torch: says that lower_right gives NaN for nq > nk, and gives 0; FlexAttention says that it is not compiled
        warnings.filterwarnings("ignore", "Lower right causal bias|flex_attention called without torch.compile")
        for case in CASES:
            for dtype in ("float64", "float32") if case.name in SINGLE else ("float64",):
                values[f"sdpa {dtype}/{case.name}/o"] = sdpa(case, dtype)
                o, lse, mask = flex(case, dtype)
                values[f"flex {dtype}/{case.name}/o"], values[f"flex {dtype}/{case.name}/lse"] = o, lse
            values[f"flex mask/{case.name}"] = mask
        for case in SCORED:
            if case.sinks is None:
                values[f"flex scored/{case.name}/o"], values[f"flex scored/{case.name}/lse"], _ = flex(case.case, "float64", case)
                if case.softcap is None:
                    values[f"sdpa scored/{case.name}/o"] = sdpa(case.case, "float64", case)
    return values


def tensors(case, dtype):
    import torch

    return [torch.from_numpy(x.astype(dtype))[None] for x in case.inputs]


def sdpa(case, dtype, scored=None):
    import torch
    from torch.nn.attention.bias import causal_lower_right
    from torch.nn.functional import scaled_dot_product_attention

    q, k, v = tensors(case, dtype)
    heads, kv, nq, nk, _, _ = case.shape
    options = {"enable_gqa": heads != kv, "scale": scored.scale if scored else None}
    if case.native == "is_causal":
        options["is_causal"] = True
    elif case.native == "lower_right":
        options["attn_mask"] = causal_lower_right(nq, nk)
    elif scored and scored.bias is not None:
        options["attn_mask"] = torch.from_numpy(np.where(case.mask, scored.bias, -np.inf))[None]
    else:
        options["attn_mask"] = torch.from_numpy(case.mask[None].copy())
    return scaled_dot_product_attention(q, k, v, **options)[0].numpy()


def flex(case, dtype, scored=None):
    import torch
    from torch.nn.attention import flex_attention as module

    def mask_mod(b, h, q, k):
        return case.rule(h, q + case.shift, k)

    def score_mod(score, b, h, q, k):
        if scored.softcap is not None:
            score = scored.softcap * torch.tanh(score / scored.softcap)
        return score if scored.slopes is None else score + slopes[h] * (k - (q + case.shift))

    q, k, v = tensors(case, dtype)
    heads, kv, nq, nk, _, _ = case.shape
    shape = (None, heads, nq, nk)
    options = {"block_mask": module.create_block_mask(mask_mod, *shape, device="cpu", BLOCK_SIZE=8), "enable_gqa": heads != kv}
    if scored:
        slopes = torch.tensor(scored.slopes or [0.0], dtype=q.dtype)
        options |= {"score_mod": score_mod, "scale": scored.scale}
    if hasattr(module, "AuxRequest"):
        o, aux = module.flex_attention(q, k, v, **options, return_aux=module.AuxRequest(lse=True))
        lse = aux.lse
    else:  # the older way to ask
        o, lse = module.flex_attention(q, k, v, **options, return_lse=True)
    mask = module.create_mask(mask_mod, *shape, device="cpu")
    assert o.dtype == lse.dtype == getattr(torch, dtype)
    return o[0].numpy(), lse[0].numpy(), mask[0].numpy()
