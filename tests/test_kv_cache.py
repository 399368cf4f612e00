"""The cache: decoding is the whole call row by row, however a text is cut; only what a coming query may need is kept; errors."""

import tracemalloc
from dataclasses import dataclass
from importlib import import_module

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import INSTANCES, assert_refused, instance

import sparsevis as sv
from sparsevis import (
    And,
    BlockWindow,
    Causal,
    Chosen,
    Chunked,
    Dense,
    Dilated,
    Documents,
    Fixed,
    Global,
    KVCache,
    Layout,
    Not,
    Or,
    Pattern,
    PerHead,
    RandomBlocks,
    RandomKeys,
    Sink,
    SlidingWindow,
    Strided,
    implementations,
    reference,
)
from sparsevis.kv_cache import Held, Rising

kv_cache = import_module("sparsevis.kv_cache")
IMPLS = [name for name in implementations() if not name.startswith("cuda")]
N = 37

# (pattern for four query heads, slots that a long text takes; None where it goes on growing)
PATTERNS = {
    "window": (sv.mistral(5), 5),
    "window of itself": (SlidingWindow(0), 1),
    "causal": (Causal(), None),
    "causal dilated": (Causal() & Dilated(3, 2, 2), 7),
    "dilated": (Dilated(2, 0, 3), 7),
    "streaming": (sv.streaming_llm(3, 4), 7),
    "chunked": (Chunked(7) & Causal(), 7),
    "window and globals": (Causal() & (SlidingWindow(3) | Global([0, 3])), 6),
    "block window": (BlockWindow(4) & Causal(), 8),
    "strided": (Strided(5) & Causal(), None),
    "fixed": (sv.sparse_transformer_fixed(6, 2, merged=True), None),
    "all but near": (Causal() - SlidingWindow(3), None),
    "nothing": (Sink(0), 0),
    "late sink": (Causal() & Sink(2), 2),
    "two windows": (PerHead(SlidingWindow(2), SlidingWindow(6)).cycled(4), 7),
    "window and all": (PerHead(SlidingWindow(3), Causal() & Strided(4)).cycled(4), None),
    "four heads": (PerHead(SlidingWindow(3), sv.streaming_llm(2, 2), Chunked(4) & Causal(), sv.mistral(6)), 8),
    "fixed heads": (sv.sparse_transformer_fixed(6, 2, heads=4), None),
}
BOUNDED = [name for name, (_, slots) in PATTERNS.items() if slots is not None]


def draw(seed=0, n=N, heads=4, kv_heads=2, d=6, dv=3, batch=(), dtype=np.float64):
    rng = np.random.default_rng(seed)
    shapes = (*batch, heads, n, d), (*batch, kv_heads, n, d), (*batch, kv_heads, n, dv)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def cache_for(pattern, k, v, **options):
    batch = None if k.ndim == 3 else len(k)
    return KVCache(pattern, k.shape[-3], k.shape[-1], v.shape[-1], batch=batch, dtype=k.dtype, **options)


def fed(cache, q, k, v, parts, **options):
    """The outputs of one call for each part, side by side."""
    ends = np.cumsum(parts) + cache.length
    calls = [slice(int(end) - part, int(end)) for part, end in zip(parts, ends, strict=True)]
    out = [cache.attend(*(x[..., at, :] for x in (q, k, v)), return_lse=True, **options) for at in calls]
    return np.concatenate([o for o, _ in out], axis=-2), np.concatenate([lse for _, lse in out], axis=-1)


def whole(q, k, v, pattern, **options):
    """What the dense reference says of the whole text, in float64."""
    if "slopes" in options:
        i = np.arange(q.shape[-2])
        options["bias"] = np.reshape(options.pop("slopes"), (-1, 1, 1)) * (i - i[:, None])
    return reference.attention(q, k, v, pattern.mask(q.shape[-2]), **options)


