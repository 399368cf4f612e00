"""Features (`_features.py`) in compiled kernels: what they do to the scores, the bits and the sums of a tile.

Numba compiles a kernel for the types it is given, and None is a type: what hangs on `is not None` is then not in the machine code at all.
"""
import numpy as np

from ._exp import tanh
from ._launch import part
from ._rows import line, packed, rows
from ._simd import WIDTH, load, ramp, store, zeros

# ---------------------------------------------------------------- one head's

@part
def pick(x, h):
    """x[h]; arrays shorter than the heads repeat."""
    if x is None:
        return None
    return x[h % len(x)]


@part
def kept_keys(key_mask, h, heads):
    """Row of the key mask that a head reads."""
    if key_mask is None:
        return None
    return key_mask[h // (heads // len(key_mask))]


# ---------------------------------------------------------------- scores

def make_adjust(cols, add_bias):
    @part
    def adjust(s, lo, hi, at, first, count, start, gap, softcap, slope, bias, h, steep):
        """Cap the scores s[j, lane] for lo <= j < hi, add slope * (gap + j - lane), add the bias where lane < count.

        `steep`, where it is an array, gets the derivative of the cap.
        """
        if softcap is not None:
            one = zeros(s, 1, cols) + s.dtype.type(1)
            for j in range(lo, hi):
                t = tanh(load(s, j, at, 1, cols) * (1 / softcap))
                store(s, j, at, t * softcap)
                if steep is not None:
                    store(steep, j, at, one - t * t)
        if slope is not None:
            for j in range(lo, hi):
                distance = s.dtype.type(gap + j - at) - ramp(s, cols)           # exact up to 2 ** 24 positions, in float32
                store(s, j, at, load(s, j, at, 1, cols) + distance * slope)
        if bias is not None:
            add_bias(s, lo, hi, at, first, min(at + cols * WIDTH // s.itemsize, count), start, bias, h % len(bias.address))
    return adjust


@part
def add_turned(s, lo, hi, at, first, stop, start, bias, h):
    """s[j, lane] += bias[first + lane, start + j]: along the bias, across the tile: a third of the time of the other way."""
    turned = rows(bias, s, h, first, stop)
    for lane in range(at, stop):
        row = line(turned, lane)
        for j in range(lo, hi):
            s[j, lane] += row[start + j]


@part
def add_straight(s, lo, hi, at, first, stop, start, bias, h):
    """s[i, lane] += bias[start + i, first + lane]"""
    straight = rows(bias, s, h, start, hi)
    for i in range(lo, hi):
        row = line(straight, i)
        for lane in range(at, stop):
            s[i, lane] += row[first + lane]


# ---------------------------------------------------------------- keys that are padding

@part
def whole(kept, start, keys):
    """Is no key of the tile padding?"""
    if kept is None:
        return True
    for j in range(start, start + keys):
        if not kept[j]:
            return False
    return True


@part
def without_padding(tiles, kind, kept, start, keys, spare):
    """Return the bits of a tile, those of padding erased; a full tile that holds padding is partial."""
    if kept is None:
        return tiles[kind]
    for w in range(spare.shape[0]):
        for j in range(keys):
            spare[w, j] = np.uint64(0)
            if kept[start + j]:
                spare[w, j] = ~np.uint64(0) if kind < 0 else tiles[kind, w, j]
    return spare


@part
def without_padded_values(v, kept, start, room):
    """Return the values of a tile, those of padding replaced by 0: what stands there may be anything, and 0 * NaN is NaN."""
    if kept is None:
        return v
    for j in range(v.shape[0]):
        for c in range(v.shape[1]):
            room[j, c] = v[j, c] if kept[start + j] else v.dtype.type(0)
    return packed(room, v.shape[0], v.shape[1])


@part
def without_padded_lanes(tiles, kind, kept, lane, first, count, spare):
    """Return the bits of a tile, those of lanes that are padding erased; a full tile that holds padding is partial."""
    if kept is None:
        return tiles[kind]
    keep, w = np.uint64(0), lane // 64
    for n in range(count):
        if kept[first + n]:
            keep |= np.uint64(1) << np.uint64(lane % 64 + n)
    for i in range(spare.shape[1]):
        spare[w, i] = keep if kind < 0 else keep & tiles[kind, w, i]
    return spare


# ---------------------------------------------------------------- sinks

@part
def begin(top, shift, total, sink):
    """Set maximum, shift and sum as they are before the first key; a sink is a key seen already, whose value is 0."""
    for lane in range(top.shape[1]):
        top[0, lane], shift[0, lane], total[0, lane] = -np.inf, 0, 0
        if sink is not None:
            top[0, lane] = sink
            if sink != -np.inf:
                shift[0, lane], total[0, lane] = sink, np.exp(sink - sink)              # 1, or NaN for an infinite sink


@part
def lse_of_nothing(sink):
    """Return the lse of a query without keys."""
    if sink is None:
        return -np.inf
    return sink
