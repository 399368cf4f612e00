"""Mistakes that attention libraries shipped, by their public reports: the call of the kit that sees each, and the mistake planted again.

The reports are others' words, read and not reproduced. A planted mistake is of the same kind in our small kernels; None where none can be.
"""

from dataclasses import dataclass

from sparsevis.golden.cases import calls
from sparsevis.patterns import BlockWindow, Sink

from .mutants import ACC, BACKWARD, BUGS, CONVENTIONS, HEADS, LSE, MASK, OK, OUT, SPOKEN, START, WAYS, variant, way

__all__ = ["BUGS_OF_OTHERS", "Bug", "found", "planted"]


@dataclass(frozen=True)
class Bug:
    """Reports, what was wrong, where the kit looks (family and fields of a Call), and how it is planted.

    `patch`: (kernel, old line, new line) with the kernel "forward", "backward" or a part of ways.py; or (table, name) of mutants.py.
    """

    reports: str
    what: str
    family: str
    fields: dict
    patch: tuple | None


def found(bug):
    """(calls of the family up to the case, the case): the first call at level full that has the fields."""
    some = calls("full")[bug.family]
    for i, call in enumerate(some):
        if all(getattr(call, name) == value for name, value in bug.fields.items()):
            return some[: i + 1], call
    raise LookupError(f"no call of {bug.family!r} has {bug.fields}")


def planted(bug):
    """(forward, backward or None, words of a Dialect) of the kernel with the mistake."""
    kind, name, *new = bug.patch
    if kind in TABLES and isinstance(name, str):
        table, part = TABLES[kind]
        old = table[name]
        patches = [old] if part != "backward" and len(old) == 2 else [old[:2]]
    else:
        part, patches = kind, [(name, new[0])] if new else name
    if part in WAYS:
        return (*way(part, *patches), SPOKEN[part])
    forward, backward = variant(*patches, part=part)
    return forward, backward if part == "backward" else None, {"axes": "bhnd", "mask_axes": 4}


TABLES = {"convention": (CONVENTIONS, "forward"), "bug": (BUGS, "forward"), "back": (BACKWARD, "backward")}
TABLES |= {part: (WAYS[part], part) for part in WAYS}
EXP, ROWS = "p = np.exp(s - safe[..., None])", "rows = x[..., start : start + size, :]"
AS_IT_LIES = "x = x.ravel(order='K').reshape(x.shape)\n    " + ROWS  # strides are not looked at
FIRST_KEY = ROWS.replace("= x", "= (x if x.strides[-2] else x * (np.arange(x.shape[-2]) < 1)[:, None])")
DV = "store(p, dtype).swapaxes(-1, -2) @ dO[:, h]"
LATE = "new = np.where(s.max(-1) > m + 8, s.max(-1), m)"
TAIL = ("min(layout.indices[e] * bk + bk, nk)", "max(layout.indices[e] * bk, min(layout.indices[e] * bk + bk, nk // bk * bk))")

