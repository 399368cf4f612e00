"""The picture of a comparison: how much of a real model's attention each pattern keeps, against what it makes a kernel compute."""

import numpy as np
from matplotlib.ticker import FuncFormatter

from sparsevis.palette import INGREDIENT
from sparsevis.plots.style import canvas, settle, value_axes
from sparsevis.plots.words import heading, key, text_width

__all__ = ["compare"]

# where a name may stand, from its dot, in type sizes, and how good that is
_SIDES = {(x * s, y): far for x, y, far in (
    (0.8, 0, 0), (0.6, 0.8, 0.8), (0.6, -0.8, 0.8), (0.4, 1.4, 3), (0.4, -1.4, 3),
) for s in (1, -1)}  # fmt: skip


def compare(comparison, *, title=None, ax=None, theme=None, size=8.0):
    """Draw the share of attention that each pattern keeps against the share of pairs that it makes a kernel compute.

    Up and to the left is good. On the dotted diagonal lies a pattern that keeps no more than its share; small dots are the single
    heads, and the pale line that ends in a pattern's dot is as long as the work its tiles do in vain.

    Parameters
    ----------
    comparison : Comparison
        What `sparsevis.compare` returned.
    title, ax, theme, size
        As for `mask`.

    Returns
    -------
    Axes
        The dots are `ax.collections` labelled "patterns" and "heads": offsets (share computed, share kept).

    Examples
    --------
    >>> import sparsevis as sv
    >>> q, k, v = np.random.default_rng(0).standard_normal((3, 2, 64, 8))
    >>> ax = sv.plots.compare(sv.compare(q, k, v, {"causal": sv.Causal()}, impl="loops", repeats=0, block=16))
    >>> {c.get_label(): len(c.get_offsets()) for c in ax.collections if c.get_label() in ("patterns", "heads")}
    {'heads': 2, 'patterns': 1}
    """
    rows = [r for r in comparison if r.pattern is not None]
    if not rows:
        raise ValueError("the comparison holds dense attention alone: compare one pattern or more")
    x = np.array([r.cost.computed / r.cost.pairs for r in rows])
    y = np.array([r.mass_kept for r in rows])
    with canvas(ax, theme, size, ratio=lambda look: 1.1 if look.small else 0.72) as (ax, look):
        right = max(x.max(), min(1.0, 1.15 * x.max())) or 1.0  # tiles that hang over make more than all
        labels = ("computed", "kept") if look.small else ("share of all pairs that is computed", "share of the attention that is kept")
        value_axes(ax, look, *labels)
        ax.set(xlim=(0, right), ylim=(0, 1))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
        ax.set_yticks(ax.get_yticks()[1:])  # one 0 is enough
        ax.plot([0, right], [0, right], color=look.soft, lw=look.scale, ls=(0, (1, 3)), label="chance", zorder=1)
        heads = [r.mass_by_head for r in rows]
        dots = np.concatenate([np.column_stack([np.full(h.size, a), h]) for a, h in zip(x, heads, strict=True)])
        needed = [r.cost.density for r in rows]
        mean, single = (INGREDIENT[i] for i in (("window", "partial") if look.theme == "light" else ("partial", "window")))
        ax.hlines(y, needed, x, color=look.pale, lw=2.4 * look.scale, label="in vain", zorder=2)
        ax.scatter(*dots.T, s=(3.4 * look.scale) ** 2, color=single, lw=0, label="heads", zorder=2.5, clip_on=False)
        ax.scatter(x, y, s=(8.5 * look.scale) ** 2, color=mean, lw=0, label="patterns", zorder=3, clip_on=False)
        key(ax, look, [([mean], "mean"), ([single], "single heads"), ([look.pale], "computed in vain")])
        look = settle(ax, look)
        if not look.small:
            at = np.column_stack([x, y])
            taken = _name_chance(ax, look, np.concatenate([at, dots]))
            _name_dots(ax, look, [r.name for r in rows], at, needed, dots, taken, look.word(mean))
        c = rows[0].cost
        asked = [f"{c.heads} head{'s' * (c.heads > 1)}", f"{c.nk:,} keys", f"tiles of {c.block[0]} x {c.block[1]}"]
        heading(ax, look, "What a pattern keeps for what it computes" if title is None else title, asked)
    return ax


def _name_chance(ax, look, dots):
    """Write along the diagonal what it is, where it covers the fewest dots, and return the places taken, in points."""
    size, words = look.points("numbers"), "what chance would keep"
    scale = _points_a_unit(ax)
    right = ax.get_xlim()[1]
    along = np.array([right, right]) * scale
    along /= np.hypot(*along)
    places = {}
    for end in (0.97, 0.85, 0.73, 0.61, 0.49):
        middle = end * right * scale + 0.8 * size * np.array([along[1], -along[0]])  # of the last letter, below the line
        steps = middle - np.arange(0, text_width(words, size), 0.5 * size)[:, None] * along
        boxes = [(*(p - 0.5 * size), *(p + 0.5 * size)) for p in steps]
        places[end] = sum(_overlap((*p, *p), box) for p in dots * scale for box in boxes), -end, boxes
    end = min(places, key=lambda e: places[e][:2])
    ax.text(end * right, 0.985 * end * right, words, rotation=45, transform_rotates_text=True, rotation_mode="anchor", va="top", ha="right",
            color=look.soft, fontsize=size)  # fmt: skip
    return places[end][2]


def _points_a_unit(ax):
    box = ax.get_window_extent()
    return 72 * np.array([box.width, box.height]) / ax.figure.dpi / [ax.get_xlim()[1], ax.get_ylim()[1]]


def _name_dots(ax, look, names, at, starts, dots, taken, ink):
    """Write each name beside its dot, on the side where it covers least of names, dots and lines."""
    size, scale = look.points("label"), _points_a_unit(ax)
    places, small = at * scale, dots * scale
    taken = taken + [(*(p - 0.5 * size), *(p + 0.5 * size)) for p in places]
    lines = [(start * scale[0], y, x, y) for start, (x, y) in zip(starts, places, strict=True)]
    for name, p in sorted(zip(names, places, strict=True), key=lambda item: -item[1][1]):
        wide, best = text_width(name, size, bold=True), None
        for (right, up), far in _SIDES.items():
            left, low = p[0] + right * size - (wide if right < 0 else 0), p[1] + (up - 0.55) * size
            area = (left, low, left + wide, low + 1.1 * size)
            covered = far + 10 * sum(_overlap(area, other) for other in taken) + sum(_overlap(area, line) for line in lines)
            covered += 0.4 * ((small > area[:2]) & (small < area[2:])).all(1).sum() + 100 * (left < 0 or low < 0)
            if best is None or covered < best[0]:
                best = covered, right, up, area
        _, right, up, area = best
        taken.append(area)
        ax.annotate(
            name, p / scale, (right * size, up * size), textcoords="offset points", va="center", ha="left" if right > 0 else "right",
            fontsize=size, fontweight="bold", color=ink, annotation_clip=False, gid="end", parse_math=False,
            bbox={"boxstyle": "square,pad=0.05", "facecolor": look.paper, "alpha": 0.8, "linewidth": 0}, zorder=2.8,
        )  # fmt: skip


def _overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
