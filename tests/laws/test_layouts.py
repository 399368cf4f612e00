"""Laws of all layouts: the same pairs as the mask, in one canonical form, whatever the tiles and wherever the rectangle stands."""

import numpy as np
import pytest
from pictures import INSTANCES, instance, placed

from sparsevis import Layout, PerHead

LENGTHS = [1, 7, 64, 97]
BLOCKS = [1, 7, 8, 16, 64, (16, 24)]


def sides(block):
    return block if isinstance(block, tuple) else (block, block)


def cut(mask, block):
    """The tiles of a mask, padded with False: (row blocks, column blocks, rows, columns)."""
    (nq, nk), (bq, bk) = mask.shape, sides(block)
    padded = np.zeros((-(-nq // bq) * bq, -(-nk // bk) * bk), bool)
    padded[:nq, :nk] = mask
    return padded.reshape(-(-nq // bq), bq, -(-nk // bk), bk).transpose(0, 2, 1, 3)


def assert_canonical(layout, mask):
    """Written for this test from the mask: rows in order, keys rising, no empty tile, full ones marked, equal ones stored once."""
    tiles = cut(mask, layout.block)
    assert layout.grid == tiles.shape[:2]
    assert layout.indptr.tolist() == [0, *tiles.any((2, 3)).sum(1).cumsum().tolist()]
    where = np.argwhere(tiles.any((2, 3)))
    assert layout.indices.tolist() == where[:, 1].tolist()
    stored = {}
    for (r, c), kind in zip(where, layout.kind, strict=True):
        tile = tiles[r, c]
        want = -1 if tile.all() else stored.setdefault(tile.tobytes(), len(stored))
        assert kind == want                                          # numbered in the order in which they come
    unpacked = np.unpackbits(layout.tiles, axis=-1, bitorder="little").astype(bool)
    assert not unpacked[..., layout.block[1] :].any()
    assert [t[:, : layout.block[1]].tobytes() for t in unpacked] == list(stored)
    assert (layout.tiles.dtype, layout.kind.dtype, layout.indices.dtype, layout.indptr.dtype) == (np.uint8, np.int32, np.int32, np.int64)


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("name", INSTANCES)
def test_layout_of_a_pattern_is_its_mask(name, n):
    pattern = instance(name, n)
    for nq, nk, offset in placed(pattern, n):
        mask = pattern.mask(nq, nk, offset)
        for block in BLOCKS:
            layout = Layout.of(pattern, (nq, nk), block, offset)
            assert (layout.mask() == mask).all(), (nq, nk, offset, block)
            assert layout == Layout.from_mask(mask, block)


@pytest.mark.parametrize("name", INSTANCES)
def test_layouts_are_canonical(name):
    for n, block in [(1, 7), (7, 2), (41, 8), (41, (5, 16)), (64, 16), (64, (16, 24))]:
        pattern = instance(name, n)
        for nq, nk, offset in placed(pattern, n):
            assert_canonical(Layout.of(pattern, (nq, nk), block, offset), pattern.mask(nq, nk, offset))


@pytest.mark.parametrize("name", INSTANCES)
def test_transpose_and_retile(name):
    n = 45
    pattern = instance(name, n)
    for nq, nk, offset in placed(pattern, n):
        layout, mask = Layout.of(pattern, (nq, nk), (8, 12), offset), pattern.mask(nq, nk, offset)
        assert layout.T.T == layout
        assert_canonical(layout.T, mask.T)
        for block in (8, 3, 64, (16, 4), (4, 24)):
            again = layout.retile(block)
            assert again == Layout.of(pattern, (nq, nk), block, offset)
            assert again.retile((8, 12)) == layout


@pytest.mark.parametrize("name", INSTANCES)
def test_scipy_round_trips(name):
    n = 29
    pattern = instance(name, n)
    for nq, nk, offset in placed(pattern, n):
        layout, mask = Layout.of(pattern, (nq, nk), (4, 8), offset), pattern.mask(nq, nk, offset)
        assert (layout.to_csr().toarray() == mask).all()
        assert (layout.to_bsr().toarray()[:nq, :nk] == mask).all()
        assert Layout.from_scipy(layout.to_csr(), (4, 8)) == layout
        assert (Layout.from_scipy(layout.to_bsr()).mask()[:nq, :nk] == mask).all()


@pytest.mark.parametrize("n", [7, 40])
def test_heads(n):
    """Every instance as a head of one layout: each head's plane is its own layout, and equal heads share one."""
    patterns = [instance(name, n) for name in INSTANCES]
    heads = PerHead(*patterns, *patterns[::-1])
    layout = Layout.of(heads, n, (4, 8))
    assert (layout.mask() == heads.mask(n)).all()
    assert layout.heads == (*range(len(patterns)), *range(len(patterns) - 1, -1, -1))
    assert layout.nnz == heads.mask(n).sum()
    assert (layout.T.mask() == heads.mask(n).transpose(0, 2, 1)).all()
    assert layout.T.T == layout
    assert layout.retile(5) == Layout.of(heads, n, 5)
    distinct = {t.tobytes() for t in layout.tiles}
    assert len(distinct) == len(layout.tiles)
    rows = layout.grid[0]
    for plane, pattern in enumerate(patterns):
        own = Layout.of(pattern, n, (4, 8))
        a, b = layout.indptr[plane * rows], layout.indptr[(plane + 1) * rows]
        assert layout.indices[a:b].tolist() == own.indices.tolist()
        assert (layout.kind[a:b] == -1).tolist() == (own.kind == -1).tolist()
