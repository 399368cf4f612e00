"""The command line: `sparsevis tour`, `list`, `show`, `bench`, `info`; `python -m sparsevis` is the same.

Exit codes: 0 done, 1 a benchmark found a wrong result, 2 wrong input, which costs one line and no traceback.
"""

import argparse
import ast
import inspect
import os
import platform
import sys
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path

from sparsevis import __version__, bench, patterns
from sparsevis.pattern import Pattern

__all__ = ["main"]


def main(argv=None):
    """Run the command line and return its exit code."""
    arguments, rest = _parser().parse_known_args(argv)
    if rest and arguments.run is not _show:
        _parser().error(f"unknown argument {rest[0]!r}; see sparsevis {arguments.command} --help")
    try:
        return arguments.run(arguments, rest) or 0
    except BrokenPipeError:  # sparsevis list | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, MemoryError, OSError, ImportError) as error:
        print(f"sparsevis {arguments.command}: {error}", file=sys.stderr)
        return 2


def _parser():
    parser = argparse.ArgumentParser(prog="sparsevis", description="Sparse attention to see, run and trust.")
    parser.add_argument("--version", action="version", version=f"sparsevis {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    tour = commands.add_parser("tour", help="every pattern beside dense attention on a real model's input: a table and a gallery")
    tour.add_argument("--out", type=Path, default=Path("tour"), metavar="DIR", help="folder for index.html and pictures (default: tour)")
    tour.set_defaults(run=_tour)
    commands.add_parser("list", help="the patterns, with their parameters").set_defaults(run=_list)
    show = commands.add_parser(
        "show", help="one pattern, as text or as a picture", usage="sparsevis show PATTERN [--n N] [--PARAM VALUE ...] [-o FILE]",
        description="Draw one pattern. Its parameters are options: sparsevis show longformer --window 64 --global_tokens 0,5",
    )  # fmt: skip
    show.add_argument("pattern", metavar="PATTERN", help="a name that `sparsevis list` prints")
    show.add_argument("--n", type=_length, help="number of positions (default: one that shows the pattern)")
    show.add_argument("-o", "--output", type=Path, metavar="FILE", help="write a .png, .svg or .pdf picture instead of text")
    show.set_defaults(run=_show)
    speed = commands.add_parser("bench", help="speed and memory beside PyTorch, JAX, SciPy and NumPy, as far as they are installed")
    bench.add_arguments(speed)
    speed.set_defaults(run=lambda arguments, rest: bench.run(arguments))
    commands.add_parser("info", help="versions, threads, GPU: what a bug report needs").set_defaults(run=_info)
    return parser


def _tour(arguments, rest):
    from sparsevis.tour import tour

    tour(arguments.out)


def _list(arguments, rest):
    for name, make in _vocabulary().items():
        first = inspect.getdoc(make).partition("\n")[0]
        print(f"{name}{inspect.signature(make).replace(return_annotation=inspect.Signature.empty)}\n    {first}")


def _show(arguments, rest):
    pattern = _make(arguments.pattern, _options(rest))
    n = pattern.example_length() if arguments.n is None else arguments.n
    if arguments.output is None:
        print(pattern.describe(n))
        return
    if arguments.output.suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"{arguments.output} ends in {arguments.output.suffix or 'nothing'!r}, and needs to end in .png, .svg or .pdf")
    import matplotlib as mpl

    mpl.use("Agg")
    from sparsevis import plots

    if isinstance(pattern, Pattern):
        figure = plots.mask(pattern, n).figure
    else:
        figure = plots.compare_grid({f"head {h}": p for h, p in enumerate(pattern.patterns)}, n)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    plots.save(figure, arguments.output)
    print(f"{arguments.output}: {pattern!r} at n = {n:,}")


def _info(arguments, rest):
    import numba

    print(f"sparsevis {__version__}")
    print(f"Python {platform.python_version()} on {platform.platform()}")
    for name in ("numpy", "numba", "llvmlite", "matplotlib", "ipywidgets", "anywidget", "scipy", "torch", "jax"):
        print(f"{name} {_version(name)}")
    print(f"processor {numba.config.CPU_NAME or _processor()}, {os.cpu_count()} logical; Numba uses {numba.get_num_threads()} threads")
    print(f"threading layer {numba.config.THREADING_LAYER} (the setting; NUMBA_THREADING_LAYER changes it)")
    print(f"compiled code is kept in {numba.config.CACHE_DIR or '__pycache__ beside the kernels (NUMBA_CACHE_DIR changes it)'}")
    print(f"GPU {_gpu()}")


def _vocabulary():
    """Everything that makes a pattern from the parameters a command line can hold."""
    return {name: x for name, x in vars(patterns).items() if callable(x) and not name.startswith("_") and name != "Chosen"}


def _make(name, options):
    vocabulary = _vocabulary()
    known = {_plain(x): x for x in vocabulary}
    if _plain(name) not in known:
        near = get_close_matches(_plain(name), known, 1)
        hint = f"did you mean {known[near[0]]}?" if near else "see sparsevis list"
        raise ValueError(f"no pattern is called {name!r}; {hint}")
    make = vocabulary[known[_plain(name)]]
    parameters = inspect.signature(make).parameters
    for option in options:
        if option not in parameters:
            raise ValueError(f"{make.__name__} has no parameter {option!r}; it has {', '.join(parameters) or 'none'}")
    missing = [p for p, x in parameters.items() if x.default is inspect.Parameter.empty and p not in options]
    if missing:
        raise ValueError(f"{make.__name__} needs {' '.join(f'--{p} VALUE' for p in missing)}")
    return make(**options)


def _options(rest):
    """["--window", "64", "--plan=published"] as {"window": 64, "plan": "published"}."""
    options, words = {}, iter(rest)
    for word in words:
        if not word.startswith("--"):
            raise ValueError(f"{word!r} is not expected here; parameters are given as --name value")
        name, equals, value = word[2:].partition("=")
        value = value if equals else next(words, None)
        if value is None:
            raise ValueError(f"--{name} needs a value")
        options[name.replace("-", "_")] = _value(value)
    return options


def _value(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _length(text):
    digits = text.replace(",", "").replace("_", "")
    if not digits.isdecimal() or int(digits) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no length: needs a whole number >= 1")
    return int(digits)


def _plain(name):
    return name.lower().replace("_", "").replace("-", "")


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _processor():
    from llvmlite import binding

    return binding.get_host_cpu_name()


def _gpu():
    """What the NVIDIA driver says, without needing any CUDA package."""
    import subprocess

    try:
        command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "none seen (no nvidia-smi); the CPU kernels need none"
    return "; ".join(found.splitlines())


if __name__ == "__main__":
    sys.exit(main())
