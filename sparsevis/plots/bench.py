"""A picture of a benchmark: how much longer others take than we do, case by case."""

import numpy as np
from matplotlib.ticker import FuncFormatter

from sparsevis.palette import INGREDIENT
from sparsevis.plots.style import canvas, settle, value_axes
from sparsevis.plots.words import heading, key, text_width

__all__ = ["bench"]

_COLOUR = {"flex": "global", "sdpa": "sink", "jax": "random", "numpy": "dense", "scipy": "dilated"}  # by the first word of the name
_OWN = {"cpu_plain", "loops", "reference"}


def bench(result, *, title=None, ax=None, theme=None, size=8.0):
    """Draw the time of each peer as a multiple of ours, on a logarithmic axis: a line a case, a dot a peer.

    Our own slower implementations are the small dots without names.

    Parameters
    ----------
    result : dict
        What `sparsevis.bench.measure` returned, or `sparsevis bench --json` wrote. For a slide choose some of its "cases".
    title, ax, theme, size
        As for `mask`.

    Returns
    -------
    Axes
        The dots are `ax.collections`, one a case, labelled with its name.

    Examples
    --------
    >>> import sparsevis as sv
    >>> rows = [{"peer": "cpu", "ratio": 1.0, "seconds": 0.02, "of_peak": 0.8}, {"peer": "numpy", "ratio": 9.0, "seconds": 0.18}]
    >>> machine = {"processor": "Some CPU", "threads": 2}
    >>> ax = sv.plots.bench({"machine": machine, "settings": {"rounds": 9}, "cases": [{"name": "causal", "rows": rows}]})
    >>> ax.collections[0].get_offsets().tolist()
    [[9.0, 0.0]]
    """
    cases = _timed(result)
    every = [row["ratio"] for rows in cases.values() for row in rows]
    with canvas(ax, theme, size, ratio=lambda look: (9 + 4.1 * len(cases)) * look.points("label") / 72 / size) as (ax, look):
        value_axes(ax, look, "times ours" if look.small else "time, as a multiple of ours (logarithmic)", "")
        ax.grid(visible=False, axis="y")
        ax.set_xscale("log")
        ax.set_xlim(min(every) / 1.25, 1.25 * max(*every, 1.2))
        ax.set_ylim(len(cases) - 0.45, -0.55)
        ax.xaxis.set_ticks(_ticks(*ax.get_xlim(), few=look.small), minor=False)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}x"))
        ax.axvline(1, color=INGREDIENT["window"], lw=2.4 * look.scale, zorder=2)
        for place, (name, (_, *others)) in enumerate(cases.items()):
            ratios, sizes = [row["ratio"] for row in others], [5.5 if row["peer"] in _OWN else 8.5 for row in others]
            ax.plot([1, max(ratios, default=1)], [place, place], color=look.grid, lw=1.6 * look.scale, zorder=1.5)
            ax.scatter(ratios, [place] * len(others), s=(np.array(sizes) * look.scale) ** 2, color=[_hue(row, look) for row in others],
                       lw=0, zorder=3, label=name, clip_on=False)  # fmt: skip
        if any(row["peer"] in _OWN for rows in cases.values() for row in rows):
            key(ax, look, [([INGREDIENT["window"]], "ours"), ([INGREDIENT["partial"]], "our slower ones")])
        _name_cases(ax, look, cases)
        look = settle(ax, look)
        if not look.small:
            for place, (_, *others) in enumerate(cases.values()):
                _name_dots(ax, look, place, sorted((row for row in others if row["peer"] not in _OWN), key=lambda row: row["ratio"]))
        machine = result["machine"]
        asked = [f"{machine['threads']} thread{'s' * (machine['threads'] > 1)}", f"medians of {result['settings']['rounds']} rounds"]
        heading(ax, look, "How much longer others take" if title is None else title, [machine["processor"], *asked])
    return ax


def _timed(result):
    """For each case in which something was timed: its rows, ours first."""
    if not isinstance(result, dict) or not {"cases", "machine", "settings"} <= set(result):
        raise TypeError(f"plots.bench needs what sparsevis.bench.measure returned, not {type(result).__name__} {result!r:.60}")
    cases = {case["name"]: [row for row in case["rows"] if row.get("ratio") is not None] for case in result["cases"]}
    cases = {name: rows for name, rows in cases.items() if rows}
    if not cases:
        raise ValueError("plots.bench: no case of this result has anything that was timed")
    return cases


