"""Small pictures of a matrix of pair counts without matplotlib: text for the terminal, SVG for a notebook."""

from html import escape

import numpy as np

from sparsevis.palette import INGREDIENT, LIGHT

__all__ = ["facts", "svg", "text"]

_SHADES = "·░▒▓█"


def text(share):
    """Draw a matrix of shares (0 to 1) with characters, two for each cell so that it comes out square.

    >>> print(text(np.array([[1, 0], [0.5, 0.01]])))
    ██··
    ▒▒░░
    """
    level = np.where(share >= 1, 4, np.where(share > 0, 1 + np.minimum(2, (share * 3).astype(int)), 0))
    return "\n".join("".join(_SHADES[x] * 2 for x in row) for row in level)


def facts(nnz, nq, nk):
    """The numbers under every picture.

    >>> facts(196, 24, 24)
    '196 of 576 pairs · 34.0 % · 8.2 keys a query'
    """
    pairs = nq * nk
    percent = 100 * nnz / pairs if pairs else 0.0
    shown = f"{percent:.1f}" if percent >= 0.1 or percent == 0 else f"{percent:.2g}"
    return f"{nnz:,} of {pairs:,} pairs · {shown} % · {nnz / nq if nq else 0:,.1f} keys a query"


def svg(layers, size=192, title=""):
    """Draw matrices of shares, each in its ingredient's colour, as one inline SVG of about `size` pixels.

    `layers` is a list of (ingredient, share); runs of equal cells in a row become one rectangle.
    """
    rows, columns = layers[0][1].shape
    unit = size / max(rows, columns, 1)
    gap = 0.12 * unit if unit >= 6 else 0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * unit:.0f}" height="{rows * unit:.0f}" '
        f'viewBox="0 0 {columns * unit:.2f} {rows * unit:.2f}" role="img" shape-rendering="{"auto" if gap else "crispEdges"}">'
        f'<title>{escape(title)}</title><rect width="100%" height="100%" fill="{LIGHT["ground"]}"/>'
    ]
    for ingredient, share in layers:
        parts.append(f'<g fill="{INGREDIENT[ingredient]}">')
        opacity = np.where(share > 0, np.maximum(0.15, np.round(share, 1)), 0)
        for i, row in enumerate(opacity):
            for start, end, shade in _runs(row, split=gap > 0):
                faint = "" if shade >= 1 else f' fill-opacity="{shade:.2f}"'
                parts.append(
                    f'<rect x="{start * unit + gap:.2f}" y="{i * unit + gap:.2f}" width="{(end - start) * unit - 2 * gap:.2f}" '
                    f'height="{unit - 2 * gap:.2f}"{f" rx={chr(34)}{2 * gap:.2f}{chr(34)}" if gap else ""}{faint}/>'
                )
        parts.append("</g>")
    return "".join(parts) + "</svg>"


def _runs(row, split):
    """(start, end, value) of each run of equal values above 0; every cell for itself if `split`."""
    cuts = np.arange(row.size + 1) if split else np.concatenate([[0], np.flatnonzero(np.diff(row)) + 1, [row.size]])
    return [(a, b, row[a]) for a, b in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True) if row[a] > 0]
