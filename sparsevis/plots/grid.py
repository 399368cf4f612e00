"""Several patterns side by side."""

from collections.abc import Mapping

from sparsevis.plots.mask import mask
from sparsevis.plots.style import figure, tighten

__all__ = ["compare_grid"]


def compare_grid(patterns, n, *, columns=3, cells=None, theme="light", size=12.0):
    """Draw several patterns over the same positions.

    Parameters
    ----------
    patterns : dict of str to Pattern
        What to draw, by title.
    n : int
        Number of positions.
    columns : int
        How many pictures a row.
    cells, theme
        As for `mask`.
    size : float
        Width of the figure, in inches.

    Returns
    -------
    Figure

    Examples
    --------
    >>> import sparsevis as sv
    >>> fig = sv.plots.compare_grid({"Causal": sv.Causal(), "Local": sv.SlidingWindow(3)}, 24)
    >>> [ax.get_title(loc="left") for ax in fig.axes]
    ['Causal', 'Local']
    """
    if not isinstance(patterns, Mapping) or not patterns:
        raise TypeError(f"compare_grid needs a dict of titles and patterns, not {type(patterns).__name__} {patterns!r:.60}")
    columns = min(columns, len(patterns))
    rows = -(-len(patterns) // columns)
    fig = figure(rows, columns, width=size, height=rows * (size / columns + 1), theme=theme)
    for ax in fig.axes[len(patterns) :]:
        ax.remove()
    for ax, (title, pattern) in zip(fig.axes, patterns.items(), strict=True):
        mask(pattern, n, cells=cells, title=title, ax=ax, theme=theme)
        if not ax.get_subplotspec().is_first_col():
            ax.set_ylabel("")
    tighten(fig)
    return fig
