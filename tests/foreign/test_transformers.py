"""sparsevis against transformers: masks, attention with sinks, and the layers of Longformer and BigBird, committed and live."""

import numpy as np
import pytest

import sparsevis as sv
from sparsevis.patterns.random import published_plan

from .calls import IMPLS, over, scored_attention
from .cases import MASKS, SCORED
from .layers import BIGBIRDS, LONGFORMERS
from .rounding import assert_within
from .with_transformers import PLANS, plan_name


@pytest.mark.parametrize(("function", "arguments", "n", "pattern"), MASKS, ids=[function for function, *_ in MASKS])
def test_masking_utils(function, arguments, n, pattern, transformers_values):
    np.testing.assert_array_equal(pattern().mask(n), transformers_values[f"masks/{function}"])


@pytest.mark.parametrize("impl", IMPLS)
@over([case for case in SCORED if case.sinks is not None])
def test_sinks_of_gpt_oss(case, impl, transformers_values):
    o, _ = scored_attention(case, impl)
    err, _ = case.allowance("float64", "float64")
    assert_within(o, transformers_values[f"sinks/{case.name}/o"], err)


@pytest.mark.parametrize("impl", IMPLS)
@over(LONGFORMERS)
def test_longformer_layer(case, impl, transformers_values):
    """The layer runs in float64, but takes its softmax in float32."""
    o = sv.longformer_attention(*case.inputs, window=case.window, global_tokens=case.tokens, impl=impl)
    assert_within(o, transformers_values[f"longformer/{case.name}/o"], case.allowance("float64", "float32"))


def bigbird(case):
    return sv.bigbird(block=case.block, random_blocks=case.random_blocks, seed=case.seed, plan="published", heads=case.heads)


def listed_twice(case, plan):
    """(heads, blocks): does a drawn block repeat another one of that row? First and last row draw nothing."""
    blocks = case.n // case.block
    twice = np.zeros((case.heads, blocks), bool)
    for head, row in np.ndindex(plan.shape[:2]):
        at = row + 1
        listed = [*{0, at - 1, at, at + 1, blocks - 1}, *plan[head, row]]
        twice[head, at] = len(set(listed)) < len(listed)
    return twice


@over(BIGBIRDS)
def test_bigbird_plan(case, transformers_values):
    ours = published_plan(case.n, case.block, case.random_blocks, case.seed, heads=case.heads)
    np.testing.assert_array_equal(ours, transformers_values[f"bigbird/{case.name}/plan"])


@pytest.mark.parametrize("settings", PLANS, ids=plan_name)
def test_bigbird_plan_of_longer_texts(settings, transformers_values):
    n, block, random_blocks, heads, seed = settings
    ours = published_plan(n, block, random_blocks, seed, heads=heads)
    np.testing.assert_array_equal(ours, transformers_values[plan_name(settings)])


@pytest.mark.parametrize("n", [1024, 3072])
def test_bigbird_plan_of_the_paper_is_cut_to_length(n, transformers_values):
    _, block, random_blocks, heads, seed = PLANS[0]
    ours = published_plan(n, block, random_blocks, seed, heads=heads)
    np.testing.assert_array_equal(ours, transformers_values[plan_name(PLANS[0])][:, : n // block - 2])


def test_bigbird_plan_golden_rows(transformers_values):
    """Head 0 of seed 0, query blocks 1 to 14, in drawing order: all that 1024 tokens use; and how often it repeats block 15."""
    golden = """ 9 14 7    9 6 7    10 5 14   6 8 12   2 13 1   4 11 3   1 10 5
                 2 3 15   13 11 14  15 13 8   9 7 4    1 2 5    8 9 7    2 6 5 """
    plan = transformers_values[plan_name(PLANS[0])][:, :14]
    assert plan[0].ravel().tolist() == [int(block) for block in golden.split()]
    assert (plan == 15).any(-1).sum() == 38


@over(BIGBIRDS)
def test_bigbird_blocks(case, transformers_values):
    ours = bigbird(case).mask(case.n)
    theirs = case.spread(transformers_values[f"bigbird/{case.name}/tiles"])
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("impl", IMPLS)
@over(BIGBIRDS)
def test_bigbird_layer(case, impl, transformers_values):
    """Equal where every block is listed once; where one is listed twice the layer counts it twice, a pattern does not."""
    if impl == "loops" and case.n > 100:
        pytest.skip("1024 tokens are too many for plain Python loops")
    theirs, tiles, plan = (transformers_values[f"bigbird/{case.name}/{part}"] for part in ("o", "tiles", "plan"))
    o = sv.attention(*case.inputs, bigbird(case), impl=impl)[:, case.rows]
    err = case.allowance(tiles)
    once = ~listed_twice(case, plan)[:, case.rows // case.block]
    assert_within(o[once], theirs[once], err[once])
    assert (np.abs(o - theirs) > 1000 * err)[~once].any(-1).all()
    assert once.mean() > 0.8


def test_bigbird_counts_a_repeated_block_twice(transformers_values):
    """The paper's draws at 1024 tokens repeat the last block in 4 of 28 rows of blocks; a bias of ln 2 there gives the layer's output."""
    case = next(case for case in BIGBIRDS if case.name == "paper")
    theirs, tiles, plan = (transformers_values[f"bigbird/paper/{part}"] for part in ("o", "tiles", "plan"))
    twice = listed_twice(case, plan)
    assert twice.sum() == 4
    bias = np.zeros(tiles.shape)
    bias[:, :, -1] = np.log(2) * twice
    o = sv.attention(*case.inputs, bigbird(case), bias=case.spread(bias), impl="reference")[:, case.rows]
    assert_within(o, theirs, case.allowance(tiles))
