"""What happens in one tile of a layout: scores, mask, one step of the online softmax, weighted sum of the values.

Everything is kept transposed: a row of a buffer belongs to one key, its lanes are queries side by side.

    scores      s[j, :] = sum over p of  k[j, p] * qt[p, :]
    maximum     over j, lane by lane: no shuffles
    p           s[j, :] = exp(s[j, :] - shift[:])
    values      ot[c, :] += sum over j of  v[j, c] * s[j, :]

So k and v are read where they lie, number by number, without packing, and any head dimension works; only q is turned when a work item
begins, and o when it ends. Full tiles are worked on all lanes at once (k and v are read half as often: 98 % of the peak in cache against
93 %), partial ones in strips of one vector, each with its own span of keys (of a diagonal tile 5/8 are computed, in halves it were 6/8).
Hence every function that touches lanes is made for one shape of register tile, and takes `at`, the lane where it begins.
"""
import numpy as np

from ._adjust import add_turned, make_adjust
from ._exp import exp
from ._launch import once, part
from ._simd import NARROW, WIDE, WIDTH, add_columns, add_rows, all_zero, any_greater, finite_or_zero, larger, load, select, store, zeros

LAZY = 5.5                     # the running maximum moves only when a score exceeds it by so much: about once a row
STRIP = NARROW[0]                # spans of keys are rounded to this


# ---------------------------------------------------------------- the two products

def make_scores(rows, cols):
    @part
    def scores(s, k, lo, hi, qt, at):
        """s[j, :] = k[j] . qt for lo <= j < hi, `rows` keys at a time, the last ones singly"""
        j = lo
        while j + rows <= hi:
            many = zeros(s, rows, cols)
            for p in range(k.shape[1]):
                many = add_rows(many, k, j, p, qt, at)
            store(s, j, at, many)
            j += rows
        while j < hi:
            one = zeros(s, 1, cols)
            for p in range(k.shape[1]):
                one = add_rows(one, k, j, p, qt, at)
            store(s, j, at, one)
            j += 1
    return scores


def make_add_values(rows, cols):
    @part
    def add_values(ot, v, lo, hi, s, at):
        """ot[c, :] += sum of v[j, c] * s[j, :] over lo <= j < hi, `rows` columns of v at a time, the last ones singly"""
        c = 0
        while c + rows <= ot.shape[0]:
            many = load(ot, c, at, rows, cols)
            for j in range(lo, hi):
                many = add_columns(many, v, j, c, s, j, at)
            store(ot, c, at, many)
            c += rows
        while c < ot.shape[0]:
            one = load(ot, c, at, 1, cols)
            for j in range(lo, hi):
                one = add_columns(one, v, j, c, s, j, at)
            store(ot, c, at, one)
            c += 1
    return add_values


# ---------------------------------------------------------------- masks

