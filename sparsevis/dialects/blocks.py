"""Systems with blocks, global tokens or borders of their own: Longformer, BigBird, DeepSpeed, NATTEN.

What they compute is more than a set of pairs, and `note` says what is left out: Longformer's global tokens have projections of their
own, BigBird counts a block twice that is listed twice, DeepSpeed's "unidirectional" trims blocks only, NATTEN shifts its window at the
borders, so that every query has as many keys.
"""

import numpy as np

from sparsevis.dialects.dialect import Dialect
from sparsevis.dialects.rule import Unsayable, band_pattern
from sparsevis.pattern import Or
from sparsevis.patterns import BlockWindow, Chosen, Chunked, Dilated, Fixed, Global, RandomBlocks, SlidingWindow, bigbird, longformer

__all__ = ["BLOCKS", "natten_rows"]


def _parts(rule):
    """The parts of the one union the rule is, or of the one band."""
    if not rule.rest:
        return [band_pattern(*rule.band())]
    if len(rule.rest) != 1 or (rule.left, rule.right) != (None, None):
        raise Unsayable("it is one union of windows and global tokens, not cut by anything else")
    return _union(rule.rest[0])


def _union(pattern):
    return [*_union(pattern.a), *_union(pattern.b)] if isinstance(pattern, Or) else [pattern]


# --- Longformer -------------------------------------------------------------------------------------------------------------------------


def _read_longformer(attention_window, global_tokens=()):
    return longformer(attention_window, global_tokens)


def _write_longformer(rule, place):
    match sorted(_parts(rule), key=lambda p: isinstance(p, Global)):
        case [SlidingWindow(left, right), *rest] if left == right and left is not None:
            pass
        case _:
            raise Unsayable("it is a window of two equal sides, with or without global tokens")
    match rest:
        case []:
            return {"attention_window": 2 * left}
        case [Global(tokens, True, True, 1)]:
            return {"attention_window": 2 * left, "global_tokens": tokens}
    raise Unsayable("beside its window it has global tokens only, rows and columns alike")


def _call_longformer(attention_window, global_tokens=()):
    where = f"; global_attention_mask[:, {list(global_tokens)}] = 1" if global_tokens else ""
    return f"LongformerConfig(attention_window={attention_window}){where}"


# --- BigBird ----------------------------------------------------------------------------------------------------------------------------


def _read_bigbird(block_size=64, num_random_blocks=3, seed=0, heads=None):
    return bigbird(block_size, random_blocks=num_random_blocks, seed=seed, plan="published", heads=heads)


def _write_bigbird(rule, place):
    parts = _parts(rule)
    block = getattr(parts[0], "block", 1)
    r, seed = next(((p.blocks_per_row, p.seed) for p in parts if isinstance(p, RandomBlocks)), (0, 0))
    if set(parts) == set(_union(_read_bigbird(block, r, seed))):
        return {"block_size": block, "num_random_blocks": r} | ({"seed": seed} if seed else {})
    raise Unsayable("it is bigbird(block, random_blocks=r, plan='published'): three blocks, the first, the last, and its own draws")


def _call_bigbird(block_size, num_random_blocks, seed=0, heads=None):
    layer = f"  # in layer {seed}: its number is the seed" if seed else ""
    return f"BigBirdConfig(attention_type='block_sparse', block_size={block_size}, num_random_blocks={num_random_blocks}){layer}"


# --- DeepSpeed --------------------------------------------------------------------------------------------------------------------------


def _past(block, attention):
    if attention not in ("unidirectional", "bidirectional"):
        raise ValueError(f"attention is {attention!r}, and needs 'unidirectional' or 'bidirectional'")
    return BlockWindow(block, None, 0) if attention == "unidirectional" else None


def _read_sliding(block=16, num_sliding_window_blocks=3, attention="unidirectional"):
    side = num_sliding_window_blocks // 2
    return BlockWindow(block, side, side if _past(block, attention) is None else 0)


def _write_sliding(rule, place):
    match _parts(rule):
        case [BlockWindow(block, left, right)] if left is not None and right in (0, left):
            which = "bidirectional" if right == left else "unidirectional"
            return {"block": block, "num_sliding_window_blocks": 2 * left + 1, "attention": which}
    raise Unsayable("it is BlockWindow(block, w, w) or BlockWindow(block, w, 0); inside a block of the diagonal it sees the future")


def _read_bslongformer(block=16, num_sliding_window_blocks=3, global_block_indices=(0,), attention="bidirectional"):
    side, past = num_sliding_window_blocks // 2, _past(block, attention)
    pattern = BlockWindow(block, side, side) | Global(global_block_indices, block=block)
    return pattern if past is None else pattern & past


def _write_bslongformer(rule, place):
    past = next((p for p in rule.rest if isinstance(p, BlockWindow)), None)
    union = rule if past is None else rule.split(BlockWindow)[1]
    match sorted(_parts(union), key=lambda p: isinstance(p, Global)):
        case [BlockWindow(block, left, right), Global(tokens, True, True, same)] if left == right is not None and same == block:
            if past in (None, BlockWindow(block, None, 0)) and min(tokens) >= 0:
                said = {"block": block, "num_sliding_window_blocks": 2 * left + 1, "global_block_indices": list(tokens)}
                return said | {"attention": "bidirectional" if past is None else "unidirectional"}
    raise Unsayable("it is BlockWindow(block, w, w) | Global(blocks, block=block), trimmed to the past by blocks or not at all")


def _read_fixed(block=16, num_local_blocks=4, num_global_blocks=1, attention="bidirectional"):
    past, pattern = _past(block, attention), Fixed(num_local_blocks * block, num_global_blocks * block)
    if past is not None and num_global_blocks > 1:
        raise ValueError("unidirectional with num_global_blocks > 1 leaks columns above the diagonal, which no rule here says")
    return pattern if past is None else pattern & past


