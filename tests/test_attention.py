"""The public calls: what they refuse and in which words, the published Longformer layer, gradients against differences."""

import ml_dtypes
import numpy as np
import pytest
from pictures import assert_refused

import sparsevis as sv
from sparsevis import (
    Causal,
    Dense,
    Documents,
    Global,
    Layout,
    PerHead,
    SlidingWindow,
    attention,
    attention_grad,
    implementations,
    longformer_attention,
)


def draw(*shapes, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


Q, K, V = draw((4, 10, 8), (2, 10, 8), (2, 10, 3))


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: attention(Q.astype(int), K, V), TypeError, ["q is int64", "float32", "astype"]),
    (lambda: attention(Q, K.astype(complex), V), TypeError, ["k is complex128"]),
    (lambda: attention(Q, K, V > 0), TypeError, ["v is bool"]),
    (lambda: attention(Q.astype(np.longdouble), K, V), TypeError, ["q is float128" if np.longdouble(0).itemsize == 16 else "q is"]),
    (lambda: attention(Q.astype(ml_dtypes.float8_e4m3fn), K, V), TypeError, ["q is float8_e4m3fn", "bfloat16"]),
    (lambda: attention(Q.astype("f"), K, V), TypeError, ["float32, float64, float64", "one dtype"]),
    (lambda: attention(Q, K, V.astype(np.float16)), TypeError, ["float64, float64, float16"]),
    (lambda: attention(Q[0, 0], K[0, 0], V[0, 0]), ValueError, ["(8,)", "(n, d)", "(heads, n, d)"]),
    (lambda: attention(Q, K[0], V[0]), ValueError, ["(4, 10, 8)", "(10, 8)", "all alike"]),
    (lambda: attention(Q[..., :5], K, V), ValueError, ["head dimension 5", "8"]),
    (lambda: attention(Q, K[:, :9], V), ValueError, ["(2, 9, 8)", "(2, 10, 3)", "all axes but the last"]),
    (lambda: attention(Q, K, V[:1]), ValueError, ["(2, 10, 8)", "(1, 10, 3)"]),
    (lambda: attention(Q[None], np.stack([K, K]), np.stack([V, V])), ValueError, ["(1, 4, 10, 8)", "(2, 2, 10, 8)", "batch"]),
    (lambda: attention(Q[:3], K, V), ValueError, ["3 query heads over 2 key/value heads", "multiple"]),
    (lambda: attention(Q[:1], K, V), ValueError, ["1 query heads over 2"]),
    (lambda: attention(Q, K[:0], V[:0]), ValueError, ["4 query heads over 0"]),
    (lambda: attention(Q, K, V, np.tri(10, dtype=bool)), TypeError, ["ndarray", "Pattern", "Chosen.from_mask"]),
    (lambda: attention(Q, K, V, "causal"), TypeError, ["str", "Pattern"]),
    (lambda: attention(Q, K, V, [Causal()]), TypeError, ["list", "PerHead"]),
    (lambda: attention(Q, K, V, PerHead(Causal(), Dense())), ValueError, ["2 heads", "q has 4", "PerHead.cycled(4)"]),
    (lambda: attention(Q[:, :5], K, V, Causal()), ValueError, ["5 queries over 10 keys", '"top-left"', '"bottom-right"']),
    (lambda: attention(Q[:, :5], K, V, Causal(), offset="bottom"), ValueError, ["'bottom'", '"bottom-right"']),
    (lambda: attention(Q, K, V, Documents([3, 4])), ValueError, ["7", "10"]),
    (lambda: attention(Q, K, V, Layout.of(Causal(), 9, 4)), ValueError, ["9 queries over 9 keys", "10 over 10"]),
    (lambda: attention(Q, K, V, Layout.of(Causal(), 10, 4), offset=0), ValueError, ["offset", "Layout.of"]),
    (lambda: attention(Q[:3], K[:1], V[:1], Layout.of(PerHead(Causal(), Dense()), 10, 4)), ValueError, ["2 heads", "3", "cycled"]),
    (lambda: attention(Q, K, V, impl="fast"), ValueError, ["'fast'", "reference", "cpu", "loops"]),
    (lambda: attention(Q, K, V, impl="_tile"), ValueError, ["'_tile'"]),
    (lambda: attention(Q, K, V, impl="../cpu"), ValueError, ["'../cpu'"]),
    (lambda: attention(Q, K, V, impl=None), ValueError, ["None"]),
    (lambda: attention(Q, K, V, impl="loops", block=0), ValueError, ["block=0", ">= 1"]),
    (lambda: attention(Q, K, V, impl="loops", bias=np.zeros((3, 10))), ValueError, ["(3, 10)", "(4, 10, 10)"]),
    (lambda: attention_grad(Q, Q, K, V), ValueError, ["do", "(4, 10, 8)", "(4, 10, 3)"]),
    (lambda: attention_grad(Q[..., :3], Q, K, V, impl="loops"), NotImplementedError, ["'loops'", "backward", "reference"]),
    (lambda: attention_grad(Q[..., :3], Q, K, V, impl="fast"), ValueError, ["'fast'"]),
    (lambda: attention_grad(Q[..., :3], Q, K, V, np.tri(10)), TypeError, ["ndarray"]),
])  # fmt: skip
def test_refused(call, error, words):
    assert_refused(call, error, words)


