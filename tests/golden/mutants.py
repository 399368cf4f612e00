"""Planted mistakes: each one replaces lines of kernel.py, and says what the kit should call it, where it is a mistake of convention."""

from pathlib import Path

from . import kernel

SCORES = "s = (Q @ K.swapaxes(-1, -2)) * f32(factor)"
CAP = "            if softcap is not None:\n                s = f32(softcap) * np.tanh(s / f32(softcap))\n"
BIAS = "            if bias is not None:\n                s = s + bias[:, np.minimum(i, nq - 1), np.minimum(j, nk - 1)].astype(f32)\n"
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
    "cap after mask": (CAP + BIAS + MASK, MASK + CAP + PADDING, "softcap after the mask"),
    "cap after bias": (CAP + BIAS, BIAS + CAP, "softcap after the bias"),
    "cap before scale": (
        SCORES + "\n" + CAP, "s = Q @ K.swapaxes(-1, -2)\n" + CAP + "            s = s * f32(factor)\n", "softcap before the scale",
    ),
    "no bias": (BIAS, "", "bias ignored"),
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
    "lse in half": ("L = lse[:, h, :, None]", "L = store(lse[:, h, :, None], 'float16')", ""),
    "ds in half": ("ds16 = store(ds, dtype)", "ds16 = store(ds, 'float16')", ""),
}

LAWFUL = {
    "as it is": [],
    "tiles of 5 x 64": [("BM, BN = 16, 16", "BM, BN = 5, 64")],
    "tiles downwards": [(TILES, TILES.replace("range(0, nk, BN)", "reversed(range(0, nk, BN))"))],
    "base-2 exponentials": [
        ("p = np.exp(s - safe[..., None])", "p = np.exp2(s * LOG2E - safe[..., None] * LOG2E)"),
        ("np.exp(m - safe))", "np.exp2((m - safe) * LOG2E))"),
    ],
    "scale in q": [(SCORES, "s = (Q * f32(factor)) @ K.swapaxes(-1, -2)")],
}


def variant(*patches, part="forward"):
    """The functions of kernel.py with lines of one replaced: (forward, backward). Every old line has to stand there exactly once."""
    cut = "\n\ndef backward("
    head, tail = Path(kernel.__file__).read_text().split(cut)
    text = head if part == "forward" else tail
    for old, new in patches:
        if text.count(old) != 1:
            raise LookupError(f"{old!r} stands {text.count(old)} times in the {part} part of kernel.py")
        text = text.replace(old, new)
    room = {"STATE": {}, "LOG2E": kernel.f32(1.4426950408889634)}
    exec(compile(text + cut + tail if part == "forward" else head + cut + text, "kernel.py, changed", "exec"), room)
    return room["forward"], room["backward"]
