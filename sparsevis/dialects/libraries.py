"""Libraries that say a window by its two sides, with causality and alignment beside it.

    flash-attn        window_size=(l, r), both ends in; -1 is unbounded; causal sets r = 0; bottom-right
    flash-attn-4      the same with None; -1 is a literal band there, and masks everything
    flashinfer        window_left, both ends in; -1 is unbounded; bottom-right
    jax               local_window_size=(l, r), an int is both sides; top-left
    cudnn             a left bound of l + 1
    onnx              left_window_size, right_window_size; -1 is unbounded; the past moves the queries
    xformers          window_size with the query; the class says the alignment
"""

from operator import index

import numpy as np

from sparsevis.dialects.dialect import Code, Dialect, filled
from sparsevis.dialects.rule import Unsayable, band_pattern
from sparsevis.patterns import Causal, Chosen, Chunked, Dense, Documents

__all__ = ["LIBRARIES"]


def _side(value, unbounded):
    """A side as the library writes it -> ours."""
    return None if value is None or (unbounded == -1 and value < 0) else index(value)


def _sides(left, right, causal, unbounded=-1):
    return band_pattern(_side(left, unbounded), 0 if causal else _side(right, unbounded))


# --- flash-attention ------------------------------------------------------------------------------------------------------------


def _read_flash(unbounded, chunks=False):
    def reads(causal=False, window_size=(unbounded, unbounded), cu_seqlens_q=None, cu_seqlens_k=None, attention_chunk=0):
        if attention_chunk and not chunks:
            raise ValueError("attention_chunk is an argument of flash-attention 3 only")
        if unbounded is None and any(side is not None and side < 0 for side in window_size):
            raise ValueError(f"window_size={window_size}: here -1 is a literal band, which masks everything; None is unbounded")
        pattern = _sides(*window_size, causal, unbounded)
        pattern = pattern & Chunked(attention_chunk) if attention_chunk else pattern
        if cu_seqlens_q is None and cu_seqlens_k is None:
            return pattern
        if not np.array_equal(cu_seqlens_q, cu_seqlens_k):
            raise ValueError("cu_seqlens_q and cu_seqlens_k differ: packed documents have as many queries as keys here")
        return pattern & Documents(np.diff(cu_seqlens_q))

    return reads


def _write_flash(unbounded, chunks=False):
    def writes(rule, place):
        documents, rule = rule.split(Documents)
        chunk, rule = rule.split(Chunked) if chunks else (None, rule)
        left, right = rule.band()
        said = {"causal": True} if right == 0 else {}
        if left is not None or right not in (None, 0):
            said["window_size"] = tuple(unbounded if side is None else side for side in (left, right))
        if chunk is not None:
            said["attention_chunk"] = chunk.size
        if documents is not None:
            place.packed()
            ends = [0, *np.cumsum(documents.lengths).tolist()]
            said |= {"cu_seqlens_q": ends, "cu_seqlens_k": ends}
        return said

    return writes


def _call_flash(cu_seqlens_q=None, cu_seqlens_k=None, **said):
    if cu_seqlens_q is None:
        return filled("flash_attn_func(q, k, v, {})", said)
    most = int(np.max(np.diff(cu_seqlens_q)))
    ends = Code(f"torch.tensor({list(cu_seqlens_q)}, dtype=torch.int32)")
    said = {"cu_seqlens_q": ends, "cu_seqlens_k": ends, "max_seqlen_q": most, "max_seqlen_k": most} | said
    return filled("flash_attn_varlen_func(q, k, v, {})", said)


def _write_causal_only(rule, place):
    left, right = rule.band()
    if left is not None or right not in (None, 0):
        raise Unsayable(f"it has no windows, and this is (left={left}, right={right})")
    return {"causal": True} if right == 0 else {}


# --- FlashInfer, ONNX, cuDNN ------------------------------------------------------------------------------------------------------


