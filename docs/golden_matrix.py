"""The kill matrix: every planted mistake and what the kit says of it; every lawful kernel and how near it comes to its budget.

python docs/golden_matrix.py docs/golden-matrix.md writes the page, in minutes, with PyTorch installed.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the mistakes are the tests' own

from sparsevis.golden import Dialect, Model, adapters, autograd, calls, check
from tests.golden.mutants import BACKWARD, BUGS, CONVENTIONS, DOUBLE, LAWFUL, SPOKEN, WAYS, variant, way
from tests.golden.test_mutants import split, through

TILED = Dialect(axes="bhnd", mask_axes=4)
TITLES = {"packed": "Packed documents", "padded": "Padded keys", "ring": "Decoding from a ring of cached keys", "lists": "Lists of tiles",
          "lists_backward": "Lists of tiles, backward"}  # fmt: skip


def planted():
    """Yield (title, name, functions, dialect, words that the diagnosis has to hold) of every planted mistake."""
    for name, (line, instead, words) in CONVENTIONS.items():
        yield "Conventions, in a tiled kernel", name, variant((line, instead))[:1], TILED, words
    for name, patch in BUGS.items():
        yield "Bugs, in a tiled kernel", name, variant(patch)[:1], TILED, ""
    for name, (line, instead, words) in BACKWARD.items():
        yield "Backward, in a tiled kernel", name, variant((line, instead), part="backward"), TILED, words
    for part, some in WAYS.items():
        for name, (line, instead, words) in some.items():
            yield TITLES[part], name, way(part, (line, instead)), Dialect(**SPOKEN[part]), words


def lawful():
    """Yield (name, functions, dialect, words of check) of kernels that are right, each in its own way."""
    for name, patches in LAWFUL.items():
        for dtype in ("float64", "float32", "float16", "bfloat16"):
            yield f"tiled kernel, {name}", variant(*patches, *([DOUBLE] if dtype == "float64" else [])), TILED, {"dtype": dtype}
    yield "split over the keys and merged", (split,), TILED, {"model": Model(merged=True)}
    for part in WAYS:
        yield f"whole rows: {TITLES[part].lower()}", way(part), Dialect(**SPOKEN[part]), {}
    for impl, dtype in (("loops", "float32"), ("cpu_plain", "float32"), ("cpu", "float32"), ("cpu", "float64"), ("cpu", "float16")):
        yield f"sparsevis, `impl={impl!r}`", through(impl), TILED, {"dtype": dtype}
    some = [call for family in calls("quick").values() for call in family if call.scale != 0.0]
    sdpa, flex = adapters.sdpa, adapters.flex  # FlexAttention has no gradients on the processor, and is slow there
    yield "PyTorch `scaled_dot_product_attention`", (sdpa, autograd(sdpa)), replace(sdpa.dialect, leaks=True), {"calls": some}
    yield "PyTorch FlexAttention", (flex,), replace(flex.dialect, leaks=True), {"calls": some[::4]}


def one_planted(i):
    """(title, whether it is seen, whether it is to be named, whether it is, a row of the table) of the i-th mistake."""
    title, name, functions, dialect, words = list(planted())[i]
    report = _checked(functions, dialect)
    failed, tested = report.counts["fail"], report.counts["fail"] + report.counts["pass"]
    said = report.diagnosis[0][0] if report.diagnosis else "nothing"
    right = bool(words) and words in said
    mark = "" if not words else " ✓" if right else " ✗"
    return title, failed > 0, bool(words), right, f"| {name} | {failed} of {tested} | {_text(said)}{mark} |"


def one_lawful(i):
    """(false alarms, a row of the table) of the i-th kernel that is right."""
    name, functions, dialect, words = list(lawful())[i]
    report = _checked(functions, dialect, **words)
    worst = max(o.ratio for o in report.outcomes if o.status != "unsupported")
    alarms = report.counts["fail"]
    return alarms, f"| {name} | {report.dtype} | {report.counts['pass']} | {alarms} | {worst:.2g} |"


def page():
    """Return the page as Markdown."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        found = list(pool.map(one_planted, range(len(list(planted())))))
        right = list(pool.map(one_lawful, range(len(list(lawful())))))
    return written(found, right)


def written(found, right):
    """Return the page of these results."""
    seen, with_name, named = (sum(x[i] for x in found) for i in (1, 2, 3))
    alarms = sum(x[0] for x in right)
    parts = [
        "# The kill matrix",
        f"{seen} of {len(found)} planted mistakes are seen, at level quick; of {with_name} whose name is known, {named} are named (✓) in"
        f" the first line of the diagnosis. {alarms} false alarms in {len(right)} checks of kernels that are right; the tests ask these the"
        " adversarial calls as well. Each mistake replaces a line of a small kernel; this page is made by running them.",
    ]
    for title in dict.fromkeys(x[0] for x in found):
        head = ["| mistake | calls that fail | the diagnosis |", "|---|---|---|"]
        parts += [f"## {title}", "\n".join([*head, *(x[4] for x in found if x[0] == title)])]
    head = ["| kernel | dtype | pass | fail | worst error / budget |", "|---|---|---|---|---|"]
    parts += ["## Kernels that are right", "\n".join([*head, *(x[1] for x in right)])]
    return "\n\n".join(parts) + "\n"


def _checked(functions, dialect, **options):
    forward, backward = (*functions, None)[:2]
    return check(forward, backward=backward, dialect=dialect, shrink=False, **options)


def _text(said):
    return said.replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
