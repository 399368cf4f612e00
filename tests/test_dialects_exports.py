"""Exports, each read back by the rules of whom it is for, and compared with the pattern's mask."""

import numpy as np
import pytest

import sparsevis as sv
from sparsevis.dialects import Unsayable, block_mask, bsr, csr, flashmask_rows, flex_mask_mod, save_dense

PATTERNS = [  # pattern, (nq, nk, offset)
    (sv.SlidingWindow(3), (13, 13, 0)),
    (sv.SlidingWindow(3, 2), (5, 12, 7)),
    (sv.Causal() & sv.Documents([3, 0, 5, 4]), (12, 12, 0)),
    (sv.Documents([3, 5, 4]) | sv.RandomKeys(2, seed=1), (7, 12, 5)),
    (sv.RandomKeys(3), (11, 11, 0)),
    (sv.RandomBlocks(2, 2, seed=3) - sv.Causal(), (13, 13, 0)),
    (sv.bigbird(2, random_blocks=1), (15, 15, 0)),
    (sv.Chosen.from_blocks(np.eye(4, dtype=bool), 3), (11, 11, 0)),
    (sv.Chosen.from_mask(np.random.RandomState(0).rand(5, 9) < 0.3), (5, 9, 0)),
    (~sv.Dilated(2, 1, 3), (10, 14, 2)),
    (sv.Causal(), (9, 4, -5)),
    (sv.Global([0, -1]) | sv.Strided(4), (10, 10, 0)),
    (sv.PerHead(sv.SlidingWindow(2), sv.RandomKeys(2), sv.SlidingWindow(2), sv.Dense()), (9, 9, 0)),
    (sv.PerHead(sv.RandomBlocks(2, 1, 0), sv.RandomBlocks(2, 1, 1), sv.Documents([4, 5])), (9, 9, 0)),
    (sv.SlidingWindow(300), (500, 500, 0)),
]
over = pytest.mark.parametrize(("pattern", "sizes"), PATTERNS, ids=lambda x: repr(x)[:40] if not isinstance(x, tuple) else "")


def heads_of(pattern):
    return len(pattern) if isinstance(pattern, sv.PerHead) else 1


def run(exported):
    """(mask_mod, check) of the exported text; the tables stay NumPy arrays."""
    names = {}
    exec(exported.source, names)
    if not exported.tables:
        return names["mask_mod"], names["check"]
    return names["make_mask_mod"](**exported.tables), lambda: names["check"](**exported.tables)


@over
def test_mask_mod_is_the_pattern(pattern, sizes):
    nq, nk, offset = sizes
    mask_mod, check = run(flex_mask_mod(pattern, nq, nk, offset))
    q, k = np.ogrid[:nq, :nk]
    said = np.stack([np.broadcast_to(mask_mod(0, h, q, k), (nq, nk)) for h in range(heads_of(pattern))])
    np.testing.assert_array_equal(said, pattern.mask(nq, nk, offset).reshape(said.shape))
    check()


@over
def test_mask_mod_checks_itself(pattern, sizes):
    """A source whose offset or tables were tampered with does not pass its own check."""
    exported = flex_mask_mod(pattern, *sizes)
    if exported.tables:
        exported.tables.update({name: np.roll(table, 1, axis=-1) for name, table in exported.tables.items()})
        source = exported.source
    else:
        source = exported.source.replace(", kv_idx\n", ", kv_idx + 1\n")
    names = {}
    exec(source, names)
    with pytest.raises(AssertionError, match="not the mask that was exported"):
        names["check"](**exported.tables)


def test_mask_mod_text():
    exported = flex_mask_mod(sv.Causal() & sv.Documents([2, 3]), 5)
    assert exported.source.split("\n\n\n")[0] == (
        "# Causal() & Documents(lengths=(2, 3))\n"
        "# 5 queries over 5 keys; query 0 stands at position 0\n"
        "def make_mask_mod(document):\n"
        "    def mask_mod(b, h, q_idx, kv_idx):\n"
        "        i, j = q_idx, kv_idx\n"
        "        return (j <= i) & (document[i] == document[j])\n"
        "    return mask_mod"
    )
    assert exported.tables["document"].tolist() == [0, 0, 1, 1, 1]
    assert str(exported) == exported.source


def test_mask_mod_of_a_long_text_holds_no_mask():
    exported = flex_mask_mod(sv.SlidingWindow(4095) | sv.Global([0]), 1 << 20)
    assert not exported.tables
    run(exported)[1]()


