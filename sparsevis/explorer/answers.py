"""What Python computes for the views: costs, receptive fields, real attention, and counts where a table is too large for the browser."""

import numpy as np

from sparsevis.sift import MEMORY_LIMIT
from sparsevis.tally import pairs_in

__all__ = ["everything", "numbers", "viewport"]


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
        counts[k, inside] = pairs_in(fresh.allows, r[inside], c[inside], cell, (n, n), 0, MEMORY_LIMIT)
        seen = rule if seen is None else seen | rule
    whole = {"nnz": int(counts.sum(dtype=np.int64))} if cell * px >= n and i0 == j0 == 0 else {}
    return asked | whole | {"n": n, "rules": len(rules), "counts": counts.tobytes()}


def numbers(explorer):
    """Return what the chosen view shows beside the picture."""
    return {}


def everything(explorer):
    """Return the state of an explorer with the numbers of all views, for a page."""
    return explorer.state_of()