def assert_close(got, want, most=1e-12):
    for x, y in zip(got, want, strict=True):
        assert x.shape == y.shape
        x = x.astype(np.float64)
        assert (np.isneginf(x) == np.isneginf(y)).all()
        finite = np.isfinite(y)
        assert abs(x[finite] - y[finite]).max(initial=0) <= most


def held(cache):
    return sorted(cache.slots[cache.slots >= 0].tolist())


# ---------------------------------------------------------------- decoding is the whole call, row by row

CUTS = {"decode": [1] * N, "prompt": [N], "prompt, then decode": [20] + [1] * 17, "chunks": [3] * 12 + [1], "any": [7, 1, 1, 1, 17, 1, 9]}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", PATTERNS)
def test_rows_of_the_whole_call(name, cut):
    pattern, _ = PATTERNS[name]
    q, k, v = draw()
    cache = cache_for(pattern, k, v)
    assert_close(fed(cache, q, k, v, CUTS[cut], impl="loops"), whole(q, k, v, pattern))
    assert cache.length == len(cache) == N


@pytest.mark.parametrize("name", INSTANCES)
def test_every_pattern_made_causal(name):
    """With the length said, everything in the library works, tables and random draws among them."""
    pattern = Causal() & instance(name, N)
    q, k, v = draw(1)
    for parts in ([1] * N, [5, 1, 13, 1, 1, 16]):
        assert_close(fed(cache_for(pattern, k, v, capacity=N), q, k, v, parts, impl="loops"), whole(q, k, v, pattern))


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("name", ["window", "streaming", "window and globals", "strided", "four heads", "nothing"])
def test_every_implementation(name, impl):
    pattern, _ = PATTERNS[name]
    q, k, v = draw(2, n=90)
    cache = cache_for(pattern, k, v)
    assert_close(fed(cache, q, k, v, [70] + [1] * 18 + [2], impl=impl), whole(q, k, v, pattern))


@pytest.mark.parametrize(("heads", "kv_heads", "batch"), [(4, 4, ()), (4, 1, ()), (6, 2, (3,)), (1, 1, (1,))])
def test_grouped_heads_and_batches(heads, kv_heads, batch):
    q, k, v = draw(3, heads=heads, kv_heads=kv_heads, dv=7, batch=batch)
    for pattern in (sv.streaming_llm(2, 5), PerHead(SlidingWindow(4), Causal()).cycled(heads)):
        got = fed(cache_for(pattern, k, v), q, k, v, CUTS["any"], impl="loops")
        assert_close(got, whole(q, k, v, pattern))


@pytest.mark.parametrize("options", [
    {"scale": 0.0}, {"scale": 1.3}, {"softcap": 0.8}, {"sinks": [0.3, -1.0, 2.0, 0.0]}, {"softcap": 2.0, "sinks": np.zeros(4), "scale": 2},
])  # fmt: skip
def test_options(options):
    q, k, v = draw(4)
    for name in ("window", "fixed heads"):
        pattern, _ = PATTERNS[name]
        for cut in ("decode", "any"):
            got = fed(cache_for(pattern, k, v), q, k, v, CUTS[cut], impl="loops", **options)
            assert_close(got, whole(q, k, v, pattern, **options))


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("name", ["window", "streaming", "fixed heads", "causal"])
def test_slopes_follow_the_positions(name, impl):
    """In a ring, beside sinks with a gap between, and side by side; with sinks' logits and a cap besides."""
    q, k, v = draw(6)
    pattern, _ = PATTERNS[name]
    for asked in ({"slopes": sv.alibi_slopes(4)}, {"slopes": [0.3, -0.2, 1.0, 0.0], "sinks": np.ones(4), "softcap": 3.0}):
        for cut in ("decode", "any"):
            got = fed(cache_for(pattern, k, v), q, k, v, CUTS[cut], impl=impl, **asked)
            assert_close(got, whole(q, k, v, pattern, **asked))


