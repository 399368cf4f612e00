"""Laws of all patterns: every reading of the rule says the same, the algebra is Boolean, and a value survives being written down."""

import inspect
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import INSTANCES, SHAPES, instance, placed

import sparsevis as sv
import sparsevis.patterns
from sparsevis import from_dict
from sparsevis.pattern import Pattern
from sparsevis.readings import Interval

LENGTHS = [1, 7, 64, 97]


def _classes(pattern):
    return {type(pattern)}.union(*(_classes(x) for x in vars(pattern).values() if isinstance(x, Pattern)))


def test_every_pattern_and_preset_has_an_instance():
    """A pattern added to the vocabulary is held to the laws only if it stands in `pictures.INSTANCES`."""
    public = {name: x for name, x in vars(sparsevis.patterns).items() if not name.startswith("_") and not inspect.ismodule(x)}
    classes = {x for x in public.values() if inspect.isclass(x) and issubclass(x, Pattern)}
    used = set().union(*(_classes(instance(name, 20)) for name in INSTANCES))
    assert classes - used == set()
    assert {sv.And, sv.Or, sv.Not} <= used
    presets = {name for name, x in public.items() if inspect.isfunction(x)}
    text = "".join(inspect.getsource(make) for make in INSTANCES.values())
    assert {name for name in presets if f"sv.{name}(" not in text} == set()


def test_every_fitting_shape_is_used():
    assert {shape for name in INSTANCES for shape in placed(instance(name, 20), 20)} == {shape(20) for shape in SHAPES.values()}


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("name", INSTANCES)
def test_entries_formula_and_arrays_agree(name, n):
    """One entry by ints, the formula's text evaluated, and the mask; a rectangle is cut out of the same rule."""
    pattern, draw = instance(name, n), np.random.default_rng(n)
    formula = pattern.formula()
    for nq, nk, offset in placed(pattern, n):
        mask = pattern.mask(nq, nk, offset)
        assert (mask.shape, mask.dtype) == ((nq, nk), bool)
        for _ in range(30):
            q, k = int(draw.integers(nq)), int(draw.integers(nk))
            answer = pattern.allows(q + offset, k, nk)
            assert type(answer) is bool
            assert answer == mask[q, k]
        if "[" not in formula:
            names = {"i": np.arange(nq)[:, None] + offset, "j": np.arange(nk), "n": nk, "abs": abs}
            assert (np.broadcast_to(eval(formula, {}, names), mask.shape) == mask).all()
        columns = slice(nk // 3, nk)
        part = pattern.allows(np.arange(nq)[:, None] + offset, np.arange(nk)[columns], nk)
        assert (np.broadcast_to(part, mask[:, columns].shape) == mask[:, columns]).all()


@pytest.mark.parametrize("name", INSTANCES)
def test_a_decode_step_is_a_row_of_the_whole(name):
    n = 23
    pattern = instance(name, n)
    mask = pattern.mask(n)
    for i in range(n):
        assert (pattern.mask(1, n, offset=i)[0] == mask[i]).all()


@pytest.mark.parametrize("name", INSTANCES)
def test_intervals_are_sound(name):
    """A tile called empty holds nothing, a tile called full holds all; all rectangles of a small mask are asked at once."""
    n = 14
    pattern = instance(name, n)
    mask = pattern.mask(n)
    ends = [(a, b) for a in range(n) for b in range(a, n)]
    r, c = (x.ravel() for x in np.mgrid[0 : len(ends), 0 : len(ends)])
    lo, hi = np.array(ends).T
    told = pattern.allows(Interval(lo[r], hi[r]), Interval(lo[c], hi[c]), n)
    total = np.zeros((n + 1, n + 1), int)
    total[1:, 1:] = mask.cumsum(0).cumsum(1)
    held = total[hi[r] + 1, hi[c] + 1] - total[lo[r], hi[c] + 1] - total[hi[r] + 1, lo[c]] + total[lo[r], lo[c]]
    area = (hi[r] - lo[r] + 1) * (hi[c] - lo[c] + 1)
    assert (np.broadcast_to(told.some, held.shape) >= (held > 0)).all()
    assert (np.broadcast_to(told.every, held.shape) <= (held == area)).all()


@pytest.mark.parametrize("name", INSTANCES)
@pytest.mark.parametrize("side", [(1, 1), (3, 4), (5, 2)])
def test_equal_marks_mean_equal_tiles(name, side):
    """Wherever two undecided tiles of one size stand, equal marks promise the very same pairs."""
    n = 30
    pattern = instance(name, n)
    mask = pattern.mask(n)
    r, c = (x.ravel() for x in np.mgrid[0 : n - side[0] + 1, 0 : n - side[1] + 1])
    told = pattern.allows(Interval.marked(r, r + side[0] - 1), Interval.marked(c, c + side[1] - 1), n)
    marks = np.stack([np.broadcast_to(m, r.shape) for m in told.marks], 1)
    open_ = np.broadcast_to(told.some & ~told.every, r.shape)
    seen = {}
    for x in np.flatnonzero(open_):
        tile = mask[r[x] : r[x] + side[0], c[x] : c[x] + side[1]].tobytes()
        assert seen.setdefault(marks[x].tobytes(), tile) == tile
        assert marks[x].any()
    assert not marks[~open_].any()


@pytest.mark.parametrize("n", [1, 7, 33])
@pytest.mark.parametrize("name", INSTANCES)
def test_parts_and_layers(name, n):
    """The parts make up the pattern; the layers share its pairs out, each to the first part that allows it."""
    pattern = instance(name, n)
    mask = pattern.mask(n)
    parts = pattern.parts()
    assert (np.logical_or.reduce([p.mask(n) for p in parts]) == mask).all()
    assert all(len(p.parts()) == 1 for p in parts)
    layers = pattern.layers(n, cells=64)
    assert [ingredient for ingredient, _ in layers] == [p.ingredient for p in parts]
    seen = np.zeros_like(mask)
    for part, (_, share) in zip(parts, layers, strict=True):
        assert (share == (part.mask(n) & ~seen)).all()
        seen |= part.mask(n)


@pytest.mark.parametrize("name", INSTANCES)
def test_written_down_and_read_again(name):
    pattern = instance(name, 12)
    assert from_dict(json.dumps(pattern.to_dict())) == pattern
    if "Chosen" not in repr(pattern):                                # a table is too large for a line of code
        assert eval(repr(pattern), vars(sparsevis.patterns)) == pattern
        assert hash(eval(repr(pattern), vars(sparsevis.patterns))) == hash(pattern)


# ---------------------------------------------------------------- compositions drawn at random

N = 13
SMALL = st.integers(0, 5)
BASE = st.one_of(
    st.just(sv.Causal()), st.just(sv.Dense()),
    st.builds(sv.SlidingWindow, st.none() | SMALL, st.none() | SMALL),
    st.builds(sv.Dilated, SMALL, SMALL, st.integers(1, 4)),
    st.builds(sv.BlockWindow, st.integers(1, 5), st.none() | SMALL, st.none() | SMALL),
    st.builds(sv.Chunked, st.integers(1, 6)), st.builds(sv.Strided, st.integers(1, 6)),
    st.integers(1, 6).flatmap(lambda s: st.builds(sv.Fixed, st.just(s), st.integers(1, s), st.booleans())),
    st.builds(sv.Global, st.lists(st.integers(-N, N - 1), min_size=1, max_size=4), st.just(True), st.booleans()),
    st.builds(sv.Global, st.lists(st.integers(-4, 3), min_size=1, max_size=2), st.booleans(), st.just(True), st.just(4)),
    st.builds(sv.Sink, SMALL), st.builds(sv.PrefixLM, SMALL),
    st.builds(sv.RandomKeys, st.integers(0, N), st.integers(0, 9)),
    st.builds(sv.RandomBlocks, st.just(3), st.integers(0, 5), st.integers(0, 9)),
    st.just(sv.Documents([4, 0, 6, 3])),
    st.integers(0, 20).map(lambda s: sv.Chosen.from_mask(np.random.default_rng(s).random((N, N)) < 0.3)),
)  # fmt: skip
PATTERNS = st.recursive(
    BASE,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner), st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a, b: a - b, inner, inner), st.builds(lambda a: ~a, inner),
    ),
    max_leaves=6,
)


