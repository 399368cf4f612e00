"""How compiled kernels run: compiled once and cached, spread over threads, over a layout packed to their liking."""
import threading
from functools import cache
from hashlib import sha256
from importlib import resources
from os import makedirs

import numba
import numpy as np
from numba import njit

__all__ = ["bit_columns", "compiled", "longest_first", "loose", "on_all_threads", "once", "part"]

OPTIONS = {"error_model": "numpy", "nogil": True}
INSIDE = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}     # not for Python to call: saves a quarter of the compile time
part = njit(**INSIDE)                                           # a part of a kernel: compiled and cached with it
once = njit(**OPTIONS, inline="always")                         # a part with one caller: inlining saves another quarter
loose = njit(**INSIDE, fastmath={"contract", "reassoc"})        # a sum whose order does not matter


# ---------------------------------------------------------------- compiling

@cache
def fingerprint():
    """Return a word that changes with the text of any source file of this package."""
    files = sorted((f for f in resources.files(__package__).iterdir() if f.name.endswith(".py")), key=lambda f: f.name)
    return sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:12]


def compiled(function, name):
    """Compile at the first call; keep the result on disk if there is a place to write, in a file called by name and fingerprint.

    Numba's cache looks at the outermost function alone. It would go on using what was compiled from callees that have changed since, and
    fail on files that hold a class which has moved.
    """
    function.__qualname__ = f"{name}_{fingerprint()}"
    if numba.config.DISABLE_JIT:
        return function
    try:
        kernel = njit(cache=True, **OPTIONS)(function)
        makedirs(kernel.stats.cache_path, exist_ok=True)            # a package in a zip file would find out only at the first call
        return kernel
    except (RuntimeError, OSError):                                 # a read-only package and no home
        return njit(**OPTIONS)(function)


# ---------------------------------------------------------------- threads

def on_all_threads(drain, work, scratch, items):
    """Run `drain(*work, scratch())` here and on other threads.

    Ordinary threads, because the compiled code holds no Python lock; starting one takes 0.1 ms. Numba's own (prange) take 8 s to compile
    instead of 5, and need a second, serial build: without OpenMP two callers at once abort the process, with it a forked child is killed.
    """
    threads = min(numba.get_num_threads(), items) if threading.current_thread() is threading.main_thread() else 1
    others = [threading.Thread(target=drain, args=(*work, scratch())) for _ in range(threads - 1)]
    for thread in others:
        thread.start()
    drain(*work, scratch())
    for thread in others:
        thread.join()


# ---------------------------------------------------------------- what the kernel wants of a layout

def bit_columns(layout):
    """Return a layout's lists, and its tiles packed along queries: uint64 (stored, words, bk), bit i of word w for query 64 w + i."""
    (bq, bk), stored = layout.block, len(layout.tiles)
    words = np.empty((stored, -(-bq // 64), bk), np.uint64)
    step = max(1, 2 ** 22 // (bq * bk))                             # tiles at once: some megabytes of bytes
    for t in range(0, stored, step):
        tiles = layout.tiles[t:t + step]
        bits = np.zeros((len(tiles), words.shape[1] * 64, bk), np.uint8)
        bits[:, :bq] = np.unpackbits(tiles, axis=-1, count=bk, bitorder="little")
        packed = np.packbits(bits.reshape(len(tiles), -1, 64, bk), axis=2, bitorder="little")
        words[t:t + step] = np.ascontiguousarray(packed.swapaxes(2, 3)).view("<u8")[..., 0]
    return layout.indptr.astype(np.int64), layout.indices.astype(np.int32), layout.kind.astype(np.int32), words


def longest_first(layout, planes, groups):
    """Return the work items (head, query block, group of lanes) as numbers, those with the most tiles first.

    Lists count as equally long within a factor of two, and come head by head then: its keys stay in the cache. Causal, 8 heads of 4,096
    float64: 82 % of the peak, against 74 % where the heads take turns.
    """
    tiles = np.diff(layout.indptr).reshape(-1, -(-layout.shape[0] // layout.block[0]))[planes]
    head, _ = np.indices(tiles.shape)
    order = np.lexsort((-tiles.ravel(), head.ravel(), -np.frexp(tiles.ravel())[1]))
    return (order[:, None] * groups + np.arange(groups)).ravel()