def _write_fixed(rule, place):
    match rule.left, rule.right, sorted(rule.rest, key=lambda p: isinstance(p, BlockWindow)):
        case None, None, [Fixed(stride, block, True), *past] if stride % block == 0 and past in ([], [BlockWindow(block, None, 0)]):
            if place.nk is not None and place.nk % stride:
                raise Unsayable(f"its last, shorter group has other global blocks: make nk a multiple of {stride}, not {place.nk}")
            return {"block": block, "num_local_blocks": stride // block} | ({"attention": "unidirectional"} if past else {})
    raise Unsayable("it is Fixed(stride, summary) with stride a multiple of summary, trimmed to the past by blocks or not at all")


# --- NATTEN -----------------------------------------------------------------------------------------------------------------------------


def natten_rows(n, kernel_size, stride=1, dilation=1, is_causal=False):
    """Return the keys of each query in one-dimensional neighbourhood attention, as an array (n, kernel_size), -1 where there is none.

    Windows shift at the borders, so that each query has kernel_size keys unless it is causal; an even kernel has one more key on the
    left. With stride s, s neighbours share one window. With dilation, each residue class is a sequence of its own.

    >>> natten_rows(5, 3)[0].tolist(), natten_rows(5, 3, is_causal=True)[1].tolist()
    ([0, 1, 2], [0, 1, -1])
    """
    if not (1 <= stride <= kernel_size and kernel_size * dilation <= n):
        given = f"kernel_size {kernel_size}, stride {stride}, dilation {dilation} at n = {n}"
        raise ValueError(f"{given}: needs 1 <= stride <= kernel_size and kernel_size * dilation <= n")
    q = np.arange(n)
    at, residue = q // dilation, q % dilation
    length = n // dilation + (residue < n % dilation)
    left, right = kernel_size // 2, (kernel_size - 1) // 2
    group = at // stride * stride
    if is_causal:
        first = np.maximum(np.minimum(group + stride - 1, length - 1) - kernel_size + 1, 0)
    else:
        leader = np.minimum(group + stride // 2, length - 1)
        first = np.clip(leader, left, length - 1 - right) - left
    keys = first[:, None] + np.arange(kernel_size)
    live = keys <= at[:, None] if is_causal else keys >= 0
    return np.where(live, keys * dilation + residue[:, None], -1)


def _read_natten(kernel_size, stride=1, dilation=1, is_causal=False, n=None):
    if is_causal and stride == 1:
        return SlidingWindow(kernel_size - 1) if dilation == 1 else Dilated(kernel_size - 1, 0, dilation)
    if n is None:
        raise ValueError("where windows shift at the borders the pattern depends on the number of positions: say n=")
    return Chosen.from_indices(natten_rows(n, kernel_size, stride, dilation, is_causal))


def _write_natten(rule, place):
    match rule.left, rule.right, rule.rest:
        case int(left), 0, ():
            return {"kernel_size": left + 1, "is_causal": True}
        case None, (None | 0), (Dilated(left, 0, dilation),):
            return {"kernel_size": left + 1, "dilation": dilation, "is_causal": True}
        case None, right, (Chunked(size),) if right in (None, 0) and place.nk is not None and place.nk % size == 0:
            return {"kernel_size": size, "stride": size} | ({"is_causal": True} if right == 0 else {}) | {"n": place.nk}
        case _, _, (Chunked(size),):
            raise Unsayable(f"chunks need stride = kernel_size and whole chunks: say nq, a multiple of {size}")
        case None, (None | 0) as right, () if place.nk is not None:
            return {"kernel_size": place.nk} | ({"is_causal": True} if right == 0 else {"n": place.nk})
    rule.band()
    raise Unsayable("a two-sided window is shifted at the borders, never cut: only causal windows mean the same there and here")


def _call_natten(n=None, **said):
    return f"na1d(q, k, v, {', '.join(f'{k}={v}' for k, v in said.items())})"


_sparse = "deepspeed/ops/sparse_attention/sparsity_config.py"

BLOCKS = [
    Dialect("longformer", "transformers 5.23.0", "modeling_longformer.py", "square", _read_longformer, _write_longformer, _call_longformer,
            "global tokens use projections of their own; attention_window counts both sides; allenai's code counts one"),
    Dialect("bigbird", "transformers 5.23.0", "modeling_big_bird.py::BigBirdBlockSparseAttention", "square", _read_bigbird, _write_bigbird,
            _call_bigbird,
            "counts a block twice that is listed twice; draws no random blocks outside training; dense up to 5 + 2 r blocks"),
    Dialect("deepspeed-sliding", "38327e07", f"{_sparse}::LocalSlidingWindowSparsityConfig", "square", _read_sliding, _write_sliding,
            "LocalSlidingWindowSparsityConfig(num_heads, {})",
            "num_sliding_window_blocks counts both sides, and unidirectional drops the right"),
    Dialect("deepspeed-bslongformer", "38327e07", f"{_sparse}::BSLongformerSparsityConfig", "square", _read_bslongformer,
            _write_bslongformer,
            "BSLongformerSparsityConfig(num_heads, {})", "no projections of their own for global blocks"),
    Dialect("deepspeed-fixed", "38327e07", f"{_sparse}::FixedSparsityConfig", "square", _read_fixed, _write_fixed,
            "FixedSparsityConfig(num_heads, {})", "one pattern for all heads; lengths of whole groups of local blocks"),
    Dialect("natten", "8c8729f", "reference/mask.hpp", "square", _read_natten, _write_natten, _call_natten,
            "windows shift at the borders; a row is never empty"),
]  # fmt: skip
