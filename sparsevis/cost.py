"""What a pattern costs: exact counts of pairs, and what follows from them in work, traffic and memory.

    needed     flops = 2 pairs (d + dv): one multiplication and one addition for each element of q . k and of p v
    computed   the same over whole tiles: a kernel cannot do less than a tile, and the ratio of the two is the block tax
    bytes      a tiled kernel reads q once and k, v once for each tile it visits, and writes o and lse; the naive method also
               writes and reads the scores and the probabilities, n x n of each
    memory     beyond inputs and output: the layout for the tiled kernel, scores and probabilities for the naive method
"""

from dataclasses import asdict, dataclass

import numpy as np

from sparsevis.layout import Layout, block_of
from sparsevis.pattern import Pattern, sizes
from sparsevis.patterns import Dense
from sparsevis.per_head import PerHead
from sparsevis.sift import sift

__all__ = ["Cost", "cost"]


@dataclass(frozen=True)
class Cost:
    """The cost of one attention call, summed over batch and heads unless said otherwise.

    Attributes
    ----------
    nq, nk, head_dim, value_dim, heads, kv_heads, batch, itemsize, block
        What was asked about; `itemsize` in bytes, `block` (rows, columns).
    nnz : int
        Allowed pairs of all heads of one batch element.
    computed : int
        Pairs in the tiles that hold an allowed one: what a tiled kernel works through.
    full, partial : int
        Numbers of those tiles.
    memory_tiled : int
        Bytes beyond inputs and outputs that the tiled kernel's lists take, shared by heads of one pattern: 8 a tile, 8 a block row.
    """

    nq: int
    nk: int
    head_dim: int
    value_dim: int
    heads: int
    kv_heads: int
    batch: int
    itemsize: int
    block: tuple[int, int]
    nnz: int
    computed: int
    full: int
    partial: int
    memory_tiled: int

    @property
    def pairs(self):
        """All pairs of all heads of one batch element: what dense attention computes."""
        return self.heads * self.nq * self.nk

    @property
    def density(self):
        """Allowed pairs over all pairs."""
        return self.nnz / self.pairs if self.pairs else 0.0

    @property
    def block_tax(self):
        """Computed pairs for one allowed pair; nan where nothing is allowed."""
        return self.computed / self.nnz if self.nnz else float("nan")

    @property
    def keys_per_query(self):
        """Allowed keys of a query on average."""
        return self.nnz / (self.heads * self.nq) if self.heads * self.nq else 0.0

    @property
    def flops(self):
        """Floating-point operations of the two products over the allowed pairs."""
        return 2 * self.batch * self.nnz * (self.head_dim + self.value_dim)

    @property
    def flops_computed(self):
        """The same over the computed pairs."""
        return 2 * self.batch * self.computed * (self.head_dim + self.value_dim)

    @property
    def flops_dense(self):
        """The same over all pairs."""
        return 2 * self.batch * self.pairs * (self.head_dim + self.value_dim)

    @property
    def bytes_tiled(self):
        """Bytes a tiled kernel moves: q in, o and lse out, and k and v for every tile (tiles at edges counted whole)."""
        tiles = (self.full + self.partial) * self.block[1] * (self.head_dim + self.value_dim)
        return self.batch * (self._once() + self.itemsize * tiles)

    @property
    def bytes_naive(self):
        """Bytes the naive method moves: every input and output once, scores and probabilities written and read back."""
        inputs = self.kv_heads * self.nk * (self.head_dim + self.value_dim)
        return self.batch * (self._once() + self.itemsize * (inputs + 4 * self.pairs))

    @property
    def memory_naive(self):
        """Bytes of the n x n scores and probabilities."""
        return 2 * self.batch * self.itemsize * self.pairs

    @property
    def intensity(self):
        """Flops for each byte the tiled kernel moves."""
        return self.flops_computed / self.bytes_tiled if self.bytes_tiled else 0.0

    def row(self):
        """Return everything as one flat dict."""
        names = [name for name, x in vars(type(self)).items() if isinstance(x, property)]
        return asdict(self) | {name: getattr(self, name) for name in names}

    def _once(self):
        return self.heads * self.nq * (self.itemsize * (self.head_dim + self.value_dim) + max(4, self.itemsize))


def cost(pattern, n, *, head_dim=64, value_dim=None, heads=None, kv_heads=None, batch=1, dtype=np.float32, block=64, offset=None):
    """Count exactly what attention over a pattern costs, at any length and without building a layout.

    Parameters
    ----------
    pattern : Pattern, PerHead, Layout or None
        None is dense attention. A Layout brings its own block.
    n : int or (int, int)
        Number of positions, or numbers of queries and keys.
    head_dim, value_dim : int
        Dimensions of queries and keys, and of values (as the keys' where left out).
    heads, kv_heads, batch : int
        Numbers of query heads (1, or the pattern's own), key/value heads (as many) and batch elements.
    dtype : dtype
        Of the inputs.
    block : int or (int, int)
        Tile of the kernel.
    offset
        As for `Pattern.mask`.

    Examples
    --------
    >>> from sparsevis import Causal, cost, mistral
    >>> cost(mistral(4096), 1 << 20).density < 0.01
    True
    >>> cost(Causal(), 1000).nnz
    500500
    """
    offset = 0 if pattern is None or isinstance(pattern, Layout) else offset
    (nq, nk), offset = sizes(*(n if isinstance(n, tuple | list) else (n, None)), offset)
    block = pattern.block if isinstance(pattern, Layout) else block_of(block)
    asked = heads
    for name, x in (("heads", heads), ("kv_heads", kv_heads)):
        if x is not None and x < 1:
            raise ValueError(f"{name} is {x}, and needs to be 1 or more")
    planes, stored = _planes(pattern, (nq, nk), block, offset)
    one_for_all = not isinstance(pattern, PerHead) and getattr(pattern, "heads", None) is None
    heads = asked or 1 if one_for_all else len(planes)
    if asked not in (None, heads):
        raise ValueError(f"the pattern is for {len(planes)} heads, but heads={asked}")
    if kv_heads is not None and heads % kv_heads:
        raise ValueError(f"{heads} query heads over {kv_heads} key/value heads: the first needs to be a multiple of the second")
    nnz, full, partial = (sum(x) * heads // len(planes) for x in zip(*planes, strict=True))
    listed = sum(full + partial for _, full, partial in stored)
    return Cost(
        nq, nk, head_dim, head_dim if value_dim is None else value_dim, heads, heads if kv_heads is None else kv_heads,
        batch, np.dtype(dtype).itemsize, block, nnz, (full + partial) * block[0] * block[1], full, partial,
        8 * (listed + len(stored) * -(-nq // block[0])),
    )  # fmt: skip


def _planes(pattern, shape, block, offset):
    """(nnz, full tiles, partial tiles) of every head that has a pattern of its own, and of every list that is stored."""
    if isinstance(pattern, Layout):
        if pattern.shape != shape:
            raise ValueError(f"the layout is for {pattern.shape}, but n says {shape}")
        stored = pattern.totals()
        return [stored[p] for p in pattern.heads or (0,)], stored
    if isinstance(pattern, PerHead):
        stored = {p: sift(p.allows, shape, block, offset).totals() for p in dict.fromkeys(pattern.patterns)}
        return [stored[p] for p in pattern.patterns], list(stored.values())
    if not isinstance(pattern, Pattern | None):
        raise TypeError(f"cost needs a Pattern, a PerHead, a Layout or None, not {type(pattern).__name__}")
    stored = [sift((Dense() if pattern is None else pattern).allows, shape, block, offset).totals()]
    return stored, stored
