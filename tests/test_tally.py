"""Counting tiles by kind must give what listing them all gives, for every pattern."""

import sys

import numpy as np
import pytest
from pictures import INSTANCES, assert_refused, instance, placed

import sparsevis as sv
from sparsevis.sift import sift
from sparsevis.tally import of_layout, squares, tally

BLOCKS = [(1, 1), (8, 8), (4, 16), (5, 3)]


@pytest.mark.parametrize("name", INSTANCES)
def test_counts_what_listing_counts(name):
    for n in (7, 64, 83):
        if not (pattern := instance(name, n)).fits.least <= n:
            continue
        for nq, nk, offset in placed(pattern, n):
            for block in BLOCKS:
                listed, counted = sift(pattern.allows, (nq, nk), block, offset), tally(pattern.allows, (nq, nk), block, offset)
                assert counted[:3] == listed.totals(), (n, nq, nk, offset, block)
                assert len(counted.kinds) == len(listed.tiles)
                assert sum(counted.kinds.values()) == counted.partial


@pytest.mark.parametrize("name", INSTANCES)
def test_what_hangs_over_the_edges_is_not_touched(name):
    """Against the tiles of the mask, one by one."""
    n, (bq, bk) = 41, (8, 12)
    mask = instance(name, n).mask(n)
    tiles = [mask[a : a + bq, b : b + bk] for a in range(0, n, bq) for b in range(0, n, bk)]
    listed = [t for t in tiles if t.any()]
    want = sum(t.size for t in listed), sum(t.shape[1] for t in listed)
    for counted in (tally(instance(name, n).allows, (n, n), (bq, bk)), *of_layout(sv.Layout.from_mask(mask, (bq, bk)))):
        assert (counted.touched, counted.keys) == want


def test_planes_of_a_layout_are_counted_apart():
    heads = sv.PerHead(sv.Causal(), sv.SlidingWindow(3), sv.Causal(), ~sv.Dense())
    assert of_layout(sv.Layout.of(heads, 41, (8, 12))) == [tally(p.allows, (41, 41), (8, 12)) for p in dict.fromkeys(heads.patterns)]


def test_the_price_hangs_on_kinds_not_on_tiles():
    """2^28 tiles of two kinds fit into a limit that listing 30,000 would pass."""
    found = tally(sv.Strided(128).allows, (1 << 20, 1 << 20), (64, 64), memory_limit=1 << 20)
    assert (found.nnz, found.full, found.partial, len(found.kinds)) == (1 << 33, 0, 1 << 27, 1)


def test_too_many_kinds_are_refused():
    table = sv.Chosen.from_mask(np.random.default_rng(0).random((300, 300)) < 0.5)
    count = lambda: tally(table.allows, (300, 300), (1, 1), memory_limit=1 << 18)
    assert_refused(count, MemoryError, ["different tiles of", "limit", "GiB"])


def test_nothing_holds_nothing():
    assert tally(sv.Causal().allows, (0, 0), (8, 8)) == tally((~sv.Dense()).allows, (9, 9), (8, 8)) == (0, 0, 0, 0, 0, {})


@pytest.mark.parametrize("name", INSTANCES)
def test_squares_hold_the_pairs_of_the_mask(name, monkeypatch):
    monkeypatch.setattr(sys.modules["sparsevis.tally"], "SMALLEST", 4)
    n = 83
    for nq, nk, offset in placed(instance(name, n), n):
        mask = instance(name, n).mask(nq, nk, offset)
        for cell in (1, 2, 16, 128):
            edges = [np.arange(0, size, cell) for size in (nq, nk)]
            want = np.add.reduceat(np.add.reduceat(mask.astype(int), edges[0], axis=0), edges[1], axis=1)
            assert np.array_equal(squares(instance(name, n).allows, (nq, nk), cell, offset), want)


def test_squares_of_a_million_positions():
    """Whatever the stride: 64 x 64 tiles of it were too many to list."""
    for stride in (7, 128, 1000):
        pairs = squares((sv.Causal() & sv.Strided(stride)).allows, (1 << 20, 1 << 20), 1 << 12, memory_limit=1 << 22)
        assert pairs.shape == (256, 256)
        assert pairs.sum() == sum(i // stride + 1 for i in range(1 << 20))
