"""Sparse beside dense on real tensors: what each pattern costs, what it drops, and how far its output moves.

The attention mass a pattern keeps is exact and needs no n x n matrix: the dense probabilities inside the pattern sum to
exp(lse_sparse - lse_dense), query by query.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from sparsevis.attention import attention
from sparsevis.cost import Cost, cost
from sparsevis.inputs import check_inputs, layout_for
from sparsevis.pattern import Pattern
from sparsevis.per_head import PerHead
from sparsevis.tabular import Tabular

__all__ = ["Comparison", "Row", "compare"]


@dataclass(frozen=True, eq=False)
class Row:
    """One pattern's line.

    Attributes
    ----------
    name, pattern, cost
        What was compared.
    error : float
        Largest absolute difference of the output from dense attention.
    relative_error : float
        Norm of the difference over the norm of the dense output.
    mass : ndarray
        Share of the dense attention that falls inside the pattern, for each query of each head: (..., heads, nq).
    seconds : float
        Median time of the call, layout excluded; nan where timing was not asked for.
    """

    name: str
    pattern: Pattern | PerHead | None
    cost: Cost
    error: float
    relative_error: float
    mass: np.ndarray
    seconds: float

    @property
    def mass_kept(self):
        """Mean of `mass`."""
        return float(self.mass.mean()) if self.mass.size else 1.0

    @property
    def mass_by_head(self):
        """Mean of `mass` over queries, and over batches: (heads,); without a head axis there is one."""
        return self.mass_of_queries.mean(1)

    @property
    def mass_of_queries(self):
        """Mean of `mass` over batches: (heads, nq)."""
        mass = np.asarray(self.mass, np.float64)
        return mass.reshape(-1, *np.atleast_2d(mass).shape[-2:]).mean(0)


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Tabular):
    """Rows, dense attention first; prints as a table, shows as HTML, exports as dicts."""

    rows: tuple[Row, ...]

    def __getitem__(self, name):
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"no row {name!r}; there are {', '.join(r.name for r in self.rows)}")

    def __iter__(self):
        return iter(self.rows)

    def __len__(self):
        return len(self.rows)

    def to_dicts(self):
        """Return plain rows: one dict a pattern, ready for csv, json or a data frame."""
        dense = self.rows[0].seconds
        return [
            {
                "name": r.name, "nnz": r.cost.nnz, "density": r.cost.density, "keys_per_query": r.cost.keys_per_query,
                "block_tax": r.cost.block_tax, "mass_kept": r.mass_kept, "error": r.error, "relative_error": r.relative_error,
                "seconds": r.seconds, "speedup": dense / r.seconds,
            }
            for r in self.rows
        ]  # fmt: skip

    def _cells(self):
        head = ["pattern", "pairs", "density", "block tax", "mass kept", "error", "relative", "time", "dense / sparse"]
        return head, [
            [d["name"], f"{d['nnz']:,}", f"{100 * d['density']:.1f} %", f"{d['block_tax']:.2f}", f"{100 * d['mass_kept']:.1f} %",
             f"{d['error']:.2g}", f"{100 * d['relative_error']:.1f} %", *_time(d)]
            for d in self.to_dicts()
        ]  # fmt: skip


def compare(q, k, v, patterns, *, scale=None, offset=None, impl="cpu", block=64, repeats=3):
    """Run dense attention and several patterns on the same tensors and say what each keeps, costs and changes.

    Parameters
    ----------
    q, k, v : array_like
        As for `attention`.
    patterns : dict of str to Pattern or PerHead
        What to compare, by name; dense attention comes first by itself.
    scale, offset, impl
        As for `attention`.
    block : int or (int, int)
        Tile of the layouts.
    repeats : int
        Timed calls after one that is not timed; 0 for no timing. Times are medians, interleaved over the patterns.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        As for `attention`.

    Examples
    --------
    >>> import sparsevis as sv
    >>> q, k, v = np.random.default_rng(0).standard_normal((3, 1, 64, 8))
    >>> result = sv.compare(q, k, v, {"half": sv.Causal()}, impl="loops", repeats=0)
    >>> result["half"].cost.nnz, 0.4 < result["half"].mass_kept < 0.6
    (2080, True)
    """
    if not isinstance(patterns, Mapping):
        raise TypeError(f"patterns is a {type(patterns).__name__}, and needs to be a dict such as {{'window': SlidingWindow(255)}}")
    if "dense" in patterns:
        raise ValueError("patterns has the name 'dense', which is kept for what everything is measured against: take another")
    q, k, v = check_inputs(q, k, v)
    heads, nq, nk = q.shape[-3] if q.ndim > 2 else 1, q.shape[-2], k.shape[-2]
    kv_heads, batch = k.shape[-3] if k.ndim > 2 else 1, int(np.prod(q.shape[:-3]))
    named = {"dense": None, **patterns}
    layouts = {name: layout_for(p, heads, nq, nk, offset, block) for name, p in named.items()}
    calls = {name: lambda x=x: attention(q, k, v, x, scale=scale, impl=impl, return_lse=True) for name, x in layouts.items()}
    outputs = {name: call() for name, call in calls.items()}
    seconds = _interleaved(calls, repeats)
    o_dense, lse_dense = (x.astype(np.float64) for x in outputs["dense"])
    norm = np.linalg.norm(o_dense)
    rows = []
    for name, (o, lse) in outputs.items():
        off = o.astype(np.float64) - o_dense
        counted = cost(
            layouts[name], (nq, nk), head_dim=q.shape[-1], value_dim=v.shape[-1],
            heads=heads, kv_heads=kv_heads, batch=batch, dtype=q.dtype,
        )  # fmt: skip
        mass = np.exp(np.minimum(lse - lse_dense, 0))  # rounding must not keep more than there is
        largest = float(np.max(np.abs(off), initial=0))
        rows.append(Row(name, named[name], counted, largest, float(np.linalg.norm(off) / norm) if norm else 0.0, mass, seconds[name]))
    return Comparison(tuple(rows))


def _interleaved(calls, repeats):
    """Median seconds of each call, all called in turn so that a busy machine slows all alike."""
    times = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = perf_counter()
            call()
            times[name].append(perf_counter() - start)
    return {name: float(np.median(t)) if t else float("nan") for name, t in times.items()}


def _time(d):
    return ("", "") if np.isnan(d["seconds"]) else (f"{1e3 * d['seconds']:.1f} ms", f"{d['speedup']:.2f}x")
