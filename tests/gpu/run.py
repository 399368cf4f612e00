"""Every law of every CUDA kernel on the GPU at hand: python tests/gpu/run.py [--quick] [--only RUNG ...] [--family WORD ...] [--verbose].

The cases of `tests/kernels/cuda_cases.py`, larger than in the simulator, and those of `cuda_owners.py`. The cases of each kernel are shared
by processes, which begin again behind a case that kills the GPU's context or the process. Prints what failed and a table, and ends with 1
if anything did. `--quick` runs a few small cases in this process: compute-sanitizer python tests/gpu/run.py --quick
"""
import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

if not hasattr(np, "row_stack"):                       # numba-cuda 0.30 still asks NumPy for it; NumPy 2.5 has dropped it
    np.row_stack = np.vstack  # noqa: NPY201

HERE = Path(__file__).parent
sys.path[:0] = [str(x) for x in (HERE.parent / "kernels", HERE.parent, HERE.parents[1]) if str(x) not in sys.path]
DEAD = ("ILLEGAL", "LAUNCH_FAILED", "LAUNCH_TIMEOUT", "MISALIGNED", "HARDWARE", "illegal memory", "unspecified launch", "ASSERT")
SILENCE = 300                                          # seconds without a word: a kernel that never ends


def rungs():
    """Names of the kernels here that this GPU can run, and why the others cannot."""
    from cuda_problems import RUNGS
    from numba import cuda

    import sparsevis as sv
    from sparsevis.kernels._cuda import SIMULATED, needs_device

    if SIMULATED:
        raise RuntimeError("this asks a real GPU: unset NUMBA_ENABLE_CUDASIM")
    needs_device("cuda")
    capability = tuple(cuda.get_current_device().compute_capability)
    least = {"cuda_mma": capability >= (8, 0), "cuda_wgmma": capability == (9, 0)}
    absent = {name: "no such file" for name in RUNGS if name not in sv.implementations()}
    absent |= {name: f"not on compute capability {capability}" for name in RUNGS if name not in absent and not least.get(name, True)}
    return [name for name in RUNGS if name not in absent], absent, capability


def every_case(name, where, capability, families):
    """{name of a case: function} of a rung."""
    import cuda_cases
    import cuda_owners

    found = cuda_cases.cases(name, where)
    if where == "device":
        found |= cuda_owners.cases(cuda_cases.RUNGS[name], capability)
    return {what: run for what, run in found.items() if not families or any(word in what for word in families)}


# ---------------------------------------------------------------- one rung, in this process

def run_here(name, where, capability, families, after=None, share=(0, 1)):
    """Yield (case, seconds, what went wrong) of a share of the cases, from behind one on; stops where the GPU's context is dead."""
    found = every_case(name, where, capability, families)
    names = list(found)[share[0]::share[1]]
    for what in names[names.index(after) + 1 if after else 0:]:
        start, wrong = time.perf_counter(), ""
        if where == "device":
            print(json.dumps([what, 0, "begins"]), flush=True)
        try:
            found[what]()
        except Exception as e:                         # whatever it is belongs to this case alone
            wrong = f"{type(e).__name__}: {e}"
        yield what, time.perf_counter() - start, wrong
        if is_dead(wrong):
            return


def is_dead(wrong):
    """Whether the GPU's context is: every further call of its process fails."""
    return any(word in wrong for word in DEAD)


def child(name, families, after, share):
    """Lines of JSON for the parent."""
    warnings.simplefilter("error", RuntimeWarning)
    for result in run_here(name, "device", rungs()[2], families, after, share):
        print(json.dumps(result), flush=True)


# ---------------------------------------------------------------- one rung, in processes that may die

def run_apart(name, families, share):
    """[(case, seconds, what went wrong)] of a share of the cases of a rung, whatever happens to its process."""
    results, after = [], None
    while True:
        further = [*(["--after", after] if after else []), *(["--family", *families] if families else []), "--share", *map(str, share)]
        command = [sys.executable, __file__, "--child", name, *further]
        process, before = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True), len(results)
        began, errors = listen(process, results)
        ended = f"the process ended with code {process.returncode}: {errors[-3000:]}"
        if began is not None:                          # it died within a case
            results.append((began, 0.0, ended))
        elif len(results) == before or not is_dead(results[-1][2]):
            return [*results, *([("process: ends well", 0.0, ended)] if process.returncode else [])]
        after = results[-1][0]


