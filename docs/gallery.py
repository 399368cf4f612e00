"""Every picture the library draws, on a page: python docs/gallery.py FOLDER [--theme light|dark] [--scale 1].

Writes a PNG for each, films as GIF and as HTML, index.html, and gallery.json, which the documentation's page reads. `--scale 2` draws for
slides. CI builds all of it.
"""

import argparse
import json
import os
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
os.environ["NUMBA_ENABLE_CUDASIM"] = "1"  # reads watches kernels in Numba's simulator

import numpy as np

import sparsevis as sv
from sparsevis import plots

N = 512
ALICE = sv.data.load()
Q, K, V = ALICE.layer(2)
WINDOW, LONGFORMER, BIGBIRD = sv.mistral(64), sv.longformer(64, [0, -1]), sv.bigbird(block=16, random_blocks=2)
COMPARED = {"window": WINDOW, "longformer": LONGFORMER, "bigbird": BIGBIRD, "chunked": sv.Causal() & sv.Chunked(64)}
LENGTHS = [1 << x for x in range(10, 21)]


def probabilities(head=8):
    """Return dense attention's weights of one head: where a picture of real attention begins."""
    s = Q[head] @ K[head].T / np.sqrt(Q.shape[-1])
    p = np.exp(s - s.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def pictures():
    """Yield (name, sentence, how many inches wide, function of the theme and the width)."""
    compared = sv.compare(Q, K, V, COMPARED)
    stack = sv.receptive_field(sv.mistral(4096), 131_072, query=-1, layers=32)
    small = sv.receptive_field([sv.longformer(4, [0])] * 3, 48)
    walked = sv.walk(Q[0, :64], K[0, :64], V[0, :64], sv.mistral(24), block=16)
    curves = {name: sv.cost_curve(p, LENGTHS, name=name) for name, p in [("mistral", sv.mistral(4096)), ("bigbird", sv.bigbird())]}
    roof = sv.Roofline(flops=2.3e11, bandwidth=3.3e10, threads=2, dtype="float32")
    measured = sv.measure(WINDOW, [256, 512, 1024], heads=2, rounds=3, roof=roof)
    growth = {"window 9": sv.mistral(9), "longformer": sv.longformer(8, [0]), "dilated": sv.Causal() & sv.Dilated(4, 0, dilation=4)}
    grown = {name: sv.receptive_field(p, 256, query=-1, layers=8) for name, p in growth.items()}
    schedule = sv.schedules.gemma3(n_layers=6, window=16)
    heads = sv.sparse_transformer_fixed(8, 2, heads=4)
    draw = lambda function, *given, **style: lambda theme, width: function(*given, **style, theme=theme, size=width)  # noqa: E731
    yield "mask", "who may attend whom", 6, draw(plots.mask, LONGFORMER, N)
    yield "mask-million", "exact densities at a million tokens", 6, draw(plots.mask, sv.bigbird(), 1 << 20)
    yield "mask-small", "every pair a cell", 6, draw(plots.mask, sv.Causal() & (sv.SlidingWindow(3) | sv.Global([0])), 24)
    yield "layout", "what a kernel walks", 6, draw(plots.layout, sv.Layout.of(LONGFORMER, N, 32))
    yield "compare_grid", "patterns side by side", 12, draw(plots.compare_grid, COMPARED, N)
    yield "heads_grid", "heads that take turns", 12, draw(plots.heads_grid, heads, 48)
    yield "layers_grid", "layers that take turns", 12, draw(plots.layers_grid, schedule, 48)
    yield "diff", "an off-by-one window becomes visible", 6, draw(plots.diff, sv.diff(sv.mistral(8), sv.SlidingWindow(8), 48))
    yield "attention", "real attention, and what a pattern drops", 6, draw(plots.attention, probabilities(), pattern=WINDOW)
    near = probabilities(0)[:24, :24]
    near = near / near.sum(-1, keepdims=True)
    words = ALICE.tokens[:24]
    yield "attention-tokens", "the same, word by word", 6, draw(plots.attention, near, pattern=sv.SlidingWindow(4, 4), tokens=words)
    yield "compare", "mass kept by pairs computed", 8, draw(plots.compare, compared)
    yield "mass_kept", "which heads, which queries lose", 8, draw(plots.mass_kept, compared["window"])
    yield "receptive_field", "a cone opening", 8, draw(plots.receptive_field, stack)
    yield "growth", "how fast the view widens", 8, draw(plots.growth, grown)
    yield "hops", "layers between any two tokens", 12, draw(plots.hops_grid, small)
    yield "graph", "how information flows", 8, draw(plots.graph, sv.receptive_field(sv.mistral(4), 16, layers=4), source=4, target=15)
    yield "cost", "what a longer text costs", 8, draw(plots.cost, curves)
    yield "cost-kv", "what a longer text keeps", 8, draw(plots.cost, curves, quantity="kv_bytes")
    yield "cost-measured", "measured beside promised", 8, draw(plots.cost, {"window": measured}, quantity="seconds")
    yield "cost_bars", "needed beside computed", 8, draw(plots.cost_bars, compared)
    yield "roofline", "how near to what the machine can do", 8, draw(plots.roofline, {"window": measured})
    yield "tiling", "tiles walked", 6, draw(plots.tiling, walked, step=4)
    yield "running", "a step of the online softmax", 6, draw(plots.running, walked, step=4)
    yield "tiling_grid", "a row of tiles, step by step", 12, draw(plots.tiling_grid, walked)
    one = Q[0, :128], K[0, :128], V[0, :128], sv.mistral(40)
    for impl in ("cuda_rows", "cuda_tiled"):
        yield f"reads-{impl}", "which thread reads which key", 6, draw(plots.reads, sv.reads(*one, impl=impl))


def films():
    """Yield (name, sentence, function of the theme)."""
    walked = sv.walk(Q[0, :48], K[0, :48], V[0, :48], sv.mistral(24), block=16)
    field = sv.receptive_field(sv.mistral(8), 64, query=-1, layers=6)
    yield "film-layers", "layers opening", lambda theme: plots.animate(field, theme=theme)
    yield "film-tiles", "FlashAttention at work", lambda theme: plots.animate(walked, theme=theme)
    sweep = lambda theme: plots.animate(lambda w: plots.mask(sv.mistral(w), 48, theme=theme, size=5), range(1, 13), theme=theme)  # noqa: E731
    yield "film-sweep", "a window that widens", sweep


def main():
    """Draw all of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--theme", choices=["light", "dark"], default="light")
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual width")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for name, says, width, draw in pictures():
        plots.save(draw(arguments.theme, arguments.scale * width), arguments.folder / f"{name}.png", dpi=110)
        mpl.pyplot.close("all")
        parts.append((f"{name}.png", name, says))
    for name, says, make in films():
        movie = make(arguments.theme)
        movie.save(arguments.folder / f"{name}.gif")
        movie.save(arguments.folder / f"{name}.html")
        parts.append((f"{name}.gif", name, says))
    (arguments.folder / "gallery.json").write_text(json.dumps(parts, indent=1), encoding="utf-8")
    shown = [f'<figure><img src="{file}" alt="{says}"><figcaption>{name}: {says}</figcaption></figure>' for file, name, says in parts]
    style = "body{max-width:70rem;margin:2rem auto;font-family:sans-serif}img{max-width:100%}figure{margin:2rem 0}"
    page = f"<!doctype html><meta charset='utf-8'><title>sparsevis</title><style>{style}</style>{''.join(shown)}\n"
    (arguments.folder / "index.html").write_text(page, encoding="utf-8")
    print(f"{arguments.folder / 'index.html'}: {len(parts)} pictures")


if __name__ == "__main__":
    main()