@part
def lane_words(words, tile, at, lanes):
    """Cut the bits of some lanes out of a stored tile; return the span of keys that have any, in whole strips."""
    shift, keep = np.uint64(at % 64), ~np.uint64(0) >> np.uint64(64 - lanes)
    for j in range(words.size):
        words[j] = (tile[at // 64, j] >> shift) & keep
    lo, hi = 0, words.size
    while lo < hi and not words[lo]:
        lo += 1
    while lo < hi and not words[hi - 1]:
        hi -= 1
    return lo // STRIP * STRIP, min(-(-hi // STRIP) * STRIP, words.size)


def make_mask(cols):
    @part
    def mask(s, words, lo, hi, at, forbidden):
        """s[j, :] = forbidden where a pair is not allowed: selected, never multiplied, so NaN does not leak."""
        nothing = zeros(s, 1, cols) + forbidden
        for j in range(lo, hi):
            store(s, j, at, select(words[j], load(s, j, at, 1, cols), nothing))
    return mask


@part
def all_finite(x, lo, hi):
    """Are the rows lo ... hi free of NaN and infinity? Multiplied by 0 these turn into NaN, and stay in a sum."""
    zero, width = x.dtype.type(0), WIDTH // x.itemsize
    some, rest, columns = zeros(x, 4, 1), zero, x.shape[1] // width * width
    for j in range(lo, hi - 3, 4):
        for c in range(0, columns, width):
            some = some + load(x, j, c, 4, 1) * zero
    for j in range(lo, hi):
        for c in range(columns if j < hi - (hi - lo) % 4 else 0, x.shape[1]):
            rest += x[j, c] * zero
    return all_zero(some) and rest == zero


@part
def add_live_values(ot, v, lo, hi, s, at, lanes, words):
    """`add_values` pair by pair, for a partial tile whose v holds NaN or infinity: 0 * NaN must not happen."""
    for j in range(lo, hi):
        for lane in range(lanes):
            if (words[j] >> np.uint64(lane)) & np.uint64(1):
                for c in range(ot.shape[0]):
                    ot[c, at + lane] += v[j, c] * s[j, at + lane]


# ---------------------------------------------------------------- online softmax

def make_follow_maximum(cols):
    @part
    def follow_maximum(s, lo, hi, at, top, shift, total, ot):
        """If some lane's maximum grew by much, move it and bring what was summed so far to the new scale.

        `top` is the maximum and may be -inf; `shift` is what is subtracted from scores, with -inf replaced by 0. A score that is NaN is
        overlooked here and comes out of exp.
        """
        old = load(top, 0, at, 1, cols)
        seen = old
        for j in range(lo, hi):
            seen = larger(load(s, j, at, 1, cols), seen)
        if any_greater(seen, old + top.dtype.type(LAZY)):
            new_shift = finite_or_zero(seen)
            factor = exp(old - new_shift)               # not shift - new_shift: before the first key this is exactly 0
            store(top, 0, at, seen)
            store(shift, 0, at, new_shift)
            store(total, 0, at, load(total, 0, at, 1, cols) * factor)
            for c in range(ot.shape[0]):
                store(ot, c, at, load(ot, c, at, 1, cols) * factor)
    return follow_maximum


def make_exponentials(cols):
    @part
    def exponentials(s, lo, hi, at, shift, total):
        """Turn scores into s = exp(s - shift), and add their sum over keys to total."""
        base = load(shift, 0, at, 1, cols)
        here = zeros(s, 1, cols)
        for j in range(lo, hi):
            p = exp(load(s, j, at, 1, cols) - base)
            store(s, j, at, p)
            here = here + p
        store(total, 0, at, load(total, 0, at, 1, cols) + here)
    return exponentials


# ---------------------------------------------------------------- a whole tile

def make_full(rows, cols):
    scores, add_values, adjust = make_scores(rows, cols), make_add_values(rows, cols), make_adjust(cols, add_turned)
    follow_maximum, exponentials = make_follow_maximum(cols), make_exponentials(cols)

    @once
    def full(k, v, start, first, count, f, scratch):
        """Every pair of the tile is allowed: all lanes at once."""
        qt, s, ot, top, shift, total, _, _, _ = scratch
        softcap, slope, bias, h, offset = f
        keys = k.shape[0]
        scores(s, k, 0, keys, qt, 0)
        adjust(s, 0, keys, 0, first, count, start, start - first - offset, softcap, slope, bias, h, None)
        follow_maximum(s, 0, keys, 0, top, shift, total, ot)
        exponentials(s, 0, keys, 0, shift, total)
        add_values(ot, v, 0, keys, s, 0)
    return full


def make_partial(rows, cols):
    scores, mask, add_values = make_scores(rows, cols), make_mask(cols), make_add_values(rows, cols)
    follow_maximum, exponentials, adjust = make_follow_maximum(cols), make_exponentials(cols), make_adjust(cols, add_turned)

    @once
    def partial(k, v, start, tile, lane, first, count, f, scratch):
        """The tile's bits decide: a strip of lanes at a time, and only the span of keys that it may see."""
        qt, s, ot, top, shift, total, words, _, _ = scratch
        softcap, slope, bias, h, offset = f
        keys, strip = k.shape[0], cols * WIDTH // s.itemsize
        finite = all_finite(v, np.int64(0), keys)           # for the literal Numba would compile another copy
        for at in range(0, s.shape[1], strip):
            lo, hi = lane_words(words[:keys], tile, lane + at, strip)
            if lo < hi:
                scores(s, k, lo, hi, qt, at)
                adjust(s, lo, hi, at, first, count, start, start - first - offset, softcap, slope, bias, h, None)
                mask(s, words, lo, hi, at, s.dtype.type(-np.inf))
                follow_maximum(s, lo, hi, at, top, shift, total, ot)
                exponentials(s, lo, hi, at, shift, total)
                if finite:
                    add_values(ot, v, lo, hi, s, at)
                else:
                    add_live_values(ot, v, lo, hi, s, at, strip, words)
    return partial


full, partial = make_full(*WIDE), make_partial(*NARROW)


# ---------------------------------------------------------------- between (positions, head dim) and (head dim, lanes)

# Squares turned in registers, by shuffles, are not felt in a window of 256 (109.5 against 109.7 ms), and take 1 s to compile: refused.

@part
def turn_in(xt, x, scale):
    """xt[p, lane] = x[lane, p] * scale; idle lanes are 0: whatever stood there could be slow (subnormal)."""
    for lane in range(x.shape[0]):
        for p in range(xt.shape[0]):
            xt[p, lane] = x[lane, p] * scale
    for p in range(xt.shape[0]):
        for lane in range(x.shape[0], xt.shape[1]):
            xt[p, lane] = 0


@part
def turn_out(x, count, xt, factor):
    """x[lane, c] = xt[c, lane] * factor[lane]"""
    for lane in range(count):
        for c in range(xt.shape[0]):
            x[lane, c] = xt[c, lane] * factor[0, lane]



# ---------------------------------------------------------------- buffers: made outside, where that takes no time to compile

def aligned(rows, columns, dtype):
    """Return an array that starts on a cache line, where NumPy's would start anywhere."""
    size, itemsize = rows * columns, np.dtype(dtype).itemsize
    raw = np.empty(size + 64 // itemsize, dtype)
    skip = -raw.ctypes.data % 64 // itemsize
    return raw[skip:skip + size].reshape(rows, columns)


def make_scratch(dtype, d, dv, lanes, block_q, block_k):
    """One thread's buffers; the bits of some lanes of a tile, and of a whole one; room for the rows of three tiles."""
    most, width = max(lanes, block_k), max(d, dv)
    qt, s, ot, top, shift, total = np.split(aligned(d + block_k + dv + 3, lanes, dtype), np.cumsum([d, block_k, dv, 1, 1]))
    room = np.empty((3, most, width), dtype)
    return qt, s, ot, top, shift, total, np.empty(block_k, np.uint64), np.empty((-(-block_q // 64), block_k), np.uint64), room
