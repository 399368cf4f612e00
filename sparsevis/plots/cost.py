"""Pictures of what patterns cost: work against length, and the pairs that are needed beside those that tiles make a kernel compute."""

from collections.abc import Mapping

import numpy as np
from matplotlib.ticker import FuncFormatter

from sparsevis.cost import Cost
from sparsevis.palette import INGREDIENT
from sparsevis.plots.style import canvas, settle, value_axes
from sparsevis.plots.words import apart, heading, key, percent, short, text_width

__all__ = ["cost", "cost_bars"]

_QUANTITY = {  # what it is called, and the same for dense attention
    "flops": ("floating-point operations", "flops_dense"),
    "flops_computed": ("floating-point operations, of whole tiles", "flops_dense"),
    "nnz": ("pairs of queries and keys", "pairs"),
    "computed": ("pairs in the tiles", "pairs"),
    "bytes_tiled": ("bytes moved", "bytes_naive"),
    "memory_tiled": ("bytes beyond inputs and output", "memory_naive"),
}


def cost(curves, *, quantity="flops", colours=None, title=None, ax=None, theme=None, size=8.0):
    """Draw how a cost grows with the length: a line a pattern, dense attention among them, both axes logarithmic.

    Parameters
    ----------
    curves : dict of str to sequence of Cost
        What `sparsevis.cost` returned at two lengths or more, by name.
    quantity : {"flops", "flops_computed", "nnz", "computed", "bytes_tiled", "memory_tiled"}
        Which number of `Cost`.
    colours : dict of str to str, optional
        The ingredient whose colour a line takes; one that its name mentions, or the next that is free, if left out.
    title, ax, theme, size
        As for `mask`.

    Returns
    -------
    Axes
        The lines are `ax.lines`, labelled with their names; dense attention comes first.

    Examples
    --------
    >>> import sparsevis as sv
    >>> ax = sv.plots.cost({"window": [sv.cost(sv.mistral(256), n) for n in (512, 1024, 2048)]})
    >>> {line.get_label(): line.get_ydata().astype(int).tolist() for line in ax.lines}
    {'dense': [67108864, 268435456, 1073741824], 'window': [25198592, 58753024, 125861888]}
    """
    curves = {name: sorted(costs, key=lambda c: c.nk) for name, costs in _checked(curves, "cost").items()}
    if quantity not in _QUANTITY:
        raise ValueError(f"quantity is {quantity!r}, and needs to be one of {', '.join(_QUANTITY)}")
    words, of_dense = _QUANTITY[quantity]
    every = {c.nk: c for costs in curves.values() for c in costs}
    lengths = sorted(every)
    if len(lengths) < 2:
        raise ValueError(f"a curve needs two lengths or more, and the costs are all of n = {lengths}; for one length use cost_bars")
    lines = {} if "dense" in curves else {"dense": (lengths, [getattr(every[n], of_dense) for n in lengths])}
    lines |= {name: ([c.nk for c in costs], [getattr(c, quantity) for c in costs]) for name, costs in curves.items()}
    hues = _hues(lines, colours)
    with canvas(ax, theme, size, ratio=lambda look: 0.95 if look.small else 0.64) as (ax, look):
        for name, (n, y) in lines.items():
            ax.plot(n, np.array(y, float), color=hues[name], lw=2.4 * look.scale, solid_capstyle="round", label=name, clip_on=False)
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        value_axes(ax, look, "sequence length", quantity.partition("_")[0] if look.small else words)
        step = len(lengths) - 1 if look.small else max(1, (len(lengths) - 1) // 6)
        shown = lengths[::-step][::-1]  # counted from the end, where the names stand
        ax.set_xticks(shown, [_power(n) for n in shown])
        ax.set_xlim(lengths[0], lengths[-1])
        ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: short(y)))
        _name_ends(ax, look, lines, hues)
        look = settle(ax, look)
        first = every[lengths[0]]
        asked = f"{first.heads} head{'s' * (first.heads > 1)} of dimension {first.head_dim}"
        heading(ax, look, "What a longer text costs" if title is None else title, [f"n = {lengths[0]:,} to {lengths[-1]:,}", asked])
    return ax