@pytest.mark.parametrize(("dtype", "most"), [(np.float32, 3e-6), (np.float16, 4e-3), (ml_dtypes.bfloat16, 3e-2)])
def test_lower_precisions(dtype, most):
    """Values are of order 3: one rounding of the output, and what a float32 softmax of five keys adds."""
    q, k, v = draw(5, dtype=dtype)
    cache = cache_for(sv.mistral(5), k, v)
    o, lse = fed(cache, q, k, v, CUTS["any"], impl="loops")
    assert (o.dtype, lse.dtype) == (dtype, np.float32)
    assert_close((o, lse), whole(*(x.astype(np.float64) for x in (q, k, v)), sv.mistral(5)), most)
    assert cache.nbytes == 5 * 2 * (6 + 3) * np.dtype(dtype).itemsize


RULES = st.recursive(
    st.one_of(
        st.builds(SlidingWindow, st.integers(0, 9)),
        st.builds(Dilated, st.integers(0, 4), st.integers(0, 2), st.integers(1, 4)),
        st.builds(Strided, st.integers(1, 7)),
        st.builds(Chunked, st.integers(1, 9)),
        st.builds(BlockWindow, st.integers(1, 5), st.integers(0, 2), st.integers(0, 1)),
        st.builds(Sink, st.integers(0, 4)),
        st.builds(Fixed, st.integers(3, 6), st.integers(1, 3), st.booleans()),
        st.builds(Global, st.sets(st.integers(0, 29), min_size=1, max_size=3)),
    ),
    lambda rule: st.one_of(st.builds(And, rule, rule), st.builds(Or, rule, rule), st.builds(Not, rule)),
    max_leaves=4,
)


@given(rule=RULES, other=RULES, parts=st.lists(st.integers(1, 12), min_size=1, max_size=12), seed=st.integers(0, 99), heads=st.booleans())
@settings(max_examples=60)
def test_any_rule_cut_anywhere(rule, other, parts, seed, heads):
    pattern = Causal() & (PerHead(rule, other) if heads else rule)
    n = 30
    parts = [p for p, end in zip(parts, np.cumsum(parts), strict=True) if end < n]
    parts = [*parts, n - sum(parts)]
    q, k, v = draw(seed, n, heads=2, kv_heads=1, d=3, dv=2)
    cache = cache_for(pattern, k, v)
    assert_close(fed(cache, q, k, v, parts, impl="reference"), whole(q, k, v, pattern))
    one_by_one = cache_for(pattern, k, v)
    fed(one_by_one, q, k, v, [1] * n, impl="reference")
    assert held(cache) == held(one_by_one)


def test_a_long_prompt_makes_no_square():
    """A mask of 60,000 x 60,000 would take 3.6 GB."""
    n = 60_000
    q, k, v = draw(6, n, heads=1, kv_heads=1, d=2, dv=1, dtype=np.float32)
    cache = cache_for(sv.streaming_llm(2, 6), k, v)
    tracemalloc.start()
    o, _ = fed(cache, q, k, v, [5, n - 6, 1], impl="cpu_plain")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e8
    for i in (5, 3000, n - 1):
        keys = [0, 1, *range(max(2, i - 5), i + 1)]
        assert_close((o[0, i],), reference.attention(q[0, [i]], k[0, keys], v[0, keys])[0], 1e-5)
    assert cache.slots.size == 8


def test_tiles_with_and_without_gaps():
    """Tiles of 64 over keys that stand side by side in the kernel and apart in the text."""
    pattern = Causal() & (SlidingWindow(150) | (Strided(3) & (Sink(40) | Dilated(30, 0, 7))))
    q, k, v = draw(7, 700, heads=1, kv_heads=1, d=2, dv=2)
    want = whole(q, k, v, pattern)
    for parts in ([300, 400], [1] * 5 + [295, 1, 399], [640, 60]):
        assert_close(fed(cache_for(pattern, k, v), q, k, v, parts, impl="loops"), want)


