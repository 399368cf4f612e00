"""Variants of the Hopper kernel beside FlexAttention and cuDNN on one GPU: python benchmarks/gpu_variants.py [CASE [VARIANT]].

CASE and VARIANT are parts of names.
Needs PyTorch, Triton and numba-cuda on compute capability 9.0. Every variant is held against float64 on sampled rows, then timed (median);
TFLOP/s count allowed pairs alone. One that fails says why, and the rest go on. Launches are made here, so the package's host code is not
part of what is measured.
"""
import ctypes
import fcntl
import math
import sys
import tempfile
import time
from contextlib import contextmanager

import numpy as np

if not hasattr(np, "row_stack"):                       # numba-cuda 0.30 still asks NumPy for it; NumPy 2.5 has dropped it
    np.row_stack = np.vstack  # noqa: NPY201

import torch
from cuda.bindings import driver as cu
from numba.cuda import types
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from triton.testing import do_bench

import sparsevis as sv
from sparsevis.kernels import cuda_wgmma

HEADS, START, LIMIT = 16, time.time(), 215             # seconds for everything
torch._dynamo.config.recompile_limit = 64
FLEX, MASK = torch.compile(flex_attention, dynamic=False), torch.compile(create_block_mask)
CASES = {
    "window 256": (sv.mistral(256), 32768, lambda b, h, i, j: (j <= i) & (i - j < 256)),
    "window 1024": (sv.mistral(1024), 32768, lambda b, h, i, j: (j <= i) & (i - j < 1024)),
    "causal": (sv.Causal(), 8192, lambda b, h, i, j: j <= i),
    "longformer": (sv.longformer(512, range(16)), 32768, lambda b, h, i, j: ((i - j).abs() <= 256) | (i < 16) | (j < 16)),
}


def variants(d, sms):
    """Name -> (tile, flags of the factory, blocks of threads or None for one an item, heads side by side)."""
    whole, halves = (128, 128), {"halves": True}
    stream = {"halves": True, "stream": True}
    yield "plain, head by head", (whole, {}, None, 1)
    yield "plain", (whole, {}, None, HEADS)
    yield "persistent", (whole, {}, sms, HEADS)
    yield "halves", (whole, halves, None, HEADS)
    yield "halves, persistent", (whole, halves, sms, HEADS)
    yield "stream", (whole, {"stream": True}, sms, HEADS)
    yield "stream, halves", (whole, stream, sms, HEADS)
    yield "stream, halves, head by head", (whole, stream, sms, 1)
    yield "stream, halves, no turns", (whole, {**stream, "turns": False}, sms, HEADS)
    yield "stream, halves, lazy", (whole, {**stream, "lazy": True}, sms, HEADS)
    if d == 64:
        yield "stream, halves, 4 stages", (whole, {**stream, "stages": 4}, sms, HEADS)
        yield "stream, halves, 1 in 4 polynomial", (whole, {**stream, "polynomial": 2}, sms, HEADS)
        yield "192x128", ((192, 128), {}, None, HEADS)
        yield "192x128, lazy", ((192, 128), {"lazy": True}, None, HEADS)
        yield "192x128, 1 in 4 polynomial", ((192, 128), {"polynomial": 2}, None, HEADS)
        yield "192x128, stream, halves", ((192, 128), stream, sms, HEADS)
        yield "192x128, stream, halves, lazy", ((192, 128), {**stream, "lazy": True}, sms, HEADS)
        yield "192x128, stream, halves, no turns", ((192, 128), {**stream, "turns": False}, sms, HEADS)
        yield "64x128, two blocks an SM", ((64, 128), {"blocks": 2}, None, HEADS)
        yield "64x128, two blocks, stream, halves", ((64, 128), {**stream, "blocks": 2}, 2 * sms, HEADS)
    else:
        yield "plain, no edge", (whole, {"edge": False}, None, HEADS)
        yield "plain, lazy", (whole, {"lazy": True}, None, HEADS)
    yield "64x64, two blocks, stream", ((64, 64), {"blocks": 2, "stream": True}, 2 * sms, HEADS)


# ---------------------------------------------------------------- the driver, in short

