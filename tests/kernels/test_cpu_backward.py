"""The compiled gradients, against the reference's in float64."""
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from test_loops import FEATURES, NEUTRAL, PATTERNS, SIZES, as_reference, draw, layout_of, picture

from sparsevis import reference
from sparsevis.kernels import _cpu_backward, cpu

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="machine instructions: needs Numba's compiler, unset NUMBA_DISABLE_JIT")
TOLERANCE = {"float32": 4e-5, "float64": 1e-11}


def cotangents(q, v):
    rng = np.random.default_rng(1)
    return rng.standard_normal((*q.shape[:2], v.shape[2])).astype(q.dtype), rng.standard_normal(q.shape[:2]).astype(q.dtype)


def check(q, k, v, mask, block=(64, 64), scale=0.3, heads=None, do=None, dlse=None, atol=None):
    """Run forward and backward; compare with the reference; return the gradients."""
    layout, (some, _) = layout_of(mask, block, heads), cotangents(q, v)
    do = some if do is None else do
    o, lse = cpu.forward(q, k, v, layout, scale=scale)
    given = do, q, k, v, o, lse
    before = [x.tobytes() for x in given]
    got = cpu.backward(*given, layout, scale=scale, dlse=dlse)
    assert [x.tobytes() for x in given] == before
    planes = mask if heads is None else mask[np.resize(heads, len(q))]
    want = reference.attention_grad(do, q, k, v, planes, scale=scale, dlse=dlse)
    for x, exact, name in zip(got, want, ("dq", "dk", "dv"), strict=True):
        assert x.dtype == q.dtype
        assert x.shape == exact.shape
        np.testing.assert_allclose(x, exact, rtol=0, atol=TOLERANCE[q.dtype.name] if atol is None else atol, err_msg=name)
    return got


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("block", "nq", "nk"), SIZES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns(pattern, block, nq, nk, dtype):
    check(*draw(dtype, nq=nq, nk=nk), picture(pattern, nq, nk), block)


@pytest.mark.parametrize(("nq", "nk"), [(1, 300), (300, 7), (65, 1), (1, 1), (64, 64), (2, 129)])
def test_lengths(nq, nk):
    check(*draw("float32", nq=nq, nk=nk), picture("causal", nq, nk))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("d", "dv"), [(1, 1), (3, 5), (20, 33), (8, 40), (64, 64), (256, 256)])
def test_head_dims(d, dv, dtype):
    check(*draw(dtype, d=d, dv=dv), picture("window", 70, 70), scale=d ** -0.5, atol=2e-4 if dtype == "float32" else None)


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 2), (6, 2), (3, 1), (14, 2)])
def test_gradients_of_grouped_heads_are_summed(heads, kv_heads):
    check(*draw("float64", heads, kv_heads), picture("causal", 70, 70))


@pytest.mark.parametrize("block", [(64, 64), (16, 16), (7, 5), (64, 100)])
def test_heads_with_patterns_of_their_own(block):
    masks = np.array([picture(p, 70, 70) for p in ("causal", "holes", "nothing")])
    check(*draw("float64", 4, 2), masks, block, heads=(1, 0, 0, 2))
    check(*draw("float64", 6, 3), masks, block, heads=(2, 0, 1))                    # a batch of two


@pytest.mark.parametrize("empty", ["nq", "nk", "d", "dv", "heads"])
def test_nothing_to_do(empty):
    sizes = dict.fromkeys(("nq", "nk"), 20) | {empty: 0}
    if empty == "heads":
        sizes["kv_heads"] = 0
    q, k, v = draw("float32", **sizes)
    got = check(q, k, v, picture("causal", sizes["nq"], sizes["nk"]), (16, 16))
    if empty in ("nq", "nk", "dv"):
        assert not any(x.any() for x in got)


def test_cotangent_of_the_lse():
    q, k, v = draw("float64")
    do, dlse = cotangents(q, v)
    for mask in (picture("causal", 70, 70), picture("holes", 70, 70)):
        with_both = check(q, k, v, mask, do=do, dlse=dlse)
        lse_alone = check(q, k, v, mask, do=np.zeros_like(do), dlse=dlse)
        assert not lse_alone[2].any()
        assert abs(with_both[0] - lse_alone[0]).max() > 0.1


@pytest.mark.parametrize("scale", [0.0, -0.5, 1e-30])
def test_scale(scale):
    dq, dk, dv = check(*draw("float64"), picture("window", 70, 70), scale=scale)
    assert dv.any()
    assert dq.any() == dk.any() == (scale != 0)