def _ticks(low, high, few):
    """1, 2, 5, 10, ... or, of more than two decades, powers of ten alone."""
    steps = (1,) if few or high > 100 * low else (1, 2, 5)
    ticks = [step * 10.0**power for power in range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1) for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


def _name_cases(ax, look, cases):
    """On the left the name of a case and, under it, our time and the share of the most the processor can do."""
    ax.set_yticks(range(len(cases)), cases, fontsize=look.points("label"), color=look.ink, parse_math=False)
    if look.small:
        return
    for label, (place, (ours, *_)) in zip(ax.get_yticklabels(), enumerate(cases.values()), strict=True):
        label.set(va="bottom", fontweight="bold")
        told = _time(ours["seconds"]) + (f" · {100 * ours['of_peak']:.0f} % of peak" if ours.get("of_peak") else "")
        ax.annotate(told, (0, place), (-0.4 * look.points("tick"), 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                    va="top", ha="right", fontsize=look.points("numbers"), color=look.soft, annotation_clip=False, gid="ours")  # fmt: skip


def _name_dots(ax, look, place, rows):
    """Over each dot its name and under it the number, pushed apart where they would touch."""
    size, (left, right) = look.points("numbers"), np.log(ax.get_xlim())
    common = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "fontsize": size, "annotation_clip": False}
    if not rows:
        ax.annotate("no other took part", (-left / (right - left), place), (size, 0), va="center", color=look.soft, gid="none", **common)
        return
    told = [(row["peer"], _ratio(row["ratio"])) for row in rows]
    wide = 72 * ax.get_window_extent().width / ax.figure.dpi / (right - left)  # points for a factor e
    at = wide * (np.log([row["ratio"] for row in rows]) - left)
    widths = np.array([max(text_width(words, size) for words in pair) + 0.6 * size for pair in told])
    low = 0 if rows[0]["ratio"] < 1 else -wide * left + 0.2 * size  # off the line of ours
    for (name, ratio), row, x in zip(told, rows, _spread(at, widths, low, wide * (right - left)), strict=True):
        common |= {"xy": (x / wide / (right - left), place), "ha": "center", "color": look.word(_hue(row, look)), "parse_math": False}
        ax.annotate(name, xytext=(0, 0.6 * size), va="bottom", gid="peer", **common)
        ax.annotate(ratio, xytext=(0, -0.6 * size), va="top", gid="ratio", **common)


def _spread(at, widths, low, high):
    """Middles of labels of these widths, near `at` and in its order, without touching; from `low` to `high` as far as they fit.

    >>> _spread(np.array([10.0, 12.0, 50.0]), np.array([8.0, 8.0, 8.0]), 0, 60)
    array([ 7., 15., 50.])
    """
    gaps = (widths[1:] + widths[:-1]) / 2
    rightwards = _pushed(at, gaps, -np.inf)
    leftwards = -_pushed(-at[::-1], gaps[::-1], -np.inf)[::-1]
    middle = (rightwards + leftwards) / 2  # neighbours are far enough apart in both, and so in between
    middle = -_pushed(-middle[::-1], gaps[::-1], widths[-1] / 2 - high)[::-1]
    return _pushed(middle, gaps, low + widths[0] / 2)


def _pushed(at, gaps, low):
    """Return places moved up to the first that keeps its distance from the one before."""
    moved = [max(at[0], low)]
    for x, gap in zip(at[1:], gaps, strict=True):
        moved.append(max(x, moved[-1] + gap))
    return np.array(moved)


def _hue(row, look):
    name = row["peer"].split()[0]
    return INGREDIENT["partial"] if name in _OWN else INGREDIENT[_COLOUR[name]] if name in _COLOUR else look.soft


def _ratio(x):
    return f"{x:.2f}x" if x < 10 else f"{x:.1f}x" if x < 100 else f"{x:,.0f}x"


def _time(seconds):
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"
