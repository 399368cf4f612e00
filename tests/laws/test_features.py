"""Laws of what real models add to attention: softcap, ALiBi slopes, bias, padded keys, sinks; for every pattern, forward and gradient.

What is expected is worked out here from the definitions, with slopes as a bias and padding as a mask, by the golden reference, or by
the oracle that goes number by number.
"""

import zlib

import ml_dtypes
import numpy as np
import pytest
from oracles import scalar
from pictures import INSTANCES, assert_refused, instance, placed

import sparsevis as sv
from sparsevis import Causal, Layout, PerHead, SlidingWindow, attention, attention_grad, implementations, reference

ALL = [name for name in implementations() if not name.startswith("cuda")]
IMPLS = [name for name in ALL if name != "reference"]
WITH_GRADIENT = ["reference", "cpu"]
NAMES = ["softcap", "slopes", "bias", "key_mask", "sinks"]
# each set is compiled anew, for 5 s: these stand for all of them, and tests of one feature take its companion along with no effect
SETS = [("softcap",), ("sinks", "slopes"), ("key_mask", "bias"), tuple(NAMES)]


def draw(seed, heads=4, kv_heads=2, nq=37, nk=37, batch=(2,), dtype=np.float64):
    rng = np.random.default_rng(zlib.crc32(repr(seed).encode()))
    shapes = (*batch, heads, nq, 8), (*batch, kv_heads, nk, 8), (*batch, kv_heads, nk, 5), (*batch, heads, nq, 5), (*batch, heads, nq)
    q, k, v, do, dlse = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    every = {
        "softcap": 1.7, "slopes": np.linspace(-0.3, 0.2, heads), "bias": rng.standard_normal((heads, nq, nk)),
        "key_mask": rng.random((*batch, nk)) < 0.8, "sinks": rng.standard_normal(heads),
    }  # fmt: skip
    return q, k, v, do, dlse, every


def by_definition(asked, mask, offset):
    """(mask, options) of the reference: query row r stands at r + offset."""
    asked, (nq, nk) = dict(asked), mask.shape[-2:]
    if "slopes" in asked:
        distance = np.array([[j - (r + offset) for j in range(nk)] for r in range(nq)])
        asked["bias"] = asked.get("bias", 0) + np.asarray(asked.pop("slopes"))[:, None, None] * distance
    if "key_mask" in asked:
        mask = mask & asked.pop("key_mask")[..., None, None, :]
    return mask, asked


def close(got, want, most):
    for x, y in zip(got, want, strict=True):
        assert x.shape == y.shape
        x, y = x.astype(np.float64), y.astype(np.float64)
        off = np.zeros(x.shape)
        np.subtract(x, y, out=off, where=x != y)                # a row without keys: both are -inf
        assert (abs(off) <= most * (1 + abs(y))).all(), abs(off).max()


# ---------------------------------------------------------------- every pattern


@pytest.mark.parametrize("name", INSTANCES)
@pytest.mark.parametrize("impl", ALL)
def test_every_pattern_with_features(impl, name):
    """Several sets of features, all of them among these, over all shapes the pattern fits."""
    pattern, turn = instance(name, 37), zlib.crc32(name.encode())
    for x, (nq, nk, offset) in enumerate(placed(pattern, 37)):
        q, k, v, _, _, every = draw((name, x), nq=nq, nk=nk)
        for names in (NAMES, SETS[(turn + x) % 3]):
            asked = {name: every[name] for name in names}
            mask, folded = by_definition(asked, pattern.mask(nq, nk, offset), offset)
            got = attention(q, k, v, pattern, offset=offset, impl=impl, return_lse=True, **asked)
            close(got, reference.attention(q, k, v, mask, **folded), 1e-12)


@pytest.mark.parametrize("name", INSTANCES)
def test_every_pattern_has_its_gradient(name):
    """The compiled backward pass is the reference's vector-Jacobian product to 1e-11, plain and with features."""
    pattern, turn = instance(name, 37), zlib.crc32(name.encode())
    for x, (nq, nk, offset) in enumerate(placed(pattern, 37)):
        q, k, v, do, dlse, every = draw((name, x, "grad"), nq=nq, nk=nk)
        for names in ((), NAMES, SETS[(turn + x) % 3]):
            asked = {name: every[name] for name in names}
            mask, folded = by_definition(asked, pattern.mask(nq, nk, offset), offset)
            got = attention_grad(do, q, k, v, pattern, offset=offset, dlse=dlse, impl="cpu", **asked)
            close(got, reference.attention_grad(do, q, k, v, mask, dlse=dlse, **folded), 1e-11)


