"""The layout's arrays by hand, its conversions, its limits; laws over all patterns are in laws/test_layouts.py."""

import pickle

import numpy as np
import pytest
from pictures import assert_refused, mask_of_picture
from scipy import sparse

from sparsevis import Causal, Chosen, Dense, Documents, Layout, PerHead, RandomKeys, SlidingWindow, Strided

PICTURE = """
    ██....█
    ██.....
    .......
    ...██..
    ██.....
    .█....."""


def test_arrays_by_hand():
    """6 x 7 in tiles of 2 x 2: a full tile, an edge tile that hangs over, a partial one met twice, an empty place."""
    layout = Layout.from_mask(mask_of_picture("""
        ██....█
        ██.....
        .......
        ...██..
        ██....█
        .█....."""), block=2)
    assert layout.shape == (6, 7)
    assert layout.block == (2, 2)
    assert layout.grid == (3, 4)
    assert layout.indptr.tolist() == [0, 2, 4, 6]
    assert layout.indices.tolist() == [0, 3, 1, 2, 0, 3]
    assert layout.kind.tolist() == [-1, 0, 1, 2, 3, 0]
    assert layout.tiles.tolist() == [[[1], [0]], [[0], [2]], [[0], [1]], [[3], [2]]]  # bit 0 is the first key
    assert layout.heads is None
    assert (layout.indptr.dtype, layout.indices.dtype, layout.kind.dtype, layout.tiles.dtype) == (np.int64, np.int32, np.int32, np.uint8)
    assert (layout.nnz, layout.computed, layout.tally()) == (11, 24, (1, 5, 6))
    assert layout.density == 11 / 42
    assert layout.nbytes == 4 * 8 + 6 * 4 + 6 * 4 + 8
    assert layout.order.tolist() == [0, 1, 2]


def test_tiles_wider_than_a_byte():
    layout = Layout.of(SlidingWindow(0), 10, block=(2, 10))
    assert layout.tiles.shape == (5, 2, 2)
    assert layout.tiles[4].tolist() == [[0, 1], [0, 2]]
    assert layout.unpacked()[3].astype(int).tolist() == [[0] * 6 + [1, 0, 0, 0], [0] * 7 + [1, 0, 0]]


def test_order_is_longest_first():
    layout = Layout.of(Causal(), 12, block=4)
    assert np.diff(layout.indptr).tolist() == [1, 2, 3]
    assert layout.order.tolist() == [2, 1, 0]


def test_a_ragged_full_edge_is_partial():
    layout = Layout.of(Dense(), (5, 6), (2, 4), offset=0)
    assert layout.tally() == (2, 4, 0)
    assert len(layout.tiles) == 3
    assert (layout.nnz, layout.computed) == (30, 6 * 8)


def test_repr():
    assert repr(Layout.of(Causal(), 10, 4)) == (
        "Layout(10 x 10 in tiles of 4 x 4: 1 full, 5 partial, 3 empty; 55 pairs, density 0.55, block tax 1.75)"
    )
    assert ", 2 heads in tiles" in repr(Layout.of(PerHead(Causal(), Dense()), 10, 4))
    assert "block tax" not in repr(Layout.from_mask(np.zeros((3, 3), bool)))


# ---------------------------------------------------------------- heads


def test_heads_with_equal_patterns_share_a_plane():
    layout = Layout.of(PerHead(Causal(), Dense(), Causal()), 10, 4)
    assert layout.heads == (0, 1, 0)
    assert layout.indptr.size == 2 * 3 + 1
    assert layout.nnz == 55 + 100 + 55
    assert layout.computed == 16 * (6 + 9 + 6)
    full, partial, empty = layout.tally()
    assert full + partial + empty == 27
    assert empty == 6
    assert layout.density == 210 / 300
    assert layout.planes(3).tolist() == [0, 1, 0]
    assert layout.planes(6).tolist() == [0, 1, 0, 0, 1, 0]
    assert layout.planes(3).dtype == np.int64
    assert Layout.of(Causal(), 10, 4).planes(5).tolist() == [0] * 5
    assert_refused(lambda: layout.planes(4), ValueError, ["3 heads", "4", "cycled"])


def test_planes_store_equal_tiles_once():
    layout = Layout.of(PerHead(Causal(), Causal() & SlidingWindow(100)), 16, 4)
    assert layout.heads == (0, 1)
    assert len(layout.tiles) == 1


