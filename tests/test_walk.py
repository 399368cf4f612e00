import json

import numpy as np
import pytest

import sparsevis as sv
from sparsevis import reference

PATTERNS = {
    "dense": None, "causal": sv.Causal(), "streaming": sv.streaming_llm(2, 6), "two-sided": sv.longformer(4), "strided": sv.Strided(3),
    "empty rows": sv.Causal() - sv.SlidingWindow(1) - sv.Sink(2),
}  # fmt: skip


def tensors(n, nk=None, d=5, dv=3, seed=0):
    draw = np.random.default_rng(seed)
    return draw.standard_normal((n, d)) * 3, draw.standard_normal((nk or n, d)), draw.standard_normal((nk or n, dv))


@pytest.mark.parametrize("block", [1, 4, (5, 3), 64])
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_it_ends_with_attention(pattern, block):
    q, k, v = tensors(23)
    walked = sv.walk(q, k, v, pattern, block=block)
    o, lse = reference.attention(q, k, v, None if pattern is None else pattern.mask(23))
    np.testing.assert_allclose(walked.o, o, rtol=0, atol=1e-13)
    np.testing.assert_allclose(walked.lse, lse, rtol=0, atol=1e-13)


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_each_step_knows_the_keys_so_far_and_no_others(pattern):
    q, k, v = tensors(19)
    walked, mask = sv.walk(q, k, v, pattern, block=4), np.ones((19, 19), bool) if pattern is None else pattern.mask(19)
    scores = q @ k.T / np.sqrt(5)
    for s in walked.steps:
        rows, upto = slice(s.queries.start, s.queries.stop), s.keys.stop
        seen = mask[rows, :upto]
        here = np.where(seen, scores[rows, :upto], -np.inf)
        m = here.max(1)
        np.testing.assert_allclose(s.m, m, atol=1e-13)
        np.testing.assert_allclose(s.l, np.exp(here - np.where(seen.any(1), m, 0)[:, None]).sum(1), atol=1e-12)
        np.testing.assert_allclose(s.o, reference.attention(q[rows], k[:upto], v[:upto], seen)[0], atol=1e-12)
        np.testing.assert_allclose(s.scores, here[:, s.keys.start:], atol=1e-13)
        before = here[:, :s.keys.start].max(1, initial=-np.inf)
        shrink = np.where(before == -np.inf, 0, np.exp(before - np.where(m == -np.inf, 0, m)))
        np.testing.assert_allclose(s.shrink, shrink, atol=1e-13)
        assert s.raised.tolist() == ((before > -np.inf) & (m > before)).tolist()
        assert s.full == bool(mask[rows, s.keys.start:upto].all() and len(s.queries) == len(s.keys) == 4)


def test_order_and_rows():
    walked = sv.walk(*tensors(12), sv.Causal(), block=4)
    assert [(s.row, s.column) for s in walked.steps] == [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]
    assert [s.column for s in walked.of(-1)] == [0, 1, 2]
    assert walked.of(1) == walked.steps[1:3]
    with pytest.raises(ValueError, match="row is 3, and needs to lie from -3 to 2"):
        walked.of(3)


def test_a_maximum_that_rises_twice_by_hand():
    """One query, three tiles of one key: scores 0, 1, 3."""
    walked = sv.walk(np.array([[1.0]]), np.array([[0.0], [1.0], [3.0]]), np.array([[1.0], [2.0], [4.0]]), block=1, scale=1.0, offset=0)
    a, b, c = walked.steps
    e = np.e
    assert [s.m.item() for s in (a, b, c)] == [0, 1, 3]
    np.testing.assert_allclose([s.l.item() for s in (a, b, c)], [1, 1 + 1 / e, 1 + e**-2 + e**-3])
    np.testing.assert_allclose([s.shrink.item() for s in (a, b, c)], [0, 1 / e, e**-2])
    np.testing.assert_allclose(c.o.item(), (1 + 2 * e + 4 * e**3) / (1 + e + e**3))
    assert [s.raised.item() for s in (a, b, c)] == [False, True, True]


def test_layouts_offsets_and_half_precision():
    q, k, v = tensors(7, 20)
    layout = sv.Layout.of(sv.Causal(), (7, 20), (3, 4), offset="bottom-right")
    mask = sv.Causal().mask(7, 20, "bottom-right")
    for walked in (sv.walk(q, k, v, layout), sv.walk(q, k, v, sv.Causal(), block=(3, 4), offset="bottom-right")):
        assert walked.layout == layout
        np.testing.assert_allclose(walked.o, reference.attention(q, k, v, mask)[0], atol=1e-13)
    half = [x.astype(np.float16) for x in (q, k, v)]
    np.testing.assert_allclose(sv.walk(*half, layout).o, reference.attention(*half, mask)[0], atol=1e-13)


def test_masked_nan_is_not_felt():
    q, k, v = tensors(9)
    k[5], v[5] = np.nan, np.nan
    walked = sv.walk(q, k, v, sv.Causal() & sv.SlidingWindow(2), block=4)
    assert np.isnan(walked.o).any(1).tolist() == [5 <= i <= 7 for i in range(9)]


def test_table_and_plain_data():
    walked = sv.walk(*tensors(12), sv.Causal(), block=4)
    text = str(walked)
    assert text.splitlines()[0] == "12 queries over 12 keys: 6 tiles of 4 x 4 walked, 3 skipped"
    assert text.splitlines()[3].split()[:4] == ["1", "0-3", "0-3", "partial"]
    rows = json.loads(walked.to_json())
    assert [r["step"] for r in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[-1]["queries"] == [8, 12]
    np.testing.assert_allclose(rows[-1]["o"], walked.o[8:])
    assert "<table>" in walked._repr_html_()
    long = str(sv.walk(*tensors(40), None, block=4))
    assert "..." in long
    assert len(long.splitlines()) == 3 + 37


def test_nothing_allowed():
    walked = sv.walk(*tensors(6), sv.Sink(0), block=4)
    assert walked.steps == ()
    assert not walked.o.any()
    assert (walked.lse == -np.inf).all()


def test_errors():
    q, k, v = tensors(8)
    with pytest.raises(ValueError, match=r"q is \(2, 8, 5\), and a walk is of one head"):
        sv.walk(*(np.stack([x, x]) for x in (q, k, v)))
    with pytest.raises(MemoryError, match="4 steps of 4 x 4 scores"):
        sv.walk(q, k, v, block=4, memory_limit=100)
    with pytest.raises(ValueError, match="offset"):
        sv.walk(q[:3], k, v, sv.Causal())
