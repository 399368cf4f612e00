"""Pictures of hops: after how many layers a query has seen a key. The matrix of all pairs, and how many pairs are how far apart.

Where there are more pairs than pixels, the hue of a pixel is that of the exact mean of its pairs, and its depth stands for the share of
those that could be seen and are.
"""

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb
from matplotlib.ticker import FuncFormatter, MaxNLocator

from sparsevis.palette import INGREDIENT
from sparsevis.plots.shade import mix, strength
from sparsevis.plots.style import canvas, draw_image, figure, matrix_axes, settle, value_axes
from sparsevis.plots.words import heading, key, percent, short, text_width

__all__ = ["checked_field", "hop_colours", "hop_counts", "hops", "hops_grid", "unseen_colour"]

MOST = 8192  # at that length the matrix takes a second and 128 MiB, and a pixel holds a hundred pairs


def hops(result, *, cells=None, title=None, ax=None, theme=None, size=6.0):
    """Draw after how many layers each query has seen each key.

    Parameters
    ----------
    result : ReceptiveField
        Of one query or all, at n of at most 8,192.
    cells : int, optional
        The most pixels a side, what suits the axes if left out.
    title, ax, theme, size
        As for `mask`.

    Returns
    -------
    Axes
        The picture is `ax.images[-1]`.

    Examples
    --------
    >>> import sparsevis as sv
    >>> ax = sv.plots.hops(sv.receptive_field(sv.longformer(4), 64, layers=2))
    >>> ax.get_title(loc="left")
    'Any key is at most 2 layers away'
    """
    field = checked_field(result, "hops")
    if field.n > MOST:
        raise ValueError(f"n is {field.n:,}, and the hops of all pairs are drawn up to {MOST:,}: take a shorter text, or plots.growth")
    matrix = field.hop_matrix()
    with canvas(ax, theme, size) as (ax, look):
        fold = 1 if field.n <= 2 * look.pixels and cells is None else -(-field.n // (cells or look.pixels))
        matrix_axes(ax, look, field.n, field.n, f"1 pixel = mean of {fold} x {fold} pairs" if fold > 1 else "")
        look = settle(ax, look)
        draw_image(ax, _image(look, matrix, field.causal, fold, len(field.sizes)), fold, fold)
        counts, unseen = _tally(matrix, field.causal)
        key(ax, look, *_keys(look, counts, unseen, len(field.sizes)))
        heading(ax, look, _finding(counts, unseen) if title is None else title, _numbers(counts, unseen))
    return ax


def hop_counts(result, *, title=None, ax=None, theme=None, size=6.0):
    """Draw how many pairs are 0, 1, 2, ... layers apart; or keys, if the result is of one query.

    Parameters
    ----------
    result : ReceptiveField
        Of any length.
    title, ax, theme, size
        As for `mask`.

    Returns
    -------
    Axes
        The bars are `ax.patches`, those of pairs never seen last.

    Examples
    --------
    >>> import sparsevis as sv
    >>> ax = sv.plots.hop_counts(sv.receptive_field(sv.mistral(3), 100, query=-1, layers=4))
    >>> [int(bar.get_height()) for bar in ax.patches]
    [1, 2, 2, 2, 2, 91]
    """
    field = checked_field(result, "hop_counts")
    counts, unseen = field.hop_counts, int(np.sum(field.unreachable))
    last = int(np.flatnonzero(counts)[-1])
    counts, colours = counts[: last + 1], None
    with canvas(ax, theme, size, ratio=lambda look: 0.95 if look.small else 0.64) as (ax, look):
        colours = hop_colours(look, len(field.sizes))[: last + 1]
        what = "pairs" if field.query is None else "keys"
        value_axes(ax, look, "layers apart", what)
        heights, places = [*counts.tolist(), *([unseen] if unseen else [])], np.arange(last + 1 + bool(unseen), dtype=float)
        if unseen:
            places[-1] += 0.6
        ax.bar(places, heights, width=0.82, color=[*colours, *([unseen_colour(look)] if unseen else [])], lw=0)
        ax.grid(visible=False, axis="x")
        step = -(-(last + 1) // (4 if look.small else 12))
        ticks = list(range(0, last + 1, step))
        ticks = [t for t in ticks if not unseen or t <= last + 1 - 0.12 * (last + 2)] if step > 1 else ticks
        rest = [("never" if field.closed else "not yet", places[-1])] if unseen else []
        ax.set_xticks([*ticks, *(place for _, place in rest)], [*map(str, ticks), *(word for word, _ in rest)])
        ax.set_xlim(-0.6, places[-1] + 0.6)
        ax.set_ylim(0, 1.12 * max(heights))
        ax.yaxis.set_major_locator(MaxNLocator(3 if look.small else 5, integer=True, steps=[1, 2, 5, 10]))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: short(y) if y else "0"))
        look = settle(ax, look)
        _label_bars(ax, look, places, heights)
        who = [] if field.query is None else [f"query {field.query:,}"]
        numbers = [*who, *_numbers(counts, unseen), f"{sum(counts):,} {what} seen"]
        heading(ax, look, _finding(counts, unseen, what) if title is None else title, numbers)
    return ax


