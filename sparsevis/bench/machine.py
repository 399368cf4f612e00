"""What a number depends on: processor, threads, versions; and the most multiply-adds the processor can do."""

import os
import platform
import re
import threading
from functools import lru_cache
from importlib import metadata
from time import perf_counter

import numpy as np

__all__ = ["available", "facts", "fma_rate"]


def available():
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def facts(threads):
    """Return what a number depends on. No names of hosts, users or folders."""
    from llvmlite import binding

    from sparsevis.kernels import _simd

    versions = {name: _version(name) for name in ("numpy", "numba", "llvmlite", "scipy", "torch", "jax")}
    return {
        "processor": _processor(), "compiled for": binding.get_host_cpu_name(), "vector bytes": _simd.WIDTH, "cores": os.cpu_count(),
        "threads": threads, "system": f"{platform.system()} {platform.machine()}", "python": platform.python_version(),
        "versions": versions,
    }  # fmt: skip


def fma_rate(dtype, threads, seconds=0.01):
    """Return floating-point operations a second of nothing but fused multiply-adds in registers, on so many threads.

    A multiply-add is two operations. Numbers of 16 bits are computed with as float32.
    """
    dtype, steps = np.result_type(dtype, np.float32), 50_000
    chain, vectors = _chain()
    x = [np.ones((8, 1024), dtype) for _ in range(threads)]
    chain(x[0], 1)
    start = perf_counter()
    chain(x[0], steps)
    repeats = max(1, int(seconds / (perf_counter() - start))) * steps
    workers = [threading.Thread(target=chain, args=(part, repeats)) for part in x[1:]]
    start = perf_counter()
    for worker in workers:
        worker.start()
    chain(x[0], repeats)
    for worker in workers:
        worker.join()
    return 2 * threads * repeats * vectors / dtype.itemsize / (perf_counter() - start)


@lru_cache
def _chain():
    """The compiled loop, and how many bytes of sums it updates in each step."""
    from numba import njit

    from sparsevis.kernels import _simd

    # independent sums: enough to hide the latency of four units, few enough for the registers
    load, store, (rows, cols) = _simd.load, _simd.store, (6, 2) if _simd.WIDTH == 32 else (4, 4)
    step = _simd._lanewise(lambda builder, t, x: _simd._fma(builder, t, x, x))

    @njit(nogil=True)
    def chain(x, repeats):
        t, one = load(x, 0, 0, rows, cols), x[0, x.shape[1] - 1]
        for _ in range(repeats):
            t = step(t, one)
        store(x, 0, 0, t)

    return chain, rows * cols * _simd.WIDTH


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor():
    try:
        with open("/proc/cpuinfo") as file:
            return re.search(r"model name\s*:\s*(.+)", file.read())[1].strip()
    except (OSError, TypeError):
        return platform.processor() or platform.machine()
