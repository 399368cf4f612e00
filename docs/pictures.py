"""Draw the pictures of the README and of the documentation beside them: python docs/pictures.py [patterns | bench | roofline ...].

`bench` draws what `sparsevis bench --json docs/kernels/bench.json` wrote; `roofline` measures this machine.
"""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import sparsevis as sv

HERE = Path(__file__).parent

PATTERNS = {
    "Sliding window, 5 keys": sv.SlidingWindow(4),
    "Dilated, every 4th key": sv.Dilated(2, 2, dilation=4),
    "Two global tokens": sv.Global([0, 1]),
    "Random, 2 keys a query": sv.RandomKeys(2, seed=1),
    "Longformer: window + global": sv.SlidingWindow(2, 2) | sv.Global([0, 1]),
    "BigBird: window + global + random": sv.bigbird(block=2, global_blocks=(0,), random_blocks=1, seed=3),
}

CASES = "window-256 window-1024 longformer bigbird causal dense window-1024-float16 causal-float64 causal-backward".split()


def patterns():
    """Six patterns, for the README."""
    sv.plots.save(sv.plots.compare_grid(PATTERNS, 24), HERE / "patterns.png", dpi=110)


def bench():
    """How much longer others take."""
    result = json.loads((HERE / "kernels" / "bench.json").read_text())
    result["cases"] = [case for case in result["cases"] if case["name"] in CASES]
    sv.plots.save(sv.plots.bench(result), HERE / "kernels" / "bench.png", dpi=110)


def roofline():
    """The ladder of CPU kernels under the two roofs of this machine."""
    roof = sv.roofline()
    rungs = {name: sv.measure(sv.Causal(), [4096], impl=name, roof=roof, dense=False) for name in ("loops", "cpu_plain", "cpu")}
    sv.plots.save(sv.plots.roofline(rungs), HERE / "kernels" / "roofline.png", dpi=110)


if __name__ == "__main__":
    drawings = {"patterns": patterns, "bench": bench, "roofline": roofline}
    for name in sys.argv[1:] or drawings:
        drawings[name]()
