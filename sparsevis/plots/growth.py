"""The picture of growing receptive fields: how many keys have been seen after each layer, pattern by pattern, and what was published.

Points are counted, exactly. A closed form that is known stands at the end of its line; a published claim is a dashed line of its own where
it says something else.
"""

from collections.abc import Mapping

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from sparsevis.plots.cost import hues_of
from sparsevis.plots.hops import checked_field
from sparsevis.plots.style import canvas, settle, value_axes
from sparsevis.plots.words import apart, heading, short, text_width

__all__ = ["growth"]


def growth(result, *, log=None, colours=None, title=None, ax=None, theme=None, size=8.0):
    """Draw how many keys a query has seen after each layer: a line a pattern.

    Parameters
    ----------
    result : ReceptiveField or dict of str to ReceptiveField
        Of one query each; of all queries, the mean is drawn, and a band from the least to the most.
    log : bool, optional
        Logarithmic numbers of keys; left out, where the patterns end more than a factor of 30 apart.
    colours : dict of str to str, optional
        The ingredient whose colour a line takes; one that its name mentions, or the next that is free, if left out.
    title, ax, theme, size
        As for `mask`.

    Returns
    -------
    Axes
        The lines are `ax.lines`, labelled with their names, published claims with "name, published".

    Examples
    --------
    >>> import sparsevis as sv
    >>> ax = sv.plots.growth({"window": sv.receptive_field(sv.mistral(4), 100, query=-1, layers=3)})
    >>> {line.get_label(): line.get_ydata().tolist() for line in ax.lines}
    {'window': [1.0, 4.0, 7.0, 10.0], 'window, published': [4, 8, 12]}
    """
    fields = _named(result)
    hues = hues_of(fields, colours)
    most = max(len(f.sizes) for f in fields.values())
    means = {name: np.append(1.0, f.sizes.reshape(len(f.sizes), -1).mean(1)) for name, f in fields.items()}
    claims = {name: claim for name, f in fields.items() if (claim := _claim(f)) is not None}
    tops = [*(y[-1] for y in means.values()), *(y[-1] for _, y in claims.values())]
    log = max(tops) > 30 * min(tops) if log is None else log
    with canvas(ax, theme, size, ratio=lambda look: 0.95 if look.small else 0.64) as (ax, look):
        value_axes(ax, look, "layers", "keys seen" if look.small else "keys the query has seen")
        for name, field in fields.items():
            y, hue, x = means[name], hues[name], np.arange(len(field.sizes) + 1)
            if field.query is None:
                least, largest = (np.append(1, end(field.sizes, 1)) for end in (np.min, np.max))
                ax.fill_between(x, least, largest, color=hue, alpha=0.15, lw=0, label=f"{name}, all queries")
            dots = {} if most > 40 or look.small else {"marker": "o", "ms": 4.5 * look.scale, "mec": look.paper, "mew": 0.8 * look.scale}
            ax.plot(x, y, color=hue, lw=2.4 * look.scale, label=name, solid_capstyle="round", clip_on=False, zorder=3, **dots)
        for name, (x, y) in claims.items():
            style = {"lw": 1.5 * look.scale, "ls": (0, (3, 2)), "clip_on": False, "zorder": 3.5}
            ax.plot(x, y, color=look.word(hues[name]), label=f"{name}, published", **style)
        _scales(ax, look, most, max(*tops, *(f.sizes[-1].max() for f in fields.values())), log)
        _name_ends(ax, look, fields, means, claims, hues)
        look = settle(ax, look)
        heading(ax, look, _finding(fields, claims) if title is None else title, _numbers(fields))
    return ax


def _named(result):
    if not isinstance(result, Mapping):
        field = checked_field(result, "growth")
        written = repr(field.patterns[0]) if len(set(field.patterns)) == 1 else ""
        return {written if 0 < len(written) <= 24 else "counted": field}
    if not result:
        raise ValueError("plots.growth: the dict is empty, and needs one receptive field or more")
    return {name: checked_field(f, "growth") for name, f in result.items()}


def _claim(field):
    """(layers, sizes) of what was published, where it differs from what is counted; None if it does not, or nothing was."""
    form = field.closed_form
    if form is None or form.claimed is None:
        return None
    told = form.claimed >= 0
    counted = field.sizes.reshape(len(field.sizes), -1).max(1)
    if not told.any() or (form.claimed[told] == counted[told]).all():
        return None
    return np.arange(1, len(told) + 1)[told], form.claimed[told]


