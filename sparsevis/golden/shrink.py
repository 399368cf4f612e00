"""The smallest call that still fails: the numbers of a call are made smaller one at a time, never the floats in its arrays.

Shrinking thousands of floats takes minutes and ends in noise; shrinking a dozen small integers takes a second and ends in a sentence.
"""

from dataclasses import fields, replace
from time import monotonic

from sparsevis.golden.call import Call

__all__ = ["smallest"]

ORDER = ["memory", "batch", "bias", "sinks", "softcap", "scale", "global_keys", "seen", "group", "kv_heads", "nq", "nk", "d", "dv"]
ORDER += ["left", "right", "values", "offset", "seed"]
PLAIN = {f.name: f.default for f in fields(Call)}


def smallest(failing, judge, seconds=5.0):
    """Return the Outcome of the simplest call found to fail, starting from the simplest of `failing`.

    Every step is judged anew, so a failure that depends on earlier calls may stay as large as it was found.
    """
    end = monotonic() + seconds
    best = min(failing, key=lambda outcome: _size(outcome.call))
    changed = True
    while changed and monotonic() < end:
        changed = False
        for call in _simpler(best.call):
            outcome = _judged(judge, call, best.family)
            if outcome is not None and outcome.status == "fail":
                best, changed = outcome, True
                break
            if monotonic() > end:
                break
    return best


def _judged(judge, call, family):
    try:
        return judge(call, family)
    except (ValueError, IndexError):
        return None  # the changed call makes no sense: a pattern for another length


def _size(call):
    return call.nq * call.nk * call.kv_heads * call.group * call.batch, sum(getattr(call, f) != PLAIN[f] for f in PLAIN)


def _simpler(call):
    """Calls with one number smaller or one feature less, the boldest first; and with both lengths smaller, which keeps them equal."""
    yield from _fewer_documents(call) if call.lengths is not None else ()
    for b in range(call.batch if call.valid is not None and call.batch > 1 else 0):
        yield replace(call, batch=1, valid=call.valid[b : b + 1])
    for nq, nk in ((1, 1), (2, 2), (3, 3), (call.nq // 2, call.nk // 2), (call.nq - 1, call.nk - 1)):
        if 0 < nq < call.nq and 0 < nk < call.nk:
            yield from _changed(call, nq=nq, nk=nk)
    for name in ORDER:
        now, plain = getattr(call, name), PLAIN[name]
        if now == plain:
            continue
        if name in ("left", "right", "global_keys"):
            steps = [plain, *(x for x in (0, 1, now // 2, now - 1) if now is not None and 0 <= x < now)]
        elif name == "seen":
            steps = [plain, *(x for x in (call.nq, call.nk, now // 2, now - 1) if call.nq <= x < now)]
        elif name in ("d", "dv", "nq", "nk", "group", "kv_heads", "batch", "seed") and now > 1:
            steps = [x for x in (1, 2, now // 2, now - 1) if 0 < x < now]
        else:
            steps = [plain]
        for value in dict.fromkeys(steps):
            if value != now:
                yield from _changed(call, **{name: value})


def _changed(call, **change):
    """The call with other numbers, where they go together."""
    try:
        yield replace(call, **change)
    except ValueError:
        return


def _fewer_documents(call):
    """One document alone, one less, or one of them shorter."""
    queries, keys = call.documents
    some = list(range(len(queries)))
    kept = [[i] for i in some] + [[j for j in some if j != i] for i in some] if len(some) > 1 else []
    found = [([queries[i] for i in one], [keys[i] for i in one]) for one in kept]
    for i in some:
        for q, k in ((queries[i] // 2, keys[i] // 2), (queries[i] - 1, keys[i] - 1)):
            if q > 0 and k > 0:
                found.append(([*queries[:i], q, *queries[i + 1 :]], [*keys[:i], k, *keys[i + 1 :]]))
    for q, k in found:
        if sum(q) and sum(k):
            lengths = {"lengths": tuple(q), "key_lengths": None if call.key_lengths is None else tuple(k)}
            yield replace(call, nq=sum(q), nk=sum(k), **lengths)
