"""The picture of a pattern: who may attend whom, each pair in the colour of the first part of the pattern that allows it.

Up to 48 positions every pair is a rounded cell; up to a few hundred, a pixel; beyond, a pixel holds a square of pairs and its colour
stands as far from the ground as the exact share of pairs in it that are allowed. No n x n array is made.
"""

import numpy as np
from matplotlib.collections import PathCollection

from sparsevis.palette import INGREDIENT
from sparsevis.pattern import Pattern, sizes
from sparsevis.per_head import PerHead
from sparsevis.plots.shade import blend, rounded, shades
from sparsevis.plots.style import canvas, draw_image, matrix_axes, settle
from sparsevis.plots.words import heading, ingredient_key, key
from sparsevis.sketch import facts
from sparsevis.tally import squares

__all__ = ["mask"]


def mask(pattern, n, *, head=None, offset=None, cells=None, title=None, ax=None, theme=None, size=6.0):
    """Draw who may attend whom.

    Parameters
    ----------
    pattern : Pattern or PerHead
        What to draw.
    n : int or (int, int)
        Number of positions, or numbers of queries and keys.
    head : int, optional
        Which head of a PerHead.
    offset : int, "top-left" or "bottom-right", optional
        Where query 0 stands; see `Pattern.mask`.
    cells : int, optional
        The most pixels a side, what suits the axes if left out; where it is less than n, a pixel holds several pairs.
    title : str, optional
        In words; made from the pattern if left out.
    ax : Axes, optional
        Where to draw; a new figure if left out.
    theme : {"light", "dark"}, optional
        Light if left out, or what fits the figure of `ax`.
    size : float
        Width of a new figure, in inches.

    Returns
    -------
    Axes
        One of `ax.collections` a countable ingredient, labelled with its name; else the image `ax.images[-1]`.

    Examples
    --------
    >>> import sparsevis as sv
    >>> ax = sv.plots.mask(sv.longformer(4), 24, title="Longformer: window + global")
    >>> [c.get_label() for c in ax.collections]
    ['window', 'global']
    >>> sv.plots.mask(sv.longformer(512), 1 << 16).get_xlabel()
    'key · 1 pixel = 256 x 256 pairs'
    """
    pattern = _one_head(pattern, head)
    (nq, nk), offset = sizes(*(n if isinstance(n, tuple | list) else (n, None)), offset)
    if 0 in (nq, nk):
        raise ValueError(f"n is {n}: nothing to draw without queries or keys")
    with canvas(ax, theme, size) as (ax, look):
        longest = max(nq, nk)
        layers, cell = count_layers(pattern, (nq, nk), cells or (longest if longest <= 2 * look.pixels else look.pixels), offset)
        note = f"1 pixel = {cell:,} x {cell:,} pairs" if cell > 1 else ""
        matrix_axes(ax, look, nq, nk, note)
        look = settle(ax, look)
        if cell == 1 and longest <= 48 and look.width / longest >= 4:
            _draw_cells(ax, layers)
        else:
            _draw_pixels(ax, look, layers, cell, (nq, nk))
        drawn = [name for name, pairs in layers if pairs.any()]
        hue = INGREDIENT[drawn[0] if len(set(drawn)) == 1 else "dense"]
        key(ax, look, ingredient_key(drawn), shades(look.ground, hue) if note else [])
        nnz = sum(int(pairs.sum()) for _, pairs in layers)
        heading(ax, look, _title(pattern) if title is None else title, facts(nnz, nq, nk).split(" · "))
    return ax


def count_layers(pattern, shape, cells, offset=0):
    """Return ([(ingredient, pairs)], cell): for each part of the pattern, exact counts of the pairs it is the first to allow.

    As `Pattern.layers`, in squares of `cell` x `cell` positions; tiles are as small as 64 for random rules, and as large as a pixel
    where 64 would make too many: stride 128 at n = 2^20 takes 0.2 s so, and over 6 GiB otherwise.
    """
    cell = 1 << (-(-max(shape) // cells) - 1).bit_length()
    layers, seen = [], None
    for part in pattern.parts():
        fresh = part if seen is None else part - seen
        layers.append((part.ingredient, squares(fresh.allows, shape, cell, offset)))
        seen = part if seen is None else seen | part
    return layers, cell


def _draw_cells(ax, layers):
    for name, pairs in layers:
        i, j = np.nonzero(pairs)
        if i.size:
            paths = rounded(j - 0.39, i - 0.39, 0.78, 0.78, 0.2)
            ax.add_collection(PathCollection(paths, facecolors=INGREDIENT[name], linewidths=0, label=name), autolim=False)


def _draw_pixels(ax, look, layers, cell, shape):
    room = np.outer(*(np.minimum(cell, n - cell * np.arange(-(-n // cell))) for n in shape))  # the last pixels may hold fewer pairs
    image = blend(look.ground, [(INGREDIENT[name], pairs / room) for name, pairs in layers])
    draw_image(ax, image, cell, cell)


def _one_head(pattern, head):
    if isinstance(pattern, PerHead):
        if head is None:
            raise ValueError(f"the pattern differs over {len(pattern)} heads: say head=0 to {len(pattern) - 1}, or draw pattern.union()")
        return pattern[head]
    if not isinstance(pattern, Pattern):
        raise TypeError(f"plots.mask needs a Pattern or a PerHead, not {type(pattern).__name__} (a boolean mask: Chosen.from_mask)")
    if head is not None:
        raise ValueError(f"head={head}: {pattern!r} is one pattern for all heads")
    return pattern


def _title(pattern):
    """The pattern itself if short, else what it is made of."""
    written, made_of = repr(pattern), " + ".join(dict.fromkeys(p.ingredient for p in pattern.parts()))
    return written if len(written) <= 40 else made_of.capitalize()
