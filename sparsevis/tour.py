"""The main job: dense attention and every seed system on a real model's queries, keys and values, as a table and a gallery.

One layer of the capture "alice" (512 tokens, 12 heads) goes through every pattern; each result is held against the golden reference
before anything is drawn. The gallery is a folder of PNG pictures and one self-contained index.html that opens offline.
"""

import base64
import io
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path
from time import perf_counter

import numpy as np
from tqdm import tqdm

from sparsevis import data, reference
from sparsevis.attention import attention
from sparsevis.compare import compare
from sparsevis.cost import cost
from sparsevis.layout import Layout
from sparsevis.pattern import Pattern
from sparsevis.patterns import (
    Causal,
    Chunked,
    Dilated,
    Global,
    PrefixLM,
    RandomKeys,
    SlidingWindow,
    Strided,
    bigbird,
    longformer,
    mistral,
    sparse_transformer_fixed,
    sparse_transformer_strided,
    streaming_llm,
)
from sparsevis.per_head import PerHead

__all__ = ["SYSTEMS", "System", "tour"]

LAYER, HEAD, BLOCK = 2, 8, 32
LENGTHS = [1 << x for x in range(9, 16)]


@dataclass(frozen=True)
class System:
    """One stop of the tour: a pattern that fits 512 tokens, and a sentence on it."""

    title: str
    pattern: Pattern | PerHead
    note: str


SYSTEMS = {
    "window": System(
        "Sliding window: 32 keys on each side",
        SlidingWindow(32, 32),
        "The neighbours, and nothing else. Stacked layers widen the view.",
    ),
    "global": System(
        "Two global tokens",
        Global([0, -1]),
        "[CLS] and [SEP] see everything and are seen by everything, so two hops join any two tokens.",
    ),
    "dilated": System(
        "Dilated window: every 4th key",
        Dilated(16, 16, dilation=4),
        "Half the keys of the window above and twice its reach, with gaps between.",
    ),
    "strided": System(
        "Strided: every 16th key",
        Strided(16),
        "Far sight without neighbours. Alone it never leaves its residue class.",
    ),
    "random": System(
        "Random: 32 keys a query",
        RandomKeys(32),
        "Any two tokens are a few hops apart, with high probability.",
    ),
    "longformer": System(
        "Longformer: window + global",
        longformer(64, (0, -1)),
        "Nearby words through the window, the whole text through the global tokens.",
    ),
    "bigbird": System(
        "BigBird: window + global + random",
        bigbird(block=16, random_blocks=2),
        "All three ingredients, in blocks of 16, which kernels like.",
    ),
    "mistral": System(
        "Mistral: causal window of 64",
        mistral(64),
        "For language models: only the past, and of that only the last 64 keys.",
    ),
    "streaming": System(
        "StreamingLLM: sinks + window",
        streaming_llm(4, 64),
        "The first tokens soak up attention; dropping them is what hurts.",
    ),
    "sparse_strided": System(
        "Sparse Transformer, strided",
        sparse_transformer_strided(16, heads=12),
        "Heads take turns: a local window, and every 16th key. Shown is a head of the first kind.",
    ),
    "sparse_fixed": System(
        "Sparse Transformer, fixed",
        sparse_transformer_fixed(32, 4, heads=12),
        "Heads take turns: one's own group, and the summary keys of every group. Shown is a head of the first kind.",
    ),
    "chunked": System(
        "Chunked: 64 keys a chunk, causal",
        Causal() & Chunked(64),
        "Cheap and exact inside a chunk; chunks never meet.",
    ),
    "prefix": System(
        "Prefix-LM: 128 free, the rest causal",
        PrefixLM(128),
        "A prompt read both ways, then one word at a time.",
    ),
}


