"""The tensor-core gradients in the emulator, against float64: run as a script, this file works through cases and prints a line of each.

Bounds are derived, element by element, from what is rounded to 16 bits: p, ds, o (through delta) and the results.
"""
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

EMULATOR = Path(__file__).parents[1] / "gpu"
LOG2E = 1.4426950408889634


def masks():
    """Boolean masks (70, 90) by name."""
    i, j = np.arange(70)[:, None], np.arange(90)[None]
    noise = np.random.default_rng(5).random((70, 90)) < 0.04
    blocks = np.repeat(np.repeat(np.random.default_rng(6).random((3, 3)) < 0.5, 32, 0), 32, 1)[:70, :90]
    causal = (j <= i + 20) & (j >= 0)
    return {"causal": causal, "window": causal & (i + 20 - j < 25), "holes": causal & (i % 7 != 3) & (j % 11 != 5), "noise": noise,
            "blocks": blocks, "nothing": noise & False, "dense": noise | True}


# Shapes are (warps, strips, split, met, step) of the walk over keys and of that over queries; None is the shipped one.
SMALL = (2, 1, 1, 32, 32), (2, 1, 1, 32, 32)
CASES = {
    "causal": {"planes": ["causal"], "d": 64},
    "window, two steps a tile": {"planes": ["window"], "d": 64, "shapes": ((2, 2, 1, 64, 32), (2, 1, 1, 64, 32))},
    "three planes, groups of two": {"planes": ["window", "holes", "noise"], "heads": [2, 0, 1, 0], "group": 2},
    "two batch elements": {"planes": ["blocks", "nothing"], "heads": [0, 1], "batch": 2, "d": 32},
    "a group of three, nothing for one": {"planes": ["noise", "nothing"], "heads": [0, 1, 0], "group": 3, "d": 24},
    "nothing at all": {"planes": ["nothing"]},
    "float16": {"planes": ["holes"], "d": 64, "dtype": "f16"},
    "d 40, values of 80": {"planes": ["holes"], "d": 40, "dv": 80},
    "d 128": {"planes": ["causal"], "d": 128, "shapes": ((2, 1, 1, 32, 32), (2, 1, 1, 16, 16))},
    "d 136, values of 24, sums divided": {"planes": ["holes"], "d": 136, "dv": 24, "shapes": ((2, 1, 2, 32, 32), (1, 1, 1, 32, 32))},
    "softcap": {"planes": ["holes"], "d": 64, "softcap": 1.5},
    "dlse": {"planes": ["noise"], "d": 64, "with_dlse": True},
    "sinks": {"planes": ["noise"], "heads": [0, 0], "sinks": [0.7, -1.0]},
    "scale 0": {"planes": ["holes"], "scale": 0.0},
    "large scores": {"planes": ["noise"], "d": 64, "size": 5.0},
    "threads in another order, early copies": {"planes": ["window"], "heads": [0, 0], "group": 2, "d": 16, "again": True},
    "shipped, d 64": {"planes": ["window"], "d": 64, "shapes": None},
    "shipped, d 128": {"planes": ["noise"], "d": 128, "shapes": None},
    "shipped, d 256": {"planes": ["blocks"], "d": 256, "shapes": None},
}
# What is written in `_cuda_mma_walk.py`, what would be wrong there, and a case that must notice.
BUGS = {
    "bits not shifted": (">> (column % u32(32)))", ")", "causal"),
    "bits of another row": ("u32(m * 8 * words + w)", "u32(m * words + w)", "causal"),
    "the mask left out": ("mask(s, g, allowed)", "pass", "causal"),
    "another plane": ("u32(u32(ldg_i32(heads, h)) * count)", "u32(h * count)", "three planes, groups of two"),
    "another plane for others": ("u32(u32(ldg_i32(heads, h)) * blocks + block)", "u32(h * blocks + block)", "three planes, groups of two"),
    "another key head": ("u32(h // group)", "h", "three planes, groups of two"),
    "another query's numbers": ("u32(b * per + h) * pitch + first + t", "u32(b * per) * pitch + first + t", "three planes, groups of two"),
    "numbers of another step": ("(u32(c * step) + t2) * u32(8)", "t2 * u32(8)", "window, two steps a tile"),
    "another column": ("part * u32(2 * columns))", "u32(0))", "d 136, values of 24, sums divided"),
    "delta left out": ("p * (dp - delta)\n", "p * dp\n", "causal"),
    "slope of the cap left out": (" * (f32(1) - bent * bent)", "", "softcap"),
    "scale left out": ("sums, scale, first", "sums, f32(1), first", "causal"),
    "one place for two stages": ("u32(memory + u32(at_met + stage_bytes))", "u32(memory + u32(at_met))",
                                 "threads in another order, early copies"),
}


# ---------------------------------------------------------------- in the emulator's process

