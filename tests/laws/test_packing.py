"""Laws of texts that share a call: packed one after the other, or padded to one length, each gets what it gets alone.

Forward, lse and gradient, for every implementation; and what stands in another text, or in padding, is not felt: no bit of the reference
moves, and a kernel, which may take another way through a tile that holds NaN, moves by rounding alone.
"""

import zlib

import numpy as np
import pytest

from sparsevis import (
    Causal,
    Chosen,
    Dense,
    Dilated,
    Documents,
    PerHead,
    SlidingWindow,
    Strided,
    attention,
    attention_grad,
    implementations,
    mistral,
)

IMPLS = [
    pytest.param(name, marks=pytest.mark.skip(reason="needs a CUDA device: see tests/kernels") if name.startswith("cuda") else ())
    for name in implementations()
]
WITH_GRADIENT = ["reference", "cpu"]
TEXTS = [1, 9, 0, 64, 1, 30, 2]                                                 # over the edges of tiles, on one, and an empty one
ALONE = {
    "all": Dense(),
    "causal": Causal(),
    "window": mistral(4),
    "both sides": SlidingWindow(3, 2),
    "far": Causal() & (Strided(5) | SlidingWindow(1)),
    "heads": PerHead(Causal(), SlidingWindow(2, 2), Dilated(2, 0, 3), Strided(4)),
}


def draw(seed, n, batch=(), heads=4, kv_heads=2):
    """q, k, v, do, dlse."""
    rng = np.random.default_rng(zlib.crc32(repr(seed).encode()))
    shapes = (heads, n, 6), (kv_heads, n, 6), (kv_heads, n, 3), (heads, n, 3), (heads, n)
    return [rng.standard_normal((*batch, *shape)) for shape in shapes]


def spans(lengths):
    """Where each text that is not empty begins and ends."""
    ends = np.cumsum(lengths).tolist()
    return [slice(end - n, end) for n, end in zip(lengths, ends, strict=True) if n]


def assert_close(got, want):
    """Of inputs of order one: o and lse of order one, gradients of order ten."""
    for x, y in zip(got, want, strict=True):
        assert x.shape == y.shape
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12)


def assert_unmoved(impl, got, clean):
    assert_close(got, clean)
    if impl == "reference":
        assert all(np.array_equal(x, y) for x, y in zip(got, clean, strict=True))


# ---------------------------------------------------------------- packed


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("impl", IMPLS)
def test_packed_texts_are_each_alone(impl, name):
    """Rules that look at distances: a text that begins at 75 has the mask of one that begins at 0."""
    q, k, v, *_ = draw(name, sum(TEXTS))
    o, lse = attention(q, k, v, ALONE[name] & Documents(TEXTS), impl=impl, return_lse=True)
    for at in spans(TEXTS):
        want = attention(q[:, at], k[:, at], v[:, at], ALONE[name], impl="reference", return_lse=True)
        assert_close((o[:, at], lse[:, at]), want)


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("impl", WITH_GRADIENT)
def test_gradients_of_packed_texts_are_each_alone(impl, name):
    q, k, v, do, dlse = draw(name, sum(TEXTS))
    grads = attention_grad(do, q, k, v, Documents(TEXTS) & ALONE[name], impl=impl, dlse=dlse)
    for at in spans(TEXTS):
        want = attention_grad(do[:, at], q[:, at], k[:, at], v[:, at], ALONE[name], dlse=dlse[:, at])
        assert_close([x[:, at] for x in grads], want)


@pytest.mark.parametrize("impl", IMPLS)
def test_another_text_is_not_felt(impl):
    """Not its numbers, nor what is no number; and a gradient that begins in one text ends there, exactly."""
    q, k, v, do, _ = draw("apart", sum(TEXTS))
    pattern, here = Documents(TEXTS) & Causal(), spans(TEXTS)[2]
    clean = attention(q, k, v, pattern, impl=impl, return_lse=True)
    for x, strange in ((q, np.nan), (k, np.nan), (v, np.inf)):
        x[:, : here.start], x[:, here.stop :] = strange, -strange
    got = attention(q, k, v, pattern, impl=impl, return_lse=True)
    assert_unmoved(impl, [x[:, here] for x in got], [x[:, here] for x in clean])
    if impl in WITH_GRADIENT:
        q, k, v, do, _ = draw("apart", sum(TEXTS))
        do[:, : here.start], do[:, here.stop :] = 0, 0
        for x in attention_grad(do, q, k, v, pattern, impl=impl):
            assert x[:, here].any()
            assert not x[:, : here.start].any()
            assert not x[:, here.stop :].any()


def test_packed_and_batched_are_one():
    """Three texts of one length, packed and as a batch."""
    q, k, v, *_ = draw("batch", 20, (3,))
    packed = [np.concatenate(x, axis=1) for x in (q, k, v)]
    o = attention(*packed, Documents([20] * 3) & Causal(), impl="loops")
    assert_close(np.split(o, 3, axis=1), attention(q, k, v, Causal(), impl="loops"))


# ---------------------------------------------------------------- padded

N, LENGTHS = 70, [70, 9, 64, 1]


