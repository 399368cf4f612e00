"""What is asked of a kernel: calls whose answers tell mistakes apart, in families."""

from dataclasses import replace

from sparsevis.golden.call import MEMORY, VALUES, Call, Problem
from sparsevis.patterns import (
    BlockWindow,
    Causal,
    Chunked,
    Documents,
    Global,
    PrefixLM,
    RandomBlocks,
    RandomKeys,
    Sink,
    SlidingWindow,
    Strided,
)  # fmt: skip
from sparsevis.per_head import PerHead

__all__ = ["LEVELS", "MEMORY", "VALUES", "Call", "Problem", "calls"]

SIZES = {
    "quick": ((1, 1), (33, 33), (2, 5), (17, 40), (9, 4)),
    "full": ((1, 1), (2, 5), (5, 2), (31, 33), (33, 31), (64, 64), (65, 65), (40, 97), (97, 40)),
}
WINDOWS = {
    "quick": ((None, 0), (0, 0), (1, 0), (3, 2), (16, 0)),
    "full": ((None, 0), (0, 0), (1, 0), (3, 2), (15, 0), (16, 0), (17, 3), (None, 4), (4, None), (1000, 0)),
}
LEVELS = ("quick", "full", "adversarial")


def calls(level="quick", seed=0):
    """Return {family: [Call]}: quick takes seconds; full has more sizes, heads and patterns; adversarial more values and memory.

    >>> {level: sum(map(len, calls(level).values())) > 60 for level in LEVELS}
    {'quick': True, 'full': True, 'adversarial': True}
    """
    if level not in LEVELS:
        raise ValueError(f"level={level!r}: needs one of {', '.join(map(repr, LEVELS))}")
    size = "quick" if level == "quick" else "full"
    n, near = 65 if size == "full" else 33, {"left": 6, "right": 0}
    one = Call(n, n, seed=seed)
    heads = Call(12, 19, d=8, dv=8, kv_heads=2, group=2, right=0, values="coded", seed=seed)
    found = {
        "dense": [replace(one, nq=nq, nk=nk) for nq, nk in SIZES[size]],
        "windows": [replace(one, nq=nq, nk=nk, left=left, right=right, values=("coded", "normal")[(a + b) % 2])
                    for a, (nq, nk) in enumerate(SIZES[size]) for b, (left, right) in enumerate(WINDOWS[size])],
        "alignment": [replace(one, nq=a, nk=b, left=left, right=0, offset=at) for at in ("top-left", "bottom-right", 3, -2)
                      for a, b, left in ((7, 20, None), (7, 20, 2), (20, 7, 30))],
        "scale": [replace(one, right=0, scale=scale) for scale in (0.7, 0.1, 0.0)]
                 + [replace(one, d=d, dv=dv) for d, dv in ((3, 5), (16, 4), (80, 24))],
        "heads": [heads, replace(heads, values="normal", kv_heads=2, group=3), replace(heads, kv_heads=1, group=7),
                  replace(heads, kv_heads=3, group=1, batch=2), replace(heads, values="normal", batch=2)],
        "softcap": [replace(one, softcap=c, **w) for c in (0.5, 3.0) for w in ({}, near, {"nq": 8, **near, "values": "coded"})],
        "sinks": [replace(heads, sinks=True, left=left, values="normal", scale=scale) for left in (None, 2) for scale in (None, 0.2)]
                 + [replace(heads, nq=19, nk=12, sinks=True, values="normal")],
        "bias": [replace(heads, bias=True, values="normal"), replace(one, bias=True, softcap=2.0), replace(one, bias=True, **near)],
        "alibi": [replace(heads, alibi=True, left=left, offset=at, values=v)
                  for left in (None, 5) for at, v in (("bottom-right", "normal"), ("top-left", "coded"), (3, "normal"))],
        "global keys": [replace(one, left=2, right=0, global_keys=g, values=v) for g in (1, 5) for v in ("coded", "normal")],
        "patterns": [replace(one, pattern=p, values=v) for p in _patterns(n) for v in ("coded", "normal")],
        "no keys": [replace(one, nq=20, nk=8, right=0), replace(one, nq=9, nk=9, left=1, right=0, offset=15),
                    replace(one, nq=20, nk=8, left=2, right=0, values="rising")],
    }  # fmt: skip
    found["values"] = [replace(one, values=v, **w) for v in VALUES for w in (near, {"nq": 8, "left": 3, "right": 0}, {"right": 0})]
    found["values"] += [replace(one, nq=5, nk=12, right=0, values=v) for v in VALUES if v.startswith("nan")]  # within one tile
    found["memory"] = [replace(one, memory=m, dv=5, values="equal keys" if m == "broadcast" else "normal", **near) for m in MEMORY]
    found["state"] = _in_turns(replace(one, nq=19, nk=19))
    found |= _other_ways(one, heads)
    if size == "full":
        found["zero sizes"] = [replace(one, nq=a, nk=b, right=0) for a, b in ((0, 5), (5, 0), (0, 0))]
        found["long"] = [replace(one, nq=3, nk=600, values=v) for v in ("normal", "one sign", "rising")]
        found["long"] += [replace(one, nq=129, nk=129, left=70, right=0)]
        more = replace(heads, nq=5, nk=33, values="normal")
        found["documents"] += [replace(one, nq=256, nk=3, lengths=(76, 34, 146), key_lengths=(1, 1, 1), right=0, d=16),
                               replace(heads, nq=97, nk=97, lengths=(1, 64, 0, 32), left=15, right=0, values="normal")]
        found["block lists"] += [replace(one, nq=97, nk=130, pattern=p) for p in _tiles()]
        found["decode"] += [replace(heads, nq=nq, nk=33, left=20, right=0, seen=seen, values="normal")
                            for nq in (1, 3) for seen in (3, 33, 34, 400)]
        found["heads"] += [replace(more, kv_heads=kv, group=g) for kv in (1, 2, 3) for g in (1, 2, 3, 7)]
    if level == "adversarial":
        found["values"] += [replace(c, seed=seed + 1, kv_heads=2, group=2, d=16, dv=24, nk=97) for c in found["values"]]
        strange = ("normal", "nan where forbidden", "rising")
        found["memory"] += [replace(heads, memory=m, values=v, batch=2) for m in MEMORY for v in strange]
        found["zero sizes"] += [replace(heads, nq=a, nk=b) for a, b in ((0, 1), (1, 0), (3, 1))]
    return found


