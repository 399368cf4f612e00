"""What happens in one tile of a layout: scores, mask, one step of the online softmax, weighted sum of the values.

Everything is kept transposed: a row of a buffer belongs to one key, its lanes are queries side by side.

    scores      s[j, :] = sum over p of  k[j, p] * qt[p, :]
    maximum     over j, lane by lane: no shuffles
    p           s[j, :] = exp(s[j, :] - shift[:])
    values      ot[c, :] += sum over j of  v[j, c] * s[j, :]

So k and v are read where they lie, number by number, without packing, and any head dimension works; only q is turned when a work item
begins, and o when it ends. Full tiles are worked on all lanes at once (k and v are read half as often: 98 % of the peak in cache against
93 %), partial ones in two halves, each with its own span of keys (a diagonal tile costs a quarter less). Hence every function that
touches lanes is made for one shape of register tile, and takes `at`, the lane where it begins.
"""
import numpy as np

from ._adjust import make_adjust
from ._exp import exp
from ._launch import loose, once, part
from ._simd import HALF, WIDE, add_columns, add_rows, address, any_greater, finite_or_zero, larger, load, select, store, zeros

LAZY = 5.5                     # the running maximum moves only when a score exceeds it by so much: about once a row
STRIP = HALF[0]                # spans of keys are rounded to this


# ---------------------------------------------------------------- the two products

def make_scores(rows, cols):
    @part
    def scores(s, k, start, lo, hi, qt, at):
        """s[j, :] = k[start + j] . qt for lo <= j < hi, `rows` keys at a time, the last ones singly"""
        j = lo
        while j + rows <= hi:
            many = zeros(s, rows, cols)
            for p in range(k.shape[1]):
                many = add_rows(many, k, start + j, p, qt, at)
            store(s, j, at, many)
            j += rows
        while j < hi:
            one = zeros(s, 1, cols)
            for p in range(k.shape[1]):
                one = add_rows(one, k, start + j, p, qt, at)
            store(s, j, at, one)
            j += 1
    return scores


def make_add_values(rows, cols):
    @part
    def add_values(ot, v, start, lo, hi, s, at):
        """ot[c, :] += sum of v[start + j, c] * s[j, :] over lo <= j < hi, `rows` columns of v at a time, the last ones singly"""
        c = 0
        while c + rows <= ot.shape[0]:
            many = load(ot, c, at, rows, cols)
            for j in range(lo, hi):
                many = add_columns(many, v, start + j, c, s, j, at)
            store(ot, c, at, many)
            c += rows
        while c < ot.shape[0]:
            one = load(ot, c, at, 1, cols)
            for j in range(lo, hi):
                one = add_columns(one, v, start + j, c, s, j, at)
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


@loose
def all_finite(x, start, lo, hi):
    """NaN and infinity turn into NaN when multiplied by 0, and stay in the sum."""
    flat, total = x[start + lo:start + hi].reshape(-1), x.dtype.type(0)
    for n in range(flat.size):
        total += flat[n] * x.dtype.type(0)
    return total == 0


@part
def add_live_values(ot, v, start, lo, hi, s, at, lanes, words):
    """`add_values` pair by pair, for a partial tile whose v holds NaN or infinity: 0 * NaN must not happen."""
    for j in range(lo, hi):
        for lane in range(lanes):
            if (words[j] >> np.uint64(lane)) & np.uint64(1):
                for c in range(ot.shape[0]):
                    ot[c, at + lane] += v[start + j, c] * s[j, at + lane]


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
    scores, add_values, adjust = make_scores(rows, cols), make_add_values(rows, cols), make_adjust(cols)
    follow_maximum, exponentials = make_follow_maximum(cols), make_exponentials(cols)

    @once
    def full(k, v, start, keys, first, count, f, scratch):
        """Every pair of the tile is allowed: all lanes at once."""
        qt, s, ot, top, shift, total, _, _ = scratch
        softcap, slope, bias, offset = f
        scores(s, k, start, 0, keys, qt, 0)
        adjust(s, 0, keys, 0, first, count, start, start - first - offset, softcap, slope, bias, None)
        follow_maximum(s, 0, keys, 0, top, shift, total, ot)
        exponentials(s, 0, keys, 0, shift, total)
        add_values(ot, v, start, 0, keys, s, 0)
    return full


def make_partial(rows, cols):
    scores, mask, add_values = make_scores(rows, cols), make_mask(cols), make_add_values(rows, cols)
    follow_maximum, exponentials, adjust = make_follow_maximum(cols), make_exponentials(cols), make_adjust(cols)

    @once
    def partial(k, v, start, keys, tile, lane, first, count, f, scratch):
        """The tile's bits decide: half of the lanes at a time, and only the span of keys that this half may see."""
        qt, s, ot, top, shift, total, words, _ = scratch
        softcap, slope, bias, offset = f
        half = s.shape[1] // 2
        for at in range(0, 2 * half, half):
            lo, hi = lane_words(words[:keys], tile, lane + at, half)
            if lo < hi:
                scores(s, k, start, lo, hi, qt, at)
                adjust(s, lo, hi, at, first, count, start, start - first - offset, softcap, slope, bias, None)
                mask(s, words, lo, hi, at, s.dtype.type(-np.inf))
                follow_maximum(s, lo, hi, at, top, shift, total, ot)
                exponentials(s, lo, hi, at, shift, total)
                if all_finite(v, start, lo, hi):                            # 3 % of a tile
                    add_values(ot, v, start, lo, hi, s, at)
                else:
                    add_live_values(ot, v, start, lo, hi, s, at, half, words)
    return partial


full, partial = make_full(*WIDE), make_partial(*HALF)


# ---------------------------------------------------------------- between (positions, head dim) and (head dim, lanes)

# Squares turned in registers, by shuffles, take a third of the time of these loops: 2 % of a window of 256. They also take 0.4 s to
# compile, a tenth of all, at everybody's first call: refused.

@part
def turn_in(xt, x, first, count, scale):
    """xt[p, lane] = x[first + lane, p] * scale; idle lanes are 0: whatever stood there could be slow (subnormal)."""
    for lane in range(count):
        for p in range(xt.shape[0]):
            xt[p, lane] = x[first + lane, p] * scale
    xt[:, count:] = 0


@part
def turn_out(x, first, count, xt, factor):
    """x[first + lane, c] = xt[c, lane] * factor[lane]"""
    for lane in range(count):
        for c in range(xt.shape[0]):
            x[first + lane, c] = xt[c, lane] * factor[0, lane]


@part
def aligned(like, rows, lanes):
    """Return rows that start on a cache line, where NumPy's would start anywhere."""
    size = like.itemsize
    raw = np.empty(rows * lanes + 64 // size, like.dtype)
    skip = (-address(raw) % 64) // size
    return raw[skip:skip + rows * lanes].reshape(rows, lanes)


@part
def make_scratch(like, d, dv, lanes, block, words):
    """One thread's buffers, cut from one piece; the bits of some lanes of a tile, and of a whole one of so many words."""
    e = d + block + dv
    x = aligned(like, e + 3, lanes)
    qt, s, ot, top, shift, total = x[:d], x[d:d + block], x[d + block:e], x[e:e + 1], x[e + 1:e + 2], x[e + 2:]
    return qt, s, ot, top, shift, total, np.empty(block, np.uint64), np.empty((words, block), np.uint64)