def test_from_mask_of_heads():
    heads = PerHead(Causal(), Strided(3), SlidingWindow(1, 1))
    mask = heads.mask(11, 14, offset=2)
    layout = Layout.from_mask(mask, (4, 8))
    assert (layout.mask() == mask).all()
    assert layout == Layout.of(heads, (11, 14), (4, 8), offset=2)


# ---------------------------------------------------------------- values


def test_equality():
    a = Layout.of(Causal(), 20, 8)
    assert a == Layout.of(Causal() & Dense(), 20, 8)
    for pattern, n, block in [(Causal(), 20, (8, 4)), (Causal(), 21, 8), (SlidingWindow(18), 20, 8), (PerHead(Causal()), 20, 8)]:
        assert a != Layout.of(pattern, n, block)
    assert Layout.from_mask(np.eye(4, dtype=bool), 4) != Layout.from_mask(np.eye(4, dtype=bool)[::-1], 4)
    assert a != "layout"


def test_equal_layouts_have_equal_hashes():
    assert len({Layout.of(Causal(), 20, 8), Layout.of(Causal() & Dense(), 20, 8)}) == 1


def test_arrays_are_read_only():
    layout = Layout.of(Causal(), 20, 8)
    for array in (layout.indptr, layout.indices, layout.kind, layout.tiles):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_remember_computes_once():
    layout, made = Layout.of(Causal(), 20, 8), []
    make = lambda x: made.append(x) or len(made)
    assert [layout.remember(make) for _ in range(3)] == [1, 1, 1]
    assert made == [layout]
    assert Layout.of(Causal(), 20, 8).remember(make) == 2
    assert layout.remember(lambda x: "other") == "other"


def test_pickle():
    layout = Layout.of(PerHead(Causal(), RandomKeys(2)), 20, 8)
    assert layout.T.nnz == layout.nnz
    again = pickle.loads(pickle.dumps(layout))
    assert again == layout
    assert again.T == layout.T


# ---------------------------------------------------------------- other forms


def test_transpose_by_hand():
    layout = Layout.from_mask(mask_of_picture(PICTURE), (2, 3)).T
    assert (layout.shape, layout.block) == ((7, 6), (3, 2))
    assert (layout.mask() == mask_of_picture(PICTURE).T).all()
    assert layout == Layout.from_mask(mask_of_picture(PICTURE).T, (3, 2))


def test_scipy_forms():
    mask = mask_of_picture(PICTURE)
    layout = Layout.from_mask(mask, (2, 3))
    csr, bsr = layout.to_csr(), layout.to_bsr()
    assert csr.shape == (6, 7)
    assert csr.dtype == bool
    assert (csr.toarray() == mask).all()
    assert bsr.blocksize == (2, 3)
    assert bsr.shape == (6, 9)
    assert (bsr.toarray()[:, :7] == mask).all()
    assert not bsr.toarray()[:, 7:].any()
    assert Layout.from_scipy(csr, (2, 3)) == layout
    for kind in ("csr", "csc", "coo", "lil", "dok", "bsr"):
        assert Layout.from_scipy(sparse.csr_matrix(mask).asformat(kind), (2, 3)) == layout
    assert Layout.from_scipy(sparse.csr_array(mask), (2, 3)) == layout


def test_csr_lists_the_allowed_keys_alone():
    """Someone reads `indptr` and `indices`: no key may stand there that is not allowed."""
    csr = Layout.of(Causal(), 10, 4).to_csr()
    assert csr.nnz == 55
    assert (Chosen.from_csr(csr.indptr, csr.indices, 10).mask(10) == Causal().mask(10)).all()


def test_from_scipy_leaves_stored_zeros_out():
    matrix = sparse.csr_matrix((np.array([1.0, 0.0, -2.0]), [0, 1, 2], [0, 2, 3]), shape=(2, 3))
    assert (Layout.from_scipy(matrix, 2).mask() == [[True, False, False], [False, False, True]]).all()


def test_from_scipy_keeps_the_blocks_of_a_bsr_matrix():
    matrix = sparse.bsr_matrix(np.kron(np.eye(3), np.ones((2, 4))), blocksize=(2, 4))
    layout = Layout.from_scipy(matrix)
    assert layout.block == (2, 4)
    assert layout.kind.tolist() == [-1, -1, -1]
    assert Layout.from_scipy(matrix.tocsr()).block == (64, 64)
    assert Layout.from_scipy(matrix, 3).block == (3, 3)


