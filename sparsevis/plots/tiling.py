"""Pictures of FlashAttention's walk: which tile comes when, and what a block of queries knows after it.

A tile is drawn as its weights exp(s - m), and beside it the largest score m, the sum l and the output o so far. Where a tile raises m,
all that was summed before is multiplied by the number that stands between them.
"""

import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb

from sparsevis.palette import INGREDIENT
from sparsevis.plots.layout import draw_tiles, tile_paths
from sparsevis.plots.shade import mix, rounded
from sparsevis.plots.style import canvas, figure, matrix_axes, settle, tighten
from sparsevis.plots.words import heading, key, text_width

__all__ = ["checked_walk", "running", "tiling", "tiling_grid"]


def tiling(result, *, step=None, title=None, ax=None, theme=None, size=6.0):
    """Draw the tiles of a walk: those behind it solid, the one it stands on framed, those ahead faint.

    Parameters
    ----------
    result : Walked
        What `sparsevis.walk` returned, of at most 48 tiles a side.
    step : int, optional
        Where the walk stands, from 0; negative ones count from the end. At its end, with no tile framed, if left out.
    title, ax, theme, size
        As for `mask`.

    Returns
    -------
    Axes
        The tiles are `ax.collections` as for `layout`, covered by "ahead"; the frame is labelled "now".

    Examples
    --------
    >>> import sparsevis as sv
    >>> q, k, v = np.random.default_rng(0).standard_normal((3, 32, 4))
    >>> ax = sv.plots.tiling(sv.walk(q, k, v, sv.Causal(), block=8), step=4)
    >>> ax.get_title(loc="left")
    'Tile 5 of 10: queries 16 to 23, keys 8 to 15'
    """
    walked = checked_walk(result, "tiling")
    layout, steps = walked.layout, walked.steps
    if max(layout.grid) > 48:
        raise ValueError(f"the walk is over {layout.grid[0]} x {layout.grid[1]} tiles, and up to 48 a side are drawn: take larger ones")
    whole, step = step is None, len(steps) - 1 if step is None else _number(step, len(steps))
    rows, columns = (np.array([getattr(s, side) for s in steps], int) for side in ("row", "column"))
    with canvas(ax, theme, size) as (ax, look):
        matrix_axes(ax, look, *layout.shape)
        look = settle(ax, look)
        draw_tiles(ax, look, layout, rows, columns, layout.kind)
        gap = min(0.1 * min(layout.block), 1.2 * max(layout.shape) / look.width)
        ahead = tile_paths(rows[step + 1:], columns[step + 1:], layout, 0.5 * gap)
        ax.add_collection(PathCollection(ahead, facecolors=look.paper, alpha=0.78, linewidths=0, label="ahead", zorder=3), autolim=False)
        here = slice(step, step + (not whole))
        frame = tile_paths(rows[here], columns[here], layout, 0.2 * gap)
        hue = INGREDIENT["global"]
        ax.add_collection(PathCollection(frame, facecolors="none", edgecolors=hue, linewidths=2.6 * look.scale, label="now", zorder=5,
                                         clip_on=False), autolim=False)  # fmt: skip
        for row in dict.fromkeys(rows) if whole else [rows[step]]:
            _draw_way(ax, look, [s for s in steps[: step + 1] if s.row == row])
        solid = INGREDIENT["window"]
        pale = [mix(c, look.paper, 0.78) for c in (look.pale, solid)]
        names = [([look.pale, solid], "walked"), ([look.ground], "skipped")]
        key(ax, look, names if whole else [([hue], "now"), names[0], (pale, "ahead"), names[1]])
        heading(ax, look, _where(walked, None if whole else step) if title is None else title, _progress(walked))
    return ax