@pytest.mark.parametrize("name", ["window", "causal dilated", "fixed", "window and globals", "strided"])
def test_layouts_over_keys_with_gaps(name):
    """Tiles that begin alike and have other gaps are not taken for one another."""
    pattern, _ = PATTERNS[name]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        positions = np.flatnonzero(rng.random(60) < rng.choice([0.3, 0.7, 0.95]))
        layout = Layout.of(Held(pattern, Rising(positions), 60), (50, positions.size), 4, offset=10)
        assert (layout.mask() == pattern.mask(60)[10:, positions]).all()


@pytest.mark.parametrize("name", ["window", "causal", "streaming"])
def test_a_step_reads_the_keys_where_they_lie(name, monkeypatch):
    """No copy of the cache a step: the kernel gets the storage itself, in the order of its slots."""
    pattern, _ = PATTERNS[name]
    q, k, v = draw(20)
    cache, seen = cache_for(pattern, k, v), []
    real = kv_cache.attention
    monkeypatch.setattr(kv_cache, "attention", lambda q, k, v, *a, **b: seen.append((k, v)) or real(q, k, v, *a, **b))
    fed(cache, q, k, v, [20, 1, 1, 1], impl="loops")
    for keys, values in seen[1:]:
        assert keys.shape[1] == values.shape[1] == cache.slots.size
    assert np.shares_memory(keys, cache._k)
    assert np.shares_memory(values, cache._v)


# ---------------------------------------------------------------- what is kept


def positions_after(pattern, parts):
    """The slots after each call; a dot is a free one."""
    q, k, v = draw(n=sum(parts), kv_heads=1)
    cache, lines = cache_for(pattern, k, v), []
    for part in parts:
        at = slice(cache.length, cache.length + part)
        cache.attend(*(x[:, at] for x in (q, k, v)), impl="loops")
        lines.append(" ".join("." if p < 0 else str(p) for p in cache.slots))
    return lines


def test_a_window_is_a_ring():
    assert positions_after(SlidingWindow(3), [1] * 10) == [
        "0 . . .",
        "0 1 . .",
        "0 1 2 .",
        "0 1 2 3",
        "4 1 2 3",
        "4 5 2 3",
        "4 5 6 3",
        "4 5 6 7",
        "8 5 6 7",
        "8 9 6 7",
    ]


def test_sinks_stay_beside_the_ring():
    assert positions_after(sv.streaming_llm(2, 3), [1] * 9)[4:] == [
        "0 1 2 3 4",
        "0 1 5 3 4",
        "0 1 5 6 4",
        "0 1 5 6 7",
        "0 1 8 6 7",
    ]


def test_a_chunk_is_emptied_at_its_end():
    assert positions_after(Causal() & Chunked(3), [1] * 8) == ["0 . .", "0 1 .", "0 1 2", "3 . .", "3 4 .", "3 4 5", "6 . .", "6 7 ."]


def test_a_long_call_leaves_what_its_last_query_or_a_later_one_may_attend():
    assert positions_after(SlidingWindow(3), [2, 7, 1, 1, 3, 9, 1]) == [
        "0 1 . .",
        "5 6 7 8",
        "9 6 7 8",
        "9 10 7 8",
        "11 10 12 13",
        "19 20 21 22",
        "23 20 21 22",
    ]


def test_summaries_outlive_their_group():
    assert [sorted(map(int, line.replace(".", "").split())) for line in positions_after(Causal() & Fixed(4), [1] * 12)][5:] == [
        [3, 4, 5],
        [3, 4, 5, 6],
        [3, 4, 5, 6, 7],
        [3, 7, 8],
        [3, 7, 8, 9],
        [3, 7, 8, 9, 10],
        [3, 7, 8, 9, 10, 11],
    ]


def test_a_key_stays_while_any_head_may_need_it():
    assert positions_after(PerHead(SlidingWindow(1), SlidingWindow(0), Sink(1) & Causal(), SlidingWindow(1)), [1] * 5)[2:] == [
        "0 1 2",
        "0 3 2",
        "0 3 4",
    ]


def test_a_key_that_not_even_its_own_query_attends_is_not_kept():
    assert positions_after(Causal() & Strided(2) - SlidingWindow(0) & Sink(1), [1, 1, 1]) == ["0", "0", "0"]
    assert positions_after(Causal() & Sink(1), [1, 3, 1]) == ["0", "0", "0"]


