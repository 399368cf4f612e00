"""One call of attention as a handful of small numbers, from which its arrays follow.

So a failing call prints as a line that can be pasted, and is made smaller by making its numbers smaller. Ordinary inputs hide most
mistakes: what makes these different stands in `VALUES` and `MEMORY`. Packed documents, padded keys and a ring of cached keys are the same
mathematics over another set of pairs: they need no other reference, and a kernel that takes a mask is asked them as well.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from sparsevis.golden.held import MEMORY, VALUES
from sparsevis.pattern import Pattern, resolve_offset
from sparsevis.patterns import Causal, Chosen, Dense, Global, SlidingWindow
from sparsevis.per_head import PerHead

__all__ = ["MEMORY", "VALUES", "Call", "Problem"]


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
    pattern : Pattern or PerHead, optional
        Another rule in the place of the window.
    offset : int, "top-left" or "bottom-right"
        Where query 0 stands; in packed documents, where the first query of each stands among its keys.
    lengths, key_lengths : tuple of int, optional
        Packed documents: the queries and the keys of each, equal where `key_lengths` is left out. They sum to nq and nk.
    valid : tuple of int, optional
        How many keys each entry of the batch has; the rest is padding.
    seen : int, optional
        Decoding from a ring of nk slots after so many positions, the queries the last of them: position p lies in slot p % nk.
    scale, softcap : float, optional
        See `sparsevis.attention`.
    sinks, bias, alibi : bool
        Whether the call has them; ALiBi adds slope * (key's position - query's position), with slopes of 1/2, 1/4, 1/8 ...
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
    >>> Call(1, 4, left=2, right=0, seen=6).positions
    array([4, 5, 2, 3])
    >>> Call(1, 4, left=2, right=0, seen=6).mask.astype(int)
    array([[1, 1, 0, 1]])
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
    pattern: Pattern | PerHead | None = None
    offset: int | str = "bottom-right"
    lengths: tuple[int, ...] | None = None
    key_lengths: tuple[int, ...] | None = None
    valid: tuple[int, ...] | None = None
    seen: int | None = None
    scale: float | None = None
    softcap: float | None = None
    sinks: bool = False
    bias: bool = False
    alibi: bool = False
    values: str = "normal"
    memory: str = "plain"
    seed: int = 0

    def __post_init__(self):
        if self.lengths is not None and (sum(self.lengths), sum(self.documents[1])) != (self.nq, self.nk):
            raise ValueError(f"documents of {self.documents} queries and keys: they do not sum to nq={self.nq}, nk={self.nk}")
        if self.lengths is not None and len(self.lengths) != len(self.documents[1]):
            raise ValueError(f"lengths of {len(self.lengths)} documents and key_lengths of {len(self.key_lengths)}: one of each a document")
        if self.valid is not None and (len(self.valid) != self.batch or not all(0 <= x <= self.nk for x in self.valid)):
            raise ValueError(f"valid={self.valid}: needs {self.batch} numbers of keys, one an entry of the batch, of 0 to {self.nk}")
        if self.seen is not None and self.seen < self.nq:
            raise ValueError(f"seen={self.seen} positions, and the {self.nq} queries are the last of them")
        if sum(x is not None for x in (self.lengths, self.valid, self.seen)) > 1:
            raise ValueError("packed documents, padding and a ring exclude one another: give one of lengths, valid and seen")

    @property
    def documents(self):
        """(lengths, key_lengths) of packed documents."""
        return self.lengths, self.lengths if self.key_lengths is None else self.key_lengths

    @property
    def positions(self):
        """The position of the key in each slot of the ring, -1 in a free one."""
        slots = np.arange(self.nk)
        return np.where(slots < self.seen, slots + self.nk * ((self.seen - 1 - slots) // max(1, self.nk)), -1)

    @property
    def at(self):
        """Position of query 0."""
        if self.seen is not None:
            return self.seen - self.nq
        return 0 if self.lengths is not None else resolve_offset(self.nq, self.nk, self.offset)

    @property
    def rule(self):
        """The pattern of the window, by the positions of queries and keys."""
        if self.pattern is not None:
            return self.pattern
        if self.left is None and self.right in (0, None):
            return Causal() if self.right == 0 else Dense()
        window = SlidingWindow(self.left, self.right)
        some = range(min(self.global_keys, self.nk if self.seen is None else self.seen))
        if not some:
            return window
        both = window | Global(tuple(some), rows=False)
        return Causal() & both if self.right == 0 else both

    @property
    def mask(self):
        """The pairs: (nq, nk), or (heads, nq, nk), or (batch, 1, nq, nk) where keys are padded."""
        if self.lengths is not None:
            return self._packed()
        if self.seen is not None:
            slots = self.positions
            return self.rule.mask(self.nq, max(self.seen, 1), self.at)[..., slots] & (slots >= 0)
        mask = self.rule.mask(self.nq, self.nk, self.at)
        return mask if self.valid is None else mask & (np.arange(self.nk) < np.reshape(self.valid, (-1, 1, 1, 1)))

    def _packed(self):
        mask = np.zeros((self.nq, self.nk), bool)
        i = j = 0
        for nq, nk in zip(*self.documents, strict=True):
            one = replace(self, nq=nq, nk=nk, lengths=None, key_lengths=None)
            mask[i : i + nq, j : j + nk] = one.rule.mask(nq, nk, resolve_offset(nq, nk, self.offset)) if nq and nk else False
            i, j = i + nq, j + nk
        return mask

    @property
    def distance(self):
        """Position of each key less that of each query, (nq, nk), where they lie in one document."""
        if self.lengths is not None:
            queries, keys = self.documents
            shifts = np.repeat([resolve_offset(nq, nk, self.offset) for nq, nk in zip(queries, keys, strict=True)], queries)
            at = np.concatenate([np.arange(n) for n in queries]) + shifts
            return np.concatenate([np.arange(n) for n in keys]) - at[:, None]
        keys = np.arange(self.nk) if self.seen is None else self.positions
        return keys - (np.arange(self.nq) + self.at)[:, None]

    @property
    def placed(self):
        """(pattern, offset) that say the pairs of queries and keys as they lie; (None, 0) where the entries of the batch differ."""
        if self.valid is not None:
            return None, 0
        return (self.rule, self.at) if self.lengths is self.seen is None else (Chosen.from_mask(self.mask), 0)

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
    slopes: np.ndarray | None = None
    alibi: np.ndarray | None = None  # what the slopes add to the scores

    @classmethod
    def of(cls, call, dtype):
        """Make the arrays of a call."""
        rng, c = np.random.default_rng(call.seed), call
        heads, dtype, mask = c.kv_heads * c.group, np.dtype(dtype), call.mask
        q, do = (rng.standard_normal((c.batch, heads, c.nq, d)) for d in (c.d, c.dv))
        k, v = (rng.standard_normal((c.batch, c.kv_heads, c.nk, d)) for d in (c.d, c.dv))
        unseen = ~np.broadcast_to(mask, (c.batch, heads, c.nq, c.nk)).reshape(c.batch, c.kv_heads, c.group, c.nq, c.nk).any((2, 3))
        q, k, v = VALUES[c.values](q, k, v, unseen, dtype)
        dlse, bias = rng.standard_normal((c.batch, heads, c.nq)), rng.standard_normal((heads, c.nq, c.nk))
        sinks = np.resize([-1.0, 0.5, 3.0, -8.0, 8.0], heads)
        q, k, v, do, bias, sinks = (x.astype(dtype) for x in (q, k, v, do, bias, sinks))
        dlse = dlse.astype(np.float64 if dtype == np.float64 else np.float32)
        features = {"sinks": sinks if c.sinks else None, "bias": bias if c.bias else None}
        if c.alibi:
            slopes = 0.5 ** np.arange(1, heads + 1, dtype=np.float32)  # whose products are exact in every dtype
            features |= {"slopes": slopes, "alibi": slopes[:, None, None].astype(float) * c.distance}
        return cls(q, k, v, do, dlse, mask, c.scale, c.softcap, **features)

    @property
    def finite(self):
        """Whether no input is NaN or infinite."""
        return all(np.isfinite(x.astype(float)).all() for x in (self.q, self.k, self.v))

    def options(self):
        """The keywords of the reference."""
        bias = self.bias if self.alibi is None else self.alibi + (0.0 if self.bias is None else self.bias.astype(float))
        return {"mask": self.mask, "scale": self.scale, "softcap": self.softcap, "sinks": self.sinks, "bias": bias}