def listen(process, results):
    """Collect the results of a process; return the case that it never ended, and what it said on the error stream."""
    began = None
    with ThreadPoolExecutor(2) as pool:
        errors = pool.submit(process.stderr.read)
        while line := _line(pool, process):
            if not line.startswith("["):
                continue                               # a library's own word
            what, seconds, wrong = json.loads(line)
            began = what if wrong == "begins" else None
            if began is None:
                results.append((what, seconds, wrong))
        process.wait()
        return began, errors.result()


def _line(pool, process):
    waiting = pool.submit(process.stdout.readline)
    try:
        return waiting.result(timeout=SILENCE)
    except TimeoutError:
        process.kill()
        return ""


# ---------------------------------------------------------------- the table

def table(results, absent):
    """Passed of all, by rung and family, as text."""
    counts = {name: defaultdict(lambda: [0, 0]) for name in results}
    for name, cases in results.items():
        for what, _, wrong in cases:
            passed = counts[name][what.partition(":")[0]]
            passed[0] += not wrong
            passed[1] += 1
    families = list(dict.fromkeys(family for of in counts.values() for family in of))
    lines = [" " * 12 + "".join(f"{name:>14}" for name in results)]
    for family in families:
        cells = ["-" if family not in counts[name] else "{} of {}".format(*counts[name][family]) for name in results]
        lines.append(f"{family:12}" + "".join(f"{cell:>14}" for cell in cells))
    totals = [f"{sum(not x[2] for x in cases)} of {len(cases)}" for cases in results.values()]
    lines.append(f"{'all':12}" + "".join(f"{cell:>14}" for cell in totals))
    lines.append(f"{'seconds':12}" + "".join(f"{sum(x[1] for x in cases):>14.0f}" for cases in results.values()))
    return "\n".join([*lines, *(f"{name} did not run: {why}" for name, why in absent.items())])


def main():
    """Read the command line, run, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few small cases, in this process")
    parser.add_argument("--only", nargs="+", default=[], metavar="RUNG")
    parser.add_argument("--family", nargs="+", default=[], metavar="WORD", help="cases whose name holds one of these words")
    parser.add_argument("--verbose", action="store_true", help="every case and its seconds")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--after", help=argparse.SUPPRESS)
    parser.add_argument("--share", type=int, nargs=2, default=(0, 1), help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, default=4, help="that share the cases of a kernel")
    told = parser.parse_args()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")      # several processes share the GPU
    if told.child:
        return child(told.child, told.family, told.after, told.share)
    try:
        names, absent, capability = rungs()
    except (ImportError, RuntimeError) as e:
        print(e)
        return 1
    names = [name for name in names if not told.only or name in told.only]
    if told.quick:
        results = {name: list(run_here(name, "quick", capability, told.family)) for name in names}
    else:
        work = [(name, (i, told.processes)) for name in names for i in range(told.processes)]
        with ThreadPoolExecutor(len(work) or 1) as pool:
            parts = list(pool.map(lambda x: run_apart(x[0], told.family, x[1]), work))
        results = {name: [case for (of, _), part in zip(work, parts, strict=True) if of == name for case in part] for name in names}
    for name, cases in results.items():
        for what, seconds, wrong in cases:
            if wrong or told.verbose:
                print(f"{name:11} {'FAILED' if wrong else 'passed'} {seconds:6.1f} s  {what}{': ' + wrong if wrong else ''}")
    print(table(results, absent))
    failed = sum(bool(x[2]) for cases in results.values() for x in cases)
    print(f"{failed} failed" if failed else "all passed" if any(results.values()) else "nothing ran")
    return int(failed > 0 or not any(results.values()))


if __name__ == "__main__":
    sys.exit(main())
