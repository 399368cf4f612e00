"""Makes the frozen vectors of tests/golden/vectors: 60-digit decimals rounded once, and budgets rounded up to 10 bits.

    python -m tests.golden.make_vectors          (from the repository root)

Decimals round the same way everywhere, so the values are the same bits on every machine; budgets come from NumPy's functions, and may
differ in their last bit before they are rounded. A value is written only if the reference and the scalar loops agree with it.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from sparsevis.golden import Call, Model, manifest
from sparsevis.golden.budget import Expected, expect
from sparsevis.golden.compare import ratios
from sparsevis.golden.model import dtype_of
from sparsevis.golden.vectors import vectors_of
from sparsevis.patterns import BlockWindow, Causal, Chunked, Global, PrefixLM, RandomKeys, Strided
from sparsevis.per_head import PerHead
from tests.oracles import decimals, scalar

__all__ = ["FOLDER", "SETS", "frozen"]

FOLDER = Path(__file__).with_name("vectors")
ONE = Call(9, 13, d=5, dv=3)
HEADS = Call(6, 9, d=8, dv=4, kv_heads=2, group=2, right=0)
PACKED, RING = Call(12, 12, d=4, dv=4, lengths=(5, 1, 6), right=0), Call(1, 8, d=4, dv=4, right=0)
CALLS = {
    "dense": [ONE, replace(ONE, nq=1, nk=1), replace(ONE, nq=3, nk=17), replace(ONE, d=1, dv=1), replace(ONE, values="zero queries")],
    "windows": [replace(ONE, left=a, right=b) for a, b in ((None, 0), (0, 0), (1, 0), (3, 2), (None, 4), (4, None), (100, 0), (2, 0))],
    "alignment": [replace(ONE, nq=a, nk=b, left=left, right=0, offset=at) for at in ("top-left", "bottom-right", 3, -2)
                  for a, b, left in ((4, 9, None), (9, 4, 2))],
    "scale": [replace(ONE, right=0, scale=scale) for scale in (0.7, 0.0)],
    "heads": [HEADS, replace(HEADS, kv_heads=1, group=7, nq=3), replace(HEADS, kv_heads=3, group=1, batch=2, nq=3)],
    "softcap": [replace(ONE, softcap=0.5), replace(ONE, softcap=2.0, left=3, right=0)],
    "bias": [replace(HEADS, bias=True), replace(ONE, bias=True, softcap=1.5, left=2, right=1)],
    "sinks": [replace(HEADS, sinks=True), replace(HEADS, sinks=True, nq=9, nk=6, left=1),
              replace(HEADS, sinks=True, bias=True, softcap=2.0)],
    "no-keys": [replace(ONE, nq=9, nk=4, right=0), replace(ONE, nq=4, left=1, right=0, offset=20)],
    "global-keys": [replace(ONE, left=1, right=0, global_keys=2), replace(ONE, left=1, right=1, global_keys=1)],
    "patterns": [replace(ONE, pattern=p) for p in (Causal() & Strided(3), Chunked(4), PrefixLM(5), RandomKeys(2, seed=1),
                                                   BlockWindow(4, 1, 0), Global((0, 6)) | Chunked(3))],
    "per-head": [replace(HEADS, right=None, pattern=PerHead(Causal(), Strided(2), Causal() & Chunked(4), PrefixLM(3)))],
    "documents": [PACKED, replace(PACKED, left=1), replace(PACKED, nq=7, nk=9, lengths=(2, 0, 5), key_lengths=(4, 2, 3))],
    "padding": [replace(ONE, nq=4, nk=7, batch=3, valid=(7, 0, 3), offset=0), replace(ONE, nq=5, nk=5, batch=2, valid=(5, 2), right=0)],
    "decode": [replace(RING, left=left, seen=x) for left, x in ((7, 3), (7, 8), (7, 9), (7, 1000), (2, 21))]
              + [replace(RING, nq=3, left=5, seen=18, kv_heads=2, group=2)],
    "values": [replace(ONE, left=6, right=0, values=v) for v in ("large logits", "rising", "falling", "cancelling", "one sign",
                                                                 "equal keys", "one-hot", "small integers", "far below zero")],
    "forbidden": [replace(ONE, nq=4, left=2, right=0, values=v) for v in ("nan where forbidden", "inf where forbidden",
                                                                          "1000 where forbidden")],
}  # fmt: skip
CORE = {family: CALLS[family] for family in ("dense", "alignment", "heads", "sinks", "no-keys", "documents", "decode")}
SETS = {"float32": CALLS, "float16": CORE, "bfloat16": CORE}


def frozen(dtype):
    """The vectors of a set; every second one has a cotangent of the lse."""
    made = [vectors_of(SETS[dtype], dtype=dtype, seed=7, dlse=dlse) for dlse in (False, True)]
    return [certified(pair[i % 2]) for i, pair in enumerate(zip(*made, strict=True))]


def certified(vector):
    """The vector with decimals for values, if reference and scalar loops agree with them within the float64 budget."""
    p, back = vector.problem, {}
    if p.finite:
        back = {"do": p.do, "dlse": p.dlse if vector.dlse else None}
    true = by_decimals(vector)
    wide = expect(p.q, p.k, p.v, model=Model.of("float64"), **p.options(), **back)
    for who, found, times in (("reference", wide.values, 1), ("scalar loops", by_loops(vector), 2)):
        for part, x in true.items():
            worst = ratios(found[part], x, times * wide.errors[part]).max(initial=0)
            if worst > 1:
                raise ArithmeticError(f"{vector.name}: {who} and decimals differ in {part} by {worst} budgets")
    return replace(vector, expected=Expected(true, {part: rounded_up(vector.expected.errors[part]) for part in true}, None))


def by_decimals(vector):
    """Results from 60 digits, rounded once to float64."""
    p, heads, group = vector.problem, vector.problem.q.shape[1], vector.call.group
    mask = np.broadcast_to(p.mask, (*p.q.shape[:3], p.k.shape[2]))
    found = {x: np.zeros(np.shape(getattr(p, y))) for x, y in (("o", "do"), ("lse", "dlse"), ("dq", "q"), ("dk", "k"), ("dv", "v"))}
    exact = {x: y.astype(object) for x, y in found.items()}
    for b, h in np.ndindex(len(p.q), heads):
        g = h // group
        arrays = [p.q[b, h], *(np.where(mask[b].any((0, 1))[:, None], x[b, g], 0) for x in (p.k, p.v))]
        features = {"allowed": mask[b, h], "scale": p.scale, "softcap": p.softcap, "bias": None if p.bias is None else p.bias[h],
                    "sink": None if p.sinks is None else p.sinks[h]}  # fmt: skip
        exact["o"][b, h], exact["lse"][b, h] = decimals.attention(*arrays, **features)
        if p.finite:
            dlse = p.dlse[b, h] if vector.dlse else None
            dq, dk, dv = decimals.attention_grad(p.do[b, h], *arrays, **features, dlse=dlse)
            with decimals.localcontext(prec=decimals.DIGITS):
                exact["dq"][b, h] = dq
                exact["dk"][b, g] = np.array([[decimals.Decimal(x) for x in line] for line in exact["dk"][b, g]]) + np.array(dk)
                exact["dv"][b, g] = np.array([[decimals.Decimal(x) for x in line] for line in exact["dv"][b, g]]) + np.array(dv)
    return {x: y.astype(float) for x, y in exact.items() if p.finite or x in ("o", "lse")}


def by_loops(vector):
    p, found = vector.problem, {}
    for b in range(len(p.q)):
        mask = np.broadcast_to(p.mask, (*p.q.shape[:3], p.k.shape[2]))[b]
        features = {"allowed": mask, "scale": p.scale, "softcap": p.softcap, "bias": p.bias, "sinks": p.sinks}
        some = scalar.attention(p.q[b], p.k[b], p.v[b], **features)
        if p.finite:
            some += scalar.attention_grad(p.do[b], p.q[b], p.k[b], p.v[b], **features, dlse=p.dlse[b] if vector.dlse else None)
        for name, x in zip(manifest.RESULTS, some, strict=False):
            found.setdefault(name, []).append(np.array(x, float))
    return {name: np.array(x) for name, x in found.items()}


def rounded_up(error, bits=10):
    """The next number of so many bits that is not below."""
    part, power = np.frexp(error)
    return np.ldexp(np.ceil(part * 2**bits) / 2**bits, power)


def main():
    for dtype in SETS:
        shutil.rmtree(FOLDER / dtype, ignore_errors=True)
        some = frozen(dtype)
        manifest.save(FOLDER / dtype, some, dtype=dtype, model=Model.of(dtype_of(dtype)), seed=7)
        size = sum(path.stat().st_size for path in (FOLDER / dtype).iterdir())
        print(f"{dtype}: {len(some)} cases, {sum(x.size for v in some for x in v.expected.values.values())} results, {size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
