"""The explorer in a real JupyterLab, from end to end: shown, driven by controls and keys, read back in Python, timed, light and dark."""

import os
import shutil
from pathlib import Path
from statistics import median

import numpy as np
import pytest

import sparsevis as sv
from sparsevis.palette import DARK

from .pages import colour, pixels, settle
from .test_page import first_allowed

CELL = """
import sparsevis as sv
explorer = sv.explore(sv.Causal() & (sv.SlidingWindow(3) | sv.Global([0])), 32)
explorer
"""
TELL = "print('code:', explorer.code, explorer.n, eval(explorer.code) == explorer.pattern)"

LATENCY = """async ([name, values]) => {
  const root = document.querySelector(".sv-explorer"), out = [];
  for (const value of values) {
    const range = root.querySelector(`input[type=range][aria-label=${name}]`), before = +root.dataset.drawn, start = performance.now();
    range.value = value;
    range.dispatchEvent(new Event("input", { bubbles: true }));
    while (!(+root.dataset.drawn > before)) await new Promise((done) => setTimeout(done, 0));
    await new Promise((done) => { const c = new MessageChannel(); c.port1.onmessage = done; c.port2.postMessage(0); });
    out.push(performance.now() - start);
    await new Promise((done) => setTimeout(done, 150));
  }
  return out;
}"""
FROM_PYTHON = """async ([name, values]) => {
  const root = document.querySelector(".sv-explorer"), out = [];
  for (const value of values) {
    const range = root.querySelector(`input[type=range][aria-label=${name}]`), before = +root.dataset.stamp, start = performance.now();
    range.value = value;
    range.dispatchEvent(new Event("input", { bubbles: true }));
    while (!(+root.dataset.stamp > before)) await new Promise((done) => setTimeout(done, 0));
    out.push(performance.now() - start);
    await new Promise((done) => setTimeout(done, 150));
  }
  return out;
}"""


def run_all(opened, home):
    opened.goto(f"{home}/lab/tree/a.ipynb?reset")
    opened.wait_for_function("window.jupyterapp?.shell.currentWidget?.context?.isReady", timeout=90_000)
    opened.evaluate("jupyterapp.shell.currentWidget.sessionContext.ready.then(() => jupyterapp.commands.execute('notebook:run-all-cells'))")
    opened.wait_for_selector(".sv-explorer canvas", timeout=90_000)
    opened.wait_for_function("document.querySelector('.sv-facts').textContent !== ''", timeout=30_000)


def in_python(opened):
    """Run the last cell again, and return what it prints."""
    opened.evaluate("""async () => {
      const book = jupyterapp.shell.currentWidget.content, last = book.widgets.length - 1;
      book.widgets[last].model.sharedModel.execution_count = null;
      book.activeCellIndex = last;
      await jupyterapp.commands.execute("notebook:run-cell");
    }""")
    opened.wait_for_timeout(100)
    return opened.locator(".jp-Cell").last.locator(".jp-OutputArea-output").text_content().removeprefix("code: ").strip()


def choose_pattern(opened, name):
    opened.locator(".sv-leaf select").first.select_option(name)
    opened.wait_for_function(f"document.querySelector('.sv-code').textContent.startsWith('sv.{name}(')", timeout=30_000)


@pytest.fixture
def lab(tmp_path):
    pytest.importorskip("jupyterlab", reason='no JupyterLab: pip install "sparsevis[notebook]"')
    pytest.importorskip("nbformat")
    from .lab import server

    with server(tmp_path, [CELL, TELL]) as home:
        yield home


