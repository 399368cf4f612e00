"""The picture of information flow: tokens as nodes, one row a layer, and an arc for every pair that a layer allows.

Arcs on some way from the key to the query have the colour of the ingredient that allows them; the others are pale. One shortest path is
drawn over them: an arc where a layer carries what was seen, straight up where the position keeps it.
"""

from itertools import pairwise

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.path import Path

from sparsevis.palette import INGREDIENT
from sparsevis.per_head import PerHead
from sparsevis.plots.hops import checked_field
from sparsevis.plots.shade import mix
from sparsevis.plots.style import canvas, settle, value_axes
from sparsevis.plots.words import heading, ingredient_key, key, text_width

__all__ = ["graph"]

MOST, MOST_LAYERS = 64, 12  # nodes a row, and rows, that can still be told apart


def graph(result, source=None, target=None, *, tokens=None, title=None, ax=None, theme=None, size=8.0):
    """Draw how information flows up through the layers, from one token to another.

    Parameters
    ----------
    result : ReceptiveField
        At n of at most 64, of at most 12 layers.
    source : int, optional
        The key at the input; the farthest that the target has seen if left out.
    target : int, optional
        The query at the top; that of the result, or the last, if left out.
    tokens : sequence of str, optional
        What stands at each position, written below where there is room.
    title, ax, theme, size
        As for `mask`.

    Returns
    -------
    Axes
        `ax.collections` hold the arcs, labelled "arcs" and, where information flows, with their ingredient, and the nodes; the shortest
        path is the line labelled "path".

    Examples
    --------
    >>> import sparsevis as sv
    >>> ax = sv.plots.graph(sv.receptive_field(sv.mistral(4), 16, layers=4), source=7, target=15)
    >>> ax.get_title(loc="left"), ax.lines[0].get_xydata().astype(int).tolist()
    ('3 layers carry token 7 to token 15', [[7, 0], [9, 1], [12, 2], [15, 3], [15, 4]])
    """
    field = checked_field(result, "graph")
    layers, n = len(field.sizes), field.n
    if n > MOST or layers > MOST_LAYERS:
        raise ValueError(f"{n:,} tokens in {layers} layers: a graph can be read up to {MOST} tokens in {MOST_LAYERS} layers; "
                         "see plots.receptive_field and plots.hops for more")  # fmt: skip
    if tokens is not None and len(tokens) != n:
        raise ValueError(f"{len(tokens)} tokens are given for {n} positions")
    field = field.of(target if target is not None else -1 if field.query is None else field.query)
    target, seen = field.query, field.seen(slice(None))
    source = _farthest(seen, target) if source is None else _position(source, n)
    path, flows = field.path(target, source), _flows(field, seen, source)
    with canvas(ax, theme, size, ratio=lambda look: _height(look, layers, n) / 72 / size) as (ax, look):
        value_axes(ax, look, "" if tokens is not None else "token", "")
        ax.grid(visible=False)
        ax.set(xlim=(-0.7, n - 0.3), ylim=(-0.25, layers + 0.25))
        ax.set_yticks(range(layers + 1), ["input", *(f"{l}" if look.small else f"layer {l}" for l in range(1, layers + 1))])
        _name_tokens(ax, look, tokens, n, source, target)
        drawn = _draw_arcs(ax, look, field, flows)
        _draw_nodes(ax, look, flows, n)
        _draw_path(ax, look, path, layers, source, target)
        key(ax, look, ingredient_key(drawn) if len(drawn) > 1 else [])
        look = settle(ax, look)
        heading(ax, look, _finding(tokens, source, target, path, layers) if title is None else title, _numbers(field, flows, path))
    return ax


def _height(look, layers, n):
    gap = np.clip(look.width / layers, 0.12 * look.width, 0.26 * look.width)
    return min(layers * gap, 0.9 * look.width) + (12 if look.small else 9) * look.points("label")


def _farthest(seen, target):
    """The key that takes the most layers to be seen; of several, the one farthest away."""
    first = np.where(seen[-1], seen.argmax(0), -1)
    return int(max(range(len(first)), key=lambda j: (first[j], abs(j - target))))


def _position(x, n):
    if not -n <= x < n:
        raise ValueError(f"source is {x}, and needs to lie from {-n} to {n - 1}")
    return x % n


def _allowed(pattern, n):
    """Pairs of a layer by ingredient: [(ingredient, boolean (n, n))], each pair with the first part that allows it."""
    parts, seen = (pattern.union() if isinstance(pattern, PerHead) else pattern).parts(), np.zeros((n, n), bool)
    out = []
    for part in parts:
        mask = part.mask(n)
        out.append((part.ingredient, mask & ~seen))
        seen |= mask
    return out


def _flows(field, seen, source):
    """Which positions, at the output of each layer, hold something of the source and reach the target: bool (layers + 1, n)."""
    n = field.n
    holds = np.zeros((len(seen), n), bool)
    holds[0, source] = True
    for l, pattern in enumerate(field.patterns):
        pairs = np.any([mask for _, mask in _allowed(pattern, n)], axis=0) | np.eye(n, dtype=bool)
        holds[l + 1] = pairs[:, holds[l]].any(1)
    return holds & field.cone()


