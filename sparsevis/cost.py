"""What a pattern costs: exact counts of pairs, and what follows from them in work, traffic and memory.

    needed     flops = 2 pairs (d + dv): one multiplication and one addition for each element of q . k and of p v;
               backward 2 pairs (3 d + 2 dv): q . k once more, do . v, and the sums that make dq, dk and dv
    computed   the same over whole tiles: a kernel cannot do less than a tile, and the ratio of the two is the block tax
    bytes      a tiled kernel reads q once and k, v once for each tile it visits, and writes o and lse; the naive method also
               writes and reads the scores and the probabilities, n x n of each. That is the count of FlashAttention (Dao et al. 2022,
               arXiv 2205.14135, theorem 2), with its constants, for a fast memory that holds one tile
    memory     beyond inputs and output: the layout for the tiled kernel, scores and probabilities for the naive method
    KV cache   the keys and values that queries to come may attend, at most at once, while a text grows to n

Nothing is built: tiles that read alike are counted once (see `tally`).
"""

from dataclasses import asdict, dataclass, field

import numpy as np

from sparsevis.keys_held import keys_held
from sparsevis.layout import Layout, block_of
from sparsevis.pattern import Pattern, sizes
from sparsevis.patterns import Dense
from sparsevis.per_head import PerHead
from sparsevis.scattered import tally_pattern
from sparsevis.sift import MEMORY_LIMIT
from sparsevis.tabular import Tabular, amount
from sparsevis.tally import of_layout

__all__ = ["Cost", "cost"]


