"""Laws of all implementations: each is the reference, to the rounding of its own precision, over every pattern and in every corner.

The rounding allowed is derived from the inputs (`bound`), by NumPy alone. What an implementation may not change at all, it is asked to
the last bit: what a forbidden key holds, the number of threads, where an array lies in memory, who else is in the batch.
"""

import zlib
from itertools import pairwise

import ml_dtypes
import numba
import numpy as np
import pytest
from pictures import INSTANCES, instance, placed

from sparsevis import Causal, Chosen, Dense, Layout, PerHead, RandomKeys, SlidingWindow, attention, implementations, merge

IMPLS = [
    pytest.param(name, marks=pytest.mark.skip(reason="needs a CUDA device: see tests/kernels") if name.startswith("cuda") else ())
    for name in implementations()
    if name != "reference"
]
ALL = ["reference", *IMPLS]
UNIT = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
SMALLEST = {"float64": 0, "float32": 2.0**-149, "float16": 2.0**-25, "bfloat16": 2.0**-134}
DTYPE = {"bfloat16": ml_dtypes.bfloat16} | {name: np.dtype(name).type for name in ("float64", "float32", "float16")}


def draw(seed, heads=2, kv_heads=1, nq=37, nk=37, d=8, dv=5, dtype="float64", batch=()):
    rng = np.random.default_rng(zlib.crc32(repr(seed).encode()))
    shapes = (*batch, heads, nq, d), (*batch, kv_heads, nk, d), (*batch, kv_heads, nk, dv)
    return [rng.standard_normal(shape).astype(DTYPE[dtype]) for shape in shapes]


def bound(q, k, v, mask, scale=None):
    """How far o and lse may be off: dot products of d terms, exponentials of a few ulp, sums over nk keys, one rounding at the end.

    A score is off by `score`, hence a probability by twice that, relatively, and the sums by (nk + 8) u; 16-bit inputs are
    computed in float32. To first order, with no further factor.
    """
    name = q.dtype.name
    u = UNIT["float64" if name == "float64" else "float32"]
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    group = q.shape[-3] // k.shape[-3] if q.ndim > 2 and k.shape[-3] else 1
    if q.ndim > 2:
        k, v = (np.repeat(x, group, axis=-3) for x in (k, v))
    d, nk = q.shape[-1], k.shape[-2]
    scale = 1 / np.sqrt(d) if scale is None else scale
    s, size = scale * np.einsum("...id,...jd->...ij", q, k), abs(scale) * np.einsum("...id,...jd->...ij", abs(q), abs(k))
    top = np.max(np.where(mask, size, 0), axis=-1, initial=0)
    score = u * ((d + 24) * top + 8)
    shift = np.max(np.where(mask, s, -1e9), axis=-1, keepdims=True, initial=-1e9)
    p = np.exp(np.where(mask, s - shift, -np.inf))
    total = p.sum(-1)
    p /= np.where(total > 0, total, 1)[..., None]
    o = np.einsum("...ij,...jd->...id", p, abs(v))
    lse = np.log(np.where(total > 0, total, 1)) + top
    err_o = (2 * score + (2 * nk + 8) * u)[..., None] * o + (UNIT[name] if name in ("float16", "bfloat16") else u) * o + SMALLEST[name]
    return err_o, score + (nk + 4) * u + 2 * u * (abs(lse) + 2 * top)


def assert_close(got, want, err):
    """o and lse within their bounds; the same infinities, the same NaN."""
    for name, x, y, e in zip(("o", "lse"), got, want, err, strict=True):
        assert x.shape == y.shape, name
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        with np.errstate(invalid="ignore"):
            bad = np.argwhere(~((x == y) | (abs(x - y) <= e) | (np.isnan(x) & np.isnan(y))))
        if len(bad):
            at = tuple(bad[0].tolist())
            within = f"{np.broadcast_to(e, x.shape)[at]:.1e}"
            raise AssertionError(f"{name}{list(at)} is {x[at]!r}, not {y[at]!r} within {within}; {len(bad)} are off")


