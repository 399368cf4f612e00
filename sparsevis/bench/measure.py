"""The runner: every peer prepared, checked and weighed, then all of them timed in interleaved rounds."""

import gc
import sys
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from statistics import median

from sparsevis.bench.clock import grown, interleaved, summary, timed
from sparsevis.bench.first_call import CODE, first_calls
from sparsevis.bench.machine import facts, fma_rate
from sparsevis.bench.peers import PEERS
from sparsevis.bench.problem import Problem
from sparsevis.bench.report import verdicts

__all__ = ["measure"]


def measure(cases, *, peers=PEERS, rounds=9, budget=3.0, memory_limit=4 << 30, threads=None, show=None):
    """Run cases and return the result, plain data that JSON can hold.

    Parameters
    ----------
    cases : iterable of Case
        See `chosen`.
    peers : sequence of Peer
        The first one is what the others are compared with.
    rounds : int
        Timed calls of each peer.
    budget : float
        Seconds of timed calls of one peer in one case; a slow one takes part in fewer rounds, and in one at least. Preparing and
        compiling are not counted.
    memory_limit : int
        Bytes that a peer may take beyond inputs and outputs.
    threads : int, optional
        For Numba and PyTorch; all that Numba has if left out. NumPy's and JAX's are set outside of the process, as `run` does.
    show : function, optional
        Called with each case's result, returns text to print.

    Returns
    -------
    dict
        "machine", "settings", and "cases": each with its facts, its "rows", one a peer, and its "goals". A row has "peer" and either
        times or "skipped", the reason.

    Examples
    --------
    >>> from sparsevis.bench import Case
    >>> from sparsevis.patterns import Causal
    >>> case = Case("tiny", "an example", Causal(), n=16, heads=1, d=4)
    >>> result = measure([case], peers=[p for p in PEERS if p.name in ("loops", "numpy")], rounds=2, threads=1)
    >>> [row["peer"] for row in result["cases"][0]["rows"]], result["cases"][0]["pairs"]
    (['numpy', 'loops'], 136)
    """
    from tqdm import tqdm

    settings, peaks = {"rounds": rounds, "budget": budget, "memory_limit": memory_limit}, {}
    with _threads(threads, peers) as threads, tqdm(list(cases), unit="case", disable=None, leave=False) as bar:
        result = {"format": 1, "machine": facts(threads), "settings": settings, "cases": []}
        for case in bar:
            bar.set_description(case.name)
            rows, more = _first_calls(case, peers) if case.kind == "first call" else _attention(case, peers, settings, threads, peaks, bar)
            about = {name: getattr(case, name) for name in ("name", "what", "kind", "n", "heads", "d", "dtype")}
            one = {**about, "pattern": repr(case.pattern), **more, "rows": rows}
            result["cases"].append({**one, "goals": verdicts(one, case.goals)})
            if show:
                tqdm.write(show(result["cases"][-1]), file=sys.stdout)
                sys.stdout.flush()
    return result


@contextmanager
def _threads(count, peers):
    """Hold Numba and PyTorch to so many threads. What peers import is loaded first: PyTorch before Numba's pool starts."""
    for module in {m: None for peer in peers if not peer.missing() for m in peer.modules}:
        import_module(module)
    import numba

    pools = [m for m in (numba, sys.modules.get("torch")) if m]
    before = [pool.get_num_threads() for pool in pools]
    for pool in pools:
        pool.set_num_threads(count or before[0])
    try:
        yield numba.get_num_threads()
    finally:
        for pool, threads in zip(pools, before, strict=True):
            pool.set_num_threads(threads)


def _first_calls(case, peers):
    rows = []
    for peer in (peer for peer in peers if peer.name in CODE):
        reason = peer.missing() or peer.unable(case)
        try:
            rows += [{"peer": peer.name, "skipped": reason}] if reason else first_calls(peer.name)
        except RuntimeError as raised:
            rows.append({"peer": peer.name, "skipped": str(raised), "failed": True})
    return rows, {}


def _attention(case, peers, settings, threads, peaks, bar):
    """Rows of one case, and what else is said of it."""
    x, rows, calls = Problem(case), [], {}
    for peer in peers:
        if case.kind in peer.can and (case.peers is None or peer.name in case.peers):
            bar.set_postfix_str(peer.name)
            reason = peer.why_not(case, x.pairs, settings["memory_limit"])
            row, call = ({"skipped": reason}, None) if reason else _tried(peer, x)
            rows.append({"peer": peer.name, **row})
            calls |= {peer.name: call} if call else {}
    bar.set_postfix_str("rounds")
    first, bursts = [fma_rate(case.dtype, threads) for _ in range(9)], []
    times = interleaved(calls, settings["rounds"], settings["budget"], lambda: bursts.append(fma_rate(case.dtype, threads)))
    peak = peaks[case.dtype] = max(peaks.get(case.dtype, 0.0), *first, *bursts)
    for row in (row for row in rows if row["peer"] in calls):
        row |= summary(times[row["peer"]], times[next(iter(times))])
        if case.flops_a_pair:
            rate = case.flops_a_pair * x.pairs / row["seconds"]
            row |= {"flops": rate, "of_peak": rate / peak}
            if row["call_bytes"] is not None:
                row["of_inputs"] = (row["prepare_bytes"] + row["call_bytes"]) / x.input_bytes
    return rows, {"pairs": x.pairs, "input_bytes": x.input_bytes, "peak": peak, "free": median(bursts) / peak}


def _tried(peer, x):
    """Prepare, check and weigh one peer: its row, and the call to time or None."""
    try:
        gc.collect()  # of the peer before
        prepare = partial(peer.can[x.case.kind], x)
        prepare()  # once for what libraries load late: it has been 30 MiB of JAX
        work, prepared, size = grown(prepare)
        row = {"prepare_seconds": prepared, "prepare_bytes": size}
        if peer.compiles:
            row["first_seconds"] = timed(work.call)[0]
        result, _, more = grown(work.call)
        read = work.read(result)
        error, tolerance = x.error(read)
    except Exception as raised:  # of other people's code, for reasons of their own
        said = (str(raised).strip() or "no reason given").splitlines()[0]
        return {"skipped": f"{type(raised).__name__}: {said[:160]}", "failed": not isinstance(raised, NotImplementedError)}, None
    if not error <= tolerance:
        return {"skipped": f"wrong: off by {error:.2g}, where rounding explains {tolerance:.2g}", "wrong": True}, None
    if more is not None and x.case.flops_a_pair:
        more = max(0, more - read.nbytes)
    return row | {"call_bytes": more, "error": error, "tolerance": tolerance}, work.call