@pytest.mark.parametrize("block", [4, (3, 5)])
@over
def test_block_mask(pattern, sizes, block):
    """Drawn from the lists alone: full tiles are all True inside the mask's edges, partial ones mixed, the others empty."""
    nq, nk, offset = sizes
    (bq, bk), mask = (block, block) if isinstance(block, int) else block, pattern.mask(nq, nk, offset).reshape(-1, nq, nk)
    lists = block_mask(pattern, nq, nk, block=block, offset=offset)
    rows, columns = -(-nq // bq), -(-nk // bk)
    assert lists["kv_indices"].shape == lists["full_kv_indices"].shape == (1, len(mask), rows, columns)
    assert all(x.dtype == np.int32 for x in lists.values())
    for h, r, c in np.ndindex(len(mask), rows, columns):
        tile = mask[h, r * bq : (r + 1) * bq, c * bk : (c + 1) * bk]
        full = tile.size == bq * bk and tile.all()
        for name, wanted in (("kv", tile.any() and not full), ("full_kv", full)):
            count = lists[f"{name}_num_blocks"][0, h, r]
            assert (c in lists[f"{name}_indices"][0, h, r, :count]) == wanted
            assert sorted(lists[f"{name}_indices"][0, h, r].tolist()) == list(range(columns))


@over
def test_scipy(pattern, sizes):
    pytest.importorskip("scipy")
    if isinstance(pattern, sv.PerHead):
        with pytest.raises(TypeError, match="one by one"):
            csr(pattern, *sizes)
        return
    nq, nk, offset = sizes
    mask = pattern.mask(nq, nk, offset)
    np.testing.assert_array_equal(csr(pattern, nq, nk, offset).toarray(), mask)
    tiles = bsr(pattern, nq, nk, offset, block=(3, 4))
    assert tiles.blocksize == (3, 4)
    np.testing.assert_array_equal(tiles.toarray()[:nq, :nk], mask)
    assert tiles.toarray().sum() == mask.sum()


@over
def test_dense(pattern, sizes, tmp_path):
    pairs = save_dense(tmp_path / "mask.npy", pattern, *sizes)
    back = np.load(tmp_path / "mask.npy")
    np.testing.assert_array_equal(back, pattern.mask(*sizes))
    assert pairs == back.sum()


def test_dense_refuses_what_does_not_fit(tmp_path):
    with pytest.raises(MemoryError, match="a mask of 1 x 1,000 x 1,000 pairs"):
        save_dense(tmp_path / "mask.npy", sv.Causal(), 1000, memory_limit=10_000)
    assert not (tmp_path / "mask.npy").exists()


def flashmask(rows, causal, n):
    """The mask FlashMask makes of its row numbers, one key at a time, as section 4 of its paper has it."""
    seen = np.ones((rows.shape[1], n, n), bool)
    for h, j in np.ndindex(rows.shape[1], n):
        numbers = rows[0, h, j].tolist()
        match len(numbers), causal:
            case 1, True:
                hidden = [(numbers[0], n), (0, j)]
            case 2, True:
                hidden = [tuple(numbers), (0, j)]
            case 2, False:
                hidden = [(numbers[0], n), (0, numbers[1])]
            case 4, False:
                hidden = [tuple(numbers[:2]), tuple(numbers[2:])]
        for start, stop in hidden:
            seen[h, start:stop, j] = False
    return seen


@pytest.mark.parametrize(("pattern", "width", "causal"), [
    (sv.Causal(), 1, True),
    (sv.SlidingWindow(3), 1, True),
    (sv.Causal() & sv.Documents([3, 4, 6]), 1, True),
    (sv.Causal() & sv.Chunked(4), 1, True),
    (sv.streaming_llm(2, 4), 1, True),
    (sv.Causal() & (sv.SlidingWindow(2) | sv.Global([12])), 2, True),
    (sv.Dense(), 2, False),
    (sv.Documents([3, 4, 6]), 2, False),
    (sv.SlidingWindow(2, 3), 2, False),
    (sv.PrefixLM(4), 2, False),
    (sv.SlidingWindow(1, 1) | sv.Global([0, 12]), 4, False),
    (sv.PerHead(sv.Causal(), sv.SlidingWindow(1)), 1, True),
    (sv.PerHead(sv.Causal(), sv.Documents([6, 7])), 2, False),
])  # fmt: skip
def test_flashmask(pattern, width, causal):
    rows, is_causal = flashmask_rows(pattern, 13)
    assert (rows.shape[-1], is_causal, rows.dtype) == (width, causal, np.int32)
    mask = pattern.mask(13)
    np.testing.assert_array_equal(flashmask(rows, is_causal, 13), mask.reshape(-1, 13, 13))


@pytest.mark.parametrize("pattern", [sv.Strided(3), sv.Causal() & sv.RandomKeys(3), sv.SlidingWindow(1, 1) | sv.Global([6])])
def test_flashmask_says_what_it_cannot(pattern):
    with pytest.raises(Unsayable, match="one stretch of queries on each side"):
        flashmask_rows(pattern, 13)