def run(q, k, v, pattern, impl, **options):
    return attention(q, k, v, pattern, impl=impl, return_lse=True, **options)


def same(x, y):
    """The same bits, in both results."""
    return all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in zip(x, y, strict=True))


def test_bounds_are_sharp():
    """Inputs of order one: the bound asks for 1e-12 in float64 and 2e-5 in float32."""
    for dtype, most in [("float64", 1e-12), ("float32", 2e-5)]:
        q, k, v = draw("sharp", dtype=dtype)
        for err in bound(q, k, v, np.tri(37, dtype=bool)):
            assert err.max() < most * 2 * abs(v).max()


# ---------------------------------------------------------------- every pattern


@pytest.mark.parametrize("name", INSTANCES)
@pytest.mark.parametrize("impl", IMPLS)
def test_every_pattern_equals_the_reference(impl, name):
    """Forward and lse in float64, at every shape the pattern fits, with 1, 2 or 3 query heads a key head and tiles of several sizes."""
    n = 37
    pattern, turn = instance(name, n), zlib.crc32(name.encode())
    for x, (nq, nk, offset) in enumerate(placed(pattern, n)):
        group, kv_heads, block = 1 + (turn + x) % 3, 1 + (turn + x) % 2, [None, 16, (8, 24), 64][(turn + x) % 4]
        q, k, v = draw((name, x), group * kv_heads, kv_heads, nq, nk)
        mask = pattern.mask(nq, nk, offset)
        o, lse = run(q, k, v, pattern, impl, offset=offset, block=block)
        assert (o.dtype, lse.dtype) == (np.float64, np.float64)
        assert_close((o, lse), run(q, k, v, pattern, "reference", offset=offset), bound(q, k, v, mask))
        empty = ~mask.any(1)
        assert not o[:, empty].any()
        assert (lse[:, empty] == -np.inf).all()
        assert np.isfinite(lse[:, ~empty]).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", ["dense", "window", "strided", "random keys", "bigbird", "nested", "chosen nothing"])
@pytest.mark.parametrize("impl", ALL)
def test_lower_precisions(impl, name, dtype):
    """Judged by the reference on the same numbers, which float64 holds exactly."""
    n = 50
    pattern = instance(name, n)
    q, k, v = draw((name, dtype), 6, 2, n, n, d=16, dtype=dtype)
    o, lse = run(q, k, v, pattern, impl)
    assert (o.dtype, lse.dtype) == (q.dtype, np.float32)
    want = run(*(x.astype(np.float64) for x in (q, k, v)), pattern, "reference")
    assert_close((o, lse), want, bound(q, k, v, pattern.mask(n)))


@pytest.mark.parametrize("block", [None, 1, 3, 7, 16, (16, 24), (24, 16), (1, 64), (64, 5), 100, [8, 8]])
@pytest.mark.parametrize("impl", IMPLS)
def test_any_tiles(impl, block):
    q, k, v = draw("tiles", nq=41, nk=53)
    pattern = RandomKeys(7) | SlidingWindow(4)
    want = run(q, k, v, pattern, "reference", offset=12)
    assert_close(run(q, k, v, pattern, impl, offset=12, block=block), want, bound(q, k, v, pattern.mask(41, 53, 12)))


@pytest.mark.parametrize(("d", "dv"), [(1, 1), (3, 8), (16, 3), (64, 64), (65, 129), (0, 4), (4, 0)])
@pytest.mark.parametrize("impl", IMPLS)
def test_any_dimensions(impl, d, dv):
    q, k, v = draw((d, dv), nq=20, nk=20, d=d, dv=dv)
    o, lse = run(q, k, v, Causal(), impl)
    assert o.shape == (2, 20, dv)
    want, err = run(q, k, v, Causal(), "reference"), bound(q, k, v, np.tri(20, dtype=bool), 1.0 if d == 0 else None)
    assert_close((o, lse), want, err)


