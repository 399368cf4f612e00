"""What mistake explains the wrong results? Ask which other convention would have given exactly these, within its own error budget.

Where none does, weaker arithmetic than declared is tried; then whether all outputs are too large or too small; then the error is located:
the named set of rows closest to the failing ones. Over a run, the fewest explanations that cover the failing calls are the diagnosis.
"""

from collections import Counter
from dataclasses import replace

import numpy as np

from sparsevis.golden.compare import ratios
from sparsevis.golden.conventions import conventions
from sparsevis.golden.model import weaker
from sparsevis.golden.tightest import vague

__all__ = ["diagnose", "explanations"]

FORWARD = ("o", "lse")
LN2 = np.log(2.0)


def diagnose(failing, judge, most=16):
    """Return ((words, number of failing calls they explain), ...), the first explaining most; of `most` failing calls at most."""
    odd = Counter(o.reason.partition(":")[0] for o in failing if not o.deviations and not o.reason.startswith("not asked"))
    judged = [o for o in failing if o.deviations]
    telling = [o for o in judged if o.call.nq * o.call.nk > 20] or judged  # a call of few keys fits too many stories
    by_family = {}
    for outcome in telling:
        by_family.setdefault(outcome.family, []).append(outcome)
    turns = [some[i] for i in range(max(map(len, by_family.values()), default=0)) for some in by_family.values() if i < len(some)]
    left = [found for found in (explanations(o, judge) for o in turns[:most]) if found]
    verdict = []
    while left:
        votes = Counter(words for found in left for words in found)  # keeps the order in which they were found
        best = max(votes, key=votes.get)
        verdict.append((best, votes[best]))
        left = [found for found in left if best not in found]
    return [*verdict, *odd.most_common()]


def explanations(outcome, judge):
    """Return the words of every explanation of one failing Outcome, best first."""
    problem = judge.problem(outcome.call)
    want = judge.expected(problem)
    wrong = {name: ratios(x, want.values[name], want.errors[name]) > 1 for name, x in outcome.got.items()}
    if not any(wrong[name].any() for name in FORWARD if name in wrong):
        return _gradients(outcome, want, problem, judge)
    found, empty = [], ~problem.mask.any(-1)
    for words, other in [("", problem), *conventions(outcome.call, problem), *_kept(outcome, problem)]:
        found += _readings(words, other, outcome, judge, empty)
    found = found if problem.finite else _nan(outcome.got, want, problem) + found  # NaN everywhere fits too many stories
    found = list(dict.fromkeys(found))
    return (
        found or _nan(outcome.got, want, problem) or _arithmetic(outcome, problem, judge, FORWARD)
        or _places(outcome.got, want, wrong, problem)
    )  # fmt: skip


def _kept(outcome, problem):
    """The call with what an earlier one of the same shape was asked."""
    now, alike = outcome.call, ("nq", "nk", "d", "dv", "batch", "kv_heads", "group")
    some = [c for c in reversed(outcome.earlier) if all(getattr(c, x) == getattr(now, x) for x in alike)]
    for name in ("scale", "softcap"):
        for value in dict.fromkeys(getattr(c, name) for c in some):
            if value != getattr(problem, name):
                yield f"state kept from an earlier call: its {name}", replace(problem, **{name: value})
    masks = {mask.tobytes(): mask for mask in (c.mask for c in some) if mask.shape == problem.mask.shape}
    for mask in masks.values():
        if (mask != problem.mask).any():
            yield "state kept from an earlier call: its pairs", replace(problem, mask=mask)


