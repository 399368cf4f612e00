"""Attention over a union of disjoint sets of keys, from attention over each: what makes tiles, splits and rings possible.

    lse = ln(exp(lse_1) + exp(lse_2) + ...)
    o   = o_1 exp(lse_1 - lse) + o_2 exp(lse_2 - lse) + ...
"""

import numpy as np

__all__ = ["merge"]


def merge(*parts):
    """Return (o, lse) over all keys from two or more parts (o, lse), each over keys of its own.

    The merge is associative and commutative but for rounding; a part without keys, (0, -inf), changes nothing.

    Parameters
    ----------
    *parts : (array_like, array_like)
        Output (..., n, dv) and natural log-sum-exp (..., n) of each part, all of one shape.

    Raises
    ------
    ValueError
        If shapes differ, or if an lse is +inf, which some libraries write for a row without keys.

    Notes
    -----
    Milakov and Gimelshein 2018 (arXiv 1805.02867); for keys spread over devices, Liu et al. 2023 (arXiv 2310.01889).

    Examples
    --------
    >>> one, two = (np.array([[1.0]]), np.array([0.0])), (np.array([[3.0]]), np.array([0.0]))
    >>> o, lse = merge(one, two)
    >>> o.item(), round(lse.item(), 4)
    (2.0, 0.6931)
    """
    if len(parts) < 2:
        raise ValueError(f"merge needs two or more parts (o, lse), not {len(parts)}")
    o, lse = (_stack([p[x] for p in parts], name) for x, name in ((0, "o"), (1, "lse")))
    if o.shape[:-1] != lse.shape:
        raise ValueError(f"merge: o is {o.shape[1:]} and lse {lse.shape[1:]}: lse needs the shape of o without its last axis")
    if np.isposinf(lse).any():
        raise ValueError("merge: an lse is +inf; a row without keys needs lse = -inf (replace +inf first if your library writes that)")
    top = lse.max(0)
    top = np.where(np.isneginf(top), lse.dtype.type(0), top)
    weight = np.exp(lse - top)
    total = weight.sum(0)
    empty = total == 0
    share = (weight / np.where(empty, total.dtype.type(1), total))[..., None].astype(o.dtype, copy=False)
    with np.errstate(divide="ignore"):
        merged = np.where(empty, total.dtype.type(-np.inf), top + np.log(total))
    return np.where(share > 0, o * share, np.where(np.isnan(share), share, o.dtype.type(0))).sum(0), merged


def _stack(arrays, name):
    arrays = [np.asarray(a) for a in arrays]
    if len({a.shape for a in arrays}) > 1:
        raise ValueError(f"merge: the parts' {name} have shapes {[a.shape for a in arrays]}, and need to have one")
    return np.stack([a if a.dtype.kind == "f" or a.dtype.itemsize == 2 else a.astype(np.float64) for a in arrays])