def cost_bars(rows, *, log=False, title=None, ax=None, theme=None, size=8.0):
    """Draw for each pattern the pairs it needs (solid) and the others that tiles make a kernel compute (pale), the most on top.

    Parameters
    ----------
    rows : Comparison, sequence of its rows, or dict of str to Cost
        What to draw.
    log : bool
        Logarithmic axis, for patterns that are orders of magnitude apart: lengths of bars then show factors, not amounts.
    title, ax, theme, size
        As for `mask`.

    Returns
    -------
    Axes
        The bars are `ax.containers`, labelled "computed" and "needed".

    Examples
    --------
    >>> import sparsevis as sv
    >>> ax = sv.plots.cost_bars({"dense": sv.cost(None, 1024), "window": sv.cost(sv.mistral(256), 1024)})
    >>> {bars.get_label(): [int(bar.get_width()) for bar in bars] for bars in ax.containers}
    {'computed': [286720, 1048576], 'needed': [229504, 1048576]}
    """
    costs = _checked(rows if isinstance(rows, Mapping) else {r.name: [r.cost] for r in rows}, "cost_bars")
    costs = sorted(((name, c) for name, (c, *_) in costs.items()), key=lambda item: (item[1].computed, item[1].nnz))
    names, places = [name for name, _ in costs], np.arange(len(costs))
    with canvas(ax, theme, size, ratio=lambda look: (10 + 2 * len(costs)) * look.points("label") / 72 / size) as (ax, look):
        solid = [INGREDIENT["dense" if c.nnz == c.pairs else "window"] for _, c in costs]
        ax.barh(places, [c.computed for _, c in costs], height=0.62, color=look.pale, label="computed", lw=0)
        ax.barh(places, [c.nnz for _, c in costs], height=0.62, color=solid, label="needed", lw=0)
        value_axes(ax, look, "pairs of queries and keys", "")
        whole = max(c.pairs for _, c in costs)
        if log:
            ax.set_xscale("log")
            ax.set_xlim(10 ** np.floor(np.log10(min((c.nnz for _, c in costs if c.nnz), default=1)) - 0.5), whole)
        else:
            ax.set_xlim(0, max(whole, *(c.computed for _, c in costs)))  # tiles that hang over make more than all
            ax.set_xticks([0, whole] if look.small else [0, whole / 2, whole])
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short(x)))
        ax.grid(visible=False)
        ax.set_yticks(places, names, fontsize=look.points("label"), color=look.ink, parse_math=False)
        room = ax.bbox.height / ax.figure.dpi / (0.9 * look.scale)  # no bar thicker than about half an inch
        ax.set_ylim(len(costs) - 0.4 - max(len(costs) + 0.2, room), len(costs) - 0.4)
        for place, (_, c) in zip(places, costs, strict=True):
            told = percent(c.computed, c.pairs) + ("" if c.nnz == c.computed or look.small else f", needs {percent(c.nnz, c.pairs)}")
            ax.annotate(told, (c.computed, place), (0.5 * look.points("numbers"), 0), textcoords="offset points", va="center", ha="left",
                        fontsize=look.points("numbers"), color=look.soft, annotation_clip=False, gid="end")  # fmt: skip
        key(ax, look, [([INGREDIENT["window"]], "needed"), ([look.pale], "computed in vain")])
        look = settle(ax, look)
        c = costs[0][1]
        asked = [f"n = {c.nk:,}", f"{c.heads} head{'s' * (c.heads > 1)}", f"tiles of {c.block[0]} x {c.block[1]}"]
        heading(ax, look, "The pairs a kernel works through" if title is None else title, asked)
    return ax


def _checked(costs, function):
    if not isinstance(costs, Mapping) or not costs:
        raise TypeError(f"plots.{function} needs a dict of names to what sparsevis.cost returned, not {type(costs).__name__} {costs!r:.60}")
    costs = {name: [c] if isinstance(c, Cost) else list(c) for name, c in costs.items()}
    for name, some in costs.items():
        if not some or not all(isinstance(c, Cost) for c in some):
            raise TypeError(f"plots.{function}: {name!r} holds {some!r:.60}, and needs what sparsevis.cost returned")
    return costs


def _hues(names, given):
    """A colour for every name: of the ingredient asked for, or of one it mentions, else the next that is free."""
    chosen = dict(given or {})
    for name in names:
        mentioned = [i for i in INGREDIENT if i in name.lower() and i not in chosen.values()]
        if name not in chosen and mentioned:
            chosen[name] = mentioned[0]
    usual = ["window", "global", "random", "dilated", "sink", "partial"]
    free = [i for i in usual if i not in chosen.values()] + usual * len(names)
    return {name: INGREDIENT[chosen[name] if name in chosen else free.pop(0)] for name in names}


def _name_ends(ax, look, lines, hues):
    """Write the names at the ends of the lines, pushed apart, each with how much less it costs than dense attention."""
    size = look.points("label")
    low, high = np.log(ax.get_ylim())
    height = 72 * ax.bbox.height / ax.figure.dpi
    ends = {name: y[-1] for name, (_, y) in lines.items() if y[-1] > 0}
    places = apart((np.log(list(ends.values())) - low) / (high - low) * height, 1.45 * size, 0.5 * size, height - 0.5 * size)
    top = ends.get("dense", 0)
    for (name, end), place in zip(ends.items(), places, strict=True):
        gap, told = 0.8 * size, f"{_times(top / end)}x less" if top > 1.05 * end and not look.small else ""
        common = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False, "va": "center", "fontsize": size}
        hue = look.word(hues[name])
        ax.annotate(name, (1, place / height), (gap, 0), color=hue, fontweight="bold", gid="end", parse_math=False, **common)
        gap += text_width(name, size, bold=True) + 0.5 * size
        ax.annotate(told, (1, place / height), (gap, 0), color=look.soft, gid="saved", **common)


def _times(ratio):
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}"


def _power(n):
    """512, 4k, 1M: lengths are powers of two, and k is 1,024."""
    for power, name in ((1 << 20, "M"), (1 << 10, "k")):
        if n >= power and n % power == 0:
            return f"{n // power}{name}"
    return f"{n:,}"
