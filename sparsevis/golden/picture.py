"""Where on its mask a kernel fails, in characters and as SVG: the pairs, and beside each query how far it is beyond its budget."""

from html import escape

import numpy as np

from sparsevis.palette import INGREDIENT

__all__ = ["drawn", "written"]

MOST = 256  # queries or keys of which every one is drawn


def written(outcome, rows=24, keys=64):
    """Return the picture as a list of one text; an empty one where there is nothing, or too much, to show."""
    call = outcome.call
    if not call.nq or not call.nk or call.nq > rows or call.nk > keys or not outcome.deviations:
        return []
    beyond, below = outcome.beyond
    worst = beyond.max(0, initial=0.0)
    lines = [
        f"  {''.join('█' if x else '·' for x in row)}  {'x' if r > 1 else ' '} {f'{r:.3g}' if r > 1 else ''}".rstrip()
        for row, r in zip(outcome.pairs, worst, strict=True)
    ]
    foot = [f"  {''.join('x' if r > 1 else ' ' for r in below.max(0))}  keys with a wrong gradient"] if (below > 1).any() else []
    return ["where (x: beyond its budget, how many times):\n" + "\n".join(lines + foot)]


def drawn(outcome):
    """Return the picture as SVG text, which loads nothing: failing rows, and keys whose gradient is wrong, are orange."""
    call = outcome.call
    if not 0 < max(call.nq, call.nk) <= MOST:
        return f"<p>{call.nq:,} x {call.nk:,} pairs are not drawn</p>"
    rows, columns = (x.max(0, initial=0.0) > 1 for x in outcome.beyond)
    cell = max(2, min(16, 480 // max(call.nq, call.nk)))
    quiet, bad = INGREDIENT["dense"], INGREDIENT["global"]
    parts = []
    for i, allowed in enumerate(outcome.pairs):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], allowed, [0]]).astype(int)))
        runs = edges.reshape(-1, 2)
        parts += [f'<rect x="{j * cell}" y="{i * cell}" width="{(e - j) * cell}" height="{cell - 0.5}" fill="{bad if rows[i] else quiet}"/>'
                  for j, e in runs]  # fmt: skip
        if rows[i]:
            parts.append(f'<rect x="{call.nk * cell + 3}" y="{i * cell}" width="6" height="{cell - 0.5}" fill="{bad}"/>')
    below = call.nq * cell + 3
    parts += [f'<rect x="{j * cell}" y="{below}" width="{cell - 0.5}" height="6" fill="{bad}"/>' for j in np.flatnonzero(columns)]
    size = f'width="{call.nk * cell + 12}" height="{call.nq * cell + 12}" role="img"'
    frame = f'<rect width="{call.nk * cell}" height="{call.nq * cell}" fill="none" stroke="#888" stroke-width="0.5"/>'
    wrong = [f"{rows.sum()} of {rows.size} queries"] if rows.any() else []
    wrong += [f"the gradients of {columns.sum()} of {columns.size} keys"] if columns.any() else []
    says = f"Rows are queries, columns keys, boxes the allowed pairs. Beyond the budget, orange: {escape(' and '.join(wrong) or 'none')}."
    says += f"<br><code>{escape(repr(call))}</code>"
    return f'<figure><svg xmlns="http://www.w3.org/2000/svg" {size}>{frame}{"".join(parts)}</svg><figcaption>{says}</figcaption></figure>'
