"""Coarse to fine: which tiles of an n x n grid a rule leaves empty, fills, or cuts through, without ever making the grid.

    one tile that covers everything
    while tiles are larger than a block:
        judge them all by the interval reading; set the surely full aside, drop the surely empty, quarter the rest
    decide what is left entry by entry, once for all tiles whose marks are equal

So the price follows the edges of the pattern, not n squared: a causal stride of 16 at n = 65,536 leaves 524,800 undecided tiles
of 64 x 64, of which 2 are distinct.
"""

from dataclasses import dataclass

import numpy as np

from sparsevis.readings import Interval

__all__ = ["EMPTY", "FULL", "MEMORY_LIMIT", "Sifted", "check_memory", "distinct", "exactly", "judge", "quarter", "sift"]

FULL, EMPTY = -1, -2
MEMORY_LIMIT = 4 << 30  # bytes; what a layout may take unless the caller says otherwise


@dataclass(frozen=True)
class Sifted:
    """What `sift` found, in tiles of `block` (rows, columns)."""

    shape: tuple
    block: tuple
    full: list  # (rows, columns, side): full squares of side x side tiles, in units of that side
    rows: np.ndarray  # the tiles that had to be decided entry by entry, empty ones left out
    columns: np.ndarray
    kind: np.ndarray  # FULL or the number of a stored tile
    tiles: np.ndarray  # uint8 (stored, block rows, ceil(block columns / 8)), bits packed along keys, little first

    def count_in_tiles(self):
        """Pairs in each stored tile."""
        return np.bitwise_count(self.tiles).sum((1, 2), dtype=np.int64)

    def totals(self):
        """(nnz, full tiles, partial tiles): exact Python ints, whatever the length."""
        area = self.block[0] * self.block[1]
        full = sum(r.size * side * side for r, _, side in self.full) + int((self.kind == FULL).sum())
        partial = self.kind[self.kind >= 0]
        return full * area + int(self.count_in_tiles()[partial].sum()), full, partial.size

    def counts(self, cell):
        """Pairs in every square of `cell` x `cell` tiles, as an int64 matrix."""
        (nq, nk), (bq, bk) = self.shape, self.block
        height, width = -(-nq // (bq * cell)), -(-nk // (bk * cell))
        out = np.zeros(height * width, np.int64)

        def add(r, c, pairs):
            out[:] += np.bincount(r * width + c, weights=np.broadcast_to(pairs, r.shape), minlength=out.size).astype(np.int64)

        for r, c, side in self.full:
            if side > cell:
                (r, c), side = quarter(r, c, side // cell), cell
            add(r * side // cell, c * side // cell, side * side * bq * bk)
        pairs = np.append(self.count_in_tiles(), bq * bk)  # kind -1 reads the last
        add(self.rows // cell, self.columns // cell, pairs[self.kind])
        return out.reshape(height, width)


def sift(allows, shape, block, offset=0, memory_limit=MEMORY_LIMIT):
    """Sort the tiles of the rule `allows(q, k, n)` over `shape` (nq, nk); query 0 stands at position `offset`."""
    (nq, nk), (bq, bk) = shape, block
    side = 1 << (max(-(-nq // bq), -(-nk // bk), 1) - 1).bit_length()
    r = c = np.zeros(1 if nq and nk else 0, np.int64)
    full = []
    while True:
        sure, open_, marks = judge(allows, r, c, shape, (bq * side, bk * side), offset, marked=side == 1)
        full.append((r[sure], c[sure], side))
        r, c = r[open_], c[open_]
        if side == 1:
            break
        side //= 2
        check_memory(4 * r.size * 48, memory_limit, f"sorting {4 * r.size:,} tiles of {bq * side} x {bk * side}")
        r, c = quarter(r, c, 2)
        inside = (r * (bq * side) < nq) & (c * (bk * side) < nk)
        r, c = r[inside], c[inside]
    kind, tiles = _decide(allows, r, c, marks, shape, block, offset, memory_limit)
    kept = kind != EMPTY
    return Sifted(shape, block, [f for f in full if f[0].size], r[kept], c[kept], kind[kept], tiles)


def check_memory(needed, limit, what):
    """Raise before allocating: `what` is a phrase such as "a layout of 3,000 tiles"."""
    if limit is not None and needed > limit:
        raise MemoryError(
            f"{what} takes about {needed / 2**30:.3g} GiB, over the limit of {limit / 2**30:.3g} GiB: "
            "use larger blocks or a sparser pattern, or raise memory_limit"
        )


def quarter(r, c, parts):
    """Split every square into parts x parts smaller ones."""
    down, right = np.divmod(np.arange(parts * parts if r.size else 0), parts)
    return (r[:, None] * parts + down).ravel(), (c[:, None] * parts + right).ravel()


def judge(allows, r, c, shape, side, offset, marked):
    """(surely full, undecided, marks of the undecided) for some tiles, a million at a time to spare memory."""
    make, parts = Interval.marked if marked else Interval, []
    for a in range(0, max(1, r.size), 1 << 20):
        rows, columns = r[a : a + (1 << 20)], c[a : a + (1 << 20)]
        positions = [
            make(x * s + first, np.minimum((x + 1) * s, n) - 1 + first)
            for x, n, s, first in zip((rows, columns), shape, side, (offset, 0), strict=True)
        ]
        told = allows(*positions, shape[1])
        whole = ((rows + 1) * side[0] <= shape[0]) & ((columns + 1) * side[1] <= shape[1])
        sure, open_ = told.every & whole, told.some & ~(told.every & whole)
        parts.append((sure, open_, *(np.broadcast_to(m, open_.shape)[open_] for m in told.marks or ())))
    sure, open_, *marks = (np.concatenate(x) for x in zip(*parts, strict=True))
    return sure, open_, marks


def _decide(allows, r, c, marks, shape, block, offset, memory_limit):
    """The kind of each undecided tile and the distinct partial ones, packed."""
    ragged = ((r + 1) * block[0] > shape[0]) + 2 * ((c + 1) * block[1] > shape[1])
    first, which = distinct([ragged, *marks]) if r.size else (r, r)
    stored = block[0] * -(-block[1] // 8)
    check_memory(first.size * (stored + 64), memory_limit, f"{first.size:,} distinct partial tiles of {block[0]} x {block[1]}")
    kind, tiles, seen = np.empty(first.size, np.int32), [], {}
    step = max(1, (1 << 21) // (block[0] * block[1]))
    order = np.argsort(ragged[first] > 0, kind="stable")  # ragged tiles apart: the others' keys run on by one
    cut = int((ragged[first] == 0).sum())
    for part in (order[a:min(a + step, end)] for start, end in ((0, cut), (cut, order.size)) for a in range(start, end, step)):
        exact = exactly(allows, r[first[part]], c[first[part]], shape, block, offset)
        held = exact.sum((1, 2))
        for x, tile, pairs in zip(part, np.packbits(exact, axis=-1, bitorder="little"), held, strict=True):
            if 0 < pairs < block[0] * block[1]:
                kind[x] = seen.setdefault(tile.tobytes(), len(tiles))
                tiles += [tile] if kind[x] == len(tiles) else []
            else:
                kind[x] = FULL if pairs else EMPTY
    return kind[which], np.array(tiles, np.uint8).reshape(-1, block[0], -(-block[1] // 8))


def exactly(allows, r, c, shape, block, offset):
    """The pairs of some tiles, entry by entry: bool (tiles, rows, columns), False beyond the edges."""
    i = r[:, None, None] * block[0] + np.arange(block[0])[:, None]
    j = c[:, None, None] * block[1] + np.arange(block[1])
    inside = (i < shape[0]) & (j < shape[1])
    return allows(np.minimum(i, shape[0] - 1) + offset, np.minimum(j, shape[1] - 1), shape[1]) & inside


def distinct(columns):
    """Like np.unique over rows, column by column: (where each distinct row first stands, which one each row is)."""
    code, size = np.zeros(columns[0].size, np.int64), 1
    for x in columns:
        low, width = int(x.min()), int(x.max()) - int(x.min()) + 1
        if width == 1:
            continue
        if size * width >= 1 << 62:
            _, code = np.unique(code, return_inverse=True)
            _, x = np.unique(x, return_inverse=True)
            low, size, width = 0, int(code.max()) + 1, int(x.max()) + 1
        code, size = code * width + (x - low), size * width
    _, first, which = np.unique(code, return_index=True, return_inverse=True)
    return first, which
