"""What was given to a public call: checked before any work, and seen as the reference and the kernels want it."""

from functools import lru_cache
from inspect import signature

import numpy as np

from sparsevis.arrays import DeviceArray, on_host, seen, traits
from sparsevis.layout import Layout, block_of
from sparsevis.pattern import Pattern, resolve_offset
from sparsevis.patterns import Dense
from sparsevis.per_head import PerHead

__all__ = ["check_features", "check_inputs", "flatten", "layout_for", "mask_and_bias", "mask_for", "slot_of"]


def check_inputs(q, k, v):
    """Return q, k, v as arrays of one float dtype whose shapes fit together, or raise; those on a GPU stay there."""
    q, k, v = map(seen, (q, k, v))
    if isinstance(q, DeviceArray) or isinstance(k, DeviceArray) or isinstance(v, DeviceArray):
        _check_place(q, k, v)
    else:
        q, k, v = (x.astype(x.dtype.newbyteorder("="), copy=False) for x in (q, k, v))
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not (x.dtype.kind == "f" or x.dtype.name == "bfloat16") or x.dtype.itemsize > 8:
            raise TypeError(f"{name} is {x.dtype}, and needs to be float16, bfloat16, float32 or float64: {name}.astype(np.float32)")
        if x.ndim < 2 or x.ndim != q.ndim:
            raise ValueError(f"q, k, v are {q.shape}, {k.shape}, {v.shape}: need (n, d), (heads, n, d) or (batch, heads, n, d), all alike")
    if not q.dtype == k.dtype == v.dtype:
        raise TypeError(f"q, k, v are {q.dtype}, {k.dtype}, {v.dtype}, and need one dtype: convert two of them")
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"q has head dimension {q.shape[-1]} and k {k.shape[-1]}: they need to be equal")
    if k.shape[:-1] != v.shape[:-1]:
        raise ValueError(f"k is {k.shape} and v {v.shape}: all axes but the last need to be equal")
    if q.shape[:-3] != k.shape[:-3]:
        raise ValueError(f"q is {q.shape} and k {k.shape}: the batch axes need to be equal")
    if q.ndim > 2 and (k.shape[-3] == 0 or q.shape[-3] % k.shape[-3]) and q.shape[-3] != k.shape[-3]:
        raise ValueError(f"{q.shape[-3]} query heads over {k.shape[-3]} key/value heads: the first needs to be a multiple of the second")
    return q, k, v


def _check_place(q, k, v):
    places = [f"GPU {x.device}" if isinstance(x, DeviceArray) else "host memory" for x in (q, k, v)]
    if len(set(places)) > 1:
        raise ValueError(f"q, k, v lie in {', '.join(places)}: bring all three to the same place")


def check_features(q, k, pattern, offset, **features):
    """Return those features of `attention` that were asked for, as arrays whose shapes fit, and the offset that is left for the pattern.

    Slopes take the offset with them, since ALiBi looks at positions; so with slopes it is no mistake to give one beside a layout.
    """
    asked = {name: x for name, x in features.items() if x is not None}
    heads, batch, nk = q.shape[-3] if q.ndim > 2 else 1, q.shape[:-3], k.shape[-2]
    if "softcap" in asked and not asked["softcap"] > 0:
        raise ValueError(f"softcap is {asked['softcap']}, and needs to be above 0, or None for no cap")
    for name in {"slopes", "sinks"} & asked.keys():
        asked[name] = np.asarray(on_host(asked[name]), np.float64)
        if asked[name].shape not in ((heads,), () if q.ndim == 2 else (heads,)):
            raise ValueError(f"{name} is an array of shape {asked[name].shape}, and needs to be ({heads},): one number a query head")
    if "key_mask" in asked:
        asked["key_mask"] = kept = on_host(asked["key_mask"])
        if kept.dtype != bool or kept.shape != (*batch, nk):
            needed = f"boolean {(*batch, nk)}: True for a key, False for padding"
            raise ValueError(f"key_mask is {kept.dtype} {kept.shape}, and needs to be {needed}")
    if "bias" in asked:
        asked["bias"] = bias = on_host(asked["bias"])
        if bias.dtype.kind not in "fiu" and bias.dtype.name != "bfloat16":
            raise TypeError(f"bias is {bias.dtype}, and needs to be of numbers (a boolean mask is a pattern: Chosen.from_mask(mask))")
        if not _fits(bias.shape, (*q.shape[:-1], nk)):
            raise ValueError(f"bias is {bias.shape}, and needs to broadcast to the scores' shape {(*q.shape[:-1], nk)}")
    if "slopes" in asked:
        asked["offset"] = resolve_offset(q.shape[-2], nk, offset)
        offset = None if isinstance(pattern, Layout) else offset
    return asked, offset