def checked(result):
    if int(result[0]):
        raise RuntimeError(str(result[0]))
    return result[1] if len(result) == 2 else result[1:]


def tensor_map(x, box_rows):
    """The address of the copy engine's view of (heads, n, d), kept alive by the tensor it lies in."""
    heads, n, d = x.shape
    wide, narrow = cu.cuuint64_t, cu.cuuint32_t
    encoded = checked(cu.cuTensorMapEncodeTiled(
        cu.CUtensorMapDataType.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, x.data_ptr(), [wide(d), wide(n), wide(heads)],
        [wide(d * 2), wide(n * d * 2)], [narrow(64), narrow(box_rows), narrow(1)], [narrow(1)] * 3,
        cu.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE, cu.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_128B,
        cu.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_256B, cu.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE))
    return torch.frombuffer(bytearray(ctypes.string_at(int(encoded.getPtr()), 128)), dtype=torch.uint8).cuda()


class Launcher:
    """A kernel of numbers alone, started by the driver."""

    def __init__(self, built):
        compiled = built.kernel.compile(tuple(getattr(types, name) for name in built.signature))
        function = compiled._codelibrary.get_cufunc()
        most = cu.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        checked(cu.cuKernelSetAttribute(most, built.shared, function.handle, function.device.id))
        c_types = {"uint64": ctypes.c_uint64, "uint32": ctypes.c_uint32, "float32": ctypes.c_float}
        self.built, self.function = built, checked(cu.cuKernelGetFunction(function.handle))
        self.slots = [c_types[name]() for name in built.signature]
        self.block = (ctypes.c_void_p * len(self.slots))(*map(ctypes.addressof, self.slots))
        self.registers, self.local = compiled.regs_per_thread, compiled.local_mem_per_thread

    def __call__(self, grid, values):
        for slot, value in zip(self.slots, values, strict=True):
            slot.value = value
        checked(cu.cuLaunchKernel(self.function, grid, 1, 1, self.built.threads, 1, 1, self.built.shared,
                                  torch.cuda.current_stream().cuda_stream, ctypes.addressof(self.block), 0))


COMPILED = {}


def compiled(d, block, flags):
    key = (d, block, *sorted(flags.items()))
    if key not in COMPILED:
        COMPILED[key] = Launcher(cuda_wgmma.make_attend(d, d, block, **flags))
    return COMPILED[key]


# ---------------------------------------------------------------- one variant of one case

def words(layout):
    """The layout's arrays as the kernel reads them, on the device."""
    tiles = np.pad(layout.tiles, ((0, 0), (0, 0), (0, -layout.tiles.shape[2] % 4))).view(np.int32)
    arrays = [np.zeros(HEADS), np.argsort(-np.diff(layout.indptr), kind="stable"), layout.indptr, layout.indices, layout.kind]
    arrays = [np.ascontiguousarray(x, np.int32) for x in arrays] + [np.ascontiguousarray(tiles)]
    arrays.append(cuda_wgmma.parts_of(tiles.view(np.uint32)).view(np.int32))
    return [torch.from_numpy(x).cuda() if x.size else torch.zeros(1, dtype=torch.int32, device="cuda") for x in arrays]


def prepared(q, k, v, layout, kernel, blocks, span):
    """A function of nothing that runs the kernel, and the results it writes to."""
    n, d = q.shape[1:]
    o, lse = torch.full_like(q, float("nan")), torch.full((HEADS, n), float("nan"), device="cuda")
    lists, none = words(layout), torch.full((HEADS,), -math.inf, device="cuda")
    lists.insert(6, none)
    maps = [tensor_map(x, rows) for x, rows in zip((q, k, v), (layout.block[0], layout.block[1], layout.block[1]), strict=True)]
    rows = layout.grid[0]
    items, alive = rows * HEADS, (lists, maps)
    values = [x.data_ptr() for x in (*maps, o, lse, *lists)]
    values += [HEADS, 1, n, rows, items, span, d * 2, n * d * 2, math.log2(math.e) / math.sqrt(d), 0.0]

    def run(alive=alive):
        kernel(min(blocks or items, items), values)
    return run, o, lse


