"""What the arrays of a call hold, and how they lie in memory: ordinary numbers in rows hide most mistakes."""

import numpy as np

from sparsevis.golden.model import SMALLEST

__all__ = ["MEMORY", "VALUES"]


def _rows(x):
    return np.arange(x.shape[-2])[:, None] + np.zeros_like(x)


def _coded(v):
    """The value of a key says which key and which head it is."""
    return 0.25 * (1 + _rows(v)) * (1 + np.arange(v.shape[1])[:, None, None])


def _one_hot(x):
    return 24.0 * (np.arange(x.shape[-2])[:, None] % x.shape[-1] == np.arange(x.shape[-1])) + 0 * x


def _put(x, where, value):
    """`value` in the rows `where`, a boolean vector or one an entry and head."""
    return np.where(where[..., None], value, x)


def _middle(x):
    return np.arange(x.shape[-2]) == x.shape[-2] // 2


def _signed(x):
    return np.where(_rows(x) % 2, -0.0, 0.0)


VALUES = {  # functions of q, k, v, the keys that no query attends, and the dtype
    "normal": lambda q, k, v, unseen, dtype: (q, k, v),
    "coded": lambda q, k, v, unseen, dtype: (q, k, _coded(v)),
    "zero queries": lambda q, k, v, unseen, dtype: (0 * q, k, _coded(v)),
    "equal keys": lambda q, k, v, unseen, dtype: (q, k[..., :1, :] + 0 * k, v),
    "one-hot": lambda q, k, v, unseen, dtype: (_one_hot(q), _one_hot(k), v),
    "large logits": lambda q, k, v, unseen, dtype: (20 * q, 20 * k, v),
    "far below zero": lambda q, k, v, unseen, dtype: (8 * abs(q), -8 * abs(k), v),
    "below -1e4": lambda q, k, v, unseen, dtype: (64 + 0 * q, -64 + 0 * k, v),
    "below -5e4": lambda q, k, v, unseen, dtype: (160 + 0 * q, -160 + 0 * k, v),
    "rising": lambda q, k, v, unseen, dtype: (4 + 0 * q, 0.25 * _rows(k), v),
    "rising slowly": lambda q, k, v, unseen, dtype: (4 + 0 * q, 0.04 * _rows(k), v),
    "falling": lambda q, k, v, unseen, dtype: (4 + 0 * q, -0.25 * _rows(k), v),
    "cancelling": lambda q, k, v, unseen, dtype: (0.05 * q, 0.05 * k, 1000 * (-1.0) ** _rows(v) + v),
    "one sign": lambda q, k, v, unseen, dtype: (0.3 * q, 0.3 * k, 1 + abs(v)),
    "subnormal": lambda q, k, v, unseen, dtype: (q, k, v * SMALLEST.get(dtype.name, 2.0**-126) / 16),
    "huge values": lambda q, k, v, unseen, dtype: (q, k, v * (2.0**12 if dtype.itemsize == 2 else 2.0**100)),
    "signed zeros": lambda q, k, v, unseen, dtype: (_signed(q), _signed(k), np.where(_rows(v) % 3, v, -0.0)),
    "small integers": lambda q, k, v, unseen, dtype: (np.trunc(q), np.trunc(k), np.trunc(v)),
    "1000 where forbidden": lambda q, k, v, unseen, dtype: (q, k, _put(v, unseen, 1000.0)),
    "nan where forbidden": lambda q, k, v, unseen, dtype: (q, _put(k, unseen, np.nan), _put(v, unseen, np.nan)),
    "inf where forbidden": lambda q, k, v, unseen, dtype: (q, _put(k, unseen, np.inf), _put(v, unseen, -np.inf)),
    "nan in a key": lambda q, k, v, unseen, dtype: (q, _put(k, _middle(k), np.nan), v),
    "nan in a value": lambda q, k, v, unseen, dtype: (q, k, _put(v, _middle(v), np.nan)),
    "nan in a query": lambda q, k, v, unseen, dtype: (_put(q, _middle(q), np.nan), k, v),
    "inf in a value": lambda q, k, v, unseen, dtype: (q, k, _put(v, _middle(v), np.inf)),
}


def _strided(x):
    return np.repeat(x, 2, axis=-1)[..., ::2]


def _read_only(x):
    x.setflags(write=False)
    return x


def _broadcast(x):
    """One row of memory for rows that are equal, as an expanded tensor has; else one entry of the last axis for those."""
    for axis in (-2, -1, 0):
        first = np.take(x, [0], axis) if x.shape[axis] else x
        if np.array_equal(x, np.broadcast_to(first, x.shape)):
            return np.broadcast_to(first, x.shape)
    return x


def _among_nan(x):
    """A part of a larger array whose rest is NaN: what is read beyond the ends is felt."""
    room = np.full([n + 8 for n in x.shape[:-1]] + [x.shape[-1]], np.nan, x.dtype)
    place = tuple(slice(4, 4 + n) for n in x.shape[:-1])
    room[place] = x
    return room[place]


MEMORY = {
    "plain": lambda x: x,
    "strided": _strided,
    "reversed": lambda x: np.ascontiguousarray(x[..., ::-1, :])[..., ::-1, :],
    "Fortran order": np.asfortranarray,
    "read-only": _read_only,
    "broadcast": _broadcast,
    "among NaN": _among_nan,
}
