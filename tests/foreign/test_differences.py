"""What other libraries do differently is still so: a library that changes is noticed, and the page about it is true."""

import ast
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import sparsevis as sv

from . import with_jax, with_onnx
from .cases import CASES, SCORED
from .differences import DIFFERENCES
from .make_values import NEEDS, load

LOWER = np.tri(5, dtype=bool)


@pytest.mark.parametrize("row", DIFFERENCES, ids=lambda row: f"{row.library}: {row.what}"[:60])
def test_every_row_names_a_test(row):
    file, _, name = row.test.partition(".")
    tree = ast.parse(Path(__file__).with_name(f"{file}.py").read_text())
    assert name in {x.name for x in tree.body if isinstance(x, ast.FunctionDef)}


def poisoned(which, at, value=np.nan):
    """(q, k, v) of one batch entry with `value` in one row; key 4 is forbidden to all but the last query."""
    rng = np.random.default_rng(0)
    arrays = {x: rng.standard_normal((1, 2, 5, 8)).astype(np.float32) for x in "qkv"}
    arrays[which][:, :, at] = value
    return arrays


def rows_reached(o):
    """Which rows (of axes batch, head, row, d) are not finite."""
    return (~np.isfinite(np.asarray(o))).any((0, 1, 3)).tolist()


def ask_sdpa(arrays, backend="MATH", causal=False):
    torch = pytest.importorskip("torch")
    from torch.nn.attention import SDPBackend, sdpa_kernel

    mask = {"is_causal": True} if causal else {"attn_mask": torch.from_numpy(LOWER)}
    with sdpa_kernel(getattr(SDPBackend, backend)):
        return torch.nn.functional.scaled_dot_product_attention(*map(torch.from_numpy, arrays.values()), **mask)


def ask_flex(arrays):
    torch = pytest.importorskip("torch")
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "flex_attention called without torch.compile")
        block_mask = create_block_mask(lambda b, h, i, j: j <= i, None, None, 5, 5, device="cpu", BLOCK_SIZE=8)
        return flex_attention(*map(torch.from_numpy, arrays.values()), block_mask=block_mask)


def ask_jax(arrays):
    jax = pytest.importorskip("jax")
    q, k, v = (x.swapaxes(1, 2) for x in arrays.values())
    return np.asarray(jax.nn.dot_product_attention(q, k, v, mask=LOWER[None, None])).swapaxes(1, 2)


def ask_onnx(arrays, runner="onnx"):
    pytest.importorskip(runner)
    case = SimpleNamespace(inputs=[x[0] for x in arrays.values()], mask=np.broadcast_to(LOWER, (2, 5, 5)))
    return with_onnx.attention(runner, case, "float32")[None]


def ask_onnxruntime(arrays):
    pytest.importorskip("onnx")
    return ask_onnx(arrays, "onnxruntime")


ASK = {"sdpa": ask_sdpa, "flex": ask_flex, "jax": ask_jax, "onnx": ask_onnx, "onnxruntime": ask_onnxruntime}
EVERY, LAST = [True] * 5, [False] * 4 + [True]


@pytest.mark.parametrize("library", ASK)
def test_forbidden_nan_leaks(library):
    arrays = poisoned("v", 4)
    assert rows_reached(sv.reference.attention(**arrays, mask=LOWER)[0]) == LAST
    assert rows_reached(ASK[library](arrays)) == EVERY


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("library", ASK)
def test_forbidden_keys(library, value):
    arrays = poisoned("k", 4, value)
    assert rows_reached(sv.reference.attention(**arrays, mask=LOWER)[0]) == LAST
    assert rows_reached(ASK[library](arrays)) == (LAST if library in ("flex", "jax") else EVERY)


def test_sdpa_swallows_nan():
    arrays, third = poisoned("q", 2), [False, False, True, False, False]
    assert rows_reached(sv.reference.attention(**arrays, mask=LOWER)[0]) == third
    assert rows_reached(ask_sdpa(arrays, causal=True)) == third
    flash = ask_sdpa(arrays, "FLASH_ATTENTION", causal=True).numpy()
    assert rows_reached(flash) == [False] * 5
    assert not flash[:, :, 2].any()
    assert rows_reached(ask_sdpa(arrays, "FLASH_ATTENTION")) == third


def test_jax_rows_without_keys(jax_values):
    case = next(case for case in CASES if case.name == "every row empty")
    o, lse = jax_values["jax/every row empty/o"], jax_values["jax/every row empty/lse"]
    np.testing.assert_allclose(o, np.broadcast_to(case.inputs[2].mean(1, keepdims=True), o.shape), rtol=0, atol=1e-6)
    assert np.isfinite(lse).all()
    assert (lse < -1e38).all()
    ours, our_lse = sv.reference.attention(*case.inputs, case.mask)
    assert not ours.any()
    assert np.isneginf(our_lse).all()


def test_jax_lse_in_the_dtype_of_the_inputs():
    jax = pytest.importorskip("jax")
    x = jax.numpy.ones((1, 3, 1, 8), jax.numpy.bfloat16)
    assert jax.nn.dot_product_attention(x, x, x, return_residual=True)[1].dtype == jax.numpy.bfloat16


def test_jax_wants_one_head_dimension():
    pytest.importorskip("jax")
    case = next(case for case in CASES if case.name == "no pattern, v narrower")
    with pytest.raises(ValueError, match="value shape"):
        with_jax.attention(case)


@pytest.mark.parametrize("library", ["jax", "onnxruntime"])
def test_float64_that_is_float32(library):
    """Off by the rounding of float32, and far beyond that of float64."""
    case = CASES[0]
    if library == "jax":
        jax = pytest.importorskip("jax")
        with jax.enable_x64(True):
            o = with_jax.attention(case, "float64")[0]
    else:
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnx")
        o = with_onnx.attention("onnxruntime", case, "float64")
    assert o.dtype == np.float64
    off = np.abs(o - sv.reference.attention(*case.inputs)[0])
    assert (off > 1e4 * case.allowance("float64")[0]).any()
    assert (off <= case.allowance("float32")[0]).all()


def test_onnx_scale_is_float32(onnx_values):
    scored = next(scored for scored in SCORED if scored.name == "scale")
    off = np.abs(onnx_values["onnx scored/scale/o"] - sv.reference.attention(*scored.case.inputs, scored.case.mask, scale=scored.scale)[0])
    assert (off > 1e4 * scored.allowance("float64")[0]).any()
    assert (off <= scored.allowance("float32")[0]).all()


def test_the_page_is_what_the_rows_say():
    page = (Path(__file__).parents[2] / "docs" / "golden-oracles.md").read_text(encoding="utf-8")
    for row in DIFFERENCES:
        assert f"| {row.library} | {row.what} | {row.cause} | `{row.test}` |" in page
    for package, release in load()[1].items():
        assert package not in NEEDS or f"| {release} |" in page
