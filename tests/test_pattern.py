"""The pattern as a value: operators, readings, counts, words and pictures of it."""

import copy
import pickle
import re
import xml.etree.ElementTree as ET
from dataclasses import FrozenInstanceError, dataclass

import numpy as np
import pytest
from pictures import INSTANCES, assert_picture, assert_refused, instance

import sparsevis as sv
from sparsevis import And, Causal, Chosen, Dense, Documents, Global, Not, Or, Pattern, SlidingWindow, Strided
from sparsevis.pattern import resolve_offset
from sparsevis.readings import Symbol

# ---------------------------------------------------------------- algebra


def test_operators():
    a, b = Causal(), Strided(2)
    assert (a & b, a | b, ~a, a - b) == (And(a, b), Or(a, b), Not(a), And(a, Not(b)))
    assert_picture((a & b).mask(4), """
        █...
        .█..
        █.█.
        .█.█""")
    assert_picture((SlidingWindow(0) | b).mask(3), """
        █.█
        .█.
        █.█""")
    assert_picture((~a).mask(3), """
        .██
        ..█
        ...""")
    assert_picture((a - b).mask(4), """
        ....
        █...
        .█..
        █.█.""")


@pytest.mark.parametrize("misuse", [lambda p: p and p, lambda p: p or p, lambda p: not p, lambda p: bool(p), lambda p: 1 if p else 2])
def test_and_or_not_are_refused(misuse):
    for pattern in (Causal(), Causal() & Dense()):
        with pytest.raises(TypeError, match=r"combine patterns with & \| ~"):
            misuse(pattern)


@pytest.mark.parametrize("other", [3, "causal", None, np.ones((2, 2), bool), True])
def test_only_patterns_combine(other):
    for combine in (lambda a, b: a & b, lambda a, b: a | b, lambda a, b: a - b, lambda a, b: b & a):
        with pytest.raises(TypeError):
            combine(Causal(), other)


def test_equality_and_hash():
    assert SlidingWindow(3) == SlidingWindow(3, 0)
    assert SlidingWindow(3) != SlidingWindow(3, 1)
    assert SlidingWindow(3) != sv.Dilated(3)
    assert Causal() & Dense() != Dense() & Causal()                 # a value is what was written
    assert len({SlidingWindow(np.int64(3)), SlidingWindow(3), Causal(), Causal()}) == 2
    assert type(SlidingWindow(np.int64(3)).left) is int             # plain numbers: they print and travel as such


@pytest.mark.parametrize("name", INSTANCES)
def test_values_are_frozen_and_travel(name):
    pattern = instance(name, 7)
    with pytest.raises(FrozenInstanceError):
        pattern.left = 5
    for same in (copy.deepcopy(pattern), pickle.loads(pickle.dumps(pattern))):
        assert same == pattern
        assert hash(same) == hash(pattern)
        assert (same.mask(7) == pattern.mask(7)).all()


def test_lengths():
    docs, table = Documents([2, 3]), Chosen.from_mask(np.eye(5, dtype=bool))
    assert Causal().length is None
    assert (docs.length, (Causal() & docs).length, (docs | Causal()).length, (~docs).length, (docs & table).length) == (5,) * 5
    for wrong in (docs & Documents([4]), Documents([4]) | table, ~(docs - Documents([4]))):
        assert_refused(lambda wrong=wrong: wrong.length, ValueError, ["5", "4", "combined"])
        assert_refused(lambda wrong=wrong: wrong.mask(5), ValueError, ["4", "5"])


def test_a_table_of_blocks_fits_a_shorter_length():
    """Two blocks of 64 serve 65 to 128 keys, so they go with a text of 100."""
    both = Chosen.from_blocks(np.eye(2, dtype=bool), 64) & Documents([30, 70])
    assert both.mask(100).sum() == 30 * 30 + 34 * 34 + 36 * 36
    assert "100" in str(both)


# ---------------------------------------------------------------- readings


def test_formula():
    assert Causal().formula() == "j <= i"
    assert (Causal() & SlidingWindow(3, 1)).formula() == "(j <= i) & ((i - j <= 3) & (j - i <= 1))"
    assert Global([0, 1, -1], rows=False).formula() == "(j == n - 1) | (j >= 0) & (j <= 1)"
    assert Global([1], block=4).formula() == "(i // 4 == 1) | (j // 4 == 1)"
    assert (~Causal()).formula() == "~(j <= i)"
    assert Documents([1, 2]).formula() == "document[i] == document[j]"
    assert Strided(3).formula() == "(i - j) % 3 == 0"


def test_fields_may_be_names():
    """Numbers replaced by names turn fields into parameters of the formula."""
    x = Symbol
    assert SlidingWindow(x("left"), x("right")).formula() == "(i - j <= left) & (j - i <= right)"
    assert sv.Dilated(x("l"), x("r"), x("d")).formula() == "(i - j <= l * d) & (j - i <= r * d) & ((i - j) % d == 0)"
    assert sv.Fixed(x("s"), x("c")).formula() == "(j % s >= s - c) | (i // s == j // s)"
    assert sv.Fixed(x("s"), 1).formula() == "(j % s >= s - 1) | (i // s == j // s)"
    for make in (sv.Strided, sv.Chunked, sv.Sink, sv.PrefixLM):
        assert "w" in make(x("w")).formula()


