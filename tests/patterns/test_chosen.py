import numpy as np
import pytest
from pictures import assert_picture, assert_refused, mask_of_picture

from sparsevis import Causal, Chosen, Layout

PICTURE = """
    .█..█
    .....
    █████
    ..█.."""


def test_from_mask():
    assert_picture(Chosen.from_mask(mask_of_picture(PICTURE)).mask(4, 5, offset=0), PICTURE)


def test_rows_are_positions():
    assert_picture(Chosen.from_mask(mask_of_picture(PICTURE)).mask(2, 5, offset=2), """
        █████
        ..█..""")


def test_from_indices():
    want = """
        ..█..
        █..██
        .....
        .█..."""
    assert_picture(Chosen.from_indices([[2], [4, 0, 3], [], [1]], n=5).mask(4, 5, offset=0), want)
    slots = np.array([[2, -1, -1], [4, 0, 3], [-1, -1, -1], [1, 1, -1]])
    assert_picture(Chosen.from_indices(slots, n=5).mask(4, 5, offset=0), want)


def test_a_key_listed_twice_counts_once():
    assert Chosen.from_indices([[1, 1, 0, 1]], n=2) == Chosen.from_indices([[0, 1]], n=2)


def test_from_csr():
    assert_picture(Chosen.from_csr([0, 2, 2, 3], [3, 0, 1], 4).mask(3, 4, offset=0), """
        █..█
        ....
        .█..""")


def test_from_blocks():
    table = np.array([[True, False, True], [False, True, False]])
    assert_picture(Chosen.from_blocks(table, 2).mask(4, 5, offset=0), """
        ██..█
        ██..█
        ..██.
        ..██.""")
    assert_picture(Chosen.from_blocks(table, 2).mask(2, 6, offset=1), """
        ██..██
        ..██..""")


def test_all_makers_agree():
    mask = np.random.default_rng(0).random((6, 9)) < 0.4
    rows = [np.flatnonzero(row).tolist() for row in mask]
    indptr, indices = np.cumsum([0, *map(len, rows)]), np.concatenate(rows).astype(int)
    made = [Chosen.from_mask(mask), Chosen.from_indices(rows, 9), Chosen.from_csr(indptr, indices, 9), Chosen.from_blocks(mask, 1)]
    assert all(pattern == made[0] and hash(pattern) == hash(made[0]) for pattern in made)
    assert (made[0].mask(6, 9, offset=0) == mask).all()
    assert made[0] != Chosen.from_mask(~mask)
    assert made[0] != Chosen.from_mask(mask[:, :8])


def test_the_mask_is_not_kept_alive():
    mask = np.eye(3, dtype=bool)
    pattern = Chosen.from_mask(mask)
    mask[:] = True
    assert (pattern.mask(3) == np.eye(3)).all()


def test_with_other_patterns():
    table = Chosen.from_mask(np.ones((5, 5), bool))
    assert ((table & Causal()).mask(5) == np.tri(5)).all()
    assert ((Causal() - table).mask(5) == 0).all()


def test_a_large_sparse_table_takes_little():
    """A million positions with one key each: pairs are stored, not the matrix."""
    n = 1 << 20
    pattern = Chosen.from_csr(np.arange(n + 1), np.arange(n)[::-1].copy(), n)
    assert pattern.counts(n, cells=2)[0].tolist() == [[0, n // 2], [n // 2, 0]]


def test_gathered_keys():
    """Index arrays of any shapes that broadcast: here each query asks about keys of its own."""
    mask = np.random.default_rng(1).random((6, 9)) < 0.5
    q = np.arange(6)[:, None]
    k = q + np.arange(3)
    assert (Chosen.from_mask(mask).allows(q, k, 9) == mask[q, k]).all()
    q, k = np.arange(6).reshape(2, 3, 1), np.array([[[4, 5, 6]], [[0, 1, 2]]])
    assert (Chosen.from_mask(mask).allows(q, k, 9) == mask[q, k]).all()


def test_layout_of_a_table_with_more_keys_than_queries():
    mask = np.random.default_rng(2).random((13, 30)) < 0.2
    assert (Layout.of(Chosen.from_mask(mask), (13, 30), (4, 8), offset=0).mask() == mask).all()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Chosen(np.eye(3, dtype=bool)), TypeError, ["pairs", "ndarray", "from_mask"]),
        (lambda: Chosen.from_mask(np.eye(3)), TypeError, ["mask", "float64", "boolean"]),
        (lambda: Chosen.from_mask(np.ones(3, bool)), TypeError, ["mask", "(3,)"]),
        (lambda: Chosen.from_mask(np.ones((1, 3, 3), bool)), TypeError, ["mask", "(1, 3, 3)"]),
        (lambda: Chosen.from_blocks(np.eye(3), 4), TypeError, ["table", "float64"]),
        (lambda: Chosen.from_blocks(np.eye(3, dtype=bool), 0), ValueError, ["block is 0", ">= 1"]),
        (lambda: Chosen.from_indices([[0], [0.5]]), TypeError, ["from_indices", "whole numbers"]),
        (lambda: Chosen.from_indices([[True, False]]), TypeError, ["from_indices"]),
        (lambda: Chosen.from_indices([[0], [2]]), ValueError, ["query 1", "key 2", "0 to 1"]),
        (lambda: Chosen.from_indices([[-2]], n=4), ValueError, ["query 0", "key -2", "0 to 3"]),
        (lambda: Chosen.from_csr([0, 2, 1], [0, 1], 3), ValueError, ["indptr", "rise", "2"]),
        (lambda: Chosen.from_csr([0, 1], [0, 1], 3), ValueError, ["indptr", "2"]),
        (lambda: Chosen.from_csr([1, 2], [0, 1], 3), ValueError, ["indptr"]),
        (lambda: Chosen.from_csr([0, 1], [0.7], 3), TypeError, ["from_csr", "whole numbers"]),
        (lambda: Chosen.from_csr([0, 1], [3], 3), ValueError, ["key 3", "0 to 2"]),
        (lambda: Chosen.from_mask(np.eye(3, dtype=bool)).mask(4), ValueError, ["3 x 3", "4 queries", "4 keys"]),
        (lambda: Chosen.from_mask(np.eye(3, dtype=bool)).mask(2), ValueError, ["3 x 3", "2 keys"]),
        (lambda: Chosen.from_mask(np.eye(3, dtype=bool)).mask(2, 3, offset=2), ValueError, ["3 x 3", "4 queries"]),
        (lambda: Chosen.from_blocks(np.eye(2, dtype=bool), 3).mask(7), ValueError, ["2 x 2 blocks of 3", "7 keys"]),
    ],
)
def test_bad_tables(make, error, words):
    assert_refused(make, error, words)


def test_positions_outside_the_table():
    pattern = Chosen.from_mask(np.eye(4, dtype=bool))
    for q, k in [(-1, 0), (0, -1), (0, 4)]:
        with pytest.raises(ValueError, match=f"{q if q < 0 else k} .*table"):
            pattern.allows(q, k, 4)