def words(layout, heads):
    """A layout as the kernels read it."""
    counts = np.diff(layout.indptr).reshape(-1, layout.grid[0])
    tiles = np.ascontiguousarray(np.pad(layout.tiles, ((0, 0), (0, 0), (0, -layout.tiles.shape[2] % 4)))).view(np.uint32)
    order = np.argsort(-counts, axis=1, kind="stable").ravel()
    return [*(np.asarray(x, np.int32) for x in (layout.planes(heads), order, layout.indptr, layout.indices, layout.kind)), tiles]


def gradients(m, emulator, do, q, k, v, o, lse, layout, scale, dlse, softcap, shapes, dtype, **options):
    """Run the three kernels on (batch, heads, n, d) arrays."""
    (batch, heads, nq, d), (_, shared_by, nk, _), dv = q.shape, k.shape, v.shape[3]
    emulator.reset()
    where = {name: emulator.alloc(x) for name, x in (("do", do), ("q", q), ("k", k), ("v", v), ("o", o), ("lse", lse.astype(np.float32)))}
    steps = {name: [np.uint64(x.strides[i]) for i in (2, 1, 0)] for name, x in (("do", do), ("q", q), ("k", k), ("v", v))}
    at_dlse = np.uint64(0) if dlse is None else emulator.alloc(dlse.astype(np.float32))
    pitch = m.pitch_of(nq)
    numbers = emulator.alloc(shape=(batch * heads, pitch, 2), dtype=np.float32)
    dq, dk, dv_ = (emulator.alloc(shape=x.shape, dtype=np.uint16) for x in (q, k, v))
    delta = m.make_delta(dv, dtype)
    sizes = map(np.uint32, (heads, nq, pitch, dlse is not None))
    emulator.launch(delta.kernel, (pitch // m.ROWS, batch * heads), delta.threads, delta.shared, where["do"], where["o"], where["lse"],
                    at_dlse, numbers, *sizes, *steps["do"], **options)
    scalars = [np.float32(x) for x in (max(scale * LOG2E, np.finfo(np.float32).tiny), scale, softcap or 0)]
    for keys in (True, False):
        shape = m.shape_of(keys, d, dv, softcap is not None) if shapes is None else m.Shape(*shapes[not keys])
        walk = m.make_walk(keys, d, dv, dtype, softcap is not None, shape)
        mine = layout.retile(walk.block[::-1]).T if keys else layout.retile(walk.block)
        there = [emulator.alloc(x) for x in words(mine, heads)]
        names = ("k", "v", "q", "do") if keys else ("q", "do", "k", "v")
        sizes = map(np.uint32, (heads, heads // shared_by, *((nk, nq) if keys else (nq, nk)), pitch))
        emulator.launch(walk.kernel, (mine.grid[0], batch * (shared_by if keys else heads)), walk.threads, walk.shared,
                        *(where[name] for name in names), numbers, *((dk, dv_) if keys else (dq, np.uint64(0))), *there, *sizes,
                        *(step for name in names for step in steps[name]), *scalars, **options)
    return [emulator.read(a, q.dtype, x.shape) for a, x in ((dq, q), (dk, k), (dv_, v))]


def bounds(do, q, k, v, o, mask, scale, softcap, sinks, group, u, reference):
    """How far dq, dk and dv may be from float64's: u is the unit roundoff of the 16-bit type."""
    k, v = (np.repeat(x, group, 1) for x in (k, v))
    _, lse = reference.attention(q, k, v, mask, scale=scale, softcap=softcap, sinks=sinks)
    s = q @ k.swapaxes(-1, -2) * scale
    bent = 0 * s if softcap is None else np.tanh(s / softcap)
    s = s if softcap is None else softcap * bent
    p = np.where(mask, np.exp(np.where(mask, s - np.where(np.isfinite(lse), lse, 0)[..., None], 0)), 0)
    exact = 1e-5 * p                                                             # float32 exponentials and their arguments
    dp = np.abs(do) @ np.abs(v).swapaxes(-1, -2)
    delta = (np.abs(do) * np.abs(o)).sum(-1, keepdims=True)
    ds = p * (dp + delta)
    wrong_p = u * p + exact
    wrong_ds = (1 - bent**2) * (u * ds + 1e-5 * ds + p * u * delta) + p * 1e-6 * (dp + delta) + 6e-8
    wrong_k, wrong_v = scale * wrong_ds.swapaxes(-1, -2) @ np.abs(q), wrong_p.swapaxes(-1, -2) @ np.abs(do)
    return scale * wrong_ds @ np.abs(k), *(x.reshape(len(x), -1, group, *x.shape[2:]).sum(2) for x in (wrong_k, wrong_v))


def run(m, emulator, reference, Layout, ml_dtypes, planes, d=16, dv=None, heads=(0,), group=1, batch=1, dtype="bf16", softcap=None,
        with_dlse=False, sinks=None, scale=None, size=1.0, shapes=SMALL, again=False):
    """The largest errors of dq, dk, dv in units of their bounds, and whether what has no pair is 0."""
    rng, dv, known = np.random.default_rng(d), dv or d, masks()
    kind, u = (ml_dtypes.bfloat16, 2.0**-8) if dtype == "bf16" else (np.float16, 2.0**-11)
    mask = np.stack([known[planes[h]] for h in heads])
    (nq, nk), h = mask.shape[1:], len(heads)
    scale = d**-0.5 if scale is None else scale
    q, k, v, do = ((size**e * rng.standard_normal((batch, n, rows, c))).astype(kind)
                   for e, n, rows, c in ((1, h, nq, d), (1, h // group, nk, d), (0, h // group, nk, dv), (0, h, nq, dv)))
    wide = [x.astype(np.float64) for x in (do, q, k, v)]
    asked = {"scale": scale, "softcap": softcap, "sinks": sinks}
    o, lse = reference.attention(*wide[1:], mask, **asked)
    o = o.astype(kind)
    dlse = rng.standard_normal(lse.shape) if with_dlse else None
    layout = replace(Layout.from_mask(np.stack([known[p] for p in planes]), 16), heads=tuple(heads))
    given = m, emulator, do, q, k, v, o, lse, layout, scale, dlse, softcap, shapes, dtype
    got, found = gradients(*given), {}
    if again:
        other = gradients(*given, seed=1, early=True)
        found["same bits"] = all(np.array_equal(x.view(np.uint16), y.view(np.uint16)) for x, y in zip(got, other, strict=True))
    want = reference.attention_grad(*wide, mask, dlse=dlse, **asked)
    limits = bounds(*wide, o.astype(np.float64), mask, scale, softcap, sinks, group, u, reference)
    for label, x, y, limit in zip(("dq", "dk", "dv"), got, want, limits, strict=True):
        found[label] = float(np.nan_to_num(np.abs(x.astype(np.float64) - y) / (limit + u * np.abs(y) + 1e-7), nan=np.inf).max())
    unread = ~mask.reshape(-1, group, nq, nk).any((1, 2))
    found["zeros"] = bool((got[0][:, ~mask.any(2)] == 0).all() and (got[1][:, unread] == 0).all() and (got[2][:, unread] == 0).all())
    return found


def planted(m, old, new):
    """The walk with an error written into it."""
    walk = sys.modules["sparsevis.kernels._cuda_mma_walk"]
    source = Path(walk.__file__).read_text()
    assert old in source, old
    wrong = ModuleType(walk.__name__)
    wrong.__package__ = walk.__package__
    exec(compile(source.replace(old, new), "planted", "exec"), vars(wrong))
    return SimpleNamespace(**vars(m) | {"make_walk": wrong.make_walk})


def main(names):
    sys.path.insert(0, str(EMULATOR))
    import emulator
    import ml_dtypes
    emulator.install()
    from sparsevis import Layout, reference
    from sparsevis.kernels import _cuda_mma_backward as m
    for name in names:
        case, module = (BUGS[name][2], planted(m, *BUGS[name][:2])) if name in BUGS else (name, m)
        begin = time.perf_counter()
        try:
            found = run(module, emulator, reference, Layout, ml_dtypes, **CASES[case])
        except (RuntimeError, IndexError) as e:                                  # what the emulator itself notices
            found = {"refused": f"{type(e).__name__}: {e}"}
        print(json.dumps([name, found, round(time.perf_counter() - begin, 1)]), flush=True)


# ---------------------------------------------------------------- in pytest's

@pytest.fixture(scope="module")
def said():
    """What is found for each case and each planted bug, by name; two processes share the work."""
    pytest.importorskip("greenlet", reason="the emulator of GPU threads needs greenlet")
    pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes")
    pytest.importorskip("numba.cuda", reason="numba.cuda does not load here")
    names = [*CASES, *BUGS]
    command = [sys.executable, "-W", "error", __file__]
    running = [subprocess.Popen([*command, *names[i::2]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for i in (0, 1)]
    done = [process.communicate(timeout=300) for process in running]
    results = {name: found for out, _ in done for name, found, _ in map(json.loads, out.splitlines())}
    assert set(names) == results.keys(), [err for _, err in done]
    return results


def wrong(found):
    """What of a finding is not as it must be."""
    return {label: x for label, x in found.items() if (x is not True if isinstance(x, bool) else isinstance(x, str) or not x <= 1)}


@pytest.mark.parametrize("name", CASES)
def test_case(said, name):
    assert wrong(said[name]) == {}
    assert {"dq", "dk", "dv", "zeros"} <= said[name].keys()


@pytest.mark.parametrize("name", BUGS)
def test_planted_bug_is_seen(said, name):
    assert wrong(said[name])


if __name__ == "__main__":
    main(sys.argv[1:] or [*CASES, *BUGS])
