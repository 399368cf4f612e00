"""Pictures of what patterns cost: counts and measured times against length, and the pairs that are needed beside those that tiles add."""

from collections.abc import Mapping

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from sparsevis.cost import Cost
from sparsevis.palette import INGREDIENT
from sparsevis.plots._curves import QUANTITY, lines_of, measured_of
from sparsevis.plots.style import canvas, settle, value_axes
from sparsevis.plots.words import apart, heading, key, percent, short, text_width

__all__ = ["cost", "cost_bars", "hues_of"]


def cost(result, *, quantity="flops", colours=None, title=None, ax=None, theme=None, size=8.0):
    """Draw how a cost grows with the length: a line a pattern, dense attention among them, both axes logarithmic.

    Measured numbers stand over what was counted: memory as points, time ("seconds") as points on a line beside a dashed one, the promise.
    A ring marks the length from which on a pattern costs less than dense attention.

    Parameters
    ----------
    result : CostCurve, Measurement, or dict of str to one of them or to a sequence of Cost
        Of two lengths or more.
    quantity : str
        "flops", "flops_computed", "flops_backward", "nnz", "computed", "bytes_tiled", "memory_tiled", "kv_bytes" of `Cost`; or "seconds"
        of a Measurement.
    colours : dict of str to str, optional
        The ingredient whose colour a line takes; one that its name mentions, or the next that is free, if left out.
    title, ax, theme, size
        As for `mask`.

    Returns
    -------
    Axes
        The lines are `ax.lines`, labelled with their names; what the patterns are held against comes first.

    Examples
    --------
    >>> import sparsevis as sv
    >>> ax = sv.plots.cost(sv.cost_curve(sv.mistral(256), (512, 1024, 2048), name="window"))
    >>> {line.get_label(): line.get_ydata().astype(int).tolist() for line in ax.lines}
    {'dense': [67108864, 268435456, 1073741824], 'window': [25198592, 58753024, 125861888]}
    """
    if quantity not in QUANTITY:
        raise ValueError(f"quantity is {quantity!r}, and needs to be one of {', '.join(QUANTITY)}")
    lines, first, last = lines_of(result, quantity)
    lengths = sorted({n for line in lines for n in line.n})
    if len(lengths) < 2:
        raise ValueError(f"a curve needs two lengths or more, and the costs are all of n = {lengths}; for one length use cost_bars")
    points = measured_of(result, quantity)
    hues = hues_of([line.name for line in lines if not line.of and not line.base], colours)
    hues |= {line.name: INGREDIENT["dense"] for line in lines if line.base}
    with canvas(ax, theme, size, ratio=lambda look: 0.95 if look.small else 0.64) as (ax, look):
        dots = {"marker": "o", "ms": 5.5 * look.scale, "mec": look.paper, "mew": look.scale}
        for line in lines:
            thin = line.of or (line.base and line.name != lines[0].name)
            style = {"lw": (1.4 if thin else 2.4) * look.scale, "ls": (0, (4, 2.5)) if line.of else "-", "dash_capstyle": "round"}
            style |= {"solid_capstyle": "round"} | (dots if line.marked else {})
            ax.plot(line.n, np.array(line.y, float), color=hues[line.of or line.name], label=line.name, clip_on=False, **style)
        for name, (n, y) in points.items():
            ax.plot(n, y, ls="", color=hues[name], label=f"{name}, measured", clip_on=False, **dots)
        _scales(ax, look, lengths, QUANTITY[quantity].word if look.small else QUANTITY[quantity].words, quantity == "seconds")
        _mark_crossings(ax, look, lines, hues)
        _name_ends(ax, look, [line for line in lines if not line.of], hues, lengths[-1])
        look = settle(ax, look)
        asked = f"{first.heads} head{'s' * (first.heads > 1)} of dimension {first.head_dim}"
        told = ["dashed: as the counts promise"] if any(line.of for line in lines) else ["points: measured"] if points else []
        gap = [f"{last.gap:.2f}x the promised time"] if quantity == "seconds" and last.gap == last.gap else []
        numbers = [f"n = {lengths[0]:,} to {lengths[-1]:,}", asked, *told, *gap]
        heading(ax, look, "What a longer text costs" if title is None else title, numbers)
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
    costs = _checked(rows if isinstance(rows, Mapping) else {r.name: r.cost for r in rows}, "cost_bars")
    costs = sorted(costs.items(), key=lambda item: (item[1].computed, item[1].nnz))
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
    for name, c in costs.items():
        if not isinstance(c, Cost):
            raise TypeError(f"plots.{function}: {name!r} holds {c!r:.60}, and needs what sparsevis.cost returned")
    return costs


