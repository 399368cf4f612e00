"""Dialects and exports against the libraries themselves, where they are installed: PyTorch, transformers, JAX and its Splash masks,
xformers, ONNX.

Masks of functions that only return an output are read off it: with equal scores and v the identity, row q holds a share for each key.
"""

import numpy as np
import pytest

import sparsevis as sv
from sparsevis.dialects import DIALECTS, block_mask, flex_mask_mod, splash_mask

from .calls import over
from .cases import CASES

PATTERNS = [case for case in CASES if case.pattern() is not None]


def length(case):
    """(nq, nk, offset) of a case."""
    return case.shape[2], case.shape[3], case.shift


# --- PyTorch -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flex():
    pytest.importorskip("torch", reason='torch is not installed: pip install "sparsevis[parity]"')
    from torch.nn.attention import flex_attention

    return flex_attention


def exported(case):
    """The mask_mod that the exported source defines, its tables as tensors."""
    import torch

    out, names = flex_mask_mod(case.pattern(), *length(case)), {}
    exec(out.source, names)
    return names["make_mask_mod"](**{k: torch.from_numpy(v) for k, v in out.tables.items()}) if out.tables else names["mask_mod"]


@over(PATTERNS)
def test_exported_mask_mod(case, flex):
    heads, _, nq, nk, _, _ = case.shape
    mask = flex.create_mask(exported(case), None, heads, nq, nk, device="cpu")[0].numpy()
    np.testing.assert_array_equal(mask, case.mask)


@pytest.mark.parametrize("block", [4, (3, 5)])
@over(PATTERNS)
def test_exported_block_mask(case, block, flex):
    """Number for number what create_block_mask computes from a dense mask, the unused tail of the lists included."""
    import torch

    nq, nk, shift = length(case)
    pattern = case.pattern()
    heads = len(pattern) if isinstance(pattern, sv.PerHead) else 1
    ours = block_mask(pattern, nq, nk, block=block, offset=shift)
    theirs = flex.create_block_mask(exported(case), None, heads, nq, nk, device="cpu", BLOCK_SIZE=block)
    for name, values in ours.items():
        np.testing.assert_array_equal(values, getattr(theirs, name).numpy(), err_msg=name)
    tensors = {name: torch.from_numpy(values) for name, values in ours.items()}
    made = flex.BlockMask.from_kv_blocks(**tensors, BLOCK_SIZE=block, mask_mod=exported(case), seq_lengths=(nq, nk))
    assert made.shape == (1, heads, nq, nk)
    assert torch.equal(made.to_dense(), theirs.to_dense())


def test_sdpa_arguments(flex):
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    window = sv.SlidingWindow(1, 2)
    for pattern, nq, nk, offset in [(sv.Causal(), 4, 7, 0), (sv.Causal(), 4, 7, 3), (sv.Dense(), 4, 7, 3), (window, 7, 4, 0)]:
        words = DIALECTS["torch-sdpa"].arguments(pattern, nq, nk, offset)
        words = {name: torch.from_numpy(x) if isinstance(x, np.ndarray) else x for name, x in words.items()}
        o = scaled_dot_product_attention(torch.zeros(1, nq, 4), torch.zeros(1, nk, 4), torch.eye(nk)[None], **words)[0].numpy()
        np.testing.assert_array_equal(o > 0, pattern.mask(nq, nk, offset))


# --- transformers --------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def masking():
    for name in ("torch", "transformers"):
        pytest.importorskip(name, reason=f'{name} is not installed: pip install "sparsevis[parity]"')
    from transformers import masking_utils

    return masking_utils


@pytest.mark.parametrize("window", [1, 2, 5])
@pytest.mark.parametrize(("name", "function"), [
    ("huggingface", "sliding_window_causal_mask_function"), ("huggingface-two-sided", "sliding_window_bidirectional_mask_function"),
])  # fmt: skip
def test_huggingface_windows(name, function, window, masking):
    import torch

    i = torch.arange(11)
    theirs = getattr(masking, function)(window)(0, 0, i[:, None], i[None]).numpy()
    np.testing.assert_array_equal(DIALECTS[name].mask(11, sliding_window=window), theirs)


@pytest.mark.parametrize("chunk", [1, 3, 20])
def test_huggingface_chunks(chunk, masking):
    import torch

    i = torch.arange(11)
    theirs = masking.chunked_causal_mask_function(chunk, torch.zeros(1, dtype=torch.int64))(0, 0, i[:, None], i[None]).numpy()
    np.testing.assert_array_equal(DIALECTS["huggingface-chunked"].mask(11, attention_chunk_size=chunk), theirs)


# --- JAX -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("nq", "nk"), [(6, 6), (4, 9)])
@pytest.mark.parametrize("words", [
    {}, {"is_causal": True}, {"local_window_size": 2}, {"local_window_size": (1, 3)}, {"local_window_size": (2, 3), "is_causal": True},
])  # fmt: skip
def test_jax(words, nq, nk):
    jax = pytest.importorskip("jax", reason="jax is not installed: pip install jax")
    q, k, v = np.zeros((1, nq, 1, nk), np.float32), np.zeros((1, nk, 1, nk), np.float32), np.eye(nk, dtype=np.float32)[None, :, None]
    o = np.asarray(jax.nn.dot_product_attention(q, k, v, **words))[0, :, 0]
    ours = DIALECTS["jax"].mask(nq, nk, **words)
    assert ours.any(1).all()  # JAX gives the mean of all v to rows without keys
    np.testing.assert_array_equal(o > 0, ours)


