"""What a stack of layers lets one query see: a set of positions goes down through the layers, from the query at the top.

    for each layer, the last first: the set becomes the union of the rows of its members, and of the members themselves

A position keeps what it has seen, because a transformer block adds its input to what attention gathered. Sets are bits; rows are read
from the tiles of each layer's layout.
"""

import numpy as np

from sparsevis.kernels._launch import compiled
from sparsevis.layout import Layout
from sparsevis.per_head import PerHead
from sparsevis.sift import FULL

__all__ = ["Walk", "layouts_of", "offsets"]

PAD = 1024  # positions are padded to a multiple of the largest tile
BUDGET = {1024: 1 << 27, 64: 1 << 26, 8: 1 << 30}  # bytes a layout may take before the next tile is tried


def layouts_of(patterns, n, blocks, memory_limit=None):
    """Return (distinct layouts, which of them each layer has), each in the first of `blocks` (of 1024, 64, 8) that suits it.

    Stride 128 at n = 2^20 has 67 million tiles of 64 x 64 and 524,800 of 1024 x 1024. Three random keys a row at that length are 3 million
    tiles of any size, of which those of 64 x 64 take a minute to sort and fill in, those of 8 x 8 half of it.
    """
    distinct = list(dict.fromkeys(patterns))
    return [_layout(p, n, blocks, memory_limit) for p in distinct], [distinct.index(p) for p in patterns]


def _layout(pattern, n, blocks, memory_limit):
    pattern = pattern.union() if isinstance(pattern, PerHead) else pattern
    for block in blocks:
        try:
            return Layout.of(pattern, n, block, memory_limit=min(BUDGET[block], memory_limit or BUDGET[block]))
        except MemoryError:
            continue
    return Layout.of(pattern, n, blocks[0], memory_limit=memory_limit)


def offsets(layout):
    """Return (greatest common divisor of i - j over all pairs, whether j <= i for all pairs)."""
    block = layout.block[0]
    base = block * (np.repeat(np.arange(layout.grid[0]), np.diff(layout.indptr)) - layout.indices)
    on_diagonal = [_steps(layout, kind) for kind in np.unique(layout.kind[base == 0])]
    causal = not (base < 0).any() and all((steps >= 0).all() for steps in on_diagonal)
    divisor = 0
    for kind in np.unique(layout.kind):
        steps = _steps(layout, kind)
        divisor = np.gcd.reduce(np.concatenate([[divisor], steps - steps[0], base[layout.kind == kind] + steps[0]]))
        if divisor == 1:
            break
    return int(divisor), causal


def _steps(layout, kind):
    """Row minus column of every pair of a tile."""
    block = layout.block[0]
    tile = np.ones((block, block), bool) if kind == FULL else np.unpackbits(layout.tiles[kind], axis=1, bitorder="little")
    return np.subtract(*np.nonzero(tile))


class Walk:
    """The layers as maps from a set of positions, as bits, to all they attend; sets are remembered by the layers passed."""

    def __init__(self, layouts, order, n):
        self.layouts, self.order, self.bytes = layouts, order, -(-n // PAD) * PAD // 8

    def of(self, query):
        """Return (seen, cone, closed) of one query; row l of the packed arrays is for layer l, row 0 for the input.

        seen[l] is what the query has seen after l layers; cone[l] is whose output at layer l the query's last output rests on. Closed
        says that no further layer of the stack would add to what is seen.
        """
        start = np.zeros(self.bytes, np.uint8)
        start[query // 8] = 1 << query % 8
        self.sets, self.next, self.last = [start], {}, {}
        words = [[self.order[l] for l in range(top)][::-1] for top in range(len(self.order) + 1)]  # layers from the top down
        seen = [self._pass(word)[-1] for word in words]
        cone = self._pass(words[-1])[::-1]
        closed = all(self._step(seen[-1], k) == seen[-1] for k in range(len(self.layouts)))
        return self._stack(seen), self._stack(cone), closed

    def _stack(self, nodes):
        return np.stack([self.sets[x] for x in nodes])

    def _pass(self, word):
        """The numbers of the sets passed on the way down."""
        nodes = [0]
        for k in word:
            nodes.append(self._step(nodes[-1], k))
        return nodes

    def _step(self, node, k):
        if (node, k) not in self.next:
            out = self._attended(self.sets[node], k)
            if not np.array_equal(out, self.sets[node]):
                self.sets.append(out)
                self.next[node, k] = len(self.sets) - 1
            else:
                self.next[node, k] = node
        return self.next[node, k]

    def _attended(self, members, k):
        """The members and all they attend; where they hold the members asked for last, only the new ones are looked up."""
        before, found = self.last.get(k, (None, None))
        if before is not None and not (before & ~members).any():
            fresh, out = members & ~before, members | found
        else:
            fresh, out = members, members.copy()
        x = self.layouts[k]
        _rows(x.indptr, x.indices, x.kind, x.tiles, fresh, out)
        self.last[k] = members, out
        return out


def _union_of_rows(indptr, indices, kind, tiles, members, out):
    """For each tile in a row of tiles that has members: out |= the tile's rows at the members."""
    block, width = tiles.shape[1:]
    for r in range(indptr.size - 1):
        some = 0
        for x in range(r * width, (r + 1) * width):
            some |= members[x]
        if not some:
            continue
        for e in range(indptr[r], indptr[r + 1]):
            c, whole = indices[e] * width, 255
            for x in range(c, c + width):
                if kind[e] < 0:
                    out[x] = 255
                whole &= out[x]
            for a in range(block if whole < 255 else 0):
                if members[r * width + a // 8] >> (a % 8) & 1:
                    for x in range(width):
                        out[c + x] |= tiles[kind[e], a, x]


_rows = compiled(_union_of_rows, "_union_of_rows")