def hues_of(names, given):
    """Return a colour for every name: of the ingredient asked for, or of one it mentions, else the next that is free."""
    chosen = dict(given or {})
    for name in names:
        mentioned = [i for i in INGREDIENT if i in name.lower() and i not in chosen.values()]
        if name not in chosen and mentioned:
            chosen[name] = mentioned[0]
    usual = ["window", "global", "random", "dilated", "sink", "partial"]
    free = [i for i in usual if i not in chosen.values()] + usual * len(names)
    return {name: INGREDIENT[chosen[name] if name in chosen else free.pop(0)] for name in names}


def _scales(ax, look, lengths, words, seconds):
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    value_axes(ax, look, "sequence length", words)
    step = len(lengths) - 1 if look.small else max(1, -(-(len(lengths) - 1) // 6))
    shown = lengths[::-step][::-1]  # counted from the end, where the names stand
    ax.set_xticks(shown, [_power(n) for n in shown])
    ax.set_xlim(lengths[0], lengths[-1])
    ax.yaxis.set_major_locator(LogLocator(numticks=4 if look.small else 8))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _duration(y) if seconds else short(y)))


def _crosses(line):
    return line.crossing is not None and line.n[0] < line.crossing <= line.n[-1]


def _mark_crossings(ax, look, lines, hues):
    """A ring where a line leaves what it is held against for good, and a hairline to the axis; the length stands at the line's end."""
    for line in filter(_crosses, lines):
        n, hue, scale = line.crossing, hues[line.name], look.scale
        y = np.exp(np.interp(np.log(n), np.log(line.n), np.log(np.maximum(np.array(line.y, float), 1e-300))))
        ax.vlines(n, 0, y, color=hue, lw=0.9 * scale, ls=(0, (1, 2)), zorder=1.5, label=f"{line.name}, crossing")
        ring = {"facecolor": look.paper, "edgecolor": hue, "lw": 1.8 * scale, "zorder": 4, "clip_on": False}
        ax.scatter([n], [y], s=(7.5 * scale) ** 2, label=f"{line.name}, crossing", **ring)


def _name_ends(ax, look, lines, hues, longest):
    """Write the names at the ends of the lines, pushed apart: how much less each costs than what it is held against, and from where on."""
    size = look.points("label")
    low, high = np.log(ax.get_ylim())
    height = 72 * ax.bbox.height / ax.figure.dpi
    lines = [line for line in lines if line.y[-1] > 0]
    at = (np.log([float(line.y[-1]) for line in lines]) - low) / (high - low) * height
    two = [_crosses(line) and not look.small for line in lines]
    rows = [(i, under) for i, second in enumerate(two) for under in ((True, False) if second else (False,))]  # a second just below its name
    moved = apart(np.array([at[i] + 1e-6 * i - 3e-7 * under for i, under in rows]), 1.35 * size, 0.5 * size, height - 0.5 * size)
    at = [place for (_, under), place in zip(rows, moved, strict=True) if not under]
    for line, place, second in zip(lines, at, two, strict=True):
        gap, hue, saved = 0.8 * size, look.word(hues[line.name]), line.less if line.less and not look.small else 1
        told = f"{_times(saved)}x {'faster' if line.marked else 'less'}" if saved > 1.05 else ""
        if line.n[-1] < longest:  # it ends before the others: led on to its name
            told += f" at {_power(line.n[-1])}" * bool(told)
            ax.hlines(line.y[-1], line.n[-1], longest, color=hues[line.name], lw=0.9 * look.scale, ls=(0, (1, 2)), zorder=1.5)
        common = {"xy": (1, place / height), "xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False,
                  "va": "center", "fontsize": size, "parse_math": False}  # fmt: skip
        ax.annotate(line.name, xytext=(gap, 0), color=hue, fontweight="bold", gid="end", **common)
        if second:
            ax.annotate(f"pays off from n = {line.crossing:,}", xytext=(gap, -1.25 * size), color=look.soft, gid="crossing", **common)
        gap += text_width(line.name, size, bold=True) + 0.5 * size
        ax.annotate(told, xytext=(gap, 0), color=look.soft, gid="saved", **common)


def _times(ratio):
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}"


def _duration(s):
    return f"{s:.3g} s" if s >= 1 else f"{1e3 * s:.3g} ms" if s >= 1e-3 else f"{1e6 * s:.3g} us"


def _power(n):
    """512, 4k, 1M: lengths are powers of two, and k is 1,024."""
    for power, name in ((1 << 20, "M"), (1 << 10, "k")):
        if n >= power and n % power == 0:
            return f"{n // power}{name}"
    return f"{n:,}"