def hops_grid(result, *, theme="light", size=12.0):
    """Draw the matrix of hops and, beside it, how many pairs are how far apart.

    Parameters
    ----------
    result : ReceptiveField
        Of all queries, at n of at most 8,192.
    theme, size
        As for `mask`.

    Returns
    -------
    Figure

    Examples
    --------
    >>> import sparsevis as sv
    >>> fig = sv.plots.hops_grid(sv.receptive_field(sv.bigbird(8), 128, layers=3))
    >>> len(fig.axes)
    2
    """
    field = checked_field(result, "hops_grid")
    if field.query is not None:
        raise ValueError(f"hops_grid needs the receptive field of all queries, and this is of query {field.query:,}: leave query= out")
    fig = figure(1, 2, width=size, height=0.56 * size, theme=theme)
    hops(field, ax=fig.axes[0], theme=theme)
    hop_counts(field, ax=fig.axes[1], theme=theme, title="How many pairs are how far apart")
    return fig


def checked_field(result, function):
    """Return the result if it is a ReceptiveField, or raise. By what it has: to import it would load what fills it in."""
    if not (hasattr(result, "hop_counts") and hasattr(result, "cone")):
        given = f"{type(result).__name__} {result!r:.60}"
        raise TypeError(f"plots.{function} needs what sparsevis.receptive_field(patterns, n) returned, not {given}")
    return result


def hop_colours(look, layers):
    """Return a colour for 0, 1, ..., `layers` hops: the farther, the farther from the paper."""
    light = look.theme == "light"
    steps = np.linspace(0.1, 1, layers + 1) if light else np.linspace(0.22, 1, layers + 1)
    return [to_hex(c) for c in colormaps["viridis_r" if light else "viridis"](steps)]


def unseen_colour(look):
    """Return the colour of keys that could be seen and are not."""
    return mix(look.paper, INGREDIENT["dense"], 0.2)


def _image(look, matrix, causal, fold, layers):
    """Hue by the mean of a pixel's hops, depth by the share of its visible pairs that are seen; paper where none is visible."""
    n, starts = len(matrix), np.arange(0, len(matrix), fold)
    pool = lambda x: np.add.reduceat(np.add.reduceat(x, starts, 0, np.int64), starts, 1)  # noqa: E731
    seen, total = pool(matrix >= 0), pool(np.maximum(matrix, 0))
    wide = np.minimum(fold, n - starts)
    visible = np.add.reduceat(np.clip(np.arange(1, n + 1)[:, None] - starts, 0, wide), starts) if causal else np.outer(wide, wide)
    ramp = np.array([to_rgb(c) for c in hop_colours(look, layers)])
    mean = total / np.maximum(seen, 1)
    hue = np.stack([np.interp(mean, np.arange(layers + 1), channel) for channel in ramp.T], -1)
    depth = np.where(visible > 0, strength(seen / np.maximum(visible, 1)), 0)[..., None]
    image = (1 - depth) * np.array(to_rgb(unseen_colour(look))) + depth * hue
    return np.where((visible > 0)[..., None], image, np.array(to_rgb(look.paper)))


def _tally(matrix, causal):
    """How many pairs are 0, 1, ... hops apart, and how many could be seen and are not."""
    n = len(matrix)
    counts = np.bincount(matrix[matrix >= 0].ravel())
    return counts, (n * (n + 1) // 2 if causal else n * n) - int(counts.sum())


def _keys(look, counts, unseen, layers):
    """A word for each number of hops, or for some of them."""
    colours, last = hop_colours(look, layers), len(counts) - 1
    shown = range(last + 1) if last <= 8 else sorted({0, *range(0, last, max(2, -(-last // 5))), last})
    names = [([colours[h]], "itself" if h == 0 else f"{h} layer{'s' * (h > 1)}" if h in (1, last) else f"{h}") for h in shown]
    return [*names, *([([unseen_colour(look)], "not seen")] if unseen else [])], []


def _finding(counts, unseen, what="pairs"):
    last, total = len(counts) - 1, int(np.sum(counts)) + unseen
    if not unseen:
        return f"Any key is at most {last} layer{'s' * (last != 1)} away"
    return f"{percent(unseen, total)} of the visible {what} are not seen within {last} layer{'s' * (last != 1)}"


def _numbers(counts, unseen):
    total, seen = int(np.sum(counts)) + unseen, int(np.sum(counts))
    mean = float(np.dot(counts, np.arange(len(counts)))) / max(seen, 1)
    one = int(counts[1]) if len(counts) > 1 else 0
    return [f"{percent(one, total)} one layer apart", f"mean {mean:.2f} layers"]


def _label_bars(ax, look, places, heights):
    """Numbers over the bars, if they fit beside one another."""
    size = look.points("numbers")
    apart = 72 * ax.bbox.width / ax.figure.dpi / (ax.get_xlim()[1] - ax.get_xlim()[0])
    for x, y in zip(places, heights, strict=True):
        text = f"{y:,}" if text_width(f"{max(heights):,}", size) < 0.95 * apart else short(y)
        if text_width(short(max(heights)), size) < 0.95 * apart and not look.small:
            ax.annotate(text, (x, y), (0, 0.3 * size), textcoords="offset points", ha="center", va="bottom", fontsize=size, color=look.soft,
                        gid="end")  # fmt: skip
