"""The committed values are what the libraries compute, and say by which release they were computed."""

import numpy as np

from .cases import CASES, SCORED
from .layers import BIGBIRDS, LONGFORMERS
from .make_values import load
from .rounding import assert_within

ORIGIN = {
    "longformer": LONGFORMERS,
    "bigbird": BIGBIRDS,
    **dict.fromkeys(["sinks", "sdpa scored", "flex scored"], SCORED),
    **dict.fromkeys(["jax scored", "onnx scored", "onnxruntime scored"], SCORED),
    **dict.fromkeys(["jax", "onnx", "onnxruntime", "onnx past", "onnxruntime past"], CASES),
    **dict.fromkeys(["sdpa float64", "sdpa float32", "flex float64", "flex float32"], CASES),
}
DTYPE = {"jax": "float32", "onnx": "float64", "onnxruntime": "float32"}


def test_committed_values_are_what_the_library_computes(fresh):
    """Within the rounding of the precision it ran in: another processor or release may sum in another order."""
    committed = load()[0]
    for name, value in fresh.items():
        if name.endswith(("/o", "/lse")):
            kind, case, part = name.split("/")
            live = rows_with_keys(kind, case) if kind.startswith("jax") else ...  # JAX has the mean of all values in the others
            assert_within(value[live], committed[name][live], allowance(kind, case, part)[live])
        else:
            np.testing.assert_array_equal(value, committed[name], err_msg=name)


def rows_with_keys(kind, name):
    case = next(case for case in ORIGIN[kind] if case.name == name)
    return getattr(case, "case", case).mask.any(-1)


def allowance(kind, name, part):
    case = next(case for case in ORIGIN[kind] if case.name == name)
    if kind == "longformer":
        return case.allowance("float32", "float32")
    if kind == "bigbird":
        return case.allowance(load()[0][f"bigbird/{name}/tiles"])
    dtype = DTYPE.get(kind.split()[0]) or (kind.split()[1] if ORIGIN[kind] is CASES else "float64")
    return dict(zip(("o", "lse"), case.allowance(dtype, dtype), strict=True))[part]


def test_origin_is_recorded():
    origin = load()[1]
    assert origin["torch"].startswith("2.13.0")
    assert origin["transformers"] == "5.23.0"
    assert origin["jax"] == "0.10.2"
    assert (origin["onnx"], origin["onnxruntime"]) == ("1.23.2", "1.32.0")
    assert origin.keys() >= {"numpy", "python", "machine", "seeds"}
