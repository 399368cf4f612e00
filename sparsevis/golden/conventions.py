"""The same call read in other ways: every common mistake of convention, as the problem it would have solved correctly.

A mistake is a function that yields (words, problem). Whatever changes the scores only (a softcap in the wrong place, a key counted twice)
is said as a bias.
"""

from dataclasses import replace

import numpy as np

__all__ = ["conventions"]


def conventions(call, problem):
    """Yield (words, problem) for each other reading of the call that changes it."""
    for mistake in (_windows, _tiles, _places, _positions, _scales, _features, _softcaps, _heads):
        yield from mistake(call, problem)


def _windows(call, p):
    """Which keys are near."""
    if call.pattern is not None:
        yield "mask inverted (True forbids)", replace(p, mask=~p.mask)
        turned = np.swapaxes(p.mask, -1, -2)
        if call.nq == call.nk and (p.mask != turned).any():
            yield "mask transposed (keys by queries)", replace(p, mask=turned)
        return
    causal = call.right == 0
    changes = []
    if call.left is not None:
        changes += [("window one key longer on the left", {"left": call.left + 1})]
        if call.left > 0:
            changes += [("window one key shorter on the left", {"left": call.left - 1})]
        if call.left > 1:
            changes += [("window counted over both sides (left // 2)", {"left": call.left // 2})]
        changes += [("window ignored", {"left": None, "right": 0 if causal else None})]
    if call.right:
        changes += [("window one key longer on the right", {"right": call.right + 1})]
        changes += [("window one key shorter on the right", {"right": call.right - 1})]
        changes += [("right side of the window ignored", {"right": None}), ("causal, though the window has a right side", {"right": 0})]
    if causal:
        changes += [("causal ignored", {"right": None}), ("causal lets one key of the future in", {"right": 1})]
    if call.global_keys:
        changes += [("global keys ignored", {"global_keys": 0})]
    for words, change in changes:
        mask = replace(call, **change).mask
        if (mask != p.mask).any():
            yield words, replace(p, mask=mask)
    at, keys = np.arange(call.nq)[:, None] + call.at, np.arange(call.nk)
    if causal and call.lengths is call.seen is None:
        yield "causal without the query itself", replace(p, mask=p.mask & (keys < at))
    if call.global_keys and (call.left, call.right) != (None, None):
        window = replace(call, global_keys=0).mask
        twice = np.where(window & (keys < call.global_keys), np.log(2), 0.0)
        yield "keys that are both global and near counted twice", replace(p, bias=twice + _bias(p))


def _tiles(call, p, size=16):
    """A tile of which a part is allowed."""
    if p.mask.all() or not p.mask.size:
        return
    *heads, nq, nk = p.mask.shape
    rows, columns = -(-nq // size) * size, -(-nk // size) * size
    inside = np.zeros((rows, columns), bool)
    inside[:nq, :nk] = True

    def each(mask, outside, judge):
        whole = np.full((*heads, rows, columns), outside)
        whole[..., :nq, :nk] = mask
        found = judge(whole.reshape(*heads, rows // size, size, columns // size, size), (-3, -1))
        return np.repeat(np.repeat(found, size, -2), size, -1)[..., :nq, :nk]

    for words, mask in (
        (f"tiles of {size} that are allowed in part taken as whole", each(p.mask, False, np.any)),
        (f"tiles of {size} that are allowed in part left out", each(p.mask, True, np.all)),
        (f"tiles of {size} that are allowed in part left out", each(p.mask, False, np.all)),  # those that hang over, too
    ):
        if (mask != p.mask).any():
            yield words, replace(p, mask=mask)


def _places(call, p):
    """Packed documents, padding, rings, and patterns a head."""
    found = {"the last key left out": p.mask & (np.arange(call.nk) < call.nk - 1)}
    if call.lengths is not None:
        plain = replace(call, lengths=None, key_lengths=None)
        found["documents ignored: packed as one sequence"] = replace(plain, offset=call.offset).mask
        found["queries at the start of the keys (top-left) of each document"] = replace(call, offset="top-left").mask
        found["queries at the end of the keys (bottom-right) of each document"] = replace(call, offset="bottom-right").mask
        queries, keys = call.documents
        found["a document sees the one before it"] = p.mask | (_document(queries)[:, None] == _document(keys) + 1)
        found["windows ignored in documents"] = replace(call, left=None, right=None, pattern=None).mask
    if call.valid is not None:
        found["padded keys attended"] = np.broadcast_to(replace(call, valid=None).mask, p.mask.shape)
        found["one padded key attended"] = replace(call, valid=tuple(min(x + 1, call.nk) for x in call.valid)).mask
        found["the last key left out"] = replace(call, valid=tuple(max(x - 1, 0) for x in call.valid)).mask
        found["the valid keys of the first entry taken for the whole batch"] = replace(call, valid=call.valid[:1] * call.batch).mask
    if call.seen is not None:
        slots = np.arange(call.nk)
        found["slots of the ring taken for positions"] = _ring(call, np.where(slots < call.seen, slots, -1))
        found["slots of the ring taken in order, the oldest first"] = _ring(call, slots + max(0, call.seen - call.nk))
        found["free slots attended"] = p.mask | (call.positions < 0)
        found["positions in the ring ignored: all slots attended"] = np.broadcast_to(call.positions >= 0, p.mask.shape)
    if p.mask.ndim == 3:
        heads = np.arange(len(p.mask))
        found["the pattern of head 0 taken for all heads"] = p.mask[0 * heads]
        found["heads take patterns by their key/value head (h // group)"] = p.mask[heads // call.group]
        found["patterns of heads in the reverse order"] = p.mask[::-1]
        found["any head's pattern taken for all heads"] = np.broadcast_to(p.mask.any(0), p.mask.shape)
    for words, mask in found.items():
        if (mask != p.mask).any():
            yield words, replace(p, mask=mask)


def _document(lengths):
    return np.repeat(np.arange(len(lengths)), lengths)


def _ring(call, positions, at=None):
    """The mask if the slots held the keys of these positions, and query 0 stood at `at`."""
    n = max(call.seen, int(positions.max(initial=0)) + 1)
    return call.rule.mask(call.nq, n, call.at if at is None else max(at, 0))[..., positions] & (positions >= 0)


def _positions(call, p):
    """Where the queries stand among the keys."""
    if call.lengths is not None:
        return
    shifts = {
        "queries at the start of the keys (top-left)": 0, "queries at the end of the keys (bottom-right)": call.nk - call.nq,
        "queries one position late": call.at + 1, "queries one position early": call.at - 1,
    }  # fmt: skip
    for words, offset in shifts.items():
        mask = _ring(call, call.positions, offset) if call.seen is not None else replace(call, offset=offset).mask
        if (mask != p.mask).any():
            yield words, replace(p, mask=mask)


def _scales(call, p):
    d, dv = p.q.shape[-1], p.v.shape[-1]
    usual = d**-0.5
    if p.scale is None:
        found = {"scale missing (1 instead of 1/sqrt(d))": 1.0, "scale 1/d": 1 / d, "scale sqrt(d)": d**0.5}
        if dv != d:
            found["scale 1/sqrt(dv)"] = dv**-0.5
    else:
        found = {"scale argument ignored": usual, "scale argument multiplied with 1/sqrt(d)": p.scale * usual}
    now = usual if p.scale is None else p.scale
    found["scale folded with log2(e) once too often"] = now / np.log(2)
    found["scale folded with log2(e) once too seldom"] = now * np.log(2)
    for words, scale in found.items():
        if scale != now:
            yield words, replace(p, scale=scale)


def _features(call, p):
    """Sinks and bias."""
    scale = p.q.shape[-1] ** -0.5 if p.scale is None else p.scale
    if p.sinks is not None:
        sinks = p.sinks.astype(float)
        yield "sink ignored", replace(p, sinks=None)
        yield "sink multiplied by the scale", replace(p, sinks=sinks * scale)
        yield "sink counted twice", replace(p, sinks=sinks + np.log(2))
        yield "sink of the wrong sign", replace(p, sinks=-sinks)
    if p.slopes is not None:
        each, at = p.slopes[:, None, None].astype(float), np.arange(call.nq)[:, None] + call.at
        yield "ALiBi ignored", replace(p, alibi=None)
        yield "ALiBi slopes of the wrong sign", replace(p, alibi=-p.alibi)
        yield "ALiBi multiplied by the scale", replace(p, alibi=p.alibi * scale)
        yield "ALiBi slopes in the reverse order of heads", replace(p, alibi=each[::-1] * call.distance)
        if call.at:
            yield "ALiBi with query 0 at the first key", replace(p, alibi=p.alibi + each * call.at)
        yield "ALiBi by the position of the key alone", replace(p, alibi=p.alibi + each * at)
    if p.bias is not None:
        yield "bias ignored", replace(p, bias=None)
        yield "bias multiplied by the scale", replace(p, bias=p.bias.astype(float) * scale)


def _softcaps(call, p):
    if p.softcap is None:
        return
    yield "softcap ignored", replace(p, softcap=None)
    raw, cap = _raw(p), p.softcap
    capped, bias = cap * np.tanh(raw / cap), _bias(p)
    scale = _scale(p)
    yield "softcap before the scale", replace(p, softcap=None, bias=scale * cap * np.tanh(raw / scale / cap) - raw + bias)
    if not p.mask.all():
        after = np.where(p.mask, capped + bias, -cap)  # softcap * tanh(-inf)
        yield "softcap after the mask: forbidden keys score -softcap", replace(p, mask=np.ones_like(p.mask), bias=after - capped)
    if p.bias is not None:
        yield "softcap after the bias", replace(p, bias=cap * np.tanh((raw + bias) / cap) - capped)


def _heads(call, p):
    """Which key/value head a query head reads."""
    heads, kv = p.q.shape[1], p.k.shape[1]
    if heads != kv > 1:
        tiled = np.arange(heads) % kv
        yield "key/value heads tiled instead of repeated (h % kv_heads)", replace(p, k=p.k[:, tiled], v=p.v[:, tiled])


def _scale(p):
    return (p.q.shape[-1] ** -0.5 if p.scale is None else p.scale) or 1.0


def _bias(p):
    return 0.0 if p.bias is None else p.bias.astype(float)


def _raw(p):
    """Scaled scores, (batch, heads, nq, nk)."""
    k = np.repeat(p.k.astype(float), p.q.shape[1] // p.k.shape[1], axis=1)
    return p.q.astype(float) @ np.swapaxes(k, -1, -2) * (p.q.shape[-1] ** -0.5 if p.scale is None else p.scale)
