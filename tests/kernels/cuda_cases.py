"""The laws of CUDA kernels as cases: run by Numba's simulator in a process of its own, and by `tests/gpu/run.py` on a device.

    python tests/kernels/cuda_cases.py cuda_rows          a line of JSON for each case: its name, its seconds, what went wrong
    python tests/kernels/cuda_cases.py cuda_tiled 1 2     every second case, from the second on

A case is a name "family: what" and a function that raises where a law is broken. The simulator has a thread of the operating system for
each thread of a kernel: 0.03 s a call of cuda_rows, 0.5 s a tile of cuda_tiled, so cases there are small and few; the device gets more.
"""
import json
import os
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

if __name__ == "__main__":
    os.environ["NUMBA_ENABLE_CUDASIM"] = "1"
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from cuda_problems import RUNGS, Problem, judged
from cuda_rules import again, chosen, empty_rows, live_infinity, live_nan, strides, unseen, unseen_gradient
from pictures import INSTANCES, instance, placed

import sparsevis as sv

__all__ = ["cases", "simulated"]

LONG = ((1000, 1000), (1000, 333), (300, 1000))
PATIENCE = 300                           # seconds; a kernel whose threads wait for each other for ever ends here


# ---------------------------------------------------------------- every pattern, every shape

def of_patterns(rung, where):
    """Every pattern of the laws, at the shapes it fits."""
    some = ("causal", "window two-sided", "random blocks", "chosen nothing")
    for x, name in enumerate(some if where == "quick" else INSTANCES):
        for dtype in dtypes(rung, where, x):
            yield f"pattern: {name}, {dtype}", partial(fits, rung, where, name, x, dtype)


def dtypes(rung, where, x):
    """All dtypes on a device; in the simulator each in its turn, and the one of larger tiles seldom."""
    if where != "simulator":
        return rung.dtypes
    return [rung.dtypes[x % 6 == 5 if rung.slow else x % 2]]


def fits(rung, where, name, x, dtype):
    n = {"device": 150, "quick": 70, "simulator": 20 if rung.slow else 23}[where]
    pattern = instance(name, n)
    shapes = placed(pattern, n)
    slow = rung.slow and where == "simulator"                         # by turns: one of the shapes, or every second one
    shapes = [shapes[x % len(shapes)]] if slow else shapes[(x + rung.dtypes.index(dtype)) % 2::2]
    for y, (nq, nk, offset) in enumerate(shapes):
        group, kv_heads = (1, 1) if slow else (1 + (x + y) % 3, 1 + (x + y) % 2)
        o, lse = judged(rung, Problem(pattern, nq, nk, offset, group * kv_heads, kv_heads, dims=rung.dims[0], dtype=dtype))
        empty = ~pattern.mask(nq, nk, offset).any(1)
        assert not o[:, empty].any()
        assert (lse[:, empty] == -np.inf).all()


def of_sizes(rung, where):
    """Lengths at the edges of tiles, fewer queries than keys and more; lists of every length, full tiles and cut ones."""
    lengths = {
        "simulator": [(1, 1), (33, 70), (64, 64), (70, 31)], "quick": [(65, 127)],
        "device": [(1, 1), (1, 1000), (64, 64), (127, 127), (128, 128), (129, 129), (127, 129), (193, 128), *LONG],
    }[where]
    holes = sv.Causal() & (sv.SlidingWindow(9) | sv.RandomBlocks(16, 1) | sv.Sink(2)) & ~sv.Chunked(3)      # some rows empty
    for x, (nq, nk) in enumerate(lengths):
        for name, pattern in (("dense", None), ("window", sv.SlidingWindow(40, 3)), ("holes", holes)):
            for dtype in ["float64"] if where == "simulator" else rung.dtypes:
                p = Problem(pattern, nq, nk, nk - nq if nk >= nq else 0, dims=rung.dims[0], dtype=dtype)
                if where != "simulator" or not rung.slow or (x + len(name)) % 2 or nq == 1:
                    yield f"size: {nq} x {nk}, {name}, {dtype}", partial(judged, rung, p)
    for d, dv in rung.dims[:2] if where == "quick" else rung.dims:
        for dtype in dtypes(rung, where, d):
            yield f"size: head dimensions {d} and {dv}, {dtype}", partial(judged, rung, Problem(sv.Causal(), dims=(d, dv), dtype=dtype))
    if rung.exact and where != "simulator":
        for d, dv in ((64, 64), (128, 128), (65, 129), (256, 256), (300, 20)):
            for dtype in rung.dtypes:
                p = Problem(sv.mistral(70), 150, 150, dims=(d, dv), dtype=dtype)
                yield f"size: head dimensions {d} and {dv}, {dtype}", partial(judged, rung, p)