def mask_by_sets(pattern):
    """The mask of a composition from the masks of its leaves, by NumPy's logic."""
    if isinstance(pattern, sv.And):
        return mask_by_sets(pattern.a) & mask_by_sets(pattern.b)
    if isinstance(pattern, sv.Or):
        return mask_by_sets(pattern.a) | mask_by_sets(pattern.b)
    return ~mask_by_sets(pattern.a) if isinstance(pattern, sv.Not) else pattern.mask(N)


@given(PATTERNS, st.sampled_from([1, 2, 4, 5, 8, (3, 16), (16, 3)]))
def test_compositions(pattern, block):
    """Every reading of a composition is that of its leaves, combined."""
    mask = mask_by_sets(pattern)
    assert (pattern.mask(N) == mask).all()
    assert pattern.formula().count("(") == pattern.formula().count(")")
    layout = sv.Layout.of(pattern, N, block)
    assert (layout.mask() == mask).all()
    assert layout == sv.Layout.from_mask(mask, block)
    assert layout.nnz == mask.sum() == pattern.counts(N, cells=2)[0].sum() == sv.cost(pattern, N, block=block).nnz
    assert [[pattern.allows(q, k, N) for k in (0, 5, 12)] for q in (0, 6, 12)] == mask[::6][:, [0, 5, 12]].tolist()
    assert (np.logical_or.reduce([p.mask(N) for p in pattern.parts()]) == mask).all()
    assert from_dict(json.dumps(pattern.to_dict())) == pattern
    if "Chosen" not in repr(pattern):
        assert eval(repr(pattern), vars(sparsevis.patterns)) == pattern
    if "[" not in pattern.formula():
        names = {"i": np.arange(N)[:, None], "j": np.arange(N), "n": N}
        assert (np.broadcast_to(eval(pattern.formula(), {"abs": abs}, names), mask.shape) == mask).all()


@given(PATTERNS, PATTERNS, PATTERNS)
@settings(max_examples=30)
def test_boolean_algebra(a, b, c):
    same = lambda x, y: bool((x.mask(N) == y.mask(N)).all())
    assert same(~(a & b), ~a | ~b)
    assert same(~(a | b), ~a & ~b)
    assert same(~~a, a)
    assert same(a & (a | b), a)
    assert same(a | (a & b), a)
    assert same(a - b, a & ~b)
    assert same(a & (b | c), (a & b) | (a & c))
    assert same(a | (b & c), (a | b) & (a | c))
    assert same((a & b) & c, a & (b & c))
    assert same(a & b, b & a)
    assert same(a | b, b | a)
    assert not (a & ~a).mask(N).any()
    assert (a | ~a).mask(N).all()
