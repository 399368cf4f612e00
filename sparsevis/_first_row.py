"""The first row of an answer that differs from what is expected, drawn: pairs as cells, numbers as numbers."""

import sys
from html import escape

import numpy as np

from sparsevis.diff import INGREDIENTS
from sparsevis.palette import INGREDIENT

__all__ = ["Numbers", "Row", "show"]


class Row:
    """Two rows of pairs, yours over the expected one, with a mark at each key that differs."""

    most = 64  # cells; of a longer row, those around the first difference

    def __init__(self, yours, expected, kind, number):
        first = int(np.flatnonzero(yours != expected)[0])
        self.start = max(0, min(first - self.most // 4, yours.size - self.most))
        self.yours, self.expected = (x[self.start : self.start + self.most] for x in (yours, expected))
        self.kind, self.number, self.size = kind, number, yours.size

    def __repr__(self):
        draw = lambda row, on, off: "".join(on if x else off for x in row)  # noqa: E731
        lines = [("", draw(self.yours != self.expected, "↓", " ")), *((x, draw(getattr(self, x), "█", "·")) for x in ("yours", "expected"))]
        note = [f"  {'':8}  of keys {self.start:,} to {self.start + self.yours.size - 1:,}"] if self.yours.size < self.size else []
        return "\n".join([f"  {name:8}  {cells}".rstrip() for name, cells in lines] + note)

    def _repr_html_(self):
        unit, left = max(9, min(20, 640 // self.yours.size)), 76
        hues = dict(zip(("yours", "expected", "both"), (INGREDIENT[x] for x in INGREDIENTS), strict=True))
        parts = []
        for line, name in enumerate(("yours", "expected")):
            row, other = getattr(self, name), getattr(self, "expected" if name == "yours" else "yours")
            top = 4 + line * (unit + 8)
            parts.append(f'<text x="0" y="{top + 0.5 * unit + 4:.1f}" fill="currentColor">{name}</text>')
            for j, (here, there) in enumerate(zip(row.tolist(), other.tolist(), strict=True)):
                fill = hues["both" if there else name] if here else f'{hues["both"]}" fill-opacity="0.18'
                ring = f' stroke="{hues["expected" if there else "yours"]}" stroke-width="1.5"' if here != there and not here else ""
                radius = 0.42 * unit if here and not there and name == "expected" else 0.2 * unit  # told apart without colours, too
                side = f'width="{unit - 2}" height="{unit - 2}" rx="{radius:.1f}"'
                parts.append(f'<rect x="{left + j * unit}" y="{top}" {side} fill="{fill}"{ring}/>')
        foot = 2 * (unit + 8) + 12
        ends = {self.start, self.start + self.yours.size - 1, self.start + int(np.flatnonzero(self.yours != self.expected)[0])}
        for j in sorted(ends):
            x = left + (j - self.start + 0.5) * unit - 1
            parts.append(f'<text x="{x:.1f}" y="{foot}" text-anchor="middle" fill="currentColor" font-size="11">{j:,}</text>')
        title = f"{self.kind} {self.number:,}" if self.number is not None else f"{self.kind}s"
        size = f'width="{left + unit * self.yours.size + 12}" height="{foot + 6}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="sans-serif" font-size="13">'
            f"<title>{escape(title)}: yours over the expected row</title>{''.join(parts)}</svg>"
        )


class Numbers:
    """A row of numbers, yours over the expected one, around the first that differs."""

    def __init__(self, yours, expected, place):
        start = max(0, min(place[-1] - 2, yours.size - 6))
        told = lambda row: [f"{x:.5g}" for x in row[start : start + 6].tolist()]  # noqa: E731
        self.rows = {"yours": told(yours), "expected": told(expected)}
        self.mark, self.more = place[-1] - start, start + 6 < yours.size

    def __repr__(self):
        wide = [max(map(len, column)) for column in zip(*self.rows.values(), strict=True)]
        lines = [("", "  ".join(("↓" if j == self.mark else "").rjust(w) for j, w in enumerate(wide)))]
        for name, row in self.rows.items():
            lines.append((name, "  ".join(x.rjust(w) for x, w in zip(row, wide, strict=True)) + "  ..." * self.more))
        return "\n".join(f"  {name:8}  {cells}".rstrip() for name, cells in lines)


def show(rows):
    """Draw in a notebook; elsewhere the exception's text holds the drawing."""
    ipython = sys.modules.get("IPython")
    if rows is not None and ipython is not None and ipython.get_ipython() is not None:
        from IPython.display import display

        display(rows)
