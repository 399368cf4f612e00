"""How many keys a cache needs to hold while a text grows: each key from its own position to the last query that may attend it.

    Causal()            all             mistral(W)               W
    Strided(s)          all             streaming_llm(S, W)      S + W
    Chunked(C)          C               Fixed(s, c)              c of every s, and one's own group

The rule of what may be forgotten is the cache's own (see `KVCache`); only the last query is looked for here.
"""

import numpy as np

from sparsevis.pattern import Pattern
from sparsevis.patterns import Causal
from sparsevis.per_head import PerHead

__all__ = ["KEYS_LIMIT", "keys_held"]

KEYS_LIMIT = 1 << 21  # positions; every key is looked at: 0.1 s at 2^20 for a window, 10 s for random keys
STEP = 64


def keys_held(pattern, n):
    """Return how many keys a key/value head holds at most at once while a text of unknown end grows to n positions, or None.

    Of the causal part of the pattern, and at most so many where the rule is a table. None where a table has fewer queries than n, and
    above `KEYS_LIMIT` positions.

    >>> from sparsevis import Chunked, mistral, streaming_llm
    >>> [keys_held(p, 5000) for p in (None, mistral(1024), streaming_llm(4, 1024), Chunked(2048))]
    [5000, 1024, 1028, 2048]
    """
    if pattern is None or n == 0:
        return n
    rules = pattern.patterns if isinstance(pattern, PerHead) else (pattern,)
    if n > KEYS_LIMIT or any(rule.fits.queries is not None and rule.fits.queries < n for rule in rules):
        return None
    cache = _cache(pattern & Causal(), n)
    keys, end = np.arange(n), n - 1
    last = np.where(cache.wanted(keys, keys), keys, keys - 1)  # the last query found so far that may attend the key
    last[cache.wanted(keys, np.full(n, end))] = end
    open_ = np.flatnonzero((last >= keys) & (last < end))
    last[open_] = _last_queries(cache, open_, end)
    held = last >= keys
    born, gone = np.bincount(keys[held], minlength=n), np.bincount(last[held], minlength=n)
    return int((np.cumsum(born) - np.cumsum(gone) + gone).max())


def _last_queries(cache, keys, end):
    """The last query that may attend each of these keys, which the query at its own position may, and the one at `end` may not."""
    some = keys[::STEP]
    life = np.repeat(_bisected(cache, some, end) - some, STEP)[: keys.size]
    last = np.minimum(keys + life, end - 1)  # most keys live as long as their neighbours
    wrong = np.flatnonzero(~cache.wanted(keys, last) | cache.wanted(keys, last + 1))
    last[wrong] = _bisected(cache, keys[wrong], end)
    return last


def _bisected(cache, keys, end):
    low, high = keys, np.full(keys.size, end)  # wanted at low, not at high
    while (high - low > 1).any():
        middle = (low + high) // 2
        wanted = cache.wanted(keys, middle)
        low, high = np.where(wanted, middle, low), np.where(wanted, high, middle)
    return low


def _cache(pattern: Pattern | PerHead, n):
    """A cache without an end where the rule does not look at the length, else one for n positions."""
    from sparsevis.kv_cache import KVCache  # late: what counts or draws costs loads no kernel

    try:
        return KVCache(pattern, 1, 1)
    except ValueError:
        return KVCache(pattern, 1, 1, capacity=n)