# ---------------------------------------------------------------- rows without keys, NaN, infinity

def test_rows_and_keys_that_nobody_sees_have_gradient_zero():
    mask = picture("holes", 70, 70)
    mask[:, 11:20] = False
    dq, dk, dv = check(*draw("float32"), mask)
    assert (dq[:, ::5] == 0).all()
    assert (dk[:, 11:20] == 0).all()
    assert (dv[:, 11:20] == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["q", "k", "v", "do", "dlse"])
@pytest.mark.parametrize(("pattern", "block"), [("full", (64, 64)), ("window", (16, 16)), ("holes", (64, 64)), ("nothing", (16, 16))])
def test_strange_numbers_go_where_the_reference_says_and_nowhere_else(pattern, block, where, bad):
    q, k, v = draw("float64")
    do, dlse = cotangents(q, v)
    {"q": q, "k": k, "v": v, "do": do}.get(where, dlse[..., None])[0, 33, 0] = bad
    mask = picture(pattern, 70, 70)
    mask[33, 40:] = False
    layout = layout_of(mask, block)
    with np.errstate(all="ignore"):
        got = cpu.backward(do, q, k, v, *cpu.forward(q, k, v, layout, scale=0.3), layout, scale=0.3, dlse=dlse)
        want = reference.attention_grad(do, q, k, v, mask, scale=0.3, dlse=dlse)
    for x, exact in zip(got, want, strict=True):
        np.testing.assert_array_equal(np.isfinite(x), np.isfinite(exact))
        if np.isnan(bad):
            np.testing.assert_array_equal(np.isnan(x), np.isnan(exact))
        np.testing.assert_allclose(np.where(np.isfinite(x), x, 0), np.where(np.isfinite(exact), exact, 0), rtol=0, atol=1e-11)


def test_a_key_that_nobody_sees_may_hold_anything():
    q, k, v = draw("float32")
    mask = picture("causal", 70, 70)
    mask[:, 20] = False
    clean = check(q, k, v, mask, (16, 16))
    k[:, 20], v[:, 20] = np.nan, np.inf
    layout, (do, _) = layout_of(mask, (16, 16)), cotangents(q, v)
    for x, y in zip(cpu.backward(do, q, k, v, *cpu.forward(q, k, v, layout, scale=0.3), layout, scale=0.3), clean, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [1000.0, 1e20])
def test_probabilities_stay_below_one_however_scores_are_rounded(scale):
    """Scores so large that the rounding of one is more than e ** x can hold."""
    q, k, v = draw("float32")
    layout, (do, _) = layout_of(picture("causal", 70, 70), (16, 16)), cotangents(q, v)
    _, _, dv = cpu.backward(do, q, k, v, *cpu.forward(q, k, v, layout, scale=scale), layout, scale=scale)
    assert np.isfinite(dv).all()
    assert abs(dv).max() <= abs(do).sum(1).max()


# ---------------------------------------------------------------- features

def compare(q, k, v, mask, block, dlse=None, **asked):
    layout, (do, _) = layout_of(mask, block), cotangents(q, v)
    o, lse = cpu.forward(q, k, v, layout, scale=0.3, **asked)
    got = cpu.backward(do, q, k, v, o, lse, layout, scale=0.3, dlse=dlse, **asked)
    allowed, options = as_reference(mask, len(q), **asked)
    want = reference.attention_grad(do, q, k, v, allowed, scale=0.3, dlse=dlse, **options)
    for x, exact, name in zip(got, want, ("dq", "dk", "dv"), strict=True):
        np.testing.assert_array_equal(np.isnan(x), np.isnan(exact))
        np.testing.assert_allclose(x, exact, rtol=0, atol=TOLERANCE[q.dtype.name], err_msg=name)
    return got


@pytest.mark.parametrize("block", [(64, 64), (16, 16), (7, 5), (64, 100)])
@pytest.mark.parametrize("feature", [*FEATURES, "all"])
def test_features(feature, block):
    """All are given, so that one compilation serves; those not under test do nothing."""
    asked = {name: FEATURES[name] if feature in (name, "all") else x for name, x in NEUTRAL.items()}
    q, k, v = draw("float64", 4, 2, nq=60, nk=70, dv=20)
    _, dlse = cotangents(q, v)
    for pattern in ("window", "full", "holes"):
        compare(q, k, v, picture(pattern, 60, 70), block, dlse, offset=10, **asked)