@pytest.mark.parametrize("start", [1, 2, 30, 200])
@pytest.mark.parametrize("name", BOUNDED)
def test_memory_does_not_grow(name, start):
    """Wherever decoding begins: so many slots and no more, over many turns of the ring."""
    pattern, slots = PATTERNS[name]
    q, k, v = draw(8, start + 120)
    cache = cache_for(pattern, k, v)
    fed(cache, q, k, v, [start], impl="reference")
    for i in range(start, start + 120):
        cache.attend(*(x[:, i : i + 1] for x in (q, k, v)), impl="reference")
        assert cache.slots.size <= slots
        assert cache.nbytes == cache.slots.size * 2 * (6 + 3) * 8
        if name == "window" and start == 1:
            assert cache.slots[i % slots] == i
    assert cache.slots.size == slots


@pytest.mark.parametrize("name", [name for name in PATTERNS if name not in BOUNDED])
def test_growing_is_amortised(name):
    """Storage that must grow is never much larger than what it holds, and moved so seldom that a position costs three copied keys."""
    pattern, _ = PATTERNS[name]
    q, k, v = draw(9, 300)
    cache, copied, size = cache_for(pattern, k, v), 0, 0
    for i in range(300):
        cache.attend(*(x[:, i : i + 1] for x in (q, k, v)), impl="reference")
        copied, size = copied + len(held(cache)) * (cache.slots.size != size), cache.slots.size
        assert size <= 1.5 * len(held(cache)) + 9 + 6
    assert 0 < copied <= 3 * 300


@pytest.mark.parametrize("name", PATTERNS)
def test_nothing_is_kept_in_vain(name):
    """Just the keys that a query of a long mask attends, from the last one seen on."""
    pattern, _ = PATTERNS[name]
    mask = pattern.mask(120)
    mask = mask.any(0) if mask.ndim == 3 else mask
    q, k, v = draw(10, 40)
    cache = cache_for(pattern, k, v)
    for part in (1, 1, 9, 1, 1, 1, 20, 1):
        i = cache.length
        cache.attend(*(x[:, i : i + part] for x in (q, k, v)), impl="reference")
        last = cache.length - 1
        assert held(cache) == np.flatnonzero(mask[last:, : last + 1].any(0)).tolist()


@pytest.mark.parametrize("name", INSTANCES)
def test_nothing_is_forgotten_too_soon(name):
    """Tables may keep more than they need, never less."""
    pattern = Causal() & instance(name, N)
    mask, (q, k, v) = pattern.mask(N), draw(11)
    cache = cache_for(pattern, k, v, capacity=N)
    for part in (1, 3, 1, 1, 11, 1, 1, 18):
        i = cache.length
        cache.attend(*(x[:, i : i + part] for x in (q, k, v)), impl="reference")
        last = cache.length - 1
        assert set(np.flatnonzero(mask[last:, : last + 1].any(0)).tolist()) <= set(held(cache)) <= set(range(last + 1))


@pytest.mark.parametrize("impl", IMPLS)
def test_what_is_forgotten_is_not_felt(impl):
    """NaN and infinities in keys that have left, or are kept for others, are nothing to a row; one that is attended is felt."""
    pattern = PerHead(SlidingWindow(2), sv.streaming_llm(1, 3)).cycled(4)
    q, k, v = draw(12)
    parts = [4, 1, 1, 1, 6] + [1] * 8 + [16]
    clean = fed(cache_for(pattern, k, v), q, k, v, parts, impl=impl)
    for x in (k, v):
        x[:, 4], x[:, 17] = np.nan, np.inf
    got = fed(cache_for(pattern, k, v), q, k, v, parts, impl=impl)
    rows = pattern.mask(N)[:, :, [4, 17]].any(-1)
    assert rows[:, 4:7].all()
    assert not rows[:, 7:17].any()
    for x, y in zip(got, clean, strict=True):
        assert_close((x[~rows],), (y[~rows],))
    assert not np.isfinite(got[0][rows]).any(-1).any()


