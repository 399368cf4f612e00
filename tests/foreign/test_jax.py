"""sparsevis against jax.nn.dot_product_attention, committed and live; rows without keys differ (see differences.py) and are left out."""

import numpy as np
import pytest

from .calls import IMPLS, attention, over, scored_attention
from .cases import CASES, SCORED
from .rounding import assert_within


def assert_live_rows(case, got, values, name, errors):
    live = case.mask.any(-1)
    for x, part, err in zip(got, ("o", "lse"), errors, strict=True):
        theirs = values[f"{name}/{part}"]
        assert theirs.dtype == np.float32
        assert_within(x[live], theirs[live], err[live])


@pytest.mark.parametrize("impl", IMPLS)
@over([case for case in CASES if case.shape[4] == case.shape[5]])
def test_attention(case, impl, jax_values):
    assert_live_rows(case, attention(case, impl), jax_values, f"jax/{case.name}", case.allowance("float32", "float64"))


@pytest.mark.parametrize("impl", IMPLS)
@over([case for case in SCORED if case.sinks is None and case.softcap is None])
def test_scores(case, impl, jax_values):
    got = scored_attention(case, impl)
    assert_live_rows(case.case, got, jax_values, f"jax scored/{case.name}", case.allowance("float32", "float64"))
