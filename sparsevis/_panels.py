"""What a stack of layers lets all queries see: R = I, then R = mask R for each layer, rows of R as bits.

A panel of some thousand key columns at a time, each on a thread of its own, so that n x n bits never stand in memory together. Rows that
have seen nothing of a panel, or all of it, are known as such and passed over: most are one or the other.
"""

from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import numba
import numpy as np

from sparsevis.kernels._launch import compiled, part
from sparsevis.sift import check_memory

__all__ = ["all_queries"]

WORDS = 64  # of 64 keys in a row of a panel: two panels are 64 MiB at n = 65,536
NONE, SOME, ALL = 0, 1, 2  # what a row of a panel holds


def all_queries(layouts, order, n, memory_limit=None, visit=None):
    """Return (sizes, closed): keys each query has seen after each layer, int64 (layers, n), and whether no further layer would add any.

    `visit(layer, first, rows)` is shown what is seen after each layer: bits of the keys from `first` on, uint64 (padded n, words).
    """
    words = max(1, min(WORDS, (1 << 22) // max(n, 1), -(-n // 64)))
    panels, height = range(0, n, 64 * words), -(-n // 64) * 64
    threads = max(1, min(numba.get_num_threads(), len(panels)))
    check_memory(8 * n * len(order) + 16 * height * words * threads, memory_limit, f"what {n:,} queries see after {len(order):,} layers")
    plans = [_plan_of(layout) for layout in layouts]
    sizes, lock, closed = np.zeros((len(order), n), np.int64), Lock(), []

    def run(first):
        seen = _Panel(n, height, first, words)
        still = set()  # the layouts that added nothing since one last did
        for layer, k in enumerate(order):
            if len(still) < len(plans):
                still = set() if seen.grow(plans[k]) else still | {k}
            if visit is not None:
                visit(layer + 1, first, seen.rows)
            with lock:
                sizes[layer] += seen.counts[:n]
        closed.append(not any(seen.grow(plans[k]) for k in range(len(plans)) if k not in still))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, panels))
    return sizes, all(closed)


class _Panel:
    """For every query, which of the keys from `first` on it has seen."""

    def __init__(self, n, height, first, words):
        self.width = min(64 * words, n - first)
        self.rows, self.spare = np.zeros((2, height, words), np.uint64)
        self.counts, self.state = np.zeros(height, np.int64), np.zeros(height, np.uint8)
        key = np.arange(self.width)
        self.rows[first + key, key // 64] = np.uint64(1) << (key % 64).astype(np.uint64)
        self.counts[first + key], self.state[first + key] = 1, ALL if self.width == 1 else SOME
        self.ends = np.zeros((2, words), np.uint64)  # a row that has seen nothing, and one that has seen all
        np.bitwise_or.at(self.ends[1], key // 64, np.uint64(1) << (key % 64).astype(np.uint64))

    def grow(self, plan):
        """One layer more; return whether anything was added."""
        block, blocks, (height, words) = plan[3].shape[1], plan[0].size - 1, self.rows.shape
        union, known = np.empty((blocks + 1, words), np.uint64), np.empty((block, words), np.uint64)
        held, now, after = (np.empty(size, np.uint8) for size in (blocks, block, height))
        grew = _layer(*plan, self.ends, self.width, self.rows, self.spare, self.state, self.counts, union, held, known, now, after)
        self.rows, self.spare = self.spare, self.rows
        return grew


def _plan_of(layout):
    """A layout's lists, and the rows of its tiles as words with an order in which each is made from an earlier one."""
    block, stored = layout.block[0], len(layout.tiles)
    words = np.ascontiguousarray(layout.tiles).view("<u8" if block == 64 else np.uint8).reshape(stored, block).astype(np.uint64)
    order, base, kept = np.empty((stored, block), np.int64), np.full((stored, block), -1), np.zeros((stored, block), bool)
    _plan(words, np.zeros(block, np.int64), order, base, kept)
    return layout.indptr, layout.indices, layout.kind, words, order, base, kept


def _order_rows(words, bits, order, base, kept):
    """Fill in, for the rows of each tile: an order, those with few bits first; the largest earlier row of two bits or more that the row
    holds, else -1; whether the row is some row's base. The edge of a window then costs one key a row, and so does a dilated tile.
    """
    stored, block = words.shape
    for t in range(stored):
        for a in range(block):
            bits[a] = _bits(words[t, a])
        x = 0
        for few in range(65):  # np.argsort would take 4 s to compile
            for a in range(block):
                if bits[a] == few:
                    order[t, x] = a
                    x += 1
        for x in range(block):
            a = order[t, x]
            for y in range(x if bits[a] > 1 else 0):
                b = order[t, y]
                if bits[b] > 1 and words[t, b] & ~words[t, a] == 0 and (base[t, a] < 0 or bits[b] > bits[base[t, a]]):
                    base[t, a] = b
            if base[t, a] >= 0:
                kept[t, base[t, a]] = True
    return order, base, kept


def _one_layer(indptr, indices, kind, words, order, base, kept, ends, width, rows, out, state, counts, union, held, known, now, after):
    """out[i] = rows[i], and rows[j] of every key j that query i attends; `state` and `counts` become those of out.

    for each block of queries: what a full tile adds is the union of its key block, made once for all queries;
                               in a partial tile a row starts from its base, and adds its other keys one by one.
    """
    block, blocks, grew = words.shape[1], indptr.size - 1, False
    for j in range(blocks * block):
        if j % block == 0:
            _put(union, j // block, ends, 0, False)
            held[j // block] = NONE
        if state[j]:
            _put(union, j // block, rows, j, True)
            held[j // block] = max(held[j // block], state[j])
    for r in range(blocks):
        whole, short = False, 0  # of everything, and how many rows are
        _put(union, blocks, ends, 0, False)
        for e in range(indptr[r], indptr[r + 1]):
            if kind[e] < 0 and held[indices[e]]:
                whole |= held[indices[e]] == ALL
                _put(union, blocks, union, indices[e], True)
        for a in range(block):
            i = r * block + a
            now[a] = ALL if whole else state[i]
            short += now[a] != ALL
            _put(out, i, union, blocks, False)
            if whole:
                _put(out, i, ends, 1, False)
            else:
                _put(out, i, rows, i, True)
        for e in range(indptr[r], indptr[r + 1]):
            t, c = kind[e], indices[e]
            if not short:
                break
            if t < 0 or not held[c]:
                continue
            for a in order[t]:
                left, b = words[t, a], base[t, a]
                if left == 0 or (now[a] == ALL and not kept[t, a]):
                    continue
                target, y = (known, a) if kept[t, a] else (out, r * block + a)
                if kept[t, a]:
                    _put(known, a, ends, 0, False)
                if b >= 0:
                    left &= ~words[t, b]
                    _put(target, y, known, b, True)
                while left:
                    j = c * block + _bits((left & (~left + np.uint64(1))) - np.uint64(1))  # the lowest bit
                    if state[j]:
                        _put(target, y, rows, j, True)
                    left &= left - np.uint64(1)
                if kept[t, a]:
                    _put(out, r * block + a, known, a, True)
                if now[a] != ALL and _same(out, r * block + a, ends, 1):  # stride 256 at n = 65,536: 3 times faster
                    now[a] = ALL
                    short -= 1
        for i in range(r * block, (r + 1) * block):
            count = 0
            for x in range(rows.shape[1]):
                count += _bits(out[i, x])
            grew |= count != counts[i]
            counts[i], after[i] = count, ALL if count == width else SOME if count else NONE
    for i in range(blocks * block):
        state[i] = after[i]
    return grew


@part
def _put(target, i, source, j, add):
    """target[i] = source[j], or |= where `add`; array expressions in its place would take 2 s more to compile."""
    for x in range(source.shape[1]):
        target[i, x] = source[j, x] | (target[i, x] if add else np.uint64(0))


@part
def _same(target, i, source, j):
    for x in range(source.shape[1]):
        if target[i, x] != source[j, x]:
            return False
    return True


@part
def _bits(word):
    """Number of ones, by halves."""
    word = word - (word >> np.uint64(1) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + (word >> np.uint64(2) & np.uint64(0x3333333333333333))
    word = word + (word >> np.uint64(4)) & np.uint64(0x0F0F0F0F0F0F0F0F)
    for half in (8, 16, 32):
        word += word >> np.uint64(half)
    return np.int64(word & np.uint64(127))


_plan, _layer = compiled(_order_rows, "_order_rows"), compiled(_one_layer, "_one_layer")