def _write_flashinfer(rule, place):
    left, right = rule.band()
    if right not in (None, 0):
        raise Unsayable(f"it bounds the left side only, and here right={right}")
    return ({"causal": True} if right == 0 else {}) | ({} if left is None else {"window_left": left})


def _read_onnx(is_causal=0, left_window_size=-1, right_window_size=-1, past_sequence_length=0):
    if min(left_window_size, right_window_size) < -1:
        raise ValueError(f"window sizes are {left_window_size} and {right_window_size}, and below -1 the operator refuses them")
    return _sides(left_window_size, right_window_size, is_causal)


def _write_onnx(rule, place):
    left, right = rule.band()
    if place.offset not in (0, place.bottom_right) or place.offset < 0:
        raise Unsayable(f"query 0 stands at 0, or with a cache after the past at nk - nq = {place.bottom_right}; here at {place.offset}")
    said = {"is_causal": 1} if right == 0 else {} if right is None else {"right_window_size": right}
    said |= {} if left is None else {"left_window_size": left}
    return said | ({"past_sequence_length": place.offset} if place.offset else {})


def _call_onnx(past_sequence_length=0, **said):
    text = filled("Attention(Q, K, V, {})", said)
    return text if not past_sequence_length else text + f"  # the first {past_sequence_length} keys as past_key, past_value"


def _read_cudnn(diagonal_band_left_bound=None, diagonal_band_right_bound=None, diagonal_alignment="TOP_LEFT"):
    left = None if diagonal_band_left_bound is None else index(diagonal_band_left_bound) - 1
    return band_pattern(left, diagonal_band_right_bound)


def _align_cudnn(diagonal_alignment="TOP_LEFT", **_):
    return {"TOP_LEFT": "top-left", "BOTTOM_RIGHT": "bottom-right"}[diagonal_alignment]


def _write_cudnn(rule, place):
    left, right = rule.band()
    if place.offset not in (0, place.bottom_right):
        raise Unsayable(f"query 0 stands at 0 or at nk - nq = {place.bottom_right}, and here at {place.offset}")
    said = {} if left is None else {"diagonal_band_left_bound": left + 1}
    said |= {} if right is None else {"diagonal_band_right_bound": right}
    return said | ({"diagonal_alignment": "BOTTOM_RIGHT"} if place.offset else {})


def _call_cudnn(diagonal_alignment=None, **said):
    said |= {"diagonal_alignment": Code(f"cudnn.diagonal_alignment.{diagonal_alignment}")} if diagonal_alignment else {}
    return filled("graph.sdpa(q, k, v, {})", said)


# --- JAX ----------------------------------------------------------------------------------------------------------------------------


def _read_jax(is_causal=False, local_window_size=None):
    if local_window_size is None:
        return _sides(None, None, is_causal)
    sides = local_window_size if isinstance(local_window_size, tuple | list) else (local_window_size, local_window_size)
    return _sides(*sides, is_causal, unbounded=None)


def _write_jax(rule, place):
    left, right = rule.band()
    said = {"is_causal": True} if right == 0 else {}
    if left is None and right in (None, 0):
        return said
    if None in (left, right):
        raise Unsayable(f"both sides of its window are numbers, and here they are (left={left}, right={right}); bound the other side too")
    return said | {"local_window_size": (left, right)}


def _read_splash(window_size=(None, None), offset=0, chunk_size=None):
    return Causal() & Chunked(chunk_size) if chunk_size else band_pattern(*window_size)


def _write_splash(rule, place):
    chunk, rest = rule.split(Chunked)
    if chunk is not None and rest.band() == (None, 0) and place.offset == 0:
        return {"chunk_size": chunk.size}
    return {"window_size": rule.band(), "offset": place.offset}


def _call_splash(chunk_size=None, **said):
    return filled("ChunkedCausalMask((nq, nk), {})", {"chunk_size": chunk_size}) if chunk_size else filled("LocalMask((nq, nk), {})", said)


# --- PyTorch ------------------------------------------------------------------------------------------------------------------------