def test_inputs_are_copied_and_left_alone():
    q, k, v = draw(13)
    kept = [x.copy() for x in (q, k, v)]
    want = whole(q, k, v, SlidingWindow(4))[0]
    cache = cache_for(SlidingWindow(4), k, v)
    for a, b in ((0, 1), (1, 9), (9, 10), (10, N)):
        mine = [x[:, a:b].copy() for x in (q, k, v)]
        for x in mine:
            x.flags.writeable = False
        assert_close((cache.attend(*mine, impl="loops"),), (want[:, a:b],))
        for x in mine:
            x.flags.writeable = True
            x[:] = np.nan                                                       # the cache does not look at them any more
    assert all((x == y).all() for x, y in zip((q, k, v), kept, strict=True))


def test_slots_are_a_copy():
    q, k, v = draw(14)
    cache = cache_for(SlidingWindow(2), k, v)
    fed(cache, q, k, v, [3], impl="loops")
    cache.slots[:] = 77
    assert held(cache) == [0, 1, 2]


@pytest.mark.parametrize("part", [1, 5])
def test_a_call_that_fails_takes_nothing_in(part):
    q, k, v = draw(15)
    want = whole(q, k, v, sv.streaming_llm(1, 3))
    cache = cache_for(sv.streaming_llm(1, 3), k, v)
    got = [fed(cache, q, k, v, [6], impl="loops")]
    for _ in range(3):
        with pytest.raises(ValueError, match="sinks"):
            cache.attend(*(np.full_like(x[:, :part], np.nan) for x in (q, k, v)), impl="loops", sinks=np.zeros(3))
        assert (cache.length, max(held(cache))) == (6, 5)
    got.append(fed(cache, q, k, v, [1, 7, 1, N - 15], impl="loops"))
    for x, y, exact in zip(*got, want, strict=True):
        assert_close((np.concatenate([x, y], axis=1),), (exact,))


# ---------------------------------------------------------------- lengths


def test_documents_bring_their_length():
    pattern = Causal() & Documents([5, 0, 8, 1, 23])
    q, k, v = draw(16)
    cache = cache_for(pattern, k, v)
    assert_close(fed(cache, q, k, v, [1] * 13, impl="loops"), [x[:, :13] for x in whole(q, k, v, pattern)])
    assert held(cache) == list(range(5, 13))
    fed(cache, q, k, v, [1], impl="loops")
    assert held(cache) == [13]
    fed(cache, q, k, v, [23], impl="loops")
    assert cache.slots.size == 23
    assert_refused(lambda: cache.attend(*(x[:, :1] for x in (q, k, v))), ValueError, ["1 more", "37", "longer sequence"])


def test_capacity_is_the_n_of_the_rule():
    pattern = Causal() & (SlidingWindow(2) | Global([-1], rows=True, columns=False))
    q, k, v = draw(17, 12)
    cache = cache_for(pattern, k, v, capacity=12)
    assert_close(fed(cache, q, k, v, [1] * 12, impl="loops"), whole(q, k, v, pattern))
    assert held(cache) == list(range(12))


