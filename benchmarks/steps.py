"""What each step of the CPU kernel gains: the kernel beside copies of it that each have one step undone.

    python benchmarks/steps.py [--rounds 11]

A copy is the package with a few lines replaced, in a temporary folder and a process of its own. The processes take turns, so that a busy
machine slows all alike; reported are medians, and the median of each round's ratio to the kernel as it is. A line that is not found, or a
copy that computes something else, stops the run.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

PACKAGE = Path(__file__).parent.parent / "sparsevis"

ORDER = "np.lexsort((-tiles.ravel(), head.ravel(), -np.frexp(tiles.ravel())[1]))"

STEPS = {  # what is undone: (file in kernels/, a line, what stands there instead)
    "as it is": [],
    "sums in memory, a register tile of one row": [
        ("_simd.py", "return 64, (4, 4), (8, 1)", "return 64, (1, 4), (1, 1)"),
        ("_simd.py", "return 32, (4, 2), (8, 1)", "return 32, (1, 2), (1, 1)"),
    ],
    "partial tiles on all lanes at once": [("_tile.py", "make_partial(*NARROW)", "make_partial(*WIDE)")],
    "maximum moves with every larger score": [("_tile.py", "LAZY = 5.5 ", "LAZY = 0.0 ")],
    "sum of one order looking for NaN": [("_launch.py", ', fastmath={"contract", "reassoc"}', "")],
    "buffers that start anywhere": [("_tile.py", "skip = -raw.ctypes.data % 64 // itemsize", "skip = 1")],
    "items as they come": [("_launch.py", ORDER, "np.arange(tiles.size)")],
    "items longest first, heads in turn": [("_launch.py", ORDER, 'np.argsort(-tiles.ravel(), kind="stable")')],
    "one thread": [("_launch.py", "threads = min(numba.get_num_threads(), items)", "threads = min(1, items)")],
}  # fmt: skip

CASES = {"window 256": ("sv.mistral(256)", 16384), "window 1,024": ("sv.mistral(1024)", 8192), "causal": ("sv.Causal()", 4096)}

WORKER = """
import sys
from time import perf_counter
import numpy as np
import sparsevis as sv
cases = {cases!r}
rng = np.random.default_rng(0)
made = {{}}
for name, (pattern, n) in cases.items():
    q, k, v = (rng.standard_normal((8, n, 64), dtype=np.float32) for _ in range(3))
    made[name] = q, k, v, sv.Layout.of(eval(pattern), n)
    o = sv.attention(*made[name])
print("ready", float(np.abs(o).sum(dtype=np.float64)), flush=True)
for name in map(str.strip, sys.stdin):
    start = perf_counter()
    sv.attention(*made[name])
    print(perf_counter() - start, flush=True)
"""


class Worker:
    """One copy of the package, in a process that answers with the seconds of a call."""

    def __init__(self, folder, changes):
        shutil.copytree(PACKAGE, folder / "sparsevis", ignore=shutil.ignore_patterns("__pycache__"))
        for file, line, instead in changes:
            path = folder / "sparsevis" / "kernels" / file
            text = path.read_text()
            if text.count(line) != 1:
                sys.exit(f"{file} holds {line!r} {text.count(line)} times: this script is older than the kernel")
            path.write_text(text.replace(line, instead))
        environment = {**os.environ, "PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(folder / "cache")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER.format(cases=CASES)],
            cwd=folder, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        self.result = float(self.process.stdout.readline().split()[1])

    def seconds(self, case):
        self.process.stdin.write(case + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    with TemporaryDirectory() as folder:
        workers = {name: Worker(Path(folder) / str(x), changes) for x, (name, changes) in enumerate(STEPS.items())}
        for name, worker in workers.items():
            if abs(worker.result / workers["as it is"].result - 1) > 1e-5:
                sys.exit(f"{name}: computes something else")
        print(f"{'':42}" + "".join(f"{case:>24}" for case in CASES))
        times = {case: {name: [] for name in STEPS} for case in CASES}
        for case in CASES:
            workers["one thread"].seconds(case)                 # a change of case costs the first one to be called
            for r in range(rounds):
                for name in list(workers)[:: 1 if r % 2 else -1]:
                    times[case][name].append(workers[name].seconds(case))
        for name in STEPS:
            cells = []
            for case in CASES:
                ratio = median(x / y for x, y in zip(times[case][name], times[case]["as it is"], strict=True))
                cells.append(f"{1e3 * median(times[case][name]):12.1f} ms  {ratio:6.2f}x ")
            print(f"{name:42}" + "".join(cells))
        for worker in workers.values():
            worker.process.stdin.close()


if __name__ == "__main__":
    main()
