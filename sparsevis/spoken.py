"""Patterns and lengths as people type them: `longformer`, "Causal() & SlidingWindow(64)", 1k..1M.

An expression is read, never run: names of the vocabulary, calls with plain values, and the operators & | ~ -.
"""

import ast
import inspect
from difflib import get_close_matches

from sparsevis import patterns, schedules
from sparsevis.per_head import PerHead

__all__ = ["length", "lengths", "pattern", "stack", "vocabulary"]

UNITS = {"k": 1 << 10, "m": 1 << 20}


def vocabulary():
    """Return everything that makes a pattern of the parameters a command line can hold, by name."""
    return {name: x for name, x in vars(patterns).items() if callable(x) and not name.startswith("_") and name != "Chosen"}


def pattern(text, options=None):
    """Read a pattern: a name with options, or an expression.

    >>> pattern("sliding-window", {"left": 3})
    SlidingWindow(left=3)
    >>> pattern("Causal() & (SlidingWindow(3) | Global([0]))")
    Causal() & (SlidingWindow(left=3) | Global(tokens=(0,)))
    """
    words = vocabulary()
    if options or text.replace("-", "_").isidentifier():
        return _made(_found(words, text), options or {})
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:
        raise ValueError(f"{text!r} is no pattern: give a name, or an expression such as 'Causal() & SlidingWindow(64)'") from None
    return _built(tree, words | {"PerHead": PerHead}, text)


def stack(text, options, layers):
    """Read the patterns of a model's layers: a pattern for so many layers, or the name of a schedule (see `sparsevis.schedules`).

    >>> stack("gemma3", {}, 7)[4:6]
    (SlidingWindow(left=1023), Causal())
    """
    if layers is not None and layers < 1:
        raise ValueError(f"{layers} layers: needs 1 or more")
    known = {_plain(name): getattr(schedules, name) for name in schedules.__all__ if name not in vocabulary()}
    if _plain(text) in known:
        return _made(known[_plain(text)], options | ({"n_layers": layers} if layers else {}))
    return (pattern(text, options),) * (layers or 4)


def length(text):
    """Read a length: 4096, 4,096, 4k or 1M; k is 1,024.

    >>> length("4k"), length("1M"), length("1,000")
    (4096, 1048576, 1000)
    """
    digits, unit = text.replace(",", "").replace("_", ""), 1
    if digits[-1:].lower() in UNITS:
        digits, unit = digits[:-1], UNITS[digits[-1].lower()]
    if not digits.isdecimal() or int(digits) < 1:
        raise ValueError(f"{text!r} is no length: needs a whole number >= 1, such as 4096 or 4k")
    return int(digits) * unit


def lengths(text):
    """Read one length, or the powers of two between two.

    >>> lengths("4k"), lengths("1k..8k")
    ([4096], [1024, 2048, 4096, 8192])
    """
    first, dots, last = text.partition("..")
    found = [length(first)]
    while dots and 2 * found[-1] <= length(last):
        found.append(2 * found[-1])
    if dots and len(found) < 2:
        raise ValueError(f"{text!r} holds one length alone: the second needs to be twice the first or more, as in 1k..1M")
    return found


def _found(words, name):
    known = {_plain(x): x for x in words}
    if _plain(name) not in known:
        near = get_close_matches(_plain(name), known, 1)
        raise ValueError(f"no pattern is called {name!r}; {f'did you mean {known[near[0]]}?' if near else 'see sparsevis list'}")
    return words[known[_plain(name)]]


def _made(make, options):
    parameters = inspect.signature(make).parameters
    for option in options:
        if option not in parameters:
            raise ValueError(f"{make.__name__} has no parameter {option!r}; it has {', '.join(parameters) or 'none'}")
    missing = [p for p, x in parameters.items() if x.default is inspect.Parameter.empty and p not in options]
    if missing:
        raise ValueError(f"{make.__name__} needs {' '.join(f'--{p} VALUE' for p in missing)}")
    return make(**options)


def _built(tree, words, text):
    """A value of a syntax tree that holds nothing but patterns, plain values and the operators of patterns."""
    match tree:
        case ast.BinOp(left, ast.BitAnd(), right):
            return _built(left, words, text) & _built(right, words, text)
        case ast.BinOp(left, ast.BitOr(), right):
            return _built(left, words, text) | _built(right, words, text)
        case ast.BinOp(left, ast.Sub(), right):
            return _built(left, words, text) - _built(right, words, text)
        case ast.UnaryOp(ast.Invert(), operand):
            return ~_built(operand, words, text)
        case ast.Name(name):
            return _made(_found(words, name), {})
        case ast.Call(ast.Name(name), args, keywords) if all(k.arg for k in keywords):
            make, values = _found(words, name), {k.arg: _value(k.value, words, text) for k in keywords}
            return make(*(_value(x, words, text) for x in args), **values)
    raise ValueError(f"{ast.unparse(tree)!r} in {text!r} is no pattern: names, calls with plain values and & | ~ - are all there is")


def _value(tree, words, text):
    try:
        return ast.literal_eval(tree)
    except ValueError:
        return _built(tree, words, text)


def _plain(name):
    return name.lower().replace("_", "").replace("-", "")
