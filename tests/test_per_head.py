"""One pattern for each head: a value like a pattern."""

import copy
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from pictures import assert_refused

import sparsevis as sv
from sparsevis import Causal, Global, PerHead, SlidingWindow, Strided


def test_masks_are_stacked():
    heads = PerHead(Causal(), SlidingWindow(1), Causal())
    assert (heads.mask(5) == [Causal().mask(5), SlidingWindow(1).mask(5), Causal().mask(5)]).all()
    assert (heads.mask(2, 5, "bottom-right")[1] == SlidingWindow(1).mask(2, 5, 3)).all()


def test_a_sequence_of_patterns():
    heads = PerHead(Causal(), SlidingWindow(1))
    assert len(heads) == 2
    assert heads[1] == SlidingWindow(1)
    assert list(heads) == [Causal(), SlidingWindow(1)]
    assert heads.cycled(5) == PerHead(Causal(), SlidingWindow(1), Causal(), SlidingWindow(1), Causal())
    assert heads.cycled(1) == PerHead(Causal())
    assert copy.deepcopy(heads) == heads


def test_algebra_works_head_by_head():
    a, b, c = Causal(), SlidingWindow(1), Strided(2)
    heads, masks = PerHead(a, b), np.array([a.mask(6), b.mask(6)])
    other = c.mask(6)
    both = PerHead(c, a)
    for got, want in [
        (heads & c, masks & other), (c & heads, masks & other), (heads | c, masks | other), (c | heads, masks | other),
        (heads - c, masks & ~other), (c - heads, other & ~masks), (~heads, ~masks),
        (heads & both, masks & both.mask(6)), (heads | both, masks | both.mask(6)), (heads - both, masks & ~both.mask(6)),
    ]:  # fmt: skip
        assert isinstance(got, PerHead)
        assert (got.mask(6) == want).all()


def test_union_of_the_heads():
    heads = PerHead(Causal(), Global([0]), Causal())
    assert heads.union() == Causal() | Global([0])
    assert PerHead(Causal()).union() == Causal()


def test_equality_and_hash():
    assert PerHead(Causal()) == PerHead(Causal())
    assert hash(PerHead(Causal())) == hash(PerHead(Causal()))
    assert PerHead(Causal()) != PerHead(Causal(), Causal())
    assert PerHead(Causal()) != Causal()


def test_words_and_pictures():
    heads = PerHead(SlidingWindow(1), Causal())
    assert repr(heads) == "PerHead(SlidingWindow(left=1), Causal())"
    assert str(heads).startswith("head 0: SlidingWindow(left=1)\n")
    assert "\nhead 1: Causal()\n" in heads.describe(4)
    drawings = ET.fromstring(f"<div>{heads._repr_html_()}</div>".replace("<br>", "<br/>"))
    assert [p.text for p in drawings.findall("p")] == ["head 0", "head 1"]


@pytest.mark.parametrize(("make", "error", "words"), [
    (lambda: PerHead(), TypeError, ["one or more patterns"]),
    (lambda: PerHead(Causal(), 3), TypeError, ["one or more patterns", "3"]),
    (lambda: PerHead([Causal()]), TypeError, ["one or more patterns"]),
    (lambda: PerHead(Causal()) & PerHead(Causal(), Causal()), ValueError, ["1 heads", "2", "equal"]),
    (lambda: PerHead(Causal()) & 3, TypeError, ["&"]),
    (lambda: 3 | PerHead(Causal()), TypeError, ["|"]),
    (lambda: bool(PerHead(Causal())), TypeError, ["& | ~"]),
    (lambda: PerHead(Causal()).mask(3, 4), ValueError, ["3 queries over 4 keys"]),
])  # fmt: skip
def test_misuse(make, error, words):
    assert_refused(make, error, words)


def test_layout_of_heads():
    heads = sv.sparse_transformer_strided(4, heads=5)
    layout = sv.Layout.of(heads, 20, (4, 8))
    assert layout.heads == (0, 1, 0, 1, 0)
    assert (layout.mask() == heads.mask(20)).all()
