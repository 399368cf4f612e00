"""Which pairs a call of the conformance kit allows, told by what happens: one loop, documents cut out, keys written into a ring.

No pattern is called where the call names a window: `near` is the definition. Other patterns are asked for one pair at a time.
"""

import numpy as np

__all__ = ["alibi", "pairs"]


def pairs(call):
    """The allowed pairs of a Call, (batch, heads, nq, nk), entry by entry."""
    heads = call.kv_heads * call.group
    found = np.zeros((call.batch, heads, call.nq, call.nk), bool)
    for b, h, i, j in np.ndindex(found.shape):
        query, key, n = place(call, i, j)
        padded = call.valid is not None and j >= call.valid[b]
        found[b, h, i, j] = key is not None and not padded and near(call, h, query, key, n)
    return found


def alibi(call):
    """What ALiBi adds, (heads, nq, nk), entry by entry: 1/2, 1/4, ... for each position that a key lies behind its query, less."""
    found = np.zeros((call.kv_heads * call.group, call.nq, call.nk))
    for h, i, j in np.ndindex(found.shape):
        query, key, _ = place(call, i, j)
        found[h, i, j] = 0.0 if key is None else (key - query) / 2 ** (h + 1)
    return found


def place(call, i, j):
    """(query's position, key's position, number of keys) of row i and slot j; a key of None is not there for this query."""
    if call.lengths is not None:
        return in_documents(call, i, j)
    if call.seen is not None:
        return call.seen - call.nq + i, in_ring(call.nk, call.seen)[j], max(call.seen, 1)
    return i + shift(call, call.nq, call.nk), j, call.nk


def in_documents(call, i, j):
    """Rows and keys counted off, document by document."""
    rows, keys = call.lengths, call.key_lengths or call.lengths
    d = e = 0
    while i >= rows[d]:
        i, d = i - rows[d], d + 1
    while j >= keys[e]:
        j, e = j - keys[e], e + 1
    return i + shift(call, rows[d], keys[d]), j if d == e else None, keys[d]


def in_ring(slots, seen):
    """What each slot holds after `seen` keys were written one after the other; None in a free one."""
    ring = [None] * slots
    for position in range(seen):
        ring[position % slots] = position
    return ring


def shift(call, nq, nk):
    return {"top-left": 0, "bottom-right": nk - nq}.get(call.offset, call.offset)


def near(call, h, query, key, n):
    if call.pattern is not None:
        pattern = getattr(call.pattern, "patterns", [call.pattern] * (h + 1))[h]
        return bool(pattern.allows(query, key, n))
    left = call.left is None or query - key <= call.left
    right = call.right is None or key - query <= call.right
    is_global = key < call.global_keys and (call.right != 0 or key <= query)
    return (left and right) or is_global
