"""The Hopper kernel in the emulator, against float64: this file, run as a script, works through the cases and prints a line of each.

Bounds are derived, row by row, from what is rounded to 16 bits: probabilities and the result.
"""
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sparsevis as sv

EMULATOR = Path(__file__).parents[1] / "gpu"
LOG2E = 1.4426950408889634


def masks():
    """Boolean masks (nq, nk) by name."""
    i, j = np.arange(200)[:, None], np.arange(230)[None]
    rng = np.random.default_rng(0)
    causal = j <= i + 20
    blocks = np.repeat(np.repeat(rng.random((4, 4)) < 0.5, 64, 0), 64, 1)[:200, :230]
    return {"causal": causal, "window": causal & (i + 20 - j < 70), "holes": causal & (i % 7 != 3), "noise": rng.random((200, 230)) < 0.02,
            "blocks": blocks, "nothing": causal & False, "late": (j >= 64) & (j < 128) & (i >= 0), "dense": causal | True}


def put(array, new):
    """Overwrite an array."""
    array[:] = new


SMALL = (128, 64)
CASES = {
    "causal": {"planes": ["causal"]},
    "two tiles a row": {"planes": ["window"], "block": (128, 128)},
    "three planes, GQA, two blocks of threads": {
        "planes": ["window", "holes", "noise"], "heads": [2, 0, 1, 0], "group": 2, "grid": 2},
    "blocks and nothing, batch, one block of threads": {"planes": ["blocks", "nothing"], "heads": [0, 1], "batch": 2, "grid": 1, "span": 3},
    "three consumers": {"planes": ["window"], "block": (192, 128)},
    "three consumers, several items": {"planes": ["causal", "late"], "heads": [0, 1], "block": (192, 128), "grid": 1},
    "one consumer": {"planes": ["holes"], "block": (64, 64), "blocks": 3, "grid": 2},
    "no edge, three stages": {"planes": ["causal"], "edge": False, "stages": 3},
    "d 128": {"planes": ["window"], "d": 128, "block": (128, 128)},
    "d 192": {"planes": ["holes"], "d": 192, "block": (128, 96)},
    "d 256": {"planes": ["window"], "d": 256, "block": SMALL},
    "d 80, values of 40, sinks": {"planes": ["holes", "nothing"], "heads": [0, 1], "d": 80, "dv": 40, "block": (128, 128),
                                  "sinks": [0.5, -1.0]},
    "d 16, values of 136": {"planes": ["noise"], "d": 16, "dv": 136},
    "float16, softcap": {"planes": ["holes"], "dtype": "f16", "softcap": 1.5},
    "scale 0": {"planes": ["holes"], "scale": 0.0},
    "large scores": {"planes": ["noise"], "size": 8.0},
    "dense": {"planes": ["dense"], "d": 8},
    "a key that is not a number": {"planes": ["holes"], "block": (128, 128), "bad": (0, 100)},
}
# Wrong on purpose: what a layout says is changed behind the kernel's back, and the comparison must notice.
MISTAKES = {
    "bits of the next row": {"planes": ["holes"], "mistake": lambda lists: put(lists[5], np.roll(lists[5], 1, 1))},
    "the mask left out": {"planes": ["causal"], "mistake": lambda lists: put(lists[4], -1)},
    "the wrong plane": {"planes": ["window", "holes"], "heads": [0, 1], "mistake": lambda lists: put(lists[0], 0)},
}


# ---------------------------------------------------------------- in the emulator's process

def words(layout, heads):
    """A layout as the kernel reads it."""
    counts = np.diff(layout.indptr).reshape(-1, layout.grid[0])
    tiles = np.pad(layout.tiles, ((0, 0), (0, 0), (0, -layout.tiles.shape[2] % 4))).view(np.uint32)
    order = np.argsort(-counts, axis=1, kind="stable").ravel()
    return [*(np.array(x, np.int32) for x in (layout.planes(heads), order, layout.indptr, layout.indices, layout.kind)), tiles]


