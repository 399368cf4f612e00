"""The picture of a difference: the pairs only one of two patterns allows, over those that both allow.

As in the picture of a pattern, a pair is a cell, a pixel, or has its exact share in a pixel; but a pixel that holds a single pair of the
difference already stands out, because an off-by-one is what one looks for.
"""

import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb

from sparsevis.diff import INGREDIENTS, Difference
from sparsevis.palette import INGREDIENT
from sparsevis.plots.shade import blend, mix, rounded
from sparsevis.plots.style import canvas, draw_image, matrix_axes, settle
from sparsevis.plots.words import heading, key, percent

__all__ = ["diff"]


def diff(result, *, cells=None, title=None, ax=None, theme=None, size=6.0):
    """Draw where two patterns part.

    Parameters
    ----------
    result : Difference
        What `sparsevis.diff` returned.
    cells : int, optional
        The most pixels a side; see `mask`.
    title, ax, theme, size
        As for `mask`.

    Returns
    -------
    Axes
        One of `ax.collections` a countable kind of pair, labelled "only in a", "only in b" (with their names) or "in both"; else the
        image `ax.images[-1]`.

    Examples
    --------
    >>> import sparsevis as sv
    >>> ax = sv.plots.diff(sv.diff(sv.SlidingWindow(4), sv.SlidingWindow(3), 24))
    >>> ax.get_title(loc="left").replace(chr(10), " ")
    '20 pairs only in a, 0 only in b: a has one key a query more on the left'
    >>> [c.get_label() for c in ax.collections]
    ['in both', 'only in a']
    """
    if not isinstance(result, Difference):
        raise TypeError(f"plots.diff needs a Difference, which sparsevis.diff(a, b, n) returns, not {type(result).__name__}")
    nq, nk = result.shape
    if 0 in (nq, nk):
        raise ValueError(f"the patterns were compared at {nq} x {nk}: nothing to draw without queries or keys")
    with canvas(ax, theme, size) as (ax, look):
        longest = max(nq, nk)
        *pairs, cell = result.counts(cells or (longest if longest <= 2 * look.pixels else look.pixels))
        note = f"1 pixel = {cell:,} x {cell:,} pairs" if cell > 1 else ""
        matrix_axes(ax, look, nq, nk, note)
        look = settle(ax, look)
        names = *(f"only in {name}" for name in result.names), "in both"
        kinds = dict(zip(names, zip(_colours(look), pairs, strict=True), strict=True))
        told = {}
        if cell == 1 and longest <= 48 and look.width / longest >= 4:
            told = {names[1]: f"{names[1]} (round)"} if result.only_a and result.only_b else {}  # without colours, too
            _draw_cells(ax, kinds, round_=list(told))
        else:
            _draw_pixels(ax, look, kinds, cell, result.shape)
        key(ax, look, [([colour], told.get(name, name)) for name, (colour, found) in kinds.items() if found.any()])
        said = result.sentence if len(result.sentence) <= 110 else result.sentence.partition(": ")[0]  # more would be set too small
        heading(ax, look, said if title is None else title, _numbers(result))
    return ax


def _colours(look):
    """Of the pairs only in a, only in b, and in both: these as quiet as can be. Blue is too dark for thin lines on dark paper."""
    a, b, both = (INGREDIENT[x] for x in INGREDIENTS)
    return a, b if look.theme == "light" else INGREDIENT["partial"], mix(look.ground, both, 0.45)


def _draw_cells(ax, kinds, round_):
    for name in reversed(kinds):
        colour, pairs = kinds[name]
        i, j = np.nonzero(pairs)
        if i.size:
            paths = rounded(j - 0.39, i - 0.39, 0.78, 0.78, 0.39 if name in round_ else 0.2)
            ax.add_collection(PathCollection(paths, facecolors=colour, linewidths=0, label=name), autolim=False)


def _draw_pixels(ax, look, kinds, cell, shape):
    room = np.outer(*(np.minimum(cell, n - cell * np.arange(-(-n // cell))) for n in shape))  # the last pixels may hold fewer pairs
    *only, (colour, both) = kinds.values()
    image = blend(look.ground, [(colour, both / room)])
    shares = [pairs / room for _, pairs in only]
    some = sum(shares)
    hue = sum(share[..., None] * np.array(to_rgb(colour)) for share, (colour, _) in zip(shares, only, strict=True))
    hue = hue / np.where(some > 0, some, 1)[..., None]
    depth = np.where(some > 0, 0.6 + 0.4 * np.cbrt(some), 0)[..., None]  # more than half the way for a single pair of millions
    draw_image(ax, (1 - depth) * image + depth * hue, cell, cell)


def _numbers(result):
    (nq, nk), rows = result.shape, result.rows.size
    asked = f"{nq:,} queries" if nq == nk else f"{nq:,} queries over {nk:,} keys"
    differ = result.only_a + result.only_b
    parts = [f"{rows:,} of {asked} differ" if rows else asked, f"{result.both:,} pairs in both"]
    return [*parts, f"{percent(differ, differ + result.both)} differ"] if rows else parts