def running(result, *, step=-1, title=None, ax=None, theme=None, size=6.0):
    """Draw one step of a walk: the weights of its tile, and m, l and o of its queries after it.

    Depths are square roots: of weights from 0 to 1; of outputs from 0 to the largest of this block of queries, orange above 0, blue below.

    Parameters
    ----------
    result : Walked
        What `sparsevis.walk` returned.
    step : int
        Which, from 0; negative ones count from the end.
    title, ax, theme, size
        As for `mask`.

    Returns
    -------
    Axes
        Weights and outputs are the cells of `ax.collections`, or `ax.images`, labelled "weights" and "o"; numbers are `ax.texts` with the
        gids "m", "shrink" and "l".

    Examples
    --------
    >>> import sparsevis as sv
    >>> q, k, v = np.random.default_rng(0).standard_normal((3, 16, 4))
    >>> steps = sv.walk(q, k, v, sv.Causal(), block=8)
    >>> ax = sv.plots.running(steps, step=2)
    >>> {cells.get_label(): len(cells.get_paths()) for cells in ax.collections}
    {'weights': 64, 'o': 32}
    """
    walked = checked_walk(result, "running")
    step = _number(step, len(walked.steps))
    now, block = walked.steps[step], walked.of(walked.steps[step].row)
    place = [s.column for s in block].index(now.column)
    rows, wide = walked.layout.block
    lanes = _lanes(rows, wide, now.o.shape[1])
    with canvas(ax, theme, size) as (ax, look):
        unit = look.width / (lanes["o"][1] + 1)  # points a cell
        ax.set(xlim=(-0.5, lanes["o"][1] + 0.5), ylim=(rows + 0.5, -2 * look.points("numbers") / unit), facecolor=look.paper)
        ax.set_aspect("equal")
        ax.set_anchor("NW")
        ax.spines[:].set_visible(False)
        _label_positions(ax, look, now, walked.layout.shape[0] - 1)
        look = settle(ax, look)
        hue = INGREDIENT["window"]
        weights = _toward(look.ground, hue, 0.12 + 0.88 * np.sqrt(now.weights))
        weights[np.isneginf(now.scores)] = to_rgb(look.paper)
        _draw_matrix(ax, look, weights, (0, len(now.keys)), unit, "weights")
        top = max((np.abs(s.o[np.isfinite(s.o)]).max(initial=0) for s in block), default=0) or 1.0
        signed = np.nan_to_num(now.o / top)
        below, above = (_toward(look.ground, INGREDIENT[c], np.sqrt(np.abs(signed))) for c in ("window", "global"))
        colours = np.where((signed < 0)[..., None], below, above)
        _draw_matrix(ax, look, colours, lanes["o"], unit, "o")
        _draw_lane(ax, look, "m", [s.m for s in block], place, now.raised, lanes["m"], unit)
        _draw_lane(ax, look, "l", [s.l for s in block], place, np.zeros(len(now.l), bool), lanes["l"], unit)
        _draw_shrink(ax, look, now, lanes["shrink"], unit)
        _head_lanes(ax, look, lanes, wide)
        words = f"Tile {place + 1} of {len(block)}: keys {now.keys.start:,} to {now.keys.stop - 1:,}"
        heading(ax, look, words if title is None else title, _said(now, place, len(block)))
    return ax


