"""Schedules of published models: the kinds of their layers, spelled out."""

import pytest
from pictures import assert_refused

import sparsevis as sv
from sparsevis import Causal, PerHead, SlidingWindow, schedules


def kinds(stack):
    """S for a window, C for chunks, F for everything before."""
    return "".join("F" if p == Causal() else "S" if isinstance(p, SlidingWindow) else "C" for p in stack)


@pytest.mark.parametrize(("stack", "spelled", "first"), [
    (schedules.mistral(), "S" * 32, SlidingWindow(4095)),
    (schedules.gemma2(), "SF" * 23, SlidingWindow(4095)),
    (schedules.gemma2(n_layers=3), "SFS", SlidingWindow(4095)),
    (schedules.gemma3(), "SSSSSF" * 10 + "SS", SlidingWindow(1023)),
    (schedules.gemma3(n_layers=26, window=512), "SSSSSF" * 4 + "SS", SlidingWindow(511)),
    (schedules.gpt_oss(), "SF" * 18, SlidingWindow(127)),
    (schedules.llama4(), "CCCF" * 12, Causal() & sv.Chunked(8192)),
])  # fmt: skip
def test_layers(stack, spelled, first):
    assert isinstance(stack, tuple)
    assert kinds(stack) == spelled
    assert stack[0] == first
    assert len(set(stack)) == len(set(spelled))


def test_longformer_windows_grow():
    assert schedules.longformer() == tuple(sv.longformer(w, ()) for w in (32, 64, 128, 256, 512))


def test_longformer_dilates_some_heads():
    plain, dilated = SlidingWindow(4, 4), sv.Dilated(4, 4, 3)
    stack = schedules.longformer((8, 8), dilations=(1, 3), heads=4)
    assert stack == (plain, PerHead(plain, plain, dilated, dilated))
    assert schedules.longformer((8,), dilations=3, dilated_heads=0) == (plain,)
    assert schedules.longformer((8,), global_tokens=[0]) == (sv.longformer(8, [0]),)
    assert schedules.longformer((8,), 3, 1, 1, [0]) == (PerHead(dilated | sv.Global([0])),)


def test_a_dilated_head_leaves_gaps_that_a_plain_one_fills():
    gaps = sv.receptive_field(schedules.longformer((2,) * 3, 4, heads=1, dilated_heads=1), 64)
    filled = sv.receptive_field(schedules.longformer((2,) * 3, 4, heads=2, dilated_heads=1), 64)
    assert (gaps.gridding, filled.gridding) == (4, 1)
    assert filled.of(32).seen()[32:46].astype(int).tolist() == [1] * 10 + [0, 0, 1, 0]      # 3 steps of 1 or 4: all up to 9, and 12


@pytest.mark.parametrize(("call", "words"), [
    (lambda: schedules.gemma3(n_layers=0), ["n_layers is 0", "1 or more"]),
    (lambda: schedules.mistral(window=0), ["window", ">= 1"]),
    (lambda: schedules.longformer((8, 8), dilations=(1, 2, 3)), ["3 dilations", "2 windows"]),
    (lambda: schedules.longformer((8,), heads=2, dilated_heads=3), ["3 of 2"]),
    (lambda: schedules.longformer((7,)), ["window is 7", "even"]),
])  # fmt: skip
def test_refused(call, words):
    assert_refused(call, ValueError, words)
