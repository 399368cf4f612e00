"""Keys and values kept while a text grows: each new position attends them as its row of the whole mask says, and what is done with goes.

    SlidingWindow(2)  position 0   0 · ·        Causal() & (Sink(1) | SlidingWindow(1))   0 · ·
                               1   0 1 ·                                                  0 1 ·
                               2   0 1 2                                                  0 1 2
                               3   3 1 2    slot p mod 3                                  0 3 2    the sink stays
                               4   3 4 2                                                  0 3 4

What may be forgotten is read off the rule: asked about all coming queries at once, as an interval, it says which keys one of them may
still attend. A key that none may attend gives its slot to the next. So a window keeps a ring, sinks stay beside it, `Fixed` keeps its
summaries, `Causal` keeps all; and a composition keeps what it needs without anybody having thought of it.
"""

import re
from dataclasses import dataclass, replace

import numpy as np

from sparsevis.attention import attention
from sparsevis.inputs import check_inputs
from sparsevis.layout import Layout
from sparsevis.pattern import Pattern
from sparsevis.per_head import PerHead
from sparsevis.readings import Interval, at
from sparsevis.sift import MEMORY_LIMIT, check_memory

__all__ = ["KVCache"]

ENDLESS = 1 << 40  # positions of a sequence whose end nobody knows
LOOK = 1 << 16  # keys searched, one by one, for a pair that is not causal