# ---------------------------------------------------------------- axes


@pytest.mark.parametrize("impl", ALL)
def test_leading_axes_may_be_missing_or_many(impl):
    q, k, v = draw("axes", 4, 2, batch=(3, 2))
    o, lse = run(q, k, v, SlidingWindow(9), impl)
    assert o.shape == (3, 2, 4, 37, 5)
    assert lse.shape == (3, 2, 4, 37)
    for b in range(3):
        got = run(q[b], k[b], v[b], SlidingWindow(9), impl)
        assert_close(got, (o[b], lse[b]), bound(q[b], k[b], v[b], SlidingWindow(9).mask(37)))
    got = run(q[1, 1], k[1, 1], v[1, 1], SlidingWindow(9), impl)
    assert_close(got, (o[1, 1], lse[1, 1]), bound(q[1, 1], k[1, 1], v[1, 1], SlidingWindow(9).mask(37)))
    got = run(q[1, 1, 3], k[1, 1, 1], v[1, 1, 1], SlidingWindow(9), impl)
    assert got[0].shape == (37, 5)
    assert_close(got, (o[1, 1, 3], lse[1, 1, 3]), bound(q[1, 1, 3], k[1, 1, 1], v[1, 1, 1], SlidingWindow(9).mask(37)))


@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (2, 2), (2, 1), (3, 1), (4, 2), (6, 2), (6, 3)])
@pytest.mark.parametrize("impl", ALL)
def test_grouped_heads_read_their_own_key_head(impl, heads, kv_heads):
    """Query head h reads key head h // group: values tell by their size who was read."""
    q, k, v = draw("groups", heads, kv_heads, 9, 9, batch=(2,))
    v[:] = 10.0 ** np.arange(kv_heads)[:, None, None] * (1 + np.arange(2)[:, None, None, None])
    o = attention(q, k, v, Causal(), impl=impl)
    want = 10.0 ** (np.arange(heads) // (heads // kv_heads))[:, None, None] * (1 + np.arange(2)[:, None, None, None])
    assert np.allclose(o, np.broadcast_to(want, o.shape), rtol=1e-14, atol=0)


@pytest.mark.parametrize("impl", IMPLS)
def test_one_pattern_for_each_head(impl):
    """As each head alone, whether a plane is shared or not; a batch repeats the heads."""
    patterns = [Causal(), SlidingWindow(3), Causal(), ~Dense()]
    q, k, v = draw("per head", 4, 2, batch=(2,))
    heads = PerHead(*patterns)
    got = run(q, k, v, heads, impl)
    assert_close(got, run(q, k, v, heads, "reference"), bound(q, k, v, heads.mask(37)))
    for h, pattern in enumerate(patterns):
        alone = run(q[:, h : h + 1], k[:, h // 2 : h // 2 + 1], v[:, h // 2 : h // 2 + 1], pattern, impl)
        assert same(alone, [x[:, h : h + 1] for x in got])


@pytest.mark.parametrize("impl", ALL)
def test_a_layout_is_its_pattern(impl):
    q, k, v = draw("layout", 2, 1)
    for pattern in (SlidingWindow(5, 2) | RandomKeys(2), PerHead(Causal(), SlidingWindow(3))):
        got = run(q, k, v, Layout.of(pattern, 37, (16, 8)), impl)
        assert same(got, run(q, k, v, pattern, impl, block=(16, 8)))


@pytest.mark.parametrize(("nq", "nk"), [(0, 5), (5, 0), (0, 0)])
@pytest.mark.parametrize("impl", ALL)
def test_nothing_to_attend(impl, nq, nk):
    for pattern in (None, Causal()):
        o, lse = run(*draw("none", nq=nq, nk=nk), pattern, impl, offset=0)
        assert o.shape == (2, nq, 5)
        assert not o.any()
        assert (lse == -np.inf).all()


# ---------------------------------------------------------------- what the answer is


@pytest.mark.parametrize("name", ["causal", "window two-sided", "random blocks", "fixed summary", "difference"])
@pytest.mark.parametrize("impl", ALL)
def test_equal_scores_give_the_mean(impl, name):
    """q = 0, or scale = 0: the mean of the allowed values, and lse the logarithm of how many they are."""
    n = 40
    mask, (q, k, v) = instance(name, n).mask(n), draw("mean", nq=n, nk=n)
    count = mask.sum(1)
    live = count > 0
    with np.errstate(divide="ignore"):
        want = np.where(live[:, None], np.einsum("ij,hjd->hid", mask, v) / np.maximum(count, 1)[:, None], 0), np.log(count)
    for o, lse in (run(0 * q, k, v, instance(name, n), impl), run(q, k, v, instance(name, n), impl, scale=0.0)):
        assert np.allclose(o, want[0], rtol=0, atol=1e-14)
        assert np.allclose(lse[:, live], want[1][live], rtol=1e-15, atol=1e-15)
        assert (lse[:, ~live] == -np.inf).all()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("impl", ALL)
def test_a_single_key_gives_its_value(impl, dtype):
    """Exactly: its weight is 1, whatever its score."""
    n = 30
    pattern = Chosen.from_indices([[(7 * i + 3) % n] for i in range(n)])
    q, k, v = draw("single", nq=n, nk=n, dtype=dtype)
    q *= 30
    o, lse = run(q, k, v, pattern, impl)
    rows = (7 * np.arange(n) + 3) % n
    assert np.array_equal(o, np.broadcast_to(v[:, rows], o.shape))
    s = np.einsum("hid,id->hi", q.astype(float), k[0, rows].astype(float)) / np.sqrt(8)
    assert (abs(lse - s) <= bound(q, k, v, pattern.mask(n))[1]).all()


@pytest.mark.parametrize("scale", [0.0, 1.0, -0.7, 2.5])
@pytest.mark.parametrize("impl", IMPLS)
def test_scale(impl, scale):
    q, k, v = draw("scale")
    want = run(q, k, v, Causal(), "reference", scale=scale)
    assert_close(run(q, k, v, Causal(), impl, scale=scale), want, bound(q, k, v, np.tri(37, dtype=bool), scale))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("order", ["rising", "falling", "peaks", "identical"])
@pytest.mark.parametrize("impl", IMPLS)
def test_scores_of_hundreds(impl, order, dtype):
    """The running maximum climbs in every tile, or never after the first; or one key takes all; or all are equal."""
    n = 80
    q, k, v = draw("large", nq=n, nk=n, dtype=dtype)
    climb = np.arange(n) / n
    heights = {"rising": climb, "falling": -climb, "peaks": np.where(np.arange(n) % 17 == 5, 9, -9), "identical": 0 * climb + 3}
    q[:], k[:] = 10, 4 * heights[order][:, None]
    want = run(q.astype(np.float64), k.astype(np.float64), v.astype(np.float64), Causal(), "reference")
    got = run(q, k, v, Causal(), impl, block=16)
    assert_close(got, want, bound(q, k, v, np.tri(n, dtype=bool)))
    assert np.isfinite(got[0]).all()


@pytest.mark.parametrize("impl", ALL)
def test_linear_in_the_values_and_blind_to_a_common_score(impl):
    q, k, v = draw("metamorphic")
    pattern = SlidingWindow(6, 3)
    o, lse = run(q, k, v, pattern, impl)
    assert np.allclose(attention(q, k, 3 * v + 1, pattern, impl=impl), 3 * o + 1, rtol=0, atol=2e-14)
    moved, lse_moved = run(q, k + 0.5, v, pattern, impl)                # every score of a row grows by the same
    assert np.allclose(moved, o, rtol=0, atol=1e-13)
    assert np.allclose(lse_moved - lse, 0.5 * q.sum(-1) / np.sqrt(8), rtol=0, atol=1e-13)


@pytest.mark.parametrize("impl", ALL)
def test_the_order_of_keys_does_not_matter(impl):
    q, k, v = draw("order")
    mask = RandomKeys(9).mask(37)
    turn = np.random.default_rng(0).permutation(37)
    want = run(q, k, v, Chosen.from_mask(mask), impl)
    got = run(q, k[:, turn], v[:, turn], Chosen.from_mask(mask[:, turn]), impl)
    assert_close(got, want, bound(q, k, v, mask))


# ---------------------------------------------------------------- cuts and places


@pytest.mark.parametrize("impl", ALL)
def test_cutting_the_keys_anywhere_changes_nothing(impl):
    """Each part knows its own keys alone; one part may be empty for some rows, or for all."""
    q, k, v = draw("cuts")
    for pattern in (Causal(), SlidingWindow(4), RandomKeys(5), ~Dense()):
        mask = pattern.mask(37)
        whole, err = run(q, k, v, pattern, impl), bound(q, k, v, mask)
        for cuts in ([1], [20], [36], [8, 16, 30], [0, 37]):
            edges = [0, *cuts, 37]
            parts = [run(q, k[:, a:b], v[:, a:b], Layout.from_mask(mask[:, a:b], 8), impl) for a, b in pairwise(edges)]
            assert_close(merge(*parts), whole, [2 * e for e in err])


@pytest.mark.parametrize("name", ["causal", "window two-sided", "global", "random keys", "bigbird", "chosen mask"])
@pytest.mark.parametrize("impl", ALL)
def test_a_slice_of_queries_is_the_slice_of_the_whole(impl, name):
    """With its offset said; the last row alone is a decode step."""
    n = 37
    pattern, (q, k, v) = instance(name, n), draw("slices")
    o, lse = run(q, k, v, pattern, impl)
    for a, b in [(0, 10), (5, 37), (17, 18), (36, 37)]:
        err = bound(q[:, a:b], k, v, pattern.mask(n)[a:b])
        assert_close(run(q[:, a:b], k, v, pattern, impl, offset=a), (o[:, a:b], lse[:, a:b]), err)
    err = bound(q[:, -1:], k, v, pattern.mask(n)[-1:])
    assert_close(run(q[:, -1:], k, v, pattern, impl, offset="bottom-right"), (o[:, -1:], lse[:, -1:]), err)


@pytest.mark.parametrize("impl", ALL)
def test_a_window_as_long_as_the_text_is_no_window(impl):
    q, k, v = draw("long window")
    for left, right, plain in [(37, 37, None), (36, 36, Dense()), (36, 0, Causal()), (None, 0, Causal()), (10**9, None, None)]:
        assert same(run(q, k, v, SlidingWindow(left, right), impl), run(q, k, v, plain, impl))


@pytest.mark.parametrize("impl", ALL)
def test_dense_needs_no_offset(impl):
    q, k, v = draw("rectangle", nq=5, nk=37)
    assert same(run(q, k, v, None, impl), run(q, k, v, Dense(), impl, offset="bottom-right"))


# ---------------------------------------------------------------- what must not be felt


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 1e300, 500])
@pytest.mark.parametrize("impl", ALL)
def test_forbidden_keys_are_not_felt(impl, poison, dtype):
    """NaN, infinities and huge numbers in keys and values are nothing to the rows that may not see them, in full and cut tiles alike.

    No bit of the reference moves. A kernel may take another way through a tile that holds NaN, or move the maxima of neighbouring rows
    together, and then rounds otherwise: its rows stay within the bound of the clean problem.
    """
    n, bad = 40, [3, 17, 18, 33]
    q, k, v = draw("poison", nq=n, nk=n, dtype=dtype)
    pattern = Causal() & (SlidingWindow(9) | Chosen.from_indices([[0, 17] if i % 5 == 0 else [0] for i in range(n)]))
    mask = pattern.mask(n)
    blind, clean, err = ~mask[:, bad].any(1), run(q, k, v, pattern, impl, block=8), bound(q, k, v, mask)
    with np.errstate(over="ignore"):
        for target in (k, v):
            target[:, bad] = poison
    dirty = run(q, k, v, pattern, impl, block=8)
    assert 5 < blind.sum() < 35
    rows = [[x[:, blind] for x in result] for result in (dirty, clean, err)]
    if impl == "reference":
        assert same(*rows[:2])
    assert_close(*rows)


@pytest.mark.parametrize("impl", ALL)
def test_live_nan_reaches_exactly_its_rows(impl):
    """A NaN key spoils whole rows, a NaN value its own component, a NaN query its own row: nothing is swallowed, nothing spreads."""
    n = 40
    pattern = Causal() & SlidingWindow(9)
    mask = pattern.mask(n)
    for which, at in (("k", 12), ("v", 12), ("q", 12)):
        q, k, v = draw("live", nq=n, nk=n)
        {"q": q, "k": k, "v": v}[which][:, at, 2] = np.nan
        o, lse = run(q, k, v, pattern, impl, block=8)
        rows = mask[:, at] if which != "q" else np.arange(n) == at
        want = np.zeros((2, n, 5), bool)
        want[:, rows] = True if which != "v" else np.arange(5) == 2
        assert (np.isnan(o) == want).all(), which
        assert (np.isnan(lse) == (rows if which != "v" else False)).all()


@pytest.mark.parametrize("impl", ALL)
def test_live_infinities(impl):
    """An infinite value comes out infinite; an infinite score is NaN, as in any softmax; a score of -inf takes no part."""
    n = 12
    q, k, v = draw("infinite", 1, 1, n, n)
    v[:, 4, 1] = np.inf
    o = attention(q, k, v, Causal(), impl=impl, block=4)
    assert (np.isposinf(o[0]) == ((np.arange(n) >= 4)[:, None] & (np.arange(5) == 1))).all()
    q, k, v = draw("infinite", 1, 1, n, n)
    q[:], k[:, 4] = abs(q), np.inf
    o = attention(q, k, v, Causal(), impl=impl, block=4)
    assert (np.isnan(o[0]).all(1) == (np.arange(n) >= 4)).all()
    k[:, 4] = -np.inf
    got = run(q, k, v, Causal(), impl, block=4)
    without = np.tri(n, dtype=bool)
    without[:, 4] = False
    k[:, 4] = 0
    assert_close(got, run(q, k, v, Chosen.from_mask(without), "reference"), bound(q, k, v, without))


@pytest.mark.parametrize("impl", ALL)
def test_rows_without_keys_are_empty_whatever_stands_there(impl):
    """Decided by the pattern, not by scores: 0 and -inf though every number is NaN."""
    n = 20
    pattern = Causal() - SlidingWindow(4)
    q, k, v = (np.full_like(x, np.nan) for x in draw("empty", nq=n, nk=n))
    o, lse = run(q, k, v, pattern, impl, block=8)
    empty = ~pattern.mask(n).any(1)
    assert empty.sum() == 5
    assert (o[:, empty] == 0).all()
    assert not np.signbit(o[:, empty]).any()
    assert (lse[:, empty] == -np.inf).all()
    assert np.isnan(o[:, ~empty]).all()


@pytest.mark.parametrize("impl", ALL)
def test_more_forbidden_keys_change_no_bit(impl):
    """A longer text behind the last key that anyone may see, in its own tiles and in a tile already there."""
    q, k, v = draw("append", nq=30, nk=60)
    mask = np.zeros((30, 60), bool)
    mask[:, :30] = SlidingWindow(7, 2).mask(30)
    layouts = [Layout.from_mask(mask[:, :nk], 8) for nk in (32, 40, 60)]
    results = [run(q, k[:, :nk], v[:, :nk], layout, impl) for nk, layout in zip((32, 40, 60), layouts, strict=True)]
    if impl == "reference":                                             # matrix products of other sizes round otherwise
        assert all(np.allclose(x, y, rtol=0, atol=1e-13) for r in results for x, y in zip(r, results[0], strict=True))
    else:
        assert all(same(r, results[0]) for r in results)


@pytest.mark.parametrize("impl", IMPLS)
def test_company_in_the_batch_changes_no_bit(impl):
    q, k, v = draw("company", 4, 2, batch=(3,))
    together = run(q, k, v, SlidingWindow(9), impl)
    for b in range(3):
        assert same(run(q[b], k[b], v[b], SlidingWindow(9), impl), [x[b] for x in together])


@pytest.fixture
def all_threads():
    yield
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("impl", IMPLS)
def test_threads_change_no_bit(impl, dtype, all_threads):
    q, k, v = draw("threads", 4, 2, 150, 150, dtype=dtype)
    seen = []
    for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
        numba.set_num_threads(threads)
        seen += [run(q, k, v, Causal() & (SlidingWindow(20) | RandomKeys(4)), impl, block=16)]
    assert all(same(x, seen[0]) for x in seen)


@pytest.mark.parametrize("impl", ALL)
def test_where_arrays_lie_changes_no_bit(impl):
    """Read-only, strided, Fortran order, negative strides, lists, one head standing for several: and inputs stay what they were."""
    q, k, v = draw("memory", 3, 3, 20, 20)
    want = run(q, k, v, Causal(), impl)
    kept = [x.copy() for x in (q, k, v)]
    for x in (q, k, v):
        x.setflags(write=False)
    forms = {
        "read-only": lambda x: x,
        "fortran": np.asfortranarray,
        "strided": lambda x: np.repeat(x, 2, axis=-2)[:, ::2],
        "reversed": lambda x: x[:, ::-1].copy()[:, ::-1],
        "sliced": lambda x: np.concatenate([x, x], -1)[..., : x.shape[-1]],
        "turned": lambda x: np.ascontiguousarray(x.swapaxes(-1, -3)).swapaxes(-1, -3),
    }
    for name, form in forms.items():
        got = run(*(form(x) for x in (q, k, v)), Causal(), impl)
        ok = same(got, want) if impl != "reference" else all(np.allclose(x, y, rtol=0, atol=1e-14) for x, y in zip(got, want, strict=True))
        assert ok, name
    assert same(run(q.tolist(), k.tolist(), v.tolist(), Causal(), impl), want)
    assert all(np.array_equal(x, y) for x, y in zip((q, k, v), kept, strict=True))
    shared = [np.broadcast_to(x[:1], x.shape) for x in (k, v)]
    assert same(run(q, *shared, Causal(), impl), run(q, k[:1], v[:1], Causal(), impl))
    for result in want:
        assert result.flags.writeable
        assert not any(np.shares_memory(result, x) for x in (q, k, v))


@pytest.mark.parametrize("impl", ALL)
def test_byte_order_does_not_cost_precision(impl):
    """Numbers written by a machine of the other kind are the same numbers."""
    q, k, v = draw("bytes")
    want = run(q, k, v, Causal(), impl)
    got = run(*(x.astype(x.dtype.newbyteorder()) for x in (q, k, v)), Causal(), impl)
    assert got[1].dtype.itemsize == 8
    assert_close(got, want, bound(q, k, v, np.tri(37, dtype=bool)))


@pytest.mark.parametrize("impl", ALL)
def test_results_do_not_change_between_calls(impl):
    q, k, v = draw("again")
    assert same(run(q, k, v, SlidingWindow(5), impl), run(q, k, v, SlidingWindow(5), impl))
    assert same(run(q, k, v, SlidingWindow(5), impl)[:1], [attention(q, k, v, SlidingWindow(5), impl=impl)])