@pytest.mark.parametrize("name", INSTANCES)
def test_no_and_below_a_comparison(name):
    """`a & b <= c` means `(a & b) <= c`: no & or | may stand below a comparison in the formula's tree."""
    import ast

    tree = ast.parse(instance(name, 16).formula(), mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            assert not any(isinstance(below, ast.BitAnd | ast.BitOr | ast.Invert) for below in ast.walk(node))


def test_one_entry():
    assert Causal().allows(3, 2, 5) is True
    assert (~Causal()).allows(3, 2, 5) is False
    assert (~~Causal() & ~Strided(2)).allows(3, 2, 5) is True
    assert sv.RandomKeys(5).allows(0, 3, 5) is True
    assert Chosen.from_mask(np.zeros((2, 2), bool)).allows(1, 1, 2) is False


def test_mask_is_ones_own():
    mask = Dense().mask(3)
    mask[0] = False
    assert Dense().mask(3).all()


@pytest.mark.parametrize(("nq", "nk"), [(0, 0), (0, 4), (4, 0)])
def test_mask_of_nothing(nq, nk):
    assert Causal().mask(nq, nk, offset=0).shape == (nq, nk)
    assert Causal().counts(nq, nk, offset=0)[0].sum() == 0


@pytest.mark.parametrize(("offset", "want"), [("top-left", 0), ("bottom-right", 4), (2, 2), (-3, -3), (np.int64(5), 5)])
def test_offsets(offset, want):
    assert resolve_offset(3, 7, offset) == want
    assert (Causal().mask(3, 7, offset) == (np.arange(7) <= np.arange(3)[:, None] + want)).all()


def test_offset_of_a_square():
    assert resolve_offset(5, 5, None) == 0
    assert resolve_offset(7, 3, "bottom-right") == -4


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: Causal().mask(3, 5), ValueError, ["3 queries over 5 keys", '"top-left"', '"bottom-right"', "number"]),
    (lambda: Causal().counts(3, 5), ValueError, ["3 queries over 5 keys"]),
    (lambda: Causal().mask(3, 5, "top left"), ValueError, ["'top left'", '"top-left"']),
    (lambda: Causal().mask(3, 5, 1.5), TypeError, ["float"]),
    (lambda: Causal().mask(-1), ValueError, ["-1", "negative"]),
    (lambda: Causal().mask(2, -1, 0), ValueError, ["-1", "negative"]),
    (lambda: Causal().mask(2.0), TypeError, ["float"]),
    (lambda: Pattern().allows(0, 0, 1), NotImplementedError, ["define allows"]),
])  # fmt: skip
def test_bad_calls(call, error, words):
    assert_refused(call, error, words)


def test_mask_too_large_for_memory():
    assert_refused(lambda: Causal().mask(1 << 20), MemoryError, ["1,048,576 x 1,048,576", "GiB"])