BUGS_OF_OTHERS = [
    Bug("onnx/onnx#7865, #7867", "softcap after the mask: forbidden keys weigh again", "softcap", {"softcap": 0.5, "values": "coded"},
        ("convention", "cap after mask")),
    Bug("onnx/onnx#7274", "key/value heads tiled, not repeated", "heads", {"values": "coded", "group": 2}, ("convention", "gqa tiled")),
    Bug("onnx/onnx#8054", "causal from the first key though keys come from a cache", "alignment", {"offset": 3},
        ("convention", "top-left")),
    Bug("onnx/onnx#8068", "a boolean mask as a product: 0 * inf is NaN", "values", {"values": "inf where forbidden", "nq": 8},
        ("bug", "mask multiplied")),
    Bug("onnx/onnx#7297", "causal ignores the past", "alignment", {"offset": "bottom-right", "nq": 7}, ("convention", "top-left")),
    Bug("onnx/onnx#7142, #7118", "heads and positions exchanged in three-dimensional inputs", "heads", {"values": "coded"},
        ("bug", "heads swapped")),
    Bug("SHI-Labs/NATTEN#328", "dK and dV of a group of heads overwritten, in the reference itself", "heads", {"group": 2},
        ("back", "gqa overwrites")),
    Bug("SHI-Labs/NATTEN#341", "NaN in dV in partial tiles", "dense", {"nq": 31, "nk": 33},
        ("backward", DV, f"({DV}) * f32(1 if n == BN else np.nan)")),
    Bug("SHI-Labs/NATTEN#299, #274", "gradients of merged parts: the cotangent of the lse is dropped", "dense", {"nq": 64},
        ("back", "dlse ignored")),
    Bug("deepseek-ai/FlashMLA#106", "the golden lse in another base", "dense", {"nq": 64}, ("convention", "lse base 2")),
    Bug("pytorch/pytorch#181645", "lse off by ln 2", "values", {"values": "zero queries"},
        ("forward", LSE, LSE.replace("m + np.log(one)", "m + np.log(one) + f32(np.log(2))"))),
    Bug("huggingface/transformers#39408, #29623, vllm-project/vllm#3385", "W or W + 1 keys in a window", "windows",
        {"left": 16, "nq": 64}, ("convention", "window+1")),
    Bug("NVIDIA/TransformerEngine#3528, #3532, Dao-AILab/flash-attention#2490", "-1 taken as a literal side of a window", "documents",
        {"left": None, "right": 0}, ("packed", [("if window[0] >= 0:", "if True:")])),
    Bug("jax-ml/jax#32357", "window ignored without a mask", "windows", {"left": 3, "right": 2, "nq": 64},
        ("forward", "if window[0] is not None:", "if window[0] is not None and causal:")),
    Bug("jax-ml/jax#39521", "offsets of packed keys taken from the queries", "documents", {"key_lengths": (5, 1, 4, 0, 17)},
        ("packed", "keys cut by the queries")),
    Bug("jax-ml/jax#24491", "wrong where there are more keys than queries", "dense", {"nq": 40, "nk": 97},
        ("forward", OK, "ok = ok & (j < min(nk, nq))")),
    Bug("jax-ml/jax#27224", "right only at multiples of the tile", "dense", {"nq": 31, "nk": 33}, ("bug", "last tile dropped")),
    Bug("pytorch/pytorch#141126, #159247", "keys of the last, partial block lost", "block lists", {"nk": 70}, ("lists", [TAIL])),
    Bug("pytorch/pytorch#153799", "gradients NaN one past a tile, with a bias", "bias", {"nq": 65},
        ("backward", "s = s + bias[h, i, j].astype(f32)", "s = s + bias[h, i, j].astype(f32) * f32(1 if n == BN else np.nan)")),
    Bug("pytorch/pytorch#188322", "the table of blocks ignored", "block lists", {"nq": 40},
        ("forward", "if mask is not None:", "if mask is not None and mask.all():")),
    Bug("pytorch/pytorch#191937 (unconfirmed)", "broadcast keys and values, whose stride is 0", "memory", {"memory": "broadcast"},
        ("forward", ROWS, FIRST_KEY)),
    Bug("pytorch/pytorch#112577", "inputs that do not lie in C order", "memory", {"memory": "Fortran order"},
        ("forward", ROWS, AS_IT_LIES)),
    Bug("pytorch/pytorch#109517, #127055, #110213", "NaN where the first keys are all forbidden", "windows", {"left": 0, "nq": 64},
        ("bug", "unguarded empty rows")),
    Bug("pytorch/pytorch#101967", "NaN of forbidden keys leaks", "values", {"values": "nan where forbidden", "nq": 8},
        ("convention", "nan leak")),
    Bug("pytorch/pytorch#141128", "NaN in a query comes out as 0", "values", {"values": "nan in a query"},
        ("forward", OUT, "out = np.nan_to_num(acc / one[..., None])")),
    Bug("Dao-AILab/flash-attention#334, #443", "few keys beside many queries", "documents", {"key_lengths": (1, 1, 1)},
        ("packed", "one key of the next document")),
    Bug("Dao-AILab/flash-attention#2623", "gradients over lists of blocks, the output exact", "block lists", {"nq": 40},
        ("lists_backward", "lists not transposed")),
    Bug("Dao-AILab/flash-attention#2470, #2421, #1155, #2562", "no queries or no keys", "zero sizes", {"nk": 0},
        ("forward", "dtype = q.dtype\n    o, lse =", "dtype = q.dtype if nk else None.dtype\n    o, lse =")),
    Bug("Dao-AILab/flash-attention@e81c237e", "the sink added as itself, not as its exponential", "sinks", {"sinks": True},
        ("forward", "l = l * alpha + np.exp(sink - new)", "l = l * alpha + sink")),
    Bug("Dao-AILab/flash-attention@2f78d484", "the maximum without the sink", "sinks", {"nq": 19, "nk": 12},
        ("forward", "new = np.maximum(m, sink)", "new = m")),
    Bug("Dao-AILab/flash-attention#2717", "a stale maximum saturates P in 8 bits", "values", {"values": "rising slowly", "left": None},
        ("forward", [("new = np.maximum(m, s.max(-1))", LATE), (EXP, EXP.replace("np.exp(", "np.minimum(448, np.exp(") + ")")])),
    Bug("Dao-AILab/flash-attention#2258", "several empty tiles in a row", "block lists", {"pattern": BlockWindow(16, 0, 0) - Sink(48)},
        ("lists", "empty rows not written")),
    Bug("Dao-AILab/flash-attention#2402, flashinfer-ai/flashinfer#4014", "a compiled kernel found again without its scale", "scale",
        {"scale": 0.1}, ("bug", "stale scale")),
    Bug("flashinfer-ai/flashinfer#4267, #4450", "-5e4 as minus infinity: rows of low scores are 0", "values", {"values": "below -5e4"},
        ("forward", START, START.replace("-np.inf", "-5e4"))),
    Bug("flashinfer-ai/flashinfer#4451, #4452", "-5e4 as minus infinity: rows without keys are finite", "no keys", {"nq": 20},
        ("forward", MASK, MASK.replace("-np.inf", "-5e4"))),
    Bug("flashinfer-ai/flashinfer#1148, #1614", "groups that are no power of two", "heads", {"kv_heads": 2, "group": 3},
        ("forward", HEADS, "heads = np.minimum(np.arange(H) // (1 << ((H // kv).bit_length() - 1)), kv - 1)")),
    Bug("flashinfer-ai/flashinfer#942, #945, #1206", "NaN from unused pages and tails", "padding", {"values": "nan where forbidden"},
        ("padded", "nan leaks")),
    Bug("flashinfer-ai/flashinfer#1533", "rows without keys never written", "padding", {"batch": 3}, ("padded", "empty entry not written")),
    Bug("flashinfer-ai/flashinfer#3716, #3717", "keys of the tail in the denominator", "values", {"values": "zero queries"},
        ("bug", "tail attended")),
    Bug("flashinfer-ai/flashinfer#3838", "a correction applied to the wrong rows", "values", {"values": "rising", "right": 0},
        ("forward", ACC, ACC.replace("alpha[", "np.roll(alpha, 1, -1)["))),
    Bug("flashinfer-ai/flashinfer#1290, facebookresearch/xformers#719, #788", "32-bit offsets, beyond 2**31 elements", "long", {}, None),
    Bug("flashinfer-ai/flashinfer#3578, #3682", "the tile at the far end of the window", "windows", {"left": 16, "nq": 64},
        ("forward", OK, "ok = ok & (j < nk) & ((window[0] is None) | (j0 > i0 - (window[0] or 0)))")),
    Bug("facebookresearch/xformers (its changelog)", "lse wrong at lengths of 1 mod 64", "dense", {"nq": 65},
        ("forward", LSE, LSE.replace("m + np.log(one)", "m + np.log(one) + f32(nq % 64 == 1)"))),
    Bug("facebookresearch/xformers#548, #535", "cotangents that do not lie in C order", "memory", {"memory": "Fortran order"},
        ("backward", "dO, Q = do.astype(f32), q.astype(f32)",
         "dO, Q = do.astype(f32).ravel(order='K').reshape(do.shape), q.astype(f32)")),
]  # fmt: skip
