"""FlashAttention's walk over the matrix, tile by tile: what each query knows after every tile, as a value to print, test and draw.

    m   the largest score so far
    l   the sum of exp(score - m) so far
    o   the mean of the values so far, weighted by exp(score - m)

A tile that raises m makes all that was summed before shrink by exp(old m - new m). After the last tile of a query, o is attention's output
and m + ln l its log-sum-exp. The steps are `kernels.loops`'s own, so that what is seen here is what a kernel does.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sparsevis.inputs import check_inputs, layout_for
from sparsevis.kernels import loops
from sparsevis.kernels._features import Features
from sparsevis.layout import Layout, block_of
from sparsevis.sift import MEMORY_LIMIT, check_memory
from sparsevis.tabular import Tabular

__all__ = ["Step", "Walked", "walk"]


class Step(NamedTuple):
    """What one tile does to the queries of its block.

    Attributes
    ----------
    row, column : int
        Query block and key block.
    queries, keys : range
        Positions of the tile; those at the edges are cut short.
    full : bool
        Every pair of the tile is allowed.
    scores : array (queries, keys)
        Scaled scores, -inf where a pair is not allowed.
    weights : array (queries, keys)
        exp(scores - m), with the m after this tile.
    shrink : array (queries,)
        exp(old m - new m): what sums made before this tile are multiplied by; 1 where m stayed, 0 where there was none.
    m, l : array (queries,)
        After this tile.
    o : array (queries, dv)
        After this tile; 0 where no key has been seen.
    """

    row: int
    column: int
    queries: range
    keys: range
    full: bool
    scores: np.ndarray
    weights: np.ndarray
    shrink: np.ndarray
    m: np.ndarray
    l: np.ndarray
    o: np.ndarray

    @property
    def raised(self):
        """Whether this tile has a larger score than all tiles before it, the first one aside: bool (queries,)."""
        return (self.shrink > 0) & (self.shrink < 1)


@dataclass(frozen=True, eq=False, repr=False)
class Walked(Tabular):
    """The steps of one head, in the order of the walk; prints as a table, one tile a line.

    Attributes
    ----------
    layout : Layout
        The tiles.
    steps : tuple of Step
        One a tile, query block after query block.
    o : array (nq, dv)
    lse : array (nq,)
        What the walk ends with: attention's output and log-sum-exp.
    """

    layout: Layout
    steps: tuple
    o: np.ndarray
    lse: np.ndarray

    def of(self, row):
        """Return the steps of one query block; -1 is the last."""
        blocks = self.layout.grid[0]
        if not -blocks <= row < blocks:
            raise ValueError(f"row is {row}, and needs to lie from {-blocks} to {blocks - 1}: there are {blocks} blocks of queries")
        return tuple(s for s in self.steps if s.row == row % blocks)

    def to_dicts(self):
        """Return plain rows, one a tile; m, l and o are lists, one entry a query of its block."""
        return [
            {
                "step": number + 1, "queries": [s.queries.start, s.queries.stop], "keys": [s.keys.start, s.keys.stop], "full": s.full,
                "raised": int(s.raised.sum()), "m": [None if x == -np.inf else x for x in s.m.tolist()], "l": s.l.tolist(),
                "o": s.o.tolist(),
            }
            for number, s in enumerate(self.steps)
        ]  # fmt: skip

    def _heading(self):
        (nq, nk), (bq, bk), (full, partial, empty) = self.layout.shape, self.layout.block, self.layout.tally()
        return f"{nq:,} queries over {nk:,} keys: {full + partial:,} tiles of {bq} x {bk} walked, {empty:,} skipped"

    def _cells(self):
        body = [
            [f"{number + 1}", _span(s.queries), _span(s.keys), "full" if s.full else "partial",
             f"{s.raised.sum()} of {len(s.queries)}", f"{s.m.max():.3g}", f"{s.l.min():.3g} to {s.l.max():.3g}"]
            for number, s in enumerate(self.steps)
        ]  # fmt: skip
        head = ["step", "queries", "keys", "tile", "m raised", "largest m", "sums l"]
        return head, body if len(body) <= 40 else [*body[:30], ["..."] * len(head), *body[-6:]]


def walk(q, k, v, pattern=None, *, block=16, scale=None, offset=None, memory_limit=MEMORY_LIMIT):
    """Walk the tiles of one head as FlashAttention does, and keep what is known after each.

    Parameters
    ----------
    q, k, v : array_like (nq, d), (nk, d), (nk, dv)
        One head's queries, keys and values; computed in float64.
    pattern : Pattern or Layout, optional
        Who may attend whom; everyone everyone if left out.
    block : int or (int, int)
        Tile shape; a layout brings its own.
    scale, offset
        As for `attention`.
    memory_limit : int or None
        Bytes the steps may take.

    Returns
    -------
    Walked

    Examples
    --------
    >>> import sparsevis as sv
    >>> q, k, v = np.eye(4), np.eye(4), np.arange(4.0)[:, None]
    >>> steps = sv.walk(q, k, v, sv.Causal(), block=2, scale=1.0)
    >>> print(steps)
    4 queries over 4 keys: 3 tiles of 2 x 2 walked, 1 skipped
    step  queries  keys     tile  m raised  largest m       sums l
    ----  -------  ----  -------  --------  ---------  -----------
    1         0-1   0-1  partial    0 of 2          1    1 to 1.37
    2         2-3   0-1     full    0 of 2          0       2 to 2
    3         2-3   2-3  partial    2 of 2          1  1.74 to 2.1
    >>> np.allclose(steps.o, sv.reference.attention(q, k, v, sv.Causal().mask(4), scale=1.0)[0])
    True
    """
    q, k, v = (x.astype(np.float64) for x in check_inputs(q, k, v))
    if q.ndim != 2:
        raise ValueError(f"q is {q.shape}, and a walk is of one head, (n, d): choose one, as in q[0], k[0], v[0]")
    block = pattern.block if isinstance(pattern, Layout) else block_of(block)
    layout = layout_for(pattern, 1, len(q), len(k), offset, block)
    count = layout.indices.size
    asked = 8 * count * block[0] * (2 * block[1] + v.shape[1] + 3)
    check_memory(asked, memory_limit, f"{count:,} steps of {block[0]} x {block[1]} scores")
    scale = (q.shape[1] ** -0.5 if q.shape[1] else 1.0) if scale is None else float(scale)
    steps, o, lse = [], np.zeros((len(q), v.shape[1])), np.full(len(q), -np.inf)
    for row in range(layout.grid[0]):
        rows = slice(row * block[0], min((row + 1) * block[0], len(q)))
        found = list(_row(q, k, v, layout, row, rows, scale))
        steps += found
        if found:
            with np.errstate(divide="ignore"):
                o[rows], lse[rows] = found[-1].o, found[-1].m + np.log(found[-1].l)
    return Walked(layout, tuple(steps), o, lse)


def _row(q, k, v, layout, row, rows, scale):
    """The steps of one block of queries, as `loops.attend` takes them."""
    count, bk = rows.stop - rows.start, layout.block[1]
    state = loops.Running(np.full(count, -np.inf), np.zeros(count), np.zeros((count, v.shape[1])))
    has_key = np.zeros(count, bool)
    for e in range(layout.indptr[row], layout.indptr[row + 1]):
        column, kind = int(layout.indices[e]), layout.kind[e]
        keys = slice(column * bk, min((column + 1) * bk, len(k)))
        allowed = loops.allowed_pairs(layout, kind, count, keys.stop - keys.start)
        has_key |= allowed.any(axis=1)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            s = np.where(allowed, loops.scores(q, k, rows, keys, scale, Features()), -np.inf)
            before, state = state.m, loops.online_softmax(state, s, v[keys], allowed)
            shift = np.where(state.m == -np.inf, 0, state.m)
            o = np.where(has_key[:, None], state.acc / state.l[:, None], 0)
            shrink, weights = np.exp(before - shift), np.exp(s - shift[:, None])
        yield Step(row, column, range(rows.start, rows.stop), range(keys.start, keys.stop), bool(kind < 0), s, weights, shrink,
                   state.m, state.l, o)  # fmt: skip


def _span(positions):
    return f"{positions.start}-{positions.stop - 1}"
