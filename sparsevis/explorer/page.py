"""The front end as one module text, a page that stands alone, and the still picture for viewers that run no widget."""

import json
from base64 import b64encode
from functools import lru_cache
from html import escape
from importlib.resources import files

from sparsevis import sketch
from sparsevis.palette import DARK, INGREDIENT, LIGHT

__all__ = ["module", "page", "still", "style"]

PARTS = ["engine", "paint", "widgets", "panel", "stage", "hover", "views", "network", "explorer"]


@lru_cache
def module():
    """Return the front end: an ES module whose default export is {render}."""
    palette = {"ingredient": INGREDIENT, "light": LIGHT | {"dark": False}, "dark": DARK | {"dark": True}}
    parts = [f"const PALETTE = {json.dumps(palette)};\nconst KNOWN = new Map();"]
    parts += [(files(__package__) / "front" / f"{name}.js").read_text(encoding="utf-8") for name in PARTS]
    return "\n".join([*parts, "export default { render };"])


@lru_cache
def style():
    """Return the style sheet."""
    return (files(__package__) / "front" / "explorer.css").read_text(encoding="utf-8")


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
    text = module().replace("export default { render };", known + "\n" + _SHIM.replace("@STATES@", _json(states)))
    return _PAGE.replace("@TITLE@", escape(title)).replace("@STYLE@", style()).replace("@MODULE@", text.replace("</script", "<\\/script"))


def still(pattern, n, code, wide=None):
    """Return an HTML picture of a pattern and its numbers, for where no widget manager runs."""
    layers = pattern.layers(n, cells=64)
    nnz = int(pattern.counts(n, offset=0)[0].sum())
    return (
        f'<div style="display:flex;gap:1em;align-items:center">{sketch.svg(layers, 256, title=f"{code} at n = {n:,}")}<div>'
        f"<code>{escape(code)}</code><br>n = {n:,}: {escape(sketch.facts(nnz, n, n))}<br>"
        "<small>A still picture: the explorer needs a notebook with ipywidgets; <code>export_html</code> makes a page without.</small></div></div>"
    )


def _json(states):
    """JSON that can stand in a script element; bytes as {"$bytes": base64}."""
    return json.dumps(states, default=lambda x: {"$bytes": b64encode(bytes(x)).decode()}).replace("<", "\\u003c")


_SHIM = """
const STATES = @STATES@;
const revived = (x) => {
  if (Array.isArray(x)) return x.map(revived);
  if (x === null || typeof x !== "object") return x;
  if ("$bytes" in x) return new DataView(Uint8Array.from(atob(x.$bytes), (c) => c.charCodeAt(0)).buffer);
  return Object.fromEntries(Object.entries(x).map(([key, value]) => [key, revived(value)]));
};
const heard = {}, names = Object.keys(STATES), state = { ...revived(STATES[names[0]]), offline: true, states: names, state: names[0] };
const model = {
  get: (key) => state[key],
  set(key, value) {
    if (key === "state") { Object.assign(state, revived(STATES[value]), { state: value }); for (const f of heard["change"] ?? []) f(); return; }
    state[key] = value;
    for (const f of [...(heard["change:" + key] ?? []), ...(heard["change"] ?? [])]) f();
  },
  on(event, f) { for (const e of event.split(" ")) (heard[e] ??= []).push(f); },
  off() {}, save_changes() {},
};
render({ model, el: document.getElementById("explorer") });
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>@TITLE@</title>
<style>:root{color-scheme:light dark}body{margin:16px;background:#fff}
@media(prefers-color-scheme:dark){body{background:#14171C}}
@STYLE@</style></head><body><main id="explorer"></main>
<script type="module">
@MODULE@
</script></body></html>
"""