class KVCache:
    """The keys and values that queries to come may attend.

    Parameters
    ----------
    pattern : Pattern or PerHead
        Who may attend whom; causal. With a `PerHead`, a key stays while any head may need it.
    kv_heads, head_dim : int
        Key/value heads, and their dimension.
    value_dim : int, optional
        Dimension of the values; `head_dim` where it is left out.
    batch : int, optional
        Sequences that grow together; None for arrays without a batch axis.
    dtype : dtype
        Of keys, values and queries.
    capacity : int, optional
        Positions of the whole sequence; more are refused. Patterns whose rule hangs on the length need it: random keys, tokens counted
        from the end, tables of blocks.

    Attributes
    ----------
    length : int
        Positions seen; also `len(cache)`.

    Raises
    ------
    ValueError
        If a query may attend a key that comes after it, or if the pattern needs a capacity.

    Examples
    --------
    >>> import sparsevis as sv
    >>> q, k, v = np.random.default_rng(0).standard_normal((3, 2, 100, 8))
    >>> cache = sv.KVCache(sv.mistral(4), kv_heads=2, head_dim=8, dtype=np.float64)
    >>> prompt = cache.attend(q[:, :97], k[:, :97], v[:, :97])
    >>> steps = [cache.attend(q[:, [i]], k[:, [i]], v[:, [i]]) for i in range(97, 100)]
    >>> np.allclose(np.concatenate([prompt, *steps], axis=1), sv.attention(q, k, v, sv.mistral(4)))
    True
    >>> cache
    KVCache(SlidingWindow(left=3): 100 positions seen, 4 held in 4 slots; 2 heads of 8 + 8, float64, 1,024 bytes)
    """

    def __init__(self, pattern, kv_heads, head_dim, value_dim=None, *, batch=None, dtype=np.float32, capacity=None):
        if not isinstance(pattern, Pattern | PerHead):
            raise TypeError(f"KVCache: pattern is a {type(pattern).__name__}, and needs to be a Pattern or a PerHead, such as Causal()")
        if np.dtype(dtype).kind != "f" and np.dtype(dtype).name != "bfloat16":
            raise TypeError(f"KVCache: dtype is {np.dtype(dtype)}, and needs to be float16, bfloat16, float32 or float64")
        value_dim = head_dim if value_dim is None else value_dim
        sizes = {"kv_heads": kv_heads, "head_dim": head_dim, "value_dim": value_dim, "batch": batch, "capacity": capacity}
        for name, x in sizes.items():
            if (x is not None or name in ("kv_heads", "head_dim")) and (not hasattr(x, "__index__") or isinstance(x, bool) or x < 1):
                raise ValueError(f"KVCache: {name} is {x!r}, and needs a whole number >= 1")
        if isinstance(pattern, PerHead) and len(pattern) % kv_heads:
            raise ValueError(f"KVCache: a pattern for {len(pattern)} heads over {kv_heads} key/value heads: needs a multiple of them")
        self.pattern, self.length = pattern, 0
        self._rules = list(dict.fromkeys(pattern.patterns)) if isinstance(pattern, PerHead) else [pattern]
        self._n = _positions_in_all(self._rules, capacity)
        self._slots = np.zeros(0, np.int64)  # the position in each slot, -1 in a free one
        heads = (kv_heads,) if batch is None else (batch, kv_heads)
        self._k, self._v = (np.zeros((*heads, 0, d), dtype) for d in (head_dim, value_dim))
        check_causal(self._rules, np.arange(min(self._n, 1024)), self._n)

    def attend(self, q, k, v, *, scale=None, impl="cpu", softcap=None, slopes=None, sinks=None, return_lse=False):
        """Take the next positions in, and compute their attention over what the pattern allows them of all positions so far.

        Any cut of a sequence into calls gives the rows of one `attention` call over the whole of it, to rounding.

        Parameters
        ----------
        q, k, v : array_like
            Queries, keys and values of one or more new positions: (heads, new, d), (kv heads, new, d) and (kv heads, new, dv), with a
            batch axis in front if the cache has one.
        scale, impl, softcap, slopes, sinks, return_lse
            As for `attention`; slopes follow the positions, wherever the slots are. For single positions impl="cpu_plain" is the
            faster: "cpu" has a vector register for 8 or 16 queries and fills one place of it (8 ms against 40 for 32 heads of 128 over
            4,096 keys).

        Returns
        -------
        o : ndarray
            (heads, new, dv), with the batch axis; and the lse, if `return_lse`. If the call raises, no position was taken in.
        """
        q, k, v = self._check(q, k, v)
        new = np.arange(self.length, self.length + k.shape[-2])
        check_causal(self._rules, new, self._n)
        options = {"scale": scale, "impl": impl, "softcap": softcap, "sinks": sinks, "return_lse": return_lse}
        if new.size == 1:  # in place, in the order of the slots: to copy 4,096 keys of 8 x 128 takes 2 to 7 ms, to attend them 8
            self._store(k, v, new)
            options |= self._alibi(slopes, new, np.where(self._slots >= 0, self._slots, 0))
            out = attention(q, self._k, self._v, self._row(new[0]), **options)
        else:  # the first query may need W - 1 old keys that the last leaves no slot for: all side by side, in order
            held = self._in_order(self._live(new[0]))
            keys, values = (np.concatenate([old[..., held, :], x], axis=-2) for old, x in ((self._k, k), (self._v, v)))
            positions = np.append(self._slots[held], new)
            if slopes is not None and positions[-1] - positions[0] < positions.size:  # no gap: the kernel can count
                layout = Layout.of(self._over(positions), (new.size, positions.size), 64, self.length)
                out = attention(q, keys, values, layout, offset=held.size, slopes=slopes, **options)
            else:
                options |= self._alibi(slopes, new, positions)
                out = attention(q, keys, values, self._over(positions), offset=self.length, **options)
            self._store(k, v, new)
        self.length += new.size
        return out

    @property
    def slots(self):
        """The position whose key each slot holds, -1 for a free slot: the keys that the last query or a later one may attend."""
        return np.where(self._slots < self.length, self._slots, -1)

    @property
    def nbytes(self):
        """Bytes of the stored keys and values, free slots among them."""
        return self._k.nbytes + self._v.nbytes

    def __len__(self):
        return self.length

    def __bool__(self):
        return True  # an empty cache is a cache

    def __repr__(self):
        (*batch, heads, slots, d), dv = self._k.shape, self._v.shape[-1]
        held, of = int((self.slots >= 0).sum()), f"{batch[0]} x {heads}" if batch else heads
        return (
            f"KVCache({self.pattern!r}: {self.length:,} positions seen, {held:,} held in {slots:,} slots; "
            f"{of} heads of {d} + {dv}, {self._k.dtype}, {self.nbytes:,} bytes)"
        )

    # ---------------------------------------------------------------- what is kept

    def _store(self, k, v, new):
        """Forget the keys that no query from the last new one on may attend; put the new ones that some may into free slots."""
        now = int(new[-1])
        self._slots[~self._live(now)] = -1
        fresh = np.flatnonzero(self.wanted(new, now))
        if (self._slots < 0).sum() < fresh.size:
            self._move(self._slots_to_come(new[fresh], now))
        free = np.flatnonzero(self._slots < 0)[: fresh.size]
        self._k[..., free, :], self._v[..., free, :], self._slots[free] = k[..., fresh, :], v[..., fresh, :], new[fresh]

    def _live(self, now):
        """Slots whose key a query at position `now` or later may attend; the key of a call that failed is not among them."""
        live = (self._slots >= 0) & (self._slots < self.length)
        live[live] = self.wanted(self._slots[live], now)
        return live

    def _in_order(self, chosen):
        """The chosen slots, by rising position."""
        order = np.argsort(self._slots)
        return order[chosen[order]]

    def wanted(self, keys, since):
        """Tell for each key whether a query at position `since` or later may attend it; "perhaps" is yes."""
        if not keys.size:
            return np.zeros(0, bool)
        coming = Interval(np.broadcast_to(since, keys.shape), np.broadcast_to(self._n - 1, keys.shape))
        return np.any([rule.allows(coming, Interval(keys, keys), self._n).some for rule in self._rules], axis=0)

    def _slots_to_come(self, fresh, now):
        """Return the most slots that will be needed at once while the cache would grow by half: W for a window of W, not the next size.

        Each key's last day is found by bisection, one reading of the rule a guess.
        """
        held = np.append(self._slots[self._slots >= 0], fresh)
        ahead = np.arange(now + 1, min(now + 1 + held.size // 2 + 8, self._n))
        keys = np.append(held, ahead)
        first, last = np.maximum(keys, now), np.full(keys.size, now + 1 + ahead.size)
        while (open_ := first < last).any():
            middle = (first + last) // 2
            wanted = open_ & self.wanted(keys, middle)
            first, last = np.where(wanted, middle + 1, first), np.where(wanted, last, middle)
        gone = np.searchsorted(np.sort(last), ahead, side="right")
        return int(np.max(held.size + 1 + np.arange(ahead.size) - gone, initial=held.size))

    def _move(self, size):
        """Move what is held, in order, into storage of so many slots."""
        held = self._in_order(self._slots >= 0)
        self._slots = np.append(self._slots[held], np.full(size - held.size, -1))
        for name in ("_k", "_v"):
            old = getattr(self, name)
            larger = np.zeros((*old.shape[:-2], size, old.shape[-1]), old.dtype)
            larger[..., : held.size, :] = old[..., held, :]
            setattr(self, name, larger)

    # ---------------------------------------------------------------- who attends what

    def _row(self, i):
        """The layout of query i over the slots: a row for each distinct rule, which then is the plane of the heads that have it."""
        held = self._slots >= 0
        position = np.where(held, self._slots, 0)
        rows = np.array([rule.allows(int(i), position, self._n) & held for rule in self._rules])
        heads = tuple(map(self._rules.index, self.pattern.patterns)) if isinstance(self.pattern, PerHead) else None
        return replace(Layout.from_mask(rows, (1, 64)), shape=(1, held.size), heads=heads)

    def _over(self, positions):
        """The pattern over keys at these positions, which rise."""
        table = Rising(positions)
        if isinstance(self.pattern, PerHead):
            return PerHead(*(Held(rule, table, self._n) for rule in self.pattern.patterns))
        return Held(self.pattern, table, self._n)

    def _alibi(self, slopes, queries, positions):
        """ALiBi for keys at these positions, as a bias: kernels count keys, and know of no gaps."""
        if slopes is None:
            return {}
        slopes, pairs = np.asarray(slopes, np.float64), queries.size * positions.size
        check_memory(8 * slopes.size * pairs, MEMORY_LIMIT, f"slopes over {pairs:,} pairs of positions with gaps")
        return {"bias": slopes.reshape(-1, 1, 1) * (positions - queries[:, None])}

    def _check(self, q, k, v):
        q, k, v = check_inputs(q, k, v)
        for name, x, store in (("k", k, self._k), ("v", v, self._v)):
            if x.shape[:-2] + x.shape[-1:] != store.shape[:-2] + store.shape[-1:]:
                needed = ", ".join(map(str, [*store.shape[:-2], "new positions", store.shape[-1]]))
                raise ValueError(f"{name} is {x.shape}, but the cache is for ({needed})")
        if k.dtype != self._k.dtype:
            raise TypeError(f"q, k, v are {k.dtype}, but the cache holds {self._k.dtype}: convert them, or give the cache another dtype")
        if q.shape[-2] != k.shape[-2] or not k.shape[-2]:
            raise ValueError(f"{q.shape[-2]} queries with {k.shape[-2]} keys: one or more new positions are needed, each with both")
        if self.length + k.shape[-2] > self._n:
            more = f"{k.shape[-2]} more positions after {self.length} pass the {self._n} that the cache is for"
            raise ValueError(f"{more}: give it a larger capacity, or a pattern for a longer sequence")
        if isinstance(self.pattern, PerHead) and q.shape[-3] != len(self.pattern):
            raise ValueError(f"the pattern is for {len(self.pattern)} heads, but q has {q.shape[-3]}; see PerHead.cycled({q.shape[-3]})")
        return q, k, v


class Rising:
    """The positions of keys, in order, as a table that a rule can look up (see `sparsevis.tables`)."""

    name = "position"

    def __init__(self, positions):
        self.positions = positions

    def read(self, x):
        """`at` for arrays and intervals. Tiles without a gap differ by their first position alone; one with a gap is like no other."""
        if not isinstance(x, Interval):
            return self.positions[x]
        lo, hi = self.positions[x.lo], self.positions[x.hi]
        if x.base is None:
            return Interval(lo, hi)
        return Interval(lo, hi, lo, (np.where(hi - lo > x.hi - x.lo, x.base + 1, 0), *x.rest))


@dataclass(frozen=True, repr=False)
class Held(Pattern):
    """A rule over some of n positions: the key that a kernel finds at x stands at `positions[x]`."""

    rule: Pattern
    positions: Rising
    n: int

    def allows(self, q, k, n):
        """The rule, of where the key stands."""
        return self.rule.allows(q, at(self.positions, k), self.n)


def check_causal(rules, queries, n):
    """Raise if a rule lets one of these queries attend a key that comes after it, and name the first such pair."""
    queries = queries[queries < n - 1]
    for rule in rules if queries.size else ():
        after = Interval(queries + 1, np.full(queries.size, n - 1))
        for i in queries[rule.allows(Interval(queries, queries), after, n).some].tolist():  # perhaps: look one by one
            keys = np.arange(i + 1, min(n, i + 1 + LOOK))
            found = keys[np.broadcast_to(rule.allows(i, keys, n), keys.shape)]
            if found.size or keys[-1] < n - 1:
                what = f"query {i} may attend key {found[0]}, which comes after it" if found.size else f"perhaps not at query {i}"
                raise ValueError(f"{rule!r} is not causal, and a cache cannot know the future: {what}; combine it: ... & Causal()")


def _positions_in_all(rules, capacity):
    """The n that the rules are asked with: the capacity, the length of a rule's table, or ENDLESS where no rule looks at n."""
    bound = [rule for rule in rules if re.search(r"\bn\b|\[", rule.formula())]  # it names n, or has a table that is made for one n
    known = [rule.length for rule in bound if rule.length is not None]
    if bound and not known and capacity is None:
        raise ValueError(f"{bound[0]!r} depends on the length of the sequence: give capacity=, the number of all its positions")
    n = capacity if capacity is not None else known[0] if known else ENDLESS
    for rule in rules:
        least, most, queries = rule.fits
        if not least <= n <= min(x for x in (most, queries, n) if x is not None):
            rows = "" if queries is None else f" and {queries} queries"
            raise ValueError(f"{rule!r} is for {rule.fits}{rows}, but the sequence has {n} positions")
    return n
