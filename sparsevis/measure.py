"""Time and memory of real calls on this machine, beside what the counts promise.

    promise   a pattern that computes a tenth of the pairs takes a tenth of the time of dense attention, on the same kernel
    roof      no call is faster than the machine multiplies and adds, nor than it moves bytes (see `roofline`)

The gap is a number: how many times longer a call takes than was promised, or than the roof allows.
"""

from dataclasses import dataclass
from math import exp, log, nan
from operator import index
from statistics import median
from time import perf_counter

import numpy as np

from sparsevis.attention import attention
from sparsevis.bench.clock import grown, interleaved
from sparsevis.cost import Cost, cost
from sparsevis.cost_curve import family_of, name_of
from sparsevis.layout import Layout
from sparsevis.patterns import Dense
from sparsevis.roofline import Roofline, roofline
from sparsevis.sift import MEMORY_LIMIT
from sparsevis.tabular import Tabular, amount, seconds_of

__all__ = ["Measured", "Measurement", "measure"]


@dataclass(frozen=True)
class Measured:
    """One length.

    Attributes
    ----------
    n : int
    cost, dense_cost : Cost
        Of the pattern, and of dense attention.
    seconds, dense_seconds : float
        Median times of one call, the layout built before; nan for what the time budget left out.
    memory : int or None
        Bytes that layout and call took at their highest, result excluded; None where the system does not tell.
    promised : float
        Seconds that the pattern would take if time were as the computed pairs: of dense attention's time, as measured.
    roof : float
        Seconds below which no call can be on this machine; nan where no roofline was asked for.
    """

    n: int
    cost: Cost
    dense_cost: Cost
    seconds: float
    dense_seconds: float
    memory: int | None
    roof: float = nan

    @property
    def promised(self):
        """See above."""
        return self.dense_seconds * self.cost.computed / self.dense_cost.computed

    @property
    def speedup(self):
        """How many times faster than dense attention."""
        return self.dense_seconds / self.seconds

    @property
    def gap(self):
        """Measured seconds over promised ones: 1 keeps the promise, 2 takes twice as long."""
        return self.seconds / self.promised if self.promised else nan

    @property
    def roof_gap(self):
        """Measured seconds over those of the roof."""
        return self.seconds / self.roof

    @property
    def rate(self):
        """Computed flops a second."""
        return self.cost.flops_computed / self.seconds


@dataclass(frozen=True, repr=False)
class Measurement(Tabular):
    """Measured times beside what the counts promise; prints as a table that ends with the gap.

    Attributes
    ----------
    name, impl : str
    rows : tuple of Measured
        One a length, rising.
    roofline : Roofline or None
    skipped : dict of int to str
        Lengths that were not measured, and why.
    """

    name: str
    impl: str
    rows: tuple[Measured, ...]
    roofline: Roofline | None
    skipped: dict[int, str]

    def __hash__(self):
        return hash((self.name, self.impl, self.rows))

    @property
    def gap(self):
        """Geometric mean of the rows' gaps to the promise; nan where dense attention was not timed."""
        return _mean(r.gap for r in self.rows)

    @property
    def roof_gap(self):
        """Geometric mean of the rows' gaps to the roof; nan where it is not known."""
        return _mean(r.roof_gap for r in self.rows)

    @property
    def crossover(self):
        """The length from which on the pattern is faster than dense attention, between two measured ones on logarithmic axes.

        The first measured length if it always is; None if it is not at the last.
        """
        timed = [(r.n, r.speedup) for r in self.rows if r.speedup == r.speedup]
        slower = [i for i, (_, s) in enumerate(timed) if s <= 1]
        if not timed or timed[-1][1] <= 1:
            return None
        if not slower:
            return timed[0][0]
        (a, s), (b, t) = timed[slower[-1] : slower[-1] + 2]
        return round(exp(log(a) + (log(b) - log(a)) * log(s) / (log(s) - log(t))))

    def to_dicts(self):
        """Return plain rows: one dict a length, costs among them."""
        told = ("seconds", "dense_seconds", "promised", "speedup", "gap", "memory", "roof", "roof_gap", "rate")
        return [{"name": self.name, "impl": self.impl, "n": r.n} | {x: getattr(r, x) for x in told} | r.cost.row() for r in self.rows]

    def _heading(self):
        return f"{self.name}, impl={self.impl!r}"

    def _cells(self):
        head = ["n", "time", "promised", "gap", "dense", "speedup", "memory", "layout", "rate"] + ["roof", "gap"] * bool(self.roofline)
        return head, [
            [f"{r.n:,}", seconds_of(r.seconds), seconds_of(r.promised), _times(r.gap), seconds_of(r.dense_seconds), _times(r.speedup),
             amount(r.memory, "B"), amount(r.cost.memory_tiled, "B"), amount(r.rate, "FLOP/s"),
             *([seconds_of(r.roof), _times(r.roof_gap)] if self.roofline else [])]
            for r in self.rows
        ]  # fmt: skip

    def _notes(self):
        said = [f"{self.gap:.2f} times the time that the computed pairs promise"] if self.gap == self.gap else []
        if self.roofline:
            roof = self.roofline
            rates = f"{amount(roof.flops, 'FLOP/s')} and {amount(roof.bandwidth, 'B/s')} on {roof.threads} threads"
            said.append(f"{self.roof_gap:.2f} times the time of the roof, {rates}")
        return [*said, *(f"n = {n:,} skipped: {why}" for n, why in self.skipped.items())]


