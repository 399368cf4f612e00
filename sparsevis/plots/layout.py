"""The picture of a layout: which tiles a kernel walks, and what it computes in vain.

Full tiles are solid, partial tiles pale with their true pairs solid, skipped tiles the pale ground. From 48 tiles a side on, a tile is a
pixel; where there are more tiles than pixels, a pixel's colour stands as far from the ground as the exact share of tiles that are walked.
"""

import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.image import PcolorImage

from sparsevis.layout import Layout
from sparsevis.palette import INGREDIENT
from sparsevis.plots.shade import blend, rounded, shades, strength
from sparsevis.plots.style import canvas, draw_image, matrix_axes, settle
from sparsevis.plots.words import heading, key

__all__ = ["draw_tiles", "layout", "tile_paths"]

_SOLID = INGREDIENT["window"]


def layout(layout, *, plane=0, title=None, ax=None, theme=None, size=6.0):
    """Draw the tiles of a layout.

    Parameters
    ----------
    layout : Layout
        What to draw.
    plane : int
        Which plane of lists, where heads differ; `layout.heads` says which plane a head reads.
    title : str, optional
        In words; names the tiles if left out.
    ax, theme, size
        As for `mask`.

    Returns
    -------
    Axes
        Countable tiles are `ax.collections` labelled "full", "partial" and "skipped" (and "pairs"); else the image `ax.images[-1]`.

    Examples
    --------
    >>> import sparsevis as sv
    >>> ax = sv.plots.layout(sv.Layout.of(sv.mistral(20), 64, block=8))
    >>> [c.get_label() for c in ax.collections]
    ['full', 'partial', 'skipped', 'pairs']
    """
    rows, columns, kind = _plane(layout, plane)
    (nq, nk), (bq, bk), grid = layout.shape, layout.block, layout.grid
    with canvas(ax, theme, size) as (ax, look):
        countable = max(grid) <= 48 and look.width >= 5 * max(grid)
        fold = 1 if countable else -(-max(grid) // look.pixels)
        note = "" if countable else "1 pixel = 1 tile" if fold == 1 else f"1 pixel = {fold} x {fold} tiles"
        matrix_axes(ax, look, nq, nk, note)
        look = settle(ax, look)
        if countable:
            draw_tiles(ax, look, layout, rows, columns, kind)
        else:
            _draw_pixels(ax, look, layout, rows, columns, kind, fold)
        partial = [look.pale, _SOLID] if countable else [INGREDIENT["partial"]]
        nnz, full, some = layout.totals()[plane]
        counts = {"full": full, "partial": some, "skipped": grid[0] * grid[1] - full - some}
        names = [(c, f"{n:,} {name}") for c, (name, n) in zip(([_SOLID], partial, [look.ground]), counts.items(), strict=True)]
        key(ax, look, names, shades(look.ground, _SOLID) if fold > 1 else [])
        computed = (full + some) * bq * bk
        numbers = [f"needs {nnz:,} pairs", f"computes {computed:,}", *([f"block tax {computed / nnz:.2f}"] if nnz else [])]
        heading(ax, look, f"What the kernel walks: {bq} x {bk} tiles" if title is None else title, numbers)
    return ax


def _plane(layout, plane):
    """Row, column and kind of the tiles of one plane."""
    if not isinstance(layout, Layout):
        raise TypeError(f"plots.layout needs a Layout, not {type(layout).__name__} (a pattern: Layout.of(pattern, n, block))")
    planes = (layout.indptr.size - 1) // max(1, layout.grid[0])
    if not 0 <= plane < planes or 0 in layout.shape:
        raise ValueError(f"plane={plane}: the layout of {layout.shape[0]} x {layout.shape[1]} positions has planes 0 to {planes - 1}")
    indptr = layout.indptr[plane * layout.grid[0] : (plane + 1) * layout.grid[0] + 1]
    listed = slice(indptr[0], indptr[-1])
    return np.repeat(np.arange(layout.grid[0]), np.diff(indptr)), layout.indices[listed], layout.kind[listed]


def draw_tiles(ax, look, layout, rows, columns, kind):
    """Tiles as rounded squares with gutters between them, and the pairs of partial tiles on them."""
    (bq, bk), grid = layout.block, layout.grid
    gap = min(0.1 * min(bq, bk), 1.2 * max(layout.shape) / look.width)  # half a gutter: 1.2 points, or less for tiny tiles
    walked = np.zeros(grid, bool)
    walked[rows, columns] = True
    partial = kind >= 0
    tiles = {"full": (rows[~partial], columns[~partial]), "partial": (rows[partial], columns[partial]), "skipped": np.nonzero(~walked)}
    for (name, (i, j)), colour in zip(tiles.items(), (_SOLID, look.pale, look.ground), strict=True):
        ax.add_collection(PathCollection(tile_paths(i, j, layout, gap), facecolors=colour, linewidths=0, label=name), autolim=False)
    ax.set_facecolor(look.paper)
    if not partial.any():
        return
    if max(layout.shape) <= 72 and look.width / max(layout.shape) >= 4.5:
        _draw_cells(ax, layout, rows[partial], columns[partial], kind[partial], gap)
    else:
        _draw_pairs(ax, layout, rows[partial], columns[partial], kind[partial], gap, look.pixels)


def _draw_cells(ax, layout, rows, columns, kind, gap):
    """The pairs of partial tiles one by one, moved a little so that none lies in a gutter."""
    (bq, bk), side = layout.block, 0.8 * (1 - 2 * gap / min(layout.block))
    tile, a, b = np.nonzero(layout.unpacked()[kind])
    y = rows[tile] * bq - 0.5 + gap + (a + 0.5) * (1 - 2 * gap / bq) - side / 2
    x = columns[tile] * bk - 0.5 + gap + (b + 0.5) * (1 - 2 * gap / bk) - side / 2
    cells = PathCollection(rounded(x, y, side, side, 0.2), facecolors=_SOLID, linewidths=0, label="pairs")
    ax.add_collection(cells, autolim=False)


def _draw_pairs(ax, layout, rows, columns, kind, gap, pixels):
    """The pairs of partial tiles as an image whose pixels leave the gutters free; of many pairs, shares of small squares."""
    (bq, bk), grid = layout.block, layout.grid
    least = -(-max(layout.shape) // pixels)
    fq, fk = (next(f for f in range(1, b + 1) if b % f == 0 and f >= min(b, least)) for b in (bq, bk))
    share = layout.unpacked().reshape(-1, bq // fq, fq, bk // fk, fk).mean((2, 4))
    alpha = np.zeros((*grid, bq // fq + 1, bk // fk + 1))  # the last row and column of a tile are its gutter
    alpha[rows, columns, :-1, :-1] = strength(share)[kind]
    alpha = alpha.transpose(0, 2, 1, 3).reshape(grid[0] * alpha.shape[2], -1)[:-1, :-1]
    image = np.concatenate([np.broadcast_to(to_rgb(_SOLID), (*alpha.shape, 3)), alpha[..., None]], axis=-1)
    y, x = (
        (np.arange(g)[:, None] * b - 0.5 + np.linspace(gap, b - gap, b // f + 1)).ravel()
        for g, b, f in zip(grid, (bq, bk), (fq, fk), strict=True)
    )
    drawn = ax.add_image(PcolorImage(ax, x, y, image, zorder=2))
    drawn.set_in_layout(False)  # it lies inside the axes, and does not know its extent


def tile_paths(i, j, layout, gap):
    """Rounded squares of the tiles (i, j), those at the edges cut short."""
    bq, bk = layout.block
    paths = []
    for height, width in {(min(bq, layout.shape[0] - r * bq), min(bk, layout.shape[1] - c * bk)) for r, c in zip(i, j, strict=True)}:
        same = (np.minimum(bq, layout.shape[0] - i * bq) == height) & (np.minimum(bk, layout.shape[1] - j * bk) == width)
        inset = min(gap, 0.2 * height, 0.2 * width)
        x, y = j[same] * bk - 0.5 + inset, i[same] * bq - 0.5 + inset
        paths += rounded(x, y, width - 2 * inset, height - 2 * inset, min(1.5 * gap, 0.3 * height, 0.3 * width))
    return paths


def _draw_pixels(ax, look, layout, rows, columns, kind, fold):
    grid = layout.grid
    high, wide = (-(-x // fold) for x in grid)
    room = np.outer(np.minimum(fold, grid[0] - fold * np.arange(high)), np.minimum(fold, grid[1] - fold * np.arange(wide)))
    at = rows // fold * wide + columns // fold
    full, partial = (np.bincount(at[x], minlength=high * wide).reshape(high, wide) / room for x in (kind < 0, kind >= 0))
    image = blend(look.ground, [(_SOLID, full), (INGREDIENT["partial"], partial)])
    draw_image(ax, image, fold * layout.block[0], fold * layout.block[1])
