"""What every kernel must do, against dense attention written from its definition; here run on the loops."""
import numpy as np
import pytest

from sparsevis import reference
from sparsevis.kernels import loops
from sparsevis.layout import Layout

TOLERANCE = {"float32": 2e-5, "float64": 1e-12}
PATTERNS = {                                                        # i, j: query and key positions, ends aligned
    "full": lambda i, j: (i == i) & (j == j),
    "causal": lambda i, j: j <= i,
    "window": lambda i, j: (j <= i) & (i - j < 25),
    "holes": lambda i, j: (i % 5 != 0) & ((i * 7 + j * 3) % 11 < 4),
    "nothing": lambda i, j: (i < j) & (j < i),
}
SIZES = [((64, 64), 150, 133), ((16, 16), 40, 70), ((7, 5), 40, 33), ((128, 64), 200, 100), ((1, 1), 9, 12)]        # block, nq, nk


def picture(pattern, nq, nk):
    return PATTERNS[pattern](np.arange(nq)[:, None] + nk - nq, np.arange(nk))


def layout_of(mask, block, heads=None):
    """Boolean (nq, nk), or planes of them, cut into tiles one by one."""
    planes, (bq, bk) = mask if mask.ndim == 3 else mask[None], block
    _, nq, nk = planes.shape
    indptr, indices, kind, tiles = [0], [], [], []
    for plane in planes:
        for i in range(0, nq, bq):
            for j in range(0, nk, bk):
                tile = np.zeros(block, bool)
                cut = plane[i:i + bq, j:j + bk]
                tile[:cut.shape[0], :cut.shape[1]] = cut
                if tile.any():
                    indices.append(j // bk)
                    kind.append(-1 if tile.all() else len(tiles))
                    if not tile.all():
                        tiles.append(np.packbits(tile, axis=1, bitorder="little"))
            indptr.append(len(indices))
    tiles = np.array(tiles, np.uint8).reshape(len(tiles), bq, -(-bk // 8))
    return Layout((nq, nk), block, np.array(indptr), np.array(indices, np.int32), np.array(kind, np.int32), tiles, heads)


def dense(q, k, v, masks, scale):
    """Query by query in float64: softmax over the allowed keys, and nothing else is looked at."""
    o, lse = np.zeros((*q.shape[:2], v.shape[2])), np.full(q.shape[:2], -np.inf)
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    with np.errstate(all="ignore"):
        for h, i in np.ndindex(q.shape[:2]):
            kv, allowed = h * len(k) // len(q), np.flatnonzero(masks[h][i])
            if len(allowed):
                s = np.array([np.sum(q[h, i] * k[kv, j]) for j in allowed]) * scale
                top = 0 if s.max() == -np.inf else s.max()
                weights = np.exp(s - top)
                o[h, i] = (weights[:, None] * v[kv, allowed]).sum(0) / weights.sum()
                lse[h, i] = top + np.log(weights.sum())
    return o, lse


def draw(dtype, heads=2, kv_heads=2, nq=70, nk=70, d=16, dv=16):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(dtype) for shape in ((heads, nq, d), (kv_heads, nk, d), (kv_heads, nk, dv))]


NEUTRAL = {
    "softcap": 1e9,
    "sinks": np.full(4, -np.inf),
    "slopes": np.zeros(4),
    "key_mask": np.ones((2, 70), bool),
    "bias": np.zeros((1, 60, 70)),
}
FEATURES = {
    "softcap": 0.7,
    "sinks": np.array([1.0, -50.0, 30.0, 0.5]),
    "slopes": np.array([0.5, -0.1, 0.0, 2.0]),
    "key_mask": np.random.default_rng(4).random((2, 70)) > 0.4,
    "bias": np.random.default_rng(5).standard_normal((4, 60, 70)),
}


def as_reference(mask, heads, softcap=None, sinks=None, slopes=None, key_mask=None, bias=None, offset=0):
    """(mask, options) for the reference, to whom padding is a mask and slopes are a bias."""
    nq, nk = mask.shape[-2:]
    total = np.zeros((1, nq, nk)) if bias is None else bias.astype(np.float64)
    if slopes is not None:
        total = total + np.asarray(slopes)[:, None, None] * (np.arange(nk) - np.arange(nq)[:, None] - offset)
    if key_mask is not None:
        mask = mask & np.repeat(key_mask, heads // len(key_mask), axis=0)[:, None]
    return mask, {"softcap": softcap, "sinks": sinks, "bias": total}


class Kernel:
    """The tests of one kernel; a subclass names it."""

    forward = None

    def check(self, q, k, v, mask, block=(64, 64), scale=0.3, heads=None):
        before = [x.copy() for x in (q, k, v)]
        o, lse = self.forward(q, k, v, layout_of(mask, block, heads), scale=scale)
        want = dense(q, k, v, [mask] * len(q) if heads is None else mask[np.resize(heads, len(q))], scale)
        for got, exact in zip((o, lse), want, strict=True):
            assert got.dtype == q.dtype
            np.testing.assert_allclose(got, exact, rtol=0, atol=TOLERANCE[q.dtype.name])
            assert got.shape == exact.shape
        assert (o[np.isneginf(want[1]) & ~np.isnan(want[0]).any(-1)] == 0).all()
        for x, y in zip((q, k, v), before, strict=True):
            np.testing.assert_array_equal(x, y)
        return o, lse

    @pytest.mark.parametrize("dtype", TOLERANCE)
    @pytest.mark.parametrize(("block", "nq", "nk"), SIZES)
    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_patterns(self, pattern, block, nq, nk, dtype):
        self.check(*draw(dtype, nq=nq, nk=nk), picture(pattern, nq, nk), block)

    @pytest.mark.parametrize(("nq", "nk"), [(1, 300), (300, 7), (65, 1), (1, 1), (64, 64), (2, 129)])
    def test_lengths(self, nq, nk):
        self.check(*draw("float32", nq=nq, nk=nk), picture("causal", nq, nk))

    @pytest.mark.parametrize("dtype", TOLERANCE)
    @pytest.mark.parametrize(("d", "dv"), [(1, 1), (3, 5), (20, 33), (8, 40), (256, 256)])
    def test_head_dims(self, d, dv, dtype):
        self.check(*draw(dtype, d=d, dv=dv), picture("window", 70, 70), scale=d ** -0.5)

    @pytest.mark.parametrize(("heads", "kv_heads"), [(2, 2), (4, 2), (6, 2), (3, 1), (14, 2)])
    def test_grouped_heads(self, heads, kv_heads):
        self.check(*draw("float64", heads, kv_heads), picture("causal", 70, 70))

    @pytest.mark.parametrize("block", [(64, 64), (16, 16), (7, 5)])
    def test_heads_with_patterns_of_their_own(self, block):
        masks = np.array([picture(p, 70, 70) for p in ("causal", "holes", "nothing")])
        self.check(*draw("float64", 4, 2), masks, block, heads=(1, 0, 0, 2))
        self.check(*draw("float64", 6, 3), masks, block, heads=(2, 0, 1))           # a batch of two

    @pytest.mark.parametrize("empty", ["nq", "nk", "d", "dv", "heads"])
    def test_nothing_to_do(self, empty):
        sizes = dict.fromkeys(("nq", "nk"), 20) | {empty: 0}
        if empty == "heads":
            sizes["kv_heads"] = 0
        q, k, v = draw("float32", **sizes)
        o, lse = self.check(q, k, v, picture("causal", sizes["nq"], sizes["nk"]), (16, 16))
        if empty == "nk":
            assert (o == 0).all()
            assert (lse == -np.inf).all()

    def test_rows_without_keys(self):
        q, k, v = draw("float32")
        o, lse = self.check(q, k, v, picture("holes", 70, 70))
        assert (o[:, ::5] == 0).all()
        assert (lse[:, ::5] == -np.inf).all()
        assert np.isfinite(lse[:, 1::5]).all()

    @pytest.mark.parametrize("scale", [0.0, -0.5, 1e-30])
    def test_scale(self, scale):
        mask = picture("window", 70, 70)
        _, lse = self.check(*draw("float64"), mask, scale=scale)
        if scale == 0:
            np.testing.assert_allclose(lse[0], np.log(mask.sum(1)), atol=1e-14)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("where", ["q", "k", "v"])
    @pytest.mark.parametrize("pattern", ["full", "window", "holes", "nothing"])
    @pytest.mark.parametrize("block", [(64, 64), (16, 16)])
    def test_strange_numbers_are_felt_by_their_own_rows_alone(self, block, pattern, where, bad):
        """The expected NaN and infinities are those of a dense softmax over the allowed keys."""
        q, k, v = draw("float32", dv=5)
        {"q": q, "k": k, "v": v}[where][:, 40, 3] = bad
        self.check(q, k, v, picture(pattern, 70, 70), block)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_masked_numbers_do_not_matter(self, bad):
        q, k, v = draw("float64")
        mask = picture("holes", 70, 70)
        mask[:, 30:50] = False
        k[:, 30:50], v[:, 30:50] = bad, bad
        o, lse = self.check(q, k, v, mask)
        assert np.isfinite(o).all()
        assert np.isfinite(lse[:, mask.any(1)]).all()

    def test_strange_number_in_a_row_without_keys(self):
        q, k, v = draw("float32")
        q[:, ::5] = np.nan
        o, _ = self.check(q, k, v, picture("holes", 70, 70))
        assert np.isfinite(o).all()

    def test_scores_of_minus_infinity(self):
        """A row with keys, all at -inf, is not a row without keys."""
        q, k, v = draw("float32")
        q[:], k[:, :60] = 1, -np.inf
        mask = picture("causal", 70, 70)
        mask[3] = False
        o, lse = self.check(q, k, v, mask)
        assert np.isnan(o[:, 2]).all()
        assert (lse[:, 2] == -np.inf).all()
        assert (o[:, 3] == 0).all()

    @pytest.mark.parametrize("scale", [1000.0, 1e4, 1e20])
    def test_huge_scores(self, scale):
        """Whole numbers: every product is exact, so what is left is the softmax's own error."""
        q, k, v = (np.round(x) for x in draw("float32", d=4))
        o, lse = self.forward(q, k, v, layout_of(picture("causal", 70, 70), (16, 16)), scale=scale)
        want, want_lse = dense(q, k, v, [picture("causal", 70, 70)] * 2, scale)
        np.testing.assert_allclose(o, want, rtol=0, atol=1e-6)
        np.testing.assert_allclose(lse, want_lse, rtol=2e-7, atol=1e-6)

    @pytest.mark.parametrize("dtype", TOLERANCE)
    @pytest.mark.parametrize("slope", [10.0, 0.01, -10.0, -0.01])
    def test_rising_and_falling_scores(self, slope, dtype):
        q, k, v = draw(dtype, nq=20, nk=286)
        q[:], k[:] = 1, slope / 16 * np.arange(286)[:, None]
        mask, eps = picture("full", 20, 286), np.finfo(dtype).eps
        o, lse = self.forward(q, k, v, layout_of(mask, (16, 16)), scale=1.0)
        want, want_lse = dense(q, k, v, [mask] * 2, 1.0)
        np.testing.assert_allclose(o, want, rtol=0, atol=TOLERANCE[dtype])
        np.testing.assert_allclose(lse, want_lse, rtol=4 * eps, atol=4 * eps)

    @pytest.mark.parametrize("dtype", TOLERANCE)
    @pytest.mark.parametrize("level", [-88.7, -709.5, -1e4, -5e4])
    def test_scores_far_below_zero(self, level, dtype):
        """The first two: e ** -level is not a number of float32, or of float64, any more."""
        q, k, v = draw(dtype)
        q[:], k[:] = 0.25, level / 4
        mask = picture("causal", 70, 70)
        o, lse = self.forward(q, k, v, layout_of(mask, (16, 16)), scale=1.0)
        np.testing.assert_allclose(o[0, -1], v[0].mean(0), atol=TOLERANCE[dtype])
        np.testing.assert_allclose(lse[0], level + np.log(mask.sum(1)), rtol=np.finfo(dtype).eps * 4)

    def test_values_near_the_largest_number(self):
        q, k, v = draw("float32")
        q[:], v[:] = 0, 1e36
        o, _ = self.forward(q, k, v, layout_of(picture("causal", 70, 70), (16, 16)), scale=1.0)
        np.testing.assert_allclose(o, 1e36, rtol=1e-6)

    def test_read_only_arrays(self):
        q, k, v = draw("float32")
        for x in (q, k, v):
            x.flags.writeable = False
        self.check(q, k, v, picture("causal", 70, 70))


    # ------------------------------------------------------------ features

    def compare(self, q, k, v, mask, block=(64, 64), scale=0.3, **asked):
        o, lse = self.forward(q, k, v, layout_of(mask, block), scale=scale, **asked)
        allowed, options = as_reference(mask, len(q), **asked)
        want, want_lse = reference.attention(q, k, v, allowed, scale=scale, **options)
        assert o.dtype == lse.dtype == q.dtype
        for got, exact in ((o, want), (lse, want_lse)):
            np.testing.assert_array_equal(np.isnan(got), np.isnan(exact))
            np.testing.assert_allclose(got, exact, rtol=0, atol=5 * TOLERANCE[q.dtype.name])
        return o, lse

    @pytest.mark.parametrize("dtype", TOLERANCE)
    @pytest.mark.parametrize("block", [(64, 64), (16, 16), (7, 5)])
    @pytest.mark.parametrize("feature", [*FEATURES, "all", "none"])
    def test_features(self, feature, block, dtype):
        """All are given, so that one compilation serves; those not under test do nothing."""
        asked = {name: FEATURES[name] if feature in (name, "all") else x for name, x in NEUTRAL.items()}
        q, k, v = draw(dtype, 4, 2, nq=60, nk=70, dv=20)
        for pattern in ("window", "full", "holes"):
            self.compare(q, k, v, picture(pattern, 60, 70), block, offset=10, **asked)

    @pytest.mark.parametrize("names", [("softcap", "key_mask"), ("sinks", "slopes", "bias")])
    def test_a_feature_that_is_not_asked_for(self, names):
        self.compare(*draw("float64", 4, 2, nq=60, nk=70), picture("window", 60, 70), **{name: FEATURES[name] for name in names})

    def test_sinks_of_queries_without_keys(self):
        """Their output is 0 and their lse the sink; an infinite or NaN sink is taken at its word."""
        q, k, v = draw("float64", 4, 2, nq=60, nk=70)
        sinks = np.array([1.5, np.inf, -np.inf, np.nan])
        o, lse = self.compare(q, k, v, picture("holes", 60, 70), **{**NEUTRAL, "sinks": sinks})
        np.testing.assert_array_equal(lse[:, np.arange(60) % 5 == 0], np.repeat(sinks[:, None], 12, axis=1))
        assert (o[:, np.arange(60) % 5 == 0] == 0).all()

    def test_scores_of_minus_infinity_beside_a_sink(self):
        q, k, v = draw("float64", 4, 2, nq=60, nk=70)
        bias = np.full((1, 60, 70), -np.inf)
        bias[0, 30:] = 0
        o, lse = self.compare(q, k, v, picture("full", 60, 70), **{**NEUTRAL, "bias": bias, "sinks": np.array([1.0, -np.inf, 0, 0])})
        assert (o[0, :30] == 0).all()
        assert (lse[0, :30] == 1).all()
        assert np.isnan(o[1, :30]).all()

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_strange_bias(self, bad):
        """Where a pair is not allowed it is not felt; where it is allowed it is."""
        q, k, v = draw("float64", 4, 2, nq=60, nk=70)
        mask, bias = picture("window", 60, 70), np.zeros((1, 60, 70))
        bias[0][~mask] = bad
        clean = self.compare(q, k, v, mask, **{**NEUTRAL, "bias": np.zeros((1, 60, 70))})
        with np.errstate(invalid="ignore"):
            same = self.forward(q, k, v, layout_of(mask, (64, 64)), scale=0.3, **{**NEUTRAL, "bias": bias})
        for x, y in zip(clean, same, strict=True):
            np.testing.assert_array_equal(x, y)
        bias[0, 20, 25] = bad
        self.compare(q, k, v, mask, **{**NEUTRAL, "bias": bias})

    def test_padding_may_hold_anything(self):
        q, k, v = draw("float64", 4, 2, nq=60, nk=70)
        kept = np.arange(70) < np.array([[50], [0]])
        o, lse = self.compare(q, k, v, picture("full", 60, 70), (16, 16), **{**NEUTRAL, "key_mask": kept})
        k[0, 50:], v[0, 50:], k[1], v[1] = np.nan, np.inf, np.inf, np.nan
        again = self.forward(q, k, v, layout_of(picture("full", 60, 70), (16, 16)), scale=0.3, **{**NEUTRAL, "key_mask": kept})
        np.testing.assert_allclose(again[0], o, rtol=0, atol=1e-14 if self.forward is loops.forward else 0)
        np.testing.assert_array_equal(again[1], lse)
        assert (o[2:] == 0).all()
        assert (lse[2:] == -np.inf).all()

    @pytest.mark.parametrize("dtype", TOLERANCE)
    def test_cap_of_huge_and_of_tiny_scores(self, dtype):
        q, k, v = draw(dtype, 4, 2, nq=60, nk=70)
        for scale in (1e-6, 1e6):
            self.compare(q, k, v, picture("window", 60, 70), scale=scale, **{**NEUTRAL, "softcap": 1.0})

    @pytest.mark.parametrize(("asked", "words"), [
        ({"softcap": 0.0}, ["softcap", "above 0"]),
        ({"sinks": np.zeros(3)}, ["sinks", "(3,)", "(4,)"]),
        ({"slopes": np.zeros((4, 1))}, ["slopes", "(4, 1)"]),
        ({"key_mask": np.ones((2, 70))}, ["key_mask", "float64", "boolean"]),
        ({"key_mask": np.ones((3, 70), bool)}, ["key_mask", "(3, 70)"]),
        ({"key_mask": np.ones((2, 60), bool)}, ["key_mask", "(batch, 70)"]),
        ({"bias": np.zeros((4, 70, 60))}, ["bias", "(4, 70, 60)", "60, 70"]),
        ({"bias": np.zeros((3, 60, 70))}, ["bias", "(3, 60, 70)"]),
    ])
    def test_features_that_do_not_fit(self, asked, words):
        q, k, v = draw("float64", 4, 2, nq=60, nk=70)
        with pytest.raises(ValueError) as e:                                                    # noqa: PT011
            self.forward(q, k, v, layout_of(picture("full", 60, 70), (64, 64)), scale=0.3, **asked)
        assert all(word in str(e.value) for word in words)


class TestLoops(Kernel):
    forward = staticmethod(loops.forward)