def measure(pattern, ns, *, impl="cpu", head_dim=64, value_dim=None, heads=8, kv_heads=None, batch=1, dtype=np.float32, block=64,
            rounds=5, budget=20.0, dense=True, roof=False, name=None, seed=0):  # fmt: skip
    """Time attention over a pattern at several lengths on this machine, and hold it against what `cost` promises.

    After a warm-up that compiles, each length is built, weighed and called `rounds` times, in turn with dense attention on the same kernel,
    so that a busy machine slows both alike.

    Parameters
    ----------
    pattern : Pattern, PerHead, None or function of n
        As for `cost_curve`.
    ns : iterable of int
        Lengths.
    impl : str
        As for `attention`.
    head_dim, value_dim, heads, kv_heads, batch, dtype, block
        As for `cost`.
    rounds : int
        Timed calls; the time is their median.
    budget : float
        Seconds for everything but the warm-up and the roofline. A length that would pass it is skipped, dense attention first; what a
        call will take is reckoned from the length before.
    dense : bool
        Time dense attention too; without it there is no promise.
    roof : bool or Roofline
        Measure the machine's roofline first, or take one.
    name : str, optional
        The pattern as code if left out.
    seed : int
        Of the random inputs.

    Returns
    -------
    Measurement

    Examples
    --------
    >>> import sparsevis as sv
    >>> result = sv.measure(sv.mistral(16), [64, 128], impl="loops", heads=1, head_dim=8, rounds=1)
    >>> [(r.n, r.cost.nnz, r.seconds > 0) for r in result.rows]
    [(64, 904, True), (128, 1928, True)]
    """
    from tqdm import tqdm

    lengths = sorted({index(n) for n in ns})
    if not lengths or lengths[0] < 1 or rounds < 1 or not budget > 0:
        raise ValueError(f"measure: ns={lengths}, rounds={rounds}, budget={budget}: needs lengths >= 1, a round or more, and a budget > 0")
    at, asked = family_of(pattern), {"head_dim": head_dim, "value_dim": value_dim, "kv_heads": kv_heads, "batch": batch, "dtype": dtype}
    sizes = (batch, heads, kv_heads or heads, head_dim, head_dim if value_dim is None else value_dim)
    tensors = lambda n: _inputs(n, sizes, dtype, seed)  # noqa: E731
    _call(at(lengths[0]), tensors(lengths[0]), impl, block)()  # compiles
    if roof is True:
        roof = roofline(dtype)
    rows, skipped, start, last = [], {}, perf_counter(), None
    with tqdm(lengths, unit="length", disable=None, leave=False) as bar:
        for n in bar:
            costs = tuple(cost(p, n, heads=heads, block=block, **asked) for p in (at(n), None))
            left = budget - (perf_counter() - start)
            need = [0.0, 0.0] if last is None else [(rounds + 1) * rate * c.computed for rate, c in zip(last, costs, strict=True)]
            if need[0] > left:
                skipped[n] = f"it would take about {seconds_of(need[0])}, and {seconds_of(max(left, 0.0))} of the budget are left"
                continue
            if impl == "reference" and costs[0].memory_naive * 8 // costs[0].itemsize > MEMORY_LIMIT:
                skipped[n] = "the reference's n x n scores are over the limit of 4 GiB"
                continue
            both = dense and sum(need) <= left and (last is None or last[1] == last[1])
            bar.set_postfix_str(f"n = {n:,}")
            seconds, memory = _timed(at(n), tensors(n), impl, block, both, rounds)
            limit = roof.seconds(costs[0].flops_computed, costs[0].bytes_tiled) if roof else nan
            rows.append(Measured(n, *costs, *seconds, memory, limit))
            last = [s / c.computed if c.computed else 0.0 for s, c in zip(seconds, costs, strict=True)]
    return Measurement(name or name_of(pattern), impl, tuple(rows), roof or None, skipped)


def _inputs(n, sizes, dtype, seed):
    (batch, heads, kv_heads, d, dv), rng = sizes, np.random.default_rng(seed)
    return [rng.standard_normal((batch, h, n, width), np.float32).astype(dtype) for h, width in ((heads, d), (kv_heads, d), (kv_heads, dv))]


def _call(pattern, qkv, impl, block):
    """A call without arguments; its layout is built here, not there."""
    layout = Layout.of(Dense() if pattern is None else pattern, qkv[0].shape[-2], block)
    return lambda: attention(*qkv, layout, impl=impl, return_lse=True)


def _timed(pattern, qkv, impl, block, both, rounds):
    """(seconds of the pattern, of dense attention), and bytes of the former."""
    call, _, built = grown(lambda: _call(pattern, qkv, impl, block))
    result, _, more = grown(call)
    memory = None if more is None else built + max(0, more - sum(x.nbytes for x in result))
    calls = {"sparse": call} | ({"dense": _call(None, qkv, impl, block)} if both else {})
    if both:
        calls["dense"]()
    times = interleaved(calls, rounds)
    return [median(wall for wall, _ in times[name]) if name in times else nan for name in ("sparse", "dense")], memory


def _mean(numbers):
    """The geometric mean of those that are numbers."""
    known = [log(x) for x in numbers if x == x and x > 0]
    return exp(sum(known) / len(known)) if known else nan


def _times(ratio):
    return "-" if ratio != ratio else f"{ratio:.2f}x"
