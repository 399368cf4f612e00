"""Counts by query, key, cell and row of tiles, against sums over brute-force masks."""

import numpy as np
import pytest
from pictures import INSTANCES, instance, placed

import sparsevis as sv
from sparsevis.margins import cell_counts, keys_of_queries, queries_of_keys, sifted, tiles_of_rows


@pytest.mark.parametrize("name", INSTANCES)
@pytest.mark.parametrize("n", [7, 97])
def test_sums_of_the_mask(name, n):
    pattern = instance(name, n)
    for nq, nk, offset in placed(pattern, n):
        mask = pattern.mask(nq, nk, offset)
        for block in (4, (16, 8), 64):
            found = sifted(pattern.allows, (nq, nk), offset, [(block, 1 << 30)])
            np.testing.assert_array_equal(keys_of_queries(found), mask.sum(1))
            np.testing.assert_array_equal(queries_of_keys(found), mask.sum(0))


@pytest.mark.parametrize("name", INSTANCES)
def test_tiles_of_rows(name):
    n = 97
    mask, allows = instance(name, n).mask(n), instance(name, n).allows
    for block in ((4, 4), (16, 8), (2, 16)):
        bq, bk = block
        padded = np.zeros((-(-n // bq) * bq, -(-n // bk) * bk), bool)
        padded[:n, :n] = mask
        want = padded.reshape(len(padded) // bq, bq, -1, bk).any((1, 3)).sum(1)
        for many in (1, 3):  # tiles of several such tiles give the same
            found = sifted(allows, (n, n), tries=[((many * bq, many * bk), 1 << 30)])
            np.testing.assert_array_equal(tiles_of_rows(found, block), want)


@pytest.mark.parametrize("cells", [1, 5, 13, 97, 500])
def test_cells(cells):
    pattern, n = sv.longformer(8, (0, 40)) | sv.Strided(7), 97
    pairs, cell = cell_counts(pattern.allows, (n, n), cells)
    side = -(-n // cell)
    mask = np.pad(pattern.mask(n), (0, side * cell - n))
    assert side <= cells or cell == 1
    np.testing.assert_array_equal(pairs, mask.reshape(side, cell, side, cell).sum((1, 3)))


@pytest.mark.parametrize("name", ["window two-sided", "chosen mask", "longformer", "global blocks"])
def test_many_rows_times_many_tiles_take_the_other_sum(name, monkeypatch):
    """Where a matrix of rows by distinct tiles would be large, each row of a tile is summed for itself."""
    monkeypatch.setattr("sparsevis.margins._MATRIX", -1)
    mask = instance(name, 97).mask(97)
    found = sifted(instance(name, 97).allows, mask.shape, tries=[(8, None)])
    np.testing.assert_array_equal(keys_of_queries(found), mask.sum(1))
    np.testing.assert_array_equal(queries_of_keys(found), mask.sum(0))


def test_a_stride_at_a_million_positions_takes_larger_tiles():
    n, stride = 1 << 20, 128
    found = sifted((sv.Causal() & sv.Strided(stride)).allows, (n, n))
    assert found.block == (2048, 2048)
    np.testing.assert_array_equal(keys_of_queries(found), np.arange(n) // stride + 1)
    np.testing.assert_array_equal(queries_of_keys(found), (n - 1 - np.arange(n)) // stride + 1)


def test_no_size_of_tile_keeps_its_budget():
    with pytest.raises(MemoryError, match="GiB"):
        sifted(sv.Strided(3).allows, (1000, 1000), tries=[(8, 100), (4, 100)])


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_nothing(shape):
    found = sifted(sv.Causal().allows, shape)
    assert keys_of_queries(found).tolist() == [0] * shape[0]
    assert queries_of_keys(found).tolist() == [0] * shape[1]
    assert tiles_of_rows(found, (2, 2)).tolist() == [0] * -(-shape[0] // 2)
