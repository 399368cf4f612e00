"""Patterns and lengths as people type them."""

import pytest
from pictures import assert_refused

import sparsevis as sv
from sparsevis import Causal, Global, PerHead, SlidingWindow, schedules, spoken


@pytest.mark.parametrize(("text", "want"), [
    ("causal", Causal()),
    ("Causal()", Causal()),
    ("longformer", sv.longformer()),
    ("mistral(64)", sv.mistral(64)),
    ("mistral(window=64)", sv.mistral(64)),
    ("Causal() & (SlidingWindow(64) | Global([0, -1]))", Causal() & (SlidingWindow(64) | Global([0, -1]))),
    ("~causal | sliding_window(3) - sliding_window(1, right=0)", ~Causal() | (SlidingWindow(3) - SlidingWindow(1))),
    ("random_blocks(64, 3, plan='published')", sv.RandomBlocks(64, 3, plan="published")),
    ("PerHead(Causal(), mistral(4) & ~Strided(2))", PerHead(Causal(), sv.mistral(4) & ~sv.Strided(2))),
    ("sparse_transformer_fixed(8, 2, merged=True)", sv.sparse_transformer_fixed(8, 2, merged=True)),
])  # fmt: skip
def test_expressions(text, want):
    assert spoken.pattern(text) == want


@pytest.mark.parametrize("pattern", [Causal() & (SlidingWindow(4) | Global([0])), ~sv.Strided(3) - sv.Sink(2), sv.bigbird()], ids=repr)
def test_what_a_pattern_prints_can_be_typed(pattern):
    assert spoken.pattern(repr(pattern)) == pattern


@pytest.mark.parametrize(("text", "words"), [
    ("", ["'' is no pattern"]),
    ("Causal() &", ["is no pattern", "expression"]),
    ("Causal() + Dense()", ["'Causal() + Dense()'", "& | ~ -"]),
    ("__import__('os').system('true')", ["is no pattern"]),
    ("open('x')", ["no pattern is called 'open'"]),
    ("mistral(open('x'))", ["no pattern is called 'open'"]),
    ("[c for c in 'x']", ["is no pattern"]),
    ("mistral(**{'window': 3})", ["is no pattern"]),
    ("Chosen()", ["no pattern is called 'Chosen'"]),
    ("mistrl(3)", ["did you mean mistral?"]),
    ("strided()", ["stride"]),
])  # fmt: skip
def test_an_expression_is_read_and_never_run(text, words):
    with pytest.raises((ValueError, TypeError)) as caught:
        spoken.pattern(text)
    assert all(word in str(caught.value) for word in words)


def test_options_go_with_a_name():
    assert spoken.pattern("sliding-window", {"left": 3}) == SlidingWindow(3)
    assert_refused(lambda: spoken.pattern("strided", {"strid": 4}), ValueError, ["no parameter 'strid'", "it has stride"])
    assert_refused(lambda: spoken.pattern("mistral(3)", {"window": 4}), ValueError, ["no pattern is called 'mistral(3)'"])


def test_stacks():
    assert spoken.stack("mistral", {"window": 8}, 3) == (sv.mistral(8),) * 3
    assert spoken.stack("causal", {}, None) == (Causal(),) * 4
    assert spoken.stack("gpt-oss", {}, None) == schedules.gpt_oss()
    assert spoken.stack("gemma2", {"window": 9}, 3) == schedules.gemma2(3, window=9)
    assert spoken.stack("Causal() & Chunked(4)", {}, 2) == (Causal() & sv.Chunked(4),) * 2
    assert_refused(lambda: spoken.stack("gemma2", {"windw": 9}, 3), ValueError, ["gemma2 has no parameter 'windw'", "window"])


@pytest.mark.parametrize(("text", "want"), [("7", 7), ("1,000", 1000), ("1_000", 1000), ("4k", 4096), ("4K", 4096), ("2M", 1 << 21)])
def test_length(text, want):
    assert spoken.length(text) == want


@pytest.mark.parametrize("text", ["", "k", "0", "-3", "3.5", "4kk", "many", "1k..2k"])
def test_no_length(text):
    assert_refused(lambda: spoken.length(text), ValueError, [repr(text), "whole number >= 1"])


def test_lengths():
    assert spoken.lengths("300") == [300]
    assert spoken.lengths("100..900") == [100, 200, 400, 800]
    assert spoken.lengths("1k..1M") == [1 << x for x in range(10, 21)]
    assert_refused(lambda: spoken.lengths("8k..9k"), ValueError, ["'8k..9k'", "twice"])
    assert_refused(lambda: spoken.lengths("8k.."), ValueError, ["''", "no length"])
