"""Random attention: a few keys, or blocks of keys, drawn for each row by a generator that the pattern's seed fixes.

A draw depends on (seed, row, n) alone: not on the order of asking, on tiles, on threads or on NumPy's version.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sparsevis.pattern import Fits, Pattern, whole
from sparsevis.readings import Symbol, at, extent
from sparsevis.tables import Relation

__all__ = ["RandomBlocks", "RandomKeys", "published_plan"]


@dataclass(frozen=True, repr=False)
class RandomKeys(Pattern):
    """Each query attends `keys_per_query` distinct keys drawn at random: hops between any two tokens grow like log n (2007.14062).

    Parameters
    ----------
    keys_per_query : int
        How many keys a row; at most n.
    seed : int
        The draw.

    Examples
    --------
    >>> RandomKeys(2).mask(5).sum(1)
    array([2, 2, 2, 2, 2])
    """

    keys_per_query: int
    seed: int = 0
    ingredient = "random"

    def __post_init__(self):
        whole(self, "keys_per_query", 0)
        whole(self, "seed", 0, 2**63 - 1)

    @property
    def fits(self):
        """Enough keys to draw from."""
        return Fits(self.keys_per_query)

    def allows(self, q, k, n):
        """Key j was drawn for row i."""
        return at(table_of(self, self.keys_per_query, extent(q), n, "keys"), q, k)

    def _draw(self, rows, n):
        return drawn(rows, n, self.keys_per_query, self.seed)


@dataclass(frozen=True, repr=False)
class RandomBlocks(Pattern):
    """Each block of queries attends `blocks_per_row` distinct blocks of keys drawn at random, as in BigBird (arXiv 2007.14062).

    Parameters
    ----------
    block : int
        Positions in a block.
    blocks_per_row : int
        How many blocks a row; at most the number of blocks.
    seed : int
        The draw.
    plan : {"uniform", "published"}
        "uniform" draws from all blocks. "published" is the plan of BigBird's released code: never the window, the first or the last
        block, none for the first and last row, and only from the start of the text; see `published_plan`.
    head, heads : int
        Whose draw, of how many heads; the published plan draws for all heads from one stream.

    Examples
    --------
    >>> RandomBlocks(2, 1).mask(8).sum(1)
    array([2, 2, 2, 2, 2, 2, 2, 2])
    """

    block: int
    blocks_per_row: int
    seed: int = 0
    plan: str = "uniform"
    head: int = 0
    heads: int = 1
    ingredient = "random"

    def __post_init__(self):
        whole(self, "block", 1)
        whole(self, "blocks_per_row", 0)
        whole(self, "seed", 0, 2**32 - 1)
        whole(self, "heads", 1)
        whole(self, "head", 0, self.heads - 1)
        if self.plan not in ("uniform", "published"):
            raise ValueError(f'RandomBlocks: plan is {self.plan!r}, and needs "uniform" or "published"')

    @property
    def fits(self):
        """Enough blocks to draw from."""
        return Fits(max(0, (self.blocks_per_row - 1) * self.block + 1))

    def allows(self, q, k, n):
        """The block of j was drawn for the block row of i."""
        i, j = q // self.block, k // self.block
        blocks = (n + (self.block - 1)) // self.block
        return at(table_of(self, self.blocks_per_row, extent(i), blocks, f"blocks of {self.block}"), i, j)

    def _draw(self, rows, blocks):
        if self.plan == "uniform":
            return drawn(rows, blocks, self.blocks_per_row, self.seed)
        plan = published_plan(blocks * self.block, self.block, self.blocks_per_row, self.seed, heads=self.heads)[self.head]
        row = np.repeat(np.arange(1, blocks - 1), self.blocks_per_row)
        return Relation(rows, blocks, row * blocks + plan.ravel(), "drawn")


def table_of(pattern, count, rows, n, what):
    """The relation a random pattern looks up; its rows come in steps of n, so that few are ever drawn."""
    if isinstance(n, Symbol):
        return Relation(0, 0, [], "drawn")
    if count > n:
        raise ValueError(f"{pattern!r}: asks for {count} distinct {what} in every row, but there are {n}; ask for 0 to {n}")
    return _drawn_once(pattern, max(1, -(-rows // max(1, n))) * n, n)


@lru_cache(maxsize=8)
def _drawn_once(pattern, rows, n):
    return pattern._draw(rows, n)


def drawn(rows, n, count, seed):
    """Return the Relation of `count` distinct columns out of n for each of `rows` rows.

    Each row reads its own stream of hashed counters; a column met twice is drawn anew from the counters that follow. Where more
    than half of the columns are wanted, the others are drawn and left out.
    """
    few = min(count, n - count)
    columns = np.sort(_stream(np.arange(rows)[:, None], np.arange(few), n, seed), axis=1)
    again, turn = np.arange(rows if few > 1 else 0), 1
    while again.size:
        part = columns[again]
        twice = np.zeros(part.shape, bool)
        twice[:, 1:] = part[:, 1:] == part[:, :-1]
        hit = twice.any(1)
        again, part, twice = again[hit], part[hit], twice[hit]
        fresh = _stream(again[:, None], turn * few + np.arange(few), n, seed)
        columns[again] = np.sort(np.where(twice, fresh, part), axis=1)
        turn += 1
    codes = (np.arange(rows)[:, None] * n + columns).ravel()
    if few < count:
        codes = np.setdiff1d(np.arange(rows * n), codes, assume_unique=True)
    return Relation(rows, n, codes, "drawn")


def _stream(row, counter, n, seed):
    """Whole numbers below n, one for each (seed, row, counter): Steele, Lea and Flood's SplitMix64 finaliser, applied twice."""
    state = _mix(np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15) * (row.astype(np.uint64) + np.uint64(1)))
    bits = _mix(state + np.uint64(0x9E3779B97F4A7C15) * (counter.astype(np.uint64) + np.uint64(1)))
    return ((bits >> np.uint64(32)) * np.uint64(n) >> np.uint64(32)).astype(np.int64)


