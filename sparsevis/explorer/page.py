"""The front end as one module text, a page that stands alone, and the still picture for viewers that run no widget."""

import json
from base64 import b64encode
from functools import lru_cache
from html import escape
from importlib.resources import files

import numpy as np

from sparsevis import sketch
from sparsevis.palette import DARK, INGREDIENT, LIGHT
from sparsevis.pattern import share

__all__ = ["module", "page", "still", "style"]

EXPORT = "export default { render };"
PARTS = ["engine", "paint", "widgets", "panel", "stage", "hover", "programs", "captions", "left", "views", "real", "network", "explorer"]


@lru_cache
def module():
    """Return the front end: an ES module whose default export is {render}."""
    palette = {"ingredient": INGREDIENT, "light": LIGHT | {"dark": False}, "dark": DARK | {"dark": True}}
    parts = [f"const PALETTE = {json.dumps(palette)};\nconst KNOWN = new Map();"]
    parts += [_front(f"{name}.js") for name in PARTS]
    return "\n".join([*parts, EXPORT])


@lru_cache
def style():
    """Return the style sheet."""
    return _front("explorer.css")


def page(title, states, programs):
    """Return a page that asks no network for anything.

    Parameters
    ----------
    title : str
    states : dict of str to dict
        The traits of each state that can be chosen; bytes are carried along.
    programs : dict of str to str
        The JavaScript of each program, by its key: it is part of the page's own module, nothing is compiled from text.
    """
    known = "\n".join(f'KNOWN.set("{key}", {source});' for key, source in programs.items())
    first = next(iter(states.values()))
    shared = {key: x for key, x in first.items() if all(key in s and s[key] == x for s in states.values())}
    own = {name: {key: x for key, x in s.items() if key not in shared} for name, s in states.items()}
    shim = _front("offline.js").replace("@SHARED@", _json(shared)).replace("@STATES@", _json(own))
    text = module().replace(EXPORT, f"{known}\n{shim}")
    words = {"@TITLE@": escape(title), "@STYLE@": style(), "@MODULE@": text.replace("</script", "<\\/script")}
    out = _front("page.html")
    for word, stands_for in words.items():
        out = out.replace(word, stands_for)
    return out


def still(pattern, n, code):
    """Return (HTML, text) with a picture of a pattern and its numbers, for where no widget manager runs."""
    counts, seen = [], None
    for part in pattern.parts():
        pairs, cell = (part if seen is None else part - seen).counts(n, cells=64, offset=0)
        counts.append((part.ingredient, pairs))
        seen = part if seen is None else seen | part
    whole = sum(pairs for _, pairs in counts)
    facts = f"n = {n:,}: {sketch.facts(int(whole.sum()), n, n)}"
    picture = sketch.svg([(name, share(pairs, n, n, cell)) for name, pairs in counts], 256, title=f"{code} at n = {n:,}")
    how = "A still picture: the explorer needs a notebook with ipywidgets; <code>export_html</code> makes a page without."
    words = f"<code>{escape(code)}</code><br>{escape(facts)}<br><small>{how}</small>"
    html = f'<div style="display:flex;gap:1em;align-items:center">{picture}<div>{words}</div></div>'
    fold = 1 if len(whole) <= 32 else 2
    padded = np.pad(whole, (0, -len(whole) % fold)).reshape(-(-len(whole) // fold), fold, -1, fold).sum((1, 3))
    return html, "\n".join([code, facts, sketch.text(share(padded, n, n, fold * cell))])


def _front(name):
    return (files(__package__) / "front" / name).read_text(encoding="utf-8")


def _json(states):
    """JSON that can stand in a script element; bytes as {"$bytes": base64}."""
    return json.dumps(states, default=lambda x: {"$bytes": b64encode(bytes(x)).decode()}).replace("<", "\\u003c")
