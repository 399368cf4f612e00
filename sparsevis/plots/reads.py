"""Who reads which row: a line a thread, a column a row of k (or q, v, o), as deep as the share of the row that the thread reads."""

import numpy as np

from sparsevis.palette import INGREDIENT
from sparsevis.plots.shade import blend, mix, strength
from sparsevis.plots.style import canvas, draw_image, matrix_axes, settle
from sparsevis.plots.words import heading, key

__all__ = ["reads"]

_COLOUR = {"q": "sink", "k": "window", "v": "random", "o": "global"}


def reads(result, array="k", *, title=None, ax=None, theme=None, size=6.0):
    """Draw which rows of an array each thread of a kernel reads, and how much of them; blocks of threads stand one under another.

    Parameters
    ----------
    result : Reads
        What `sparsevis.reads` returned.
    array : {"k", "q", "v", "o"}
        Whose rows.
    title, ax, theme, size
        As for `mask`.

    Returns
    -------
    Axes
        The picture is `ax.images[-1]`; lines between blocks of threads are labelled "block".

    Examples
    --------
    >>> import sparsevis as sv
    >>> from sparsevis.reads import Reads
    >>> counts = {"k": np.array([[[2, 2], [2, 0]]])}
    >>> ax = sv.plots.reads(Reads("mine", 1, 2, 3, counts, {"k": 2}, 4, None, None))
    >>> ax.images[-1].get_array().shape
    (2, 2, 3)
    """
    if not hasattr(result, "counts") or array not in result.counts:
        raise TypeError(f"plots.reads needs what sparsevis.reads returned, and one of its arrays; not {array!r} of {result!r:.60}")
    counts = result.counts[array]
    blocks, threads, rows = counts.shape
    colour, shares = INGREDIENT[_COLOUR[array]], np.minimum(1, counts.reshape(-1, rows) / result.widths[array])
    with canvas(ax, theme, size) as (ax, look):
        matrix_axes(ax, look, blocks * threads, rows)
        ax.set_xlabel(f"row of {array}", fontsize=look.points("label"), color=look.soft)
        if not look.small:
            ax.set_ylabel("thread", fontsize=look.points("label"), color=look.soft)
        look = settle(ax, look)
        draw_image(ax, blend(look.ground, [(colour, shares)]), 1, 1)
        for block in range(1, blocks):
            ax.axhline(block * threads - 0.5, color=look.ink, lw=1.2 * look.scale, label="block")
        key(ax, look, [([mix(look.ground, colour, float(strength(share)))], name) for share, name in _steps(result.widths[array], shares)])
        read, holds = result.read(array), result.holds(array)
        numbers = [f"{read:,} reads of {holds:,} numbers", f"{read / holds:.3g} each", f"blocks of {threads} threads"]
        heading(ax, look, f"{result.impl}: who reads {array}" if title is None else title, numbers)
    return ax


def _steps(width, shares):
    """Shares of a row that occur, least and most, in words."""
    found = sorted({round(x * width) for x in np.unique(shares) if x > 0})
    return [(count / width, f"{count} of the {width} numbers of a row" if count < width else "a whole row, or more")
            for count in dict.fromkeys([*found[:1], *found[-1:]])]  # fmt: skip
