"""The command `sparsevis bench`: what it takes, and how it measures in a process of its own."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from sparsevis.bench.cases import CASES, chosen
from sparsevis.bench.machine import available
from sparsevis.bench.measure import measure
from sparsevis.bench.peers import PEERS
from sparsevis.bench.report import goals_table, listing, table

__all__ = ["add_arguments", "run"]

POOLS = ["NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"]


def add_arguments(parser):
    """Add what `sparsevis bench` takes."""
    parser.add_argument("--list", action="store_true", help="print the cases, their goals and the peers, and run nothing")
    parser.add_argument("--case", action="append", default=[], metavar="NAME", help="this case alone; may be repeated, and hold * and ?")
    parser.add_argument("--quick", action="store_true", help="a few cases at small sizes: about a minute on a laptop")
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="timed calls of each peer (default: 9)")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="of timed calls of a peer in a case (default: 3, quick: 1)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads for every peer (default: all there are)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the result: .png, .svg or .pdf")


def run(arguments):
    """Do what the command line asks and return the exit code: 1 if a result was wrong.

    In a process of its own: pools of threads take their size when a library is loaded, and PyTorch must be loaded before Numba starts
    threads. Where each brings an OpenMP library, the other order has made PyTorch's attention 5 times slower.
    """
    if arguments.list:
        print(listing(CASES, PEERS))
        return 0
    options = _checked(arguments)
    code = "import sys; from sparsevis.bench.command import inside; sys.exit(inside(sys.argv[1]))"
    command = [sys.executable, "-W", "ignore", "-c", code, json.dumps(options)]
    with suppress(KeyboardInterrupt):
        return subprocess.run(command, env=os.environ | dict.fromkeys(POOLS, str(options["threads"])), check=False).returncode
    return 130


def _checked(arguments):
    """The options as plain data, before anything takes time."""
    chosen(arguments.case, arguments.quick)
    for name in ("rounds", "threads", "budget"):
        value = getattr(arguments, name)
        if value is not None and not value > 0:
            raise ValueError(f"--{name} is {value}, and needs to be more than 0")
    for file in filter(None, (arguments.json, arguments.plot)):
        if not file.resolve().parent.is_dir():
            raise ValueError(f"{file.parent} is no folder: make it first")
    if arguments.plot and arguments.plot.suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"{arguments.plot} needs to end in .png, .svg or .pdf")
    if arguments.plot and find_spec("matplotlib") is None:
        raise ValueError("--plot needs matplotlib: pip install matplotlib")
    return {
        "case": arguments.case, "quick": arguments.quick, "rounds": arguments.rounds,
        "budget": arguments.budget or (1.0 if arguments.quick else 3.0), "threads": min(arguments.threads or available(), available()),
        "json": arguments.json and str(arguments.json), "plot": arguments.plot and str(arguments.plot),
    }  # fmt: skip


def inside(options):
    """Measure, print and write; what `run` starts."""
    options = json.loads(options)
    with suppress(AttributeError):  # Linux; JAX takes as many threads as there are processors for it
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options["threads"]])
    settings = {name: options[name] for name in ("rounds", "budget", "threads")}
    peers = [peer for peer in PEERS if peer.quick or not options["quick"]]
    try:
        result = measure(chosen(options["case"], options["quick"]), peers=peers, **settings, show=table)
    except KeyboardInterrupt:
        return 130
    if options["quick"] and not options["case"]:
        print(left_out())
    return finish(result, options["json"], options["plot"])


def left_out():
    """Return what a quick run does without, as text."""
    cases, peers = sum(not case.small for case in CASES), [peer.name for peer in PEERS if not peer.quick]
    return f"left out of a quick run: full sizes, {cases} of {len(CASES)} cases, and {' and '.join(peers)} (sparsevis bench --list)"


def finish(result, to_json=None, to_plot=None):
    """Print the goals, write the files, and return the exit code: 1 if a result was wrong or our fast kernel failed."""
    print(goals_table(result), end="")
    if to_json:
        Path(to_json).write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    if to_plot:
        import matplotlib as mpl

        mpl.use("Agg")
        from sparsevis import plots

        plots.save(plots.bench(result), to_plot)
    rows = [row for case in result["cases"] for row in case["rows"]]
    return int(any(row.get("wrong") or (row["peer"] == "cpu" and row.get("failed")) for row in rows))