@pytest.mark.parametrize(("nq", "nk", "words"), [
    (6, 6, {"window_size": (2, 0), "offset": 0}), (4, 9, {"window_size": (2, 1), "offset": 5}),
    (9, 4, {"window_size": (None, 1), "offset": -2}),
    (4, 9, {"window_size": (3, None), "offset": 1}), (8, 8, {"chunk_size": 3}), (4, 9, {"chunk_size": 2}),
])  # fmt: skip
def test_splash(nq, nk, words):
    pytest.importorskip("jax", reason="jax is not installed: pip install jax")
    masks = pytest.importorskip("jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask")
    kind = masks.ChunkedCausalMask if "chunk_size" in words else masks.LocalMask
    np.testing.assert_array_equal(DIALECTS["jax-splash"].mask(nq, nk, **words), kind((nq, nk), **words)[:, :])
    call = DIALECTS["jax-splash"].code(DIALECTS["jax-splash"].pattern(**words), nq, nk, words.get("offset", 0))
    assert call.startswith(kind.__name__)


@over(PATTERNS)
def test_exported_splash_mask(case):
    """As Splash asks for it: whole, and block by block."""
    pytest.importorskip("jax", reason="jax is not installed: pip install jax")
    out, names = splash_mask(case.pattern(), *length(case), heads=case.shape[0]), {}
    exec(out.source, names)
    mask = names["splash_mask"](**out.tables)
    every = np.broadcast_to(case.mask, (len(mask.masks), *case.mask.shape[-2:]))
    np.testing.assert_array_equal(mask[:, :, :], every)
    np.testing.assert_array_equal(mask[0, 1:4, 2:], every[0, 1:4, 2:])
    one = mask.masks[0] & mask.masks[-1]
    np.testing.assert_array_equal(one[:, :3], (every[0] & every[-1])[:, :3])
    assert len(set(mask.masks)) == (len(mask.masks) if isinstance(case.pattern(), sv.PerHead) else 1)
    names["check"](**out.tables)


# --- xformers --------------------------------------------------------------------------------------------------------------------------

LOWER_BR, LOCAL_BR = "LowerTriangularFromBottomRightMask", "LocalAttentionFromBottomRightMask"


@pytest.mark.parametrize(("shape", "words"), [
    *((shape, words) for shape in [(6, 6), (4, 9), (9, 4)] for words in [
        {"attn_bias": "LowerTriangularMask"},
        {"attn_bias": LOWER_BR},
        {"attn_bias": LOWER_BR, "window_size": 3},
        {"attn_bias": LOCAL_BR, "window_left": 1, "window_right": 2},
    ]),
    *(((7, 7), {"attn_bias": kind, "q_seqlen": [2, 5], **window})
      for kind in ("BlockDiagonalMask", "BlockDiagonalCausalMask") for window in ({}, {"window_size": 3})),
])  # fmt: skip
def test_xformers(shape, words):
    """The masks that the very text of the call makes."""
    pytest.importorskip("xformers", reason="xformers is not installed: pip install xformers")
    from xformers.ops.fmha import attn_bias

    made = DIALECTS["xformers"].call(**words).partition("attn_bias=")[2].removesuffix(")")
    theirs = eval(made, vars(attn_bias)).materialize(shape) == 0
    np.testing.assert_array_equal(DIALECTS["xformers"].mask(*shape, **words), theirs.numpy())


# --- ONNX --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("nq", "nk", "words"), [
    (6, 6, {"is_causal": 1}),
    (4, 9, {"is_causal": 1}),
    (9, 4, {"is_causal": 1}),
    (4, 9, {"is_causal": 1, "past_sequence_length": 5}),
    (6, 6, {"left_window_size": 2, "right_window_size": 1}),
    (4, 9, {"left_window_size": 2, "is_causal": 1, "past_sequence_length": 5}),
    (4, 9, {"left_window_size": 2, "right_window_size": 0}),
])  # fmt: skip
def test_onnx(nq, nk, words):
    """The operator as its reference evaluator runs it; a past is given as past_key and past_value."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install onnx")
    from onnx import helper, reference

    version = onnx.defs.get_schema("Attention").since_version
    if version < 25:
        pytest.skip(f"onnx {onnx.__version__} has Attention-{version}, without windows")
    attributes, past = dict(words), words.get("past_sequence_length", 0)
    attributes.pop("past_sequence_length", None)
    k, v = np.zeros((1, 1, nk, nk), np.float32), np.eye(nk, dtype=np.float32)[None, None]
    feeds = {"q": np.zeros((1, 1, nq, nk), np.float32), "k": k[:, :, past:], "v": v[:, :, past:]}
    feeds |= {"past_key": k[:, :, :past], "past_value": v[:, :, :past]} if past else {}
    names = [*list(feeds)[:3], "", *list(feeds)[3:]] if past else list(feeds)
    value = lambda name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
    node = helper.make_node("Attention", names, ["o", "keys", "values"] if past else ["o"], **attributes)
    graph = helper.make_graph([node], "attention", [value(name) for name in feeds], [value("o")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
    o = reference.ReferenceEvaluator(model).run(None, feeds)[0][0, 0]
    np.testing.assert_array_equal(o > 0, DIALECTS["onnx"].mask(nq, nk, **words))
