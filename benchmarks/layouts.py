"""How long layouts take to build, and how much memory: python benchmarks/layouts.py [--json FILE].

Every case runs in a process of its own; peak memory is that process's resident set above what it was before the build.
"""

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import time

import sparsevis as sv

SYSTEMS = {
    "sliding window 4096 (Mistral)": sv.mistral(),
    "Longformer 512 + 1 global": sv.longformer(),
    "dilated Longformer 512 x 4": sv.longformer(dilation=4),
    "BigBird 64": sv.bigbird(),
    "global tokens 0, 1, 5": sv.Global([0, 1, 5]),
    "StreamingLLM 4 + 1024": sv.streaming_llm(),
    "Sparse Transformer strided 128": sv.sparse_transformer_strided(),
    "Sparse Transformer fixed 128, 8": sv.sparse_transformer_fixed(),
    "random keys, 3 a query": sv.RandomKeys(3),
    "causal": sv.Causal(),
}
LONG = list(SYSTEMS)[:6]  # at a million tokens the others list a hundred million tiles, which the memory limit refuses


def measure(case):
    name, n, repeats = case
    before, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for _ in range(repeats):
        start = time.perf_counter()
        layout = sv.Layout.of(SYSTEMS[name], n, block=64)
        seconds.append(time.perf_counter() - start)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {
        "name": name, "n": n, "first": seconds[0], "seconds": statistics.median(seconds), "peak_mib": peak,
        "layout_mib": layout.nbytes / 2**20, "tiles": int(layout.indices.size), "distinct": len(layout.tiles), "density": layout.density,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows there too")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    cases = [(name, 65_536, arguments.repeats) for name in SYSTEMS] + [(name, 1_048_576, arguments.repeats) for name in LONG]
    print(f"layouts in tiles of 64 x 64, median of {arguments.repeats}, {platform.platform()}")
    head = f"{'system':34}{'n':>10}{'first s':>9}{'median s':>10}"
    print(f"{head}{'peak MiB':>10}{'layout MiB':>12}{'tiles':>12}{'distinct':>10}")
    rows = []
    for case in cases:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            row = pool.apply(measure, (case,))
        rows.append(row)
        head = f"{row['name']:34}{row['n']:>10,}{row['first']:>9.3f}{row['seconds']:>10.3f}"
        print(f"{head}{row['peak_mib']:>10.0f}{row['layout_mib']:>12.1f}{row['tiles']:>12,}{row['distinct']:>10,}")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
