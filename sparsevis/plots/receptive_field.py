"""The picture of a receptive field: what one query has seen after each layer, the input below, opening like a cone.

Each key has the colour of the layer in which it was first seen. Up to 64 positions it is a rounded cell; beyond, a pixel holds several
keys, and its colour stands as far from the ground as the exact share of them that has been seen.
"""

import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.image import PcolorImage
from matplotlib.path import Path

from sparsevis.plots.hops import checked_field, hop_colours
from sparsevis.plots.shade import rounded, strength
from sparsevis.plots.style import canvas, settle, value_axes
from sparsevis.plots.words import heading, percent, short, text_width

__all__ = ["receptive_field"]


def receptive_field(result, *, query=None, layer=None, name=None, cells=None, title=None, ax=None, theme=None, size=8.0):
    """Draw which keys a query has seen after each layer.

    Parameters
    ----------
    result : ReceptiveField
        What `sparsevis.receptive_field` returned, for any length.
    query : int, optional
        Which query; that of the result, or the last, if left out.
    layer : int, optional
        Draw the layers up to this one; those above stay empty. All of them if left out.
    name : str, optional
        Of the model or pattern, for the title.
    cells : int, optional
        The most pixels across, what suits the axes if left out.
    title, ax, theme, size
        As for `mask`.

    Returns
    -------
    Axes
        One of `ax.collections` a layer, labelled with its number, of the keys first seen there; or the image `ax.images[-1]`, whose rows
        are the layers and the gaps between them, the input first.

    Examples
    --------
    >>> import sparsevis as sv
    >>> field = sv.receptive_field(sv.mistral(4), 40, query=-1, layers=5)
    >>> ax = sv.plots.receptive_field(field, name="Window of 4")
    >>> ax.get_title(loc="left")
    'Window of 4, 5 layers: the last query has seen 16 of 40 keys'
    """
    field = checked_field(result, "receptive_field")
    field = field.of(query if query is not None else -1 if field.query is None else field.query)
    layers = len(field.sizes)
    upto = layers if layer is None else layer
    if not 0 <= upto <= layers:
        raise ValueError(f"layer is {layer}, and needs to lie from 0, the input, to {layers}")
    seen = field.seen(slice(None))
    fresh = np.concatenate([seen[:1], seen[1:] & ~seen[:-1]])[: upto + 1]
    with canvas(ax, theme, size, ratio=lambda look: _height(look, layers, field.n) / 72 / size) as (ax, look):
        value_axes(ax, look, "position" if look.small else "position of the key", "")
        ax.grid(visible=False)
        ax.set(xlim=(-0.5, field.n - 0.5), ylim=(-0.6, layers + 0.6))
        numbered = _rows(look, layers, 72 * ax.bbox.height / ax.figure.dpi)
        ax.set_yticks(numbered, ["input" if l == 0 else f"{l}" if look.small else f"layer {l}" for l in numbered])
        _mark_query(ax, look, field, layers)
        _write_sizes(ax, look, field, upto, numbered)
        look = settle(ax, look)
        colours = hop_colours(look, layers)
        if field.n <= 64 and look.width / field.n >= 4:
            _draw_cells(ax, look, fresh, colours)
        else:
            cell = 1 << (-(-field.n // (cells or 2 * look.pixels)) - 1).bit_length()
            _draw_pixels(ax, look, fresh, colours, cell, layers)
            if cell > 1:
                ax.set_xlabel(f"position of the key · 1 pixel = {cell:,} keys", fontsize=look.points("label"), color=look.soft)
        heading(ax, look, _finding(field, upto, name, layer is not None) if title is None else title, _numbers(field, upto))
    return ax


def _height(look, layers, n):
    """Height of a new figure in points: cells are square, many layers get thinner, and words need room."""
    cell = look.width / n if n <= 64 else 0
    rows = (layers + 1.2) * np.clip(max(cell, 2 * look.points("tick")), 0, look.width * (0.95 if look.small else 0.62) / (layers + 1))
    return max(rows, 0.25 * look.width) + (11 if look.small else 8.5) * look.points("label")


def _rows(look, layers, high):
    """The layers that are numbered: all, or every so many that numbers do not touch."""
    room = 0.8 * high / (layers + 1.2)
    steps, least = (1, 2, 4, 5, 8, 10, 16, 20, 25, 32, 50, 100, 200, 500, layers), 1.3 * look.points("tick")
    step = next(s for s in steps if s * room >= least or s >= layers)
    return sorted({*(l for l in range(0, layers, step) if layers - l >= 0.8 * step), layers})


def _mark_query(ax, look, field, layers):
    """A dotted line up from the query, whose number stands among those of the positions."""
    q, n = field.query, field.n
    name, write = (short(q), short) if look.small else (f"query {q:,}", "{:,}".format)
    size, unit = look.points("tick"), 0.75 * look.width / n  # the sizes at the right need their room
    reach = text_width(name, size, bold=True) * (1 if q > 0.85 * n or q < 0.15 * n else 0.5)
    others = [x for x in sorted({0, n // 2, n - 1}) if abs(x - q) * unit > reach + 0.9 * text_width(write(x), size) + 0.4 * size]
    ax.set_xticks([*others, q], [*map(write, others), name])
    label = ax.get_xticklabels()[-1]
    label.set(color=look.ink, fontweight="bold", parse_math=False)
    if q > 0.85 * n:
        label.set_ha("right")
    elif q < 0.15 * n:
        label.set_ha("left")
    if n - 1 in others and n > 1000:
        ax.get_xticklabels()[len(others) - 1].set_ha("right")
    ax.vlines(q, -0.6, layers + 0.55, color=look.ink, lw=0.9 * look.scale, ls=(0, (1, 2.5)), label="query", zorder=3)


def _write_sizes(ax, look, field, upto, numbered):
    """How many keys have been seen, at the right of each numbered row."""
    size, visible = look.points("tick"), field.visible
    for l in numbered:
        count = 1 if l == 0 else int(field.sizes[l - 1])
        text = short(count) if look.small else f"{count:,}" + (f" · {_share(count, visible)}" if l else "")
        ax.annotate(text, (1, l), (0.7 * size, 0), xycoords=("axes fraction", "data"), textcoords="offset points", ha="left", va="center",
                    fontsize=size, color=look.ink if l == upto else look.soft, annotation_clip=False, gid="size",
                    alpha=1 if l <= upto else 0)  # fmt: skip  # those to come keep their room


def _draw_cells(ax, look, fresh, colours):
    """Layer by layer, the keys first seen there, from their layer up."""
    top, n = len(fresh) - 1, fresh.shape[1]
    box = ax.get_window_extent()
    unit = np.array([box.width / n, box.height / np.ptp(ax.get_ylim())])  # pixels of a cell: corners are round on the screen
    wide, high = 0.78 * unit + 0.14 * (unit - unit.min())

    def draw(x, y, colour, name):
        paths = rounded(x * unit[0] - wide / 2, y * unit[1] - high / 2, wide, high, 0.2 * unit.min())
        paths = [Path(path.vertices / unit, path.codes) for path in paths]
        ax.add_collection(PathCollection(paths, facecolors=colour, linewidths=0, label=name), autolim=False)

    draw(*np.divmod(np.arange((top + 1) * n), n)[::-1], look.ground, "ground")
    for l, keys in enumerate(fresh):
        x, y = (g.ravel() for g in np.meshgrid(np.flatnonzero(keys), np.arange(l, top + 1)))
        if x.size:
            draw(x, y, colours[l], str(l))


def _draw_pixels(ax, look, fresh, colours, cell, layers):
    """One row of pixels a layer, and gaps of paper between them."""
    n = fresh.shape[1]
    starts = np.arange(0, n, cell)
    share = np.add.reduceat(fresh, starts, 1, np.int64) / np.minimum(cell, n - starts)
    weight = strength(share)[..., None]
    hue = np.cumsum(weight * np.array([to_rgb(c) for c in colours[: len(fresh)]])[:, None], 0)
    hue = hue / np.maximum(np.cumsum(weight, 0), 1e-300)
    depth = strength(np.clip(np.cumsum(share, 0), 0, 1))[..., None]
    ground, paper = np.array(to_rgb(look.ground)), np.array(to_rgb(look.paper))
    image = np.broadcast_to(paper, (2 * layers + 1, starts.size, 3)).copy()
    image[: 2 * len(fresh) : 2] = (1 - depth) * ground + depth * hue
    if ax.bbox.height / ax.figure.dpi * 72 / (layers + 1.2) < 5:  # gaps under half a point would come and go between pixels
        image[1::2] = image[:-1:2]
    gap = 0.09
    y = (np.arange(layers + 1)[:, None] + [gap - 0.5, 0.5 - gap]).ravel()
    drawn = ax.add_image(PcolorImage(ax, np.append(starts, n) - 0.5, y, image, zorder=2))
    drawn.set_in_layout(False)  # it lies inside the axes, and does not know its extent


def _share(part, whole):
    """A share that is written as 100 % only if nothing is missing."""
    return percent(part, whole) if part == whole or part / whole < 0.9995 else f"{min(99.99, 100 * part / whole):.2f} %"


def _finding(field, upto, name, part):
    count = 1 if upto == 0 else int(field.sizes[upto - 1])
    whole = f"{field.visible:,} {'keys' if field.visible == field.n else 'visible keys'}"
    if part:  # of one length in all layers, so that frames of an animation look alike
        layer = f"layer {upto}" if upto else "input"
        return f"{f'{name}, {layer}' if name else layer.capitalize()}: {count:,} of {whole} seen"
    who = "the last query" if field.query == field.n - 1 else f"query {field.query:,}"
    layers = f"{upto} layer{'s' * (upto != 1)}"
    return f"{f'{name}, {layers}:' if name else f'After {layers}'} {who} has seen {count:,} of {whole}"


def _numbers(field, upto):
    """The formula and what was published, where they say something; else how it goes on."""
    form, parts = field.closed_form, []
    if form is not None and len(form.formula) < 60:
        parts.append(f"{form.formula} keys after l layers" if form.formula[:1].isdigit() else form.formula)
    if form is not None and form.claimed is not None and upto and form.claimed[upto - 1] >= 0:
        claimed = int(form.claimed[upto - 1])
        parts.append(f"published: {claimed:,}")
    if field.gridding > 1:
        parts.append(f"only one key in {field.gridding} can ever be seen")
    elif field.closed and field.saturated_at < len(field.sizes):
        parts.append(f"nothing new after layer {field.saturated_at}")
    return parts or [f"layer {upto} adds {int(field.growth[upto - 1]):,} keys" if upto else "before the first layer a query knows itself"]
