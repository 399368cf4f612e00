"""The CUDA kernels beside PyTorch's on one GPU: python benchmarks/gpu.py [--json FILE] [--only NAME] [--rounds N] [--processes N].

Needs PyTorch with CUDA and `pip install "sparsevis[cuda]"`. For every case: results are held against float64 on sampled rows; then rounds
in which every contender runs once, in turn, timed by CUDA events; reported are medians, TFLOP/s on allowed pairs alone (4 d a pair
forward, 10 d backward), and the median over rounds of their time to ours. A contender that fails says why, and the rest go on. With several
processes, all compile at the same time and wait for each other; then one case at a time is measured, in the process that compiled it.
"""
import argparse
import fcntl
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

if not hasattr(np, "row_stack"):                       # numba-cuda 0.30 still asks NumPy for it; NumPy 2.5 has dropped it
    np.row_stack = np.vstack  # noqa: NPY201

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

import sparsevis as sv

HEADS = 16
torch._dynamo.config.recompile_limit = 256
torch.backends.cuda.matmul.allow_tf32 = False
torch._functorch.config.donated_buffer = False         # a backward pass is timed many times over one forward pass
FLEX, MASK = torch.compile(flex_attention, dynamic=False), torch.compile(create_block_mask)


@dataclass(frozen=True)
class Case:
    name: str
    pattern: object
    n: int
    d: int
    dtype: str = "bfloat16"
    backward: bool = False
    goal: str = ""

    @property
    def label(self):
        return f"{self.name}{' back' if self.backward else ''} n={self.n} d={self.d} {self.dtype}"


def cases():
    longformer, bigbird = sv.longformer(512, range(16)), sv.bigbird()
    for d in (64, 128):
        for n in (8192, 32768):
            yield Case("window 256", sv.mistral(256), n, d, goal=f"flex {1.3 if d == 64 else 1.5}" if n == 32768 else "")
            yield Case("window 1024", sv.mistral(1024), n, d, goal=f"flex {1.3 if d == 64 else 1.5}" if n == 32768 else "")
            yield Case("longformer 512 + 16", longformer, n, d, goal="flex 1.6" if n == 32768 else "")
            yield Case("bigbird 64", bigbird, n, d, goal="flex 1.6" if n == 32768 else "")
        yield Case("causal", sv.Causal(), 8192, d, goal="cudnn 1.0")
        yield Case("causal", sv.Causal(), 32768, d)
        yield Case("causal", sv.Causal(), 2048, d)
        yield Case("causal", sv.Causal(), 8192, d, "float16")
        yield Case("causal", sv.Causal(), 8192, d, "float32", goal="flex 5")
        yield Case("window 1024", sv.mistral(1024), 8192, d, "float32", goal="flex 5")
        for dtype, goal in (("bfloat16", "flex 0.8"), ("float32", "flex 2")):
            yield Case("causal", sv.Causal(), 8192, d, dtype, True, goal)
            yield Case("window 1024", sv.mistral(1024), 8192, d, dtype, True, goal)


# ---------------------------------------------------------------- contenders: name -> function of nothing

def rule(pattern, layout, n):
    """The pattern's own rule, fed with tensors; where all of its tiles are full, a table of them."""
    if len(layout.tiles):
        return lambda b, h, q, k: pattern.allows(q, k, n)
    table = torch.zeros(layout.grid, dtype=torch.bool)
    for row in range(layout.grid[0]):
        table[row, torch.from_numpy(layout.indices[layout.indptr[row]:layout.indptr[row + 1]]).long()] = True
    table, side = table.cuda(), layout.block[0]
    return lambda b, h, q, k: table[q // side, k // side]


def contenders(case, q, k, v, do, layout, flex_mask):
    """Functions that compute the case, each after a first call of its own."""
    causal = isinstance(case.pattern, sv.Causal)
    backends = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION} if case.dtype != "float32" else {}
    backends |= {"efficient": SDPBackend.EFFICIENT_ATTENTION} if case.dtype == "float32" else {}

    def sdpa(backend):
        def call(q, k, v):
            with sdpa_kernel(backend):
                return scaled_dot_product_attention(q, k, v, is_causal=True)
        return call
    forward = {"flex": lambda q, k, v: FLEX(q, k, v, block_mask=flex_mask)} if flex_mask is not None else {}
    forward |= {name: sdpa(backend) for name, backend in backends.items()} if causal else {}
    if not case.backward:
        yield "sparsevis", lambda: sv.attention(q, k, v, layout, impl="cuda")
        if case.n == 8192 and case.name in ("causal", "window 1024"):
            below = "cuda_rows" if case.dtype == "float32" else "cuda_mma"
            yield below, lambda: sv.attention(q, k, v, layout, impl=below)
        for name, call in forward.items():
            yield name, no_gradients(call, q, k, v)
        return
    yield "sparsevis", ours_backward(case, do, q, k, v, layout)
    for name, call in forward.items():
        yield name, torch_backward(call, do, q, k, v)


