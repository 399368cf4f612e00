"""Steps and relations in every reading, against plain dictionaries of pairs."""

import numpy as np
import pytest

from sparsevis.readings import Interval, at
from sparsevis.tables import Relation, Steps


@pytest.mark.parametrize("lengths", [[3], [1, 2, 4], [0, 2, 0, 0, 3], [2, 0], [1] * 6])
def test_steps(lengths):
    want = [s for s, length in enumerate(lengths) for _ in range(length)]
    steps = Steps(lengths)
    assert at(steps, np.arange(len(want))).tolist() == want
    assert [at(steps, x) for x in range(len(want))] == want
    assert type(at(steps, 0)) is int
    for lo in range(len(want)):
        for hi in range(lo, len(want)):
            got = at(steps, Interval(np.array([lo]), np.array([hi])))
            assert (got.lo, got.hi) == (want[lo], want[hi])


def some(rows, columns, share, seed=0):
    return np.random.default_rng(seed).random((rows, columns)) < share


TABLES = [some(9, 14, 0.3), some(14, 9, 0.6), some(1, 5, 0.5), some(6, 1, 0.5), np.ones((5, 8), bool), np.zeros((5, 8), bool)]


@pytest.mark.parametrize("mask", TABLES)
def test_relation_by_entries_and_arrays(mask):
    table = Relation.of(mask)
    rows, columns = mask.shape
    i, j = np.arange(rows)[:, None], np.arange(columns)
    assert table.codes.size == mask.sum()
    assert (at(table, i, j) == mask).all()
    assert all(at(table, a, b) == mask[a, b] for a in range(rows) for b in range(columns))
    assert isinstance(at(table, 0, 0), bool)
    assert (at(table, i[::-1], j) == mask[::-1]).all()
    assert (at(table, i, j[::-1]) == mask[:, ::-1]).all()            # columns that run down, or in steps
    assert (at(table, i, j[::2]) == mask[:, ::2]).all()
    assert (at(table, i.ravel(), i.ravel() % columns) == mask[i.ravel(), i.ravel() % columns]).all()


def test_relation_by_tiles_of_entries():
    """As `sift` asks: (tiles, rows, 1) against (tiles, 1, columns), every tile at a place of its own."""
    mask = some(20, 30, 0.4)
    r, c = np.array([0, 3, 11, 16]), np.array([24, 0, 7, 13])
    i, j = r[:, None, None] + np.arange(4)[:, None], c[:, None, None] + np.arange(6)
    assert (at(Relation.of(mask), i, j) == mask[i, j]).all()


def test_relation_of_gathered_columns():
    """Columns that run on by one, and yet begin elsewhere in each row."""
    mask = some(6, 12, 0.5)
    i = np.arange(6)[:, None]
    j = i[::-1] + np.arange(5)
    assert (at(Relation.of(mask), i, j) == mask[i, j]).all()


@pytest.mark.parametrize("mask", TABLES)
@pytest.mark.parametrize("side", [(1, 1), (2, 3), (4, 1), (5, 9)])
def test_relation_by_rectangles(mask, side):
    """Never empty or full when it is not; and exactly so for tiles that stand at multiples of a power of two."""
    rows, columns = mask.shape
    boxes = [(a, b) for a in range(rows) for b in range(columns)]
    a, b = np.array(boxes).T
    a2, b2 = np.minimum(a + side[0], rows) - 1, np.minimum(b + side[1], columns) - 1
    told = at(Relation.of(mask), Interval(a, a2), Interval(b, b2))
    for x, (p, q) in enumerate(boxes):
        cells = mask[p : a2[x] + 1, q : b2[x] + 1]
        assert told.some[x] >= cells.any()
        assert told.every[x] <= cells.all()
    assert mask.any() or not told.some.any()
    assert not mask.all() or told.every.all()


def test_aligned_rectangles_are_judged_exactly():
    mask = np.kron(some(8, 8, 0.5), np.ones((4, 4), bool))
    a, b = (x.ravel() * 4 for x in np.mgrid[0:8, 0:8])
    told = at(Relation.of(mask), Interval(a, a + 3), Interval(b, b + 3))
    assert (told.some == mask[a, b]).all()
    assert (told.every == mask[a, b]).all()


def test_relation_is_a_set_of_pairs():
    assert Relation(2, 3, [5, 0, 5]) == Relation(2, 3, [0, 5])
    assert hash(Relation(2, 3, [5, 0, 5])) == hash(Relation(2, 3, [0, 5]))
    assert Relation(2, 3, [0]) != Relation(3, 2, [0])
    assert Relation(2, 3, [0]) != Relation(2, 3, [1])
    assert Relation(2, 3, [0]) != "table"
    assert repr(Relation(2, 3, [0, 4])) == "<2 x 3 table, 2 pairs>"
    with pytest.raises(ValueError, match="read-only"):
        Relation(2, 3, [0, 4]).codes[0] = 1


@pytest.mark.parametrize("mask", [*TABLES, np.zeros((0, 3), bool), np.zeros((3, 0), bool)])
def test_lists(mask):
    assert Relation.of(mask).lists() == [np.flatnonzero(row).tolist() for row in mask]


@pytest.mark.parametrize(("i", "j", "words"), [
    (-1, 0, "-1.*row"), (4, 0, "4.*row"), (0, -1, "-1.*column"), (0, 6, "6.*column"),
    (np.array([2, -1, 3]), 0, "-1.*row"), (np.array([2, 9, 3]), 0, "9.*row"),
])  # fmt: skip
def test_positions_outside(i, j, words):
    with pytest.raises(ValueError, match=f"{words}.*0 to"):
        at(Relation(4, 6, []), i, j)
