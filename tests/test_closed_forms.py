"""Closed forms against numbers worked by hand; that they agree with what is measured is a law (tests/laws/test_receptive_fields.py)."""

import numpy as np
import pytest

import sparsevis as sv
from sparsevis.closed_forms import closed_form

C = sv.Causal()


@pytest.mark.parametrize(("patterns", "query", "sizes"), [
    ([sv.SlidingWindow(3)] * 4, 50, [4, 7, 10, 13]),                          # 1 + 3 l
    ([sv.SlidingWindow(3)] * 4, 5, [4, 6, 6, 6]),                             # cut at the front: 0 to 5
    ([sv.SlidingWindow(3, 2)] * 3, 96, [4, 7, 10]),                           # n is 97
    ([C & sv.SlidingWindow(3, 2)] * 3, 50, [4, 7, 10]),
    ([sv.SlidingWindow(1), sv.SlidingWindow(5), C, sv.SlidingWindow(1)], 50, [2, 7, 51, 51]),
    ([sv.Dense()] * 2, 3, [97, 97]),
    ([sv.PerHead(sv.SlidingWindow(3), sv.SlidingWindow(1, 4))] * 2, 50, [8, 15]),
    ([sv.Dilated(2, 1, 5)] * 2, 50, [4, 7]),                                  # 40 45 50 55; 30 to 60
    ([sv.Dilated(2, 1, 5)] * 2, 94, [3, 5]),                                  # nothing after 94 + 5
    ([C & sv.Dilated(2, 1, 5)] * 2, 50, [3, 5]),
    ([sv.BlockWindow(10, 1, 1)] * 2, 55, [30, 50]),
    ([sv.BlockWindow(10, 1, 1)] * 2, 85, [27, 37]),                           # the last block has 7
    ([C & sv.BlockWindow(10, 1, 0)] * 2, 55, [16, 26]),
    ([sv.Chunked(10)] * 2, 95, [7, 7]),
    ([C & sv.Chunked(10)] * 2 + [C, C & sv.Chunked(10)], 25, [6, 6, 26, 26]),
    ([C, C & sv.Chunked(10)], 25, [26, 26]),
    ([sv.Chunked(10), sv.Dense(), sv.Chunked(10)], 25, [10, 97, 97]),
    ([sv.Documents([7, 0, 90])] * 2, 7, [90, 90]),
    ([C & sv.Documents([7, 0, 90])] * 2, 8, [2, 2]),
    ([sv.Strided(10)] * 2, 13, [10, 10]),                                     # 3 13 ... 93
    ([C & sv.Strided(10)] * 2, 13, [2, 2]),
    ([sv.streaming_llm(2, 4)] * 3, 50, [6, 9, 12]),                           # 1 + 2 + 3 l
    ([sv.streaming_llm(2, 4)] * 3, 8, [6, 9, 9]),
    ([C & sv.longformer(8)] * 3, 50, [6, 10, 14]),
    ([sv.longformer(8)] * 3, 50, [-1, 97, 97]),
    ([sv.bigbird(8)] * 2, 50, [-1, 97]),
    ([sv.sparse_transformer_strided(8)] * 3, 50, [-1, 51, 51]),
    ([sv.sparse_transformer_fixed(8, 2)] * 2, 50, [-1, 51]),
    ([sv.sparse_transformer_fixed(8, 2, merged=True)] * 2, 50, [-1, 51]),
])  # fmt: skip
def test_sizes_by_hand(patterns, query, sizes):
    form = closed_form(patterns, 97, query)
    assert form.sizes.tolist() == sizes
    assert closed_form(patterns, 97).sizes[:, query].tolist() == sizes
    assert form.agrees(sv.receptive_field(patterns, 97, query).sizes)


@pytest.mark.parametrize("patterns", [
    [sv.RandomKeys(3)] * 2,
    [C & (sv.SlidingWindow(6) | sv.Strided(8))] * 2,                          # one key short of the stride: more than 2 layers
    [sv.Global([0], rows=False) | sv.SlidingWindow(1, 1)] * 2,                # all see it, but it sees nobody
    [C & (sv.Global([3]) | sv.SlidingWindow(2))] * 2,                         # its row is no sink's
    [sv.Fixed(8, 2)] * 2,                                                     # a last group without its last keys is unheard of
    [sv.SlidingWindow(1), sv.Strided(3)],
    [sv.Chunked(4), C],                                                       # everything before, and the rest of the chunk
    [sv.RandomKeys(3), sv.Dense()],
])  # fmt: skip
def test_none_is_given_where_none_is_known(patterns):
    assert closed_form(patterns, 97) is None


def test_window_one_short_of_the_stride():
    """2 hops need a window of `stride` keys: with one fewer, the farthest residue takes a third."""
    for keys, hops in [(8, 2), (7, 3)]:
        field = sv.receptive_field(C & (sv.SlidingWindow(keys - 1) | sv.Strided(8)), 97, layers=4)
        assert field.diameter == hops


@pytest.mark.parametrize(("pattern", "claimed", "measured", "words"), [
    (sv.mistral(4), [4, 8, 12], [4, 7, 10], ["4 l", "2310.06825", "the query itself"]),
    (sv.SlidingWindow(2, 2), [4, 8, 12], [5, 9, 13], ["4 l", "2004.05150", "itself"]),
    (sv.Dilated(2, 2, 3), [12, 24, 36], [5, 9, 13], ["12 l", "2004.05150", "every 3-th"]),
    (C & sv.longformer(4), [-1, 97, 97], [4, 6, 8], ["2 layers", "global", "causal mask"]),
])  # fmt: skip
def test_published_claims_that_differ(pattern, claimed, measured, words):
    form = closed_form([pattern] * 3, 97, 48)
    assert form.claimed.tolist() == claimed
    assert form.sizes.tolist() == measured
    assert all(word in form.claim + form.why for word in words)
    text = str(sv.receptive_field(pattern, 97, 48, layers=3))
    assert f"published: {form.claim}; but {form.why}" in text


def test_mistral_as_published():
    """32 layers of 4,096 keys reach 131,041 positions, not 131,072; the paper's text, with one key more, would reach 131,073."""
    n = 1 << 18
    assert closed_form([sv.mistral(4096)] * 32, n, n - 1).sizes[-1] == 131_041
    assert closed_form([sv.SlidingWindow(4096)] * 32, n, n - 1).sizes[-1] == 131_073
    assert closed_form([sv.mistral(4096)] * 32, n, n - 1).claimed[-1] == 131_072


def test_agreement_can_fail():
    form = closed_form([sv.longformer(8)] * 2, 20)
    assert form.agrees(np.array([[3] * 20, [20] * 20]))                       # layer 1 is not spoken of
    assert not form.agrees(np.array([[3] * 20, [20] * 19 + [19]]))