def test_a_pattern_of_ones_own():
    """A dataclass with one method is all it takes."""

    @dataclass(frozen=True, repr=False)
    class Checkers(Pattern):
        size: int

        def allows(self, q, k, n):
            return (q // self.size + k // self.size) % 2 == 0

    assert_picture(Checkers(2).mask(5), """
        ██..█
        ██..█
        ..██.
        ..██.
        ██..█""")
    assert repr(Checkers(2)) == "Checkers(size=2)"
    assert (sv.Layout.of(Checkers(3) & Causal(), 20, 4).mask() == (Checkers(3) & Causal()).mask(20)).all()
    assert "Checkers" in str(Checkers(2))


# ---------------------------------------------------------------- counts and parts


@pytest.mark.parametrize("cells", [1, 3, 64])
@pytest.mark.parametrize(("nq", "nk", "offset"), [(1, 1, 0), (97, 97, 0), (64, 100, 36), (200, 31, -20)])
def test_counts(cells, nq, nk, offset):
    pattern = SlidingWindow(5, 2) | Global([0])
    pairs, cell = pattern.counts(nq, nk, cells, offset)
    assert cell & (cell - 1) == 0
    assert max(pairs.shape) <= cells
    assert cell == 1 or max(nq, nk) > cell // 2 * cells                 # no coarser than it needs to be
    mask = np.zeros((pairs.shape[0] * cell, pairs.shape[1] * cell), int)
    mask[:nq, :nk] = pattern.mask(nq, nk, offset)
    assert pairs.tolist() == mask.reshape(pairs.shape[0], cell, pairs.shape[1], cell).sum((1, 3)).tolist()


def test_counts_of_a_million():
    n = 1 << 20
    pairs, cell = (Causal() & (SlidingWindow(4095) | sv.Sink(4))).counts(n, cells=16)
    assert (cell, pairs.shape) == (n // 16, (16, 16))
    assert pairs.sum() == n * 4096 - 4096 * 4095 // 2 + 4 * (n - 4096) - 4 * 3 // 2


def test_parts_of_a_union():
    a, b, c, d = Causal(), SlidingWindow(3), Global([0]), Strided(5)
    assert a.parts() == (a,)
    assert (b | c | d).parts() == (b, c, d)
    assert (a & (b | c)).parts() == (a & b, a & c)
    assert ((b | c) & (a & (d | b))).parts() == (b & (a & d), b & (a & b), c & (a & d), c & (a & b))
    assert (~(b | c)).parts() == (~(b | c),)


def test_layers_share_out_every_pair_once():
    """Each cell of 2 x 2 goes to the first part that has it."""
    pattern = SlidingWindow(1, 1) | Global([0])
    layers = pattern.layers(4, cells=2)
    assert [name for name, _ in layers] == ["window", "global"]
    assert layers[0][1].tolist() == [[1, 0.25], [0.25, 1]]
    assert layers[1][1].tolist() == [[0, 0.5], [0.5, 0]]


def test_layers_of_a_ragged_edge_are_shares_of_what_is_there():
    (_, share), = Dense().layers(5, cells=2)
    assert share.tolist() == [[1, 1], [1, 1]]


def test_ingredients_have_colours():
    from sparsevis.palette import INGREDIENT

    for name in INSTANCES:
        assert {part.ingredient for part in instance(name, 12).parts()} <= set(INGREDIENT)
    assert (Causal() & Global([0])).ingredient == "global"
    assert (SlidingWindow(1) & Global([0])).ingredient == "window"


# ---------------------------------------------------------------- words and pictures


def test_repr_shows_what_differs_from_the_defaults():
    assert repr(SlidingWindow(3)) == "SlidingWindow(left=3)"
    assert repr(SlidingWindow(3, 1)) == "SlidingWindow(left=3, right=1)"
    assert repr(SlidingWindow(None, None)) == "SlidingWindow(left=None, right=None)"
    assert repr(Causal() & (SlidingWindow(3) | Global([0]))) == "Causal() & (SlidingWindow(left=3) | Global(tokens=(0,)))"
    assert repr(Causal() - Strided(2)) == "Causal() - Strided(stride=2)"
    assert repr(~(Causal() | Dense())) == "~(Causal() | Dense())"
    assert repr(Causal() | Dense() | Strided(2)) == "Causal() | Dense() | Strided(stride=2)"
    assert repr(Causal() & Dense() | Strided(2)) == "(Causal() & Dense()) | Strided(stride=2)"
    assert repr(Causal() - (Dense() - Strided(2))) == "Causal() - (Dense() - Strided(stride=2))"


def test_print():
    assert str(SlidingWindow(1)).split("\n")[:3] == [
        "SlidingWindow(left=1)", "(i - j <= 1) & (j - i <= 0)", "at n = 16: 31 of 256 pairs · 12.1 % · 1.9 keys a query",
    ]  # fmt: skip
    assert SlidingWindow(1).describe(4).split("\n")[3:] == ["██······", "████····", "··████··", "····████"]
    coarse = Causal().describe(100).split("\n")
    assert coarse[2] == "at n = 100, each cell 4 x 4 pairs: 5,050 of 10,000 pairs · 50.5 % · 50.5 keys a query"
    assert len(coarse) == 3 + 25
    assert coarse[3] == "▒▒" + "··" * 24


VALUES = {
    "far global": Global([20]),
    "far global from the end": SlidingWindow(2) | Global([0, -100]),
    "global block": Global([40], block=64),
    "many random blocks": sv.RandomBlocks(64, 40),
    "many random keys": sv.RandomKeys(100),
    "published plan": sv.RandomBlocks(64, 3, plan="published"),
    "wide table": Chosen.from_mask(np.ones((2, 5), bool)),
    "tall table": Chosen.from_mask(np.ones((5, 2), bool)),
    "no documents": Documents([0]),
    "no pairs": ~Dense(),
    "huge window": SlidingWindow(1 << 30),
    "huge block": sv.bigbird(1 << 14),
    "longformer": sv.longformer(512, (0, 2000)),
}


@pytest.mark.parametrize("pattern", [*VALUES.values(), *(instance(name, 13) for name in INSTANCES)], ids=[*VALUES, *INSTANCES])
def test_every_pattern_shows_itself(pattern):
    """In words and in a notebook, at a length it fits, well-formed and with nothing left unescaped."""
    lines = str(pattern).split("\n")
    assert lines[0] == repr(pattern)
    assert re.match(r"at n = [\d,]+.*pairs", lines[2])
    root = ET.fromstring(pattern._repr_html_().replace("<br>", "<br/>"))
    assert root.find("{http://www.w3.org/2000/svg}svg") is not None


def test_example_lengths_show_the_pattern():
    for pattern in (SlidingWindow(100), Strided(30), sv.Dilated(3, 3, 9), sv.BlockWindow(64), sv.Fixed(50), sv.Chunked(20), sv.Sink(40)):
        n = pattern.example_length()
        assert 0.02 < pattern.mask(n).mean() < 0.98
        assert n <= 1024
    assert Documents([3, 4]).example_length() == 7
    assert Causal().example_length() == 16