def _read_sdpa(is_causal=False, attn_mask=None):
    if is_causal and attn_mask is not None:
        raise ValueError("is_causal=True and attn_mask exclude each other")
    return (Causal() if is_causal else Dense()) if attn_mask is None else Chosen.from_mask(attn_mask)


def _align_sdpa(is_causal=False, attn_mask=None):
    return "top-left"


def _write_sdpa(rule, place):
    if rule.everything:
        return {}
    if not rule.rest and (rule.left, rule.right) == (None, 0) and place.offset == 0:
        return {"is_causal": True}
    if place.nq is None:
        raise Unsayable("it knows causality only; anything else is a dense mask, so say nq (and nk)")
    return {"attn_mask": rule.pattern.mask(place.nq, place.nk, offset=place.offset)}


def _call_sdpa(is_causal=False, attn_mask=None):
    if attn_mask is not None:
        return "scaled_dot_product_attention(q, k, v, attn_mask=torch.from_numpy(pattern.mask(nq, nk, offset)))"
    return f"scaled_dot_product_attention(q, k, v{', is_causal=True' if is_causal else ''})"


# --- xformers -----------------------------------------------------------------------------------------------------------------------

_LOWER, _LOWER_BR, _LOCAL_BR = "LowerTriangularMask", "LowerTriangularFromBottomRightMask", "LocalAttentionFromBottomRightMask"
_BLOCKS, _BLOCKS_CAUSAL = "BlockDiagonalMask", "BlockDiagonalCausalMask"


def _read_xformers(attn_bias=None, window_size=None, window_left=None, window_right=None, q_seqlen=None):
    if attn_bias not in (None, _LOWER, _LOWER_BR, _LOCAL_BR, _BLOCKS, _BLOCKS_CAUSAL):
        raise ValueError(f"attn_bias is {attn_bias!r}, and needs the name of a class: {_LOWER}, {_LOWER_BR}, {_LOCAL_BR}, {_BLOCKS} ...")
    if attn_bias == _LOCAL_BR:
        return band_pattern(window_left, window_right)
    left = None if window_size is None else index(window_size) - 1
    causal = attn_bias not in (None, _BLOCKS) or window_size is not None  # make_local_attention is causal, whatever it is called on
    pattern = band_pattern(left, 0 if causal else None)
    return pattern if q_seqlen is None else pattern & Documents(q_seqlen)


def _align_xformers(attn_bias=None, **_):
    return "square" if attn_bias in (_BLOCKS, _BLOCKS_CAUSAL) else "bottom-right" if "BottomRight" in (attn_bias or "") else "top-left"


def _write_xformers(rule, place):
    documents, rule = rule.split(Documents)
    left, right = rule.band()
    if documents is not None:
        place.packed()
        if right != 0 and (left, right) != (None, None):
            raise Unsayable(f"over documents it has causal windows only, not (left={left}, right={right})")
        said = {"attn_bias": _BLOCKS if right is None else _BLOCKS_CAUSAL, "q_seqlen": list(documents.lengths)}
    elif rule.everything:
        return {}
    elif (left, right) == (None, 0) and place.offset == 0:
        return {"attn_bias": _LOWER}
    elif place.offset != place.bottom_right:
        raise Unsayable(f"its windows stand bottom-right, at nk - nq = {place.bottom_right}, and here query 0 stands at {place.offset}")
    elif right == 0:
        said = {"attn_bias": _LOWER_BR}
    elif None in (left, right):
        raise Unsayable(f"both sides of a two-sided window are numbers, and here they are (left={left}, right={right})")
    else:
        return {"attn_bias": _LOCAL_BR, "window_left": left, "window_right": right}
    return said | ({} if left is None else {"window_size": left + 1})


def _call_xformers(attn_bias=None, window_size=None, q_seqlen=None, **sides):
    if attn_bias is None:
        return "memory_efficient_attention(q, k, v)"
    made = f"{attn_bias}.from_seqlens({q_seqlen})" if q_seqlen else filled(attn_bias + "({})", sides)
    made += "" if window_size is None else f".make_local_attention({window_size})"
    return f"memory_efficient_attention(q, k, v, attn_bias={made})"


