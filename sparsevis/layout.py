"""A layout is what a kernel walks: for every block of queries, the list of key tiles that hold an allowed pair.

    for each block row r:
        for e in range(indptr[r], indptr[r + 1]):
            tile (r, indices[e]) is full if kind[e] == -1, else its pairs are the bits of tiles[kind[e]]

Block-sparse rows (BSR) whose equal partial tiles are stored once, packed to bits. Built coarse to fine from a pattern (see `sift`); no
n x n array is made, and time and memory grow with the tiles that are not empty.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from operator import index

import numpy as np

from sparsevis import sketch
from sparsevis.pattern import Pattern, sizes
from sparsevis.per_head import PerHead
from sparsevis.sift import FULL, MEMORY_LIMIT, check_memory, quarter, sift

__all__ = ["Layout", "block_of"]


@dataclass(frozen=True, eq=False, repr=False)
class Layout:
    """The non-empty tiles of a pattern at one length.

    Parameters
    ----------
    shape : (int, int)
        Numbers of queries and keys.
    block : (int, int)
        Rows and columns of a tile; tiles at the edges may hang over, and are then partial.
    indptr : int64 array (planes * query blocks + 1,)
        Where the list of each block row begins.
    indices : int32 array
        Key block of each tile, rising in each row.
    kind : int32 array
        -1 for a full tile, else its number in `tiles`.
    tiles : uint8 array (stored, block rows, ceil(block columns / 8))
        The distinct partial tiles: bits along keys, little bit first.
    heads : tuple of int, optional
        The plane of lists each query head reads; None where all heads share the only one.

    Examples
    --------
    >>> from sparsevis import Causal, Layout
    >>> Layout.of(Causal(), 1024, block=64)
    Layout(1,024 x 1,024 in tiles of 64 x 64: 120 full, 16 partial, 120 empty; 524,800 pairs, density 0.5005, block tax 1.06)
    """

    shape: tuple[int, int]
    block: tuple[int, int]
    indptr: np.ndarray
    indices: np.ndarray
    kind: np.ndarray
    tiles: np.ndarray
    heads: tuple[int, ...] | None = None
    _made: dict = field(default_factory=dict, init=False)

    @classmethod
    def of(cls, pattern, n, block=64, offset=None, memory_limit=MEMORY_LIMIT):
        """Build the layout of a pattern.

        Parameters
        ----------
        pattern : Pattern or PerHead
            Equal patterns of several heads are built, and stored, once.
        n : int or (int, int)
            Number of positions, or numbers of queries and keys.
        block : int or (int, int)
            Tile shape.
        offset : int, "top-left" or "bottom-right", optional
            Where query 0 stands; see `Pattern.mask`.
        memory_limit : int or None
            Bytes the layout may take.

        Raises
        ------
        MemoryError
            Before allocating, if the layout would pass the limit; the message has the sizes.
        """
        (nq, nk), offset = sizes(*(n if isinstance(n, tuple | list) else (n, None)), offset)
        block = block_of(block)
        if isinstance(pattern, PerHead):
            distinct = list(dict.fromkeys(pattern.patterns))
            planes = [cls.of(p, (nq, nk), block, offset, memory_limit) for p in distinct]
            return cls._stack(planes, tuple(distinct.index(p) for p in pattern.patterns))
        if not isinstance(pattern, Pattern):
            raise TypeError(f"Layout.of needs a Pattern or a PerHead, not {type(pattern).__name__} (a mask: Chosen.from_mask)")
        found = sift(pattern.allows, (nq, nk), block, offset, memory_limit)
        entries = sum(r.size * side * side for r, _, side in found.full) + found.rows.size
        check_memory(entries * 64 + found.tiles.nbytes, memory_limit, f"a layout of {entries:,} tiles of {block[0]} x {block[1]}")
        whole = [quarter(r, c, side) for r, c, side in found.full]
        rows, columns = (np.concatenate([*(x[axis] for x in whole), (found.rows, found.columns)[axis]]) for axis in (0, 1))
        kind = np.concatenate([np.full(entries - found.kind.size, FULL, np.int32), found.kind])
        return cls._sorted((nq, nk), block, rows, columns, kind, found.tiles)

    @classmethod
    def from_mask(cls, mask, block=64):
        """Build the layout of a boolean matrix (nq, nk), or (heads, nq, nk) for one plane a head."""
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.ndim not in (2, 3):
            raise TypeError(f"Layout.from_mask: mask is {mask.dtype} {mask.shape}, and needs to be boolean, (nq, nk) or (heads, nq, nk)")
        if mask.ndim == 3:
            return cls._stack([cls.from_mask(m, block) for m in mask], tuple(range(len(mask))))
        (nq, nk), (bq, bk) = mask.shape, block_of(block)
        grid = -(-nq // bq), -(-nk // bk)
        cells = np.zeros((grid[0] * bq, grid[1] * bk), bool)
        cells[:nq, :nk] = mask
        cells = cells.reshape(grid[0], bq, grid[1], bk).transpose(0, 2, 1, 3)
        rows, columns = np.nonzero(cells.any((2, 3)))
        kind, tiles = _kinds(cells[rows, columns])
        return cls._sorted((nq, nk), (bq, bk), rows, columns, kind, tiles)

    @classmethod
    def from_scipy(cls, matrix, block=None):
        """Build the layout of a SciPy sparse matrix (nq, nk): every stored entry that is not 0 is allowed.

        Tiles are the matrix's own blocks if it is a BSR matrix and `block` is left out; 64 x 64 otherwise.
        """
        bq, bk = block_of(block or (matrix.blocksize if matrix.format == "bsr" else 64))
        pairs, columns = matrix.tocoo(), -(-matrix.shape[1] // bk)
        i, j = (x[pairs.data != 0].astype(np.int64) for x in (pairs.row, pairs.col))
        where, which = np.unique(i // bq * columns + j // bk, return_inverse=True)
        cells = np.zeros((where.size, bq, bk), bool)
        cells[which, i % bq, j % bk] = True
        kind, tiles = _kinds(cells)
        return cls._sorted(matrix.shape, (bq, bk), *np.divmod(where, max(1, columns)), kind, tiles)

    @classmethod
    def _sorted(cls, shape, block, rows, columns, kind, tiles, planes=1, heads=None):
        """Put tiles in reading order, and number the stored ones as they come."""
        order = np.lexsort((columns, rows))
        rows, columns, kind = rows[order], columns[order], kind[order]
        used, first = np.unique(kind[kind >= 0], return_index=True)
        used = used[np.argsort(first)]
        number = np.full(len(tiles) + 1, FULL, np.int32)
        number[used] = np.arange(used.size)
        indptr = np.searchsorted(rows, np.arange(planes * -(-shape[0] // block[0]) + 1)).astype(np.int64)
        return cls(tuple(map(int, shape)), tuple(map(int, block)), indptr, columns.astype(np.int32), number[kind], tiles[used], heads)

    @classmethod
    def _stack(cls, layouts, heads):
        """Several layouts of one shape as planes of one."""
        first, seen, tiles, kinds = layouts[0], {}, [], []
        for layout in layouts:
            number = np.full(len(layout.tiles) + 1, FULL, np.int32)
            for t, tile in enumerate(layout.tiles):
                number[t] = seen.setdefault(tile.tobytes(), len(tiles))
                tiles += [tile] if number[t] == len(tiles) else []
            kinds.append(number[layout.kind])
        rows = np.concatenate([x._rows() + p * (x.indptr.size - 1) for p, x in enumerate(layouts)])
        columns, tiles = np.concatenate([x.indices for x in layouts]), np.array(tiles, np.uint8).reshape(-1, *first.tiles.shape[1:])
        return cls._sorted(first.shape, first.block, rows, columns, np.concatenate(kinds), tiles, len(layouts), heads)

    def __post_init__(self):
        for f in fields(self):
            if isinstance(getattr(self, f.name), np.ndarray):
                getattr(self, f.name).setflags(write=False)

    def __eq__(self, other):
        if not isinstance(other, Layout):
            return NotImplemented
        return (self.shape, self.block, self.heads) == (other.shape, other.block, other.heads) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in ("indptr", "indices", "kind", "tiles")
        )

    def __hash__(self):
        return hash((self.shape, self.block, self.heads, self.indptr.tobytes(), self.indices.tobytes(), self.kind.tobytes()))

    def remember(self, make):
        """Return `make(self)`, computed once and kept beside the layout."""
        if make not in self._made:
            self._made[make] = make(self)
        return self._made[make]

    def planes(self, heads):
        """Return the plane of lists that each of `heads` query heads reads, as int64; a batch repeats the layout's heads."""
        if self.heads is None:
            return np.zeros(heads, np.int64)
        if heads % len(self.heads):
            raise ValueError(f"the layout has {len(self.heads)} heads and cannot serve {heads}; see PerHead.cycled")
        return np.resize(np.array(self.heads, np.int64), heads)

    @property
    def grid(self):
        """Numbers of query blocks and key blocks."""
        return -(-self.shape[0] // self.block[0]), -(-self.shape[1] // self.block[1])

    @property
    def order(self):
        """Block rows, those with the longest lists first."""
        return np.argsort(-np.diff(self.indptr), kind="stable")

    def totals(self):
        """Return (nnz, full tiles, partial tiles) of every plane."""
        each = [self.remember(_pairs)[self.kind], self.kind == FULL, self.kind != FULL]
        return list(zip(*(self._per_plane(x).tolist() for x in each), strict=True))

    def tally(self):
        """Return (full, partial, empty): numbers of tiles, of all heads together where heads differ."""
        _, full, partial = self._of_all_heads()
        return full, partial, len(self.heads or (0,)) * self.grid[0] * self.grid[1] - full - partial

    @property
    def nnz(self):
        """Allowed pairs, exactly: of all heads together where heads differ."""
        return self._of_all_heads()[0]

    @property
    def computed(self):
        """Pairs a kernel works through: the area of the listed tiles, of all heads together where heads differ."""
        return sum(self._of_all_heads()[1:]) * self.block[0] * self.block[1]

    @property
    def density(self):
        """Allowed pairs over all pairs."""
        pairs = self.shape[0] * self.shape[1] * len(self.heads or (0,))
        return self.nnz / pairs if pairs else 0.0

    @property
    def nbytes(self):
        """Bytes of the arrays."""
        return sum(x.nbytes for x in (self.indptr, self.indices, self.kind, self.tiles))

    @property
    def T(self):
        """The same pairs read by key block; `layout.T.T == layout`."""
        return self.remember(_transposed)

    def unpacked(self):
        """Return the stored tiles as booleans (stored, block rows, block columns)."""
        return np.unpackbits(self.tiles, axis=-1, count=self.block[1], bitorder="little").astype(bool)

    def mask(self, memory_limit=MEMORY_LIMIT):
        """Return the pairs as booleans (nq, nk), or (heads, nq, nk) where heads differ."""
        (nq, nk), (bq, bk), (rows, columns) = self.shape, self.block, self.grid
        heads = self.heads or (0,)
        planes = (self.indptr.size - 1) // rows if rows else max(heads) + 1
        check_memory(2 * planes * nq * nk, memory_limit, f"a mask of {planes} x {nq:,} x {nk:,} pairs")
        out = np.zeros((planes * rows, columns, bq, bk), bool)
        out[self._rows(), self.indices] = np.concatenate([self.unpacked(), np.ones((1, bq, bk), bool)])[self.kind]
        out = out.reshape(planes, rows, columns, bq, bk).transpose(0, 1, 3, 2, 4).reshape(planes, rows * bq, columns * bk)[:, :nq, :nk]
        return np.ascontiguousarray(out[0] if self.heads is None else out[list(heads)])

    def retile(self, block):
        """Return the same pairs in tiles of another shape."""
        if block_of(block) == self.block:
            return self
        return _retiled(self, block_of(block))

    def to_csr(self, plane=0):
        """Return one plane as a SciPy CSR matrix of booleans."""
        csr = self.to_bsr(plane).tocsr()[: self.shape[0], : self.shape[1]]
        csr.eliminate_zeros()
        return csr

    def to_bsr(self, plane=0):
        """Return one plane as a SciPy BSR matrix of booleans; ragged edges are padded with False to whole tiles."""
        from scipy import sparse

        rows, (bq, bk) = self.grid[0], self.block
        lo, hi = self.indptr[plane * rows], self.indptr[(plane + 1) * rows]
        data = np.concatenate([self.unpacked(), np.ones((1, bq, bk), bool)])[self.kind[lo:hi]]
        indptr = self.indptr[plane * rows : (plane + 1) * rows + 1] - lo
        return sparse.bsr_matrix((data, self.indices[lo:hi], indptr), shape=(rows * bq, self.grid[1] * bk))

    def _rows(self):
        return np.repeat(np.arange(self.indptr.size - 1), np.diff(self.indptr))

    def _per_plane(self, values):
        sums = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])[self.indptr]
        return np.diff(sums[:: max(1, self.grid[0])]) if self.grid[0] else np.zeros(max(self.heads or (0,)) + 1, np.int64)

    def _of_all_heads(self):
        totals = self.totals()
        return tuple(sum(x) for x in zip(*(totals[p] for p in self.heads or (0,)), strict=True))

    def __repr__(self):
        full, partial, empty = self.tally()
        (nq, nk), (bq, bk) = self.shape, self.block
        heads = f", {len(self.heads)} heads" if self.heads else ""
        tax = f", block tax {self.computed / self.nnz:.2f}" if self.nnz else ""
        return (
            f"Layout({nq:,} x {nk:,}{heads} in tiles of {bq} x {bk}: {full:,} full, {partial:,} partial, {empty:,} empty; "
            f"{self.nnz:,} pairs, density {self.density:.4g}{tax})"
        )

    def _repr_html_(self):
        from html import escape

        counts, (bq, bk) = np.zeros(self.grid), self.block
        first = self._rows() < self.grid[0]
        counts[self._rows()[first], self.indices[first]] = self.remember(_pairs)[self.kind[first]] / (bq * bk)
        fold = max(1, -(-max(self.grid) // 64))
        rows, columns = (-(-x // fold) for x in self.grid)
        small = np.zeros((rows * fold, columns * fold))
        small[: self.grid[0], : self.grid[1]] = counts
        share = small.reshape(rows, fold, columns, fold).mean((1, 3))
        return f"<div>{sketch.svg([('partial', share)], title=repr(self))}<br><code>{escape(repr(self))}</code></div>"


def block_of(block):
    """Return a tile's shape (rows, columns) from a whole number or two, or raise."""
    pair = tuple(block) if isinstance(block, tuple | list) else (block, block)
    if len(pair) != 2 or any(isinstance(b, bool) or index(b) < 1 for b in pair):
        raise ValueError(f"block={block!r}: needs a whole number >= 1, or two of them (rows, columns)")
    return index(pair[0]), index(pair[1])


def _pairs(layout):
    """Pairs in each stored tile, and last, where kind -1 reads, in a full one."""
    counts = np.bitwise_count(layout.tiles).sum((1, 2), dtype=np.int64)
    return np.append(counts, layout.block[0] * layout.block[1])


def _kinds(cells):
    """Kinds and packed distinct partial tiles of some tiles given as booleans (tiles, rows, columns)."""
    kind, tiles, seen = np.full(len(cells), FULL, np.int32), [], {}
    held = cells.sum((1, 2))
    for x in np.flatnonzero(held < cells.shape[1] * cells.shape[2]):
        packed = np.packbits(cells[x], axis=-1, bitorder="little")
        kind[x] = seen.setdefault(packed.tobytes(), len(tiles))
        tiles += [packed] if kind[x] == len(tiles) else []
    return kind, np.array(tiles, np.uint8).reshape(-1, cells.shape[1], -(-cells.shape[2] // 8))


def _transposed(layout):
    (rows, columns), planes = layout.grid, (layout.indptr.size - 1) // max(1, layout.grid[0])
    plane, row = np.divmod(layout._rows(), max(1, rows))
    tiles = np.packbits(layout.unpacked().transpose(0, 2, 1), axis=-1, bitorder="little")
    swapped = plane * columns + layout.indices, row
    planes = planes if rows else max(layout.heads or (0,)) + 1
    return Layout._sorted(layout.shape[::-1], layout.block[::-1], *swapped, layout.kind, tiles, planes, layout.heads)


def _retiled(layout, block):
    """Cut every tile along the lines of both tilings, and put the pieces together again; tiles that come out full are never filled in."""
    piece = tuple(np.gcd(a, b) for a, b in zip(layout.block, block, strict=True))
    down, right = layout.block[0] // piece[0], layout.block[1] // piece[1]
    parts = np.concatenate([layout.unpacked(), np.ones((1, *layout.block), bool)])
    parts = parts.reshape(-1, down, piece[0], right, piece[1]).transpose(0, 1, 3, 2, 4)
    held = parts.sum((3, 4))
    entry, a, b = np.nonzero(held[layout.kind] > 0)
    plane, row = np.divmod(layout._rows()[entry], max(1, layout.grid[0]))
    top, left = (row * down + a) * piece[0], (layout.indices[entry].astype(np.int64) * right + b) * piece[1]
    rows, columns = -(-layout.shape[0] // block[0]), -(-layout.shape[1] // block[1])
    where, which = np.unique(((plane * rows + top // block[0]) * columns) + left // block[1], return_inverse=True)
    pairs = np.bincount(which, weights=held[layout.kind[entry], a, b], minlength=where.size)
    number = np.cumsum(pairs < block[0] * block[1]) - 1  # of each tile that is partial
    open_ = pairs[which] < block[0] * block[1]
    entry, a, b, top, left, which = (x[open_] for x in (entry, a, b, top, left, number[which]))
    count = int(number[-1]) + 1 if number.size else 0
    check_memory(count * block[0] * block[1], MEMORY_LIMIT, f"cutting {count:,} partial tiles of {block[0]} x {block[1]}")
    cells = np.zeros((count, block[0] // piece[0], block[1] // piece[1], *piece), bool)
    cells[which, top % block[0] // piece[0], left % block[1] // piece[1]] = parts[layout.kind[entry], a, b]
    kind = np.full(where.size, FULL, np.int32)
    kind[pairs < block[0] * block[1]], tiles = _kinds(cells.transpose(0, 1, 3, 2, 4).reshape(-1, *block))
    planes = max(layout.heads or (0,)) + 1
    return Layout._sorted(layout.shape, block, *np.divmod(where, max(1, columns)), kind, tiles, planes, layout.heads)
