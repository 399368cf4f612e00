"""Random patterns: exactly r distinct keys a row, the same draw whoever asks and however, and BigBird's published draws."""

import subprocess
import sys

import numpy as np
import pytest
from pictures import assert_picture, assert_refused, keys

from sparsevis import Causal, Layout, RandomBlocks, RandomKeys
from sparsevis.patterns.random import _drawn_once, published_plan

FROZEN_KEYS = """
    .█...█..
    .██.....
    ......██
    ..█..█..
    ..█....█
    █.█.....
    ...█..█.
    ...█...█"""

FROZEN_MANY = """
    ██.█.███
    ████..██
    ███.██.█"""

FROZEN_BLOCKS = """
    ...██.
    ...██.
    ...█.█
    .█..█.
    ....██
    █.█..."""


@pytest.mark.parametrize("n", [1, 2, 5, 16, 97])
def test_exactly_r_distinct_keys(n):
    for r in {0, 1, n // 2, n // 2 + 1, max(0, n - 1), n}:
        if r <= n:
            assert RandomKeys(r, seed=3).mask(n).sum(1).tolist() == [r] * n


def test_frozen_draws():
    """The draw is a promise: a change of these pictures changes every published number that used the pattern."""
    assert_picture(RandomKeys(2).mask(8), FROZEN_KEYS)
    assert_picture(RandomKeys(6, seed=2**63 - 1).mask(3, 8, offset=5), FROZEN_MANY)
    assert_picture(RandomBlocks(1, 2, seed=7).mask(6), FROZEN_BLOCKS)


def draw_with_plain_integers(row, n, count, seed):
    """The keys of one row by Python's own integers: SplitMix64's finaliser (Steele, Lea, Flood 2014) over hashed counters."""
    word, golden = 2**64 - 1, 0x9E3779B97F4A7C15

    def mix(x):
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & word
        x = (x ^ x >> 27) * 0x94D049BB133111EB & word
        return x ^ x >> 31

    few = min(count, n - count)
    state = mix(seed + golden * (row + 1) & word)
    number = lambda counter: (mix(state + golden * (counter + 1) & word) >> 32) * n >> 32
    found, turn = sorted(map(number, range(few))), 1
    while len(set(found)) < few:
        found = sorted(number(turn * few + x) if x and found[x] == found[x - 1] else found[x] for x in range(few))
        turn += 1
    return found if few == count else sorted(set(range(n)) - set(found))


@pytest.mark.parametrize(("r", "n", "seed"), [(3, 5, 0), (7, 16, 12345), (12, 16, 2**63 - 1), (1, 97, 9), (40, 97, 2**40)])
def test_draws_follow_the_published_generator(r, n, seed):
    mask = RandomKeys(r, seed).mask(n)
    assert [keys(row) for row in mask] == [draw_with_plain_integers(i, n, r, seed) for i in range(n)]


def test_a_draw_is_the_same_however_one_asks():
    """By mask, one row alone, one entry, rows far beyond n, in tiles of any shape, at any offset, in another process."""
    pattern, n = RandomKeys(4, seed=5), 50
    late = pattern.mask(3 * n, n, offset=0)
    mask = pattern.mask(n)
    assert (late[:n] == mask).all()
    assert (late[n : 2 * n] != mask).any()
    for i in (49, 0, 17):
        assert (pattern.mask(1, n, offset=i)[0] == mask[i]).all()
        assert [pattern.allows(i, j, n) for j in range(n)] == mask[i].tolist()
    for block in (1, 7, (16, 24), 64):
        assert (Layout.of(pattern, n, block).mask() == mask).all()
        assert (Layout.of(pattern, (20, n), block, offset=75).mask() == late[75:95]).all()
    code = "from sparsevis import RandomKeys; print(RandomKeys(4, seed=5).allows(17, slice_of, 50).tolist())"
    code = code.replace("slice_of", "__import__('numpy').arange(50)")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == str(mask[17].tolist())


def test_a_table_is_drawn_once_for_many_positions():
    """A decode step at every position asks for another row of the same table."""
    _drawn_once.cache_clear()
    for i in range(50):
        RandomKeys(4, seed=77).mask(1, 50, offset=i)
    assert _drawn_once.cache_info().misses == 1


def test_draws_leave_the_global_generators_alone():
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    RandomKeys(3, seed=99).mask(31)
    RandomBlocks(64, 3, plan="published").mask(1024)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_other_seeds_give_other_draws():
    masks = [RandomKeys(3, seed=s).mask(40) for s in range(6)]
    assert len({m.tobytes() for m in masks}) == 6
    shares = [(a & b).sum() / 120 for x, a in enumerate(masks) for b in masks[:x]]
    assert max(shares) < 0.2                                     # chance is 3 / 40; neighbouring seeds must not be shifted copies


def test_draws_are_uniform():
    """How often each key is drawn, each pair of keys together, and a key in two rows that are neighbours, against chance."""
    n, r, seeds = 24, 5, 60
    mask = np.array([RandomKeys(r, seed=s).mask(n) for s in range(seeds)])
    rows, share = n * seeds, r / n
    off = (mask.sum((0, 1)) - rows * share) / (rows * share * (1 - share)) ** 0.5      # in standard deviations
    assert abs(off).max() < 4
    assert 0.6 < np.sqrt((off**2).mean()) < 1.4
    together = np.einsum("sij,sik->jk", mask.astype(int), mask.astype(int))[np.triu_indices(n, 1)]
    assert abs(together - rows * share * (r - 1) / (n - 1)).max() < 4.5 * (rows * share * (r - 1) / (n - 1)) ** 0.5
    assert abs((mask[:, 1:] & mask[:, :-1]).sum() / (seeds * (n - 1)) - r * share) < 0.1


def test_random_blocks():
    pattern = RandomBlocks(4, 2, seed=3)
    mask = pattern.mask(22)                                        # 6 blocks, the last of 2 positions
    cells = mask[::4, ::4]
    assert cells.sum(1).tolist() == [2] * 6
    assert (mask == np.kron(cells, np.ones((4, 4), bool))[:22, :22]).all()
    assert (pattern.mask(3, 22, offset=7) == mask[7:10]).all()
    assert (cells == RandomBlocks(1, 2, seed=3).mask(6)).all()       # block numbers are drawn, not positions


def test_count_of_all_blocks():
    assert RandomBlocks(5, 3).mask(13).all()
    assert not RandomBlocks(5, 0).mask(13).any()


# ---------------------------------------------------------------- BigBird's published plan

PAPER_PLAN = """
     1: 9 14 7    2: 9 6 7      3: 10 5 14    4: 6 8 12    5: 2 13 1    6: 4 11 3    7: 1 10 5
     8: 2 3 15    9: 13 11 14  10: 15 13 8   11: 9 7 4    12: 1 2 5    13: 8 9 7    14: 2 6 5"""


def test_paper_plan_golden_rows():
    """Block 64, r = 3, head 0, numpy.random.RandomState(0): what the released code draws at n = 1024."""
    numbers = [int(x) for x in PAPER_PLAN.replace(":", " ").split()]
    want = np.array(numbers).reshape(14, 4)
    assert want[:, 0].tolist() == list(range(1, 15))
    assert published_plan(1024, 64, 3, seed=0)[0].tolist() == want[:, 1:].tolist()
    cells = RandomBlocks(64, 3, plan="published").mask(1024)[::64, ::64]
    assert [keys(row) for row in cells] == [[], *(sorted(row[1:]) for row in want.tolist()), []]


@pytest.mark.parametrize(("n", "twice"), [(1024, 38), (3072, 0), (4096, 0)])
def test_paper_plan_over_heads(n, twice):
    """12 heads, seed 0: how often a row draws the last block, which is global anyway; never the window, never block 0."""
    plan, last = published_plan(n, 64, 3, seed=0, heads=12), n // 64 - 1
    assert plan.shape == (12, last - 1, 3)
    row = np.arange(1, last)[:, None]
    assert (plan == last).any(-1).sum() == twice
    assert (abs(plan - row) > 1).all()
    assert plan.min() >= 1
    assert plan.max() <= 15                                        # only from the first 1024 tokens
    assert all(len(set(draw)) == 3 for head in plan.tolist() for draw in head)
    assert (published_plan(n, 64, 3, seed=0, heads=3) == plan[:3]).all()  # heads outer: fewer heads draw the same
    assert (plan[0] != published_plan(n, 64, 3, seed=1)[0]).any()


def generic_plan(blocks, r, heads, seed):
    """The plan for other lengths, a second time, from its description: a table of draws, then the draws, rows outer and heads inner."""
    stream = np.random.RandomState(seed)
    if 2 * r + 5 < blocks:
        segments = [(0, 2 * r + 5, r), (2 * r + 5, blocks, 0)]
    elif r + 5 < blocks:
        segments = [(0, r + 5, r // 2), (r + 5, blocks, r - r // 2)]
    else:
        segments = [(0, blocks, r)]
    jobs = []
    for a, (start, end, _) in enumerate(segments):
        jobs += [(row, a) for row in range(1, start)] if a else []
        jobs += [(row, b) for b in range(a) for row in range(start, end)]
        jobs += [(row, a) for row in range(max(1, start), end)]
    drawn = {}
    for row, s in jobs:
        start, end, count = segments[s]
        for head in range(heads if count else 0):
            banned = [row - 1, row, row + 1, 0, end - 1] + [end - 2] * (row == 1) + [1] * (row == end - 2)
            kept = [x for x in stream.permutation(range(start, end)).tolist() if x not in banned]
            drawn.setdefault((head, row), {})[s] = kept[:count]
    return [[[x for s in sorted(drawn[h, row]) for x in drawn[h, row][s]] for row in range(1, blocks - 1)] for h in range(heads)]


@pytest.mark.parametrize(("blocks", "r", "heads"), [(32, 3, 1), (32, 3, 4), (20, 2, 3), (12, 3, 2), (8, 3, 2), (9, 1, 2)])
def test_generic_plan(blocks, r, heads):
    plan = published_plan(blocks * 8, 8, r, seed=2, heads=heads)
    assert plan.tolist() == generic_plan(blocks, r, heads, seed=2)
    assert all(len(set(draw)) == r for head in plan.tolist() for draw in head)
    assert (abs(plan - np.arange(1, blocks - 1)[:, None]) > 1).all()


@pytest.mark.parametrize("blocks", [7, 9, 10, 11])
def test_generic_plan_fails_where_the_released_code_fails(blocks):
    with pytest.raises(ValueError, match="blocks to draw"):
        published_plan(blocks * 64, 64, 3)


def test_published_plan_of_a_head():
    heads = [RandomBlocks(64, 3, seed=4, plan="published", head=h, heads=2).mask(2048)[::64, ::64] for h in range(2)]
    plan = published_plan(2048, 64, 3, seed=4, heads=2)
    for h, cells in enumerate(heads):
        assert [keys(row) for row in cells[1:-1]] == np.sort(plan[h]).tolist()
        assert not cells[[0, -1]].any()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: RandomKeys(-1), ValueError, ["RandomKeys", "keys_per_query is -1", ">= 0"]),
        (lambda: RandomKeys(1.0), TypeError, ["keys_per_query is 1.0"]),
        (lambda: RandomKeys(1, seed=-1), ValueError, ["seed is -1", "from 0 to 9223372036854775807"]),
        (lambda: RandomKeys(1, seed=2**63), ValueError, ["seed is 9223372036854775808"]),
        (lambda: RandomKeys(6).mask(5), ValueError, ["keys_per_query=6", "0 to 5"]),
        (lambda: Layout.of(Causal() & RandomKeys(6), 5), ValueError, ["keys_per_query=6", "0 to 5"]),
        (lambda: RandomBlocks(0, 1), ValueError, ["RandomBlocks", "block is 0", ">= 1"]),
        (lambda: RandomBlocks(4, -1), ValueError, ["blocks_per_row is -1"]),
        (lambda: RandomBlocks(4, 1, seed=2**32), ValueError, ["seed is 4294967296", "4294967295"]),
        (lambda: RandomBlocks(4, 1, plan="paper"), ValueError, ["plan is 'paper'", "uniform", "published"]),
        (lambda: RandomBlocks(4, 1, head=1), ValueError, ["head is 1", "from 0 to 0"]),
        (lambda: RandomBlocks(4, 1, heads=0), ValueError, ["heads is 0", ">= 1"]),
        (lambda: RandomBlocks(4, 4).mask(12), ValueError, ["blocks_per_row=4", "0 to 3"]),
        (lambda: published_plan(1000, 64, 3), ValueError, ["n is 1000", "64"]),
    ],
)
def test_bad_fields(make, error, words):
    assert_refused(make, error, words)
