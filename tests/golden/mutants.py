"""Planted mistakes: each one replaces lines of kernel.py, and says what the kit should call it, where it is a mistake of convention."""

from pathlib import Path

from . import kernel, ways

SCORES = "s = (Q @ K.swapaxes(-1, -2)) * f32(factor)"
CAP = "            if softcap is not None:\n                s = f32(softcap) * np.tanh(s / f32(softcap))\n"
BIAS = "            if bias is not None:\n                s = s + bias[:, np.minimum(i, nq - 1), np.minimum(j, nk - 1)].astype(f32)\n"
ALIBI = "            if slopes is not None:\n                s = s + slopes[:, None, None] * (j - (i + offset)).astype(f32)\n"
MASK = "            s = np.where(ok, s, f32(-np.inf))\n"
PADDING = "            s = np.where(j < nk, s, f32(-np.inf))\n"
OK = "ok = ok & (j < nk)"
TILES = "for j0 in range(0, nk, BN):"
OUT = "out = acc / one[..., None]"
LSE = "L = np.where(l == 0, f32(-np.inf), m + np.log(one))"
SINK = "sink = sinks.astype(f32)[:, None]"
HEADS = "heads = np.arange(H) // (H // kv)"
ACC = "acc = acc * alpha[..., None] + pv"
START = "m = np.full((B, H, BM), -np.inf, f32)"
TYPE = "dtype = q.dtype\n    o, lse ="

# name: (line, line instead, what the diagnosis has to say)
CONVENTIONS = {
    "window+1": ("(at - j <= window[0])", "(at - j <= window[0] + 1)", "window one key longer on the left"),
    "window-1": ("(at - j <= window[0])", "(at - j <= max(window[0] - 1, 0))", "window one key shorter on the left"),
    "window total": ("(at - j <= window[0])", "(at - j <= window[0] // 2)", "window counted over both sides"),
    "window right+1": ("(j - at <= window[1])", "(j - at <= window[1] + 1)", "window one key longer on the right"),
    "window ignored": ("if window[0] is not None:", "if False:", "window ignored"),
    "causal strict": ("ok & (j <= at)", "ok & (j < at)", "causal without the query itself"),
    "top-left": ("at = i + offset", "at = i", "queries at the start of the keys (top-left)"),
    "one late": ("at = i + offset", "at = i + offset + 1", "queries one position late"),
    "global ignored": ("if global_keys:", "if False:", "global keys ignored"),
    "scale missing": ("factor = d**-0.5 if", "factor = 1.0 if", "scale missing"),
    "scale 1/d": ("factor = d**-0.5 if", "factor = 1 / d if", "scale 1/d"),
    "scale dv": ("factor = d**-0.5 if", "factor = dv**-0.5 if", "scale 1/sqrt(dv)"),
    "scale ignored": ("d**-0.5 if scale is None else scale", "d**-0.5", "scale argument ignored"),
    "gqa tiled": (HEADS, "heads = np.arange(H) % kv", "key/value heads tiled"),
    "no softcap": (CAP, "", "softcap ignored"),
    "cap after mask": (CAP + BIAS + ALIBI + MASK, MASK + CAP + PADDING, "softcap after the mask"),
    "cap after bias": (CAP + BIAS, BIAS + CAP, "softcap after the bias"),
    "cap before scale": (
        SCORES + "\n" + CAP, "s = Q @ K.swapaxes(-1, -2)\n" + CAP + "            s = s * f32(factor)\n", "softcap before the scale",
    ),
    "no bias": (BIAS, "", "bias ignored"),
    "alibi ignored": ("if slopes is not None:", "if False:", "ALiBi ignored"),
    "alibi sign": ("(j - (i + offset)).astype(f32)", "(i + offset - j).astype(f32)", "ALiBi slopes of the wrong sign"),
    "alibi scaled": ("slopes[:, None, None] *", "f32(factor) * slopes[:, None, None] *", "ALiBi multiplied by the scale"),
    "alibi heads": ("slopes[:, None, None] *", "slopes[::-1, None, None] *", "ALiBi slopes in the reverse order of heads"),
    "alibi offset": ("(j - (i + offset)).astype(f32)", "(j - i).astype(f32)", "ALiBi with query 0 at the first key"),
    "alibi by keys": ("(j - (i + offset)).astype(f32)", "j.astype(f32)", "ALiBi by the position of the key alone"),
    "no sink": ("if sinks is not None:", "if False:", "sink ignored"),
    "sink scaled": (SINK, "sink = sinks.astype(f32)[:, None] * f32(factor)", "sink multiplied by the scale"),
    "sink twice": ("l = l * alpha + np.exp(sink - new)", "l = l * alpha + 2 * np.exp(sink - new)", "sink counted twice"),
    "lse base 2": (LSE, "L = np.where(l == 0, f32(-np.inf), m + np.log(one)) * f32(1.4426950408889634)", "lse in base 2"),
    "lse mixed": (LSE, "L = np.where(l == 0, f32(-np.inf), m + np.log2(one))", "lse that mixes base 2"),
    "lse without max": (LSE, "L = np.where(l == 0, f32(-np.inf), np.log(one))", "lse without the maximum"),
    "empty nan": (OUT, "out = np.where((l == 0)[..., None], f32(np.nan), acc / one[..., None])", "queries without keys give NaN"),
    "empty mean": (
        OUT, "out = np.where((l == 0)[..., None], v.astype(f32)[:, heads].mean(-2, keepdims=True), acc / one[..., None])",
        "queries without keys give the mean of all values",
    ),
    "empty lse 0": (LSE, "L = np.where(l == 0, f32(0), m + np.log(one))", "queries without keys give zero and the wrong lse"),
    "empty lse +inf": (LSE, "L = np.where(l == 0, f32(np.inf), m + np.log(one))", "queries without keys give zero and the wrong lse (inf)"),
    "nan leak": ("pv = select(store(p, dtype), ok, V)", "pv = store(p, dtype) @ V", "NaN of a forbidden key or value leaks"),
}  # fmt: skip