def test_padding_has_gradient_zero_and_may_hold_anything():
    q, k, v = draw("float64", 4, 2, nq=60, nk=70)
    kept = np.arange(70) < np.array([[50], [0]])
    clean = compare(q, k, v, picture("full", 60, 70), (16, 16), **{**NEUTRAL, "key_mask": kept})
    assert not any(x[1].any() for x in clean[1:])
    assert not any(x[0, 50:].any() for x in clean[1:])
    k[0, 50:], v[0, 50:], k[1], v[1] = np.nan, np.inf, np.inf, np.nan
    layout, (do, _) = layout_of(picture("full", 60, 70), (16, 16)), cotangents(q, v)
    asked = {**NEUTRAL, "key_mask": kept}
    o, lse = cpu.forward(q, k, v, layout, scale=0.3, **asked)
    for x, y in zip(cpu.backward(do, q, k, v, o, lse, layout, scale=0.3, **asked), clean, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-13)


def test_sinks_are_felt_through_the_lse_alone():
    q, k, v = draw("float64", 4, 2, nq=60, nk=70)
    mask, sinks = picture("window", 60, 70), np.array([0.0, 2.0, -3.0, 40.0])
    layout, (do, _) = layout_of(mask, (16, 16)), cotangents(q, v)
    o, lse = cpu.forward(q, k, v, layout, scale=0.3, **{**NEUTRAL, "sinks": sinks})
    got = cpu.backward(do, q, k, v, o, lse, layout, scale=0.3)
    for x, exact in zip(got, reference.attention_grad(do, q, k, v, mask, scale=0.3, sinks=sinks), strict=True):
        np.testing.assert_allclose(x, exact, rtol=0, atol=1e-11)


# ---------------------------------------------------------------- threads, compiling

@pytest.fixture
def all_threads():
    yield
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)


def bits(dtype, heads=1):
    q, k, v = draw(dtype, 2 * heads, heads, nq=300, nk=300)
    layout = layout_of(picture("window", 300, 300) | (np.arange(300) < 40), (16, 16))
    o, lse = cpu.forward(q, k, v, layout, scale=0.3)
    return b"".join(x.tobytes() for x in cpu.backward(o, q, k, v, o, lse, layout, scale=0.3))


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_same_bits_for_any_number_of_threads(dtype, all_threads, monkeypatch):
    """More threads than cores as well: then some wait for a ticket whose holder is not running."""
    seen = {bits(dtype) for _ in range(3)}
    for threads in (1, 2, 5):
        monkeypatch.setattr(numba, "get_num_threads", lambda threads=threads: threads)
        seen |= {bits(dtype) for _ in range(5)}
    with ThreadPoolExecutor(3) as pool:                                        # several callers at once
        seen |= set(pool.map(bits, [dtype] * 6))
    assert len(seen) == 1


def test_ranks_count_the_tiles_to_the_left():
    mask = np.array([[0, 1, 1], [1, 0, 1], [0, 1, 0]], bool)
    layout = layout_of(mask, (1, 1))
    assert _cpu_backward.ranks(layout).tolist() == [0, 0, 0, 1, 1]                # columns 0: row 1; 1: rows 0, 2; 2: rows 0, 1
    other = np.array([[1, 1, 1], [0, 0, 1], [1, 0, 1]], bool)
    both = layout_of(np.array([mask, other]), (1, 1), (0, 1))
    assert _cpu_backward.ranks(both).tolist() == [0, 0, 0, 1, 1, 0, 0, 1, 2, 0, 1]


def test_one_compilation_a_dtype():
    counts = []
    for sizes in ({}, {"nq": 1, "nk": 1}, {"heads": 1, "kv_heads": 1}):
        q, k, v = draw("float32", **sizes)
        layout = layout_of(picture("causal", q.shape[1], k.shape[1]), (64, 64))
        o, lse = cpu.forward(q, k, v, layout, scale=1.0)
        for x in (q, k, v, o, lse):
            x.flags.writeable = False
        cpu.backward(o, q, k, v, o, lse, layout, scale=1.0)
        counts.append(len(_cpu_backward.DRAIN[q.dtype.name].signatures))
    assert counts == counts[:1] * 3


def test_says_what_to_do_without_the_compiler():
    script = "from sparsevis.kernels import cpu\ntry:\n    cpu.backward(*[None] * 7, scale=1)\nexcept RuntimeError as e:\n    print(e)"
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    out = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert "unset NUMBA_DISABLE_JIT" in out.stdout