def _write_chunk(rule, place):
    chunk, rest = rule.split(Chunked)
    if chunk is None or rest.band() != (None, 0):
        raise Unsayable("it is Causal() & Chunked(C), and nothing else")
    return {"attention_chunk_size": chunk.size}


_EMPTY_2 = "rows without keys: output 0, lse +inf in version 2, -inf in 3"

LIBRARIES = [
    Dialect("flash-attn", "2.1 and later, 3; read at 0251105a", "csrc/flash_attn/src/mask.h", "bottom-right", _read_flash(-1),
            _write_flash(-1), _call_flash, _EMPTY_2),
    Dialect("flash-attn-2.0", "2.0", "CHANGELOG of 2.1", "top-left",
            lambda causal=False: _sides(None, None, causal), _write_causal_only,
            "flash_attn_func(q, k, v, {})", "2.1 turned the alignment to bottom-right"),
    Dialect("flash-attn-3", "3; read at 0251105a", "hopper/mask.h", "bottom-right", _read_flash(-1, True), _write_flash(-1, True),
            _call_flash),
    Dialect("flash-attn-4", "4 (CuTe); read at 0251105a", "flash_attn/cute/mask.py", "bottom-right", _read_flash(None), _write_flash(None),
            _call_flash, "None is unbounded; -1 is a literal band, and masks everything",
            "mask_mod=, which then replaces causal and window"),
    Dialect("flashinfer", "fb28d724", "include/flashinfer/attention/variants.cuh", "bottom-right",
            lambda causal=False, window_left=-1: _sides(window_left, -1, causal), _write_flashinfer,
            "single_prefill_with_kv_cache(q, k, v, {})", "lse is in base 2", "custom_mask= (True takes part)"),
    Dialect("jax", "jax 0.10, read at cec06d11", "jax/_src/nn/functions.py", "top-left", _read_jax, _write_jax,
            "jax.nn.dot_product_attention(q, k, v, {})", "rows without keys give the mean of all v; axes are (batch, n, heads, d)",
            "mask= (True takes part)"),
    Dialect("jax-splash", "jax 0.10, read at cec06d11", "splash_attention_mask.py", lambda offset=0, **_: offset, _read_splash,
            _write_splash, _call_splash, "applies no scale; rows without keys are undefined", "NumpyMask(mask) (True takes part)"),
    Dialect("cudnn", "cudnn-frontend 1.x, as described in TransformerEngine PR 1212", "graph.sdpa", _align_cudnn, _read_cudnn, _write_cudnn,
            _call_cudnn, "the left bound counts the query"),
    Dialect("onnx", "Attention-25, onnx f754691", "docs/Operators.md", lambda past_sequence_length=0, **_: past_sequence_length, _read_onnx,
            _write_onnx, _call_onnx, "top-left without a cache, after the past with one", "attn_mask (True takes part)"),
    Dialect("xformers", "ca6d2aa", "xformers/ops/fmha/attn_bias.py", _align_xformers, _read_xformers, _write_xformers, _call_xformers,
            "window_size counts the query", "attn_bias= as a tensor of 0 and -inf"),
    Dialect("torch-sdpa", "torch 2.13.0", "torch.nn.functional.scaled_dot_product_attention", _align_sdpa, _read_sdpa, _write_sdpa,
            _call_sdpa, "is_causal is top-left; causal_lower_right(nq, nk) is bottom-right",
            "attn_mask= (True takes part)"),
    Dialect("huggingface-chunked", "transformers 5.23.0", "src/transformers/masking_utils.py::chunked_overlay", "any",
            lambda attention_chunk_size: Causal() & Chunked(attention_chunk_size), _write_chunk, "Llama4TextConfig({})",
            "with left padding p the chunks begin at p"),
]  # fmt: skip