def tour(out):
    """Compute, check, print and draw everything; write the gallery to the folder `out` and return its index.html.

    Takes about a minute on two cores, of which the first call's compilation is the larger part.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    capture = data.load("alice")
    q, k, v = capture.layer(LAYER)
    print(f"{capture.provenance.get('model', 'a trained model')} reads {capture.name}: layer {LAYER}, q, k, v {q.shape} {q.dtype}")
    flash = _flash_beside_naive(q, k, v)
    print(flash)
    comparison = compare(q, k, v, {name: s.pattern for name, s in SYSTEMS.items()}, block=BLOCK, repeats=5)
    checked = _check(q, k, v)
    print(f"\n{comparison}\n\n{checked}")
    pictures = _pictures(q, k, capture, comparison, out)
    page = out / "index.html"
    page.write_text(_page(capture, comparison, [flash, checked], pictures), encoding="utf-8")
    print(f"\n{len(pictures)} pictures and {page}: open it in a browser")
    return page


def _flash_beside_naive(q, k, v):
    """Dense attention twice: as one first writes it, and tile by tile."""
    start = perf_counter()
    attention(q[:, :64], k[:, :64], v[:, :64])
    compiled = perf_counter() - start
    seconds = {}
    for name, run in (("naive", lambda: reference.naive(q, k, v)), ("flash", lambda: attention(q, k, v))):
        times = []
        for _ in range(5):
            start = perf_counter()
            result = run()
            times.append(perf_counter() - start)
        seconds[name] = (float(np.median(times)), result)
    off = np.abs(seconds["naive"][1] - seconds["flash"][1]).max()
    scores = q.shape[0] * q.shape[1] ** 2 * q.itemsize / 2**20
    return (
        f"Dense, the naive way: {1e3 * seconds['naive'][0]:.1f} ms and {scores:.0f} MiB of scores; as FlashAttention, tile by tile: "
        f"{1e3 * seconds['flash'][0]:.1f} ms and none. The outputs differ by {off:.1e}, which is rounding. "
        f"(First call, compilation included: {compiled:.1f} s.)"
    )


def _check(q, k, v):
    """Every system in float64 against the golden reference."""
    wide, worst = [x.astype(np.float64) for x in (q, k, v)], 0.0
    for pattern in (None, *(s.pattern for s in SYSTEMS.values())):
        got, want = (attention(*wide, pattern, impl=impl, return_lse=True) for impl in ("cpu", "reference"))
        empty = np.isneginf(want[1])
        if not (np.isneginf(got[1]) == empty).all():
            raise ArithmeticError(f"{pattern!r}: rows without keys differ from the reference")
        worst = max(worst, *(float(np.abs(a - b).max()) for a, b in ((got[0], want[0]), (got[1][~empty], want[1][~empty]))))
    if not worst < 1e-12:
        raise ArithmeticError(f"the kernel is {worst:.1e} off the reference, and may be 1e-12 off: please report this")
    return f"Checked in float64 against the golden reference: {len(SYSTEMS) + 1} systems, 12 heads, largest difference {worst:.1e}"


def _pictures(q, k, capture, comparison, out):
    """Draw the overview and one strip of pictures for each system: (title, note, png bytes)."""
    import matplotlib as mpl

    mpl.use("Agg")
    from sparsevis import plots

    probability = _probabilities(q[HEAD], k[HEAD])
    jobs = [("overview", "All of them", "The higher the better; the further left the cheaper.", lambda: plots.compare(comparison, size=9))]
    for name, system in SYSTEMS.items():
        jobs.append((name, system.title, system.note, lambda n=name, s=system: _strip(plots, n, s, probability, capture, comparison)))
    pictures = []
    for name, title, note, draw in tqdm(jobs, desc="drawing", disable=None, file=sys.stderr):
        image = _png(plots, draw())
        (out / f"{name}.png").write_bytes(image)
        pictures.append((title, note, image))
    return pictures


def _png(plots, picture):
    """A picture as PNG of 256 colours: a quarter of the bytes of full colour, and no eye tells them apart."""
    from PIL import Image

    full, small = io.BytesIO(), io.BytesIO()
    plots.save(picture, full, dpi=130)
    Image.open(full).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, format="PNG", optimize=True)
    return small.getvalue()


def _strip(plots, name, system, probability, capture, comparison):
    """The mask, its tiles, what it drops of one real head, and its cost, side by side."""
    n, pattern = len(capture.tokens), system.pattern
    head = pattern[HEAD % len(pattern)] if isinstance(pattern, PerHead) else pattern
    with plots.style.context():
        figure = plots.style.figure(1, 4, width=18, height=5.2)
    a, b, c, d = figure.axes
    plots.mask(head, n, ax=a, title="Who may attend whom")
    plots.layout(Layout.of(head, n, block=BLOCK), ax=b)
    plots.attention(probability, pattern=head, tokens=capture.tokens, ax=c)
    counted = comparison[name].cost
    costs = [cost(pattern, length, head_dim=counted.head_dim, heads=counted.heads, block=BLOCK) for length in LENGTHS]
    plots.cost({name: costs}, quantity="flops_computed", colours={name: head.ingredient}, ax=d)
    return figure


def _probabilities(q, k):
    scores = q.astype(np.float64) @ k.T.astype(np.float64) / np.sqrt(q.shape[-1])
    p = np.exp(scores - scores.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def _page(capture, comparison, facts, pictures):
    """One HTML file with everything inside it."""
    figures = []
    for title, note, image in pictures:
        source = f"data:image/png;base64,{base64.b64encode(image).decode()}"
        figures.append(f'<section><h2>{escape(title)}</h2><p>{escape(note)}</p><img src="{source}" alt="{escape(title)}"></section>')
    model = escape(str(capture.provenance.get("model", "")))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>sparsevis: a tour</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1D2530; max-width: 1500px; margin: 2em auto; padding: 0 1.5em; }}
h1 {{ margin-bottom: 0; }} p {{ color: #4A5563; max-width: 60em; margin: .3em 0; }} img {{ max-width: 100%; height: auto; }}
section {{ margin: 3em 0; }} table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1.5em 0; }}
th, td {{ text-align: right; padding: .25em .9em; border-bottom: 1px solid #E6E9ED; }}
th:first-child, td:first-child {{ text-align: left; }}
th {{ color: #6B7684; font-weight: 600; }} .table {{ overflow-x: auto; }}
</style></head><body>
<h1>Sparse attention on a page of Alice</h1>
<p>Layer {LAYER} of {model}, reading {len(capture.tokens)} tokens; pictures show head {HEAD}. Dense attention compares every token with
every other; each pattern below lets a token attend only to some. What it drops of the real attention is the price.</p>
{"".join(f"<p>{escape(f)}</p>" for f in facts)}
<div class="table">{comparison._repr_html_()}</div>
<p>pairs: all heads together. block tax: pairs in the {BLOCK} x {BLOCK} tiles a kernel works through, for one pair that is needed.
mass kept: the share of the dense attention inside the pattern. error, relative: how far the output moves from the dense one.</p>
{"".join(figures)}
</body></html>
"""