def test_from_end_to_end(window, lab, tmp_path, capsys):
    opened = window(offline=False, size=(1500, 1100))
    run_all(opened, lab)
    rows = np.arange(32)
    assert (pixels(opened, 32) == first_allowed(sv.Causal() & (sv.SlidingWindow(3) | sv.Global([0])), rows, rows, 32)).all()

    # a key on a slider, which JupyterLab would take; what was changed here is read there
    opened.get_by_role("slider", name="left", exact=True).press("ArrowRight")
    changed = sv.Causal() & (sv.SlidingWindow(4) | sv.Global([0]))
    assert (pixels(opened, 32) == first_allowed(changed, rows, rows, 32)).all()
    opened.wait_for_function("document.querySelector('.sv-code').textContent.includes('left=4')")
    assert in_python(opened) == "sv.Causal() & (sv.SlidingWindow(left=4) | sv.Global(tokens=(0,))) 32 True"

    # composition by the interface
    opened.get_by_role("button", name="turn round: not").nth(1).click()
    opened.wait_for_function("document.querySelector('.sv-code').textContent.includes('~sv.SlidingWindow')")
    composed = sv.Causal() & (~sv.SlidingWindow(4) | sv.Global([0]))
    settle(opened)
    assert (pixels(opened, 32) == first_allowed(composed, rows, rows, 32)).all()
    opened.get_by_role("button", name="remove").last.click()
    opened.wait_for_function("!document.querySelector('.sv-code').textContent.includes('Global')")
    opened.locator("select.sv-op").select_option("|")
    opened.wait_for_function("document.querySelector('.sv-code').textContent === 'sv.Causal() | ~sv.SlidingWindow(left=4)'")
    assert in_python(opened).endswith("True")
    opened.get_by_role("button", name="remove").last.click()
    opened.wait_for_function("document.querySelector('.sv-code').textContent === 'sv.Causal()'")

    # slider to pixels
    told = []
    opened.get_by_role("spinbutton", name="n, exactly").fill("4096")
    opened.keyboard.press("Tab")
    for name, field, values, measured in (
        ("SlidingWindow", "left", range(40, 60), LATENCY), ("Dilated", "dilation", range(2, 22), LATENCY),
        ("longformer", "window", range(40, 52), FROM_PYTHON), ("bigbird", "window_blocks", range(2, 12), FROM_PYTHON),
    ):  # fmt: skip
        choose_pattern(opened, name)
        opened.wait_for_timeout(300)
        times = opened.evaluate(measured, [field, list(values)])
        told.append((f"{name}.{field}, n = 4,096, {'in the browser' if measured is LATENCY else 'by way of Python'}", times))
    opened.get_by_role("spinbutton", name="n, exactly").fill(str(1 << 20))
    opened.keyboard.press("Tab")
    for name, field in (("SlidingWindow", "left"), ("Strided", "stride")):
        choose_pattern(opened, name)
        opened.wait_for_timeout(500)
        told.append((f"{name}.{field}, n = 1,048,576, in the browser", opened.evaluate(LATENCY, [field, list(range(100, 112))])))
    with capsys.disabled():
        print("\nslider to pixels, median and worst of some:")
        for what, times in told:
            print(f"  {what:58s} {median(times):6.1f} ms {max(times):7.1f} ms")
    assert median(told[0][1]) < 200, "50 ms on a quiet machine"
    assert max(median(times) for _, times in told) < 1000

    # light and dark, and no word to anyone outside
    shots = Path(os.environ.get("SPARSEVIS_SCREENSHOTS", tmp_path))
    opened.get_by_role("spinbutton", name="n, exactly").fill("256")
    opened.keyboard.press("Tab")
    choose_pattern(opened, "longformer")
    settle(opened)
    opened.screenshot(path=shots / "lab-light.png")
    opened.evaluate("jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' })")
    opened.wait_for_function("document.querySelector('.sv-explorer').dataset.theme === 'dark'", timeout=20_000)
    assert (pixels(opened, 256)[10, 200] == colour(DARK["ground"])).all()
    opened.screenshot(path=shots / "lab-dark.png")
    outside = [url for url in opened.asked if not url.startswith((lab, "blob:", "data:", lab.replace("http", "ws")))]
    assert outside == []
    assert shutil.which("chromium") is None or (shots / "lab-dark.png").stat().st_size > 20_000


@pytest.mark.parametrize("application", ["notebook", "voila"])
def test_other_applications(window, tmp_path, application):
    """Notebook 7 and Voila show it, draw it and answer."""
    pytest.importorskip(application, reason=f"no {application}: pip install {application}")
    pytest.importorskip("nbformat")
    from .lab import server

    with server(tmp_path, [CELL], application) as home:
        opened = window(offline=False, size=(1300, 900), broken_pages=True)
        if application == "notebook":
            opened.goto(f"{home}/notebooks/a.ipynb")
            opened.wait_for_function("window.jupyterapp?.shell.currentWidget?.context?.isReady", timeout=90_000)
            ready = "jupyterapp.shell.currentWidget.sessionContext.ready"
            opened.evaluate(f"{ready}.then(() => jupyterapp.commands.execute('notebook:run-all-cells'))")
        else:
            opened.goto(home)
        opened.wait_for_selector(".sv-explorer canvas", timeout=90_000)
        opened.get_by_role("slider", name="left", exact=True).press("ArrowRight")
        opened.wait_for_function("document.querySelector('.sv-code').textContent.includes('left=4')", timeout=30_000)
        rows = np.arange(32)
        assert (pixels(opened, 32) == first_allowed(sv.Causal() & (sv.SlidingWindow(4) | sv.Global([0])), rows, rows, 32)).all()