def _readings(words, problem, outcome, judge, empty):
    """The words, and how the lse and the `empty` rows are read besides, if the results are then right.

    Rows that have no key in this reading alone have to hold what rows without keys hold, or anything would be explained.
    """
    with np.errstate(all="ignore"):
        want = judge.expected(problem)
        got, rows = outcome.got, np.broadcast_to(problem.mask.any(-1), want.values["lse"].shape)
        excused = ~rows & np.broadcast_to(empty, rows.shape)
        parts = [x for x in FORWARD if x in got]
        off = {x: ratios(got[x], want.values[x], want.errors[x]) > 1 for x in parts}
        if off["o"][~excused].any() or any(off[x][~excused & ~rows].any() for x in parts):
            return []
        notes = [_empty_rows(got, want, problem, ~excused)] if excused.any() else []
        if "lse" in got:
            right, error, top = (x[rows] for x in (want.values["lse"], 1.1 * want.errors["lse"], want.top))
            lse = {
                "": right, "lse in base 2": right / LN2, "lse natural though base 2 is declared": right * LN2,
                "lse negated": -right, "lse without the maximum of the scores": right - top,
                "lse that mixes base 2 with a natural maximum": top + (right - top) / LN2,
            }  # fmt: skip
            if problem.sinks is not None:
                lse["lse without the sink"] = judge.expected(replace(problem, sinks=None)).values["lse"][rows]
            fits = [name for name, x in lse.items() if (ratios(got["lse"][rows], x, error / LN2 if name else error) <= 1).all()]
            if not fits:
                return []
            notes.append(fits[0])
    said = "; ".join(filter(None, [words, *notes]))
    return [said] if said else []


def _empty_rows(got, want, problem, rows):
    """What the rows without keys hold, where it is not what it should be."""
    o, lse = got["o"][~rows], got["lse"][~rows] if "lse" in got else None
    bad = (ratios(o, want.values["o"][~rows], 0.0) > 0).any()
    bad_lse = lse is not None and (ratios(lse, want.values["lse"][~rows], want.errors["lse"][~rows]) > 1).any()
    if not bad and not bad_lse:
        return ""
    group = problem.q.shape[1] // problem.k.shape[1]
    mean = np.repeat(problem.v.astype(float).mean(-2, keepdims=True), group, axis=1) + 0 * got["o"]
    mean = np.allclose(o, mean[~rows], rtol=1e-2, atol=1e-3)
    if lse is not None and np.isfinite(lse).all() and lse.max() < -1e3:
        return f"forbidden scores are finite, about {lse.max():.0e}, not -inf"
    said = "zero" if not o.any() else "NaN" if np.isnan(o).all() else "the mean of all values" if mean else "other numbers"
    return f"queries without keys give {said}" + (f" and the wrong lse ({lse.flat[0]:.3g})" if bad_lse else "")


def _nan(got, want, problem):
    """NaN at the wrong places."""
    pairs = [(np.isnan(got[x]), np.isnan(want.values[x])) for x in FORWARD if x in got]
    more, fewer = (any((a & ~b).any() for a, b in some) for some in (pairs, [(b, a) for a, b in pairs]))
    if more and not problem.finite:
        return ["NaN of a forbidden key or value leaks (0 * nan is nan: select, do not multiply)"]
    if fewer:
        return ["NaN in a live input is swallowed"]
    return ["NaN out of finite inputs"] if more else []


def _arithmetic(outcome, problem, judge, parts):
    """Weaker arithmetic than declared, the least weak first; a budget that would allow anything explains nothing."""
    parts = [x for x in parts if x in outcome.got]
    for words, change in weaker(judge.dtype).items():
        if parts[0] not in FORWARD and set(change) <= {"lse", "out"}:
            continue  # they were seen to be right
        want = judge.expected(problem, replace(judge.model, **change))
        if not vague(want, parts) and all((ratios(outcome.got[x], want.values[x], want.errors[x]) <= 1).all() for x in parts):
            words = words if parts[0] in FORWARD else words.replace("P rounded", "P or dS rounded")
            return [f"weaker arithmetic than declared: {words}"]
    return []