@pytest.mark.parametrize("names", SETS, ids="+".join)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("impl", IMPLS)
def test_lower_precisions(impl, dtype, names):
    q, k, v, do, _, every = draw(names, dtype=dtype)
    asked = {name: every[name] for name in names}
    mask, folded = by_definition(asked, SlidingWindow(9).mask(37), 0)
    most = 4e-6 if dtype == np.float32 else float(ml_dtypes.finfo(dtype).eps)
    o, lse = attention(q, k, v, SlidingWindow(9), impl=impl, return_lse=True, **asked)
    assert o.dtype == dtype
    want = reference.attention(q, k, v, mask, **folded)
    close([o], want[:1], most)
    close([lse], want[1:], 4e-6)
    if impl == "cpu":
        got = attention_grad(do, q, k, v, SlidingWindow(9), impl=impl, **asked)
        close(got, reference.attention_grad(do, q, k, v, mask, **folded), 8 * most)


@pytest.mark.parametrize("names", SETS, ids="+".join)
@pytest.mark.parametrize("impl", ALL)
def test_number_by_number(impl, names):
    """The oracle shares no line with the reference: sums in exact order, from the formula alone."""
    q, k, v, do, dlse, every = draw(names, nq=7, nk=11, batch=())
    asked = {name: every[name] for name in names}
    mask, folded = by_definition(asked, SlidingWindow(6, 2).mask(7, 11, 4), 4)
    mask = np.broadcast_to(mask, (4, 7, 11))
    got = attention(q, k, v, SlidingWindow(6, 2), offset=4, impl=impl, return_lse=True, **asked)
    close(got, [np.array(x) for x in scalar.attention(q, k, v, mask, **folded)], 1e-13)
    if impl in WITH_GRADIENT:
        got = attention_grad(do, q, k, v, SlidingWindow(6, 2), offset=4, impl=impl, dlse=dlse, **asked)
        close(got, [np.array(x) for x in scalar.attention_grad(do, q, k, v, mask, dlse=dlse, **folded)], 1e-12)


@pytest.mark.parametrize("names", SETS, ids="+".join)
@pytest.mark.parametrize("impl", IMPLS)
def test_one_pattern_for_each_head(impl, names):
    heads = PerHead(Causal(), SlidingWindow(3), Causal(), SlidingWindow(20, 5))
    q, k, v, do, _, every = draw(("heads", names))
    asked = {name: every[name] for name in names}
    mask, folded = by_definition(asked, heads.mask(37), 0)
    close(attention(q, k, v, heads, impl=impl, return_lse=True, **asked), reference.attention(q, k, v, mask, **folded), 1e-12)
    if impl == "cpu":
        got = attention_grad(do, q, k, v, heads, impl=impl, **asked)
        close(got, reference.attention_grad(do, q, k, v, mask, **folded), 1e-11)


# ---------------------------------------------------------------- one feature


@pytest.mark.parametrize("impl", ALL)
def test_a_slope_is_what_a_key_farther_away_costs(impl):
    """Equal scores: each key counts 2 ** slope times the one to its right, wherever the queries stand."""
    q, k, v = np.zeros((2, 5, 3)), np.zeros((2, 8, 3)), np.tile(np.eye(8), (2, 1, 1))
    slopes, none = np.log([2.0, 4.0]), np.full(2, -np.inf)
    for offset in (0, 3):
        o, lse = attention(q, k, v, Causal(), offset=offset, slopes=slopes, sinks=none, impl=impl, return_lse=True)
        for h, r in np.ndindex(2, 5):
            weights = np.array([(2.0 * (h + 1)) ** -(r + offset - j) if j <= r + offset else 0 for j in range(8)])
            assert np.allclose(o[h, r], weights / weights.sum(), rtol=1e-14)
            assert np.isclose(lse[h, r], np.log(weights.sum()), rtol=1e-13, atol=1e-15)


def test_slopes_as_published():
    """Press et al. 2022, section 3: eight heads have 1/2 ... 1/256; twelve take four of the sixteen's besides."""
    assert sv.alibi_slopes(8).tolist() == [2.0**-n for n in range(1, 9)]
    assert np.allclose(np.log2(sv.alibi_slopes(16)), -np.arange(1, 17) / 2)
    assert np.allclose(np.log2(sv.alibi_slopes(12)), [-1, -2, -3, -4, -5, -6, -7, -8, -0.5, -1.5, -2.5, -3.5])
    assert sv.alibi_slopes(1).tolist() == [2.0**-8]
    assert_refused(lambda: sv.alibi_slopes(0), ValueError, ["alibi_slopes(0)", "one head"])


