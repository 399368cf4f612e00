"""What `plots.cost` draws: results of any kind read as lines and points. No picture is made here."""

from collections.abc import Mapping
from typing import NamedTuple

from sparsevis.cost import Cost
from sparsevis.cost_curve import CROSSED, CostCurve

__all__ = ["QUANTITY", "Line", "lines_of", "measured_of"]


class Quantity(NamedTuple):
    """A number of `Cost` in words, in a word, and the lines it is drawn beside: (name, number of Cost), that which factors mean last."""

    words: str
    word: str
    beside: tuple = ()


class Line(NamedTuple):
    """A line to draw.

    Attributes
    ----------
    name : str
    n, y : list
    less : float or None
        How many times less than what it is held against at its last length.
    crossing : int or None
        From where on it is less.
    marked : bool
        Measured, and drawn with a point at each length.
    of : str or None
        The line whose promise this is.
    base : bool
        Whether others are held against it.
    """

    name: str
    n: list
    y: list
    less: float | None = None
    crossing: int | None = None
    marked: bool = False
    of: str | None = None
    base: bool = False


QUANTITY = {
    "flops": Quantity("floating-point operations", "flops", (("dense", "flops_dense"),)),
    "flops_computed": Quantity("floating-point operations, of whole tiles", "flops", (("dense", "flops_dense"),)),
    "flops_backward": Quantity("floating-point operations, backward", "flops", (("dense", "flops_backward_dense"),)),
    "nnz": Quantity("pairs of queries and keys", "pairs", (("dense", "pairs"),)),
    "computed": Quantity("pairs in the tiles", "pairs", (("dense", "pairs"),)),
    "bytes_tiled": Quantity("bytes moved", "bytes", (("dense, naive", "bytes_naive"), ("dense, tiled", "bytes_dense"))),
    "memory_tiled": Quantity("bytes beyond inputs and output", "bytes", (("dense, naive", "memory_naive"),)),
    "kv_bytes": Quantity("bytes of cached keys and values", "bytes", (("dense", "kv_bytes_dense"),)),
    "seconds": Quantity("time of a call", "time"),
}


def lines_of(result, quantity):
    """Return (lines, a Cost that says what was asked about, the last result); what patterns are held against comes first."""
    results = _named(result)
    if quantity == "seconds":
        return _times(results)
    costs = {name: _costs(r) for name, r in results.items()}
    every, (*_, last) = {c.nk: c for some in costs.values() for c in some}, results.values()
    beside, lines = {}, []
    for name, at in QUANTITY[quantity].beside if "dense" not in costs else ():
        beside[name] = {n: getattr(every[n], at) for n in sorted(every)}
    for r in results.values():  # a curve may be held against something else than dense attention
        if isinstance(r, CostCurve) and r.against != "dense" and quantity != "memory_tiled":
            beside.setdefault(r.against, {}).update({c.nk: getattr(c, quantity) for c in r.dense})
    for name, some in costs.items():
        n, y = [c.nk for c in some], [getattr(c, quantity) for c in some]
        if any(x is None for x in y):
            n, y = zip(*([(a, b) for a, b in zip(n, y, strict=True) if b is not None] or [(n[0], 0)]), strict=True)
        curve = results[name] if isinstance(results[name], CostCurve) else None
        held = beside.get(curve.against if curve is not None and curve.against in beside else next(reversed(beside), None), {})
        less = held[n[-1]] / y[-1] if y[-1] and n[-1] in held else None
        crossing = curve.crossovers.get(quantity) if curve is not None and quantity in CROSSED else None
        lines.append(Line(name, list(n), list(y), less, crossing))
    same = [dict(zip(line.n, line.y, strict=True)) for line in lines]  # dense attention under another name needs no second line
    drawn = [Line(name, list(y), list(y.values()), base=True) for name, y in beside.items() if name not in costs and y not in same]
    return drawn + lines, every[min(every)], last


def measured_of(result, quantity):
    """Return {name: (lengths, values)} of what was measured and is drawn as points over the lines."""
    if quantity != "memory_tiled":
        return {}
    rows = {name: [(m.n, m.memory) for m in r.rows if m.memory] for name, r in _named(result).items() if _is_measurement(r)}
    return {name: tuple(zip(*some, strict=True)) for name, some in rows.items() if some}


def _times(results):
    """Measured seconds, dense attention's first, each with its promise."""
    for name, r in results.items():
        if not _is_measurement(r) or not r.rows:
            raise TypeError(f"plots.cost: {name!r} has no measured seconds: quantity='seconds' needs what sparsevis.measure returned")
    dense = {m.n: m.dense_seconds for r in results.values() for m in r.rows if m.dense_seconds == m.dense_seconds}
    lines = [Line("dense", sorted(dense), [dense[n] for n in sorted(dense)], marked=True, base=True)] if dense else []
    for name, r in results.items():
        promised = [(m.n, m.promised) for m in r.rows if m.promised == m.promised]
        if promised:
            lines.append(Line(f"{name}, promised", *map(list, zip(*promised, strict=True)), of=name))
        faster = r.rows[-1].speedup if r.rows[-1].speedup > 0 else None
        lines.append(Line(name, [m.n for m in r.rows], [m.seconds for m in r.rows], faster, r.crossover, marked=True))
    return lines, r.rows[0].cost, r


def _named(result):
    if isinstance(result, CostCurve) or _is_measurement(result):
        return {result.name: result}
    if not isinstance(result, Mapping) or not result:
        what = f"{type(result).__name__} {result!r:.60}"
        raise TypeError(f"plots.cost needs a CostCurve, a Measurement, or a dict of names to those or to costs, not {what}")
    return result


def _costs(result):
    """The costs of a result, by rising length."""
    if _is_measurement(result):
        result = [m.cost for m in result.rows]
    some = [result] if isinstance(result, Cost) else list(result.rows if isinstance(result, CostCurve) else result)
    if not some or not all(isinstance(c, Cost) for c in some):
        raise TypeError(f"plots.cost: {result!r:.60} is no CostCurve, no Measurement and no sequence of what sparsevis.cost returned")
    return sorted(some, key=lambda c: c.nk)


def _is_measurement(result):
    """By what it has: this room does not know kernels, and so not `measure` either."""
    return hasattr(result, "crossover") and hasattr(result, "gap")
