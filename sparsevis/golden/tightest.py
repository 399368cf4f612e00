"""The tightest named model that a kernel passes: what it rounds, as far as its results tell.

The least rounding is tried first, then what was declared, then weaker arithmetic; a kernel that fails for another reason passes none.
"""

from dataclasses import replace

import numpy as np

from sparsevis.golden.compare import ratios
from sparsevis.golden.model import tighter, weaker

__all__ = ["tightest", "vague"]

MOST = 24  # calls looked at: those nearest to their budget


def tightest(outcomes, judge):
    """Return (words, Model, number of calls) of the first model under which all results are right, or None.

    Looked at are the calls whose results are nearest to their budget, or beyond it. A model that would allow anything is none.
    """
    some = sorted((o for o in outcomes if o.deviations and o.status in ("pass", "fail")), key=lambda o: -o.ratio)[:MOST]
    if not some or any(o.status == "fail" and not o.deviations for o in outcomes) or not some[0].ratio < 1e6:
        return None
    problems = [judge.problem(o.call) for o in some]
    ladder = [(words, change, False) for words, change in (tighter(judge.dtype) | {"as declared": {}}).items()]
    ladder += [(words, change, True) for words, change in weaker(judge.dtype).items()]
    for words, change, wide in ladder:
        model = replace(judge.model, **change)
        wants = (judge.expected(p, model) for p in problems)
        if all(_right(o, want) and not (wide and vague(want, o.got)) for o, want in zip(some, wants, strict=True)):
            return words, model, len(some)
    return None


def _right(outcome, want):
    return all((ratios(x, want.values[name], want.errors[name]) <= 1).all() for name, x in outcome.got.items())


def vague(want, parts):
    """Whether a budget is so wide that it explains anything."""
    for name in parts:
        if name != "lse" and want.errors[name].size:
            size = np.nanmax(np.abs(want.values[name]), initial=1e-300)
            if np.nanmedian(want.errors[name]) > 0.02 * size:
                return True
    return False