def errors(pattern, q, k, v, o, lse):
    """Largest errors on sampled rows of the first and last head, against float64."""
    n, d = q.shape[1:]
    rows = torch.randint(0, n, (64,), generator=torch.Generator().manual_seed(1))
    mask = torch.from_numpy(pattern.allows(rows.numpy()[:, None], np.arange(n)[None], n)).cuda()
    rows, worst = rows.cuda(), [0.0, 0.0]
    for h in (0, -1):
        s = (q[h, rows].double() @ k[h].double().T / math.sqrt(d)).masked_fill(~mask, -math.inf)
        worst[0] = max(worst[0], (o[h, rows].double() - torch.softmax(s, -1) @ v[h].double()).abs().max().item())
        worst[1] = max(worst[1], (lse[h, rows].double() - torch.logsumexp(s, -1)).abs().max().item())
    if not (worst[0] < 2e-2 and worst[1] < 1e-4) or o.isnan().any():
        raise AssertionError(f"wrong: o by {worst[0]:.1e}, lse by {worst[1]:.1e}, NaN {int(o.isnan().sum())}")
    return worst


def milliseconds(f):
    return do_bench(f, return_mode="median")


@contextmanager
def turn():
    """Processes that run side by side, one a case, compile at the same time and take turns on the GPU."""
    with open(f"{tempfile.gettempdir()}/sparsevis-gpu", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def short(e):
    return f"{type(e).__name__}: {' '.join(str(e).split())[:200]}"


# ---------------------------------------------------------------- others

def peers(name, rule, n, q, k, v):
    """Milliseconds of FlexAttention, and of cuDNN where it knows the mask."""
    q, k, v, found = q[None], k[None], v[None], {}
    try:
        mask = MASK(rule, None, None, n, n, device="cuda")
        with torch.no_grad():
            FLEX(q, k, v, block_mask=mask)
            with turn():
                found["flex"] = milliseconds(lambda: FLEX(q, k, v, block_mask=mask))
    except Exception as e:
        print("   flex:", short(e))
    if name == "causal":
        try:
            with torch.no_grad(), sdpa_kernel(SDPBackend.CUDNN_ATTENTION), turn():
                found["cudnn"] = milliseconds(lambda: scaled_dot_product_attention(q, k, v, is_causal=True))
        except Exception as e:
            print("   cudnn:", short(e))
    return found


def main(only="", which=""):
    sms = torch.cuda.get_device_properties(0).multi_processor_count
    print(torch.cuda.get_device_name(), torch.__version__, "SMs", sms, flush=True)
    for d in (64, 128):
        for name, (pattern, n, rule) in CASES.items():
            if only not in f"{name} d={d}" or time.time() - START > LIMIT:
                continue
            torch.manual_seed(0)
            q, k, v = (torch.randn(HEADS, n, d, device="cuda", dtype=torch.bfloat16) for _ in range(3))
            other = peers(name, rule, n, q, k, v)
            print(f"{name} n={n} d={d}: " + ", ".join(f"{x} {ms:.3f} ms" for x, ms in other.items()), flush=True)
            for label, (block, flags, blocks, span) in variants(d, sms):
                if which not in label or time.time() - START > LIMIT:
                    continue
                try:
                    layout = sv.Layout.of(pattern, n, block=block)
                    kernel = compiled(d, block, flags)
                    with turn():
                        run, o, lse = prepared(q, k, v, layout, kernel, blocks, span)
                        run()
                        torch.cuda.synchronize()
                        wrong = errors(pattern, q, k, v, o, lse)
                        ms = milliseconds(run)
                    ratios = "  ".join(f"{x} {theirs / ms:.2f}x" for x, theirs in other.items())
                    print(f"   {label:40s} {ms:.3f} ms {4 * HEADS * d * layout.nnz / ms / 1e9:5.0f} TFLOP/s  {ratios}  "
                          f"o {wrong[0]:.0e} lse {wrong[1]:.0e} regs {kernel.registers} local {kernel.local}", flush=True)
                except Exception as e:
                    print(f"   {label:40s} {short(e)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