@pytest.mark.parametrize("impl", ["reference", "loops"])
def test_a_layout_of_some_heads_is_refused_for_others(impl):
    """As a PerHead is: nothing is repeated in silence, whoever computes."""
    layout = Layout.of(PerHead(Causal(), Dense()), 10, 4)
    assert_refused(lambda: attention(Q, K, V, layout, impl=impl), ValueError, ["2 heads", "4"])


@pytest.mark.parametrize("impl", ["reference", "loops"])
def test_one_head_without_an_axis(impl):
    """(n, d) has one head, and a pattern for one head fits it."""
    for pattern in (PerHead(Causal()), Layout.of(PerHead(Causal()), 10, 4)):
        o, lse = attention(Q[0], K[0], V[0], pattern, impl=impl, return_lse=True)
        assert o.shape == (10, 3)
        assert lse.shape == (10,)
        assert np.allclose(o, attention(Q[0], K[0], V[0], Causal(), impl=impl), rtol=0, atol=1e-14)
    assert_refused(lambda: attention(Q[0], K[0], V[0], PerHead(Causal(), Causal()), impl=impl), ValueError, ["2 heads", "q has 1"])


def test_a_tile_for_a_layout_that_has_its_own_is_refused():
    assert_refused(lambda: attention(Q, K, V, Layout.of(Causal(), 10, 4), impl="loops", block=5), ValueError, ["block", "layout"])
    attention(Q, K, V, Layout.of(Causal(), 10, 4), impl="loops", block=4)


def test_refused_before_anything_is_built():
    """A sequence this long would take minutes: the shapes are looked at first."""
    x = np.broadcast_to(np.float32(1), (1, 1 << 20, 4))
    assert_refused(lambda: attention(x, x[:, :-1], x, Causal()), ValueError, ["all axes but the last"])


# ---------------------------------------------------------------- what comes back


def test_implementations():
    names = implementations()
    assert names[0] == "reference"
    assert {"cpu", "loops"} <= set(names)
    assert names[1:] == sorted(names[1:])
    assert not any(name.startswith("_") for name in names)
    names.append("mine")
    assert "mine" not in implementations()


