"""Exact counts of a rule at any length: pairs of each query, of each key, of each cell of a picture, and tiles of each block row.

They are sums over what `sift` finds, so that no n x n array is made. Which tile suits depends on the rule: a window is best sorted into
small tiles; a stride of 128 at n = 2^20 has 67 million of 64 x 64, and 131,328 of 2048 x 2048 of which 3 are distinct; three random
keys a row are some million tiles at any size, and small ones are decided soonest. So they are tried in turn, each with a budget.
"""

import numpy as np

from sparsevis.sift import FULL, MEMORY_LIMIT, sift

__all__ = ["cell_counts", "keys_of_queries", "queries_of_keys", "sifted", "tiles_of_rows"]

_TRIES = [(64, 1 << 28), (2048, 1 << 28), (8, 1 << 30), (64, MEMORY_LIMIT)]  # (side of a tile, bytes)
_MATRIX = 1 << 24  # entries of rows by distinct tiles that are multiplied at once


def sifted(rule, shape, offset=0, tries=_TRIES):
    """Return the tiles of `rule(q, k, n)` over `shape` (nq, nk), of the first size in `tries` (block, bytes) that keeps its budget."""
    for turn, (block, limit) in enumerate(tries, 1):
        try:
            return sift(rule, shape, block if isinstance(block, tuple) else (block, block), offset, limit)
        except MemoryError:
            if turn == len(tries):
                raise


def keys_of_queries(found):
    """Return how many keys each query has, as int64 (nq,).

    >>> from sparsevis import SlidingWindow
    >>> keys_of_queries(sifted(SlidingWindow(2).allows, (5, 5)))
    array([1, 2, 3, 3, 3])
    """
    return _margin(found, 0, np.bitwise_count(found.tiles).sum(2, dtype=np.int64))


def queries_of_keys(found):
    """Return how many queries each key has, as int64 (nk,).

    >>> from sparsevis import SlidingWindow
    >>> queries_of_keys(sifted(SlidingWindow(2).allows, (5, 5)))
    array([3, 3, 3, 2, 1])
    """
    parts = np.array_split(found.tiles, 1 + found.tiles.size // (1 << 22))  # bits take eight times their bytes
    sums = [np.unpackbits(t, axis=-1, count=found.block[1], bitorder="little").sum(1, dtype=np.int64) for t in parts]
    return _margin(found, 1, np.concatenate(sums))


def tiles_of_rows(found, block):
    """Return how many tiles of `block` hold a pair in each row of such tiles; `found` may have tiles of a multiple of `block`.

    >>> from sparsevis import SlidingWindow
    >>> tiles_of_rows(sifted(SlidingWindow(2).allows, (9, 9), tries=[(8, None)]), (4, 4))
    array([1, 2, 2])
    """
    down, right = (a // b for a, b in zip(found.block, block, strict=True))
    step = max(1, (1 << 25) // (found.block[0] * found.block[1]))
    sums = [np.zeros((0, down), np.int64)]
    for a in range(0, len(found.tiles), step):
        cells = np.unpackbits(found.tiles[a : a + step], axis=-1, count=found.block[1], bitorder="little")
        sums.append(cells.reshape(-1, down, block[0], right, block[1]).any((2, 4)).sum(2))
    rows = -(-found.shape[0] // block[0])
    return _gather(found, 0, np.concatenate(sums), down, right, rows)


def cell_counts(rule, shape, cells, offset=0):
    """Return (pairs, cell): exact numbers of pairs in squares of cell x cell positions, at most `cells` squares a side."""
    cell = 1 << (-(-max(*shape, 1) // cells) - 1).bit_length()
    tries = [(block, limit) for block, limit in _TRIES if block <= cell] or [(cell, MEMORY_LIMIT)]
    found = sifted(rule, shape, offset, tries)
    return found.counts(cell // found.block[0]), cell


def _margin(found, axis, sums):
    return _gather(found, axis, sums, found.block[axis], found.block[1 - axis], found.shape[axis])


def _gather(found, axis, sums, fine, worth, size):
    """Add up over one axis: a tile has `fine` entries along it, each worth `worth` where the tile is full and sums[kind] else."""
    places = -(-found.shape[axis] // found.block[axis])
    out = np.zeros((places, fine), np.int64)
    for *square, side in found.full:
        each = np.bincount(square[axis], minlength=-(-places // side)) * (side * worth)
        out += np.repeat(each, side)[:places, None]
    place, kind = (found.rows, found.columns)[axis], found.kind
    out += np.bincount(place[kind == FULL], minlength=places)[:, None] * worth
    place, kind = place[kind >= 0], kind[kind >= 0]
    if places * len(sums) <= _MATRIX:  # floats hold these whole numbers exactly, and multiply faster
        times = np.bincount(place * len(sums) + kind, minlength=places * len(sums)).reshape(places, len(sums))
        out += (times @ sums.astype(float)).astype(np.int64)
    else:
        for x in range(fine):
            out[:, x] += np.bincount(place, weights=sums[kind, x], minlength=places).astype(np.int64)
    return out.ravel()[:size]
