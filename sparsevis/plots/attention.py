"""The picture of real attention: where a head looks, and what of it a pattern keeps and drops.

Colour follows the cube root of the probability, so that a hundredth and a tenth can be told apart: kept attention from sky to blue,
dropped attention from orange to vermilion. The region of the pattern is tinted, and outlined where its pairs can be counted.
"""

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap

from sparsevis.palette import INGREDIENT
from sparsevis.pattern import Pattern
from sparsevis.plots.shade import mix
from sparsevis.plots.style import canvas, draw_image, matrix_axes, settle
from sparsevis.plots.words import heading, key, percent

__all__ = ["attention"]


def attention(p, *, pattern=None, tokens=None, offset=None, pixels=None, title=None, ax=None, theme=None, size=6.0):
    """Draw attention probabilities.

    Parameters
    ----------
    p : array_like (nq, nk)
        Probabilities of one head; rows sum to 1, unless this is a part of a larger matrix.
    pattern : Pattern or boolean array (nq, nk), optional
        What a sparse head would keep.
    tokens : sequence of str or (sequence, sequence), optional
        What stands at each position, written beside the axes where there is room; queries and keys apart if they differ.
    offset : int, "top-left" or "bottom-right", optional
        Position of query 0, as for `Pattern.mask`.
    pixels : int, optional
        The most pixels a side, what suits the axes if left out; a pixel that holds several pairs shows the strongest.
    title : str, optional
        In words.
    ax, theme, size
        As for `mask`.

    Returns
    -------
    Axes
        The picture is `ax.images[-1]`.

    Examples
    --------
    >>> import sparsevis as sv
    >>> p = np.full((8, 8), 1 / 8)
    >>> ax = sv.plots.attention(p, pattern=sv.Causal())
    >>> [t.get_text() for t in ax.texts if t.get_gid() == "numbers"]
    ["keeps 56.2 % of this head's attention · 56.2 % of the pairs"]
    """
    p, kept = _checked(p, pattern, offset)
    (nq, nk), top = p.shape, float(p.max(initial=0)) or 1.0
    with canvas(ax, theme, size) as (ax, look):
        fold = -(-max(nq, nk) // (pixels or 2 * look.pixels))
        note = f"1 pixel = largest of {fold} x {fold} pairs" if fold > 1 else ""
        matrix_axes(ax, look, nq, nk, note)
        if tokens is not None:
            _name_positions(ax, look, tokens, nq, nk)
        look = settle(ax, look)
        strongest, inside = _pooled(p, kept, fold)
        blue, orange = _ramps(look, tinted=pattern is not None)
        depth = np.cbrt(strongest / top)
        image = np.where(inside[..., None], blue(depth), orange(depth))[..., :3]
        draw_image(ax, image, fold, fold)
        if pattern is not None and look.width / max(nq, nk) >= 2:
            _outline(ax, look, kept)
        key(ax, look, *_keys(look, blue, orange, top, pattern is not None))
        if pattern is None:
            words, numbers = "Attention", [f"{nq:,} x {nk:,} probabilities", f"largest {top:.2g}"]
        else:
            mass, pairs = percent(p[kept].sum(), p.sum()), percent(kept.sum(), kept.size)
            words, numbers = "Attention kept and dropped", [f"keeps {mass} of this head's attention", f"{pairs} of the pairs"]
        heading(ax, look, words if title is None else title, numbers)
    return ax


def _checked(p, pattern, offset):
    p = np.asarray(p, np.float64)
    if p.ndim != 2 or 0 in p.shape:
        raise ValueError(f"p has shape {p.shape}, and needs to be the probabilities of one head, (nq, nk): choose a head, as in p[0]")
    if not (p >= 0).all():
        raise ValueError("p holds negative numbers or nan, and needs to hold probabilities: the softmax of the scores")
    if pattern is None:
        return p, np.ones(p.shape, bool)
    if isinstance(pattern, Pattern):
        return p, pattern.mask(*p.shape, offset=offset)
    kept = np.asarray(pattern)
    if kept.shape != p.shape or kept.dtype != bool:
        given = f"{type(pattern).__name__} of {kept.dtype} {kept.shape}"
        raise TypeError(f"pattern is a {given}, and needs to be a Pattern or a boolean array {p.shape}: that of one head")
    return p, kept


def _pooled(p, kept, fold):
    """The strongest probability of each pixel of fold x fold pairs, and whether that pair is kept."""
    if fold == 1:
        return p, kept
    rows, columns = (-(-n // fold) for n in p.shape)
    padded = np.pad(p, ((0, rows * fold - p.shape[0]), (0, columns * fold - p.shape[1])), constant_values=-1)
    best = padded.reshape(rows, fold, columns, fold).swapaxes(1, 2).reshape(rows, columns, -1).argmax(-1)
    i = fold * np.arange(rows)[:, None] + best // fold
    j = fold * np.arange(columns) + best % fold
    return p[i, j], kept[i, j]


def _ramps(look, tinted):
    """Colours of kept and of dropped attention from none to the most: away from the ground, in luminance too."""
    near, far = ("partial", "window"), ("sink", "global")
    if look.theme == "dark":
        near, far = near[::-1], far[::-1]
    make = lambda ground, stops, end: LinearSegmentedColormap.from_list(  # noqa: E731
        "attention", list(zip((0, 0.35, 0.75, 1), (ground, *(INGREDIENT[s] for s in stops), end), strict=True))
    )
    last = [mix(INGREDIENT[pair[1]], look.ink, 0.6) for pair in (near, far)]
    return make(mix(look.ground, INGREDIENT["window"], 0.13 * tinted), near, last[0]), make(look.ground, far, last[1])


def _keys(look, blue, orange, top, both):
    marks = [m for m in (0.001, 0.01, 0.1, 1) if m < 0.7 * top] + [top]
    colours = lambda m: [ramp(np.cbrt(m / top)) for ramp in ((blue, orange) if both else (blue,))]  # noqa: E731
    steps = [(colours(m), f"{m:.2g} (cube root)" if m == top else f"{m:g}") for m in marks]
    return ([([INGREDIENT["window"]], "kept"), ([INGREDIENT["global"]], "dropped")] if both else []), steps


def _outline(ax, look, kept):
    """Lines where the pattern ends."""
    padded = np.pad(kept, 1)
    i, j = np.nonzero(padded[:, 1:] != padded[:, :-1])
    upright = np.stack([np.stack([j - 0.5, i - 1.5], -1), np.stack([j - 0.5, i - 0.5], -1)], 1)
    i, j = np.nonzero(padded[1:] != padded[:-1])
    level = np.stack([np.stack([j - 1.5, i - 0.5], -1), np.stack([j - 0.5, i - 0.5], -1)], 1)
    ends = LineCollection(np.concatenate([upright, level]), colors=look.ink, linewidths=look.scale, label="pattern", capstyle="round")
    ax.add_collection(ends, autolim=False)


def _name_positions(ax, look, tokens, nq, nk):
    """Write tokens beside the rows and under the columns, where they fit."""
    queries, keys = tokens if isinstance(tokens, tuple) and len(tokens) == 2 and not isinstance(tokens[0], str) else (tokens, tokens)
    if len(queries) != nq or len(keys) != nk:
        raise ValueError(f"tokens name {len(queries)} queries and {len(keys)} keys, and p has {nq} and {nk}")
    size = min(look.points("tick"), 0.8 * look.width / max(nq, nk))
    if size < 5:
        return
    for axis, names, turn in ((ax.yaxis, queries, 0), (ax.xaxis, keys, 90)):
        axis.set_ticks(range(len(names)), list(names), fontsize=size, rotation=turn, parse_math=False)
