"""Block-sparse attention in register tiles, compiled by Numba: the fast kernel.

    threads, each: while work is left, take the next item (head, query block, group of lanes), longest first:
        turn its queries into lanes
        for each tile of its layout row: scores, mask, one step of the online softmax, weighted sum of the values
        divide by the sums

Differs from `cpu_plain`: a group of queries lies side by side in vector registers (`_simd.py`, `_tile.py`), so nothing is summed across a
register, and e ** x is computed for all of them at once; the running maximum moves only when it must; full tiles have no mask at all.
An item is worked by one thread, in one order, so the result has the same bits for any number of threads.

Gains, for 8 heads of 64 float32 on 2 cores of Zen 4, pairs that are allowed alone counted: 184 GFLOP/s where `cpu_plain` has 34 (causal,
n = 2,048); 194 or 85 % of what the processor can do at n = 4,096; 184 or 80 % for a window of 1,024, and 140 or 61 % for one of 256.
"""
import numba
import numpy as np

from . import _cpu_backward
from ._adjust import begin, kept_keys, lse_of_nothing, pick, turned, whole, without_padding
from ._features import features
from ._launch import bit_columns, compiled, fingerprint, longest_first, on_all_threads, once, part
from ._simd import lanes, take_next
from ._tile import full, make_scratch, partial, turn_in, turn_out

__all__ = ["BLOCK", "backward", "forward"]

BLOCK = 64                     # a multiple of the lanes of every processor


# ---------------------------------------------------------------- one work item

@once
def attend(q, k, v, o, lse, scale, layout, row, first, count, lane, f, scratch):
    """Queries first ... first + count of one head, lanes from `lane` on of their block, against every tile of a layout row."""
    indptr, indices, kind, tiles = layout
    qt, s, ot, top, shift, total, _, spare = scratch
    softcap, sink, slope, kept, bias, offset = f
    block = s.shape[0]
    turn_in(qt, q, first, count, scale)
    begin(top, shift, total, sink)
    ot[:] = 0
    for e in range(indptr[row], indptr[row + 1]):
        start = indices[e] * block
        keys = min(block, k.shape[0] - start)
        if kind[e] < 0 and whole(kept, start, keys):
            full(k, v, start, keys, first, count, (softcap, slope, bias, offset), scratch)
        else:
            tile = without_padding(tiles, kind[e], kept, start, keys, spare)
            partial(k, v, start, keys, tile, lane, first, count, (softcap, slope, bias, offset), scratch)
    finish(o, lse, first, count, lane, layout, row, kept, sink, ot, shift, total)


@once
def finish(o, lse, first, count, lane, layout, row, kept, sink, ot, shift, total):
    """Divide by the sums. A row without an allowed key gives 0, by the layout's word; a live row of scores -inf gives NaN, as softmax."""
    for n in range(count):
        t = total[0, n]
        lse[first + n] = shift[0, n] + np.log(t)
        total[0, n] = 1 / t
        if not t > 0 and not has_key(layout, row, lane + n, kept):
            lse[first + n] = lse_of_nothing(sink)
            total[0, n] = 1
            for c in range(ot.shape[0]):
                ot[c, n] = 0
    turn_out(o, first, count, ot, total)


@part
def has_key(layout, row, query, kept):
    """Does this query of the block have an allowed key?"""
    indptr, indices, kind, tiles = layout
    bit = np.uint64(query % 64)
    for e in range(indptr[row], indptr[row + 1]):
        start = indices[e] * tiles.shape[2]
        for j in range(tiles.shape[2]):
            if kind[e] < 0 or (tiles[kind[e], query // 64, j] >> bit) & np.uint64(1):
                if whole(kept, start + j, np.int64(1)):                 # for the literal Numba would compile another copy
                    return True
    return False


# ---------------------------------------------------------------- one thread

def make_drain(source, lanes):
    """Make the compiled kernel's outermost function: one thread's work."""
    def drain(q, k, v, o, lse, scale, f, layout, planes, block_q, block_k, order, counter):
        """Take the next work item until none is left."""
        scratch = make_scratch(q, q.shape[2], v.shape[2], lanes, block_k, -(-block_q // 64))
        heads, nq = lse.shape
        share, blocks, groups = heads // k.shape[0], -(-nq // block_q), -(-block_q // lanes)
        while True:
            n = take_next(counter)
            if n >= order.size:
                return source
            item, group = divmod(order[n], groups)
            h, b = divmod(item, blocks)
            lane = group * lanes
            first = b * block_q + lane
            count = min(lanes, block_q - lane, nq - first)          # lanes beyond stay idle
            if count > 0:
                kv, row = h // share, planes[h] * blocks + b
                mine = f.softcap, pick(f.sinks, h), pick(f.slopes, h), kept_keys(f.key_mask, h, heads), turned(pick(f.bias, h)), f.offset
                attend(q[h], k[kv], v[kv], o[h], lse[h], scale, layout, row, first, count, lane, mine, scratch)
    return drain


# one function a dtype, each with cache files of its own: processes that fill the cache at the same time write the same thing
DRAIN = {np.dtype(t): compiled(make_drain(fingerprint(), lanes(t)), f"drain_{t}") for t in ("float32", "float64")}


# ---------------------------------------------------------------- the kernel

def forward(q, k, v, layout, *, scale, softcap=None, sinks=None, slopes=None, key_mask=None, bias=None, offset=0):
    """Attention over the layout's tiles; arguments and results as every kernel's (see `sparsevis.kernels`).

    Spread over `numba.get_num_threads()` threads when called from the main thread; called from any other, it stays there.
    """
    needs_compiler()
    # a read-only array is another type to Numba, and the kernel would be compiled again for 5 s: copying takes milliseconds
    q, k, v = (np.require(x, requirements="CAWE") for x in (q, k, v))
    f = features(q, k, softcap, sinks, slopes, key_mask, bias, offset)
    o, lse = np.empty((*q.shape[:2], v.shape[2]), q.dtype), np.empty(q.shape[:2], q.dtype)
    if not lse.size:
        return o, lse
    planes, groups = np.array(layout.planes(len(q)), np.int64), -(-layout.block[0] // lanes(q.dtype))
    order, counter = longest_first(layout, planes, groups), np.zeros(1, np.int64)
    work = q, k, v, o, lse, q.dtype.type(scale), f, layout.remember(bit_columns), planes, *layout.block, order, counter
    on_all_threads(DRAIN[q.dtype], work, len(order))
    return o, lse


def backward(do, q, k, v, o, lse, layout, *, scale, dlse=None, softcap=None, sinks=None, slopes=None, key_mask=None, bias=None, offset=0):
    """Return (dq, dk, dv): what a change of q, k and v does to sum(do * o) + sum(dlse * lse).

    `o` and `lse` are what `forward` returned for the same arguments; `do` and `dlse` have their shapes. Gradients of keys and values are
    summed over the query heads that read them. Sinks are felt through the lse. Threads as in `forward`; `_cpu_backward.py` says how.
    """
    needs_compiler()
    asked = {"softcap": softcap, "slopes": slopes, "key_mask": key_mask, "bias": bias, "offset": offset}
    return _cpu_backward.backward(do, q, k, v, o, lse, layout, scale=scale, dlse=dlse, **asked)


def needs_compiler():
    """Raise if Numba is told not to compile."""
    if numba.config.DISABLE_JIT:
        raise RuntimeError("impl='cpu' is machine instructions and needs Numba's compiler: unset NUMBA_DISABLE_JIT or take impl='loops'")