@pytest.mark.parametrize("impl", ["reference", "loops"])
@pytest.mark.parametrize(("dtype", "lse_dtype"), [
    (np.float64, np.float64), (np.float32, np.float32), (np.float16, np.float32), (ml_dtypes.bfloat16, np.float32),
])  # fmt: skip
def test_dtypes(impl, dtype, lse_dtype):
    q, k, v = (x.astype(dtype) for x in (Q, K, V))
    o, lse = attention(q, k, v, Causal(), impl=impl, return_lse=True)
    assert (o.dtype, lse.dtype, o.shape, lse.shape) == (dtype, lse_dtype, (4, 10, 3), (4, 10))
    assert isinstance(attention(q, k, v, Causal(), impl=impl), np.ndarray)
    grads = attention_grad(o, q, k, v, Causal())
    assert [(g.dtype, g.shape) for g in grads] == [(dtype, x.shape) for x in (q, k, v)]


def test_options_reach_the_reference():
    plain = attention(Q, K, V, Causal(), impl="reference", return_lse=True)
    for option in ({"softcap": 0.3}, {"bias": Q @ Q.swapaxes(-1, -2)}, {"sinks": np.zeros(4)}, {"scale": 3.0}):
        o, lse = attention(Q, K, V, Causal(), impl="reference", return_lse=True, **option)
        want = sv.reference.attention(Q, K, V, np.tri(10, dtype=bool), **option)
        assert (o == want[0]).all()
        assert (lse == want[1]).all()
        assert (lse != plain[1]).any()


def test_layouts_are_made_once(monkeypatch):
    made = []
    real = Layout.of
    monkeypatch.setattr(Layout, "of", lambda *a: made.append(a) or real(*a))
    pattern = SlidingWindow(123456)
    for _ in range(3):
        attention(Q, K, V, pattern, impl="loops", block=7)
    assert len(made) == 1
    attention(Q, K, V, pattern, impl="loops", block=8)
    attention(Q[:, :5], K, V, pattern, impl="loops", block=8, offset=5)
    attention(Q[:, :5], K, V, pattern, impl="loops", block=8, offset=4)
    assert len(made) == 4


# ---------------------------------------------------------------- gradients


HEADS = PerHead(Causal(), SlidingWindow(1), Dense(), Global([0]))


@pytest.mark.parametrize("pattern", [None, Causal(), Causal() - SlidingWindow(1), HEADS])
def test_gradients_against_central_differences(pattern):
    q, k, v = draw((4, 5, 3), (2, 5, 3), (2, 5, 2), seed=1)
    do, dlse = draw((4, 5, 2), (4, 5), seed=2)

    def loss(q, k, v):
        o, lse = attention(q, k, v, pattern, scale=0.7, impl="reference", return_lse=True)
        return (do * o).sum() + (dlse * np.where(np.isinf(lse), 0, lse)).sum()

    grads, step = attention_grad(do, q, k, v, pattern, scale=0.7, dlse=dlse), 1e-5
    for x, grad in zip((q, k, v), grads, strict=True):
        for at in np.ndindex(x.shape):
            kept, sums = x[at], []
            for side in (step, -step):
                x[at] = kept + side
                sums.append(loss(q, k, v))
            x[at] = kept
            assert abs((sums[0] - sums[1]) / (2 * step) - grad[at]) < 1e-8


def test_gradients_of_a_layout_and_of_a_rectangle():
    q, k, v, do = draw((2, 6, 3), (1, 9, 3), (1, 9, 2), (2, 6, 2))
    want = attention_grad(do, q, k, v, SlidingWindow(4), offset="bottom-right")
    got = attention_grad(do, q, k, v, Layout.of(SlidingWindow(4), (6, 9), 4, offset=3))
    assert all((x == y).all() for x, y in zip(got, want, strict=True))


# ---------------------------------------------------------------- the published Longformer layer