@dataclass(frozen=True, repr=False)
class Cost(Tabular):
    """The cost of one attention call, summed over batch and heads unless said otherwise; prints as a table beside dense attention.

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
    touched : int
        The computed pairs without what hangs over the edges, which plain loops leave out.
    key_rows : int
        Rows of k, and of v, that the tiled kernel reads: the keys of every tile of every head.
    memory_tiled : int
        Bytes beyond inputs and outputs of the tiled kernel, its layout: 8 a listed tile, 8 a block row, and the bits of each distinct
        partial tile; shared by heads of one pattern.
    kv_keys : int or None
        Keys of a key/value head that a cache holds at most while a text grows to nk positions: see `keys_held`. None for a layout, which
        has no rule, for a table with fewer queries than keys, and above 2,097,152 positions.
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
    touched: int
    key_rows: int
    memory_tiled: int
    kv_keys: int | None = field(default=None, compare=False)  # a layout's cost equals its pattern's, which knows more

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
        return self._forward(self.nnz)

    @property
    def flops_computed(self):
        """The same over the computed pairs."""
        return self._forward(self.computed)

    @property
    def flops_dense(self):
        """The same over all pairs."""
        return self._forward(self.pairs)

    @property
    def flops_backward(self):
        """Floating-point operations of the five products of the gradients over the allowed pairs."""
        return self._backward(self.nnz)

    @property
    def flops_backward_computed(self):
        """The same over the computed pairs."""
        return self._backward(self.computed)

    @property
    def flops_backward_dense(self):
        """The same over all pairs."""
        return self._backward(self.pairs)

    @property
    def bytes_tiled(self):
        """Bytes a tiled kernel moves: q in, o and lse out, and k and v for every tile."""
        return self.batch * (self._once() + self.itemsize * self.key_rows * (self.head_dim + self.value_dim))

    @property
    def bytes_dense(self):
        """The same for dense attention, which visits every tile."""
        rows = self.heads * -(-self.nq // self.block[0]) * self.nk
        return self.batch * (self._once() + self.itemsize * rows * (self.head_dim + self.value_dim))

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
    def kv_bytes(self):
        """Bytes of the keys and values that a cache holds at most; None where `kv_keys` is."""
        return None if self.kv_keys is None else self._cached(self.kv_keys)

    @property
    def kv_bytes_dense(self):
        """The same where all keys are kept."""
        return self._cached(self.nk)

    @property
    def intensity(self):
        """Flops for each byte the tiled kernel moves."""
        return self.flops_computed / self.bytes_tiled if self.bytes_tiled else 0.0

    @property
    def intensity_naive(self):
        """Flops of dense attention for each byte the naive method moves."""
        return self.flops_dense / self.bytes_naive if self.bytes_naive else 0.0

    def row(self):
        """Return everything as one flat dict."""
        names = [name for name, x in vars(type(self)).items() if isinstance(x, property)]
        return asdict(self) | {name: getattr(self, name) for name in names}

    def to_dicts(self):
        """Return the row in a list, as other results do."""
        return [self.row()]

    def _once(self):
        return self.heads * self.nq * (self.itemsize * (self.head_dim + self.value_dim) + max(4, self.itemsize))

    def _forward(self, pairs):
        return 2 * self.batch * pairs * (self.head_dim + self.value_dim)

    def _backward(self, pairs):
        return 2 * self.batch * pairs * (3 * self.head_dim + 2 * self.value_dim)

    def _cached(self, keys):
        return self.batch * self.kv_heads * keys * (self.head_dim + self.value_dim) * self.itemsize

    def _heading(self):
        shared = f" over {self.kv_heads}" if self.kv_heads != self.heads else ""
        batch = f", batch {self.batch}" if self.batch != 1 else ""
        return (
            f"{self.nq:,} queries, {self.nk:,} keys; {self.heads} head{'s' * (self.heads > 1)}{shared} of {self.head_dim}{batch}, "
            f"{self.itemsize} bytes a number; tiles of {self.block[0]} x {self.block[1]}"
        )

    def _cells(self):
        lines = [
            ("pairs needed", self.nnz, self.pairs, ""), ("pairs computed", self.computed, self.pairs, ""),
            ("forward", self.flops_computed, self.flops_dense, "FLOP"),
            ("backward", self.flops_backward_computed, self.flops_backward_dense, "FLOP"),
            ("bytes moved, tiled", self.bytes_tiled, self.bytes_dense, "B"), ("bytes moved, naive", None, self.bytes_naive, "B"),
            ("memory, tiled", self.memory_tiled, None, "B"), ("memory, naive", None, self.memory_naive, "B"),
            ("KV cache", self.kv_bytes, self.kv_bytes_dense, "B"),
        ]  # fmt: skip
        body = [[what, amount(x, unit), amount(dense, unit), f"{dense / x:,.3g}x" if x and dense else ""] for what, x, dense, unit in lines]
        return ["", "this", "dense", "dense / this"], body

    def _notes(self):
        tax = f"block tax {self.block_tax:.3g}; " * bool(self.nnz)
        return [f"density {self.density:.3g}, {self.keys_per_query:,.1f} keys a query; {tax}{self.intensity:.3g} flops a byte"]

    def __repr__(self):
        return f"Cost({self._heading()}: {self.nnz:,} pairs, {'; '.join(self._notes())})"


def cost(pattern, n, *, head_dim=64, value_dim=None, heads=None, kv_heads=None, batch=1, dtype=np.float32, block=64, offset=None,
         memory_limit=MEMORY_LIMIT):  # fmt: skip
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
    memory_limit : int or None
        Bytes that counting may take; tables with tens of millions of pairs raise a MemoryError before they are counted.

    Examples
    --------
    >>> from sparsevis import Causal, cost, mistral
    >>> cost(mistral(4096), 1 << 20).density < 0.01
    True
    >>> cost(Causal(), 1000).nnz
    500500
    >>> print(cost(mistral(4096), 32768, heads=32, kv_heads=8, head_dim=128, dtype=np.float16))
    32,768 queries, 32,768 keys; 32 heads over 8 of 128, 2 bytes a number; tiles of 64 x 64
                              this       dense  dense / this
    ------------------  ----------  ----------  ------------
    pairs needed            4.03 G      34.4 G         8.53x
    pairs computed          4.09 G      34.4 G          8.4x
    forward             2.09 TFLOP  17.6 TFLOP          8.4x
    backward            5.23 TFLOP    44 TFLOP          8.4x
    bytes moved, tiled     33.3 GB      275 GB         8.28x
    bytes moved, naive           -      276 GB
    memory, tiled           255 kB           -
    memory, naive                -      137 GB
    KV cache               16.8 MB      134 MB            8x
    density 0.117, 3,840.1 keys a query; block tax 1.02; 63 flops a byte
    """
    offset = 0 if pattern is None or isinstance(pattern, Layout) else offset
    (nq, nk), offset = sizes(*(n if isinstance(n, tuple | list) else (n, None)), offset)
    block = pattern.block if isinstance(pattern, Layout) else block_of(block)
    asked = heads
    for name, x in {"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "value_dim": value_dim, "batch": batch}.items():
        if x is not None and x < 1:
            raise ValueError(f"{name} is {x}, and needs to be 1 or more")
    planes, stored = _planes(pattern, (nq, nk), block, offset, memory_limit)
    one_for_all = not isinstance(pattern, PerHead) and not (isinstance(pattern, Layout) and pattern.heads)
    heads = asked or 1 if one_for_all else len(planes)
    if asked not in (None, heads):
        raise ValueError(f"the pattern is for {len(planes)} heads, but heads={asked}")
    if kv_heads is not None and heads % kv_heads:
        raise ValueError(f"{heads} query heads over {kv_heads} key/value heads: the first needs to be a multiple of the second")
    nnz, full, partial, touched, keys = (sum(x) * heads // len(planes) for x in zip(*(p[:5] for p in planes), strict=True))
    lists = sum(p.full + p.partial for p in stored) + len(stored) * -(-nq // block[0]) + 1
    bits = len(set().union(*(p.kinds for p in stored))) * block[0] * -(-block[1] // 8)
    return Cost(
        nq, nk, head_dim, head_dim if value_dim is None else value_dim, heads, heads if kv_heads is None else kv_heads,
        batch, np.dtype(dtype).itemsize, block, nnz, (full + partial) * block[0] * block[1], full, partial, touched, keys,
        8 * lists + bits, None if isinstance(pattern, Layout) else keys_held(pattern, nk),
    )  # fmt: skip


def _planes(pattern, shape, block, offset, memory_limit):
    """A tally for every head that has a pattern of its own, and for every list that a layout would store."""
    if isinstance(pattern, Layout):
        if pattern.shape != shape:
            raise ValueError(f"the layout is for {pattern.shape}, but n says {shape}")
        stored = of_layout(pattern)
        return [stored[p] for p in pattern.heads or (0,)], stored
    if not isinstance(pattern, Pattern | PerHead | None):
        raise TypeError(f"cost needs a Pattern, a PerHead, a Layout or None, not {type(pattern).__name__}")
    heads = pattern.patterns if isinstance(pattern, PerHead) else (Dense() if pattern is None else pattern,)
    stored = {p: tally_pattern(p, shape, block, offset, memory_limit) for p in dict.fromkeys(heads)}
    return [stored[p] for p in heads], list(stored.values())