def _mix(x):
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def published_plan(n, block, blocks_per_row, seed=0, heads=1):
    """Return the random blocks that BigBird's released code draws: int64 (heads, n / block - 2, blocks_per_row), in drawing order.

    Row r is for query block r + 1; the first and last query blocks attend everything and draw nothing. The stream is NumPy's legacy
    generator seeded with the layer's number. For n of 1024, 3072 or 4096 the plan depends on head and row only; otherwise a generic
    plan spreads the draws over two segments. Both know only the start of the text.

    Parameters
    ----------
    n : int
        Number of positions, a multiple of `block`.
    block, blocks_per_row, seed, heads : int
        As in `RandomBlocks`.

    Raises
    ------
    ValueError
        If n is no multiple of `block`, or if too few blocks are left to draw from (the released code fails there too).

    References
    ----------
    Zaheer et al. 2020, arXiv 2007.14062; the plan as in google-research/bigbird and transformers' BigBirdBlockSparseAttention.

    Examples
    --------
    >>> published_plan(1024, 64, 3, seed=0)[0, :2].tolist()
    [[9, 14, 7], [9, 6, 7]]
    """
    if n % block:
        raise ValueError(f"published_plan: n is {n}, and needs to be a multiple of block ({block})")
    blocks, stream = n // block, np.random.RandomState(seed)
    draw = _paper_plan if n in (1024, 3072, 4096) else _generic_plan
    return draw(blocks, block, blocks_per_row, heads, stream)


def _paper_plan(blocks, block, r, heads, stream):
    rows, last = 4096 // block, 1024 // block - 1
    plan = np.zeros((heads, rows - 2, r), np.int64)
    for head in range(heads):
        for b in range(1, rows - 1):
            if b == 1:
                candidates = np.arange(3, last + 1)
            elif b == 2:
                candidates = np.arange(4, last + 1)
            elif b >= rows - 3:
                candidates = np.arange(1, last + 1)
            else:
                candidates = np.concatenate([np.arange(1, min(b - 2, last) + 1), np.arange(b + 2, last + 1)])
            plan[head, b - 1] = _first(stream.permutation(candidates), r, b)
    return plan[:, : blocks - 2]


def _generic_plan(blocks, block, r, heads, stream):
    if 2 * r + 5 < blocks:
        ends, draws = [2 * r + 5, blocks], [r, 0]
    elif r + 5 < blocks:
        ends, draws = [r + 5, blocks], [r // 2, r - r // 2]
    else:
        ends, draws = [blocks], [r]
    starts = [0, *ends[:-1]]
    plan = np.zeros((heads, blocks, r), np.int64)
    place = np.concatenate([[0], np.cumsum(draws)])

    def fill(first, last, segment):
        for b in range(first, last):
            for head in range(heads):
                drawn_ = stream.permutation(np.arange(starts[segment], ends[segment]))
                forbidden = {b - 1, b, b + 1, 0, ends[segment] - 1} | ({ends[segment] - 2} if b == 1 else set())
                forbidden |= {1} if b == ends[segment] - 2 else set()
                kept = [x for x in drawn_ if x not in forbidden]
                plan[head, b, place[segment] : place[segment + 1]] = _first(kept, draws[segment], b)

    for a, end in enumerate(ends):
        if a > 0 and draws[a]:
            fill(1, starts[a], a)
        for earlier in range(a):
            if draws[earlier]:
                fill(starts[a], end, earlier)
        if draws[a]:
            fill(max(1, starts[a]), end, a)
    return plan[:, 1 : blocks - 1]


def _first(candidates, count, row):
    if len(candidates) < count:
        raise ValueError(f"published_plan: block row {row} has {len(candidates)} blocks to draw {count} from; use a longer text or fewer")
    return candidates[:count]
