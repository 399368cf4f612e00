"""What Python computes for the views: costs, receptive fields, real attention, and counts where a table is too large for the browser."""

from functools import lru_cache

import numpy as np

from sparsevis.cost import cost
from sparsevis.data import load
from sparsevis.explorer.sides import check_fit, one_head
from sparsevis.pattern import Pattern
from sparsevis.receptive_field import receptive_field
from sparsevis.scattered import pairs_of
from sparsevis.tabular import amount, seconds_of

__all__ = ["attention_of", "check_capture", "measured", "numbers", "shown", "viewport", "whole_view"]

WIDE = 512  # positions, or groups of them, a receptive field is drawn with
NAMES = {"a": "pattern", "b": "other"}


def viewport(rules, n, asked):
    """Count the pairs each rule is the first to allow in every pixel of a view.

    `asked` names the view: i0, j0, cells, cell and px; the answer carries it along with int32 counts (rules, px, px).
    """
    i0, j0, cell, px = (asked[name] for name in ("i0", "j0", "cell", "px"))
    r, c = (x.ravel() for x in np.indices((px, px)))
    r, c = r + i0 // cell, c + j0 // cell
    inside = (r * cell < n) & (c * cell < n)
    counts, seen = np.zeros((len(rules), px * px), np.int32), None
    for k, rule in enumerate(rules):
        fresh = rule if seen is None else rule - seen
        counts[k, inside] = pairs_of(fresh, r[inside], c[inside], cell, (n, n))
        seen = rule if seen is None else seen | rule
    whole = {"nnz": int(counts.sum(dtype=np.int64))} if cell * px >= n and i0 == j0 == 0 else {}
    return asked | whole | {"n": n, "rules": len(rules), "counts": counts.tobytes()}


