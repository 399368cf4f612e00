"""Figures for three lectures, a line each: python docs/teaching/figures.py FOLDER draws them as SVG."""

import sys
from pathlib import Path

import numpy as np

import sparsevis as sv

alice = sv.data.load("alice")
q, k, v = alice.layer(2)
scores = q[8] @ k[8].T / np.sqrt(q.shape[-1])
weights = np.exp(scores - scores.max(-1, keepdims=True))
weights /= weights.sum(-1, keepdims=True)
window = sv.SlidingWindow(16, 16)
published = {"Longformer": sv.longformer(64, [0]), "BigBird": sv.bigbird(block=16, random_blocks=1)}
walked = sv.walk(q[0, :64], k[0, :64], v[0, :64], sv.mistral(24), block=16)
kept = sv.compare(q, k, v, {"window": window}, repeats=0)["window"]
field = sv.receptive_field

figures = {
    # 1: what is left out
    "pairs": lambda: sv.plots.mask(sv.SlidingWindow(3), 16, size=6),
    "cost": lambda: sv.plots.cost(sv.cost_curve(sv.mistral(4096), [2**i for i in range(10, 21)])),
    "layers": lambda: sv.plots.receptive_field(field(sv.mistral(4), 32, query=-1, layers=5)),
    "paths": lambda: sv.plots.graph(field(sv.mistral(4), 16, layers=4), source=3, target=15),
    "gridding": lambda: sv.plots.receptive_field(field(sv.Dilated(2, 2, 3), 48, query=24, layers=3)),
    # 2: published systems
    "systems": lambda: sv.plots.compare_grid(published, 512, size=10),
    "hops": lambda: sv.plots.hops_grid(field([sv.longformer(4, [0])] * 3, 48), size=10),
    "off-by-one": lambda: sv.plots.diff(sv.diff(sv.mistral(8), sv.SlidingWindow(8), 32), size=6),
    # 3: what it gains, what it loses
    "flash": lambda: sv.plots.tiling_grid(walked, size=10),
    "tiles": lambda: sv.plots.layout(sv.Layout.of(published["BigBird"], 512, 32), size=6),
    "dropped": lambda: sv.plots.attention(weights, pattern=window, size=6),
    "kept": lambda: sv.plots.mass_kept(kept, size=8),
}

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in figures.items():
        sv.plots.save(draw(), folder / f"{name}.svg")