# ---------------------------------------------------------------- heads, options, features

def of_calls(rung, where):
    """Heads and batches, scale, tiles that are not the kernel's own, and every feature alone and together."""
    whole = sv.PerHead(sv.Causal(), ~sv.Dense(), sv.SlidingWindow(2, 2), sv.Causal())
    slim, usual = sv.Causal() - sv.SlidingWindow(4), Problem(sv.Causal(), dims=rung.dims[0], dtype=rung.dtypes[0])
    problems = {
        "heads: six over two": replace(usual, heads=6, kv_heads=2),
        "heads: batches of three over one": replace(usual, heads=3, kv_heads=1, batch=(2,), pattern=sv.SlidingWindow(5)),
        "heads: two batch axes": replace(usual, heads=2, kv_heads=1, batch=(2, 1)),
        "heads: a pattern each": replace(usual, pattern=whole, heads=4, kv_heads=2),
        "scale: zero": replace(usual, scale=0.0), "scale: large": replace(usual, scale=30.0),
        "precision: float16": replace(usual, dtype="float16"), "precision: bfloat16": replace(usual, dtype="bfloat16"),
    }
    if rung.exact:
        problems["scale: negative"] = replace(usual, scale=-0.7)
    cut = replace(usual, pattern=sv.Causal() & (sv.RandomKeys(5) | sv.SlidingWindow(3)), nk=37, offset=9)
    problems |= {f"tiles: {block}": replace(cut, block=block) for block in (1, 7, (16, 24), 100)}
    some = {"heads": 2} if rung.slow and where == "simulator" else {"heads": 4, "kv_heads": 2, "batch": (2,)}
    for names in (*((name,) for name in rung.features), rung.features):
        p = replace(usual, asked=names, nk=33, offset=6, **some)
        problems[f"feature: {' and '.join(names)}"] = replace(p, batch=(2,), heads=1, kv_heads=1) if names == ("key_mask",) else p
        problems[f"feature: {' and '.join(names)}, some rows empty"] = replace(usual, asked=names, pattern=slim)
    for name, p in problems.items():
        every = [p.dtype] if where == "simulator" or name.startswith("precision") else rung.dtypes
        for dtype in every:
            if where != "quick" or name.startswith(("feature: softcap", "heads: a pattern")):
                yield name if len(every) == 1 else f"{name}, {dtype}", partial(judged, rung, replace(p, dtype=dtype))


# ---------------------------------------------------------------- what must not be felt, and what must

def of_rules(rung, where):
    """NaN and infinity, nothing at all, the same bits again, arrays of any strides."""
    for dtype in rung.dtypes[:1] if where == "simulator" else rung.dtypes:
        for target in "kv" if rung.exact else "k":
            for poison in (np.nan, np.inf):
                yield f"rule: {poison} in {target} that nobody may see, {dtype}", partial(unseen, rung, target, poison, dtype)
        for target in "qkv" if rung.exact else "qk":
            yield f"rule: NaN in {target} that some see, {dtype}", partial(live_nan, rung, target, dtype)
        yield f"rule: infinities that some see, {dtype}", partial(live_infinity, rung, dtype)
        yield f"rule: empty rows, whatever stands there, {dtype}", partial(empty_rows, rung, dtype)
        yield f"rule: the same bits again, {dtype}", partial(again, rung, dtype)
        yield f"rule: strides, {dtype}", partial(strides, rung, dtype)
    for nq, nk in ((0, 5), (5, 0), (0, 0)):
        p = Problem(sv.Causal(), nq, nk, dims=rung.dims[0], dtype=rung.dtypes[0], heads=2)
        yield f"rule: {nq} queries over {nk} keys", partial(judged, rung, p)
    if rung.name in ("cuda_tiled", "cuda_mma", "cuda_wgmma"):
        yield "rule: impl='cuda' says whom it took", partial(chosen, rung)


