"""Correcting a count by the drawn pairs must give what deciding every pair gives."""

import numpy as np
import pytest
from pictures import assert_refused

from sparsevis import Causal, Chunked, Dense, Global, RandomKeys, SlidingWindow, Strided
from sparsevis.scattered import pairs_of, tally_pattern
from sparsevis.tally import tally

DRAWN, OTHER = RandomKeys(3, seed=4), RandomKeys(6, seed=1)
PATTERNS = [
    DRAWN, RandomKeys(0), Causal() & DRAWN, ~DRAWN, DRAWN | SlidingWindow(5, 3), Strided(4) - DRAWN, (DRAWN | Chunked(9)) & Causal(),
    DRAWN & OTHER, DRAWN | OTHER | Global([0]), ~(DRAWN | ~OTHER), (Causal() - DRAWN) | (DRAWN - Causal()), DRAWN | ~DRAWN, DRAWN - DRAWN,
    Dense() | DRAWN, RandomKeys(30) & DRAWN,
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
@pytest.mark.parametrize("shape", [(37, 37, 0), (40, 40, 0), (10, 37, 27), (10, 37, 5), (80, 37, 0), (80, 37, -5), (1, 37, 36)])
def test_counts_what_deciding_every_pair_counts(pattern, shape):
    nq, nk, offset = shape
    for block in ((8, 8), (1, 1), (4, 16), (64, 64)):
        if offset < 0:
            with pytest.raises(ValueError, match="outside the table"):
                tally_pattern(pattern, (nq, nk), block, offset)
        else:
            assert tally_pattern(pattern, (nq, nk), block, offset) == tally(pattern.allows, (nq, nk), block, offset), block


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_pairs_of_some_squares(pattern):
    """Those of the mask, in any order, with squares left out and squares that hang over."""
    n, side = 44, 8
    mask = np.zeros((48, 48), int)
    mask[:n, :n] = pattern.mask(n)
    r, c = np.array([5, 0, 2, 2, 5]), np.array([5, 0, 4, 1, 0])
    wanted = [mask[a * side : (a + 1) * side, b * side : (b + 1) * side].sum() for a, b in zip(r, c, strict=True)]
    assert pairs_of(pattern, r, c, side, (n, n)).tolist() == wanted
    assert pairs_of(pattern, r[:0], c[:0], side, (n, n)).tolist() == []


def test_refuses_before_it_draws():
    count = lambda: tally_pattern(RandomKeys(64), (1 << 20, 1 << 20), (64, 64))
    assert_refused(count, MemoryError, ["67,108,864 random pairs", "12.5 GiB"])
