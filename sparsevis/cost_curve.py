"""Costs over lengths, and over the layers of a schedule.

A curve is counted exactly at every length, without building anything, so 2^20 positions and more take as long as a thousand. A crossover is
the length from which on a pattern costs less than what it is held against: looked for between two lengths of the curve, by counting.
"""

from dataclasses import dataclass
from operator import index

from sparsevis.cost import Cost, cost
from sparsevis.layout import Layout
from sparsevis.pattern import Pattern
from sparsevis.per_head import PerHead
from sparsevis.tabular import Tabular, amount, share

__all__ = ["CostCurve", "ScheduleCost", "cost_curve", "cost_schedule", "family_of", "name_of"]

# what is compared where one looks for a crossover: of the pattern, and of dense attention
CROSSED = {
    "flops": "flops", "flops_computed": "flops_computed", "bytes_tiled": "bytes_tiled", "memory_tiled": "memory_naive",
    "kv_bytes": "kv_bytes",
}  # fmt: skip


@dataclass(frozen=True, repr=False)
class CostCurve(Tabular):
    """What a pattern costs at several lengths, beside dense attention; prints as a table.

    Attributes
    ----------
    name : str
    rows, dense : tuple of Cost
        At each length, rising: of the pattern, and of what it is held against.
    crossovers : dict of str to int
        The length from which on the pattern costs less, for "flops", "flops_computed", "bytes_tiled", "memory_tiled" (against the naive
        method) and "kv_bytes"; the first length of the curve if it costs less everywhere. A quantity in which it never does is not there.
    skipped : dict of int to str
        Lengths that could not be counted, and why.
    against : str
        What it is held against.
    """

    name: str
    rows: tuple[Cost, ...]
    dense: tuple[Cost, ...]
    crossovers: dict[str, int]
    skipped: dict[int, str]
    against: str = "dense"

    def __hash__(self):
        return hash((self.name, self.rows))

    @property
    def lengths(self):
        """The lengths that were counted."""
        return tuple(c.nk for c in self.rows)

    def to_dicts(self):
        """Return plain rows: one dict a length, ready for csv, json or a data frame."""
        return [{"name": self.name, "n": c.nk, **c.row()} for c in self.rows]

    def _heading(self):
        return self.name

    def _cells(self):
        head = ["n", "pairs", "block tax", "forward", f"of {self.against}"]
        head += ["bytes moved", "naive", "memory", "naive", "KV cache", "all keys"]
        return head, [
            [f"{c.nk:,}", amount(c.nnz), f"{c.block_tax:.2f}", amount(c.flops_computed, "FLOP"), share(c.computed, d.computed),
             amount(c.bytes_tiled, "B"), amount(d.bytes_naive, "B"), amount(c.memory_tiled, "B"), amount(d.memory_naive, "B"),
             amount(c.kv_bytes, "B"), amount(c.kv_bytes_dense, "B")]
            for c, d in zip(self.rows, self.dense, strict=True)
        ]  # fmt: skip

    def _notes(self):
        words = {"flops_computed": "operations", "bytes_tiled": "bytes moved", "memory_tiled": "memory", "kv_bytes": "KV cache"}
        found = [f"{words[name]} from n = {self.crossovers[name]:,}" for name in words if name in self.crossovers]
        skipped = [f"n = {n:,} skipped: {why}" for n, why in self.skipped.items()]
        return [f"less than {self.against}: {', '.join(found) or 'nowhere'}", *skipped]


def cost_curve(family, ns, *, name=None, against=None, **asked):
    """Count what a pattern costs at several lengths.

    Parameters
    ----------
    family : Pattern, PerHead, or function of n
        A function where the pattern changes with the length: `lambda n: sparse_transformer_strided(isqrt(n))`.
    ns : iterable of int
        Lengths; every one that can be counted within the memory limit is exact, the others are told in `skipped`.
    name : str, optional
        The pattern as code if left out.
    against : Pattern, PerHead or function of n, optional
        What the crossovers are against: dense attention if left out; `Causal()` is fairer to causal patterns.
    **asked
        As for `cost`: head_dim, heads, kv_heads, batch, dtype, block, memory_limit.

    Returns
    -------
    CostCurve

    Examples
    --------
    >>> import sparsevis as sv
    >>> curve = sv.cost_curve(sv.mistral(512), [256, 1024, 4096], against=sv.Causal())
    >>> [c.nnz for c in curve.rows], curve.crossovers["flops"], curve.crossovers["flops_computed"]
    ([32896, 393472, 1966336], 513, 577)
    """
    lengths = sorted({index(n) for n in ns})
    if not lengths or lengths[0] < 1:
        raise ValueError(f"cost_curve: ns is {lengths}, and needs one length or more, of 1 or more positions")
    at, base = family_of(family), family_of(against)
    count = lambda n: (cost(at(n), n, **asked), cost(base(n), n, **asked))  # noqa: E731
    pairs, skipped = [], {}
    for n in lengths:
        try:
            pairs.append(count(n))
        except MemoryError as why:
            skipped[n] = str(why)
    rows, dense = zip(*pairs, strict=True) if pairs else ((), ())
    crossed = {what: _crossover(pairs, count, what) for what in CROSSED}
    crossed = {what: n for what, n in crossed.items() if n is not None}
    return CostCurve(name or name_of(family), rows, dense, crossed, skipped, name_of(against))


