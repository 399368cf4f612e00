"""What an interface needs to know of a pattern's fields: their kinds, the values they may take, and where to start.

Nothing is listed by pattern. Kinds come from the fields' types, help and choices from the docstring, and the range of a number is found
by asking the constructor: the largest and smallest values it takes, the other fields being as they are.
"""

import inspect
import re
from dataclasses import MISSING, fields

from sparsevis.explorer.tree import defaults_of

__all__ = ["controls", "fields_of", "start"]

FEW = {"keys_per_query": 3, "blocks_per_row": 2, "count": 4}  # fields that count keys or blocks, not positions
MOST = {"heads": 32, "head": 32, "seed": 100}  # fields that do not grow with the text; more can be typed
KINDS = {"int": "number", "int | None": "optional", "bool": "switch", "tuple[int, ...]": "list", "Relation": "table", "str": "choice"}


def fields_of(make):
    """Return {field: (kind, help, choices)} of a class or a function.

    >>> from sparsevis import RandomBlocks
    >>> fields_of(RandomBlocks)["plan"][::2]
    ('choice', ['uniform', 'published'])
    """
    told = _documented(make)
    if isinstance(make, type):
        types = {f.name: f.type if isinstance(f.type, str) else _type_name(f.type) for f in fields(make) if f.init}
    else:
        types = {name: _type_of(p.default) for name, p in inspect.signature(make).parameters.items()}
    out = {}
    for name, type_ in types.items():
        said, text = told.get(name, ("", ""))
        choices = re.findall(r'"([^"]+)"', said) if said.startswith("{") else []
        kind = KINDS.get(type_, "fixed")
        out[name] = ("fixed" if kind == "choice" and not choices else kind), text, choices
    return out


def start(make, n):
    """Return values for all fields that show what the pattern does at n positions: the defaults, lengths shrunk together to fit.

    >>> from sparsevis import SlidingWindow, bigbird
    >>> start(SlidingWindow, 64), start(bigbird, 64)["block"]
    ({'left': 8, 'right': 0}, 8)
    """
    defaults, values = defaults_of(make), {}
    for name, (kind, _, choices) in fields_of(make).items():
        if name in defaults and defaults[name] is not MISSING:
            values[name] = list(defaults[name]) if isinstance(defaults[name], tuple) else defaults[name]
        elif kind in ("number", "optional"):
            values[name] = FEW.get(name, 1 << (max(n, 2).bit_length() - 1) // 2)
        elif kind == "list":
            values[name] = _thirds(n) if name == "lengths" else [0]
        elif kind == "table":
            values[name] = {"columns": 8, "rows": [sorted({i, 7 - i}) for i in range(8)]}
        else:
            values[name] = choices[0] if choices else False
    if "pairs" in values and "block" in values:  # a table of 8 x 8 blocks
        values["block"] = -(-n // 8)
        blocks = -(-n // values["block"])
        values["pairs"] = {"columns": blocks, "rows": [sorted({i, blocks - 1 - i}) for i in range(blocks)]}
        return values
    large = {name: x for name, x in values.items() if type(x) is int and x >= 8 and name != "seed"}
    shrink = max(1, max(large.values(), default=0) * 8 // max(n, 16))
    return values | {name: max(1, x // shrink) for name, x in large.items()}


def controls(make, values, build, n):
    """Return one dict a field: kind, value, help and, for numbers, lo, hi and step; `build(values)` makes the pattern or raises."""
    out = []
    for name, (kind, text, choices) in fields_of(make).items():
        one = {"field": name, "kind": kind, "value": values[name], "help": text}
        if kind == "choice":
            one["choices"] = choices
        if kind in ("number", "optional"):
            one |= _range(lambda x, name=name: _builds(build, values | {name: x}, n), values[name], MOST.get(name, max(n, 64)))
        out.append(one)
    return out


def _range(works, value, limit):
    """The least and largest values that work, up to a limit, and the step between those that do."""
    value = value or 0
    lo = next((x for x in (0, 1, 2) if works(x)), value)
    step = 1 if works(lo + 1) or not works(lo + 2) else 2
    few, many = 0, max(1, (limit - lo) // step)
    if works(lo + step * many):
        few = many
    while many - few > 1:
        half = (few + many) // 2
        few, many = (half, many) if works(lo + step * half) else (few, half)
    return {"lo": lo, "hi": max(lo + step * few, value), "step": step}


def _builds(build, values, n):
    try:
        fits = getattr(build(values), "fits", None)
    except (ValueError, TypeError):
        return False
    return fits is None or (fits.least <= n and (fits.most is None or n <= fits.most))


def _thirds(n):
    return [n // 2, n // 3, n - n // 2 - n // 3]


def _type_name(type_):
    return type_.__name__ if isinstance(type_, type) else str(type_)


def _type_of(default):
    if default is None:
        return "int | None"
    if default is inspect.Parameter.empty:
        return "int"
    return {bool: "bool", int: "int", tuple: "tuple[int, ...]", str: "str"}.get(type(default), "")


def _documented(make):
    """{parameter: (type, description)} of a numpydoc docstring."""
    text, out = inspect.getdoc(make) or "", {}
    section = re.search(r"Parameters\n-+\n(.*?)(?:\n\n[A-Z][A-Za-z ]+\n-+\n|\Z)", text, re.DOTALL)
    for names, type_, said in re.findall(r"^(\w[\w, *]*) : (.*)\n((?:    .*\n?)*)", (section or [""] * 2)[1] + "\n", re.MULTILINE):
        for name in names.split(", "):
            out[name] = type_, " ".join(said.split())
    return out
