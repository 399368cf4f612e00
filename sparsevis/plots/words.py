"""What is written on pictures: headings that fit, keys of coloured words, names at the ends of lines, short numbers."""

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.offsetbox import AnnotationBbox, DrawingArea, HPacker, TextArea, VPacker
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

from sparsevis.palette import INGREDIENT

__all__ = ["apart", "heading", "ingredient_key", "key", "percent", "short", "text_width", "words_of"]


def heading(ax, look, title, numbers):
    """Write a title in words and, under it, its numbers: parts joined by middle dots, the last ones left out where room lacks."""
    size = look.points("numbers")
    lines, gap = _wrap(numbers, look.room, size), 0.6 * size
    ax.annotate(
        "\n".join(lines), (0, 1), (0, gap), xycoords="axes fraction", textcoords="offset points", annotation_clip=False, gid="numbers",
        color=look.soft, fontsize=size, va="bottom", ha="left", linespacing=1.25, parse_math=False,
    )  # fmt: skip
    title, points = _fit(title, look)
    pad = gap + (1.45 * len(lines) + 0.25) * size if lines else gap
    ax.set_title(title, loc="left", pad=pad, fontsize=points, fontweight="bold", color=look.ink, linespacing=1.15, parse_math=False)


def key(ax, look, names, scale=()):
    """Write coloured words under the axes, and soft ones for the steps of a scale on a line of their own, unless all fits in one.

    Both hold entries (colours, word): a run of small squares, and what they stand for.
    """
    size, groups = look.points("numbers"), [g for g in (names, [] if look.small else scale) if g]
    width = lambda colours, word: 0.95 * size * len(colours) + text_width(word, size) + 1.6 * size  # noqa: E731
    if sum(width(*entry) for group in groups for entry in group) <= look.room:
        groups = [[entry for group in groups for entry in group]] if groups else []
    lines = []
    for group in groups:
        used = np.inf
        for colours, word in group:
            used += width(colours, word)
            if used > look.room:
                lines.append([])
                used = width(colours, word)
            lines[-1].append(_entry(size, colours, word, look.word(colours[-1]) if (colours, word) in names else look.soft))
    if not lines:
        return
    rows = [HPacker(children=line, pad=0, sep=1.2 * size, align="center") for line in lines]
    below = AnnotationBbox(
        VPacker(children=rows, pad=0, sep=0.5 * size), (0, 0), (0, -0.6 * size), xycoords=("axes fraction", ax.xaxis.label),
        boxcoords="offset points", box_alignment=(0, 1), frameon=False, pad=0, annotation_clip=False, gid="key",
    )  # fmt: skip
    ax.add_artist(below)


def words_of(ax):
    """Return everything that is written around the axes, by place: title, numbers, key, and the labels of the axes.

    >>> import sparsevis as sv
    >>> words_of(sv.plots.mask(sv.Causal(), 24))["numbers"]
    '300 of 576 pairs · 52.1 % · 12.5 keys a query'
    """
    numbers = [t.get_text() for t in ax.texts if t.get_gid() == "numbers"]
    keys = [t.get_text() for box in ax.artists if box.get_gid() == "key" for t in box.findobj(Text) if t.get_text()]
    return {
        "title": ax.get_title(loc="left"), "numbers": " ".join(numbers).replace("\n", " · "), "key": keys,
        "x": ax.get_xlabel(), "y": ax.get_ylabel(),
    }  # fmt: skip


def ingredient_key(names):
    """Return key entries for ingredients, or none if a single one needs no telling apart."""
    names = list(dict.fromkeys(names))
    return [([INGREDIENT[name]], name) for name in names] if len(names) > 1 else []


def text_width(text, points, bold=False):
    """Width in points that a line of text may take: screens round each letter to pixels, 14 % at 5.5 points and 5 % at 12."""
    font = FontProperties(family="DejaVu Sans", size=points, weight="bold" if bold else "normal")
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] * (1 + 0.8 / points)


def apart(places, gap, low, high):
    """Return places moved as little as needed so that they are `gap` apart and lie from `low` to `high`; their order is kept.

    >>> apart(np.array([5.0, 5.0, 20.0]), 4, 0, 30)
    array([ 3.,  7., 20.])
    """
    order = np.argsort(places, kind="stable")
    gap = min(gap, (high - low) / max(1, len(places) - 1))
    runs = []  # (first place, members): those that would touch stand as one block around their mean
    for place in np.clip(places[order], low, high):
        runs.append((place, 1))
        while len(runs) > 1 and runs[-1][0] < runs[-2][0] + gap * runs[-2][1]:
            (a, m), (b, k) = runs[-2:]
            first = (a * m + (b - gap * m) * k) / (m + k)
            runs[-2:] = [(np.clip(first, low, high - gap * (m + k - 1)), m + k)]
    moved = np.empty(len(places))
    moved[order] = np.concatenate([first + gap * np.arange(count) for first, count in runs])
    return moved


def short(number):
    """Write a number in three digits.

    >>> [short(x) for x in (12, 4095, 1048575, 2.5e13)]
    ['12', '4.09k', '1.05M', '25T']
    """
    for power, name in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= power:
            return f"{number / power:.3g}{name}"
    return f"{number:.3g}"


def percent(part, whole):
    """Write a share in two digits or more.

    >>> percent(1, 3), percent(1, 30000), percent(3, 3)
    ('33.3 %', '0.0033 %', '100 %')
    """
    share = 100 * part / whole if whole else 0.0
    return f"{share:.0f} %" if share in (0, 100) else f"{share:.1f} %" if share >= 0.1 else f"{share:.2g} %"


def _entry(size, colours, word, ink):
    squares = DrawingArea(0.95 * size * len(colours), 0.8 * size)
    for x, colour in enumerate(colours):
        box = f"round,pad=0,rounding_size={0.2 * size}"
        squares.add_artist(FancyBboxPatch((0.95 * size * x, 0), 0.8 * size, 0.8 * size, boxstyle=box, linewidth=0, facecolor=colour))
    text = TextArea(word, textprops={"color": ink, "fontsize": size, "parse_math": False})
    return HPacker(children=[squares, text], pad=0, sep=0.4 * size, align="center")


def _wrap(parts, width, size):
    """The parts in one line, else in two as even as can be, else as many as fit."""
    wide = lambda *some: text_width(" · ".join(some), size)  # noqa: E731
    parts = [p for p in parts if wide(p) <= width]
    if wide(*parts) <= width:
        return [" · ".join(parts)] if parts else []
    for count in range(len(parts), 0, -1):
        widest, cut = min((max(wide(*parts[:c]), wide(*parts[c:count])), c) for c in range(1, count + 1))
        if widest <= width:
            return [" · ".join(line) for line in (parts[:cut], parts[cut:count]) if line]
    return []


def _fit(title, look):
    """The title and its type size: in one line, a little smaller if that will do, else in two even lines."""
    size = look.points("title")
    wide = lambda text: text_width(text, size, bold=True)  # noqa: E731
    if wide(title) <= look.room / 0.85:
        return title, min(size, size * look.room / max(wide(title), 1))
    words = title.split()
    cuts = [(" ".join(words[:i]), " ".join(words[i:])) for i in range(1, len(words))] or [(title,)]
    width, lines = min((max(map(wide, cut)), cut) for cut in cuts)
    return "\n".join(lines), min(size, size * look.room / width)
