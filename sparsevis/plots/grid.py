"""Several patterns side by side: those that one compares, those of the layers of a model, those of its heads."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from sparsevis.pattern import Pattern
from sparsevis.per_head import PerHead
from sparsevis.plots.mask import mask
from sparsevis.plots.style import figure, tighten

__all__ = ["compare_grid", "heads_grid", "layers_grid"]


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


def layers_grid(patterns_per_layer, n, *, together=False, columns=4, cells=None, theme="light", size=12.0):
    """Draw the mask of every layer of a model, the first nearest the input; heads of a layer that differ are taken together.

    Parameters
    ----------
    patterns_per_layer : ReceptiveField, or sequence of Pattern or PerHead
        One a layer, as in `sparsevis.schedules`.
    n : int
        Number of positions.
    together : bool
        Draw equal layers once, and say in the title which they are.
    columns, cells, theme, size
        As for `compare_grid`.

    Returns
    -------
    Figure

    Examples
    --------
    >>> import sparsevis as sv
    >>> fig = sv.plots.layers_grid(sv.schedules.gemma3(n_layers=12, window=4), 24, together=True)
    >>> [ax.get_title(loc="left") for ax in fig.axes]
    ['Layers 1 to 5, 7 to 11', 'Layers 6, 12']
    """
    patterns = getattr(patterns_per_layer, "patterns", patterns_per_layer)
    if not isinstance(patterns, Sequence) or not patterns or not all(isinstance(p, Pattern | PerHead) for p in patterns):
        raise TypeError(f"layers_grid needs a sequence of patterns, one a layer, not {type(patterns).__name__} {patterns!r:.60}")
    layers = {}
    for l, pattern in enumerate(patterns):
        layers.setdefault(pattern if together else l, []).append(l)
    named = {_layers(found): patterns[found[0]] for found in layers.values()}
    drawn = {title: p.union() if isinstance(p, PerHead) else p for title, p in named.items()}
    return compare_grid(drawn, n, columns=columns, cells=cells, theme=theme, size=size)


def heads_grid(pattern, n, *, columns=4, cells=None, theme="light", size=12.0):
    """Draw the mask of every head.

    Parameters
    ----------
    pattern : PerHead
        One pattern a head.
    n : int
        Number of positions.
    columns, cells, theme, size
        As for `compare_grid`.

    Returns
    -------
    Figure

    Examples
    --------
    >>> import sparsevis as sv
    >>> fig = sv.plots.heads_grid(sv.sparse_transformer_strided(5), 24)
    >>> [ax.get_title(loc="left") for ax in fig.axes]
    ['Head 0', 'Head 1']
    """
    if not isinstance(pattern, PerHead):
        given = f"{type(pattern).__name__} {pattern!r:.60}"
        raise TypeError(f"heads_grid needs a PerHead, not {given}: plots.mask draws one pattern for all heads")
    return compare_grid({f"Head {h}": p for h, p in enumerate(pattern.patterns)}, n, columns=columns, cells=cells, theme=theme, size=size)


def _layers(found):
    """Numbers of layers, from 1, in words: runs of three or more as "1 to 5"."""
    breaks = [0, *(x + 1 for x, (a, b) in enumerate(pairwise(found)) if b != a + 1), len(found)]
    runs = [found[a:b] for a, b in pairwise(breaks)]
    words = [f"{r[0] + 1} to {r[-1] + 1}" if len(r) > 2 else ", ".join(str(l + 1) for l in r) for r in runs]
    return f"Layer{'s' * (len(found) > 1)} {', '.join(words)}"
