"""Block-sparse attention in register tiles, compiled by Numba: the fast kernel.

    threads, each: while work is left, take the next item (head, query block, group of lanes), longest first:
        turn its queries into lanes
        for each tile of its layout row: scores, mask, one step of the online softmax, weighted sum of the values
        divide by the sums

Differs from `cpu_plain`: a group of queries lies side by side in vector registers (`_simd.py`, `_tile.py`), so nothing is summed across a
register, and e ** x is computed for all of them at once; the running maximum moves only when it must; full tiles have no mask at all.
An item is worked by one thread, in one order, so the result has the same bits for any number of threads.

Gains, for 8 heads of 64 float32 on 2 cores of Zen 4, pairs that are allowed alone counted: 184 GFLOP/s where `cpu_plain` has 34 (causal,
n = 2,048); 198 or 85 % of what the processor can do at n = 4,096; 187 or 80 % for a window of 1,024, and 152 or 65 % for one of 256.

Nothing is copied that is long: arrays of any strides are read where they lie (`_rows.py`), 16-bit numbers widened a tile at a time
(`_half.py`). Causal, n = 4,096: 3 % more time where tokens come before heads in memory, 8 % for float16, 6 % for bfloat16.
"""
import numba
import numpy as np

from . import _cpu_backward
from ._adjust import begin, kept_keys, lse_of_nothing, pick, whole, without_padded_values, without_padding
from ._features import features, side_by_side
from ._half import SEEN_AS, read, write
from ._launch import bit_columns, compiled, longest_first, on_all_threads, once, part
from ._rows import heads, rows
from ._simd import lanes, take_next
from ._tile import full, make_scratch, partial, turn_in

__all__ = ["BLOCK", "HALVES", "backward", "forward"]

BLOCK = 64                     # a multiple of the lanes of every processor
HALVES = tuple(SEEN_AS)        # 16-bit formats that `forward` reads as they are


# ---------------------------------------------------------------- one work item

@once
def attend(q, k, v, o, lse, scale, layout, row, h, kv, first, count, lane, f, scratch):
    """Queries first ... first + count of one head, lanes from `lane` on of their block, against every tile of a layout row."""
    indptr, indices, kind, tiles = layout
    qt, s, ot, top, shift, total, _, spare, room = scratch
    sink, kept, mine = f
    block = s.shape[0]
    turn_in(qt, read(rows(q, o, h, first, count), room[0]), scale)
    begin(top, shift, total, sink)
    for c in range(ot.shape[0]):
        for n in range(ot.shape[1]):
            ot[c, n] = 0
    for e in range(indptr[row], indptr[row + 1]):
        start = indices[e] * block
        keys = min(block, k.rows - start)
        kn, vn = read(rows(k, o, kv, start, keys), room[0]), read(rows(v, o, kv, start, keys), room[1])
        if kind[e] < 0 and whole(kept, start, keys):
            full(kn, vn, start, first, count, mine, scratch)
        else:
            tile = without_padding(tiles, kind[e], kept, start, keys, spare)
            vn = without_padded_values(vn, kept, start, room[2])
            partial(kn, vn, start, tile, lane, first, count, mine, scratch)
    finish(o[h, first:first + count], lse[h, first:first + count], lane, layout, row, kept, sink, ot, shift, total, room)


@once
def finish(o, lse, lane, layout, row, kept, sink, ot, shift, total, room):
    """Divide by the sums. A row without an allowed key gives 0, by the layout's word; a live row of scores -inf gives NaN, as softmax."""
    for n in range(lse.size):
        t = total[0, n]
        lse[n] = shift[0, n] + np.log(t)
        total[0, n] = 1 / t
        if not t > 0 and not has_key(layout, row, lane + n, kept):
            lse[n] = lse_of_nothing(sink)
            total[0, n] = 1
            for c in range(ot.shape[0]):
                ot[c, n] = 0
    write(o, ot, total, room[0])


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

def make_drain(lanes):
    """Make the compiled kernel's outermost function: one thread's work."""
    def drain(q, k, v, o, lse, scale, f, layout, planes, block_q, order, counter, scratch):
        """Take the next work item until none is left."""
        heads, nq = lse.shape
        share, blocks, groups = heads // len(k.address), -(-nq // block_q), -(-block_q // lanes)
        while True:
            n = take_next(counter)
            if n >= order.size:
                return
            item, group = divmod(order[n], groups)
            h, b = divmod(item, blocks)
            lane = group * lanes
            first = b * block_q + lane
            count = min(lanes, block_q - lane, nq - first)          # lanes beyond stay idle
            if count > 0:
                kv, row = h // share, planes[h] * blocks + b
                mine = pick(f.sinks, h), kept_keys(f.key_mask, h, heads), (f.softcap, pick(f.slopes, h), f.bias, h, f.offset)
                attend(q, k, v, o, lse, scale, layout, row, h, kv, first, count, lane, mine, scratch)
    return drain


# one function a dtype, each with cache files of its own: processes that fill the cache at the same time write the same thing
COMPUTED_IN = {"float16": "float32", "bfloat16": "float32", "float32": "float32", "float64": "float64"}
DRAIN = {name: compiled(make_drain(lanes(wide)), f"drain_{name}") for name, wide in COMPUTED_IN.items()}


# ---------------------------------------------------------------- the kernel

def forward(q, k, v, layout, *, scale, softcap=None, sinks=None, slopes=None, key_mask=None, bias=None, offset=0):
    """Attention over the layout's tiles; arguments and results as every kernel's (see `sparsevis.kernels`).

    Spread over `numba.get_num_threads()` threads when called from the main thread; called from any other, it stays there.
    """
    needs_compiler()
    q, k, v = (side_by_side(x) for x in (q, k, v))
    name, (hq, hk, hv) = q.dtype.name, map(heads, (q, k, v))
    dtype, (count, nq) = np.dtype(COMPUTED_IN[name]), (hq.address.size, hq.rows)
    f = features((count, nq, hk.rows), dtype, softcap, sinks, slopes, key_mask, bias, offset)
    o, lse = np.empty((count, nq, hv.columns), q.dtype), np.empty((count, nq), dtype)
    if not lse.size:
        return o, lse
    planes, groups = layout.planes(count), -(-layout.block[0] // lanes(dtype))
    order, counter = longest_first(layout, planes, groups), np.zeros(1, np.int64)
    mine = f._replace(bias=None if f.bias is None else heads(f.bias))
    work = hq, hk, hv, o.view(SEEN_AS.get(name, dtype)), lse, dtype.type(scale), mine
    work += layout.remember(bit_columns), planes, layout.block[0], order, counter
    on_all_threads(DRAIN[name], work, lambda: make_scratch(dtype, hq.columns, hv.columns, lanes(dtype), *layout.block), len(order))
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
