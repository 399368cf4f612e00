"""Laws of counting: cells, layouts and costs count the pairs of the mask, exactly, whatever the tiles."""

import numpy as np
import pytest
from pictures import INSTANCES, instance, placed

from sparsevis import Layout, PerHead, cost


def tiled(mask, block):
    """Pairs in each tile of a mask."""
    (nq, nk), (bq, bk) = mask.shape, block
    padded = np.zeros((-(-nq // bq) * bq, -(-nk // bk) * bk), int)
    padded[:nq, :nk] = mask
    return padded.reshape(-(-nq // bq), bq, -(-nk // bk), bk).sum((1, 3))


@pytest.mark.parametrize("n", [1, 7, 64, 97])
@pytest.mark.parametrize("name", INSTANCES)
def test_counts_layout_and_cost_count_the_mask(name, n):
    pattern = instance(name, n)
    for nq, nk, offset in placed(pattern, n):
        mask = pattern.mask(nq, nk, offset)
        pairs, cell = pattern.counts(nq, nk, cells=8, offset=offset)
        assert pairs.tolist() == tiled(mask, (cell, cell)).tolist()
        for block in [(1, 1), (8, 8), (7, 16), (64, 64)]:
            held = tiled(mask, block)
            full, listed = int((held == block[0] * block[1]).sum()), int((held > 0).sum())
            layout = Layout.of(pattern, (nq, nk), block, offset)
            counted = cost(pattern, (nq, nk), block=block, offset=offset)
            assert layout.nnz == counted.nnz == mask.sum()
            assert layout.computed == counted.computed == listed * block[0] * block[1]
            assert layout.tally() == (full, listed - full, held.size - listed)
            assert (counted.full, counted.partial) == (full, listed - full)
            assert layout.density == counted.density == mask.mean()


def test_counts_of_heads():
    n = 31
    heads = PerHead(*(instance(name, n) for name in INSTANCES), instance("causal", n))
    layout, counted = Layout.of(heads, n, 8), cost(heads, n, block=8)
    assert layout.nnz == counted.nnz == heads.mask(n).sum()
    assert layout.computed == counted.computed == sum(cost(p, n, block=8).computed for p in heads)
    assert layout.tally()[:2] == (counted.full, counted.partial)
    assert layout.density == counted.density == heads.mask(n).mean()
    assert cost(layout, n) == counted


@pytest.mark.parametrize("name", INSTANCES)
def test_complements_add_up(name):
    """What a pattern allows and what it does not are all pairs, in cells of 64 x 64."""
    n = 700
    pattern = instance(name, n)
    one, other = pattern.counts(n, cells=16), (~pattern).counts(n, cells=16)
    cells = np.minimum(one[1], n - one[1] * np.arange(one[0].shape[0]))
    assert (one[0] + other[0] == np.outer(cells, cells)).all()
    causal, total = instance("causal", n), lambda p: int(p.counts(n)[0].sum())
    assert total(pattern | causal) + total(pattern & causal) == total(pattern) + n * (n + 1) // 2
