"""The smallest call that still fails: the numbers of a call are made smaller one at a time, never the floats in its arrays.

Shrinking thousands of floats takes minutes and ends in noise; shrinking a dozen small integers takes a second and ends in a sentence.
Where hypothesis is installed it then draws calls within the smallest, as several numbers may have to change together.
"""

from dataclasses import fields, replace
from importlib.util import find_spec
from time import monotonic

from sparsevis.golden.call import Call

__all__ = ["size_of", "smallest"]

ORDER = ["memory", "batch", "bias", "alibi", "sinks", "softcap", "scale", "global_keys", "seen", "group", "kv_heads", "nq", "nk", "d", "dv"]
ORDER += ["left", "right", "values", "offset", "seed"]
PLAIN = {f.name: f.default for f in fields(Call)}
DRAWN = 200  # calls that are drawn and asked


def smallest(failing, judge, seconds=5.0):
    """Return the Outcome of the simplest call found to fail, starting from the simplest of `failing`.

    Every step is judged anew, so a failure that depends on earlier calls may stay as large as it was found.
    """
    end = monotonic() + seconds
    best = min(failing, key=lambda outcome: size_of(outcome.call))
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
    return _drawn(best, judge)


def _drawn(best, judge):
    """The smallest failing Outcome that hypothesis finds within a failing call, if it is smaller."""
    if find_spec("hypothesis") is None or size_of(best.call)[0] <= 1 or best.call.lengths is not None or best.call.valid is not None:
        return best
    import hypothesis
    from hypothesis import strategies as st

    found, asked = [best], []

    def smaller(call):
        if call is None or len(asked) == DRAWN or not size_of(call) < size_of(found[-1].call):
            return False
        asked.append(call)
        outcome = _judged(judge, call, best.family)
        if outcome is not None and outcome.status == "fail":
            found.append(outcome)
            return True
        return False

    fields_of = {name: getattr(best.call, name) for name in ORDER if getattr(best.call, name) != PLAIN[name]}
    numbers = {x: st.integers(PLAIN[x] if x in ("d", "dv") else min(1, now), now) if type(now) is int and now > 0 else st.sampled_from(
        [PLAIN[x], now]) for x, now in fields_of.items()}  # fmt: skip
    some = st.fixed_dictionaries(numbers).map(lambda change: next(_changed(best.call, **change), None))
    quiet = {"database": None, "deadline": None, "derandomize": True, "max_examples": 300, "phases": [hypothesis.Phase.generate]}
    quiet["suppress_health_check"] = list(hypothesis.HealthCheck)
    while len(asked) < DRAWN:
        before = found[-1]
        try:
            hypothesis.find(some, smaller, settings=hypothesis.settings(**quiet))
        except hypothesis.errors.HypothesisException:
            pass
        if found[-1] is before:
            break
    return found[-1]


def _judged(judge, call, family):
    try:
        return judge(call, family)
    except (ValueError, IndexError):
        return None  # the changed call makes no sense: a pattern for another length


def size_of(call):
    """How large a call is: its pairs over all heads and entries, then how many of its words are not the plain ones."""
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
