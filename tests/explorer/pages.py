"""What the browser tests share: opening an exported page, waiting until it has drawn, reading pixels and counts back."""

import json
from pathlib import Path

import numpy as np

from sparsevis.explorer import page

ROOT = ".sv-explorer"


def exported(explorer, window, folder, **options):
    """Write the page of an explorer, open it, and wait for its first picture."""
    file = Path(folder) / "page.html"
    explorer.export_html(file, options.pop("states", None), views=options.pop("views", ["mask", "tiles"]))
    opened = window(**options)
    opened.goto(file.as_uri())
    opened.wait_for_function("document.querySelector('.sv-explorer')?.dataset.drawn > 0")
    opened.wait_for_function("document.querySelector('.sv-facts').textContent !== ''")
    return opened


def settle(opened):
    """Wait until no frame is pending."""
    opened.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 60))))")


def pixels(opened, cells, which=0):
    """Return the colour in the middle of each of cells x cells squares of a figure: uint8 (cells, cells, 3)."""
    settle(opened)
    code = """(canvas, cells) => {
      const c = canvas.getContext("2d"), dpr = window.devicePixelRatio, side = canvas.height / dpr - 42, out = [];
      const { data } = c.getImageData(0, 0, canvas.width, canvas.height);
      for (let i = 0; i < cells; i++) for (let j = 0; j < cells; j++) {
        const y = Math.floor((8 + (i + 0.5) * side / cells) * dpr), x = Math.floor((46 + (j + 0.5) * side / cells) * dpr);
        out.push(...data.slice(4 * (y * canvas.width + x), 4 * (y * canvas.width + x) + 3));
      }
      return out;
    }"""
    return np.array(opened.locator(".sv-stage canvas").nth(which).evaluate(code, cells), np.uint8).reshape(cells, cells, 3)


def colour(text):
    return np.array([int(text[k : k + 2], 16) for k in (1, 3, 5)], np.uint8)


def engine(opened):
    """Load the front end's own text into a blank page, so that its parts can be asked directly."""
    opened.goto("about:blank")
    text = page.module().replace(page.EXPORT, "Object.assign(globalThis, { Counter, tableOf, picture, blended, valuesOf, PALETTE, rgb });")
    opened.add_script_tag(content=text, type="module")
    opened.wait_for_function("globalThis.Counter !== undefined")


def handed(made):
    """Return a program as JSON a page can take."""
    tables = [{key: list(value) if isinstance(value, bytes) else value for key, value in t.items()} for t in made.tables]
    return json.dumps({"source": made.source, "params": made.params, "tables": tables})


MAKE = """
const bytes = (x) => (Array.isArray(x) ? Uint8Array.from(x) : x);
const program = (made) => ({
  lists: new Function(`return ${made.source}`)(),
  tables: made.tables.map((t) => tableOf(Object.fromEntries(Object.entries(t).map(([key, x]) => [key, bytes(x)])))),
});
"""