def family_of(family):
    """Return a function of n that gives the pattern, or raise."""
    if isinstance(family, Layout):
        raise TypeError("needs a Pattern, a PerHead or a function of n; a Layout is of one length")
    if callable(family):
        return family
    if not isinstance(family, Pattern | PerHead | None):
        raise TypeError(f"needs a Pattern, a PerHead or a function of n, not {type(family).__name__}")
    return lambda n: family


def name_of(family):
    """Return what a family is called where nobody named it."""
    return "dense" if family is None else getattr(family, "__name__", repr(family))


def _crossover(pairs, count, what):
    """The first length from which on all of the curve costs less, found between two of its lengths by bisection; None if there is none."""
    less = [_less(*pair, what) for pair in pairs]
    if not less or not less[-1]:
        return None
    if all(less):
        return pairs[0][0].nk
    last = max(i for i, x in enumerate(less) if not x)
    low, high = pairs[last][0].nk, pairs[last + 1][0].nk
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _less(*count(middle), what) else (middle, high)
    return high


def _less(sparse, dense, what):
    ours, theirs = getattr(sparse, what), getattr(dense, CROSSED[what])
    return ours is not None and theirs is not None and ours < theirs


@dataclass(frozen=True, repr=False)
class ScheduleCost(Tabular):
    """What the layers of a model cost, one by one and together; prints as a table.

    Attributes
    ----------
    names : tuple of str
    rows : tuple of Cost
        One a layer.
    """

    names: tuple[str, ...]
    rows: tuple[Cost, ...]

    @property
    def kv_bytes(self):
        """Bytes of keys and values of all layers together; None if one is not known."""
        return None if any(c.kv_bytes is None for c in self.rows) else sum(c.kv_bytes for c in self.rows)

    @property
    def kv_bytes_dense(self):
        """The same where every layer keeps all keys."""
        return sum(c.kv_bytes_dense for c in self.rows)

    @property
    def flops_computed(self):
        """Floating-point operations of all layers together, over whole tiles."""
        return sum(c.flops_computed for c in self.rows)

    def to_dicts(self):
        """Return plain rows: one dict a layer."""
        return [{"layer": i, "pattern": name, **c.row()} for i, (name, c) in enumerate(zip(self.names, self.rows, strict=True))]

    def _heading(self):
        return f"{len(self.rows)} layers; {self.rows[0]._heading()}"

    def _cells(self):
        layers = enumerate(zip(self.names, self.rows, strict=True))
        lines = [(f"{i}", name, c.nnz, c.flops_computed, c.kv_bytes, c.kv_bytes_dense) for i, (name, c) in layers]
        lines.append(("all", "", sum(c.nnz for c in self.rows), self.flops_computed, self.kv_bytes, self.kv_bytes_dense))
        head = ["layer", "pattern", "pairs", "forward", "KV cache", "all keys"]
        return head, [[i, name, amount(nnz), amount(flops, "FLOP"), *(amount(x, "B") for x in kv)] for i, name, nnz, flops, *kv in lines]


def cost_schedule(schedule, n, **asked):
    """Count what the layers of a model cost.

    Parameters
    ----------
    schedule : sequence of Pattern, PerHead or None
        One a layer; equal layers are counted once.
    n, **asked
        As for `cost`.

    Returns
    -------
    ScheduleCost

    Examples
    --------
    >>> import sparsevis as sv
    >>> model = sv.cost_schedule([sv.mistral(1024)] * 5 + [sv.Causal()], 8192, heads=4, kv_heads=1, dtype="float16")
    >>> [c.kv_bytes for c in model.rows], model.kv_bytes, model.kv_bytes_dense
    ([262144, 262144, 262144, 262144, 262144, 2097152], 3407872, 12582912)
    """
    layers = list(schedule)
    if not layers:
        raise ValueError("cost_schedule needs one layer or more")
    counted = {layer: cost(layer, n, **asked) for layer in dict.fromkeys(layers)}
    return ScheduleCost(tuple(repr(layer) if layer is not None else "dense" for layer in layers), tuple(counted[layer] for layer in layers))
