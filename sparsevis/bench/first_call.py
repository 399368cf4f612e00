"""What the first call costs: each in a process of its own, once with an empty cache of compiled code and then with a full one."""

import os
import subprocess
import sys
from statistics import median
from tempfile import TemporaryDirectory

__all__ = ["CODE", "first_calls"]

CODE = {  # peer: (where its cache is, what it does first)
    "cpu": ("NUMBA_CACHE_DIR", """
from time import perf_counter
times = [perf_counter()]
import numpy as np
import sparsevis as sv
x = np.ones((1, 64, 64), np.float32)
times.append(perf_counter())
sv.attention(x, x, x, sv.Causal())
times.append(perf_counter())
sv.attention_grad(x, x, x, x, sv.Causal(), impl="cpu")
times.append(perf_counter())
print(*times)
"""),
    "flex 128": ("TORCHINDUCTOR_CACHE_DIR", """
from time import perf_counter
times = [perf_counter()]
import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
x = torch.ones((1, 1, 128, 64))
times.append(perf_counter())
mask = create_block_mask(lambda b, h, q, k: k <= q, None, None, 128, 128, device="cpu")
with torch.no_grad():
    torch.compile(flex_attention, dynamic=False)(x, x, x, block_mask=mask)
times.append(perf_counter())
print(*times)
"""),
}  # fmt: skip


def first_calls(peer, repeats=3):
    """Return rows of one peer: nothing cached, and the median process with a full cache. Starting Python itself is not counted.

    The import's time has the libraries in memory, which the first process brought there.
    """
    variable, code = CODE[peer]
    with TemporaryDirectory() as cache:
        environment = {**os.environ, variable: cache}
        cold, *warm = [_run(code, environment) for _ in range(1 + repeats)]
    middle = {name: median(row[name] for row in warm) for name in cold}
    return [{"peer": f"{peer}, nothing cached", "state": "cold", **cold}, {"peer": f"{peer}, cached", "state": "warm", **middle}]


def _run(code, environment):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the first call failed: {done.stderr.strip().splitlines()[-1]}")
    start, imported, called, *backward = map(float, done.stdout.split())
    row = {"import_seconds": imported - start, "call_seconds": called - imported, "seconds": called - start}
    return row | ({"backward_seconds": backward[0] - called} if backward else {})