def _places(got, want, wrong, problem):
    """All outputs too small or too large, or the named rows close to the failing ones, the closest first."""
    o, right = got["o"], want.values["o"]
    use = np.isfinite(o) & np.isfinite(right) & (want.errors["o"] > 0)
    w, e = right[use], (o - right)[use]
    if w.size >= 40 and w.any():
        slope = e @ w / (w @ w)
        if ((e - slope * w) ** 2).sum() < 0.6 * (e**2).sum() and abs(slope) < 0.2:
            return [f"no known convention: outputs too {'large' if slope > 0 else 'small'} throughout"]
    rows = wrong["o"].any(-1) | wrong.get("lse", np.zeros(1, bool))
    return [f"no known convention: wrong in {name}" for name in _named_rows(rows, problem.mask)]


def _named_rows(bad, mask):
    empty, mask = ~mask.any(-1), mask.any(tuple(range(mask.ndim - 2)))
    (nq, nk), row = mask.shape, np.arange(mask.shape[0])
    whole = np.ones(bad.shape, bool)
    sets = {"all rows": whole, "rows without keys": whole & empty}
    some = np.flatnonzero(bad.any((0, 2)))
    if some.size < bad.shape[1]:
        sets[f"heads {', '.join(map(str, some))}"] = whole & np.isin(np.arange(bad.shape[1]), some)[:, None]
    for t in (16, 32, 64):
        seen = np.array([mask[:, j : j + t].any(-1) for j in range(0, nk, t)]).reshape(-1, nq)
        if t < nk:
            sets[f"rows that see more than one tile of {t} keys"] = whole & (seen.sum(0) > 1)
            partial = ", partial" if nk % t else ""
            sets[f"rows that see the last{partial} tile of {t} keys"] = whole & seen[-1]
        if t < nq:
            sets[f"rows after the first {t}"] = whole & (row >= t)
            sets[f"rows of the last, partial tile of {t} queries"] = whole & (row >= nq // t * t)
    alike = {name: (bad & x).sum() / max((bad | x).sum(), 1) for name, x in sets.items()}
    return [x for x in sorted(alike, key=alike.get, reverse=True) if alike[x] > 0.7] or ["scattered rows"]


def _gradients(outcome, want, problem, judge):
    """Mistakes of a backward pass whose forward pass is right."""
    got = outcome.got
    with np.errstate(all="ignore"):
        wrong = [x for x in ("dq", "dk", "dv") if x in got and (ratios(got[x], want.values[x], want.errors[x]) > 1).any()]
    scale = problem.q.shape[-1] ** -0.5 if problem.scale is None else problem.scale

    def fits(values, error=want.errors):
        return all((ratios(got[x], values[x], 1.1 * error[x]) <= 1).all() for x in wrong)

    found = []
    for words, factor in (("without the scale", 1 / (scale or 1)), ("scaled twice", scale)):
        errors = {x: want.errors[x] * abs(factor) for x in wrong}
        if set(wrong) <= {"dq", "dk"} and fits({x: want.values[x] * factor for x in wrong}, errors):
            found.append(f"{' and '.join(wrong)} {words}")
    for words, dlse in (("gradient of the lse ignored", 0 * problem.dlse), ("gradient of the lse with the wrong sign", -problem.dlse)):
        if "dlse" in judge.back_parameters and fits(judge.expected(replace(problem, dlse=dlse)).values):
            found.append(words)
    if not found and all(np.isfinite(got[x]).all() for x in wrong):
        found = _arithmetic(outcome, problem, judge, [*wrong, *({"dq", "dk", "dv"} & set(got) - set(wrong))])
    parts = ", ".join(wrong)
    features = {"there is a softcap": problem.softcap, "there is a bias": problem.bias, "there are sinks": problem.sinks}
    places = [words for words, value in features.items() if value is not None]
    places += ["heads share keys and values"] if problem.q.shape[1] != problem.k.shape[1] else []
    places += ["pairs are forbidden"] if not problem.mask.all() else []
    return found or [f"no known convention: {parts} wrong{' where ' + x if x else ', o and lse right'}" for x in [*places, ""]]