# ---------------------------------------------------------------- gradients

def of_gradients(rung, where):
    """The vector-Jacobian product, o and lse both with a cotangent."""
    usual = Problem(sv.Causal(), dims=rung.dims[0])
    problems = {
        "causal": usual, "dense": replace(usual, pattern=None, nq=7), "grouped": replace(usual, heads=3, pattern=sv.mistral(5)),
        "a pattern each": replace(usual, pattern=sv.PerHead(sv.Causal(), ~sv.Dense()), heads=2, kv_heads=2),
        "several tiles": replace(usual, pattern=sv.SlidingWindow(12, 5), nq=33, nk=40, offset=7),
        "rows and keys without any": replace(usual, pattern=sv.Causal() - sv.SlidingWindow(4)), "scale 0": replace(usual, scale=0.0),
        "other dimensions": replace(usual, dims=rung.dims[3]), "no keys": replace(usual, nk=0), "no queries": replace(usual, nq=0),
    }
    for names in (("softcap",), ("sinks", "key_mask"), ("slopes", "bias")):
        if known := tuple(name for name in names if name in rung.features):
            problems[" and ".join(known)] = replace(usual, asked=known)
    problems["all features"] = replace(usual, asked=rung.features, heads=2, nq=15, nk=20, offset=5)
    if where == "device":
        for d in (64, 128):
            problems[f"300 x 300 of {d}"] = replace(usual, pattern=sv.mistral(200), nq=300, nk=300, dims=(d, d), heads=4, kv_heads=2)
            problems[f"129 x 255 of {d}"] = replace(usual, pattern=sv.SlidingWindow(60, 9), nq=129, nk=255, offset=126, dims=(d, d))
    for name, p in problems.items():
        for dtype in rung.dtypes[:1] if where == "simulator" else rung.dtypes:
            if where != "quick" or name in ("causal", "several tiles"):
                yield f"gradient: {name}, {dtype}", partial(judged, rung, replace(p, dtype=dtype), True)
    if where == "simulator":
        yield "gradient: causal, float32", partial(judged, rung, replace(usual, nq=9, nk=9, dtype="float32"), True)
    if rung.exact:
        yield "gradient: NaN in a key that nobody sees", partial(unseen_gradient, rung)


# ---------------------------------------------------------------- all of them

def cases(name, where="simulator"):
    """Return {name of a case: function} of a rung, for "simulator", "device" or "quick"."""
    rung = RUNGS[name]
    families = [of_patterns, of_sizes, of_calls, of_rules] + [of_gradients] * rung.gradients
    found = [case for family in families for case in family(rung, where)]
    assert len(dict(found)) == len(found), "two cases have one name"
    return dict(found)


@cache
def simulated(name, shares):
    """Run all cases of a rung in the simulator, spread over processes; return {name of a case: what went wrong, "" for nothing}."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, __file__, name]
    running = [subprocess.Popen([*command, str(i), str(shares)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
               for i in range(shares)]
    found, until = {}, time.monotonic() + PATIENCE
    for i, process in enumerate(running):
        try:
            out, err = process.communicate(timeout=max(1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        found |= {what: wrong for what, _, wrong in map(json.loads, filter(None, out.split("\n")))}
        for what in [x for x in list(cases(name))[i::shares] if x not in found]:
            found[what] = f"no result: the process ended with code {process.returncode} (-9: after {PATIENCE} s) and said: {err[-2000:]}"
    return found


def main(name, first=0, step=1):
    """Run cases and say of each how it went."""
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", ".*encountered in scalar", RuntimeWarning)       # NumPy's scalars stand for a device's numbers
    for what, run in list(cases(name).items())[int(first)::int(step)]:
        start, wrong = time.perf_counter(), ""
        try:
            run()
        except Exception as e:                                       # whatever it is belongs to this case alone
            wrong = f"{type(e).__name__}: {e}"
        print(json.dumps([what, round(time.perf_counter() - start, 2), wrong]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
