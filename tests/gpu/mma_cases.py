"""Cases of `cuda_mma` in the emulator, against the reference in float64. Needs greenlet and ml_dtypes; a process of its own.

`python mma_cases.py NAME ...` prints, for each case or planted bug, one line of JSON: its name and what is wrong, or null.
"""
import json
import math
import sys
import traceback
from dataclasses import dataclass, field
from importlib.util import find_spec, module_from_spec, spec_from_loader
from pathlib import Path

import ml_dtypes
import numpy as np

from sparsevis import Causal, Global, Layout, PerHead, RandomKeys, SlidingWindow, reference

DTYPES = {"bf16": ml_dtypes.bfloat16, "f16": np.float16}
ROUNDING = {"bf16": 2.0**-7, "f16": 2.0**-10}           # of p and of o, half a unit each
U32, U64 = np.uint32, np.uint64


def some(share, shape=(130, 100), block=1, seed=0):
    """A mask of pairs, or blocks, at random."""
    coarse = np.random.default_rng(seed).random([-(-n // block) for n in shape]) < share
    return np.kron(coarse, np.ones((block, block), bool))[:shape[0], :shape[1]]


def without_rows(mask, every):
    return mask & (np.arange(len(mask)) % every != 0)[:, None]


@dataclass(frozen=True)
class Case:
    """What is drawn, and how the kernel is asked."""

    pattern: object = field(default_factory=Causal)
    n: tuple = (100, 100)
    d: int = 16
    dv: int = 16
    heads: tuple = (1, 1)
    batch: int = 1
    dtype: str = "bf16"
    scale: float | None = None
    softcap: float | None = None
    sinks: bool = False
    size: float = 1.0
    tile: tuple | None = None
    block: int = 64
    options: dict = field(default_factory=dict)          # of the launch
    loose: bool = False                                  # q, k, v are parts of wider arrays

    def layout(self):
        """The real layout, in other tiles than the kernel's."""
        if isinstance(self.pattern, np.ndarray):
            return Layout.from_mask(self.pattern, self.block)
        return Layout.of(self.pattern, self.n, self.block, "bottom-right")

    def draw(self):
        """q, k, v (batch, heads, n, d) in 16 bits, and sinks."""
        rng = np.random.default_rng(7)
        heads, (nq, nk) = (self.heads[0], self.heads[1], self.heads[1]), self.layout().shape
        n = nq, nk, nk
        arrays = []
        for h, rows, d, size in zip(heads, n, (self.d, self.d, self.dv), (self.size, self.size, 1.0), strict=True):
            x = (size * rng.standard_normal((self.batch, h, rows, d + 8 * self.loose))).astype(DTYPES[self.dtype])
            arrays.append(x[..., :d])
        return arrays, rng.standard_normal(self.heads[0]).astype(np.float32) if self.sinks else None


WINDOW = SlidingWindow(40) & Causal()
CASES = {
    "causal, two block rows": Case(n=(150, 150), d=64, dv=64),
    "window, longer lists, d 128": Case(WINDOW, (200, 200), 128, 128),
    "one stage": Case(SlidingWindow(70), (140, 140), 64, 64, tile=(128, 4, 1)),
    "one stage, copies early": Case(SlidingWindow(70), (140, 140), 32, 32, tile=(64, 4, 1), options={"early": True, "seed": 1}),
    "two stages, copies early": Case(n=(60, 190), d=32, dv=32, tile=(64, 4, 2), options={"early": True, "seed": 2}),
    "threads in random order": Case(n=(60, 190), d=32, dv=32, options={"seed": 3}),
    "full tiles": Case(SlidingWindow(None, None), (64, 128), 32, 32),
    "random bits": Case(some(0.05)),
    "random bits, many rows empty": Case(some(0.01), dtype="f16"),
    "random blocks": Case(some(0.5, (256, 256), 64), block=32),
    "rows without keys": Case(without_rows(np.tri(130, 100, dtype=bool), 3), dv=24),
    "nothing at all": Case(np.zeros((70, 40), bool)),
    "one query": Case(n=(1, 90)),
    "one key": Case(np.ones((130, 1), bool)),
    "planes and groups": Case(PerHead(Causal(), WINDOW, RandomKeys(5), Causal() | Global([0])), (80, 80), heads=(4, 2)),
    "planes, batch, one key head": Case(PerHead(WINDOW, Causal()), (70, 70), heads=(4, 1), batch=2, dtype="f16"),
    "strides": Case(n=(70, 70), d=24, dv=40, heads=(2, 1), batch=2, loose=True),
    "d 40": Case(n=(70, 70), d=40, dv=40),
    "d 80": Case(WINDOW, (90, 90), 80, 80),
    "d 8, dv 96": Case(n=(70, 70), d=8, dv=96),
    "d 192, dv 128": Case(n=(70, 70), d=192, dv=128),
    "d 256, 16 rows a warp": Case(WINDOW, (130, 130), 256, 256, tile=(128, 8, 1)),
    "d 256, little room": Case(n=(70, 70), d=256, dv=256, dtype="f16"),
    "d 16, dv 256": Case(n=(40, 70), d=16, dv=256),
    "float16": Case(WINDOW, (130, 130), 64, 64, dtype="f16"),
    "softcap": Case(n=(70, 70), d=32, dv=32, softcap=2.0, size=2.0),
    "sinks": Case(without_rows(np.tri(70, 70, dtype=bool), 4), (70, 70), heads=(2, 2), sinks=True),
    "softcap and sinks": Case(WINDOW, (70, 70), dtype="f16", softcap=5.0, sinks=True, heads=(2, 1), batch=2),
    "scale 0": Case(some(0.1, (70, 70)), (70, 70), scale=0.0),
    "large scores": Case(some(0.1, (70, 70)), (70, 70), d=64, size=8.0),
}

# Bugs to plant: what stands in the kernel, what is put there, and the case that must see it.
EARLY = Case(n=(64, 256), d=32, dv=32, tile=(64, 4, 2), options={"early": True, "seed": 5})
BUGS = {
    "bits are not shifted to the lane's columns": ("tiles, u32(at + u32(w))) >> pair)", "tiles, u32(at + u32(w))))", "random bits"),
    "bits of another row": ("+ row + u32(8 * r))", "+ row + u32(8 * (r ^ 1)))", "random bits"),
    "no mask": ("if t >= 0:", "if t >= 1000:", "one stage"),
    "another XOR to read than to write": ("(at ^ u32((step & 3) * 32))", "(at + u32((step & 3) * 32))", "float16"),
    "no XOR to write": ("u32(below & u32(7)))", "u32(0))", "float16"),
    "k is read before it landed": ("            ptx.cp_wait0()\n            cuda.sync", "            cuda.sync", "float16"),
    "v is read before it landed": ("                ptx.cp_wait1() ", "                pass", "float16"),
    "v is overwritten while it is read": ("            cuda.syncthreads()                         ", "            #", EARLY),
    "another plane": ("ptx.ldg_i32(heads, head)", "ptx.ldg_i32(heads, u32(0))", "planes and groups"),
    "another key head": ("u32(head // group)", "u32(head % group)", "planes and groups"),
    "another batch element": ("u32(every // nheads), u32(every % nheads)", "u32(0), u32(every % nheads)", "strides"),
    "sums do not shrink": ("L[r] * shrink + total", "L[r] + total", "one stage"),
    "the output does not shrink": ("O[e + 4 * n + 1] *= shrink", "O[e + 4 * n + 1] *= ONE", "one stage"),
    "no sinks": ("total = total * keep + ex2(sink - shift)", "total = total * keep", "sinks"),
    "rows beyond the end are stored": ("e < u32(own * pieces) and first + row < nq", "e < u32(own * pieces)", "d 40"),
}


# ---------------------------------------------------------------- in the emulator

def words(layout, heads):
    """The layout as tensor-core kernels read it: planes of the heads, order, indptr, indices, kind, tiles."""
    counts = np.diff(layout.indptr).reshape(-1, layout.grid[0])
    order = np.argsort(-counts, axis=1, kind="stable").ravel()
    tiles = np.pad(layout.tiles, ((0, 0), (0, 0), (0, -layout.tiles.shape[2] % 4))).view(np.uint32)
    return [np.asarray(x, np.int32) for x in (layout.planes(heads), order, layout.indptr, layout.indices, layout.kind)] + [tiles]


def memory_of(x):
    """The array that holds x, with what lies between its rows."""
    return x if x.base is None else x.base


def run(case, kernels, built, layout, arrays, sinks):
    """(o, lse) of a kernel; o in 16 bits."""
    import emulator
    emulator.reset()
    (batch, heads, nq, d), nk, dv = arrays[0].shape, arrays[1].shape[2], arrays[2].shape[3]
    sinks = np.full(heads, -np.inf, np.float32) if sinks is None else sinks
    inputs = [emulator.alloc(memory_of(x)) for x in arrays]
    o, lse = emulator.alloc(shape=(batch, heads, nq, dv), dtype=arrays[0].dtype), emulator.alloc(shape=(batch, heads, nq), dtype=np.float32)
    lists = [emulator.alloc(x) for x in (*words(layout, heads), np.tile(sinks, batch))]
    scale = 1 / math.sqrt(d) if case.scale is None else case.scale
    sizes = map(U32, (heads, heads // arrays[1].shape[1], nq, nk))
    strides = [U64(x.strides[axis]) for x in arrays for axis in (2, 1, 0)]
    reals = map(np.float32, kernels.factors(scale, case.softcap))
    grid = layout.grid[0], batch * heads
    arguments = *inputs, o, lse, *lists, *sizes, *strides, U64(dv * 2), U64(nq * dv * 2), *reals
    emulator.launch(built.kernel, grid, built.threads, built.shared, *arguments, **case.options)
    return emulator.read(o, arrays[0].dtype, (batch, heads, nq, dv)), emulator.read(lse, np.float32, (batch, heads, nq))


def wrong(case, kernels):
    """What is wrong with a kernel's results, or None."""
    tile = None if case.tile is None else kernels.Tile(*case.tile)
    built = kernels.make_attend(case.d, case.dv, case.dtype, case.softcap is not None, tile)
    layout = case.layout()
    arrays, sinks = case.draw()
    o, lse = (x.astype(np.float64) for x in run(case, kernels, built, layout.retile(built.block), arrays, sinks))
    q, k, v = (x.astype(np.float64) for x in arrays)
    mask = layout.mask()
    mask = mask if layout.heads is None else mask[np.arange(q.shape[1]) % len(mask)]
    known = {"mask": mask, "scale": case.scale, "softcap": case.softcap, "sinks": sinks}
    (want, want_lse), (size, _) = reference.attention(q, k, v, **known), reference.attention(q, k, abs(v), **known)
    far = abs(o - want) / (1.05 * ROUNDING[case.dtype] * size + 2e-5)
    if not (far <= 1).all():
        at = tuple(map(int, np.unravel_index(np.nanargmax(np.where(np.isnan(far), np.inf, far)), far.shape)))
        return f"o{at} is {o[at]}, not {want[at]}: {far[at]:.1f} times what rounding explains, at {int((~(far <= 1)).sum())} places"
    empty = np.isneginf(want_lse)
    if not (lse[empty] == -np.inf).all() or not (o[empty] == 0).all():
        return "an empty row is not 0 and -inf"
    if not (abs(lse - want_lse)[~empty] <= 1e-5 * (1 + abs(want_lse[~empty]))).all():
        return f"lse is off by {np.nanmax(abs(lse - want_lse)[~empty])}"
    return None


def planted(old, new):
    """The kernel's module with another line in it, or in the module of its shared memory."""
    folder, modules = Path(find_spec("sparsevis.kernels").submodule_search_locations[0]), {}
    sources = {name: (folder / f"{name}.py").read_text() for name in ("_cuda_mma_memory", "cuda_mma")}
    if not any(old in source for source in sources.values()):
        raise LookupError(f"nowhere stands {old!r}: the bug cannot be planted")
    whole = dict(sys.modules)
    for name, source in sources.items():
        full = f"sparsevis.kernels.{name}"
        modules[name] = sys.modules[full] = module_from_spec(spec_from_loader(full, None))
        exec(compile(source.replace(old, new), f"{name}.py", "exec"), vars(modules[name]))
    sys.modules.update(whole)
    return modules["cuda_mma"]


def found(name):
    """What is wrong in the case, or with the planted bug, of that name."""
    from sparsevis.kernels import cuda_mma
    if name not in BUGS:
        return wrong(CASES[name], cuda_mma)
    *change, case = BUGS[name]
    module = planted(*change)
    try:
        return wrong(CASES[case] if isinstance(case, str) else case, module)
    except (IndexError, RuntimeError, TypeError) as e:   # what the emulator raises
        return f"{type(e).__name__}: {e}"


def main(names):
    """Run cases, and print a line for each."""
    import emulator
    emulator.install()
    for name in names or [*CASES, *BUGS]:
        try:
            said = found(name)
        except Exception:
            said = traceback.format_exc()
        print(json.dumps([name, said]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
