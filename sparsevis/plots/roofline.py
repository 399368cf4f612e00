"""Measured calls under the two roofs of the machine: what memory allows, slanting, and what arithmetic allows, flat."""

from collections.abc import Mapping

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from sparsevis.plots.cost import hues_of
from sparsevis.plots.style import canvas, settle, value_axes
from sparsevis.plots.words import apart, heading, short
from sparsevis.tabular import amount

__all__ = ["roofline"]


def roofline(result, *, colours=None, title=None, ax=None, theme=None, size=8.0):
    """Draw how near measured calls come to the most that the machine can do at their flops a byte; both axes logarithmic.

    Flops are those of whole tiles, bytes those that a tiled kernel moves between memory and a cache that holds one tile: caches that hold
    more let a kernel rise above the slanting roof. A hairline marks the flops a byte of the naive method.

    Parameters
    ----------
    result : Measurement, or dict of str to Measurement
        Measured with `roof=True`; the first one's roofline is drawn.
    colours, title, ax, theme, size
        As for `plots.cost`.

    Returns
    -------
    Axes
        `ax.lines` are labelled "roof", "naive", "dense", and with the names; the points of a name are its lengths, rising.

    Examples
    --------
    >>> import sparsevis as sv
    >>> roof = sv.Roofline(flops=2e11, bandwidth=2e10, threads=2, dtype="float32")
    >>> measured = sv.measure(sv.mistral(16), [64], impl="loops", heads=1, rounds=1, dense=False, roof=roof)
    >>> [line.get_label() for line in sv.plots.roofline({"window": measured}).lines]
    ['roof', 'naive', 'window']
    """
    measured = _checked(result)
    roof = next(iter(measured.values())).roofline
    first = next(iter(measured.values())).rows[0]
    points = {name: [(r.cost.intensity, r.rate) for r in m.rows] for name, m in measured.items()}
    timed = {r.n: r for m in measured.values() for r in m.rows if r.dense_seconds > 0}
    dense = [(r.dense_cost.intensity, r.dense_cost.flops_computed / r.dense_seconds) for _, r in sorted(timed.items())]
    points = ({"dense": dense} if dense and "dense" not in points else {}) | points
    hues = hues_of(points, colours)
    naive = first.dense_cost.intensity_naive
    every = np.array([xy for some in points.values() for xy in some])
    left, right = min(roof.ridge, naive, every[:, 0].min()) / 6, max(roof.ridge, every[:, 0].max()) * 5
    with canvas(ax, theme, size, ratio=lambda look: 0.95 if look.small else 0.64) as (ax, look):
        x = np.array([left, roof.ridge, right])
        ax.plot(x, roof.at(x), color=look.ink, lw=2 * look.scale, label="roof", solid_joinstyle="round", zorder=2)
        ax.set_xscale("log")
        ax.set_yscale("log")
        value_axes(ax, look, "flops a byte" if look.small else "floating-point operations for each byte moved",
                   "flops" if look.small else "floating-point operations a second")  # fmt: skip
        low, high = min(roof.at(left), every[:, 1].min() / 1.6), max(roof.flops, every[:, 1].max()) * 1.9
        ax.set(xlim=(left, right), ylim=(low, high))
        ax.plot([naive, naive], [low, roof.at(naive)], color=look.soft, lw=1.2 * look.scale, ls=(0, (1, 2)), label="naive", zorder=1.5)
        for name, some in points.items():
            ax.plot(*zip(*some, strict=True), "o-", color=hues[name], ms=6.5 * look.scale, lw=1.2 * look.scale, mec=look.paper,
                    mew=look.scale, label=name, zorder=3)  # fmt: skip
        _scales(ax, look)
        if not look.small:
            _write(ax, look, roof, naive)
        _name(ax, look, points, hues, roof)
        look = settle(ax, look)
        lengths = sorted({r.n for m in measured.values() for r in m.rows})
        span = f"n = {lengths[0]:,}" + (f" to {lengths[-1]:,}" if len(lengths) > 1 else "")
        gaps = [f"{name}: {m.roof_gap:.2f}x the time of the roof" if len(measured) > 1 else f"{m.roof_gap:.2f}x the time of the roof"
                for name, m in measured.items()]  # fmt: skip
        numbers = [span, f"{first.cost.heads} head{'s' * (first.cost.heads > 1)} of dimension {first.cost.head_dim}", *gaps]
        heading(ax, look, "How near to what the machine can do" if title is None else title, numbers)
    return ax


def _scales(ax, look):
    """Few ticks: powers of ten, or 1, 2 and 5 of each where there are less than two of them."""
    for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        axis.set_major_locator(LogLocator(subs=(1.0,) if high > 100 * low else (1.0, 2.0, 5.0), numticks=4 if look.small else 8))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda y, _: short(y)))


def _write(ax, look, roof, naive):
    """What the roofs are, in the row above the flat one, and the naive method's mark."""
    size = look.points("numbers")
    common = {"textcoords": "offset points", "fontsize": size, "color": look.soft, "gid": "roof"}
    over = {"va": "bottom", "xycoords": ("axes fraction", "data"), **common}
    ax.annotate(f"memory: {amount(roof.bandwidth, 'B/s')}", (0, roof.flops), (0.3 * size, 0.5 * size), ha="left", **over)
    ax.annotate(f"arithmetic: {amount(roof.flops, 'FLOP/s')}", (1, roof.flops), (-0.3 * size, 0.5 * size), ha="right", **over)
    ax.annotate("naive method", (naive, ax.get_ylim()[0]), (-0.5 * size, 0.5 * size), ha="right", va="bottom", **common)


def _name(ax, look, points, hues, roof):
    """The names right of all points, as high as their longest texts, each with how much of the roof that reaches."""
    size, right = look.points("label"), max(x for some in points.values() for x, _ in some)
    low, high = np.log(ax.get_ylim())
    height = 72 * ax.bbox.height / ax.figure.dpi
    ends = {name: some[-1] for name, some in points.items()}
    at = (np.log([y for _, y in ends.values()]) - low) / (high - low) * height
    flat = (np.log(roof.flops) - low) / (high - low) * height
    for (name, (x, y)), place in zip(ends.items(), apart(at, 1.6 * size, 0.6 * size, flat - 0.9 * size), strict=True):
        told = name if look.small else f"{name}  {100 * y / roof.at(x):.0f} %"
        ax.annotate(told, (right, place / height), (1.2 * size, 0), xycoords=("data", "axes fraction"), textcoords="offset points",
                    color=look.word(hues[name]), fontweight="bold", va="center", ha="left", fontsize=size, gid="end",
                    annotation_clip=False, parse_math=False)  # fmt: skip


def _checked(result):
    measured = result if isinstance(result, Mapping) else {getattr(result, "name", "?"): result}
    for name, m in measured.items():
        if not hasattr(m, "roof_gap"):
            raise TypeError(f"plots.roofline needs what sparsevis.measure returned, or a dict of names to that; {name!r} is {m!r:.60}")
        if m.roofline is None or not m.rows:
            raise ValueError(f"plots.roofline: {name!r} has no roofline or no measured length: measure(..., roof=True)")
    if not measured:
        raise ValueError("plots.roofline: there is nothing to draw")
    return measured