def no_gradients(call, *tensors):
    def run():
        with torch.no_grad():
            return call(*tensors)
    return run


def torch_backward(call, do, *tensors):
    """The backward pass alone; the forward pass runs when it is first needed."""
    kept = []

    def run():
        if not kept:
            inputs = [t.detach().requires_grad_() for t in tensors]
            kept.extend((call(*inputs), inputs))
        return torch.autograd.grad(kept[0], kept[1], do, retain_graph=True)
    return run


def ours_backward(case, do, q, k, v, layout):
    from importlib import import_module
    name, _ = import_module("sparsevis.kernels.cuda").choose(case.dtype, case.d, case.d, (), "backward")
    kernel = import_module(f"sparsevis.kernels.{name}")
    o, lse = sv.attention(q, k, v, layout, impl="cuda", return_lse=True)
    flat = o.reshape(-1, *o.shape[-2:]), lse.reshape(-1, lse.shape[-1])
    return lambda: kernel.backward(do, q, k, v, *flat, layout, scale=case.d**-0.5)


# ---------------------------------------------------------------- right, then fast

def error(case, result, q, k, v):
    """Largest error of the output on sampled rows of the last head, against float64."""
    rows = torch.randint(0, case.n, (64,), generator=torch.Generator().manual_seed(1))
    mask = torch.from_numpy(case.pattern.allows(rows.numpy()[:, None], np.arange(case.n)[None], case.n)).cuda()
    s = (q[0, -1, rows.cuda()].double() @ k[0, -1].double().T) * case.d**-0.5
    p = torch.softmax(s.masked_fill(~mask, -torch.inf), -1)
    return (result[0, -1, rows.cuda()].double() - p @ v[0, -1].double()).abs().max().item()


def timed(functions, rounds):
    """Milliseconds of each function, a list each: one call a round, in turn; as many calls a turn as fill a millisecond."""
    repeats, times = {}, {name: [] for name in functions}
    for name, f in functions.items():
        ms = one(f, 1)
        repeats[name] = 1 if ms > 30 else max(4, min(20, int(1.0 / max(0.02, one(f, 3)))))       # several: the host stays ahead
    for turn in range(rounds):
        for name in (list(functions) if turn % 2 == 0 else list(functions)[::-1]):
            times[name].append(one(functions[name], repeats[name]))
    return times


def one(f, repeats):
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(repeats):
        f()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / repeats


def host_microseconds(f, calls=300):
    """Time of a call on the host, while the device is behind."""
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(calls):
        f()
    took = (time.perf_counter() - begin) / calls * 1e6
    torch.cuda.synchronize()
    return took


def preparation(case, device_mask, eager_mask):
    """Seconds for our layout, and for their block mask: compiled before, and as `create_block_mask` is without `torch.compile`."""
    best = min(timed_once(lambda: sv.Layout.of(case.pattern, case.n, block_of(case))) for _ in range(3))
    theirs = min(timed_once(device_mask) for _ in range(3)) if device_mask else None
    try:
        eager = min(timed_once(eager_mask) for _ in range(2)) if case.n == 32768 and not case.backward else None
    except Exception as e:                              # a mask of all pairs may not fit
        eager = short(e)
    return best, theirs, eager


def block_of(case):
    """Tiles that the pattern fits: BigBird's blocks are 64 wide."""
    return 64 if case.name.startswith("bigbird") else 128


def timed_once(f):
    torch.cuda.synchronize()
    begin = time.perf_counter()
    f()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


