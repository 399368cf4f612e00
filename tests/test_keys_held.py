"""What is counted as held is what a cache holds when a text is really fed to it."""

import numpy as np
import pytest

import sparsevis as sv
from sparsevis import Causal, PerHead
from sparsevis.keys_held import KEYS_LIMIT, keys_held


def most_held(pattern, n, capacity=None):
    """Feed n positions, one at a time, and look at the slots in use."""
    heads = len(pattern) if isinstance(pattern, PerHead) else 1
    cache, x, most = sv.KVCache(pattern, 1, 2, capacity=capacity), np.zeros((heads, 1, 2), np.float32), 0
    for _ in range(n):
        cache.attend(x, x[:1], x[:1], impl="loops")
        most = max(most, int((cache.slots >= 0).sum()))
    return most


@pytest.mark.parametrize("n", [1, 17, 150])
@pytest.mark.parametrize(("pattern", "want"), [
    (Causal(), lambda n: n),
    (sv.mistral(10), lambda n: min(n, 10)),
    (sv.streaming_llm(3, 10), lambda n: min(n, 13)),
    (Causal() & sv.Chunked(8), lambda n: min(n, 8)),
    (Causal() & sv.Strided(7), lambda n: n),
    (Causal() & sv.Dilated(3, 0, 5), lambda n: min(n, 16)),
    (sv.mistral(5) - sv.mistral(2), lambda n: min(n, 5)),
    (Causal() & sv.Global([2], rows=False), lambda n: int(n > 2)),
    (sv.sparse_transformer_fixed(8, 2, merged=True), None),
    (PerHead(sv.mistral(3), sv.streaming_llm(1, 6)), lambda n: min(n, 7)),
], ids=lambda x: "" if callable(x) else repr(x))  # fmt: skip
def test_is_what_a_cache_holds(pattern, want, n):
    got = keys_held(pattern, n)
    assert got == most_held(pattern, n)
    assert want is None or got == want(n)


@pytest.mark.parametrize("pattern", [Causal() & sv.RandomKeys(2), Causal() & sv.Documents([30, 5, 15]), Causal() & sv.Global([-1])])
def test_tables_need_the_length_and_may_be_counted_too_high(pattern):
    most = most_held(pattern, 50, capacity=50)
    assert most <= keys_held(pattern, 50) <= 50
    if not isinstance(pattern.b, sv.RandomKeys):
        assert keys_held(pattern, 50) == most


def test_of_the_causal_part():
    assert keys_held(sv.SlidingWindow(4, 9), 100) == 5
    assert keys_held(sv.Dense(), 100) == keys_held(None, 100) == 100
    assert keys_held(~sv.Dense(), 100) == 0
    assert keys_held(sv.SlidingWindow(None, 1), 100) == 100


def test_not_known():
    assert keys_held(sv.Chosen.from_mask(np.ones((3, 9), bool)), 9) is None
    assert keys_held(sv.mistral(8), KEYS_LIMIT + 1) is None


def test_a_window_of_a_text_far_longer():
    """Lives are guessed from the neighbours' and checked: here all neighbours but those of the summaries agree."""
    n = 4096
    pattern = Causal() & sv.Fixed(96, 5)
    last = [max(i for i in range(j, j + 96) if pattern.allows(i, j, n)) if j % 96 < 91 else n for j in range(n)]
    want = max(sum(j <= t <= last[j] for j in range(n)) for t in range(n - 200, n))
    assert keys_held(pattern, n) == want