BUGS = {
    "maximum from 0": (START, "m = np.zeros((B, H, BM), f32)"),
    "maximum from -1e4": (START, "m = np.full((B, H, BM), -1e4, f32)"),
    "no maximum": ("new = np.maximum(m, s.max(-1))", "new = np.zeros_like(m)"),
    "last tile dropped": (TILES, TILES.replace("nk", "nk // BN * BN")),
    "tail attended": (OK, "ok = ok & (j < nk) | (j >= nk)"),
    "partial as full": (OK, "ok = (ok | ok.any()) & (j < nk)"),
    "partial as empty": (OK, "ok = ok & (j < nk) & (ok | (j >= nk)).all()"),
    "sentinel -1e4": (MASK, MASK.replace("-np.inf", "-1e4")),
    "mask multiplied": (MASK, "            s = s * ok + np.where(ok, 0, f32(-np.inf))\n"),
    "unguarded empty rows": ("safe = np.where(np.isneginf(new), f32(0), new)", "safe = new"),
    "eps in the denominator": (OUT, "out = acc / (l + f32(0.01))[..., None]"),
    "nan swallowed": ("p = np.exp(s - safe[..., None])", "p = np.nan_to_num(np.exp(s - safe[..., None]))"),
    "l not rescaled": ("l = l * alpha + p.sum(-1)", "l = l + p.sum(-1)"),
    "acc not rescaled": (ACC, "acc = acc + pv"),
    "acc in half": (ACC, "acc = store(acc * alpha[..., None] + pv, 'float16')"),
    "scores in half": (SCORES, "s = store(Q @ K.swapaxes(-1, -2), 'float16') * f32(factor)"),
    "q rounded after scale": (SCORES, "s = store(Q * f32(factor), 'float16') @ K.swapaxes(-1, -2)"),
    "P in eighths": ("pv = select(store(p, dtype), ok, V)", "pv = select(np.round(p * 8) / 8, ok, V)"),
    "heads swapped": ("return o, lse", "return o[:, ::-1], lse"),
    "lse in half": ("return o, lse", "return o, store(lse, 'float16')"),
    "writes into q": ("return o, lse", "q[..., :1, :1] = 0\n    return o, lse"),
    "returns a view of q": ("return o, lse", "return (q if q.shape == o.shape else o), lse"),
    "stale scale": ("dtype = q.dtype\n    o, lse =", "dtype, factor = q.dtype, STATE.setdefault((q.shape, k.shape), factor)\n    o, lse ="),
    "stale window": (TYPE, TYPE.replace("    o,", "    window = STATE.setdefault((q.shape, k.shape), window)\n    o,")),
    "stale softcap": (TYPE, TYPE.replace("    o,", "    softcap = STATE.setdefault((q.shape, k.shape), softcap)\n    o,")),
    "stale mask": (TYPE, TYPE.replace("    o,", "    mask = mask if mask is None else STATE.setdefault(mask.shape, mask)\n    o,")),
    "flaky": ("return o, lse", "STATE[0] = STATE.get(0, 0) + 1\n    o[:, :, -1:] *= STATE[0] % 7 > 0\n    return o, lse"),
    "buffer reused": ("return o, lse", "old = STATE.setdefault(o.shape, o)\n    old[...] = o\n    return old, lse"),
    "crashes at one key": ("dtype = q.dtype\n    o, lse =", "dtype = q.dtype if nk > 1 else None.dtype\n    o, lse ="),
    "constant": ("return o, lse", "return o * 0 + v.astype(f32).mean(), lse"),
}

