"""A call as keyword arguments: the first way a function understands, numbers before a pattern, a pattern before a layout or a mask."""

from dataclasses import replace

import numpy as np

from sparsevis.golden.arrays import NotSaid
from sparsevis.layout import Layout

__all__ = ["KNOWN", "PACKED", "said_of"]

PAIRS = ("causal", "window", "global_keys", "pattern", "layout", "mask")
NUMBERS = ("scale", "softcap", "sinks", "bias")
PACKED = ("lengths", "key_lengths", "cu_seqlens_q", "cu_seqlens_k", "max_seqlen_q", "max_seqlen_k")
PLACES = (*PACKED, "kv_lengths", "positions")
KNOWN = (*PAIRS, *NUMBERS, "slopes", "offset", *PLACES, "out", "lse_out", "o", "lse", "dlse")


def said_of(dialect, call, problem, parameters):
    """Return {word of the kit: value}, or raise NotSaid."""
    said = _pairs(dialect, call, problem, parameters)
    for name in NUMBERS:
        value = getattr(problem, name)
        if name in parameters and (value is not None or parameters[name]):
            default = problem.q.shape[-1] ** -0.5 if name == "scale" else None
            said[name] = default if value is None else value
        elif value is not None:
            raise NotSaid(name)
    return said | _alibi(dialect, call, problem, parameters)


def _alibi(dialect, call, problem, parameters):
    """ALiBi as slopes, where the function knows the positions of queries and keys; else as the bias that it is."""
    if problem.slopes is None:
        return {}
    default = call.nk - call.nq if dialect.align == "bottom-right" else 0
    plain = call.lengths is call.seen is None and ("offset" in parameters or call.at == default)
    if "slopes" in parameters and plain:
        return {"slopes": problem.slopes.copy()}
    if "bias" in parameters:
        return {"bias": problem.options()["bias"].astype(problem.q.dtype)}
    raise NotSaid("ALiBi slopes")


def _pairs(dialect, call, problem, parameters):
    nq, nk = call.nq, call.nk
    places, unsaid = _places(call, parameters)
    default = nk - nq if dialect.align == "bottom-right" else 0
    if call.pattern is None and not unsaid:
        at = {"offset": call.at} if "offset" in parameters else {}
        if _aligned(dialect, call, parameters, default) and (said := _numbers(dialect, call, parameters)) is not None:
            return said | at | places
        if (call.left, call.right) == (None, None) and not any(parameters.get(x) for x in PAIRS):
            return at | places
    pattern, offset = call.placed
    at = {"offset": offset} if "offset" in parameters else {}
    places, _ = _places(replace(call, lengths=None, key_lengths=None, valid=None, seen=None), parameters)
    if pattern is not None and "pattern" in parameters and ("offset" in parameters or offset == default):
        return {"pattern": pattern} | at | places
    if pattern is not None and "layout" in parameters:
        return {"layout": Layout.of(pattern, (nq, nk), dialect.block, offset)} | places
    if "mask" in parameters and problem.mask.ndim <= dialect.mask_axes:
        forms = {"allowed": problem.mask, "forbidden": ~problem.mask, "additive": np.where(problem.mask, 0, -np.inf)}
        mask = forms[dialect.mask].copy()
        return {"mask": mask.astype(problem.q.dtype) if dialect.mask == "additive" else mask} | at | places
    if unsaid:
        raise NotSaid(unsaid)
    if problem.mask.ndim == 3:
        raise NotSaid("a pattern for each head")
    if call.pattern is None and not _aligned(dialect, call, parameters, default):
        raise NotSaid("this alignment")
    raise NotSaid("patterns" if call.pattern is not None else "global keys" if call.global_keys else "windows")


def _aligned(dialect, call, parameters, default):
    """Whether the queries stand where the function puts them, or it can be told."""
    if call.left is None and call.right is None:
        return True
    if call.lengths is not None:
        queries, keys = call.documents
        return queries == keys or dialect.align == call.offset
    if call.valid is not None:  # bottom-right of the valid keys or of all of them: two conventions
        return "offset" in parameters or (dialect.align == "top-left" and call.at == 0)
    return "offset" in parameters or call.at == default


def _places(call, parameters):
    """(keywords that say where keys lie, what cannot be said of it); a function that has to be given them gets the plain case."""
    queries, keys = (call.nq,), (call.nk,)
    if call.lengths is not None:
        queries, keys = call.documents
    every = {
        "lengths": queries, "key_lengths": keys, "cu_seqlens_q": _ends(queries), "cu_seqlens_k": _ends(keys),
        "max_seqlen_q": max(queries, default=0), "max_seqlen_k": max(keys, default=0),
        "kv_lengths": np.array(call.valid or (call.nk,) * call.batch, np.int32),
        "positions": np.arange(call.nk) if call.seen is None else call.positions,
    }  # fmt: skip
    wanted = {"kv_lengths": call.valid is not None, "positions": call.seen is not None}
    wanted |= dict.fromkeys(PACKED, call.lengths is not None)
    said = {x: every[x] for x in PLACES if x in parameters and (wanted[x] or parameters[x])}
    if call.lengths is not None and not {"lengths", "cu_seqlens_q"} & set(said):
        return said, "packed documents"
    if call.lengths is not None and queries != keys and not {"key_lengths", "cu_seqlens_k"} & set(said):
        return said, "documents of more or fewer queries than keys"
    if call.valid is not None and "kv_lengths" not in said:
        return said, "padding"
    if call.seen is not None and not ("positions" in said and "offset" in parameters):
        return said, "a ring of keys"
    return said, ""


def _ends(lengths):
    return np.append(0, np.cumsum(lengths)).astype(np.int32)


def _numbers(dialect, call, parameters):
    """`causal`, `window` and `global_keys`, or None where they cannot say it."""
    said, causal = {}, call.right == 0
    if "causal" in parameters:
        said["causal"] = causal
    if "window" in parameters:
        if dialect.window == "count":
            if not causal:
                return None
            said["window"] = None if call.left is None else call.left + 1
        elif dialect.window == "left":
            if not ("causal" in parameters and call.right in (0, None)):
                return None
            said["window"] = -1 if call.left is None else call.left
        else:
            none = -1 if dialect.window == "flash" else None
            said["window"] = tuple(none if x is None else x for x in (call.left, call.right))
    elif call.left is not None or not ("causal" in parameters and call.right in (0, None)):
        return None
    if call.global_keys:
        if "global_keys" not in parameters:
            return None
        said["global_keys"] = call.global_keys
    return said
