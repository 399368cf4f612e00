"""What is asked of a kernel: calls whose answers tell mistakes apart.

A call is a handful of small numbers; its arrays follow from them. So a failing call prints as a line that can be pasted, and is made
smaller by making its numbers smaller. Ordinary inputs hide most mistakes: what makes these different stands in `VALUES` and `MEMORY`.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from sparsevis.golden.model import SMALLEST
from sparsevis.pattern import Pattern, resolve_offset
from sparsevis.patterns import Causal, Chunked, Dense, Documents, Global, PrefixLM, RandomKeys, SlidingWindow, Strided

__all__ = ["LEVELS", "MEMORY", "VALUES", "Call", "Problem", "calls"]


@dataclass(frozen=True)
class Call:
    """One call of attention. Query head h reads key/value head h // group; windows count keys beside the query, None is unbounded.

    Parameters
    ----------
    nq, nk, d, dv, batch, kv_heads, group : int
        Sizes; there are kv_heads * group query heads.
    left, right : int, optional
        A window; right=0 is causal.
    global_keys : int
        The first so many keys are allowed beside the window (not to the future of a causal call).
    pattern : Pattern, optional
        Another rule in the place of the window.
    offset : int, "top-left" or "bottom-right"
        Where query 0 stands.
    scale, softcap : float, optional
        See `sparsevis.attention`.
    sinks, bias : bool
        Whether the call has them.
    values, memory : str
        Names in `VALUES` and `MEMORY`: what the arrays hold and how they lie.
    seed : int
        Of the numbers.

    Examples
    --------
    >>> Call(nq=2, nk=3, right=0)
    Call(nq=2, nk=3, right=0)
    >>> Call(nq=2, nk=3, right=0).mask.astype(int)
    array([[1, 1, 0],
           [1, 1, 1]])
    """

    nq: int = 1
    nk: int = 1
    d: int = 8
    dv: int = 8
    batch: int = 1
    kv_heads: int = 1
    group: int = 1
    left: int | None = None
    right: int | None = None
    global_keys: int = 0
    pattern: Pattern | None = None
    offset: int | str = "bottom-right"
    scale: float | None = None
    softcap: float | None = None
    sinks: bool = False
    bias: bool = False
    values: str = "normal"
    memory: str = "plain"
    seed: int = 0

    @property
    def at(self):
        """Position of query 0."""
        return resolve_offset(self.nq, self.nk, self.offset)

    @property
    def allowed(self):
        """The pattern."""
        if self.pattern is not None:
            return self.pattern
        if self.left is None and self.right in (0, None):
            return Causal() if self.right == 0 else Dense()
        window = SlidingWindow(self.left, self.right)
        if not self.global_keys:
            return window
        both = window | Global(tuple(range(min(self.global_keys, self.nk))), rows=False)
        return Causal() & both if self.right == 0 else both

    @property
    def mask(self):
        """The pairs, as a boolean array (nq, nk)."""
        return self.allowed.mask(self.nq, self.nk, self.at)

    def __repr__(self):
        shown = [f.name for f in fields(self) if getattr(self, f.name) != f.default or f.name in ("nq", "nk")]
        return f"Call({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


@dataclass(frozen=True, eq=False)
class Problem:
    """The arrays of a call, (batch, heads, n, d); `do` and `dlse` are cotangents at full scale."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    do: np.ndarray
    dlse: np.ndarray
    mask: np.ndarray
    scale: float | None
    softcap: float | None
    sinks: np.ndarray | None
    bias: np.ndarray | None

    @classmethod
    def of(cls, call, dtype):
        """Make the arrays of a call."""
        rng, c = np.random.default_rng(call.seed), call
        heads, dtype, mask = c.kv_heads * c.group, np.dtype(dtype), call.mask
        q, do = (rng.standard_normal((c.batch, heads, c.nq, d)) for d in (c.d, c.dv))
        k, v = (rng.standard_normal((c.batch, c.kv_heads, c.nk, d)) for d in (c.d, c.dv))
        q, k, v = VALUES[c.values](q, k, v, mask, dtype)
        dlse, bias = rng.standard_normal((c.batch, heads, c.nq)), rng.standard_normal((heads, c.nq, c.nk))
        sinks = np.resize([-1.0, 0.5, 3.0, -8.0, 8.0], heads)
        q, k, v, do, bias, sinks = (x.astype(dtype) for x in (q, k, v, do, bias, sinks))
        dlse = dlse.astype(np.float64 if dtype == np.float64 else np.float32)
        return cls(q, k, v, do, dlse, mask, c.scale, c.softcap, sinks if c.sinks else None, bias if c.bias else None)

    @property
    def finite(self):
        """Whether no input is NaN or infinite."""
        return all(np.isfinite(x.astype(float)).all() for x in (self.q, self.k, self.v))

    def options(self):
        """The keywords of the reference."""
        return {"mask": self.mask, "scale": self.scale, "softcap": self.softcap, "sinks": self.sinks, "bias": self.bias}


