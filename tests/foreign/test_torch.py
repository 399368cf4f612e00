"""sparsevis against PyTorch's scaled_dot_product_attention and FlexAttention, committed and live.

Nothing is computed twice by the same hand: rules are written from the papers in cases.py, patterns come from sparsevis, results from
PyTorch, and the allowed distance from rounding.py.
"""

import numpy as np
import pytest

from .calls import IMPLS, attention, over, scored_attention
from .cases import CASES, SCORED
from .rounding import assert_within, attend
from .with_torch import SINGLE


def mask(case):
    """What sparsevis says is allowed, (heads, nq, nk)."""
    heads, _, nq, nk, _, _ = case.shape
    pattern = case.pattern()
    return np.broadcast_to(True if pattern is None else pattern.mask(nq, nk, offset=case.offset), (heads, nq, nk))


@over(CASES)
def test_pattern_is_the_rule(case):
    np.testing.assert_array_equal(mask(case), case.mask)


@over(CASES)
def test_flex_attention_sees_the_same_mask(case, torch_values):
    np.testing.assert_array_equal(mask(case), torch_values[f"flex mask/{case.name}"])


@pytest.mark.parametrize(("impl", "block"), [("reference", None), ("loops", 4), ("cpu", None), ("cpu", (8, 3))])
@over(CASES)
def test_attention(case, impl, block, torch_values):
    o, lse = attention(case, impl, block=block)
    err_o, err_lse = case.allowance("float64", "float64")
    assert_within(o, torch_values[f"sdpa float64/{case.name}/o"], err_o)
    assert_within(o, torch_values[f"flex float64/{case.name}/o"], err_o)
    assert_within(lse, torch_values[f"flex float64/{case.name}/lse"], err_lse)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("impl", IMPLS)
@over([case for case in CASES if case.name in SINGLE])
def test_single_precision(case, impl, dtype, torch_values):
    o, lse = attention(case, impl, dtype)
    err_o, err_lse = case.allowance(dtype, "float32")
    assert_within(o, torch_values[f"sdpa float32/{case.name}/o"], err_o)
    assert_within(o, torch_values[f"flex float32/{case.name}/o"], err_o)
    assert_within(lse, torch_values[f"flex float32/{case.name}/lse"], err_lse)


@pytest.mark.parametrize("impl", IMPLS)
@over([case for case in SCORED if case.sinks is None])
def test_scores(case, impl, torch_values):
    """Scale, then softcap, then bias, then mask."""
    o, lse = scored_attention(case, impl)
    err_o, err_lse = case.allowance("float64", "float64")
    assert_within(o, torch_values[f"flex scored/{case.name}/o"], err_o)
    assert_within(lse, torch_values[f"flex scored/{case.name}/lse"], err_lse)
    if case.softcap is None:
        assert_within(o, torch_values[f"sdpa scored/{case.name}/o"], err_o)


@over(CASES)
def test_one_wrong_key_would_be_seen(case):
    """Every entry of the mask counts: changing any one of them moves the output by more than 1000 times the allowance."""
    q, k, v = case.inputs
    err, _ = case.allowance("float64", "float64")
    right, largest = attend(q, k, v, case.mask)[0], err.max()
    for i, j in np.ndindex(case.mask.shape[1:]):
        wrong = case.mask.copy()
        wrong[:, i, j] ^= True
        moved = np.abs(attend(q, k, v, wrong)[0] - right)[:, i].max(-1)
        assert (moved > 1000 * largest).all(), f"query {i}, key {j}"
