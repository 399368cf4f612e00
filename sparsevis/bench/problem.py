"""What passes between the runner and a peer: a `Problem` to solve, and the `Work` that solves it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sparsevis import reference
from sparsevis.layout import Layout

__all__ = ["Problem", "Work", "grid"]

DRAWN = {"forward": 3, "backward": 4}  # q, k, v, do


class Work(NamedTuple):
    """A call without arguments, and what turns its result into an array."""

    call: Callable
    read: Callable = np.asarray


class Problem:
    """The arrays of a case, its layouts, and how far a result is off."""

    def __init__(self, case):
        rng, shape = np.random.default_rng(0), (case.heads, case.n, case.d)
        drawn = [rng.standard_normal(shape, np.float32).astype(case.dtype) for _ in range(DRAWN.get(case.kind, 0))]
        self.q, self.k, self.v, self.do = (*drawn, *[None] * (4 - len(drawn)))
        self.case, self.pattern, self.n, self.scale = case, case.pattern, case.n, case.d**-0.5
        self.input_bytes = sum(x.nbytes for x in drawn)
        self._layouts, self._found = {}, None

    def layout(self, block=64):
        """Return the pattern's layout, built once."""
        if block not in self._layouts:
            self._layouts[block] = Layout.of(self.pattern, self.n, block)
        return self._layouts[block]

    @property
    def pairs(self):
        """Allowed pairs of all heads."""
        return self.case.heads * self.layout().nnz

    def error(self, result):
        """Return by how much a result is off, and what rounding explains.

        The first good result is held against the golden reference in 16 rows, and every later one against it in full. Of a layout the
        number of wrong tiles is returned, in 16 rows of tiles.
        """
        if self.case.kind == "layout":
            return self._wrong_tiles(result), 0.0
        got, expected = (result, self._found) if self._found is not None else self._some_rows(result)
        error = float(np.abs(np.subtract(got, expected, dtype=np.float64)).max())
        tolerance = self._rounding(expected)
        if self._found is None and error <= tolerance:
            self._found = result
        return error, tolerance

    def _some_rows(self, result):
        """Some rows of a result and of the reference: of the output, or of the gradient of q, which needs no other row."""
        rows = np.unique(np.linspace(0, self.n - 1, 16).astype(int))
        q, mask = self.q[:, rows], self._mask(rows)
        if self.case.kind == "forward":
            return result[:, rows], reference.attention(q, self.k, self.v, mask)[0]
        return result[0][:, rows], reference.attention_grad(self.do[:, rows], q, self.k, self.v, mask)[0]

    def _wrong_tiles(self, listed):
        """Tiles are square and a power of two, so that their size follows from their number."""
        wrong, block = 0, 1 << int(np.ceil(np.log2(self.n / len(listed))))
        for row in np.unique(np.linspace(0, len(listed) - 1, 16).astype(int)):
            mask = self._mask(np.arange(row * block, min(self.n, (row + 1) * block)))
            wrong += int((listed[row] != np.logical_or.reduceat(mask.any(0), np.arange(0, self.n, block))).sum())
        return wrong

    def _mask(self, rows):
        return np.broadcast_to(self.pattern.allows(rows[:, None], np.arange(self.n), self.n), (rows.size, self.n))

    def _rounding(self, expected):
        """What rounding explains: of d products in a score and of a sum over the keys, in float32 or better, on both sides.

        Inputs of 16 bits add the rounding of the result and that of the weights, which some round before they multiply the values.
        """
        longest = [float(np.linalg.norm(x.astype(np.float32), axis=-1).max()) for x in (self.q, self.k)]
        terms = self.case.d * self.scale * longest[0] * longest[1] + self.pairs / (self.case.heads * self.n)
        top, dtype = float(np.abs(expected).max()), np.dtype(self.case.dtype)
        rounded = np.finfo(dtype).eps * (top + float(np.abs(self.v).max())) if dtype.itemsize == 2 else 0.0
        return float(2 * np.finfo(np.result_type(dtype, np.float32)).eps * terms * top + rounded)


def grid(layout):
    """Return which tiles a layout lists, as a boolean matrix."""
    listed = np.zeros(layout.grid, bool)
    listed[np.repeat(np.arange(layout.grid[0]), np.diff(layout.indptr)), layout.indices] = True
    return listed