def _rows(x):
    return np.arange(x.shape[-2])[:, None] + np.zeros_like(x)


def _coded(v):
    """The value of a key says which key and which head it is."""
    return 0.25 * (1 + _rows(v)) * (1 + np.arange(v.shape[1])[:, None, None])


def _one_hot(x):
    return 24.0 * (np.arange(x.shape[-2])[:, None] % x.shape[-1] == np.arange(x.shape[-1])) + 0 * x


def _put(x, where, value):
    """`value` in the rows `where`, a boolean vector."""
    return np.where(where[:, None], value, x)


VALUES = {
    "normal": lambda q, k, v, mask, dtype: (q, k, v),
    "coded": lambda q, k, v, mask, dtype: (q, k, _coded(v)),
    "zero queries": lambda q, k, v, mask, dtype: (0 * q, k, _coded(v)),
    "equal keys": lambda q, k, v, mask, dtype: (q, k[..., :1, :] + 0 * k, v),
    "one-hot": lambda q, k, v, mask, dtype: (_one_hot(q), _one_hot(k), v),
    "large logits": lambda q, k, v, mask, dtype: (20 * q, 20 * k, v),
    "far below zero": lambda q, k, v, mask, dtype: (8 * abs(q), -8 * abs(k), v),
    "below -1e4": lambda q, k, v, mask, dtype: (64 + 0 * q, -64 + 0 * k, v),
    "rising": lambda q, k, v, mask, dtype: (4 + 0 * q, 0.25 * _rows(k), v),
    "falling": lambda q, k, v, mask, dtype: (4 + 0 * q, -0.25 * _rows(k), v),
    "cancelling": lambda q, k, v, mask, dtype: (0.05 * q, 0.05 * k, 1000 * (-1.0) ** _rows(v) + v),
    "one sign": lambda q, k, v, mask, dtype: (0.3 * q, 0.3 * k, 1 + abs(v)),
    "subnormal": lambda q, k, v, mask, dtype: (q, k, v * SMALLEST.get(dtype.name, 2.0**-126) / 16),
    "small integers": lambda q, k, v, mask, dtype: (np.trunc(q), np.trunc(k), np.trunc(v)),
    "1000 where forbidden": lambda q, k, v, mask, dtype: (q, k, _put(v, ~mask.any(0), 1000.0)),
    "nan where forbidden": lambda q, k, v, mask, dtype: (q, _put(k, ~mask.any(0), np.nan), _put(v, ~mask.any(0), np.nan)),
    "nan in a key": lambda q, k, v, mask, dtype: (q, _put(k, np.arange(k.shape[-2]) == k.shape[-2] // 2, np.nan), v),
    "nan in a value": lambda q, k, v, mask, dtype: (q, k, _put(v, np.arange(v.shape[-2]) == v.shape[-2] // 2, np.nan)),
    "nan in a query": lambda q, k, v, mask, dtype: (_put(q, np.arange(q.shape[-2]) == q.shape[-2] // 2, np.nan), k, v),
}


def _strided(x):
    return np.repeat(x, 2, axis=-1)[..., ::2]


def _read_only(x):
    x.setflags(write=False)
    return x


MEMORY = {
    "plain": lambda x: x,
    "strided": _strided,
    "reversed": lambda x: np.ascontiguousarray(x[..., ::-1, :])[..., ::-1, :],
    "Fortran order": np.asfortranarray,
    "read-only": _read_only,
}

SIZES = {
    "quick": ((1, 1), (33, 33), (2, 5), (17, 40), (9, 4)),
    "full": ((1, 1), (2, 5), (5, 2), (31, 33), (33, 31), (64, 64), (65, 65), (40, 97), (97, 40)),
}
WINDOWS = {
    "quick": ((None, 0), (0, 0), (1, 0), (3, 2), (16, 0)),
    "full": ((None, 0), (0, 0), (1, 0), (3, 2), (15, 0), (16, 0), (17, 3), (None, 4), (4, None), (1000, 0)),
}
LEVELS = ("quick", "full", "adversarial")


def calls(level="quick", seed=0):
    """Return {family: [Call]}: quick takes seconds; full has more sizes, heads and patterns; adversarial more values and memory.

    >>> {level: sum(map(len, calls(level).values())) > 60 for level in LEVELS}
    {'quick': True, 'full': True, 'adversarial': True}
    """
    if level not in LEVELS:
        raise ValueError(f"level={level!r}: needs one of {', '.join(map(repr, LEVELS))}")
    size = "quick" if level == "quick" else "full"
    n, near = 65 if size == "full" else 33, {"left": 6, "right": 0}
    one = Call(n, n, seed=seed)
    heads = Call(12, 19, d=8, dv=8, kv_heads=2, group=2, right=0, values="coded", seed=seed)
    found = {
        "dense": [replace(one, nq=nq, nk=nk) for nq, nk in SIZES[size]],
        "windows": [replace(one, nq=nq, nk=nk, left=left, right=right, values=("coded", "normal")[(a + b) % 2])
                    for a, (nq, nk) in enumerate(SIZES[size]) for b, (left, right) in enumerate(WINDOWS[size])],
        "alignment": [replace(one, nq=a, nk=b, left=left, right=0, offset=at) for at in ("top-left", "bottom-right", 3, -2)
                      for a, b, left in ((7, 20, None), (7, 20, 2), (20, 7, 30))],
        "scale": [replace(one, right=0, scale=scale) for scale in (0.7, 0.1, 0.0)]
                 + [replace(one, d=d, dv=dv) for d, dv in ((3, 5), (16, 4), (80, 24))],
        "heads": [heads, replace(heads, values="normal", kv_heads=2, group=3), replace(heads, kv_heads=1, group=7),
                  replace(heads, kv_heads=3, group=1, batch=2), replace(heads, values="normal", batch=2)],
        "softcap": [replace(one, softcap=c, **w) for c in (0.5, 3.0) for w in ({}, near, {"nq": 8, **near, "values": "coded"})],
        "sinks": [replace(heads, sinks=True, left=left, values="normal", scale=scale) for left in (None, 2) for scale in (None, 0.2)]
                 + [replace(heads, nq=19, nk=12, sinks=True, values="normal")],
        "bias": [replace(heads, bias=True, values="normal"), replace(one, bias=True, softcap=2.0), replace(one, bias=True, **near)],
        "global keys": [replace(one, left=2, right=0, global_keys=g, values=v) for g in (1, 5) for v in ("coded", "normal")],
        "patterns": [replace(one, pattern=p, values=v) for p in _patterns(n) for v in ("coded", "normal")],
        "no keys": [replace(one, nq=20, nk=8, right=0), replace(one, nq=9, nk=9, left=1, right=0, offset=15),
                    replace(one, nq=20, nk=8, left=2, right=0, values="rising")],
    }  # fmt: skip
    found["values"] = [replace(one, values=v, **w) for v in VALUES for w in (near, {"nq": 8, "left": 3, "right": 0}, {"right": 0})]
    found["values"] += [replace(one, nq=5, nk=12, right=0, values=v) for v in VALUES if v.startswith("nan")]  # within one tile
    found["memory"] = [replace(one, memory=m, dv=5, **near) for m in MEMORY]
    if size == "full":
        found["zero sizes"] = [replace(one, nq=a, nk=b, right=0) for a, b in ((0, 5), (5, 0), (0, 0))]
        found["long"] = [replace(one, nq=3, nk=600, values=v) for v in ("normal", "one sign", "rising")]
        found["long"] += [replace(one, nq=129, nk=129, left=70, right=0)]
        more = replace(heads, nq=5, nk=33, values="normal")
        found["heads"] += [replace(more, kv_heads=kv, group=g) for kv in (1, 2, 3) for g in (1, 2, 3, 7)]
    if level == "adversarial":
        found["values"] += [replace(c, seed=seed + 1, kv_heads=2, group=2, d=16, dv=24, nk=97) for c in found["values"]]
        strange = ("normal", "nan where forbidden", "rising")
        found["memory"] += [replace(heads, memory=m, values=v, batch=2) for m in MEMORY for v in strange]
        found["zero sizes"] += [replace(heads, nq=a, nk=b) for a, b in ((0, 1), (1, 0), (3, 1))]
    return found


def _patterns(n):
    causal = Causal()
    return [
        causal & Strided(4), causal & Chunked(7), Global((0, n // 2)) | SlidingWindow(2, 2), PrefixLM(5), RandomKeys(3, seed=1),
        Documents((n // 3, n - n // 3)) & causal, ~SlidingWindow(4, 4), Chunked(16) - Strided(3),
    ]  # fmt: skip