def tiling_grid(result, *, row=-1, columns=None, theme="light", size=12.0):
    """Draw the steps of one block of queries side by side: how m, l and o become attention's.

    Parameters
    ----------
    result : Walked
        What `sparsevis.walk` returned.
    row : int
        Which block of queries; -1 is the last.
    columns : int, optional
        How many steps a line; up to 3 if left out.
    theme, size
        As for `mask`.

    Returns
    -------
    Figure

    Examples
    --------
    >>> import sparsevis as sv
    >>> q, k, v = np.random.default_rng(0).standard_normal((3, 16, 4))
    >>> fig = sv.plots.tiling_grid(sv.walk(q, k, v, sv.Causal(), block=4))
    >>> [ax.get_title(loc="left") for ax in fig.axes][1]
    'Tile 2 of 4: keys 4 to 7'
    """
    walked = checked_walk(result, "tiling_grid")
    numbers = [x for x, s in enumerate(walked.steps) if s.row == row % walked.layout.grid[0]] if walked.of(row) else []
    if not numbers:
        raise ValueError(f"block {row} of the queries has no tile: nothing is walked")
    if len(numbers) > 24:
        raise ValueError(f"block {row} of the queries walks {len(numbers)} tiles, and a strip has up to 24 steps: take larger tiles")
    columns = min(columns or (2 if len(numbers) in (2, 4) else 3), len(numbers))
    rows = -(-len(numbers) // columns)
    fig = figure(rows, columns, width=size, height=rows * (0.6 * size / columns + 1), theme=theme)
    for ax in fig.axes[len(numbers) :]:
        ax.remove()
    for ax, step in zip(list(fig.axes), numbers, strict=True):
        running(walked, step=step, ax=ax, theme=theme)
    tighten(fig)
    return fig


def checked_walk(result, function):
    """Return the result if it is a Walked with a step or more, or raise. By what it has: to import it would load the kernels."""
    if not (hasattr(result, "steps") and hasattr(result, "layout")):
        given = f"{type(result).__name__} {result!r:.60}"
        raise TypeError(f"plots.{function} needs what sparsevis.walk(q, k, v, pattern) returned, not {given}")
    if not result.steps:
        raise ValueError(f"plots.{function}: the walk has no step, because the pattern allows no pair")
    return result


def _number(step, count):
    if not -count <= step < count:
        raise ValueError(f"step is {step}, and needs to lie from {-count} to {count - 1}")
    return step % count


def _draw_way(ax, look, steps):
    """A line through the tiles of one block of queries, as far as the walk has come."""
    x, y = ([(getattr(s, side).start + getattr(s, side).stop - 1) / 2 for s in steps] for side in ("keys", "queries"))
    ax.plot(x, y, color=INGREDIENT["global"], lw=1.8 * look.scale, zorder=4.5, label="way", solid_capstyle="round", marker="o",
            ms=4 * look.scale, mec=look.paper, mew=0.8 * look.scale, scalex=False, scaley=False)  # fmt: skip


def _where(walked, step):
    count, grid = len(walked.steps), walked.layout.grid
    if step is None:
        return f"The walk: {count:,} of {grid[0] * grid[1]:,} tiles, row after row"
    q, k = walked.steps[step].queries, walked.steps[step].keys
    return f"Tile {step + 1:,} of {count:,}: queries {q.start:,} to {q.stop - 1:,}, keys {k.start:,} to {k.stop - 1:,}"


def _progress(walked):
    full, partial, empty = walked.layout.tally()
    return [f"{full} full and {partial} partial tiles", f"{empty} skipped"]


def _lanes(rows, wide, dv):
    """Where each group of columns begins and ends, in cells."""
    number, gap, out = max(2.8, 0.36 * rows), max(0.9, 0.09 * rows), float(np.clip(dv, 2, max(wide, 4)))
    lanes, x = {}, wide + gap
    for name, width, after in (("m", number, 0.5 * gap), ("shrink", 0.85 * number, 0.3 * gap), ("l", number, gap), ("o", out, 0)):
        lanes[name] = (x, x + width)
        x += width + after
    return lanes


def _label_positions(ax, look, now, positions):
    ticks = sorted({0, len(now.queries) // 2, len(now.queries) - 1} if len(now.queries) > 4 else range(len(now.queries)))
    width = len(f"{positions:,}")  # of all labels, so that the steps of an animation stand still
    ax.set_yticks([t + 0.5 for t in ticks], [f"{now.queries[t]:,}".rjust(width, "\u2007") for t in ticks])
    keys = sorted({0, len(now.keys) - 1})
    ax.set_xticks([t + 0.5 for t in keys], [f"{now.keys[t]:,}" for t in keys])
    size = look.points("tick")
    ax.tick_params(length=0, pad=0.2 * size, labelsize=size, colors=look.soft)
    if not look.small:
        ax.set_ylabel("query", fontsize=look.points("label"), color=look.soft)


def _toward(ground, colour, share):
    return (1 - share[..., None]) * np.array(to_rgb(ground)) + share[..., None] * np.array(to_rgb(colour))


def _draw_matrix(ax, look, colours, lane, unit, name):
    """Colours as cells where they can be counted, else as an image."""
    rows, columns = colours.shape[:2]
    wide = (lane[1] - lane[0]) / columns
    if min(wide, 1) * unit < 4:
        limits = {"xlim": ax.get_xlim(), "ylim": ax.get_ylim()}
        ax.imshow(colours, extent=(*lane, rows, 0), aspect="equal", origin="upper", interpolation="nearest", label=name)
        ax.set(**limits)
        return
    y, x = np.divmod(np.arange(rows * columns), columns)
    cells = rounded(lane[0] + wide * (x + 0.06), y + 0.06, 0.88 * wide, 0.88, 0.18 * min(wide, 1))
    ax.add_collection(PathCollection(cells, facecolors=colours.reshape(-1, 3), linewidths=0, label=name), autolim=False)


def _draw_lane(ax, look, name, all_values, place, marked, lane, unit):
    """Numbers on bars as long as they are, among all that this block of queries comes to."""
    finite = np.concatenate([x[np.isfinite(x)] for x in all_values])
    low, high = (0.0 if name == "l" else finite.min(initial=0)), finite.max(initial=1)
    values, wide = all_values[place], lane[1] - lane[0]
    share = np.where(np.isfinite(values), 0.06 + 0.94 * (values - low) / ((high - low) or 1), 0)
    y = np.arange(len(values))
    ax.barh(y + 0.5, np.nan_to_num(share) * wide, left=lane[0], height=0.8, color=look.pale, lw=0, label=name)
    size = min(look.points("tick"), 0.6 * unit, 0.36 * unit * wide)
    if size < 4.5:
        return
    for i, x in enumerate(values):
        text = f"{x:.2f}" if np.isfinite(x) else "–"
        ax.text(lane[0] + 0.12 * wide, i + 0.5, text, va="center", ha="left", fontsize=size, gid=name, color=look.ink,
                fontweight="bold" if marked[i] else "normal")  # fmt: skip


def _draw_shrink(ax, look, now, lane, unit):
    """What the sums before this tile are multiplied by, where it is not 1."""
    size = min(look.points("tick"), 0.6 * unit, 0.36 * unit * (lane[1] - lane[0]))
    for i in np.flatnonzero(now.raised):
        if size >= 4.5:
            ax.text(sum(lane) / 2, i + 0.5, f"× {now.shrink[i]:.2f}", va="center", ha="center", fontsize=size, gid="shrink",
                    color=look.word(INGREDIENT["global"]), fontweight="bold")  # fmt: skip
        else:
            ax.plot(np.mean(lane), i + 0.5, marker=">", ms=0.7 * unit, color=INGREDIENT["global"], mew=0, gid="shrink")


def _head_lanes(ax, look, lanes, wide):
    """What each group of columns is, in a word where there is no room for two."""
    size = look.points("numbers")
    lanes = {"weights exp(s − m)": (0, wide), "max m": lanes["m"], "sum l": lanes["l"], "output o": lanes["o"]}
    narrow = any(text_width(name, size) > (right - left) / ax.get_xlim()[1] * look.width for name, (left, right) in lanes.items())
    for name, (left, right) in lanes.items():
        ax.annotate(name.split()[0] if narrow else name, ((left + right) / 2, 0), (0, 0.45 * size), textcoords="offset points", ha="center",
                    va="bottom", fontsize=size, color=look.soft, gid="head")  # fmt: skip


def _said(now, place, count):
    raised = int(now.raised.sum())
    parts = [f"m rises for {raised} of {len(now.queries)} queries" if place else "the first tile: nothing to correct"]
    return [*parts, *(["o is the output"] if place == count - 1 else [])]
