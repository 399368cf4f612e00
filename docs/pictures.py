"""Draw the README's picture: python docs/pictures.py writes patterns.png beside this file."""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import sparsevis as sv

PATTERNS = {
    "Sliding window, 5 keys": sv.SlidingWindow(4),
    "Dilated, every 4th key": sv.Dilated(2, 2, dilation=4),
    "Two global tokens": sv.Global([0, 1]),
    "Random, 2 keys a query": sv.RandomKeys(2, seed=1),
    "Longformer: window + global": sv.SlidingWindow(2, 2) | sv.Global([0, 1]),
    "BigBird: window + global + random": sv.bigbird(block=2, global_blocks=(0,), random_blocks=1, seed=3),
}

if __name__ == "__main__":
    figure = sv.plots.compare_grid(PATTERNS, 24)
    sv.plots.save(figure, Path(__file__).parent / "patterns.png", dpi=110)
