"""Judges `sparsevis.merge`: parts of the keys, attended apart by the scalar loops, must join to the attention over all of them."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from oracles.problems import U, budget, changed, oracle, problem

from sparsevis.merge import merge

INF = np.inf


def rounding(parts, u=U):
    """How far joining `parts`, in any order and grouping, may round (o, lse): an lse of size L moves its weight by u L."""
    with np.errstate(invalid="ignore"):
        L = np.max([np.where(np.isfinite(lse), np.abs(lse), 0) for _, lse in parts], axis=0) + math.log(len(parts))
    size = np.max([np.abs(o) for o, _ in parts], axis=0)
    return len(parts) * u * (4 * L[..., None] + 12) * size, len(parts) * u * (2 * L + 4)


def assert_joined(got, want, error):
    for x, y, err in zip(got, want, error, strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        with np.errstate(invalid="ignore"):
            assert ((x == y) | (np.abs(x - y) <= err)).all(), np.abs(x - y).max()


def same_bits(got, want):
    return all(x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes() for x, y in zip(got, want, strict=True))


def drawn(seed, shape=(3, 7), dv=4, spread=10.0, dtype=np.float64):
    """A part of any provenance; one row of it is empty."""
    rng = np.random.default_rng(seed)
    o, lse = rng.normal(size=(*shape, dv)), spread * rng.normal(size=shape)
    o[..., seed % 7, :], lse[..., seed % 7] = 0, -INF
    return o.astype(dtype), lse.astype(dtype)


def empty(o, lse):
    return np.zeros_like(o), np.full_like(lse, -INF)


def cuts(n):
    """Keys cut in two at every place, the ends too; in three; odd from even; and dealt to five at random."""
    for a in range(n + 1):
        yield [range(a), range(a, n)]
    yield from ([range(a), range(a, b), range(b, n)] for a, b in itertools.combinations_with_replacement(range(0, n + 1, 3), 2))
    yield [range(0, n, 2), range(1, n, 2)]
    hands = np.random.default_rng(0).integers(5, size=n)
    yield [np.flatnonzero(hands == hand) for hand in range(5)]


@pytest.mark.parametrize("mask", ["dense", "causal", "holes", "none"])
def test_keys_cut_anywhere(mask):
    p = problem(1, 3, 11, features=("softcap", "bias", "scale"), mask=mask)
    whole, error = oracle(p)[:2], budget(p)
    allowed = True if p.inputs["mask"] is None else p.inputs["mask"]
    for pieces in cuts(11):
        parts = [oracle(changed(p, mask=np.isin(np.arange(11), list(keys)) & np.ones((3, 1), bool) & allowed))[:2] for keys in pieces]
        assert_joined(merge(*parts), whole, [2 * x + y for x, y in zip(error, rounding(parts), strict=False)])


def test_weights_by_hand():
    o, lse = merge((np.array([[1.0, 8]]), np.array([0.0])), (np.array([[5.0, -4]]), np.array([math.log(3)])))
    assert np.allclose(o, [[4, -1]], rtol=8 * U, atol=0)                    # (1 + 3 * 5) / 4 and (8 - 3 * 4) / 4
    assert np.allclose(lse, math.log(4), rtol=4 * U, atol=0)
    o, lse = merge(*((np.array([[x]]), np.array([0.0])) for x in (1.0, 2.0, 4.0, 9.0)))
    assert np.allclose([o.item(), lse.item()], [4, math.log(4)], rtol=16 * U, atol=0)


def test_a_sink_is_a_part_without_output():
    p, sinks = problem(2, features=("bias",)), np.array([-8.0, 0, 3, 20])
    o, lse = oracle(p)[:2]
    parts = (o, lse), (np.zeros_like(o), np.broadcast_to(sinks[:, None], lse.shape))
    with_sinks = changed(p, sinks=sinks)
    assert_joined(merge(*parts), oracle(with_sinks)[:2], [2 * x + y for x, y in zip(budget(with_sinks), rounding(parts), strict=False)])


@pytest.mark.parametrize("spread", [1.0, 100.0, 1e4])
def test_order_and_grouping_do_not_matter(spread):
    a, b, c = parts = [drawn(seed, spread=spread) for seed in (0, 1, 2)]
    error = [2 * x for x in rounding(parts)]
    want = merge(a, b, c)
    for x, y, z in itertools.permutations(parts):
        assert_joined(merge(x, y, z), want, error)
        assert_joined(merge(merge(x, y), z), want, error)
        assert_joined(merge(x, merge(y, z)), want, error)
    assert_joined(merge(a, b), merge(b, a), rounding([a, b]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_empty_part_is_neutral_to_the_last_bit(dtype):
    a = drawn(3, dtype=dtype, spread=300)
    assert same_bits(merge(a, empty(*a)), a)
    assert same_bits(merge(empty(*a), a), a)
    assert same_bits(merge(empty(*a), a, empty(*a)), a)
    assert same_bits(merge(empty(*a), empty(*a)), empty(*a))
    assert same_bits(merge(empty(*a), empty(*a), empty(*a)), empty(*a))


@pytest.mark.parametrize("level", [0.0, 1e5, -1e5])
def test_no_overflow(level):
    shape = np.ones((1, 1))
    o, lse = merge((2 * shape, shape[0] * level), (4 * shape, shape[0] * level))
    assert math.isclose(o.item(), 3, rel_tol=8 * U + 4 * U * abs(level))
    assert math.isclose(lse.item(), level + math.log(2), rel_tol=4 * U)
    o, lse = merge((2 * shape, shape[0] * level), (4 * shape, shape[0] * (level - 1e300)))
    assert (o.item(), lse.item()) == (2, level)                            # nothing is left of the smaller one


def test_float32_stays_float32():
    parts = [drawn(seed, dtype=np.float32) for seed in (0, 1, 2)]
    wide = merge(*([x.astype(np.float64) for x in part] for part in parts))
    assert_joined(merge(*parts), [x.astype(np.float32) for x in wide], [2 * x for x in rounding(parts, 2.0**-24)])


@pytest.mark.parametrize("shape", [(7,), (2, 7), (2, 3, 7), (0, 7), (2, 3, 0)])
def test_any_leading_axes(shape):
    parts = [(np.zeros((*shape, 4)), np.zeros(shape))] * 2 if 0 in shape else [drawn(seed, shape) for seed in (0, 1)]
    o, lse = merge(*parts)
    assert (o.shape, lse.shape) == ((*shape, 4), shape)
    for at in np.ndindex(shape):
        alone = merge(*((x[at][None], y[at][None]) for x, y in parts))
        assert_joined((o[at][None], lse[at][None]), alone, [x[at] for x in rounding(parts)])


def test_nan_is_kept_in_its_row():
    a, b = drawn(0), drawn(1)
    clean = merge(a, b)
    a[1][1, 3] = np.nan
    b[0][2, 4, 1] = np.nan
    o, lse = merge(a, b)
    rows, cells = np.zeros((3, 7), bool), np.zeros((3, 7, 4), bool)
    rows[1, 3] = cells[1, 3] = cells[2, 4, 1] = True
    assert np.array_equal(np.isnan(lse), rows)
    assert np.array_equal(np.isnan(o), cells)
    assert same_bits((o[~cells], lse[~rows]), (clean[0][~cells], clean[1][~rows]))


def test_plus_infinity_is_refused():
    a, b = drawn(0), drawn(1)
    b[1][0, 1] = INF                                                        # what flash-attention 2 stores for a row without keys
    for parts in ((a, b), (b, a), (a, a, b)):
        with pytest.raises(ValueError, match=r"inf.*-inf"):
            merge(*parts)


def test_shapes_must_fit():
    o, lse = drawn(0)
    for part in ((o[:, :5], lse[:, :5]), (o[..., :3], lse), (o, lse[..., None]), (o, lse[:, :1]), (o[:1], lse[:1])):
        for parts in (((o, lse), part), (part, (o, lse))):
            with pytest.raises(ValueError, match=r"\d"):
                merge(*parts)


def test_parts_are_left_alone():
    parts = [drawn(seed) for seed in (0, 1)]
    for x in itertools.chain(*parts):
        x.flags.writeable = False
    before = [x.tobytes() for x in itertools.chain(*parts)]
    results = merge(*parts)
    assert [x.tobytes() for x in itertools.chain(*parts)] == before
    results = results + merge(parts[0], empty(*parts[0]))
    assert not any(np.shares_memory(x, y) for x in results for y in itertools.chain(*parts))


@pytest.mark.parametrize("first", ["sparsevis.merge", "sparsevis.reference", "sparsevis"])
def test_the_name_is_the_function_whatever_was_imported_first(first):
    code = f"import {first}, sparsevis; from sparsevis import merge; assert merge is sparsevis.merge and merge.__name__ == 'merge', merge"
    subprocess.run([sys.executable, "-c", code], check=True)