def whole_view(n, figure):
    """Return what the browser asks of a figure that shows all n positions."""
    cell = 1 << max(0, int(np.ceil(np.log2(n / WIDE))))
    return {"figure": figure, "i0": 0, "j0": 0, "cells": n, "cell": cell, "px": -(-n // cell)}


def numbers(explorer, show=None):
    """Return what a view shows beside the picture: {"show", "stamp", ...}, or {"error"} where it cannot be computed."""
    show = explorer.show if show is None else show
    view = {"cost": costs, "field": fields, "real": real}.get(show)
    made = {"show": show, "stamp": explorer.trees["stamp"]}
    if view is None:
        return made
    try:
        return made | view(explorer)
    except (ValueError, MemoryError) as error:
        return made | {"error": str(error)}


def costs(explorer):
    """Return rows of (what, unit, A, B, dense) with the numbers as text too, and the estimated and measured times."""
    known = {}
    for name, pattern in shown(explorer).items():
        heads = explorer.heads if isinstance(pattern, Pattern) else None
        known[name] = cost(pattern, explorer.n, block=explorer.block, head_dim=explorer.head_dim, heads=heads)
    first, rate = known["a"], explorer.rate * 1e9
    rows = [
        ("pairs needed", "", lambda c: c.nnz, first.pairs), ("pairs computed", "", lambda c: c.computed, first.pairs),
        ("forward", "FLOP", lambda c: c.flops_computed, first.flops_dense),
        ("backward", "FLOP", lambda c: c.flops_backward_computed, first.flops_backward_dense),
        ("bytes moved, tiled", "B", lambda c: c.bytes_tiled, first.bytes_dense),
        ("memory beyond inputs (dense: n x n scores)", "B", lambda c: c.memory_tiled, first.memory_naive),
        ("KV cache", "B", lambda c: c.kv_bytes, first.kv_bytes_dense),
        (f"estimated time at {explorer.rate:,} GFLOP/s", "s", lambda c: c.flops_computed / rate, first.flops_dense / rate),
    ]  # fmt: skip
    times = {name: explorer.times.get(name) for name in known}
    if times["a"]:
        rows.append(("measured time on this machine", "s", None, times["a"].get("dense")))
    out = []
    for what, unit, of, dense in rows:
        values = {name: times[name] and times[name].get("this") if of is None else of(c) for name, c in known.items()}
        texts = {f"{name}_text": _text(x, unit) for name, x in values.items()}
        out.append({"what": what, "dense": dense, "dense_text": _text(dense, unit)} | values | texts)
    notes = [f"{f'{name.upper()}: ' * (len(known) > 1)}block tax {c.block_tax:.3g}, {c.keys_per_query:,.1f} keys a query, "
             f"{c.intensity:.3g} flops a byte" for name, c in known.items()]  # fmt: skip
    return {"rows": out, "heads": first.heads, "notes": notes + [x["note"] for x in times.values() if x and x.get("note")]}


def measured(pattern, n, block, heads, head_dim):
    """Time attention over a pattern and dense attention on this machine: {"this", "dense"} in seconds, and a note on what was left out.

    Shorter lengths go first, so that a call that would take too long is not begun.
    """
    from sparsevis.measure import measure

    heads = heads if isinstance(pattern, Pattern) else len(pattern)
    lengths = sorted({n, *(x for x in (1024, n // 8) if 512 <= x < n)})
    fixed = getattr(pattern, "length", None)
    result = measure(pattern, [n] if fixed else lengths, heads=heads, head_dim=head_dim, block=block, rounds=3, budget=20.0)
    row = next((r for r in result.rows if r.n == n), None)
    if row is None:
        return {"note": f"n = {n:,} was not measured: {result.skipped[n]}"}
    known = {"this": row.seconds} | ({"dense": row.dense_seconds} if row.dense_seconds == row.dense_seconds else {})
    return known if "dense" in known else known | {"note": "dense attention was not timed: it would take too long"}


def fields(explorer):
    """Return the receptive field of the query for each pattern shown."""
    found = {name: field(p, explorer.n, explorer.query, explorer.layers) for name, p in shown(explorer).items()}
    return {"query": explorer.query, "fields": found}


def field(pattern, n, query, layers):
    """Return what a query has seen after each layer: shares of groups of positions as bytes (layers + 1, wide), sizes, and sentences."""
    found = receptive_field(pattern, n, query=query, layers=layers)
    seen, wide = found.seen(slice(None)), min(n, WIDE)
    edges = np.arange(wide) * n // wide
    share = np.add.reduceat(seen, edges, axis=1, dtype=np.int64) / np.diff([*edges, n])
    return {
        "wide": wide, "rows": layers + 1, "seen": np.ceil(255 * share).astype(np.uint8).tobytes(),
        "sizes": [1, *found.sizes.tolist()], "visible": int(found.visible), "notes": found._notes(),
    }  # fmt: skip


def real(explorer):
    """Return what the patterns keep of a real head's attention: bits of the mask, the share kept, and that of every head of the layer."""
    layer, head = explorer.capture
    p, out = probabilities(layer), {}
    n = p.shape[-1]
    for name, pattern in shown(explorer).items():
        one = one_head(pattern, explorer.head)
        try:
            check_fit(one, n)
        except ValueError as error:
            raise ValueError(f"the text has {n} tokens: {error}") from None
        mask = one.mask(n)
        kept = np.einsum("hij,ij->h", p, mask, optimize=True) / p.sum((1, 2))
        out[name] = {"mask": np.packbits(mask, bitorder="little").tobytes(), "kept": kept.tolist(), "pairs": float(mask.mean())}
    return {"kept": out, "layer": layer, "head": head}


def attention_of(layer, head):
    """Return a real head's attention as the browser draws it: tokens, and bytes 255 cbrt(p / largest)."""
    p = probabilities(layer)[head]
    capture = _capture()
    depth = np.round(255 * np.cbrt(p / p.max())).astype(np.uint8)
    return {"layer": layer, "head": head, "layers": list(capture.layers), "heads": int(capture.q.shape[1]), "n": len(p),
            "tokens": list(capture.tokens), "top": float(p.max()), "depth": depth.tobytes()}  # fmt: skip


def check_capture(layer, head):
    """Raise if the capture has no such layer or head."""
    capture = _capture()
    if layer not in capture.layers or not 0 <= head < capture.q.shape[1]:
        known = ", ".join(map(str, capture.layers))
        raise ValueError(f"capture is [{layer}, {head}], and needs a layer of {known} and a head from 0 to {capture.q.shape[1] - 1}")


def shown(explorer):
    """Return the patterns that are shown, by side."""
    return {name: getattr(explorer, trait) for name, trait in NAMES.items() if getattr(explorer, trait) is not None}


@lru_cache(maxsize=1)
def _capture():
    return load("alice")


@lru_cache(maxsize=3)
def probabilities(layer):
    """Return the softmax of the scores of a captured layer, float32 (heads, n, n)."""
    q, k, _ = _capture().layer(layer)
    scores = np.einsum("hid,hjd->hij", q, k, optimize=True) / np.float32(np.sqrt(q.shape[-1]))
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    return scores / scores.sum(-1, keepdims=True)


def _text(x, unit):
    if x is None:
        return "–"
    return seconds_of(x) if unit == "s" else amount(x, unit)
