"""The sorting of tiles against the mask cut up tile by tile."""

import numpy as np
import pytest

from sparsevis import Causal, Dense, RandomKeys, SlidingWindow, Strided
from sparsevis.sift import EMPTY, FULL, check_memory, distinct, quarter, sift

RULES = {
    "causal": lambda q, k, n: k <= q,
    "everything": lambda q, k, n: k >= 0,
    "nothing": lambda q, k, n: k < 0,
    "one pair": lambda q, k, n: (q == 11) & (k == n - 3),
    "band": lambda q, k, n: abs(q - k) <= 5,
    "rows": lambda q, k, n: q % 7 == 3,
    "columns": lambda q, k, n: k % 5 < 2,
    "grid": lambda q, k, n: (q // 4 + k // 6) % 2 == 0,
    "anti-diagonal": lambda q, k, n: q + k == n - 1,
    "loose": lambda q, k, n: ((q - k) % 2 == 0) & ((q - k) % 2 == 1),  # empty, and no interval can tell
    "loose and full": lambda q, k, n: ((q - k) % 2 == 0) | ((q - k) % 2 == 1),
}
CASES = [  # (queries, keys), tile, position of query 0
    ((24, 24), (8, 8), 0), ((37, 29), (8, 8), 0), ((13, 40), (4, 6), 27), ((40, 13), (7, 3), -27), ((5, 5), (16, 9), 3),
    ((1, 1), (1, 1), 0),
]  # fmt: skip


def painted(found):
    """The mask that a Sifted describes, and how often each tile was named."""
    (nq, nk), (bq, bk) = found.shape, found.block
    rows, columns = -(-nq // bq), -(-nk // bk)
    mask, named = np.zeros((rows * bq, columns * bk), bool), np.zeros((rows, columns), int)
    for r, c, side in found.full:
        for a, b in zip(r, c, strict=True):
            mask[a * side * bq : (a + 1) * side * bq, b * side * bk : (b + 1) * side * bk] = True
            named[a * side : (a + 1) * side, b * side : (b + 1) * side] += 1
    tiles = np.unpackbits(found.tiles, axis=-1, count=bk, bitorder="little").astype(bool)
    for r, c, kind in zip(found.rows, found.columns, found.kind, strict=True):
        mask[r * bq : (r + 1) * bq, c * bk : (c + 1) * bk] = True if kind == FULL else tiles[kind]
        named[r, c] += 1
    return mask, named


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(("shape", "block", "offset"), CASES)
def test_sorted_tiles_are_the_mask(name, shape, block, offset):
    (nq, nk), (bq, bk) = shape, block
    found = sift(RULES[name], shape, block, offset)
    mask, named = painted(found)
    want = np.zeros(mask.shape, bool)
    want[:nq, :nk] = RULES[name](np.arange(nq)[:, None] + offset, np.arange(nk), nk)
    assert (mask == want).all()
    cells = want.reshape(named.shape[0], bq, named.shape[1], bk)
    assert (named == cells.any((1, 3))).all()                       # every tile that holds a pair once, no other
    assert EMPTY not in found.kind
    stored = np.unpackbits(found.tiles, axis=-1, bitorder="little")
    assert not stored[..., bk:].any()
    assert len({t.tobytes() for t in found.tiles}) == len(found.tiles)
    assert all(0 < t.sum() < bq * bk for t in stored)
    assert set(found.kind[found.kind >= 0]) == set(range(len(found.tiles)))
    full = int(cells.all((1, 3)).sum())
    assert found.totals() == (int(want.sum()), full, int(named.sum()) - full)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(("shape", "block", "offset"), CASES)
@pytest.mark.parametrize("cell", [1, 2, 4, 64])
def test_counts_are_the_sums_of_the_mask(name, shape, block, offset, cell):
    (nq, nk), (high, wide) = shape, (block[0] * cell, block[1] * cell)
    got = sift(RULES[name], shape, block, offset).counts(cell)
    want = np.zeros((-(-nq // high) * high, -(-nk // wide) * wide), int)
    want[:nq, :nk] = RULES[name](np.arange(nq)[:, None] + offset, np.arange(nk), nk)
    assert got.dtype == np.int64
    assert got.tolist() == want.reshape(-(-nq // high), high, -(-nk // wide), wide).sum((1, 3)).tolist()


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_nothing_to_sort(shape):
    found = sift(RULES["causal"], shape, (4, 4))
    assert found.totals() == (0, 0, 0)
    assert found.counts(1).shape == (-(-shape[0] // 4), -(-shape[1] // 4))


def test_the_price_follows_the_edges():
    """Full and empty squares are set aside whole; equal tiles are decided once."""
    asked = []

    def causal(q, k, n):
        asked.append(np.size(getattr(q, "lo", q)))
        return k <= q

    n = 1 << 20
    found = sift(causal, (n, n), (64, 64))
    blocks = n // 64
    assert found.totals() == (n * (n + 1) // 2, blocks * (blocks - 1) // 2, blocks)
    assert len(found.tiles) == 1
    assert sum(asked) < 8 * blocks                                  # tiles looked at, of 2.7e8
    assert len(sift(RULES["everything"], (1 << 30, 1 << 30), (64, 64)).full) == 1


def test_the_example_in_the_file():
    """A causal stride of 16 at n = 65,536: 524,800 undecided tiles, 2 of them distinct."""
    found = sift((Causal() & Strided(16)).allows, (1 << 16, 1 << 16), (64, 64))
    assert found.rows.size == 524_800
    assert len(found.tiles) == 2


def test_many_distinct_tiles():
    """More of them than are decided in one go (512 of 64 x 64), and tiles so large that each is decided alone."""
    pattern = RandomKeys(3, seed=1)
    found = sift(pattern.allows, (1600, 1600), (64, 64))
    assert len(found.tiles) > 600
    assert (painted(found)[0] == pattern.mask(1600)).all()
    found = sift(SlidingWindow(3).allows, (3000, 3000), (2048, 2048))
    assert (painted(found)[0][:3000, :3000] == SlidingWindow(3).mask(3000)).all()


def test_counts_stay_exact_beyond_the_reach_of_floats():
    n = (1 << 27) + 3
    assert Dense().counts(n, cells=1)[0].tolist() == [[n * n]]
    assert Causal().counts(n, cells=1)[0].tolist() == [[n * (n + 1) // 2]]


def test_quarters():
    r, c = quarter(np.array([2, 0]), np.array([1, 3]), 2)
    assert sorted(zip(r.tolist(), c.tolist(), strict=True)) == [(0, 6), (0, 7), (1, 6), (1, 7), (4, 2), (4, 3), (5, 2), (5, 3)]
    assert quarter(np.array([], int), np.array([], int), 4)[0].size == 0


def test_distinct_rows():
    draw = np.random.default_rng(0)
    small = [draw.integers(-2, 2, 500) for _ in range(4)]
    wide = [draw.choice([-(2**61), -5, 0, 2**60], 500) for _ in range(4)]   # too wide for one code: renumbered on the way
    for columns in (small, wide, [small[0], wide[0], small[1], wide[1]], [np.zeros(500, int)]):
        first, which = distinct(columns)
        rows = np.stack(columns, 1)
        assert (rows[first][which] == rows).all()
        assert len(first) == len(np.unique(rows, axis=0))


def test_memory_is_refused_before_it_is_taken():
    with pytest.raises(MemoryError, match=r"2 GiB, over the limit of 1 GiB.*larger blocks"):
        check_memory(2 << 30, 1 << 30, "a thing")
    check_memory(1 << 60, None, "anything")
    check_memory(1 << 30, 1 << 30, "just enough")
    with pytest.raises(MemoryError, match=r"sorting .* tiles of 16 x 16"):
        sift(Strided(2).allows, (1 << 14, 1 << 14), (1, 1), memory_limit=1 << 24)
    with pytest.raises(MemoryError, match="distinct partial tiles of 64 x 64"):
        sift(RandomKeys(2).allows, (1000, 1000), (64, 64), memory_limit=1 << 16)
