"""The commands of the conformance kit: `sparsevis golden check`, `golden search`, `golden write`.

Exit codes: 0 conforms, 1 fails, 2 wrong input, 3 nothing could be tested.
"""

import sys
from pathlib import Path

__all__ = ["add_arguments"]

DIALECTS = "flash, flash-3, flash-varlen, flashinfer, sdpa or jax (default: our conventions)"


def add_arguments(parser):
    """Add the verbs to the parser of `golden`."""
    found = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    one = found.add_parser("check", help="an implementation, or what another program made of golden vectors, beside the reference")
    one.add_argument("target", metavar="MODULE:FUNCTION | DIR", help="a function (importing its module runs it), or a folder of vectors")
    one.add_argument("outputs", metavar="OUTPUTS", nargs="?", type=Path, help="with DIR: a folder of CASE.o.npy, CASE.lse.npy, ...")
    one.add_argument("--level", default="quick", help="quick (the default), full or adversarial")
    _about_a_function(one)
    _reports(one)
    one.set_defaults(run=_check)

    one = found.add_parser("search", help="calls that no list holds, drawn and made smaller by hypothesis, for so many seconds")
    one.add_argument("target", metavar="MODULE:FUNCTION", help="what to check; importing the module runs it")
    one.add_argument("--seconds", type=float, default=30.0, help="how long (default: 30)")
    _about_a_function(one)
    _reports(one)
    one.set_defaults(run=_search)

    one = found.add_parser("write", help="golden vectors for other languages: inputs, right results, their error budgets")
    one.add_argument("folder", metavar="DIR", type=Path, help="a new or an empty folder")
    one.add_argument("--level", default="quick", help="quick (the default), full or adversarial")
    one.add_argument("--dtype", default="float32", help="of the inputs (default: float32)")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--dlse", action="store_true", help="gradients are also those of the lse")
    one.set_defaults(run=_write)


def _about_a_function(one):
    one.add_argument("--backward", metavar="MODULE:FUNCTION", help="its gradients; autograd for those of PyTorch or JAX")
    one.add_argument("--dialect", metavar="NAME", help=DIALECTS)
    one.add_argument("--arrays", metavar="NAME", help="numpy, torch, torch:cuda, jax or cupy (default: the dialect's)")
    one.add_argument("--dtype", default="float32", help="of the inputs (default: float32)")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--isolate", action="store_true", help="in a process of its own, so that a crash or a hang is a failing call")
    one.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds a call may take there (default: 60)")


def _reports(one):
    one.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    one.add_argument("--html", type=Path, metavar="FILE", help="write the report as a page, with a picture of where it fails")


def _check(arguments, rest):
    """An implementation, or outputs for a folder of vectors."""
    from sparsevis import golden

    folder = Path(arguments.target)
    if folder.is_dir():
        return _leave(arguments, lambda: golden.check_vectors(folder, arguments.outputs))
    if arguments.outputs is not None:
        raise ValueError(f"{arguments.target} is no folder of vectors, and so there are no outputs to judge")
    return _leave(arguments, lambda: golden.check(_function(arguments), level=arguments.level, **_words(arguments)))


def _search(arguments, rest):
    """Drawn calls."""
    from sparsevis import golden

    return _leave(arguments, lambda: golden.search(_function(arguments), seconds=arguments.seconds, **_words(arguments)))


def _write(arguments, rest):
    """Vectors into a folder."""
    from sparsevis import golden

    words = {"level": arguments.level, "dtype": arguments.dtype, "seed": arguments.seed, "dlse": arguments.dlse}
    names = golden.write_vectors(arguments.folder, **words)
    size = sum(path.stat().st_size for path in arguments.folder.iterdir())
    judge = f"sparsevis golden check {arguments.folder} OUTPUTS"
    print(f"{arguments.folder}: {len(names)} cases, {size / 2**20:.1f} MiB; outputs are judged by: {judge}")


def _function(arguments):
    from sparsevis.golden.target import target

    sys.path[:0] = [""] if "" not in sys.path else []  # the folder one stands in, as `python -m` has it
    return target(arguments.target)


def _words(arguments):
    """What `check` and `search` are told."""
    from sparsevis import golden
    from sparsevis.golden.target import target

    words = {x: getattr(arguments, x) for x in ("dialect", "arrays", "dtype", "seed", "isolate", "timeout")}
    if arguments.backward:
        words["backward"] = golden.autograd(_function(arguments)) if arguments.backward == "autograd" else target(arguments.backward)
    return words


def _leave(arguments, judged):
    """Print the report, and write it; files are looked at before the kernel runs."""
    files = [(arguments.json, ".json", "to_json"), (arguments.html, ".html", "to_html")]
    for file, ending, _ in files:
        if file is not None and file.suffix != ending:
            raise ValueError(f"{file} ends in {file.suffix or 'nothing'!r}, and needs to end in {ending}")
    report = judged()
    print(report)
    for file, _, text in files:
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(getattr(report, text)() + "\n", encoding="utf-8")
    return report.exit_code
