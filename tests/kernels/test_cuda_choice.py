"""Which CUDA kernel is chosen, and why: decided from what kernels say they need, so no GPU is needed to ask."""

from importlib import import_module

import pytest

from sparsevis.kernels._cuda_needs import Needs

HOPPER, AMPERE, TURING, BLACKWELL = (9, 0), (8, 0), (7, 5), (12, 0)


@pytest.fixture(scope="module")
def first():
    pytest.importorskip("numba.cuda", reason="numba.cuda does not load here")
    return import_module("sparsevis.kernels.cuda")._first


@pytest.mark.parametrize(
    ("dtype", "d", "asked", "call", "capability", "name"),
    [
        ("bfloat16", 64, (), "forward", HOPPER, "cuda_wgmma"),
        ("float16", 128, ("softcap", "sinks"), "forward", HOPPER, "cuda_wgmma"),
        ("bfloat16", 64, (), "forward", AMPERE, "cuda_mma"),
        ("bfloat16", 64, (), "forward", BLACKWELL, "cuda_mma"),
        ("bfloat16", 64, (), "backward", HOPPER, "cuda_mma"),
        ("float32", 64, (), "forward", HOPPER, "cuda_tiled"),
        ("float64", 33, ("bias", "slopes", "key_mask"), "backward", TURING, "cuda_tiled"),
    ],
)
def test_first(first, dtype, d, asked, call, capability, name):
    found, why = first(dtype, d, d, asked, call, capability)
    assert found == name
    assert dtype in why
    assert str(d) in why


@pytest.mark.parametrize(
    ("dtype", "d", "asked", "capability", "reason"),
    [
        ("bfloat16", 64, ("bias",), HOPPER, "cuda_mma: it does not know bias"),
        ("float16", 64, (), TURING, "cuda_mma: it needs a GPU of compute capability 8.0 or newer, and this one has 7.5"),
        ("float16", 65, (), HOPPER, "multiples of 8, not 65 and 65: pad with zeros"),
        ("float16", 512, (), HOPPER, "head dimensions up to 256"),
    ],
)
def test_none_can(first, dtype, d, asked, capability, reason):
    with pytest.raises(NotImplementedError, match=reason) as error:
        first(dtype, d, d, asked, "forward", capability)
    assert "cuda_tiled: it computes float32 and float64" in str(error.value)
    assert "impl='cpu' can" in str(error.value)


def test_refusals_in_words():
    needs = Needs(("float16",), (9, 0), only=True, multiple=8, largest=256, features=("sinks",))
    assert needs.refusal("float16", 64, 64, ("sinks", "offset"), "forward", HOPPER) is None
    assert needs.refusal("float32", 64, 64, (), "forward", HOPPER) == "it computes float16, not float32"
    assert needs.refusal("float16", 64, 64, (), "forward", BLACKWELL) == "it needs a GPU of compute capability 9.0, and this one has 12.0"
    assert needs.refusal("float16", 64, 264, (), "forward", HOPPER) == "it takes head dimensions up to 256, not 64 and 264"
    assert needs.refusal("float16", 64, 64, (), "backward", HOPPER) == "it has no backward pass"
    assert needs.refusal("float16", 64, 64, ("slopes", "bias"), "forward", HOPPER) == "it does not know slopes, bias"