def _fits(shape, whole):
    return len(shape) <= len(whole) and all(a in (1, b) for a, b in zip(reversed(shape), reversed(whole), strict=False))


def mask_and_bias(mask, q, k, asked):
    """Fold padding into the mask and slopes into the bias; return them, with the other features, as the reference takes them."""
    asked, axes = dict(asked), (1,) * min(q.ndim - 1, 2)
    if "key_mask" in asked:
        kept = asked.pop("key_mask")
        kept = kept.reshape(*kept.shape[:-1], *axes, kept.shape[-1])
        mask = kept if mask is None else mask & kept
    if "slopes" in asked:
        distance = np.arange(k.shape[-2]) - (np.arange(q.shape[-2])[:, None] + asked.pop("offset"))
        alibi = asked.pop("slopes").reshape(-1, 1, 1) * distance
        asked["bias"] = (alibi[0] if q.ndim == 2 else alibi) + asked.get("bias", 0.0)
    if "sinks" in asked and q.ndim == 2:
        asked["sinks"] = asked["sinks"].reshape(())
    return {"mask": mask, **asked}


def layout_for(pattern, heads, nq, nk, offset, block):
    """Return the layout of a pattern for so many heads, queries and keys, or check the one that was given."""
    if isinstance(pattern, Layout):
        if pattern.shape != (nq, nk):
            raise ValueError(f"the layout is for {pattern.shape[0]} queries over {pattern.shape[1]} keys, but there are {nq} over {nk}")
        if offset is not None:
            raise ValueError("offset was given with a layout, which has its own: give it to Layout.of")
        if pattern.heads is not None and len(pattern.heads) != heads:
            raise ValueError(f"the layout is for {len(pattern.heads)} heads, but q has {heads}; see PerHead.cycled({heads})")
        return pattern
    _check_pattern(pattern, heads)
    offset = 0 if pattern is None else resolve_offset(nq, nk, offset)
    return _layout(Dense() if pattern is None else pattern, (nq, nk), block, offset)


@lru_cache(maxsize=8)
def _layout(pattern, shape, block, offset):
    """Layouts of recent calls; a layer is called many times."""
    return Layout.of(pattern, shape, block, offset)


def _check_pattern(pattern, heads):
    if not (pattern is None or isinstance(pattern, Pattern | PerHead)):
        hint = " (a boolean mask: Chosen.from_mask(mask))" if isinstance(pattern, np.ndarray) else ""
        raise TypeError(f"pattern is a {type(pattern).__name__}, and needs to be a Pattern, a PerHead, a Layout or None{hint}")
    if isinstance(pattern, PerHead) and len(pattern) != heads:
        raise ValueError(f"the pattern is for {len(pattern)} heads, but q has {heads}; see PerHead.cycled({heads})")


def mask_for(pattern, q, k, offset):
    """Return what the reference needs of a pattern: a dense boolean mask, or None."""
    heads, nq, nk = q.shape[-3] if q.ndim > 2 else 1, q.shape[-2], k.shape[-2]
    if isinstance(pattern, Layout):
        mask = layout_for(pattern, heads, nq, nk, offset, None).mask()
    else:
        _check_pattern(pattern, heads)
        mask = None if pattern is None else pattern.mask(nq, nk, resolve_offset(nq, nk, offset))
    return mask[0] if mask is not None and mask.ndim > q.ndim else mask  # the one head of an input without a head axis