def test_planes_of_scipy_forms():
    heads = PerHead(Causal(), Strided(2))
    layout = Layout.of(heads, 9, 4)
    for plane in range(2):
        assert (layout.to_csr(plane).toarray() == heads[plane].mask(9)).all()


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
@pytest.mark.parametrize("heads", [False, True])
def test_layouts_of_nothing(shape, heads):
    pattern = PerHead(Causal(), Dense(), Causal()) if heads else Causal()
    layout = Layout.of(pattern, shape, 4, offset=0)
    assert (layout.nnz, layout.computed, layout.density, layout.tally()) == (0, 0, 0.0, (0, 0, 0))
    assert layout.mask().shape == ((3, *shape) if heads else shape)
    assert layout.T.shape == shape[::-1]
    assert layout.T.T == layout
    assert layout.retile((2, 3)).retile(4) == layout
    assert "0 pairs" in repr(layout)
    assert layout._repr_html_()
    if not heads:
        assert Layout.from_mask(np.zeros(shape, bool), 4) == layout
        assert layout.to_csr().shape == shape


def test_picture_of_a_layout():
    import xml.etree.ElementTree as ET

    for pattern, n, block in [(Causal(), 100, 16), (RandomKeys(3), (70, 300), (1, 2)), (PerHead(Dense(), Causal()), 20, 8)]:
        layout = Layout.of(pattern, n, block, offset=0)
        root = ET.fromstring(layout._repr_html_().replace("<br>", "<br/>"))
        assert root.find("code").text == repr(layout)


# ---------------------------------------------------------------- limits and mistakes


def test_long_sequences_take_what_their_tiles_take():
    n = 1 << 20
    layout = Layout.of(SlidingWindow(255), n, 64)
    assert layout.nnz == n * 256 - 256 * 255 // 2
    assert layout.kind.size == 5 * n // 64 - (1 + 2 + 3 + 4)
    assert len(layout.tiles) == 2
    assert layout.nbytes < 3e6


def test_retile_of_full_tiles_stays_small():
    """2^17 x 2^17 pairs in 2^14 full tiles: joining them must not spell the pairs out."""
    assert Layout.of(Dense(), 1 << 17, 1 << 10).retile(1 << 11).tally() == (64 * 64, 0, 0)


def test_memory_is_refused():
    assert_refused(lambda: Layout.of(Dense(), 1 << 20, 16), MemoryError, ["4,294,967,296 tiles of 16 x 16", "GiB", "memory_limit"])
    assert_refused(lambda: Layout.of(Causal(), 4096, 16, memory_limit=1 << 16), MemoryError, ["16 x 16"])
    assert_refused(lambda: Layout.of(Dense(), 1 << 18, 1 << 10).mask(), MemoryError, ["262,144 x 262,144"])
    assert Layout.of(Causal(), 4096, 16, memory_limit=None).nnz == 4096 * 4097 // 2


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: Layout.of(Causal(), (3, 5)), ValueError, ["3 queries over 5 keys", '"top-left"']),
    (lambda: Layout.of(Causal(), -1), ValueError, ["-1", "negative"]),
    (lambda: Layout.of(Causal(), 8, 0), ValueError, ["block=0", ">= 1"]),
    (lambda: Layout.of(Causal(), 8, (4, -1)), ValueError, ["block=(4, -1)", ">= 1"]),
    (lambda: Layout.of(Causal(), 8, (1, 2, 3)), ValueError, ["block=(1, 2, 3)"]),
    (lambda: Layout.of(Causal(), 8, True), ValueError, ["block=True"]),
    (lambda: Layout.of(np.ones((3, 3), bool), 3), TypeError, ["ndarray", "from_mask"]),
    (lambda: Layout.of(None, 3), TypeError, ["NoneType"]),
    (lambda: Layout.of(Documents([3, 4]), 8), ValueError, ["7", "8"]),
    (lambda: Layout.from_mask(np.ones((3, 3))), TypeError, ["float64", "(3, 3)", "boolean"]),
    (lambda: Layout.from_mask(np.ones(3, bool)), TypeError, ["(3,)"]),
    (lambda: Layout.from_mask(np.ones((1, 1, 3, 3), bool)), TypeError, ["(1, 1, 3, 3)"]),
    (lambda: Layout.of(Causal(), 8).retile(0), ValueError, ["block=0"]),
])  # fmt: skip
def test_mistakes(call, error, words):
    assert_refused(call, error, words)