def _draw_arcs(ax, look, field, flows):
    """All arcs pale, and those that carry something of the source to the target in their colour; return the ingredients of these."""
    pale, live, n = [], {}, field.n
    for l, pattern in enumerate(field.patterns):
        for name, mask in _allowed(pattern, n):
            for i, j in zip(*np.nonzero(mask & ~np.eye(n, dtype=bool)), strict=True):
                carries = flows[l, j] and flows[l + 1, i]
                (live.setdefault(name, []) if carries else pale).append(_arc(j, i, l))
        for i in np.flatnonzero(flows[l] & flows[l + 1]):
            live.setdefault("dense", []).append(Path([(i, l), (i, l + 1)]))
    thin = np.clip(360 / (2 * n), 2, 10) / 10 * look.scale
    faint = mix(look.paper, INGREDIENT["dense"], 0.28 if look.theme == "light" else 0.33)
    style = {"facecolors": "none", "capstyle": "round", "clip_on": False}
    ax.add_collection(PathCollection(pale, edgecolors=faint, linewidths=0.55 * thin, label="arcs", zorder=1, **style), autolim=False)
    for name, paths in live.items():
        colour, kept = look.word(INGREDIENT[name]), name == "dense"  # blue is too dark for thin lines on dark paper
        ax.add_collection(PathCollection(paths, edgecolors=colour, linewidths=(0.9 if kept else 1.5) * thin, alpha=0.5 if kept else 0.75,
                                         label="kept" if kept else name, zorder=1.5, **style), autolim=False)  # fmt: skip
    return [name for name in live if name != "dense"]


def _arc(j, i, l):
    """From key j below to query i above, leaving and arriving upright."""
    return Path([(j, l), (j, l + 0.5), (i, l + 0.5), (i, l + 1)], [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])


def _draw_nodes(ax, look, flows, n):
    room = 72 * ax.bbox.width / ax.figure.dpi / n
    side = np.clip(0.34 * room, 1.2 * look.scale, 5.5 * look.scale)
    for name, which, colour in (("others", ~flows, mix(look.paper, INGREDIENT["dense"], 0.55)), ("nodes", flows, look.ink)):
        l, x = np.nonzero(which)
        ax.scatter(x, l, s=side**2, color=colour, lw=0, zorder=2.5, label=name, clip_on=False)


def _draw_path(ax, look, path, layers, source, target):
    """The shortest path, from the key up; where it arrives early, straight up to the last layer. Without one, its two ends."""
    dots = {"marker": "o", "ms": 8.5 * look.scale, "mfc": look.paper, "mec": look.ink, "mew": 2.4 * look.scale}
    if path is None:
        ax.plot([source, target], [0, layers], ls="", zorder=4, label="ends", clip_on=False, **dots)
        return
    way = [*path[::-1], *[path[0]] * (layers + 1 - len(path))]
    steps = [Path([(x, l), (x, l + 1)]) if x == y else _arc(x, y, l) for l, (x, y) in enumerate(pairwise(way))]
    halo = [effects.withStroke(linewidth=5.4 * look.scale, foreground=look.paper)]
    ax.add_collection(PathCollection(steps, facecolors="none", edgecolors=look.ink, linewidths=3 * look.scale, capstyle="round", zorder=3,
                                     label="path", clip_on=False, path_effects=halo), autolim=False)  # fmt: skip
    ax.plot(way, range(layers + 1), ls="", zorder=4, label="path", clip_on=False, **dots)


def _name_tokens(ax, look, tokens, n, source, target):
    """Positions, three and the two ends of the path; or all tokens as words, upright where they do not fit side by side."""
    if tokens is None or look.small:
        ends = sorted({source, target})
        others = [x for x in (0, n // 2, n - 1) if min(abs(x - e) for e in ends) > (0.12 if n > 9 else 0.01) * n]
        ax.set_xticks(sorted({*ends, *others}))
    else:
        size, room = look.points("tick"), 0.92 * look.width / n
        words = ["".join(c if c.isprintable() else " " for c in str(t)).strip() or "·" for t in tokens]
        upright = max(text_width(w, size) for w in words) > room
        ax.set_xticks(range(n), words, rotation=90 if upright else 0, fontsize=min(size, room / 1.1) if upright else size, parse_math=False)
    for label, at in zip(ax.get_xticklabels(), ax.get_xticks(), strict=True):
        if at in (source, target):
            label.set(color=look.ink, fontweight="bold")


def _finding(tokens, source, target, path, layers):
    a, b = (f"token {source}", f"token {target}") if tokens is None else (f"“{str(tokens[x]).strip()}”" for x in (source, target))
    if path is None:
        return f"Nothing of {a} reaches {b} in {layers} layer{'s' * (layers != 1)}"
    hops = len(path) - 1
    return f"{hops} layer{'s' * (hops != 1)} carr{'y' if hops != 1 else 'ies'} {a} to {b}" if hops else f"{a.capitalize()} is {b} itself"


def _numbers(field, flows, path):
    if path is None:
        g = field.gridding
        return [f"all distances are multiples of {g}" if g > 1 else f"{len(field.sizes)} layers"]
    way = " → ".join(map(str, path[::-1]))
    return [f"a shortest path: {way}", f"{int(flows.sum())} of {flows.size} nodes lie on some way"]
