"""What a linter says: findings, each with a sentence, the rows it concerns as runs of neighbours, and how to fix it."""

from collections import Counter
from dataclasses import dataclass, fields
from html import escape

import numpy as np

__all__ = ["SEVERITIES", "Finding", "Findings", "listed", "numbered", "place_of", "runs_of"]

SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes
    ----------
    severity : {"error", "warning", "note"}
        An error makes outputs wrong, or NaN in other libraries; a warning is most likely not meant; a note may well be meant.
    sentence, fix : str
        What is the case, and what to do about it.
    runs : tuple of (int, int)
        The rows concerned: first and last of each run of neighbours.
    of : {"rows", "keys"}
        Whether those are queries, which are the rows of the mask, or key positions.
    name : str
        Of the check.
    where : str
        The heads and layers; empty where it concerns all.
    """

    severity: str
    sentence: str
    fix: str
    runs: tuple[tuple[int, int], ...]
    of: str = "rows"
    name: str = ""
    where: str = ""

    @property
    def rows(self):
        """The rows concerned (or keys, see `of`), as an int64 array."""
        return np.concatenate([np.zeros(0, np.int64), *(np.arange(a, b + 1) for a, b in self.runs)])

    def to_dict(self):
        """Return plain JSON values."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"runs": [list(run) for run in self.runs]}

    def __str__(self):
        where = f"{self.where}: " if self.where else ""
        return f"{self.severity}: {where}{self.sentence} ({listed(self.runs, self.of)})\n  fix: {self.fix}"


@dataclass(frozen=True, repr=False)
class Findings:
    """All that was found, worst first; true if anything was. Prints as sentences, shows as HTML, exports as a dict.

    Attributes
    ----------
    found : tuple of Finding
    n : int or (int, int)
        What was asked about.
    checks : tuple of str
        Names of the checks; `findings["empty rows"]` gives what one of them found.
    unchecked : tuple of str
        Checks that could not be made, and why: most often because they would have taken too much memory.
    """

    found: tuple[Finding, ...]
    n: int | tuple[int, int]
    checks: tuple[str, ...]
    unchecked: tuple[str, ...] = ()

    def __getitem__(self, name):
        if not isinstance(name, str):
            return self.found[name]
        if name not in self.checks:
            raise KeyError(f"no check {name!r}; there are {', '.join(self.checks)}")
        return tuple(f for f in self.found if f.name == name)

    def __iter__(self):
        return iter(self.found)

    def __len__(self):
        return len(self.found)

    @property
    def rows(self):
        """Every query that some finding concerns, as an int64 array."""
        return np.unique(np.concatenate([np.zeros(0, np.int64), *(f.rows for f in self.found if f.of == "rows")]))

    def to_dict(self):
        """Return plain JSON values."""
        n = self.n if isinstance(self.n, int) else list(self.n)
        return {"n": n, "checks": list(self.checks), "unchecked": list(self.unchecked), "found": [f.to_dict() for f in self.found]}

    def _head(self):
        n = f"{self.n:,}" if isinstance(self.n, int) else "{:,} x {:,}".format(*self.n)
        kinds = Counter(f.severity for f in self.found)
        tally = ", ".join(f"{kinds[kind]} {kind}{'s' * (kinds[kind] > 1)}" for kind in SEVERITIES if kinds[kind])
        return f"{tally or 'nothing found'} at n = {n} ({len(self.checks)} checks)"

    def __str__(self):
        return "\n".join([self._head(), *map(str, self.found), *(f"not checked: {why}" for why in self.unchecked)])

    __repr__ = __str__

    def _repr_html_(self):
        cells = [(f.severity, f.where, f.sentence, listed(f.runs, f.of), f.fix) for f in self.found]
        cells += [("not checked", "", why, "", "") for why in self.unchecked]
        head = "".join(f'<th style="text-align:left">{x}</th>' for x in ("severity", "where", "finding", "concerns", "fix"))
        body = "".join("<tr>" + "".join(f'<td style="text-align:left">{escape(x)}</td>' for x in row) + "</tr>" for row in cells)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if cells else ""
        return f"<div><p>{escape(self._head())}</p>{table}</div>"


def runs_of(chosen):
    """Return the runs of True as ((first, last), ...).

    >>> runs_of(np.array([True, True, False, True]))
    ((0, 1), (3, 3))
    """
    cuts = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]])))
    return tuple(zip(cuts[::2].tolist(), (cuts[1::2] - 1).tolist(), strict=True))


def listed(runs, of="rows", most=6):
    """Write runs as words, the first few of them.

    >>> listed(((0, 3), (17, 17))), listed(((5, 5),)), listed(((5, 5), (7, 7)), "keys", most=1)
    ('rows 0-3, 17', 'row 5', 'keys 5 and 1 more')
    """
    shown = ", ".join(f"{a:,}" if a == b else f"{a:,}-{b:,}" for a, b in runs[:most])
    rest = sum(b - a + 1 for a, b in runs[most:])
    alone = len(runs) == 1 and runs[0][0] == runs[0][1]
    return f"{of[:-1] if alone else of} {shown}{f' and {rest:,} more' if rest else ''}"


def place_of(at, stack):
    """Name layers and heads, given as pairs, in words; empty if the stack is one pattern.

    >>> place_of([(0, 1), (1, 1), (2, 0)], [("a", "b"), ("a", "b"), ("b",)])
    'layers 0-1, head 1; layer 2'
    """
    heads_of = {}
    for layer, head in at:
        heads_of.setdefault(layer, []).append(head)
    layers_of = {}  # layers that agree on the heads are named together
    for layer, heads in heads_of.items():
        layers_of.setdefault(tuple(heads) if len(stack[layer]) > 1 else (), []).append(layer)
    words = []
    for heads, layers in layers_of.items():
        named = [numbered("layer", layers) if len(stack) > 1 else "", numbered("head", heads) if heads else ""]
        words.append(", ".join(filter(None, named)))
    return "; ".join(filter(None, words))


def numbered(what, numbers):
    """Write numbered things as words.

    >>> numbered("head", [0, 1, 2, 5])
    'heads 0-2, 5'
    """
    return listed(runs_of(np.isin(np.arange(max(numbers) + 1), numbers)), what + "s")
