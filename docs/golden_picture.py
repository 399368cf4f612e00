"""The picture of docs/golden.md: a window that is off by one, drawn where it fails."""

from pathlib import Path

import numpy as np

import sparsevis as sv


def picture(folder):
    """Write failures.svg into a folder."""
    report = sv.golden.check(_off_by_one, dialect=sv.golden.Dialect(align="bottom-right"), shrink=False)
    sv.plots.save(sv.plots.failures(report, size=5), Path(folder) / "failures.svg")


def _off_by_one(q, k, v, *, causal=False, window=(None, None)):
    rule = sv.SlidingWindow(None if window[0] is None else window[0] + 1, 0 if causal else window[1])
    return sv.reference.attention(q, k, v, rule.mask(q.shape[1], k.shape[1], "bottom-right"))[0].astype(np.float32)