def flatten(kernel, call, q, k, v, pattern, scale, offset, block, extras):
    """Return what a kernel takes: arrays of a dtype it knows, a layout, and options without batch axes."""
    cannot = [name for name in extras if name not in _parameters(call)]
    if cannot:
        name = kernel.__name__.rpartition(".")[2]
        raise NotImplementedError(f"impl={name!r} does not know {', '.join(cannot)}; impl='reference' does")
    heads, (nq, d), nk = q.shape[-3] if q.ndim > 2 else 1, q.shape[-2:], k.shape[-2]
    if block is not None and isinstance(pattern, Layout) and block_of(block) != pattern.block:
        raise ValueError(f"block={block!r} was given with a layout of tiles {pattern.block}: leave it out, or see Layout.retile")
    liked = kernel.favourite(q.dtype.name, d, v.shape[-1]) if hasattr(kernel, "favourite") else kernel.BLOCK
    layout = layout_for(pattern, heads, nq, nk, offset, block_of(liked if block is None else block))
    dtype = np.float64 if q.dtype == np.float64 else np.float32
    known = isinstance(q, DeviceArray) or q.dtype.name in getattr(kernel, "HALVES" if call is kernel.forward else "HALVES_BACK", ())
    flat = [x if known else x.astype(dtype, copy=False) for x in (q, k, v)]
    options = {"scale": (d**-0.5 if d else 1.0) if scale is None else float(scale)} | extras
    if "bias" in extras:
        options["bias"] = _flat_bias(np.asarray(extras["bias"], dtype), (*q.shape[:-1], nk))
    if "sinks" in extras:
        options["sinks"] = extras["sinks"].reshape(-1)
    if "slopes" in extras:
        options["slopes"] = extras["slopes"].reshape(-1)
    if "key_mask" in extras:
        options["key_mask"] = extras["key_mask"].reshape(-1, nk)
    return flat, layout, options


@lru_cache
def _parameters(call):
    return frozenset(signature(call).parameters)


def _flat_bias(bias, shape):
    """A bias as (..., nq, nk), with as many matrices as heads, or one for all; one that all batch elements share is not repeated."""
    np.broadcast_to(bias, shape)  # raises where it does not fit
    if bias.ndim <= 3:
        return np.broadcast_to(bias, (*bias.shape[:-2], *shape[-2:]) if bias.ndim == 3 else shape[-2:])
    return np.broadcast_to(bias, shape)


# ---------------------------------------------------------------- calls that were made before

class Slot:
    """Where a call that was checked once is kept ready for the next one like it: `call`, and what `attention` says of it."""

    __slots__ = ("call", "info")

    def __init__(self, *_):
        self.call = self.info = None


PLAIN = frozenset({type(None), str, int, float, np.float64, np.float32})


def slot_of(pattern, arrays, *options):
    """Return the `Slot` of calls like this one, or None where there is none.

    Parameters
    ----------
    pattern : Pattern, PerHead, Layout or None
        A layout keeps its slots itself, and they go with it; those of other patterns are the ones used last.
    arrays : tuple
        All arrays of the call, None for those left out; the others must be PyTorch's, on a GPU. None of them is kept.
    options : numbers, words and None
        What else decides the result. With anything else among them there is no slot.
    """
    known, kinds = traits(arrays), tuple(map(type, options))  # 1 == 1.0 == True, and not each of them is an offset
    if known is None or not PLAIN.issuperset(kinds):
        return None
    if isinstance(pattern, Layout):
        return pattern.remember(_slots)(*options, kinds, *known)
    return _recent(pattern, *options, kinds, *known) if pattern is None or isinstance(pattern, Pattern | PerHead) else None


def _slots(layout):
    return lru_cache(maxsize=64)(Slot)


_recent = lru_cache(maxsize=16)(Slot)
