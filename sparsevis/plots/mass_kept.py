"""The picture of what a pattern keeps of a real model's attention, query by query and head by head."""

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from sparsevis.plots.style import canvas, draw_image, settle, value_axes
from sparsevis.plots.words import heading, key, short

__all__ = ["mass_kept"]


def mass_kept(row, *, title=None, ax=None, theme=None, size=8.0):
    """Draw the share of dense attention that a pattern keeps: heads down, queries right, each head's mean at the end of its line.

    Parameters
    ----------
    row : Row
        One pattern of what `sparsevis.compare` returned, as in `comparison["window"]`.
    title, ax, theme, size
        As for `mask`.

    Returns
    -------
    Axes
        The picture is `ax.images[-1]`.

    Examples
    --------
    >>> import sparsevis as sv
    >>> q, k, v = np.random.default_rng(0).standard_normal((3, 4, 64, 8))
    >>> result = sv.compare(q, k, v, {"window": sv.SlidingWindow(8, 8)}, impl="loops", repeats=0)
    >>> sv.plots.mass_kept(result["window"]).images[-1].get_array().shape
    (4, 64, 3)
    """
    if not hasattr(row, "mass_of_queries"):
        raise TypeError(f"plots.mass_kept needs one row of what sparsevis.compare returned, comparison['name'], not {type(row).__name__}")
    mass, heads = row.mass_of_queries, row.mass_by_head
    if not mass.size:
        raise ValueError(f"{row.name!r} was compared at {mass.shape[0]} heads of {mass.shape[1]} queries: nothing to draw")
    count, nq = mass.shape
    with canvas(ax, theme, size, ratio=lambda look: _height(look, count) / 72 / size) as (ax, look):
        fold = -(-nq // (2 * look.pixels))
        starts = np.arange(0, nq, fold)
        shares = np.add.reduceat(mass, starts, 1) / np.minimum(fold, nq - starts)
        value_axes(ax, look, "query" + (f" · 1 pixel = mean of {fold:,} queries" if fold > 1 else ""), "" if look.small else "head")
        ax.grid(visible=False)
        ax.set(xlim=(-0.5, nq - 0.5), ylim=(count - 0.5, -0.5))
        ticks = sorted({0, nq // 2, nq - 1})
        ax.set_xticks(ticks, [short(t) if look.small else f"{t:,}" for t in ticks])
        shown = _rows(ax, look, count)
        ax.set_yticks(shown, [str(h) for h in shown])
        ramp = colormaps["viridis_r" if look.theme == "light" else "viridis"]
        draw_image(ax, ramp(shares)[..., :3], 1, fold)
        ax.images[-1].set_interpolation("nearest")
        ax.set_aspect("auto")
        for h in range(1, count if 72 * ax.bbox.height / ax.figure.dpi / count > 6 else 0):
            ax.axhline(h - 0.5, color=look.paper, lw=1.2 * look.scale)
        tick = look.points("tick")
        for h in shown:
            ax.annotate(_percent(heads[h]), (1, h), (0.7 * tick, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                        ha="left", va="center", fontsize=tick, color=look.soft, annotation_clip=False, gid="head")  # fmt: skip
        look = settle(ax, look)
        steps = [0.0, 0.25, 0.5, 0.75, 1.0]
        key(ax, look, [], [([to_hex(ramp(s))], f"{100 * s:g} %") for s in steps])
        heading(ax, look, _finding(row, heads) if title is None else title, _numbers(mass, heads))
    return ax


def _height(look, count):
    line = np.clip(0.55 * look.width / count, 1.6 * look.points("tick"), 4 * look.points("tick"))
    return np.clip(line * count, 0.12 * look.width, 0.9 * look.width) + (10 if look.small else 9) * look.points("label")


def _rows(ax, look, count):
    """The heads that are numbered: all, or every so many that numbers do not touch."""
    room = 0.8 * 72 * ax.bbox.height / ax.figure.dpi / count
    step = next(s for s in (1, 2, 4, 8, 16, 32, 64, count) if s * room >= 1.3 * look.points("tick") or s >= count)
    return list(range(0, count, step))


def _finding(row, heads):
    kept = f"{row.name} keeps {_percent(row.mass_kept)} of the attention"
    if len(heads) == 1:
        return kept
    least = int(heads.argmin())
    return f"{kept}: head {least} least, {_percent(heads[least])}"


def _numbers(mass, heads):
    count, nq = mass.shape
    least, query = np.unravel_index(mass.argmin(), mass.shape)
    where = f"head {least}, query {query:,}" if count > 1 else f"query {query:,}"
    return [f"{count} head{'s' * (count > 1)}", f"{nq:,} queries", f"worst served: {where}, {_percent(mass[least, query])}"]


def _percent(share):
    return f"{100 * share:.1f} %" if share < 0.9995 else "100 %"
