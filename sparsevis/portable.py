"""Patterns from plain JSON values: what `to_dict` wrote becomes a pattern again, and no code from the data runs."""

import json
from dataclasses import fields

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
    known = {c.__name__: c for c in _subclasses(Pattern)}
    if not isinstance(data, dict) or data.get("pattern") not in [*known, "PerHead"]:
        raise ValueError(f"no pattern is described by {str(data)[:80]!r}: 'pattern' needs to be one of {sorted([*known, 'PerHead'])}")
    given = {name: value for name, value in data.items() if name != "pattern"}
    if data["pattern"] == "PerHead":
        return PerHead(*map(from_dict, given.get("patterns", [])))
    cls = known[data["pattern"]]
    wrong = set(given) - {f.name for f in fields(cls)}
    if wrong:
        raise ValueError(f"{cls.__name__} has no field {sorted(wrong)}: its fields are {[f.name for f in fields(cls)]}")
    return cls(**{name: _value(value) for name, value in given.items()})


def _value(value):
    if isinstance(value, dict) and "pattern" in value:
        return from_dict(value)
    if isinstance(value, dict):
        columns = value["columns"]
        codes = [i * columns + j for i, row in enumerate(value["rows"]) for j in row]
        return Relation(len(value["rows"]), columns, codes)
    return tuple(value) if isinstance(value, list) else value


def _subclasses(cls):
    return [s for c in cls.__subclasses__() for s in (c, *_subclasses(c))]
