"""The page about who judges the reference: its oracles, how near other libraries come, and where they differ and why.

python docs/golden_oracles.py docs/golden-oracles.md writes the page, from the values of tests/foreign and the rows of differences.py.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # the values are the tests' own

from sparsevis import reference
from tests.foreign.cases import CASES, SCORED
from tests.foreign.differences import DIFFERENCES
from tests.foreign.make_values import load

ORACLES = [
    ("scalar loops, every sum by `math.fsum`", "plain Python, entry by entry, from the definition",
     "every shape to 13 x 13, all options; every family of the kit's calls, over pairs told entry by entry"),
    ("60-digit decimals", "the standard library",
     "eight families of hard numbers: logits of thousands, cancelling values, 12 orders of magnitude"),
    ("balls of 160 bits", "python-flint `arb`: proven intervals",
     "10,000 random rows and 27,018 rows of 404 adversarial calls (`python -m tests.oracles.test_balls`), forward and backward: each"
     " element proven within its float64 error budget, of which at most 0.19 (o), 0.18 (lse), 0.07 (dq), 0.08 (dk), 0.12 (dv) is used"),
    ("complex steps", "analytic, no subtraction", "gradients to 1e-13 of the largest"),
    ("closed forms", "arithmetic by hand", "uniform, one-hot, dyadic and identical weights; values that say which key and head they are"),
    ("laws", "a change of inputs whose effect is known",
     "permuted, appended, shifted, merged; rows, heads and batches apart; sums of gradients"),
    ("other libraries", "PyTorch, JAX, ONNX, onnxruntime, transformers", "the two tables below"),
]  # fmt: skip
KINDS = {  # kind of value: (library, package, dtype, what was asked)
    "sdpa float64": ("PyTorch SDPA", "torch", "float64", "37 masks"),
    "sdpa scored": ("PyTorch SDPA", "torch", "float64", "scale, bias"),
    "sdpa float32": ("PyTorch SDPA", "torch", "float32", "four of the masks"),
    "flex float64": ("PyTorch FlexAttention", "torch", "float64", "37 masks; lse"),
    "flex scored": ("PyTorch FlexAttention", "torch", "float64", "scale, softcap, bias; lse"),
    "flex float32": ("PyTorch FlexAttention", "torch", "float32", "four of the masks; lse"),
    "jax": ("JAX", "jax", "float32", "36 masks, by its own words where it has them; lse"),
    "jax scored": ("JAX", "jax", "float32", "scale, bias; lse"),
    "onnx": ("ONNX reference, opset 25", "onnx", "float64", "37 masks, by its own words where it has them"),
    "onnx past": ("ONNX reference, opset 25", "onnx", "float64", "cached keys: causal, window"),
    "onnx scored": ("ONNX reference, opset 25", "onnx", "float64", "softcap, bias (exact scales)"),
    "onnxruntime": ("onnxruntime", "onnxruntime", "float32", "37 masks, by its own words where it has them"),
    "onnxruntime past": ("onnxruntime", "onnxruntime", "float32", "cached keys: causal, window"),
    "onnxruntime scored": ("onnxruntime", "onnxruntime", "float32", "scale, softcap, bias"),
    "sinks": ("transformers, gpt-oss", "transformers", "float64", "sinks"),
}


def agreement():
    """Yield (kind, number of results, largest difference, its largest share of the allowed) of the committed values."""
    values, _ = load()
    for kind, (_, _, dtype, _) in KINDS.items():
        found = []
        for name, theirs in values.items():
            this, _, rest = name.partition("/")
            told, _, part = rest.rpartition("/")
            if this != kind:
                continue
            asked = next(x for x in (SCORED if kind.endswith("scored") or kind == "sinks" else CASES) if x.name == told)
            if kind == "onnx scored" and asked.scale is not None:
                continue  # the attribute is a float32
            case = getattr(asked, "case", asked)
            ours = dict(zip(("o", "lse"), reference.attention(*case.inputs, case.mask, **getattr(asked, "options", {})), strict=True))[part]
            err = dict(zip(("o", "lse"), asked.allowance("float64", dtype), strict=True))[part]
            rows = case.mask.any(-1)
            off = np.abs(theirs[rows] - ours[rows])
            found.append((off.max(initial=0), np.max(off / err[rows], initial=0)))
        yield kind, len(found), *map(max, zip(*found, strict=True))


def page():
    """Return the page as Markdown."""
    origin = load()[1]
    parts = [
        "# Who judges the reference",
        "The reference is judged only by what shares nothing with it; each oracle is a file of its own under `tests/oracles`, and every"
        " claim below is a test.",
        _table(("oracle", "is", "what it was asked"), ORACLES),
        "## Other libraries",
        "Inputs are multiples of 1/128, exact everywhere. The allowed distance follows from the inputs (`tests/foreign/rounding.py`); a"
        " difference is to the reference in float64, over rows that have keys.",
    ]
    rows = []
    for kind, count, off, share in agreement():
        library, package, dtype, asked = KINDS[kind]
        rows.append((library, origin[package], asked, str(count), dtype, f"{off:.1e}", f"{100 * share:.0f} %"))
    parts += [
        _table(("library", "version", "asked", "results", "in", "largest difference", "of the allowed"), rows),
        "transformers' masks, Longformer and BigBird layers are compared in `tests/foreign/test_transformers.py`.",
        "## Where they differ, and why",
        "A difference opens a question and settles none; each is shown by the test named, so that one that goes away is noticed.",
        _table(("library", "what", "cause", "test"), [(d.library, d.what, d.cause, f"`{d.test}`") for d in DIFFERENCES]),
    ]
    return "\n\n".join(parts) + "\n"


def _table(head, rows):
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
