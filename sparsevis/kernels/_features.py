"""What real models ask of attention beyond scaled products: checked here, for every kernel.

    s = scale * q . k
    s = softcap * tanh(s / softcap)                 Gemma 2 (arXiv:2408.00118)
    s = s + slopes[h] * (j - i)                     ALiBi (arXiv:2108.12409); query row r stands at i = r + offset
    s = s + bias[h, r, j]
    key j counts as not allowed where key_mask[batch, j] is False
    exp(sinks[h]) joins the sum of exponentials, with no value (gpt-oss): a query without keys has lse = sink, o = 0

A feature that is not asked for is None.
"""
from math import prod
from typing import NamedTuple

import numpy as np

__all__ = ["Features", "features", "flat", "side_by_side"]


class Features(NamedTuple):
    """All heads' features, or one head's; each None where it is not asked for."""

    softcap: float | None = None
    sinks: np.ndarray | None = None         # (heads,)
    slopes: np.ndarray | None = None        # (heads,)
    key_mask: np.ndarray | None = None      # (batch, nk): head h belongs to batch h // (heads // batch)
    bias: np.ndarray | None = None          # (..., nq, nk): as many matrices as heads, or a divisor of it, repeated
    offset: int = 0

    def of_head(self, h, heads):
        """One head's: a number of the sinks and slopes, a row of the key mask, a matrix of the bias."""
        sink, slope = (None if x is None else x[h] for x in (self.sinks, self.slopes))
        kept = None if self.key_mask is None else self.key_mask[h // (heads // len(self.key_mask))]
        return Features(self.softcap, sink, slope, kept, self._bias_of(h), self.offset)

    def _bias_of(self, h):
        if self.bias is None:
            return None
        axes = self.bias.shape[:-2]
        return self.bias[np.unravel_index(h % prod(axes), axes)]


def features(sizes, dtype, softcap=None, sinks=None, slopes=None, key_mask=None, bias=None, offset=0):
    """Check the features of a call of (query heads, nq, nk), and bring them to the types that scores of a dtype expect.

    The bias stays where it lies if the numbers of its rows lie side by side; its leading axes are any.
    """
    heads, nq, nk = sizes
    if softcap is not None:
        if not softcap > 0:
            raise ValueError(f"softcap is {softcap}, and needs to be above 0, or None for no cap")
        softcap = dtype.type(softcap)
    if key_mask is not None:
        key_mask = np.asarray(key_mask)
        if key_mask.dtype != bool or key_mask.ndim != 2 or key_mask.shape[1] != nk or not _divides(len(key_mask), heads):
            given, needed = f"{key_mask.dtype} {key_mask.shape}", f"boolean (batch, {nk}), and {heads} heads a multiple of batch"
            raise ValueError(f"key_mask is {given}, and needs to be {needed}")
        key_mask = np.require(key_mask, requirements="CAWE")
    if bias is not None:
        bias = np.asarray(bias)
        if bias.dtype.kind != "f" or bias.shape[-2:] != (nq, nk) or not _divides(prod(bias.shape[:-2]), heads):
            raise ValueError(f"bias is {bias.dtype} {bias.shape}, and needs to be of floats, (1 or {heads}, {nq}, {nk})")
        bias = side_by_side(bias, dtype)
    sinks, slopes = _per_head("sinks", sinks, heads, dtype), _per_head("slopes", slopes, heads, dtype)
    return Features(softcap, sinks, slopes, key_mask, bias, int(offset))


def _divides(count, heads):
    return not heads or (count > 0 and heads % count == 0)


def _per_head(name, x, heads, dtype):
    if x is None:
        return None
    x = np.array(x, dtype)
    if x.ndim != 1 or not _divides(len(x), heads):
        raise ValueError(f"{name} is an array of shape {x.shape}, and needs to be ({heads},): one number a query head")
    return np.resize(x, heads)


# ---------------------------------------------------------------- arrays of any strides

def flat(x):
    """Return an array (..., n, d) as (heads, n, d): a copy where it must be."""
    return x.reshape(prod(x.shape[:-2]), *x.shape[-2:])


def side_by_side(x, dtype=None):
    """Return x, or a copy where the numbers of a row do not lie side by side, or are of another dtype.

    >>> x = np.zeros((5, 2, 3))
    >>> side_by_side(x.swapaxes(0, 1)).base is x, side_by_side(x.swapaxes(1, 2)).base is x
    (True, False)
    """
    x = np.asarray(x, dtype)
    return x if x.flags.aligned and (x.shape[-1] < 2 or x.strides[-1] == x.itemsize) else x.copy()
