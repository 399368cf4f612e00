"""Counting the tiles of a rule with random keys: each drawn pair is asked about, and all else is counted without them.

A pair that was not drawn is decided by the rest of the rule. So the tally is that of the rule without its draws, corrected in the tiles
that hold a drawn pair. Of 8 keys a row at n = 2^20, which lie in almost as many tiles of 64 x 64, that takes 3 s after the draw's 17;
deciding all pairs of those tiles takes 2 minutes.
"""

from collections import Counter

import numpy as np

from sparsevis.pattern import And, Not, Or
from sparsevis.patterns import Dense, RandomKeys
from sparsevis.patterns.random import table_of
from sparsevis.sift import MEMORY_LIMIT, check_memory, judge
from sparsevis.tally import Tally, held_in, inside_of, kinds_of, of_pairs, pairs_in, tally

__all__ = ["pairs_of", "tally_pattern"]


def tally_pattern(pattern, shape, block, offset=0, memory_limit=MEMORY_LIMIT):
    """Return the tally of a pattern; see `tally`.

    >>> tally_pattern(RandomKeys(2), (1000, 1000), (8, 8)).nnz
    2000
    """
    draws = list(dict.fromkeys(_draws(pattern)))
    if not draws or 0 in shape or offset < 0:
        return tally(pattern.allows, shape, block, offset, memory_limit)
    pairs = shape[0] * sum(p.keys_per_query for p in draws)
    check_memory(200 * pairs, memory_limit, f"counting {pairs:,} random pairs")
    i, j = _drawn(draws, shape, offset)
    rest = _without(pattern)
    more = np.array(np.broadcast_to(pattern.allows(i + offset, j, shape[1]), i.shape))
    less = np.broadcast_to(rest.allows(i + offset, j, shape[1]), i.shape)
    return _corrected(rest, i[more != less], j[more != less], more[more != less], shape, block, offset, memory_limit)


def pairs_of(pattern, r, c, side, shape, offset=0, memory_limit=MEMORY_LIMIT):
    """Return the pairs of a pattern in the squares (r, c) of `side`, a power of two, as int64; see `pairs_in`.

    >>> pairs_of(RandomKeys(2), np.array([0, 0]), np.array([0, 1]), 64, (64, 128))
    array([67, 61])
    """
    draws = list(dict.fromkeys(_draws(pattern)))
    if not draws or not r.size:
        return pairs_in(pattern.allows, r, c, side, shape, offset, memory_limit)
    i, j = _drawn(draws, shape, offset)
    near = (i >= r.min() * side) & (i < (r.max() + 1) * side) & (j >= c.min() * side) & (j < (c.max() + 1) * side)
    i, j, rest, columns = i[near], j[near], _without(pattern), -(-shape[1] // side)
    change = np.broadcast_to(pattern.allows(i + offset, j, shape[1]), i.shape).astype(np.int64)
    change = change - np.broadcast_to(rest.allows(i + offset, j, shape[1]), i.shape)
    out, asked = pairs_in(rest.allows, r, c, side, shape, offset, memory_limit), r * columns + c
    order = np.argsort(asked)
    place = np.searchsorted(asked, i // side * columns + j // side, sorter=order)
    found = order[np.minimum(place, r.size - 1)]
    hit = asked[found] == i // side * columns + j // side
    np.add.at(out, found[hit], change[hit])
    return out


def _corrected(rest, i, j, more, shape, block, offset, memory_limit):
    """The tally of `rest` with these pairs turned over: allowed now where `more`, else no longer."""
    columns, area = -(-shape[1] // block[1]), block[0] * block[1]
    order = np.argsort(i // block[0] * columns + j // block[1], kind="stable")
    i, j, more = i[order], j[order], more[order]
    tiles, first = np.unique(i // block[0] * columns + j // block[1], return_index=True)
    if not tiles.size:
        return tally(rest.allows, shape, block, offset, memory_limit)
    r, c = np.divmod(tiles, columns)
    before, old = _held(rest, r, c, shape, block, offset)
    after = before + np.add.reduceat(np.where(more, 1, -1), first)
    new = old ^ np.bitwise_xor.reduceat(of_pairs(block)[i % block[0], j % block[1]], first)
    high, wide = inside_of(r, c, shape, block)
    gain = lambda of, x=1: int((x * of(after)).sum()) - int((x * of(before)).sum())  # noqa: E731
    listed, sure = (lambda held: held > 0), (lambda held: held == area)
    base = tally(rest.allows, shape, block, offset, memory_limit)
    kinds = Counter(base.kinds)
    kinds.subtract(old[(before > 0) & (before < area)].tolist())
    kinds.update(new[(after > 0) & (after < area)].tolist())
    return Tally(
        base.nnz + int((after - before).sum()), base.full + gain(sure), base.partial + gain(listed) - gain(sure),
        base.touched + gain(listed, high * wide), base.keys + gain(listed, wide), {kind: met for kind, met in kinds.items() if met},
    )  # fmt: skip


def _held(rule, r, c, shape, block, offset):
    """The pairs and the fingerprint of some tiles, those that read alike decided once."""
    held, prints = np.zeros(r.size, np.int64), np.zeros(r.size, np.uint64)
    sure, open_, marks = judge(rule.allows, r, c, shape, block, offset, marked=True)
    held[sure], prints[sure] = block[0] * block[1], np.bitwise_xor.reduce(of_pairs(block).ravel())
    r, c = r[open_], c[open_]
    if r.size:
        first, which = kinds_of(r, c, marks, shape, block)
        held[open_], prints[open_] = (x[which] for x in held_in(rule.allows, r[first], c[first], shape, block, offset))
    return held, prints


def _draws(pattern):
    """The random keys in a composition."""
    if isinstance(pattern, RandomKeys):
        yield pattern
    for part in _parts(pattern):
        yield from _draws(part)


def _without(pattern):
    """The composition as it decides the pairs that were not drawn."""
    if isinstance(pattern, RandomKeys):
        return ~Dense()
    parts = _parts(pattern)
    return type(pattern)(*map(_without, parts)) if parts else pattern


def _parts(pattern):
    return (pattern.a, pattern.b) if isinstance(pattern, And | Or) else (pattern.a,) if isinstance(pattern, Not) else ()


def _drawn(draws, shape, offset):
    """Rows and keys of all drawn pairs, each once."""
    codes = []
    for p in draws:
        table = table_of(p, p.keys_per_query, offset + shape[0], shape[1], "keys").codes
        codes.append(table[slice(*np.searchsorted(table, [offset * shape[1], (offset + shape[0]) * shape[1]]))])
    i, j = np.divmod(codes[0] if len(codes) == 1 else np.unique(np.concatenate(codes)), shape[1])
    return i - offset, j
