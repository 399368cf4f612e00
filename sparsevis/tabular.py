"""Results that print as a table, show as one in a notebook, and leave as plain data."""

import json
from html import escape

__all__ = ["Tabular", "amount", "seconds_of", "share"]


class Tabular:
    """A result with `to_dicts()`, plain rows; and `_cells()`, (head, body) of text, under `_heading()` and above `_notes()`."""

    def to_json(self):
        """Return the rows as JSON text; what is not a number is null."""
        return json.dumps([{name: None if x != x else x for name, x in row.items()} for row in self.to_dicts()])

    def _heading(self):
        return ""

    def _notes(self):
        return []

    def __str__(self):
        head, body = self._cells()
        width = [max(len(row[c]) for row in [head, *body]) for c in range(len(head))]
        lines = [[row[0].ljust(width[0]), *(x.rjust(w) for x, w in zip(row[1:], width[1:], strict=True))] for row in [head, *body]]
        table = ["  ".join(line).rstrip() for line in [lines[0], ["-" * w for w in width], *lines[1:]]]
        return "\n".join(filter(None, [self._heading(), *table, *self._notes()]))

    __repr__ = __str__

    def _repr_html_(self):
        head, body = self._cells()
        rows = ["<tr>" + "".join(f"<td>{escape(x)}</td>" for x in row) + "</tr>" for row in body]
        table = f"<table><thead><tr>{''.join(f'<th>{escape(x)}</th>' for x in head)}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        around = [f"<p>{escape(x)}</p>" for x in (self._heading(), *self._notes())]
        return "".join(["<div>", around[0] if self._heading() else "", table, *around[1:], "</div>"])


def amount(number, unit=""):
    """Write a number in three digits with its unit.

    >>> amount(17179869184, "B"), amount(4096), amount(2.5e12, "FLOP"), amount(None)
    ('17.2 GB', '4.1 k', '2.5 TFLOP', '-')
    """
    if number is None:
        return "-"
    for power, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= power:
            return f"{number / power:.3g} {prefix}{unit}"
    return f"{number:.3g} {unit}".rstrip()


def seconds_of(time):
    """Write a time.

    >>> seconds_of(2.5), seconds_of(0.0123), seconds_of(float("nan"))
    ('2.5 s', '12.3 ms', '-')
    """
    return "-" if time != time else f"{time:.3g} s" if time >= 1 else f"{1e3 * time:.3g} ms" if time >= 1e-3 else f"{1e6 * time:.3g} us"


def share(part, whole):
    """Write a share in three digits.

    >>> share(1, 8), share(1, 4000), share(0, 0)
    ('12.5 %', '0.025 %', '-')
    """
    return f"{100 * part / whole:.3g} %" if whole else "-"