BACKWARD = {
    "no delta": ("delta = (do.astype(f32) * o).sum(-1)", "delta = np.zeros(lse.shape, f32)", ""),
    "dlse ignored": ("delta = delta - np.where(np.isneginf(lse), f32(0), dlse)", "", "gradient of the lse ignored"),
    "dlse sign": ("delta = delta - np.where", "delta = delta + np.where", "gradient of the lse with the wrong sign"),
    "dk unscaled": ("@ Q[:, h]) * f32(factor)", "@ Q[:, h])", "dk without the scale"),
    "dq scaled twice": ("(ds16 @ K) * f32(factor)", "(ds16 @ K) * f32(factor) * f32(factor)", "dq scaled twice"),
    "gqa overwrites": ("dv_[:, g, j0 : j0 + n] +=", "dv_[:, g, j0 : j0 + n] =", "heads share keys and values"),
    "last tile dropped": ("for j0 in range(0, nk, BN):\n            n =", "for j0 in range(0, nk // BN * BN, BN):\n            n =", ""),
    "softcap slope 1": ("s, slope = f32(softcap) * t, 1 - t * t", "s = f32(softcap) * t", "where there is a softcap"),
    "window ignored": ("ok = allowed(i, j, nq, nk, causal, window,", "ok = allowed(i, j, nq, nk, causal, (None, None),", ""),
    "bias ignored": ("s = s + bias[h, i, j].astype(f32)", "pass", "where there is a bias"),
    "alibi ignored": ("if slopes is not None:", "if False:", ""),
    "lse in half": ("L = lse[:, h, :, None]", "L = store(lse[:, h, :, None], 'float16')", ""),
    "ds in half": ("ds16 = store(ds, dtype)", "ds16 = store(ds, 'float16')", ""),
    "dq without the scale": ("(ds16 @ K) * f32(factor)", "(ds16 @ K)", "dq without the scale"),
    "causal ignored": ("ok = allowed(i, j, nq, nk, causal,", "ok = allowed(i, j, nq, nk, False,", ""),
    "offset ignored": ("global_keys, offset, None if", "global_keys, 0, None if", ""),
    "mask of head 0": ("mask[:, h % mask.shape[1]]", "mask[:, 0]", "where heads share keys and values"),
    "heads tiled": ("g = h // group", "g = h % kv", "heads share keys and values"),
    "forbidden P": ("p = np.where(ok, np.exp(s - np.where(np.isneginf(L), f32(0), L)), f32(0))",
                    "p = np.exp(s - np.where(np.isneginf(L), f32(0), L))", "dv wrong where pairs are forbidden"),
    "P by its own maximum": ("s - np.where(np.isneginf(L), f32(0), L)", "s - s.max(-1, keepdims=True)", ""),
    "lse read in base 2": ("np.exp(s - np.where(np.isneginf(L)", "np.exp2(s - np.where(np.isneginf(L)", ""),
    "delta of a half o": ("(do.astype(f32) * o).sum(-1)", "(do.astype(f32) * store(o, 'float16')).sum(-1)", ""),
    "dk overwritten": ("dk[:, g, j0 : j0 + n] +=", "dk[:, g, j0 : j0 + n] =", "dk wrong where heads share keys and values"),
    "dq carried in half": ("dq[:, h] += (ds16 @ K) * f32(factor)", "dq[:, h] = store(dq[:, h] + (ds16 @ K) * f32(factor), 'float16')", ""),
}

LAWFUL = {
    "as it is": [],
    "tiles of 5 x 64": [("BM, BN = 16, 16", "BM, BN = 5, 64")],
    "tiles downwards": [(TILES, TILES.replace("range(0, nk, BN)", "reversed(range(0, nk, BN))"))],
    "base-2 exponentials": [
        ("p = np.exp(s - safe[..., None])", "p = np.exp2(s * f32(LOG2E) - safe[..., None] * f32(LOG2E))"),
        ("np.exp(m - safe))", "np.exp2((m - safe) * f32(LOG2E)))"),
    ],
    "scale in q": [(SCORES, "s = (Q * f32(factor)) @ K.swapaxes(-1, -2)")],
}