def _scales(ax, look, most, top, log):
    ax.set_xlim(0, most)
    ax.xaxis.set_major_locator(MaxNLocator(3 if look.small else 9, integer=True, steps=[1, 2, 4, 5, 8, 10]))
    if log:
        ax.set_yscale("log")
        ax.yaxis.set_minor_locator(MaxNLocator(1))
        ax.set_ylim(1, 1.25 * top)
    else:
        ax.yaxis.set_major_locator(MaxNLocator(3 if look.small else 6, steps=[1, 2, 5, 10]))
        ax.set_ylim(0, 1.05 * top)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: short(y) if y else "0"))


def _name_ends(ax, look, fields, means, claims, hues):
    """Names and numbers at the ends of the lines, pushed apart; under them the formula, and beside the claim how far off it is."""
    size, rows = look.points("label"), []  # (layers, height, words in bold, soft words, colour, rows)
    for name, f in fields.items():
        y, form = means[name][-1], f.closed_form
        count = f"{y:,.0f}"
        under = form.formula if form is not None and len(form.formula) <= 24 and form.formula[:1].isdigit() and not look.small else ""
        rows.append((len(f.sizes), y, name, count, hues[name], under))
        if name in claims and not look.small:
            said = int(claims[name][1][-1])
            rows.append((len(f.sizes), said, "", f"published {said:,} ({said - int(f.sizes[-1].max()):+,})", hues[name], ""))
    turn = ax.transScale.transform
    low, high = (turn((0, y))[1] for y in ax.get_ylim())
    height = 72 * ax.bbox.height / ax.figure.dpi
    at = np.array([(turn((0, row[1]))[1] - low) / (high - low) * height for row in rows])
    lines = [(i, second) for i, row in enumerate(rows) for second in ((True, False) if row[5] else (False,))]
    wanted = np.array([at[i] + 1e-4 * bool(rows[i][2]) - 1e-5 * second - 1e-6 * i for i, second in lines])
    moved = apart(wanted, 1.3 * size, 0.5 * size, height - 0.5 * size)
    at = [place for (_, second), place in zip(lines, moved, strict=True) if not second]
    for place, (layers, _, name, told, hue, under) in zip(at, rows, strict=True):
        gap = 0.8 * size
        common = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "annotation_clip": False, "va": "center",
                  "fontsize": size, "path_effects": [effects.withStroke(linewidth=0.35 * size, foreground=look.paper)]}  # fmt: skip
        where = (layers, place / height)
        if look.small:  # a thumbnail has room for short names only
            ax.annotate(name if text_width(name, size, bold=True) < 0.4 * look.width else "", where, (gap, 0), color=look.word(hue),
                        fontweight="bold", gid="end", parse_math=False, **common)  # fmt: skip
        elif name:
            ax.annotate(name, where, (gap, 0), color=look.word(hue), fontweight="bold", gid="end", parse_math=False, **common)
            ax.annotate(told, where, (gap + text_width(name, size, bold=True) + 0.5 * size, 0), color=look.soft, gid="count", **common)
        else:
            ax.annotate(told, where, (gap, 0), color=look.word(hue), gid="published", **common)
        if under:
            ax.annotate(under, where, (gap, -1.25 * size), color=look.soft, gid="formula", **common)


def _finding(fields, claims):
    if len(fields) == 1:
        (name, field), = fields.items()
        count, layers = int(field.sizes[-1].max()), len(field.sizes)
        if name in claims and claims[name][0][-1] == layers:
            return f"After {layers} layers {count:,} keys are seen, not {claims[name][1][-1]:,}"
        seen = f"{count:,} keys are seen" if field.query is not None else f"{field.sizes[-1].mean():,.0f} keys are seen on average"
        return f"After {layers} layer{'s' * (layers > 1)} {seen}"
    return "What a query has seen, layer by layer"


def _numbers(fields):
    asked = [f"mean of {f.n:,} queries" if f.query is None else f"query {f.query:,} of {f.n:,}" for f in fields.values()]
    asked = list(dict.fromkeys(asked))
    parts = asked if len(asked) <= 2 else [f"{len(fields)} patterns"]
    return [*parts, *(["band: least to most"] if any(f.query is None for f in fields.values()) else [])]
