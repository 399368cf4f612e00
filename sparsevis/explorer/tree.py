"""A composition as plain JSON values, which a browser can edit: patterns and presets by name with their fields, joined by | & ~.

    {"make": "SlidingWindow", "values": {"left": 4, "right": 0}}      a pattern or a preset
    {"op": "|", "a": tree, "b": tree}                                 or "&"
    {"op": "~", "a": tree}
    {"given": 0}                                                      a value that was passed in and has no such form

A tree becomes a pattern (`build`), a pattern a tree (`tree_of`), and a tree the line of Python that makes it (`code_of`).
"""

from dataclasses import MISSING, fields, is_dataclass

from sparsevis import spoken
from sparsevis.pattern import And, Not, Or, Pattern
from sparsevis.patterns import Chosen
from sparsevis.per_head import PerHead
from sparsevis.portable import from_dict
from sparsevis.tables import Relation

__all__ = ["Words", "walk"]

MOST_CELLS = 256  # of a table that is edited cell by cell


class Words:
    """The names a tree may use: the vocabulary, the classes of patterns that were passed in, and such patterns themselves."""

    def __init__(self):
        self.makers, self.given = spoken.vocabulary() | {"Chosen": Chosen}, []

    def build(self, node):
        """Return the pattern of a tree; raises what its constructors raise."""
        if "op" in node:
            a = self.build(node["a"])
            if node["op"] == "~":
                return ~a
            b = self.build(node["b"])
            return a & b if node["op"] == "&" else a | b
        if "given" in node:
            return self.given[node["given"]]
        make, values = self.makers[node["make"]], node["values"]
        if isinstance(make, type) and make.__module__.startswith("sparsevis."):
            return from_dict({"pattern": node["make"]} | values)
        return make(**{name: tuple(x) if isinstance(x, list) else x for name, x in values.items()})

    def tree_of(self, pattern):
        """Return the tree of a pattern."""
        if isinstance(pattern, And | Or):
            return {"op": "&" if isinstance(pattern, And) else "|", "a": self.tree_of(pattern.a), "b": self.tree_of(pattern.b)}
        if isinstance(pattern, Not):
            return {"op": "~", "a": self.tree_of(pattern.a)}
        if not isinstance(pattern, Pattern | PerHead):
            raise TypeError(f"explore needs a Pattern or a PerHead, not {type(pattern).__name__} (a mask: Chosen.from_mask)")
        if isinstance(pattern, Pattern) and is_dataclass(pattern) and all(_is_plain(getattr(pattern, f.name)) for f in fields(pattern)):
            name = type(pattern).__name__
            if self.makers.setdefault(name, type(pattern)) is type(pattern):
                return {"make": name, "values": {f.name: _plain(getattr(pattern, f.name)) for f in fields(pattern)}}
        if pattern not in self.given:
            self.given.append(pattern)
        return {"given": self.given.index(pattern)}

    def code_of(self, node, beside=""):
        """Return the line that makes the pattern of a tree; it stands in brackets beside an operator other than `beside`."""
        if "op" in node:
            if node["op"] == "~":
                return f"~{self.code_of(node['a'], '~')}"
            a, b, op = self.code_of(node["a"], node["op"]), node["b"], node["op"]
            if op == "&" and b.get("op") == "~":
                op, b = "-", b["a"]
            text = f"{a} {op} {self.code_of(b, '~')}"
            return text if op == beside or not beside else f"({text})"
        if "given" in node:
            return _code_of_given(self.given[node["given"]])
        make, values = self.makers[node["make"]], node["values"]
        if any(isinstance(x, dict) for x in values.values()):
            return f"sv.from_dict({ {'pattern': node['make']} | values!r})"
        defaults, shown = defaults_of(make), []
        for name, x in values.items():
            x = tuple(x) if isinstance(x, list) else x
            if name not in defaults or defaults[name] != x:
                shown.append(f"{name}={x!r}")
        prefix = "sv." if make.__module__.startswith("sparsevis.") else ""
        return f"{prefix}{node['make']}({', '.join(shown)})"


def walk(node, path=""):
    """Return [(path, leaf)] of a tree: "a" and "b" lead down."""
    if "op" in node:
        return [x for side in ("a", "b") if side in node for x in walk(node[side], path + side)]
    return [(path, node)]


def defaults_of(make):
    """Return the default of each field of a class, or parameter of a function, that has one."""
    if isinstance(make, type):
        return {f.name: f.default for f in fields(make) if f.default is not MISSING}
    from inspect import signature

    return {name: p.default for name, p in signature(make).parameters.items() if p.default is not p.empty}


def _is_plain(value):
    if isinstance(value, Relation):
        return value.rows * value.columns <= MOST_CELLS
    if isinstance(value, tuple):
        return len(value) <= MOST_CELLS and all(type(x) is int for x in value)
    return value is None or isinstance(value, bool | int | str)


def _plain(value):
    if isinstance(value, Relation):
        return {"columns": value.columns, "rows": value.lists()}
    return list(value) if isinstance(value, tuple) else value


def _code_of_given(pattern):
    if isinstance(pattern, PerHead):
        return f"sv.PerHead({', '.join(map(_code_of_given, pattern.patterns))})"
    words = Words()
    tree = words.tree_of(pattern)
    if "given" not in tree:
        return words.code_of(tree)
    return f"sv.from_dict({pattern.to_dict()!r})" if type(pattern).__module__.startswith("sparsevis.") else repr(pattern)