DOUBLE = ("f32 = np.float32", "f32 = np.float64")  # the same kernel in float64


def variant(*patches, part="forward"):
    """The functions of kernel.py with lines of one replaced: (forward, backward). Every old line has to stand there exactly once."""
    cut = "\n\ndef backward("
    head, tail = Path(kernel.__file__).read_text().split(cut)
    text = head if part == "forward" else tail
    for old, new in patches:
        if text.count(old) != 1:
            raise LookupError(f"{old!r} stands {text.count(old)} times in the {part} part of kernel.py")
        text = text.replace(old, new)
    room = {"STATE": {}, "LOG2E": 1.4426950408889634}
    exec(compile(text + cut + tail if part == "forward" else head + cut + text, "kernel.py, changed", "exec"), room)
    return room["forward"], room["backward"]


# ---------------------------------------------------------------- keys that lie in other ways: kernels of ways.py

K0 = "k0, k1 = cu_seqlens_k[b], cu_seqlens_k[b + 1]"
OK_NEAR = "ok = near(at, j, causal, window)"
WALK = "for e in range(layout.indptr[row], layout.indptr[row + 1]):"
PAIRS = "ok = pairs_of(layout, layout.kind[e], i1 - i0, j1 - j0)"
J0 = "j0, j1 = layout.indices[e] * bk, min(layout.indices[e] * bk + bk, nk)"
LEAK = ("pv = np.where(ok[..., None], p[..., None] * V.astype(f32), f32(0)).sum(1)", "pv = p @ V.astype(f32)")
NAN_LEAK = "NaN of a forbidden key or value leaks"