def attend(m, emulator, q, k, v, layout, scale, softcap, sinks, dtype, block, grid, span, mistake=None, **flags):
    """Run the kernel on (heads, n, d) arrays; the layout has a head for each of one batch element."""
    (bh, nq, d), dv, heads = q.shape, v.shape[2], len(layout.heads)
    built = m.make_attend(d, dv, block, dtype, softcap is not None, **flags)
    tiles = layout.retile(built.block)
    lists = words(tiles, heads)
    if mistake:
        mistake(lists)
    emulator.reset()
    batch = bh // heads
    maps = [emulator.tensor_map(x.reshape(batch, -1, *x.shape[1:]), rows) for x, rows in ((q, block[0]), (k, block[1]), (v, block[1]))]
    o, lse = emulator.alloc(shape=(bh, nq, dv), dtype=np.uint16), emulator.alloc(shape=(bh, nq), dtype=np.float32)
    at = [emulator.alloc(x) for x in (*lists, sinks)]
    u32, u64, items = np.uint32, np.uint64, tiles.grid[0] * bh
    emulator.launch(built.kernel, (min(grid or items, items), 1), built.threads, built.shared, *maps, o, lse, *at, u32(heads),
                    u32(bh // len(k)), u32(nq), u32(tiles.grid[0]), u32(items), u32(span or bh), u64(dv * 2), u64(nq * dv * 2),
                    np.float32(max(scale * LOG2E, np.finfo(np.float32).tiny)), np.float32(softcap or 0))
    return emulator.read(o, q.dtype, (bh, nq, dv)).astype(np.float64), emulator.read(lse, np.float32, (bh, nq)).astype(np.float64)


def run(name, m, emulator, reference, Layout, ml_dtypes, planes, d=64, dv=None, heads=(0,), group=1, batch=1, block=SMALL, dtype="bf16",
        softcap=None, sinks=None, scale=None, size=1.0, grid=None, span=None, bad=None, **flags):
    """The largest errors of o and lse in units of their bounds, and what else must hold."""
    rng, dv, known = np.random.default_rng(len(name)), dv or d, masks()
    kind, u = (ml_dtypes.bfloat16, 2.0**-8) if dtype == "bf16" else (np.float16, 2.0**-11)
    mask = np.stack([known[planes[h]] for h in heads])
    (nq, nk), h = mask.shape[1:], len(heads)
    scale = d**-0.5 if scale is None else scale
    q, k, v = ((s * rng.standard_normal((batch * n, rows, c))).astype(kind)
               for s, n, rows, c in ((size, h, nq, d), (size, h // group, nk, d), (1, h // group, nk, dv)))
    if bad:
        k[0, bad[1], 0] = np.nan
    layout = Layout._stack([Layout.from_mask(known[p], 32) for p in planes], tuple(heads))
    there = np.resize(np.array(-np.inf if sinks is None else sinks, np.float32), batch * h)
    o, lse = attend(m, emulator, q, k, v, layout, scale, softcap, there, dtype, block, grid, span, **flags)
    wide = [x.astype(np.float64).reshape(batch, -1, *x.shape[1:]) for x in (q, k, v)]
    asked = {"scale": scale, "softcap": softcap, "sinks": sinks}
    want, want_lse = reference.attention(*wide, mask, **asked)
    weight, _ = reference.attention(*wide[:2], np.abs(wide[2]), mask, **asked)
    high = float(np.abs(scale * wide[0] @ np.repeat(wide[1], group, 1).swapaxes(-1, -2)).max())
    exact = 4e-6 + 4 * high * 2.0**-23                               # float32 scores, exponentials to 22 bits
    want, want_lse, weight = want.reshape(o.shape), want_lse.reshape(lse.shape), weight.reshape(o.shape)
    if bad:                                                          # rows that attend it are NaN, and only those
        felt = mask[:, :, bad[1]]
        return {"o": 0.0, "lse": 0.0, "empty": bool((np.isnan(o).all(2) == felt).all() and (np.isnan(lse) == felt).all())}
    live = np.isfinite(want_lse)
    limit = (u + exact) * weight + u * np.abs(want) + 1e-12
    return {"o": float(np.nan_to_num(np.abs(o - want) / limit, nan=np.inf).max()),
            "lse": float(np.nan_to_num(np.abs(lse - want_lse)[live] / exact, nan=np.inf).max(initial=0)),
            "empty": bool((lse[~live] == -np.inf).all() and (o[np.tile(~mask.any(2), (batch, 1))] == 0).all())}


def main(names):
    import time

    sys.path.insert(0, str(EMULATOR))
    import emulator
    import ml_dtypes
    emulator.install()
    from sparsevis import Layout, reference
    from sparsevis.kernels import cuda_wgmma as m
    known = CASES | MISTAKES
    for name in names or known:
        begin = time.time()
        try:
            found = run(name, m, emulator, reference, Layout, ml_dtypes, **known[name])
        except Exception as e:
            found = {"error": f"{type(e).__name__}: {e}"}
            if names:
                raise
        print(json.dumps({"name": name, "seconds": round(time.time() - begin, 1), **found}), flush=True)


# ---------------------------------------------------------------- in pytest's

@pytest.fixture(scope="module")
def found():
    for name in ("greenlet", "ml_dtypes"):
        pytest.importorskip(name, reason=f"the emulator needs {name}: pip install {name}")
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", CASES)
def test_against_float64(found, name):
    case = found[name]
    assert "error" not in case, case["error"]
    assert case["o"] <= 1
    assert case["lse"] <= 1
    assert case["empty"]


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_noticed(found, name):
    assert "error" not in found[name], found[name]["error"]
    assert found[name]["o"] > 10


@pytest.mark.parametrize(("pattern", "least", "most"), [
    (sv.mistral(256), 1, 1.5), (sv.bigbird(), 2, 99), (sv.Causal(), 1.5, 3), (sv.longformer(512, range(16)), 3, 99), (~sv.Dense(), 0, 0)])
def test_how_uneven_lists_are(pattern, least, most):
    wgmma = pytest.importorskip("sparsevis.kernels.cuda_wgmma", reason="needs numba-cuda", exc_type=ImportError)
    assert least <= wgmma.skew(sv.Layout.of(pattern, 4096, block=128)) <= most


@pytest.mark.parametrize(("d", "dv"), [(16, 16), (64, 64), (96, 96), (128, 64), (64, 128), (192, 192), (256, 256)])
@pytest.mark.parametrize("keys", [100, 10_000])
def test_tiles_fit_shared_memory(d, dv, keys):
    wgmma = pytest.importorskip("sparsevis.kernels.cuda_wgmma", reason="needs numba-cuda", exc_type=ImportError)
    block, blocks = wgmma.tile_of(d, dv, keys, 1.0)
    built = wgmma.make_attend(d, dv, block, blocks=blocks)
    assert blocks * (built.shared + 1024) <= 233_472
    assert built.block[0] % 64 == built.block[1] % 32 == 0
    assert built.threads == 128 * (built.block[0] // 64 + 1)


if __name__ == "__main__":
    main(sys.argv[1:])