def padded(side):
    """Which keys are real, (batch, N): texts of LENGTHS at the left, with padding at the right; or the other way round; or in pieces."""
    if side == "pieces":
        return np.random.default_rng(0).random((len(LENGTHS), N)) < [[0.9], [0.5], [0.1], [1]]
    real = np.arange(N) < np.array(LENGTHS)[:, None]
    return real if side == "right" else real[:, ::-1].copy()


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("impl", IMPLS)
def test_padded_texts_are_each_alone(impl, side, name):
    q, k, v, *_ = draw((side, name), N, (len(LENGTHS),))
    real = padded(side)
    o, lse = attention(q, k, v, ALONE[name], impl=impl, key_mask=real, return_lse=True)
    for b, kept in enumerate(real):
        alone = [x[b][:, kept] for x in (q, k, v)]
        assert_close((o[b][:, kept], lse[b][:, kept]), attention(*alone, ALONE[name], impl="reference", return_lse=True))


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("impl", WITH_GRADIENT)
def test_gradients_of_padded_texts_are_each_alone(impl, side, name):
    """A loss looks at real rows alone; what it sends back to padding is exactly 0."""
    q, k, v, do, dlse = draw((side, name), N, (len(LENGTHS),))
    real = padded(side)
    do, dlse = np.where(real[:, None, :, None], do, 0), np.where(real[:, None], dlse, 0)
    grads = attention_grad(do, q, k, v, ALONE[name], impl=impl, key_mask=real, dlse=dlse)
    for b, kept in enumerate(real):
        alone = [x[b][:, kept] for x in (do, q, k, v)]
        want = attention_grad(*alone, ALONE[name], dlse=dlse[b][:, kept])
        assert_close([x[b][:, kept] for x in grads], want)
        assert not any(x[b][:, ~kept].any() for x in grads)


@pytest.mark.parametrize("impl", IMPLS)
def test_any_keys_may_be_missing(impl):
    """Attention over the keys that are left, each still standing where it stood; rows whose keys are all missing give 0."""
    q, k, v, *_ = draw("pieces", N, (len(LENGTHS),))
    real, pattern = padded("pieces"), Causal() & SlidingWindow(9)
    o, lse = attention(q, k, v, pattern, impl=impl, key_mask=real, return_lse=True)
    for b, kept in enumerate(real):
        left = Chosen.from_mask(pattern.mask(N)[:, kept])
        want = attention(q[b], k[b][:, kept], v[b][:, kept], left, offset=0, impl="reference", return_lse=True)
        assert_close((o[b], lse[b]), want)
    empty = ~(pattern.mask(N) & real[:, None]).any(-1)
    assert empty.any()
    assert not o.swapaxes(1, 2)[empty].any()
    assert (lse.swapaxes(1, 2)[empty] == -np.inf).all()


@pytest.mark.parametrize("name", ["all", "window", "heads"])
@pytest.mark.parametrize("side", ["left", "right", "pieces"])
@pytest.mark.parametrize("impl", IMPLS)
def test_padding_is_not_felt(impl, side, name):
    """Whatever stands there: NaN, infinity, or a number whose product overflows."""
    q, k, v, do, _ = draw((side, name), N, (len(LENGTHS),))
    real, pattern = padded(side), ALONE[name]
    clean = attention(q, k, v, pattern, impl=impl, key_mask=real, return_lse=True)
    grads = attention_grad(do, q, k, v, pattern, impl=impl, key_mask=real) if impl in WITH_GRADIENT else ()
    for strange in (np.nan, np.inf, 1e300):
        k, v = (np.where(real[:, None, :, None], x, strange) for x in (k, v))
        got = attention(q, k, v, pattern, impl=impl, key_mask=real, return_lse=True)
        assert_unmoved(impl, got, clean)
        if grads:
            assert_unmoved(impl, attention_grad(do, q, k, v, pattern, impl=impl, key_mask=real), grads)


@pytest.mark.parametrize("impl", IMPLS)
def test_a_text_of_padding_alone_gives_nothing(impl):
    q, k, v, do, dlse = draw("nothing", 10, (2,))
    real = np.array([[True] * 10, [False] * 10])
    o, lse = attention(q, k, v, Causal(), impl=impl, key_mask=real, return_lse=True)
    assert_close((o[0],), (attention(q[0], k[0], v[0], Causal(), impl="reference"),))
    assert not o[1].any()
    assert (lse[1] == -np.inf).all()
    if impl in WITH_GRADIENT:
        assert not any(x[1].any() for x in attention_grad(do, q, k, v, Causal(), impl=impl, key_mask=real, dlse=dlse))


@pytest.mark.parametrize("impl", IMPLS)
def test_packed_and_padded_are_one(impl):
    """The same texts in one row of documents, and in rows of their own with padding."""
    q, k, v, *_ = draw("one", N, (len(LENGTHS),))
    real = padded("right")
    pieces = [np.concatenate([x[b][:, kept] for b, kept in enumerate(real)], axis=1) for x in (q, k, v)]
    packed = attention(*pieces, Documents(LENGTHS) & Causal(), impl=impl)
    rows = attention(q, k, v, Causal(), impl=impl, key_mask=real)
    assert_close([packed], [np.concatenate([rows[b][:, kept] for b, kept in enumerate(real)], axis=1)])