# part of ways.py: {name: (line, line instead, what the diagnosis has to say)}
WAYS = {
    "packed": {
        "documents ignored": (K0, "k0, k1 = 0, len(k)", ""),
        "keys cut by the queries": (K0, "k0, k1 = cu_seqlens_q[b], cu_seqlens_q[b + 1]", ""),
        "sees the document before": (K0, "k0, k1 = cu_seqlens_k[max(b - 1, 0)], cu_seqlens_k[b + 1]", ""),
        "one key of the next document": (K0, "k0, k1 = cu_seqlens_k[b], min(cu_seqlens_k[b + 1] + 1, len(k))", ""),
        "top-left": ("shift = (k1 - k0) - (q1 - q0)", "shift = 0", "queries at the start of the keys (top-left)"),
        "shift of the whole": ("shift = (k1 - k0) - (q1 - q0)", "shift = len(k) - nq", ""),
        "last document skipped": ("documents = len(cu_seqlens_q) - 1", "documents = len(cu_seqlens_q) - 2", ""),
        "stops at an empty document": ("shift = (k1 - k0)", "if k0 == k1 or q0 == q1: break\n        shift = (k1 - k0)", ""),
        "no keys not written": ("        for h in range(H):\n", "        for h in range(H if k1 > k0 else 0):\n", ""),
        "key heads as query heads": ("g = h // (H // kv)", "g = h % kv", "key/value heads tiled"),
        "nan leaks": (*LEAK, NAN_LEAK),
    },
    "padded": {
        "length ignored": ("ok = ok & (j < n)", "", "padded keys attended"),
        "length of the first": ("n = kv_lengths[b]", "n = kv_lengths[0]", ""),
        "one key more": ("ok = ok & (j < n)", "ok = ok & (j <= n)", "one padded key attended"),
        "one key less": ("ok = ok & (j < n)", "ok = ok & (j < n - 1)", "the last key left out"),
        "empty entry not written": ("for h in range(H):", "for h in range(H if n else 0):", "queries without keys give NaN"),
        "causal by the length": ("n = kv_lengths[b]", "n = kv_lengths[b]\n        at = np.arange(nq)[:, None] + n - nq", ""),
        "nan leaks": (*LEAK, NAN_LEAK),
    },
    "ring": {
        "slots as positions": (
            "positions[None]", "np.where(positions < 0, -1, np.arange(nk))[None]", "slots of the ring taken for positions",
        ),
        "oldest first": ("positions[None]", "np.arange(nk)[None] + positions.max() + 1 - nk", "slots of the ring taken in order"),
        "positions ignored": (OK_NEAR, "ok = np.ones((nq, nk), bool)", ""),
        "free slots": ("ok = ok & (j >= 0)", "ok = ok | (j < 0)", "free slots attended"),
        "query one early": ("[:, None] + offset", "[:, None] + offset - 1", "queries one position early"),
        "query one late": ("[:, None] + offset", "[:, None] + offset + 1", "queries one position late"),
        "all at the last": ("np.arange(nq)[:, None] + offset", "np.full((nq, 1), offset + nq - 1)", ""),
        "window+1": ("at - j <= window[0]", "at - j <= window[0] + 1", "window one key longer on the left"),
        "offset modulo slots": ("[:, None] + offset", "[:, None] + offset % nk", ""),
        "nan leaks": (*LEAK, NAN_LEAK),
    },
    "lists": {
        "partial as full": (PAIRS, "ok = pairs_of(layout, -1, i1 - i0, j1 - j0)", "allowed in part taken as whole"),
        "partial skipped": (PAIRS, PAIRS + "\n                ok = ok & (layout.kind[e] == -1)", "allowed in part left out"),
        "first stored tile": (PAIRS, PAIRS.replace("layout.kind[e]", "min(layout.kind[e], 0)"), ""),
        "big-endian bits": ('bitorder="little"', 'bitorder="big"', ""),
        "tile transposed": ("bits[:rows, :columns]", "bits.T[:rows, :columns]", ""),
        "last of the list dropped": (WALK, WALK.replace("[row + 1]", "[row + 1] - 1"), ""),
        "list of the next row": (WALK, WALK.replace("[row]", "[(row + 1) % (len(layout.indptr) - 1)]").replace(
            "layout.indptr[row + 1]", "layout.indptr[(row + 1) % (len(layout.indptr) - 1) + 1]"), ""),
        "index off by one": (J0, J0.replace("layout.indices[e]", "max(layout.indices[e] - 1, 0)"), ""),
        "first head's lists": ("plane = layout.heads[h] if layout.heads else 0", "plane = 0", "the pattern of head 0 taken for all heads"),
        "lists by key head": ("layout.heads[h] if", "layout.heads[g] if", "heads take patterns by their key/value head"),
        "empty rows not written": (
            "            one = np.where(l",
            "            if layout.indptr[row] == layout.indptr[row + 1]: continue\n            one = np.where(l",
            "queries without keys give NaN",
        ),
        "accumulator not rescaled": ("acc = acc * np.exp(m - safe)[:, None] +", "acc = acc +", ""),
        "nan leaks": (*LEAK, NAN_LEAK),
    },
    "lists_backward": {
        "lists not transposed": ("turned = layout.T", "turned = layout", ""),
        "forbidden P": ("p = np.where(ok, np.exp(s - L[:, None]), f32(0))", "p = np.exp(s - L[:, None])", ""),
        "last of the list dropped": ("plane * rows + r + 1]):", "plane * rows + r + 1] - 1):", ""),
        "heads overwrite": ("dv_[g, j] += p.T", "dv_[g, j] = p.T", ""),
        "dk without the scale": ("(ds.T @ q[h, i].astype(f32)) * f32(factor)", "ds.T @ q[h, i].astype(f32)", "dk without the scale"),
        "first head's lists": ("plane = layout.heads[h] if layout.heads else 0\n    for r", "plane = 0\n    for r", ""),
    },
}  # fmt: skip


SPOKEN = {  # the words of a Dialect
    "packed": {"axes": "nhd", "window": "flash", "align": "bottom-right"},
    "padded": {"axes": "bhnd", "window": "flash", "align": "top-left"},
    "ring": {"axes": "hnd", "window": "flash"}, "lists": {"axes": "hnd"}, "lists_backward": {"axes": "hnd"},
}  # fmt: skip


def way(name, *patches):
    """The function of ways.py with lines of its part, or of what stands above all parts, replaced; `lists_backward` comes with `lists`."""
    text = Path(ways.__file__).read_text()
    for old, new in patches:
        if text.count(old) != 1:
            start = text.index(f"\ndef {name}(")
            head, body, tail = text[:start], *_cut(text[start:])
            if body.count(old) != 1:
                raise LookupError(f"{old!r} stands {text.count(old)} times in ways.py and {body.count(old)} in {name}")
            text = head + body.replace(old, new) + tail
        else:
            text = text.replace(old, new)
    room = {}
    exec(compile(text, "ways.py, changed", "exec"), room)
    return (room["lists"], room["lists_backward"]) if name == "lists_backward" else (room[name], None)


def _cut(text):
    end = text.find("\n# -- ")
    return (text, "") if end < 0 else (text[:end], text[end:])
