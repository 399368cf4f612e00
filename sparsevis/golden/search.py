"""Calls that no list holds: hypothesis draws the numbers of a call, and makes those of a failing one smaller. Needs `hypothesis`.

Only the dozen small numbers of a call are drawn, never the floats in its arrays, which follow from them.
"""

from dataclasses import fields, replace
from time import monotonic

from sparsevis.golden.call import MEMORY, VALUES, Call
from sparsevis.golden.check import judge_of, report_of
from sparsevis.golden.shrink import size_of
from sparsevis.patterns import BlockWindow, Causal, Chunked, Global, PrefixLM, SlidingWindow, Strided

__all__ = ["search"]

LARGEST = {"nq": 70, "nk": 130, "d": 40, "dv": 40}
FEWEST = 20  # calls that are asked, whatever the time


def search(fn, *, seconds=30.0, seed=0, **options):
    """Look for calls that fail, for so many seconds, where `check` asks fixed lists.

    Parameters
    ----------
    fn : callable
        As for `check`.
    seconds : float
        When to stop, after at least 20 calls; earlier where a failing call has been made as small as it gets.
    seed : int
        Of the draws.
    **options
        backward, dialect, arrays, model, dtype, deterministic, isolate, timeout, memory: as for `check`.

    Returns
    -------
    Report
        Of the calls that were asked; `smallest` is the simplest of the failing ones, after hypothesis made it smaller.

    Examples
    --------
    >>> import numpy as np, sparsevis as sv
    >>> def forgets_a_key(q, k, v, mask):
    ...     return sv.reference.attention(q, k, v, mask & (np.arange(k.shape[-2]) != 4))[0]
    >>> report = search(forgets_a_key, seconds=3)
    >>> report.ok, report.smallest.call.nk
    (False, 5)
    """
    import hypothesis

    judge, asked, end = judge_of(fn, **options), {}, monotonic() + seconds

    class Failed(Exception):
        pass

    def one(call):
        if monotonic() > end and len(asked) >= FEWEST:
            return
        if call not in asked:
            asked[call] = judge(call, "drawn")
        if asked[call].status == "fail":
            raise Failed

    quiet = {"database": None, "deadline": None, "max_examples": 200, "report_multiple_bugs": False}
    quiet["suppress_health_check"] = list(hypothesis.HealthCheck)
    try:
        while (monotonic() < end or len(asked) < FEWEST) and not any(o.status == "fail" for o in asked.values()):
            test = hypothesis.given(calls_of(hypothesis.strategies, judge))(one)
            try:
                hypothesis.seed(seed)(hypothesis.settings(**quiet)(test))()
            except (Failed, hypothesis.errors.Flaky):
                pass
            seed += 1
        small = min((o for o in asked.values() if o.status == "fail"), key=lambda o: size_of(o.call), default=None)
        return report_of(fn, "search", judge, list(asked.values()), small)
    finally:
        judge.ask.close()


def calls_of(st, judge):
    """The strategy: smaller numbers are simpler, and every feature is absent more often than not, or always if the kernel has it not."""
    sizes = {name: st.integers(1 if name[0] == "d" else 0, most) for name, most in LARGEST.items()}
    rare = lambda some: st.none() | st.none() | some  # noqa: E731
    numbers = {
        **sizes, "batch": st.integers(1, 2), "kv_heads": st.integers(1, 3), "group": st.sampled_from([1, 1, 2, 3, 7]),
        "left": st.none() | st.integers(0, 80), "right": st.sampled_from([0, None, 0, 1, 5]),
        "global_keys": st.sampled_from([0, 0, 0, 1, 3]), "pattern": rare(st.sampled_from(PATTERNS)),
        "offset": st.sampled_from(["bottom-right", "bottom-right", "top-left", 0, 3, -2]),
        "scale": rare(st.sampled_from([0.3, 0.0, 1.0])), "softcap": rare(st.sampled_from([1.0, 20.0])),
        "alibi": st.sampled_from([False] * 4 + [True]), "sinks": st.sampled_from([False, False, True]),
        "bias": st.sampled_from([False, False, True]),
        "values": st.sampled_from(["normal", "normal", *VALUES]), "memory": st.sampled_from(["plain", "plain", *MEMORY]),
        "seed": st.integers(0, 3),
    }  # fmt: skip
    plain = {f.name: f.default for f in fields(Call)}
    missing = {"batch"} - ({"batch"} if "b" in judge.dialect.axes else set())
    missing |= {x for x in ("scale", "softcap", "sinks", "bias", "global_keys") if x not in judge.parameters} - (
        {"global_keys"} if {"pattern", "layout", "mask"} & set(judge.parameters) else set())  # fmt: skip
    missing |= set() if {"slopes", "bias"} & set(judge.parameters) else {"alibi"}
    numbers |= {x: st.just(plain[x]) for x in missing}
    ways = st.sampled_from(["", "", "", "documents", "padding", "ring"])
    return st.builds(_placed, st.fixed_dictionaries(numbers), ways, st.integers(0, 99))


PATTERNS = [
    Causal() & Strided(3), Causal() & Chunked(5), BlockWindow(16, 1, 0), PrefixLM(4), ~SlidingWindow(3, 3), Global((0,)) | Chunked(7),
]  # fmt: skip


def _placed(numbers, way, cut):
    """A Call, with its keys in documents cut at `cut`, padded, or in a ring."""
    call = Call(**{f.name: numbers[f.name] for f in fields(Call) if f.name in numbers})
    call = replace(call, pattern=call.pattern if call.nk and way not in ("ring", "documents") else None)
    if way == "documents":
        n = min(cut, call.nq, call.nk)
        return replace(call, offset="bottom-right", lengths=(n, call.nq - n), key_lengths=(n, call.nk - n))
    if way == "padding":
        return replace(call, offset=0, valid=tuple((cut * (i + 1)) % (call.nk + 1) for i in range(call.batch)))
    if way == "ring" and call.nk:
        return replace(call, offset="bottom-right", right=0, seen=call.nq + cut)
    return call
