"""Counting the tiles of a rule without listing them: tiles that read alike are counted once.

    one tile that covers everything, met once
    while tiles are larger than a block:
        judge them all by the interval reading; count the surely full, drop the surely empty
        of the rest, keep one of each kind and how often it was met; quarter those
    decide what is left entry by entry

As `sift`, but the price follows the number of *different* tiles of each size, which for most rules hangs on neither n nor the stride: a
stride of 128 at n = 2^20 has 268,435,456 tiles of 64 x 64, of two kinds, and takes 5 ms where listing them takes 12 GiB.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sparsevis.sift import FULL, MEMORY_LIMIT, check_memory, distinct, exactly, judge, quarter

__all__ = ["Tally", "of_layout", "pairs_in", "squares", "tally"]

SMALLEST = 64  # squares that are decided exactly, if the smallest that are asked for are no smaller


class Tally(NamedTuple):
    """What the tiles of one rule hold.

    Attributes
    ----------
    nnz : int
        Allowed pairs.
    full, partial : int
        Numbers of tiles that are full, and that are neither full nor empty; a tile that hangs over an edge is partial.
    touched : int
        Pairs in those tiles, without what hangs over the edges.
    keys : int
        Keys in those tiles, each counted once a tile, without what hangs over.
    kinds : dict of int to int
        The fingerprint of each distinct partial tile, and how many tiles have it.
    """

    nnz: int
    full: int
    partial: int
    touched: int
    keys: int
    kinds: dict


def tally(allows, shape, block, offset=0, memory_limit=MEMORY_LIMIT):
    """Count the tiles of the rule `allows(q, k, n)` over `shape` (nq, nk); query 0 stands at position `offset`.

    >>> from sparsevis import Causal
    >>> found = tally(Causal().allows, (100, 100), (64, 64))
    >>> found.nnz, found.full, found.partial, len(found.kinds)
    (5050, 0, 3, 3)
    """
    (nq, nk), (bq, bk) = shape, block
    side = 1 << (max(-(-nq // bq), -(-nk // bk), 1) - 1).bit_length()
    r = c = np.zeros(1 if nq and nk else 0, np.int64)
    times, full = np.ones(r.size, np.int64), 0
    while r.size:
        sure, open_, marks = judge(allows, r, c, shape, (bq * side, bk * side), offset, marked=True)
        full += int(times[sure].sum()) * side * side
        r, c, times = _one_of_each(r[open_], c[open_], times[open_], marks, shape, (bq * side, bk * side))
        if side == 1:
            break
        side //= 2
        check_memory(4 * r.size * 72, memory_limit, f"counting {4 * r.size:,} different tiles of {bq * side} x {bk * side}")
        (r, c), times = quarter(r, c, 2), np.repeat(times, 4)
        inside = (r * (bq * side) < nq) & (c * (bk * side) < nk)
        r, c, times = r[inside], c[inside], times[inside]
    return _exact(allows, r, c, times, full, shape, block, offset)


def squares(allows, shape, cell, offset=0, memory_limit=MEMORY_LIMIT):
    """Return the pairs in every square of `cell` x `cell` positions, a power of two, as an int64 matrix.

    >>> from sparsevis import Strided
    >>> squares(Strided(128).allows, (1 << 20, 1 << 20), 1 << 19).tolist()
    [[2147483648, 2147483648], [2147483648, 2147483648]]
    """
    r, c = (x.ravel() for x in np.indices([-(-n // cell) for n in shape]))
    return pairs_in(allows, r, c, cell, shape, offset, memory_limit).reshape([-(-n // cell) for n in shape])


def pairs_in(allows, r, c, side, shape, offset, memory_limit):
    """Return the pairs in the squares (r, c) of `side`, a power of two, as int64.

    A full one has all, of those that read alike one is quartered, and the smallest are decided exactly.
    """
    high, wide = inside_of(r, c, shape, (side, side))
    sure, open_, marks = judge(allows, r, c, shape, (side, side), offset, marked=True)
    pairs = np.where(sure, high * wide, 0)
    r, c = r[open_], c[open_]
    if not r.size:
        return pairs
    first, which = kinds_of(r, c, marks, shape, (side, side))
    if side <= SMALLEST:
        found, _ = held_in(allows, r[first], c[first], shape, (side, side), offset)
    else:
        check_memory(4 * first.size * 72, memory_limit, f"counting {4 * first.size:,} different squares of {side // 2} x {side // 2}")
        rows, columns = quarter(r[first], c[first], 2)
        inside = (rows * (side // 2) < shape[0]) & (columns * (side // 2) < shape[1])
        parts = np.zeros(rows.size, np.int64)
        parts[inside] = pairs_in(allows, rows[inside], columns[inside], side // 2, shape, offset, memory_limit)
        found = parts.reshape(-1, 4).sum(1)
    pairs[open_] = found[which]
    return pairs


def of_layout(layout):
    """Return the tally of every plane of a layout."""
    high, wide = (np.minimum(b, n - b * np.arange(-(-n // b))) for b, n in zip(layout.block, layout.shape, strict=True))
    rows, step = layout.grid[0], _step(layout.block)
    prints = [fingerprints(np.unpackbits(layout.tiles[a : a + step], axis=-1, count=layout.block[1], bitorder="little"))
              for a in range(0, len(layout.tiles), step)]  # fmt: skip
    prints, planes = np.concatenate([*prints, np.zeros(0, np.uint64)]), []
    for p, (nnz, full, partial) in enumerate(layout.totals()):
        ends = layout.indptr[p * rows : (p + 1) * rows + 1]
        some = slice(int(ends[0]), int(ends[-1])) if rows else slice(0)
        keys = wide[layout.indices[some]]
        touched = int((keys * np.repeat(high, np.diff(ends))).sum()) if rows else 0
        kinds = _counted(prints[layout.kind[some][layout.kind[some] != FULL]], 1)
        planes.append(Tally(nnz, full, partial, touched, int(keys.sum()), kinds))
    return planes


def fingerprints(tiles):
    """Return a number for each of some tiles (tiles, rows, columns): its pairs' together, so that one pair more or less flips it."""
    numbers = np.where(tiles, of_pairs(tiles.shape[1:]), np.uint64(0))
    return np.bitwise_xor.reduce(numbers.reshape(len(tiles), -1), axis=1)


