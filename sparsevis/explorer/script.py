"""A pattern's formula as JavaScript: the predicate and the interval reading that the browser runs.

No rule is written here. The pattern's symbol reading (see `readings`) gives syntax; every operator of that syntax is printed twice:

    test(i, j)                is the pair allowed
    judge(ia, ib, ja, jb)     of the rectangle of pairs: 0 none is, 2 all are, 1 perhaps; what tells rectangles apart is left in M

so the browser counts as `tally` does: squares that read alike are counted once. A pattern's own whole numbers become parameters P[0],
P[1] ... wherever its rule allows that, so that a slider needs no new code; tables are handed over as arrays T[0], T[1] ...
"""

import ast
from dataclasses import dataclass, fields, is_dataclass, replace
from hashlib import sha256

import numpy as np

from sparsevis.explorer.writer import Writer
from sparsevis.pattern import And, Not, Or
from sparsevis.readings import Symbol
from sparsevis.tables import Relation, Steps

__all__ = ["Program", "leaves", "program"]

MOST_PAIRS = 400_000  # of a table that travels to the browser: 1.6 MB; above, Python counts what the view shows


@dataclass(frozen=True, eq=False)
class Program:
    """What the browser runs for a list of rules.

    Attributes
    ----------
    source : str
        A JavaScript expression; empty where Python must count.
    params : list of int
        The numbers P.
    direct : dict of str to int
        Which parameter the field "path.field" of a leaf is.
    tables : list of dict
        The arrays T.
    n : int or None
        The only length it is for; None for any.
    """

    source: str
    params: list
    direct: dict
    tables: list
    n: int | None

    @property
    def key(self):
        """Names the source."""
        return sha256(self.source.encode()).hexdigest()[:16] if self.source else ""


def leaves(pattern, path=""):
    """Return [(path, leaf)] of a composition: its members that are no composition themselves, "a" and "b" leading to them."""
    if isinstance(pattern, And | Or):
        return leaves(pattern.a, path + "a") + leaves(pattern.b, path + "b")
    return leaves(pattern.a, path + "a") if isinstance(pattern, Not) else [(path, pattern)]


def program(patterns, lists, n):
    """Write the program of some lists of rules that are made of patterns.

    Parameters
    ----------
    patterns : list of Pattern
        Whose numbers become parameters.
    lists : function of so many patterns
        Returns lists of patterns, such as the parts of one and its leaves; called with patterns that hold names for numbers.
    n : int
        Number of positions; the program is for any, unless a rule looks up a table.

    Examples
    --------
    >>> from sparsevis import SlidingWindow
    >>> made = program([SlidingWindow(3, 1)], lambda p: [p.parts()], 64)
    >>> made.params, made.direct, made.n
    ([3, 1], {'0.left': 0, '0.right': 1}, None)
    >>> "((i - j) <= P[0]) && ((j - i) <= P[1])" in made.source
    True
    """
    lifted, n_only = _Lifted(), None
    try:
        rules = lists(*(lifted.of(p, str(k)) for k, p in enumerate(patterns)))
        read = [[_read(p, Symbol("n")) for p in some] for some in rules]
        if any(isinstance(x, ast.Subscript) for some in read for node in some for x in ast.walk(node)):
            read, n_only = [[_read(p, n) for p in some] for some in rules], n
        writer = Writer()
        source = f"[{', '.join('[' + ', '.join(map(writer.rule, some)) + ']' for some in read)}]"
    except (NotImplementedError, TypeError, AttributeError):
        return Program("", [], {}, [], n)
    if sum(t.codes.size if isinstance(t, Relation) else t.ends.size for t in writer.tables) > MOST_PAIRS:
        return Program("", [], {}, [], n)
    return Program(source, lifted.params, lifted.direct, [_table(t) for t in writer.tables], n_only)


def _read(pattern, n):
    node = pattern.allows(Symbol("i"), Symbol("j"), n)
    return node.node if isinstance(node, Symbol) else ast.Constant(bool(node))


class _Lifted:
    """Patterns with a name for every whole number that their rules do not branch on."""

    def __init__(self):
        self.params, self.direct = [], {}

    def of(self, pattern, path):
        if isinstance(pattern, And | Or):
            return type(pattern)(self.of(pattern.a, path + "a"), self.of(pattern.b, path + "b"))
        if isinstance(pattern, Not):
            return Not(self.of(pattern.a, path + "a"))
        return self._leaf(pattern, path)

    def _leaf(self, pattern, path):
        if not is_dataclass(pattern):
            return pattern
        for f in fields(pattern):
            value = getattr(pattern, f.name)
            if type(value) is not int:
                continue
            try:
                lifted = replace(pattern, **{f.name: Symbol(f"P{len(self.params)}")})
                node = _read(lifted, Symbol("n"))
            except (TypeError, ValueError, AttributeError):
                continue  # the rule asks what the number is: it stays a number
            if any(isinstance(x, ast.Subscript) for x in ast.walk(node)):
                continue  # a table was drawn for the number
            pattern = lifted
            self.direct[f"{path}.{f.name}"] = len(self.params)
            self.params.append(value)
        return pattern


def _table(table):
    if isinstance(table, Steps):
        return {"kind": "steps", "ends": table.ends.astype("<i4").tobytes()}
    rows, columns = np.divmod(table.codes, max(1, table.columns))
    start = np.searchsorted(rows, np.arange(table.rows + 1)).astype("<i4")
    arrays = {"start": start.tobytes(), "keys": columns.astype("<i4").tobytes()}
    return {"kind": "relation", "rows": table.rows, "columns": table.columns} | arrays
