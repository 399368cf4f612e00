"""Clocks: calls timed in interleaved rounds, and memory at its highest."""

import ctypes
import re
from contextlib import suppress
from statistics import median
from time import perf_counter, process_time, sleep

__all__ = ["grown", "interleaved", "summary", "timed"]

PAUSE = 0.03  # seconds before each call: what ran before may have left threads that spin


def timed(call):
    """Return (seconds, seconds of processor time of all threads)."""
    wall, cpu = perf_counter(), process_time()
    call()
    return perf_counter() - wall, process_time() - cpu


def interleaved(calls, rounds, budget=float("inf"), each_round=lambda: None):
    """Time calls in turn, so that a busy machine slows all alike; every other round goes backwards.

    Parameters
    ----------
    calls : dict of str to function
    rounds : int
    budget : float
        Seconds after which a call takes part no more.
    each_round : function
        Called before each round.

    Returns
    -------
    dict of str to list of (seconds, processor seconds)
    """
    times = {name: [] for name in calls}
    for r in range(rounds):
        each_round()
        names = [name for name in calls if sum(wall for wall, _ in times[name]) < budget]
        if not names:
            break
        for name in names[:: 1 if r % 2 == 0 else -1]:
            sleep(PAUSE)
            times[name].append(timed(calls[name]))
    return times


def summary(times, base):
    """Return what is said of one call: medians, the best, and the median of its ratios to the first call's time of the same round.

    >>> summary([(2.0, 4.0), (9.0, 9.0), (6.0, 6.0)], [(1.0, 1.0), (3.0, 3.0), (4.0, 4.0)])
    {'seconds': 6.0, 'best': 2.0, 'ratio': 2.0, 'cores': 1.0, 'rounds': 3}
    """
    seconds = [wall for wall, _ in times]
    ratios = [wall / first for (wall, _), (first, _) in zip(times, base, strict=False)]
    cores = median(cpu / wall for wall, cpu in times)
    return {"seconds": median(seconds), "best": min(seconds), "ratio": median(ratios), "cores": cores, "rounds": len(times)}


def grown(call):
    """Return (result, seconds, bytes): how much more memory was resident at the highest than before; None where Linux does not tell."""
    with suppress(AttributeError, OSError, TypeError):  # what glibc holds and does not use would hide growth
        ctypes.CDLL(None).malloc_trim(0)
    before = _resident("VmRSS") if _forget_highest() else None
    start = perf_counter()
    result = call()
    seconds = perf_counter() - start
    return result, seconds, None if before is None else max(0, _resident("VmHWM") - before)


def _forget_highest():
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        return True
    except OSError:
        return False


def _resident(what):
    with open("/proc/self/status") as file:
        return 1024 * int(re.search(rf"{what}:\s*(\d+) kB", file.read())[1])
