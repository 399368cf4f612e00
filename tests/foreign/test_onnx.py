"""sparsevis against the ONNX operator Attention: the standard's reference in float64, onnxruntime in float32; committed and live."""

import pytest

from .calls import IMPLS, attention, over, scored_attention
from .cases import CASES, SCORED
from .rounding import assert_within
from .with_onnx import PAST

RUNNERS = pytest.mark.parametrize(("runner", "dtype"), [("onnx", "float64"), ("onnxruntime", "float32")])


@RUNNERS
@pytest.mark.parametrize("impl", IMPLS)
@over(CASES)
def test_attention(case, impl, runner, dtype, onnx_values):
    o, _ = attention(case, impl)
    assert_within(o, onnx_values[f"{runner}/{case.name}/o"], case.allowance("float64", dtype)[0])


@RUNNERS
@over([case for case in CASES if case.name in PAST])
def test_past_keys_shift_the_queries(case, runner, dtype, onnx_values):
    """Keys that come as a cache stand before: the queries' positions start after them."""
    o, _ = attention(case, "reference")
    assert_within(o, onnx_values[f"{runner} past/{case.name}/o"], case.allowance("float64", dtype)[0])


@RUNNERS
@pytest.mark.parametrize("impl", IMPLS)
@over([case for case in SCORED if case.sinks is None])
def test_scores(case, impl, runner, dtype, onnx_values):
    """Scale, softcap, then the additive mask; the scale is a float32 attribute."""
    o, _ = scored_attention(case, impl)
    dtype = dtype if case.scale is None else "float32"
    assert_within(o, onnx_values[f"{runner} scored/{case.name}/o"], case.allowance("float64", dtype)[0])
