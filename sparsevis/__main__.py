"""The command line: `sparsevis tour`, `list`, `show`, `cost`, `receptive`, ...; `python -m sparsevis` is the same.

Exit codes: 0 done, 1 something is wrong with what was asked about (`bench`, `lint`, `golden`; 3: nothing could be tested), 2 wrong input,
which costs one line and no traceback.
"""

import argparse
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from sparsevis import __version__, bench, commands, conformance

__all__ = ["main"]


def main(argv=None):
    """Run the command line and return its exit code."""
    arguments, rest = _parser().parse_known_args(argv)
    if rest and not arguments.parameters:
        _parser().error(f"unknown argument {rest[0]!r}; see sparsevis {arguments.command} --help")
    try:
        return arguments.run(arguments, rest) or 0
    except BrokenPipeError:  # sparsevis list | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, MemoryError, OSError, ImportError) as error:
        print(f"sparsevis {arguments.command}: {error}", file=sys.stderr)
        return 2


# ---------------------------------------------------------------- what there is

PATTERN = "a name that `sparsevis list` prints, its parameters as options; or an expression, 'Causal() & SlidingWindow(64)'"


def _parser():
    parser = argparse.ArgumentParser(prog="sparsevis", description="Sparse attention to see, run and trust.")
    parser.add_argument("--version", action="version", version=f"sparsevis {__version__}")
    parser.set_defaults(parameters=False)
    found = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    one = found.add_parser("tour", help="every pattern beside dense attention on a real model's input: a table and a gallery")
    one.add_argument("--out", type=Path, default=Path("tour"), metavar="DIR", help="folder for index.html and pictures (default: tour)")
    one.set_defaults(run=_tour)

    found.add_parser("list", help="the patterns, with their parameters").set_defaults(run=commands.list_patterns)

    one = _about_pattern(found, "show", "one pattern, as text or as a picture", "longformer --window 64 --global_tokens 0,5")
    one.add_argument("--n", help="number of positions (default: one that shows the pattern)")

    one = _about_pattern(found, "cost", "work, traffic, memory and KV cache, at a length or as a curve", "longformer --n 1k..1M -o a.svg")
    one.add_argument("--n", default="1k..64k", help="4096, 4k, or 1k..1M for the powers of two between (default: 1k..64k)")
    one.add_argument("--head-dim", type=int, default=64, metavar="D")
    one.add_argument("--heads", type=int, metavar="H", help="query heads (default: 1, or the pattern's own)")
    one.add_argument("--tile", type=int, default=64, metavar="T", help="side of a kernel's tile (default: 64)")
    one.add_argument("--quantity", default="flops", metavar="WHAT", help="what is drawn: flops, bytes_tiled, memory_tiled, kv_bytes, ...")
    one.add_argument("--measure", action="store_true", help="measure time and memory on this machine as well")

    one = _about_pattern(found, "receptive", "what queries have seen after each layer", "mistral --window 4096 --layers 32 --n 128k")
    one.add_argument("--layers", type=int, metavar="L", help="number of layers (default: 4, or the schedule's own; gemma3 is a schedule)")
    one.add_argument("--n", default="4k", help="number of positions (default: 4k)")
    one.add_argument("--query", default="-1", help="the query that looks, -1 is the last (the default), or all")

    one = _about_pattern(found, "lint", "what looks wrong in a pattern, in plain sentences", "longformer --window 4096 --n 1k")
    one.add_argument("--n", default="4k", help="number of positions (default: 4k)")
    one.add_argument("--causal", action="store_true", help="no query may see what comes after it")
    one.add_argument("--layers", type=int, metavar="L", help="which keys are out of reach after so many layers?")
    one.add_argument("--tile", type=int, default=64, metavar="T", help="side of a kernel's tile (default: 64)")

    one = _about_pattern(found, "animate", "layers opening, tiles walked, a parameter swept", "mistral --window 8 --n 64 -o a.gif")
    one.add_argument("--n", default="48", help="number of positions (default: 48)")
    one.add_argument("--layers", type=int, metavar="L", help="number of layers (default: 4, or the schedule's own)")
    one.add_argument("--tiles", action="store_true", help="walk the tiles as FlashAttention does, on a real model's input")
    one.add_argument("--tile", type=int, default=8, metavar="T", help="side of a tile (default: 8)")
    one.add_argument("--sweep", metavar="NAME=A..B", help="draw the mask for each value of a parameter, such as window=2..24")

    one = found.add_parser("diff", help="where two patterns part: sparsevis diff 'mistral(64)' 'SlidingWindow(64)'")
    one.add_argument("a", metavar="A", help=PATTERN.partition(",")[0] + ", or an expression")
    one.add_argument("b", metavar="B")
    one.add_argument("--n", default="512", help="number of positions (default: 512)")
    one.set_defaults(run=commands.diff)
    _output(one)

    one = found.add_parser("compare", help="on a real model's input, beside dense attention: sparsevis compare 'mistral(64)' bigbird")
    one.add_argument("patterns", metavar="PATTERN", nargs="+", help="names or expressions")
    one.add_argument("--layer", type=int, metavar="L", help="layer of the model (default: the first captured)")
    one.set_defaults(run=commands.compare)
    _output(one)

    one = found.add_parser("golden", help="the conformance kit: sparsevis golden check my_package.kernels:attention --dialect flash")
    conformance.add_arguments(one)

    one = found.add_parser("bench", help="speed and memory beside PyTorch, JAX, SciPy and NumPy, as far as they are installed")
    bench.add_arguments(one)
    one.set_defaults(run=lambda arguments, rest: bench.run(arguments))

    found.add_parser("info", help="versions, threads, GPU: what a bug report needs").set_defaults(run=_info)
    return parser


def _about_pattern(found, name, text, example):
    """Add a command on one pattern, whose parameters are further options."""
    one = found.add_parser(
        name, help=text, usage=f"sparsevis {name} PATTERN [--PARAMETER VALUE ...] [options]",
        description=f"{text[0].upper()}{text[1:]}. For example: sparsevis {name} {example}",
    )  # fmt: skip
    one.add_argument("pattern", metavar="PATTERN", help=PATTERN)
    one.set_defaults(run=getattr(commands, name), parameters=True)
    if name == "animate":
        one.add_argument("-o", "--output", type=Path, metavar="FILE", required=True, help="the film: .gif, .html, or .mp4 (needs ffmpeg)")
    elif name != "lint":
        _output(one)
    return one


def _output(one):
    one.add_argument("-o", "--output", type=Path, metavar="FILE", help="write a picture, .png, .svg or .pdf, or a page, .html")


# ---------------------------------------------------------------- the tour, and what a bug report needs


def _tour(arguments, rest):
    from sparsevis.tour import tour

    tour(arguments.out)


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
