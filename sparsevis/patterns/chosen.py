"""Pairs from a table: a mask somebody computed, lists of keys, a table of blocks, the picks of a router or of top-k."""

from dataclasses import dataclass

import numpy as np

from sparsevis.pattern import Fits, Pattern, whole
from sparsevis.readings import Symbol, at, extent
from sparsevis.tables import Relation

__all__ = ["Chosen"]


@dataclass(frozen=True, repr=False)
class Chosen(Pattern):
    """The pairs of a table; make it with `from_mask`, `from_indices`, `from_csr` or `from_blocks`.

    Parameters
    ----------
    pairs : Relation
        The pairs of (query block, key block).
    block : int
        Positions in a block; 1 for a table of single positions.

    Raises
    ------
    ValueError
        If the pattern is used at a number of keys, or for a query, that the table does not have.
    """

    pairs: Relation
    block: int = 1
    ingredient = "random"

    def __post_init__(self):
        whole(self, "block", 1)
        if not isinstance(self.pairs, Relation):
            raise TypeError(f"Chosen: pairs is a {type(self.pairs).__name__}; use Chosen.from_mask, from_indices, from_csr or from_blocks")

    @classmethod
    def from_mask(cls, mask):
        """Take a boolean array (nq, nk), True where the query may attend.

        >>> Chosen.from_mask(np.tri(3, dtype=bool)).mask(3).tolist()[1]
        [True, True, False]
        """
        return cls(_relation(mask, "mask"))

    @classmethod
    def from_blocks(cls, table, block):
        """Take a boolean array (query blocks, key blocks) and the number of positions in a block.

        >>> Chosen.from_blocks(np.eye(2, dtype=bool), 2).mask(4).astype(int).tolist()[2]
        [0, 0, 1, 1]
        """
        return cls(_relation(table, "table"), block)

    @classmethod
    def from_indices(cls, rows, n=None):
        """Take the keys of each query: a list of lists, or an integer array (nq, slots) where -1 is an empty slot.

        A key listed twice counts once. `n` is the number of keys, the number of rows where it is left out.

        >>> Chosen.from_indices([[0], [0, 1], [2, -1]]).mask(3).astype(int).tolist()
        [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
        """
        lists = [np.asarray(row) for row in rows]
        if any(row.ndim != 1 or (row.size and row.dtype.kind not in "iu") for row in lists):
            raise TypeError("Chosen.from_indices: needs one list of whole numbers a query")
        lengths = [row.size for row in lists]
        flat = np.concatenate([row.astype(np.int64) for row in lists]) if lists else np.zeros(0, np.int64)
        return cls._of_lists(lengths, flat, len(lists) if n is None else n)

    @classmethod
    def from_csr(cls, indptr, indices, n):
        """Take lists in compressed form: the keys of query i are indices[indptr[i]:indptr[i + 1]], out of n.

        >>> Chosen.from_csr([0, 1, 3], [0, 0, 1], 2).mask(2).astype(int).tolist()
        [[1, 0], [1, 1]]
        """
        indptr, indices = np.asarray(indptr), np.asarray(indices)
        if indptr.dtype.kind not in "iu" or (indices.size and indices.dtype.kind not in "iu"):
            raise TypeError(f"Chosen.from_csr: indptr is {indptr.dtype} and indices {indices.dtype}, and both need to be whole numbers")
        if indptr.ndim != 1 or indptr.size < 1 or (np.diff(indptr) < 0).any() or indptr[0] != 0 or indptr[-1] != indices.size:
            raise ValueError(f"Chosen.from_csr: indptr needs to rise from 0 to the number of indices ({indices.size})")
        return cls._of_lists(np.diff(indptr), indices.astype(np.int64), n)

    @classmethod
    def _of_lists(cls, lengths, keys, n):
        row = np.repeat(np.arange(len(lengths)), lengths)
        wrong = (keys < -1) | (keys >= n)
        if wrong.any():
            at_ = int(np.argmax(wrong))
            raise ValueError(f"Chosen: query {row[at_]} lists key {keys[at_]}, and keys need to lie from 0 to {n - 1} (or be -1 for none)")
        live = keys >= 0
        return cls(Relation(len(lengths), n, row[live] * n + keys[live]))

    @property
    def fits(self):
        """The table's rows and columns; with blocks, any size whose last block is short."""
        most = self.pairs.columns * self.block
        return Fits(max(0, most - self.block + 1), most, self.pairs.rows * self.block)

    def allows(self, q, k, n):
        """The table says so."""
        if not isinstance(n, Symbol):
            self._check(extent(q), n)
        return at(self.pairs, q, k) if self.block == 1 else at(self.pairs, q // self.block, k // self.block)

    def _check(self, queries, n):
        rows, columns, block = self.pairs.rows, self.pairs.columns, self.block
        if -(-n // block) != columns or queries > rows * block:
            size = f"{rows} x {columns} {'pairs' if block == 1 else f'blocks of {block}'}"
            raise ValueError(f"Chosen: the table holds {size}, but the rule was asked about {queries} queries and {n} keys")


def _relation(mask, name):
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.ndim != 2:
        raise TypeError(f"Chosen: {name} is {mask.dtype} of shape {mask.shape}, and needs a boolean matrix (for numbers, compare first)")
    return Relation.of(mask)