@lru_cache(maxsize=4)
def of_pairs(block):
    """Return a random number for each place in a tile (Zobrist 1970)."""
    return np.random.default_rng(0).integers(1 << 64, size=block, dtype=np.uint64)


def kinds_of(r, c, marks, shape, side):
    """Return where each kind of undecided tile first stands, and which kind each is.

    Marks tell tiles of one size apart; those that hang over an edge all end where the others of their row or column do.
    """
    return distinct([((r + 1) * side[0] > shape[0]) + 2 * ((c + 1) * side[1] > shape[1]), *marks])


def _one_of_each(r, c, times, marks, shape, side):
    """One tile of each kind and how often it was met."""
    if not r.size:
        return r, c, times
    first, which = kinds_of(r, c, marks, shape, side)
    met = np.zeros(first.size, np.int64)
    np.add.at(met, which, times)
    return r[first], c[first], met


def _exact(allows, r, c, times, full, shape, block, offset):
    held, prints = held_in(allows, r, c, shape, block, offset)
    (bq, bk), (high, wide) = block, inside_of(r, c, shape, block)
    listed, sure = held > 0, held == bq * bk
    total = lambda x, of: int((times * x)[of].sum())  # noqa: E731
    return Tally(
        full * bq * bk + total(held, listed), full + total(1, sure), total(1, listed & ~sure),
        full * bq * bk + total(high * wide, listed), full * bk + total(wide, listed),
        _counted(prints[listed & ~sure], times[listed & ~sure]),
    )  # fmt: skip


def _counted(prints, times):
    kinds, which = np.unique(prints, return_inverse=True)
    met = np.zeros(kinds.size, np.int64)
    np.add.at(met, which, times)
    return dict(zip(kinds.tolist(), met.tolist(), strict=True))


def inside_of(r, c, shape, block):
    """Return how many rows and columns of some tiles do not hang over."""
    return np.minimum(block[0], shape[0] - r * block[0]), np.minimum(block[1], shape[1] - c * block[1])


def held_in(allows, r, c, shape, block, offset):
    """Return the pairs in each of some tiles, and the tile's fingerprint.

    Decided entry by entry, those that hang over an edge apart from the others: a table reads keys that run on by one faster.
    """
    high, wide = inside_of(r, c, shape, block)
    held, prints, step = np.zeros(r.size, np.int64), np.zeros(r.size, np.uint64), _step(block)
    whole = (high == block[0]) & (wide == block[1])
    for some in (np.flatnonzero(whole), np.flatnonzero(~whole)):
        for part in (some[a : a + step] for a in range(0, some.size, step)):
            exact = exactly(allows, r[part], c[part], shape, block, offset)
            held[part], prints[part] = exact.sum((1, 2)), fingerprints(exact)
    return held, prints


def _step(block):
    """Tiles that are looked at together."""
    return max(1, (1 << 21) // (block[0] * block[1]))