@pytest.mark.parametrize("impl", ALL)
def test_slopes_beside_a_layout(impl):
    """A layout knows no positions: with slopes, the offset is said again."""
    q, k, v, _, _, every = draw("layout", nq=9, nk=20)
    asked = {name: every[name] for name in ("slopes", "sinks")}
    want = attention(q, k, v, Causal(), offset="bottom-right", impl=impl, **asked)
    layout = Layout.of(Causal(), (9, 20), 16, "bottom-right")
    assert np.allclose(attention(q, k, v, layout, offset="bottom-right", impl=impl, **asked), want, rtol=0, atol=1e-13)
    assert_refused(lambda: attention(q, k, v, layout, impl=impl, **asked), ValueError, ["9", "20", "offset"])
    assert_refused(lambda: attention(q, k, v, layout, offset=11, impl=impl), ValueError, ["layout", "offset"])


@pytest.mark.parametrize("impl", ALL)
def test_a_neutral_feature_changes_nothing(impl):
    """No slope, no bias, no padding, no weight of a sink, a cap far above all scores."""
    q, k, v, *_ = draw("neutral")
    plain = attention(q, k, v, Causal(), impl=impl, return_lse=True)
    neutral = {
        "softcap": 1e8, "slopes": np.zeros(4), "bias": np.zeros((37, 37)), "key_mask": np.ones((2, 37), bool), "sinks": np.full(4, -np.inf),
    }  # fmt: skip
    for names in SETS:
        close(attention(q, k, v, Causal(), impl=impl, return_lse=True, **{name: neutral[name] for name in names}), plain, 1e-13)


@pytest.mark.parametrize("impl", ALL)
def test_a_bias_of_any_shape_that_broadcasts(impl):
    q, k, v, *_ = draw("bias")
    full, kept = np.random.default_rng(0).standard_normal((2, 4, 37, 37)), np.ones((2, 37), bool)
    for part in (full, full[:, :1], full[:1], full[0], full[0, 0], full[:, :, :1], full[..., :1], full[0, 0, 0], full[..., :1, :1]):
        want = reference.attention(q, k, v, np.tri(37, dtype=bool), bias=np.broadcast_to(part, full.shape))
        close(attention(q, k, v, Causal(), impl=impl, return_lse=True, bias=part, key_mask=kept), want, 1e-12)


@pytest.mark.parametrize("impl", ALL)
def test_a_sink_takes_its_share_and_gives_nothing(impl):
    """Equal scores, five keys and a sink of logit 0: a sixth of the mass each. A row without keys is all sink."""
    x = np.zeros((1, 5, 2))
    o, lse = attention(x, x, x + 6, SlidingWindow(None, None) - Causal(), sinks=[0.0], slopes=[0.0], impl=impl, return_lse=True)
    assert np.allclose(o[0, :, 0], [6 * keys / (keys + 1) for keys in (4, 3, 2, 1, 0)], rtol=1e-15)
    assert np.allclose(lse[0], np.log([5, 4, 3, 2, 1]), rtol=1e-15)


@pytest.mark.parametrize("impl", IMPLS)
def test_no_implementation_changes_what_it_is_given(impl):
    q, k, v, do, dlse, every = draw("kept")
    given = [q, k, v, do, dlse, *(x for x in every.values() if isinstance(x, np.ndarray))]
    before = [x.copy() for x in given]
    for x in given:
        x.flags.writeable = False
    attention(q, k, v, Causal(), impl=impl, **every)
    if impl == "cpu":
        attention_grad(do, q, k, v, Causal(), impl=impl, dlse=dlse, **every)
    assert all((x == y).all() for x, y in zip(given, before, strict=True))


@pytest.mark.parametrize("impl", ALL)
@pytest.mark.parametrize(("asked", "words"), [
    ({"softcap": 0.0}, ["softcap", "0.0", "above 0"]),
    ({"slopes": [1.0]}, ["slopes", "(1,)", "(4,)"]),
    ({"sinks": np.zeros((4, 1))}, ["sinks", "(4, 1)", "(4,)"]),
    ({"key_mask": np.ones((2, 37))}, ["key_mask", "float64", "boolean"]),
    ({"key_mask": np.ones(37, bool)}, ["key_mask", "(37,)", "(2, 37)"]),
    ({"bias": np.zeros((4, 37, 36))}, ["bias", "(4, 37, 36)", "(2, 4, 37, 37)"]),
])  # fmt: skip
def test_refused(impl, asked, words):
    q, k, v, do, _, _ = draw("refused")
    assert_refused(lambda: attention(q, k, v, Causal(), impl=impl, **asked), ValueError, words)
    if impl in WITH_GRADIENT:
        assert_refused(lambda: attention_grad(do, q, k, v, Causal(), impl=impl, **asked), ValueError, words)


def test_a_mask_is_no_bias():
    q, k, v, *_ = draw("mask")
    assert_refused(lambda: attention(q, k, v, bias=np.tri(37, dtype=bool)), TypeError, ["bias", "bool", "Chosen.from_mask"])