@pytest.mark.parametrize("pattern", [
    RandomKeys(2) & Causal(), RandomBlocks(2, 1) & Causal(), Causal() & Global([0, -1]), PerHead(Causal(), Causal() & Global([-2])),
    Causal() & Chosen.from_blocks(np.eye(4, dtype=bool), 3), ~(Dense() - Causal() | RandomKeys(1)),
])  # fmt: skip
def test_rules_that_hang_on_the_length_need_a_capacity(pattern):
    assert_refused(lambda: KVCache(pattern, 1, 4), ValueError, ["depends on the length", "capacity="])
    assert len(KVCache(pattern, 1, 4, capacity=12)) == 0


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(("pattern", "words"), [
    (Dense(), ["Dense()", "query 0 may attend key 1", "& Causal()"]),
    (SlidingWindow(3, 1), ["query 0", "key 1"]),
    (sv.longformer(4, (0,)), ["query 0", "key 1", "Global"]),
    (Chunked(5), ["query 0", "key 1"]),
    (sv.PrefixLM(2), ["query 0", "key 1"]),
    (Causal() | Global([7], columns=False), ["query 7", "key 8"]),
    (Causal() | Global([7], rows=False), ["query 0", "key 7"]),
    (PerHead(Causal(), SlidingWindow(0, None)), ["SlidingWindow(left=0, right=None)", "query 0", "key 1"]),
    (Documents([1, 1, 3]), ["query 2", "key 3"]),
    (Chosen.from_mask(np.tri(5, 5, 1, dtype=bool)), ["query 0", "key 1"]),
    (Chosen.from_indices([[], [0, 2], [1]]), ["query 1", "key 2"]),
])  # fmt: skip
def test_the_future_is_refused(pattern, words):
    assert_refused(lambda: KVCache(pattern, 1, 4), ValueError, ["not causal", *words])


def test_a_late_look_ahead_is_refused_when_it_comes():
    pattern, (q, k, v) = SlidingWindow(2) | Global([5000], columns=False), draw(n=6, kv_heads=1)
    cache = cache_for(pattern, k, v)
    cache.length = 4998
    fed(cache, *(np.pad(x, ((0, 0), (4998, 0), (0, 0))) for x in (q, k, v)), [1, 1], impl="loops")
    for part in (1, 3):
        some = [x[:, :part] for x in (q, k, v)]
        assert_refused(lambda some=some: cache.attend(*some), ValueError, ["query 5000", "key 5001"])


def test_a_table_that_is_causal_needs_no_word_about_it():
    """Its reading says "perhaps": the keys ahead are then looked at one by one."""
    pattern = Chosen.from_mask(np.tri(N, dtype=bool) & (np.random.default_rng(0).random((N, N)) < 0.3))
    q, k, v = draw(18)
    assert_close(fed(cache_for(pattern, k, v), q, k, v, [1, 1, 30, 5], impl="loops"), whole(q, k, v, pattern))


def test_what_cannot_be_seen_to_be_causal_is_refused():
    never = Strided(2) - Strided(2)
    assert_refused(lambda: KVCache(never, 1, 4), ValueError, ["not causal", "perhaps", "query 0", "& Causal()"])
    assert len(KVCache(never & Causal(), 1, 4)) == 0
    assert len(KVCache(never, 1, 4, capacity=50)) == 0


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: KVCache(None, 2, 4), TypeError, ["NoneType", "Causal()"]),
    (lambda: KVCache(np.tri(3), 2, 4), TypeError, ["ndarray", "Pattern"]),
    (lambda: KVCache(Causal(), 0, 4), ValueError, ["kv_heads is 0", ">= 1"]),
    (lambda: KVCache(Causal(), None, 4), ValueError, ["kv_heads is None"]),
    (lambda: KVCache(Causal(), 2, 4.5), ValueError, ["head_dim is 4.5", "whole number"]),
    (lambda: KVCache(Causal(), 2, 4, 0), ValueError, ["value_dim is 0"]),
    (lambda: KVCache(Causal(), 2, 4, batch=True), ValueError, ["batch is True"]),
    (lambda: KVCache(Causal(), 2, 4, capacity=-3), ValueError, ["capacity is -3"]),
    (lambda: KVCache(Causal(), 2, 4, dtype=int), TypeError, ["dtype is int64", "float32"]),
    (lambda: KVCache(PerHead(Causal(), Causal(), Causal()), 2, 4), ValueError, ["3 heads", "2 key/value heads", "multiple"]),
    (lambda: KVCache(Causal() & Documents([3, 4]), 2, 4, capacity=9), ValueError, ["Documents", "7 keys", "9 positions"]),
    (lambda: KVCache(PerHead(*(Causal() & Documents([n]) for n in (3, 4))), 1, 4), ValueError, ["4 keys", "3 positions"]),
    (lambda: KVCache(Causal() & Global([8]), 2, 4, capacity=5), ValueError, ["9 to any keys", "5 positions"]),
    (lambda: KVCache(Causal() & Chosen.from_mask(np.ones((3, 5), bool)), 2, 4), ValueError, ["5 keys", "3 queries", "5 positions"]),
])  # fmt: skip
def test_caches_that_are_refused(call, error, words):
    assert_refused(call, error, words)


