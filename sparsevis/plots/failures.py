"""The picture of a failure: the pairs of one failing call, and which queries and keys are beyond their error budget."""

import numpy as np
from matplotlib.collections import PathCollection

from sparsevis.golden import Report
from sparsevis.palette import INGREDIENT
from sparsevis.plots.shade import blend, mix, rounded
from sparsevis.plots.style import canvas, draw_image, matrix_axes, settle
from sparsevis.plots.words import heading, key

__all__ = ["failures"]

NAMES = ("beyond the budget", "within the budget")


def failures(report, *, outcome=None, title=None, ax=None, theme=None, size=6.0):
    """Draw where on its mask a kernel fails.

    Parameters
    ----------
    report : Report
        What `sparsevis.golden.check` returned.
    outcome : Outcome, optional
        Which failing call; `report.telling` if left out.
    title, ax, theme, size
        As for `mask`.

    Returns
    -------
    Axes
        `ax.collections` hold the rows of queries whose output or gradient is wrong ("queries"), the keys whose gradient is wrong
        ("keys"), and the pairs, "beyond the budget" and "within the budget"; with more than 48 positions the image `ax.images[-1]`.

    Examples
    --------
    >>> import sparsevis as sv
    >>> def one_key_more(q, k, v, *, causal, window=(None, None)):
    ...     left = None if window[0] is None else window[0] + 1
    ...     rule = sv.SlidingWindow(left, 0 if causal else window[1]).mask(q.shape[1], k.shape[1], "bottom-right")
    ...     return sv.reference.attention(q, k, v, rule)[0].astype(q.dtype)
    >>> report = sv.golden.check(one_key_more, dialect=sv.golden.Dialect(align="bottom-right"))
    >>> sv.plots.failures(report).get_title(loc="left").replace(chr(10), " ")
    'Window one key longer on the left'
    """
    if not isinstance(report, Report):
        raise TypeError(f"plots.failures needs a Report, which sparsevis.golden.check(fn) returns, not {type(report).__name__}")
    outcome = outcome or report.telling
    place = report.where(outcome)
    allowed = place["mask"]
    rows, columns = (place[x].max(0, initial=0.0) > 1 for x in ("rows", "columns"))
    nq, nk = allowed.shape
    if 0 in (nq, nk):
        raise ValueError(f"the call has {nq} queries over {nk} keys: nothing to draw")
    with canvas(ax, theme, size) as (ax, look):
        matrix_axes(ax, look, nq, nk)
        look = settle(ax, look)
        if max(nq, nk) <= 48 and look.width / max(nq, nk) >= 4:
            _draw_cells(ax, look, allowed, rows, columns)
        else:
            _draw_pixels(ax, look, allowed, rows, columns)
        bad, good = INGREDIENT["global"], INGREDIENT["dense"]
        key(ax, look, [([colour], name) for name, colour, some in zip(NAMES, (bad, good), (rows, ~rows), strict=True) if some.any()])
        heading(ax, look, _title(report) if title is None else title, _numbers(outcome, rows, columns))
    return ax


def _draw_cells(ax, look, allowed, rows, columns):
    (nq, nk), bad = allowed.shape, INGREDIENT["global"]
    pale = mix(look.ground, bad, 0.22)
    for label, boxes in {
        "queries": [(-0.5, i - 0.5, nk, 1) for i in np.flatnonzero(rows)],
        "keys": [(j - 0.5, -0.5, 1, nq) for j in np.flatnonzero(columns)],
    }.items():
        paths = [rounded(np.array([x]), np.array([y]), w, h, 0.0)[0] for x, y, w, h in boxes]
        ax.add_collection(PathCollection(paths, facecolors=pale, linewidths=0, label=label), autolim=False)
    for name, colour, some in zip(NAMES, (bad, INGREDIENT["dense"]), (rows, ~rows), strict=True):
        i, j = np.nonzero(allowed & some[:, None])
        if i.size:
            paths = rounded(j - 0.39, i - 0.39, 0.78, 0.78, 0.2)
            ax.add_collection(PathCollection(paths, facecolors=colour, linewidths=0, label=name), autolim=False)


def _draw_pixels(ax, look, allowed, rows, columns):
    failing = rows[:, None]
    bad = np.where(allowed & failing, 1.0, 0.1 * ((failing | columns) & ~allowed))
    draw_image(ax, blend(look.ground, [(INGREDIENT["global"], bad), (INGREDIENT["dense"], 1.0 * (allowed & ~failing))]), 1, 1)


def _title(report):
    words = report.diagnosis[0][0] if report.diagnosis else "beyond its budget"
    return words[0].upper() + words[1:].partition(": ")[0] if len(words) > 80 else words[0].upper() + words[1:]


def _numbers(outcome, rows, columns):
    worst = outcome.deviations[0] if outcome.deviations else None
    parts = [f"{rows.sum():,} of {rows.size:,} queries wrong"] if rows.any() else []
    parts += [f"{columns.sum():,} of {columns.size:,} keys with a wrong gradient"] if columns.any() else []
    if worst is not None:
        far = f"off by {worst.ratio:.3g} times its budget" if np.isfinite(worst.ratio) else f"is {worst.got:.3g}"
        parts.append(f"{worst.part} {far}")
    return parts or [outcome.reason]
