"""Block-sparse attention in register tiles, compiled by Numba: the fast kernel.

    threads, each: while work is left, take the next item (head, query block, group of lanes), longest first:
        turn its queries into lanes
        for each tile of its layout row: scores, mask, one step of the online softmax, weighted sum of the values
        divide by the sums

Differs from `loops`: a group of queries lies side by side in vector registers (`_simd.py`, `_tile.py`), the running maximum moves only
when it must, and work items are spread over threads. An item is worked by one thread, in one order, so the result has the same bits for
any number of threads.
"""
import threading
from hashlib import sha256
from importlib import resources
from os import makedirs

import numba
import numpy as np
from numba import njit

from ._simd import lanes, take_next
from ._tile import OPTIONS, full, make_scratch, once, part, partial, turn_in, turn_out

__all__ = ["BLOCK", "forward"]

BLOCK = 64                     # a multiple of the lanes of every processor


# ---------------------------------------------------------------- one work item

@once
def attend(q, k, v, o, lse, scale, layout, row, first, count, offset, scratch):
    """Queries first ... first + count of one head, lanes offset ... of their block, against every tile of a layout row."""
    indptr, indices, kind, tiles = layout
    qt, s, ot, top, shift, total, _ = scratch
    block = s.shape[0]
    turn_in(qt, q, first, count, scale)
    ot[:], top[:], shift[:], total[:] = 0, -np.inf, 0, 0
    for e in range(indptr[row], indptr[row + 1]):
        start = indices[e] * block
        keys = min(block, k.shape[0] - start)
        if kind[e] < 0:
            full(k, v, start, keys, scratch)
        else:
            partial(k, v, start, keys, tiles[kind[e]], offset, scratch)
    finish(o, lse, first, count, offset, layout, row, ot, shift, total)


@part
def finish(o, lse, first, count, offset, layout, row, ot, shift, total):
    """Divide by the sums. A row without an allowed key gives 0, by the layout's word; a live row of scores -inf gives NaN, as softmax."""
    for lane in range(count):
        t = total[0, lane]
        lse[first + lane] = shift[0, lane] + np.log(t)
        total[0, lane] = 1 / t
        if t == 0:
            total[0, lane] = np.nan if has_key(layout, row, offset + lane) else 0
    turn_out(o, first, count, ot, total)


@part
def has_key(layout, row, query):
    """Does this query of the block have an allowed key?"""
    indptr, _, kind, tiles = layout
    bit = np.uint64(query % 64)
    for e in range(indptr[row], indptr[row + 1]):
        if kind[e] < 0:
            return True
        for j in range(tiles.shape[2]):
            if (tiles[kind[e], query // 64, j] >> bit) & np.uint64(1):
                return True
    return False


# ---------------------------------------------------------------- one thread

def make_drain(source, lanes):
    """Make the compiled kernel's outermost function: one thread's work."""
    def drain(q, k, v, o, lse, scale, layout, planes, block_q, block_k, order, counter):
        """Take the next work item until none is left."""
        scratch = make_scratch(q, q.shape[2], v.shape[2], lanes, block_k)
        heads, nq = lse.shape
        share, blocks, groups = heads // k.shape[0], -(-nq // block_q), -(-block_q // lanes)
        while True:
            n = take_next(counter)
            if n >= order.size:
                return source
            item, group = divmod(order[n], groups)
            h, b = divmod(item, blocks)
            offset = group * lanes
            first = b * block_q + offset
            count = min(lanes, block_q - offset, nq - first)        # lanes beyond stay idle
            if count > 0:
                kv, row = h // share, planes[h] * blocks + b
                attend(q[h], k[kv], v[kv], o[h], lse[h], scale, layout, row, first, count, offset, scratch)
    return drain


def fingerprint():
    """Return a number that changes with the text of any source file of this package.

    Numba's cache looks at the outermost function alone, its bytecode and its closure, and would go on using what was compiled from
    callees that have changed since. With this number in the closure it does not.
    """
    files = sorted((f for f in resources.files(__package__).iterdir() if f.name.endswith(".py")), key=lambda f: f.name)
    return int.from_bytes(sha256(b"".join(f.read_bytes() for f in files)).digest()[:7], "little")


def compiled(function, name):
    """Compile at the first call; keep the result on disk, in a file called by the name, if there is a place to write."""
    function.__qualname__ = name
    if numba.config.DISABLE_JIT:
        return function
    try:
        kernel = njit(cache=True, **OPTIONS)(function)
        makedirs(kernel.stats.cache_path, exist_ok=True)            # a package in a zip file would find out only at the first call
        return kernel
    except (RuntimeError, OSError):                                 # a read-only package and no home
        return njit(**OPTIONS)(function)


# one function a dtype, each with cache files of its own: processes that fill the cache at the same time write the same thing
DRAIN = {np.dtype(t): compiled(make_drain(fingerprint(), lanes(t)), f"drain_{t}") for t in ("float32", "float64")}


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
    """Return the work items (head, query block, group of lanes) as numbers, those with the most tiles first."""
    tiles = np.diff(layout.indptr).reshape(-1, -(-layout.shape[0] // layout.block[0]))[planes]
    order = np.argsort(-tiles.ravel(), kind="stable")
    return (order[:, None] * groups + np.arange(groups)).ravel()


# ---------------------------------------------------------------- the kernel

def forward(q, k, v, layout, *, scale):
    """Attention over the layout's tiles; arguments and results as every kernel's (see `sparsevis.kernels`).

    Spread over `numba.get_num_threads()` threads when called from the main thread; called from any other, it stays there.
    """
    if numba.config.DISABLE_JIT:
        raise RuntimeError("impl='cpu' is machine instructions and needs Numba's compiler: unset NUMBA_DISABLE_JIT or take impl='loops'")
    # a read-only array is another type to Numba, and the kernel would be compiled again for 5 s: copying takes milliseconds
    q, k, v = (np.require(x, requirements="CAWE") for x in (q, k, v))
    o, lse = np.empty((*q.shape[:2], v.shape[2]), q.dtype), np.empty(q.shape[:2], q.dtype)
    if not lse.size:
        return o, lse
    planes, groups = np.array(layout.planes(len(q)), np.int64), -(-layout.block[0] // lanes(q.dtype))
    order, counter = longest_first(layout, planes, groups), np.zeros(1, np.int64)
    work = q, k, v, o, lse, q.dtype.type(scale), layout.remember(bit_columns), planes, *layout.block, order, counter
    on_all_threads(DRAIN[q.dtype], work, len(order))
    return o, lse


def on_all_threads(drain, work, items):
    """Run `drain(*work)` here and on other threads.

    Ordinary threads, because the compiled code holds no Python lock; starting one takes 0.1 ms. Numba's own (prange) take 8 s to compile
    instead of 5, and need a second, serial build: without OpenMP two callers at once abort the process, with it a forked child is killed.
    """
    threads = min(numba.get_num_threads(), items) if threading.current_thread() is threading.main_thread() else 1
    others = [threading.Thread(target=drain, args=work) for _ in range(threads - 1)]
    for thread in others:
        thread.start()
    drain(*work)
    for thread in others:
        thread.join()