class Work:
    """A case and its contenders, all of whom have run once."""

    def __init__(self, case):
        dtype = getattr(torch, case.dtype)
        torch.manual_seed(0)
        q, k, v, do = (torch.randn(1, HEADS, case.n, case.d, device="cuda", dtype=dtype) for _ in range(4))
        self.case, self.layout = case, sv.Layout.of(case.pattern, case.n, block_of(case))
        device_rule = rule(case.pattern, sv.Layout.of(case.pattern, case.n, 64), case.n)
        self.build, self.eager = (lambda make=make: make(device_rule, None, None, case.n, case.n, device="cuda")
                                  for make in (MASK, create_block_mask))
        self.found = found = {"name": case.name, "n": case.n, "d": case.d, "dtype": case.dtype, "backward": case.backward,
                              "goal": case.goal, "rows": {}}
        try:
            flex_mask = self.build()
        except Exception as e:
            flex_mask, self.build, found["flex"] = None, None, short(e)
        self.functions = {}
        for name, f in contenders(case, q, k, v, do, self.layout, flex_mask):
            try:
                begin = time.perf_counter()
                result = f()
                torch.cuda.synchronize()
                found["rows"][name] = row = {"first_seconds": time.perf_counter() - begin}
                if not case.backward:
                    row["error"] = error(case, result, q, k, v)
                    if not row["error"] < (1e-5 if case.dtype == "float32" else 3e-2):
                        raise AssertionError(f"wrong by {row['error']:.1e}")
                self.functions[name] = f
            except Exception as e:
                found["rows"][name] = {"failed": short(e)}
        if "sparsevis" in self.functions and not case.backward:
            found["impl"] = sv.attention(q, k, v, self.layout, impl="cuda", return_info=True)[-1].impl

    def measured(self, rounds):
        """What the rounds showed."""
        case, found = self.case, self.found
        for name, f in self.functions.items():
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            f()
            torch.cuda.synchronize()
            found["rows"][name]["megabytes"] = (torch.cuda.max_memory_allocated() - before) / 1e6
        times = timed(self.functions, rounds)
        for name, ms in times.items():
            row = found["rows"][name]
            row["ms"] = statistics.median(ms)
            row["tflops"] = (10 if case.backward else 4) * case.d * self.layout.nnz * HEADS / row["ms"] / 1e9
            if "sparsevis" in times:
                row["ratio"] = statistics.median(a / b for a, b in zip(ms, times["sparsevis"], strict=True))
        if "sparsevis" in self.functions:
            found["host_microseconds"] = host_microseconds(self.functions["sparsevis"])
        found["layout_seconds"], found["mask_seconds"], found["mask_eager_seconds"] = preparation(case, self.build, self.eager)
        return found


def short(e):
    return f"{type(e).__name__}: {' '.join(str(e).split())[:160]}"


def line(found):
    what = Case(found["name"], None, found["n"], found["d"], found["dtype"], found["backward"]).label
    parts = [f"{name} {row['failed']}" if "failed" in row else
             f"{name} {row['ms']:.3f} ms {row['tflops']:.0f} TF {row.get('ratio', 0):.2f}x" for name, row in found["rows"].items()]
    built = f"layout {1e3 * found['layout_seconds']:.1f} ms, mask {1e3 * (found['mask_seconds'] or 0):.1f} ms"
    host = f"host {found.get('host_microseconds', 0):.0f} us"
    return " | ".join([f"{what:44s} {found.get('impl', '')}", *parts, host, built, f"goal {found['goal']}"])


def matmul_tflops(dtype):
    a = torch.randn(8192, 8192, device="cuda", dtype=dtype)
    return 2 * 8192**3 / statistics.median(one(lambda: a @ a, 3) for _ in range(5)) / 1e9


@contextmanager
def turn(folder):
    """One process at a time."""
    with open(Path(folder, "turn"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def together(folder, me, processes):
    """Wait until all processes have compiled."""
    Path(folder, f"ready{me}").touch()
    until = time.time() + 300
    while len(list(Path(folder).glob("ready*"))) < processes and time.time() < until:
        time.sleep(0.1)


def child(options, me, folder):
    """Compile a share of the cases, wait for the others, and measure in turn; results go to a file."""
    mine = [case for case in cases() if all(part in case.label for part in options.only.split(","))][me::options.processes]
    work, results = [], []
    for case in mine:
        try:
            work.append(Work(case))
        except Exception as e:
            print(case.label, short(e), flush=True)
    together(folder, me, options.processes)
    for x in work:
        with turn(folder):
            try:
                results.append(x.measured(options.rounds))
                print(line(results[-1]), flush=True)
            except Exception as e:
                print(x.case.label, short(e), flush=True)
    Path(folder, f"result{me}.json").write_text(json.dumps(results))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json")
    parser.add_argument("--only", default="", help="parts of the case's line, as 'causal,d=64'")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options, int(options.child[0]), options.child[1])
    versions = {"torch": torch.__version__, "numpy": np.__version__, "sparsevis": sv.__version__}
    result = {"gpu": torch.cuda.get_device_name(), "versions": versions, "heads": HEADS, "rounds": options.rounds,
              **{f"{name}_matmul_tflops": matmul_tflops(getattr(torch, name)) for name in ("float32", "bfloat16")}}
    print(result, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        asked = {"--only": options.only, "--rounds": str(options.rounds), "--processes": str(options.processes)}
        command = [sys.executable, __file__, *(word for pair in asked.items() for word in pair), "--child"]
        running = [subprocess.Popen([*command, str(me), folder]) for me in range(options.processes)]
        failed = [process.wait() for process in running]
        order = [case.label for case in cases()]
        found = [x for file in Path(folder).glob("result*.json") for x in json.loads(file.read_text())]
        result["cases"] = sorted(found, key=lambda x: order.index(Case(x["name"], None, x["n"], x["d"], x["dtype"], x["backward"]).label))
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1))
    return max(failed)


if __name__ == "__main__":
    sys.exit(main())