def _in_turns(one):
    """Calls of one shape, one after the other and again: what a compiled kernel or a cache keeps of the first shows at the next."""
    narrow, wide = replace(one, left=2, right=0), replace(one, left=9, right=0)
    causal = replace(one, right=0)
    return [
        replace(causal, scale=0.2), causal, replace(causal, scale=0.2), narrow, wide, narrow, replace(causal, softcap=0.5), causal,
        replace(causal, softcap=2.0), replace(one, pattern=Strided(3)), replace(one, pattern=Chunked(5)), replace(one, pattern=Strided(3)),
        replace(causal, seed=one.seed + 1), causal,
    ]  # fmt: skip


def _other_ways(one, heads):
    """The same mathematics where keys lie, or are named, in another way: it has to come out the same."""
    packed = replace(one, nq=26, nk=26, lengths=(9, 1, 16), right=0)
    uneven = replace(one, nq=24, nk=27, lengths=(3, 12, 0, 2, 7), key_lengths=(5, 1, 4, 0, 17))
    padded, ring = replace(one, nq=9, nk=19, batch=3, valid=(19, 0, 7), offset=0), replace(one, nq=1, nk=24, right=0, values="coded")
    four = replace(heads, nq=19, nk=19, values="normal")
    turns = PerHead(SlidingWindow(2), Causal(), Causal() & Strided(4), Causal() & Chunked(7))
    return {
        "documents": [packed, replace(packed, left=2, values="coded"), replace(packed, right=None), replace(packed, kv_heads=2, group=2),
                      uneven, replace(uneven, right=0), replace(uneven, left=1, right=0, values="nan where forbidden"),
                      replace(packed, nq=14, nk=14, lengths=(0, 14), values="rising")],
        "padding": [padded, replace(padded, values="nan where forbidden"), replace(padded, values="inf where forbidden"),
                    replace(padded, nq=19, right=0, values="1000 where forbidden"), replace(padded, kv_heads=2, group=2, values="coded")],
        "block lists": [replace(one, nq=40, nk=70, pattern=p, values=v) for p in _tiles() for v in ("coded", "nan where forbidden")],
        "per head": [replace(four, pattern=turns), replace(four, pattern=turns, values="nan where forbidden"),
                     replace(four, pattern=PerHead(Causal(), SlidingWindow(1), Causal(), SlidingWindow(0)), values="coded")],
        "decode": [*(replace(ring, left=left, seen=x) for left, x in ((23, 10), (23, 24), (23, 25), (23, 1000), (9, 61), (None, 40))),
                   replace(ring, nq=3, left=12, seen=50), replace(ring, nq=3, left=5, seen=9, values="nan where forbidden"),
                   replace(ring, left=12, seen=47, kv_heads=2, group=3, values="normal")],
    }  # fmt: skip


def _tiles():
    """Patterns of whole tiles of 16, rows and columns of tiles without any, tiles in part; the offset is where the queries end."""
    return [
        BlockWindow(16, 1, 0), BlockWindow(16, 0, 0) - Sink(48), RandomBlocks(16, 2, seed=1), BlockWindow(16, 2, 0) & Causal(),
        BlockWindow(16, 0, 0) | Global((5,), rows=False), Sink(16) | SlidingWindow(0),
    ]  # fmt: skip


def _patterns(n):
    causal = Causal()
    return [
        causal & Strided(4), causal & Chunked(7), Global((0, n // 2)) | SlidingWindow(2, 2), PrefixLM(5), RandomKeys(3, seed=1),
        Documents((n // 3, n - n // 3)) & causal, ~SlidingWindow(4, 4), Chunked(16) - Strided(3),
    ]  # fmt: skip