def longformer_by_hand(q, k, v, q_global, k_global, v_global, window, tokens, scale):
    """One row at a time, from the paper: a local row has one softmax over its band and the global keys, a global key counted once and
    read through the local projections; a global row is made anew from the global projections over all keys."""
    n, rows = len(q), []
    tokens = {t % n for t in tokens}
    for i in range(n):
        keys = sorted(tokens | {j for j in range(n) if abs(i - j) <= window // 2})
        row, key, value = (q, k[keys], v[keys]) if i not in tokens else (q_global, k_global, v_global)
        p = np.exp(scale * key @ row[i] - (scale * key @ row[i]).max())
        rows.append(p @ value / p.sum())
    return np.array(rows)


@pytest.mark.parametrize("impl", ["reference", "loops"])
@pytest.mark.parametrize(("window", "tokens"), [(4, [0]), (2, [0, 7, -1]), (0, (5,)), (40, [3]), (6, 2), (2, list(range(12)))])
def test_longformer_layer(impl, window, tokens):
    six = draw(*[(2, 3, 12, 4)] * 6, seed=3)
    for scale in (None, 0.3):
        o = longformer_attention(*six, window=window, global_tokens=tokens, scale=scale, impl=impl)
        for b, h in np.ndindex(2, 3):
            listed = [tokens] if isinstance(tokens, int) else tokens
            want = longformer_by_hand(*(x[b, h] for x in six), window, listed, 0.5 if scale is None else scale)
            assert np.allclose(o[b, h], want, rtol=0, atol=1e-14)


def test_longformer_layer_with_grouped_heads_and_without_axes():
    q, k, v, qg, kg, vg = draw(*[(4, 9, 4), (2, 9, 4), (2, 9, 3)] * 2, seed=4)
    o = longformer_attention(q, k, v, qg, kg, vg, window=2, global_tokens=[4], impl="loops")
    for h in range(4):
        one = [x[h // 2] if len(x) == 2 else x[h] for x in (q, k, v, qg, kg, vg)]
        assert np.allclose(o[h], longformer_by_hand(*one, 2, [4], 0.5), rtol=0, atol=1e-14)
        assert np.allclose(longformer_attention(*one, window=2, global_tokens=[4], impl="loops"), o[h], rtol=0, atol=1e-14)


def test_global_projections_matter_only_where_the_query_is_global():
    six = draw(*[(9, 4)] * 6, seed=5)
    o = longformer_attention(*six, window=2, global_tokens=[4], impl="loops")
    for x in six[3:]:
        x += 1
    moved = longformer_attention(*six, window=2, global_tokens=[4], impl="loops")
    assert ((o != moved).any(-1) == (np.arange(9) == 4)).all()


def test_longformer_layer_without_globals_is_a_window():
    six = draw(*[(9, 4)] * 6)
    o = longformer_attention(*six, window=2, global_tokens=[], impl="loops")
    assert (o == attention(*six[:3], SlidingWindow(1, 1), impl="loops")).all()


@pytest.mark.parametrize(("change", "error", "words"), [
    ({"window": 3}, ValueError, ["window is 3", "even"]),
    ({"window": -2}, ValueError, ["window is -2"]),
    ({"global_tokens": [9]}, ValueError, ["(9,)", "from -9 to 8"]),
    ({"global_tokens": [0.5]}, TypeError, ["0.5"]),
    ({"impl": "fast"}, ValueError, ["'fast'"]),
])  # fmt: skip
def test_longformer_layer_refuses(change, error, words):
    options = {"window": 2, "global_tokens": [0], "impl": "loops"} | change
    assert_refused(lambda: longformer_attention(*draw(*[(9, 4)] * 6), **options), error, words)


def test_longformer_layer_refuses_projections_that_do_not_fit():
    x, y = draw((9, 4), (8, 4))
    for six in ([x, x, x, y, y, y], [x, x, x, *(z.astype(np.float32) for z in (x, x, x))], [x, x, x, x, x, x[:, :3]]):
        assert_refused(lambda six=six: longformer_attention(*six, window=2, global_tokens=[0]), ValueError, ["q_global", "shapes", "dtype"])
    assert_refused(lambda: longformer_attention(x[:5], x, x, x[:5], x, x, window=2, global_tokens=[0]), ValueError, ["5 queries", "9 keys"])
