"""Patterns from plain JSON values: what `to_dict` wrote becomes a pattern again, and no code from the data runs."""

import json
from dataclasses import MISSING, fields
from operator import index

from sparsevis import patterns
from sparsevis.pattern import Pattern
from sparsevis.per_head import PerHead
from sparsevis.tables import Relation

__all__ = ["from_dict"]


def from_dict(data):
    """Make the pattern that `to_dict` wrote; a JSON text is taken too. Runs no code from the data.

    Raises
    ------
    ValueError
        If the data names no known pattern or a field it does not have.
    """
    data = json.loads(data) if isinstance(data, str) else data
    known = {c.__name__: c for c in [*_subclasses(Pattern), patterns.Dense]}
    if not isinstance(data, dict) or data.get("pattern") not in [*known, "PerHead"]:
        raise ValueError(f"no pattern is described by {str(data)[:80]!r}: 'pattern' needs to be one of {sorted([*known, 'PerHead'])}")
    given = {name: value for name, value in data.items() if name != "pattern"}
    if data["pattern"] == "PerHead":
        return PerHead(*map(from_dict, given.get("patterns", [])))
    cls = known[data["pattern"]]
    names, needed = [f.name for f in fields(cls)], [f.name for f in fields(cls) if f.default is MISSING]
    if not set(needed) <= set(given) <= set(names):
        raise ValueError(f"{cls.__name__} has the fields {names} and needs {needed}, but the data has {sorted(given)}")
    return cls(**{name: _value(value) for name, value in given.items()})


def _value(value):
    if isinstance(value, dict) and "pattern" in value:
        return from_dict(value)
    if isinstance(value, dict):
        return _table(value)
    return tuple(value) if isinstance(value, list) else value


def _table(value):
    if set(value) != {"columns", "rows"}:
        raise ValueError(f"a table is {{'columns': number, 'rows': lists of columns}}, but the data has {sorted(value)}")
    columns, rows = index(value["columns"]), [[index(j) for j in row] for row in value["rows"]]
    wrong = [j for row in rows for j in row if not 0 <= j < columns]
    if wrong:
        raise ValueError(f"a table of {columns} columns lists column {wrong[0]}: columns need to lie from 0 to {columns - 1}")
    return Relation(len(rows), columns, [i * columns + j for i, row in enumerate(rows) for j in row])


def _subclasses(cls):
    return [s for c in cls.__subclasses__() for s in (c, *_subclasses(c))]
