"""Variants of the Hopper kernel beside FlexAttention and cuDNN on one GPU: python benchmarks/gpu_variants.py [CASE [VARIANT]].

CASE and VARIANT are parts of names. Needs PyTorch, Triton and numba-cuda on compute capability 9.0. Every variant is held against float64
on sampled rows, then timed (median); TFLOP/s count allowed pairs alone. One that fails says why, and the rest go on. What is timed is the
kernel: plans are made before.
"""
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
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from triton.testing import do_bench

import sparsevis as sv
from sparsevis.arrays import seen
from sparsevis.kernels import cuda_wgmma
from sparsevis.kernels._cuda_call import sized

HEADS, START, LIMIT = 16, time.time(), 285             # seconds for everything
torch._dynamo.config.recompile_limit = 64
FLEX, MASK = torch.compile(flex_attention, dynamic=False), torch.compile(create_block_mask)
CASES = {
    "window 256": (sv.mistral(256), 32768, lambda b, h, i, j: (j <= i) & (i - j < 256)),
    "window 1024": (sv.mistral(1024), 32768, lambda b, h, i, j: (j <= i) & (i - j < 1024)),
    "causal": (sv.Causal(), 8192, lambda b, h, i, j: j <= i),
    "longformer": (sv.longformer(512, range(16)), 32768, lambda b, h, i, j: ((i - j).abs() <= 256) | (i < 16) | (j < 16)),
}


def variants(d):
    """Name -> (tile, flags of the factory, whether blocks of threads walk on from item to item)."""
    for flags in ({}, {"edge": False}, {"turns": False}, {"edge": False, "turns": False}):
        for walking in (False, True):
            yield f"128x128, {flags}, {'walking' * walking}", (128, 128), flags, walking
            if d == 64:
                yield f"192x128, {flags}, {'walking' * walking}", (192, 128), flags, walking
    if d == 64:
        for flags in ({"blocks": 3}, {"blocks": 3, "edge": False}, {"blocks": 3, "stages": 3}):
            for walking in (False, True):
                yield f"64x64, {flags}, {'walking' * walking}", (64, 64), flags, walking


# ---------------------------------------------------------------- one variant of one case

def prepared(q, k, v, layout, block, flags, walking):
    """A function of nothing that runs the kernel, and the results it writes to."""
    heads, n, d = q.shape
    arrays = [seen(x[None]) for x in (q, k, v)]
    built = cuda_wgmma.make_attend(d, d, block, **flags)
    plan = cuda_wgmma.planned(sized("cuda_wgmma", arrays), layout, built, d**-0.5, None, flags.get("blocks", 1))
    if not walking:
        plan.grid = heads * -(-n // block[0])
    o, lse = torch.full_like(q, float("nan")), torch.full((heads, n), float("nan"), device="cuda")
    stream = torch.cuda.current_stream().cuda_stream
    return lambda: plan(arrays, seen(o), seen(lse), plan.none, stream), o, lse, plan.start


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
    print(torch.cuda.get_device_name(), torch.__version__, flush=True)
    for d in (64, 128):
        for name, (pattern, n, rule) in CASES.items():
            if only not in f"{name} d={d}" or time.time() - START > LIMIT:
                continue
            torch.manual_seed(0)
            q, k, v = (torch.randn(HEADS, n, d, device="cuda", dtype=torch.bfloat16) for _ in range(3))
            other = peers(name, rule, n, q, k, v)
            print(f"{name} n={n} d={d}: " + ", ".join(f"{x} {ms:.3f} ms" for x, ms in other.items()), flush=True)
            for label, block, flags, walking in variants(d):
                if which not in label or time.time() - START > LIMIT:
                    continue
                try:
                    layout = sv.Layout.of(pattern, n, block=block)
                    run, o, lse, kernel = prepared(q, k, v, layout, block, flags, walking)
                    with turn():
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