Q, K, V = draw(n=3)


@pytest.mark.parametrize(("inputs", "error", "words"), [
    ((Q, K[:1], V[:1]), ValueError, ["k is (1, 3, 6)", "(2, new positions, 6)"]),
    ((Q, K, V[..., :2]), ValueError, ["v is (2, 3, 2)", "(2, new positions, 3)"]),
    ((Q[..., :5], K[..., :5], V), ValueError, ["k is (2, 3, 5)", "6"]),
    ((Q[None], K[None], V[None]), ValueError, ["(1, 2, 3, 6)", "(2, new positions, 6)"]),
    ((Q[0], K[0], V[0]), ValueError, ["(3, 6)", "(2, new positions, 6)"]),
    ((Q[:3], K, V), ValueError, ["3 query heads over 2", "multiple"]),
    ((Q[:, :2], K, V), ValueError, ["2 queries with 3 keys", "each with both"]),
    ((Q[:, :0], K[:, :0], V[:, :0]), ValueError, ["0 queries with 0 keys", "one or more"]),
    ((Q.astype("f"), K.astype("f"), V.astype("f")), TypeError, ["are float32", "holds float64", "dtype"]),
    ((Q.astype("f"), K, V), TypeError, ["one dtype"]),
    ((Q.astype(int), K, V), TypeError, ["int64"]),
])  # fmt: skip
def test_inputs_that_are_refused(inputs, error, words):
    cache = KVCache(sv.mistral(4), 2, 6, 3, dtype=np.float64)
    assert_refused(lambda: cache.attend(*inputs), error, words)
    assert (len(cache), cache.nbytes) == (0, 0)


def test_other_refusals():
    cache = KVCache(PerHead(Causal(), sv.mistral(2)), 2, 6, 3, dtype=np.float64)
    assert_refused(lambda: cache.attend(Q, K, V), ValueError, ["2 heads", "q has 4", "PerHead.cycled(4)"])
    small = KVCache(Causal(), 2, 6, 3, dtype=np.float64, capacity=4)
    small.attend(Q, K, V, impl="loops")
    assert_refused(lambda: small.attend(Q, K, V), ValueError, ["3 more positions after 3", "4", "capacity"])
    assert_refused(lambda: small.attend(Q[:, :1], K[:, :1], V[:, :1], impl="fast"), ValueError, ["'fast'"])
    small.attend(Q[:, :1], K[:, :1], V[:, :1], impl="loops")
    assert small.length == 4


# ---------------------------------------------------------------- as a value


def test_repr_and_truth():
    cache = KVCache(sv.mistral(4), 2, 6, 3, batch=5, dtype=np.float16)
    assert repr(cache) == "KVCache(SlidingWindow(left=3): 0 positions seen, 0 held in 0 slots; 5 x 2 heads of 6 + 3, float16, 0 bytes)"
    assert bool(cache)
    assert len(cache) == cache.nbytes == 0
    assert cache.slots.shape == (0,)


def test_a_pattern_of_ones_own():
    """Nothing is known of a rule but the rule: a window that halves at position 20."""

    @dataclass(frozen=True, repr=False)
    class Shrinking(Pattern):
        def allows(self, q, k, n):
            return (k <= q) & (q - k <= 7) & ((q < 20) | (q - k <= 3))

    q, k, v = draw(19)
    cache = cache_for(Shrinking(), k, v)
    assert_close(fed(cache, q, k, v, CUTS["any"], impl="loops"), whole(q, k, v, Shrinking()))
    assert held(cache) == [33, 34, 35, 36]
