"""What is asked of other libraries: inputs, rules written from the papers, and the same thing in sparsevis' vocabulary.

A rule is an expression `(h, i, j) -> bool` on absolute positions, of operators only: NumPy makes the boolean mask for PyTorch's
scaled_dot_product_attention from it, FlexAttention takes it as a `mask_mod`. No rule calls sparsevis, no pattern calls a rule.

Inputs are multiples of 1/128 drawn as integers, and so exact: the same on every platform, the same in float32 and float64, and a
projection `x @ w.T + b` of them has no rounding at all, whatever the order of its sum, so that it can be drawn here and there.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import sparsevis as sv

from .rounding import UNIT, bound

__all__ = ["CASES", "MASKS", "SCORED", "Case", "Scored", "fractions"]


def fractions(seed, *shape, most=2.0):
    """Multiples of 1/128 in [-most, most]; a seed is a number or a name."""
    seed = zlib.crc32(seed.encode()) if isinstance(seed, str) else seed
    edge = int(128 * most)
    return np.random.RandomState(seed).randint(-edge, edge + 1, shape, dtype=np.int32) / 128


# --- one attention call under one mask: PyTorch's SDPA and FlexAttention ------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One call: query heads, key/value heads, lengths and head dimensions; the rule, and the pattern that must equal it."""

    name: str
    shape: tuple[int, int, int, int, int, int]  # heads, kv heads, nq, nk, d, dv
    rule: Callable  # (head, query position, key position) -> bool
    pattern: Callable  # () -> Pattern or None
    offset: int | str | None = None
    native: str | None = None  # the causal mask PyTorch makes by itself: "is_causal" or "lower_right"

    @property
    def inputs(self):
        heads, kv, nq, nk, d, dv = self.shape
        drawn = fractions(self.name, heads * nq * d + kv * nk * (d + dv))
        q, k, v = np.split(drawn, np.cumsum([heads * nq * d, kv * nk * d]))
        return q.reshape(heads, nq, d), k.reshape(kv, nk, d), v.reshape(kv, nk, dv)

    @property
    def shift(self):
        """The position of query 0."""
        _, _, nq, nk, _, _ = self.shape
        return {None: 0, "top-left": 0, "bottom-right": nk - nq}.get(self.offset, self.offset)

    @property
    def mask(self):
        """The rule at every (head, query, key)."""
        heads, _, nq, nk, _, _ = self.shape
        h, i, j = np.ogrid[:heads, self.shift : self.shift + nq, :nk]
        return np.broadcast_to(self.rule(h, i, j), (heads, nq, nk))

    def allowance(self, *dtypes, **options):
        """How far two results (o, lse) may lie apart that were computed in these dtypes."""
        errors = [bound(*self.inputs, self.mask, UNIT[dtype], **options) for dtype in dtypes]
        return [sum(part) for part in zip(*errors, strict=True)]


def causal(h, i, j):
    return j <= i


def of(i, *tokens):
    """Is i one of the tokens?"""
    found = i == tokens[0]
    for token in tokens[1:]:
        found = found | (i == token)
    return found


def document(i):
    """Documents of 3, 1, 5 and 4 tokens: how many ends lie at or before i."""
    return (i >= 3) * 1 + (i >= 4) * 1 + (i >= 9) * 1


def near(i, j, left, right=0):
    return (i - j <= left) & (j - i <= right)


def square(n, heads=2, kv=2):
    return heads, kv, n, n, 5, 5


CASES = [
    Case("dense", square(7), lambda h, i, j: j >= 0, lambda: sv.Dense()),
    Case("no pattern, v narrower", (2, 2, 7, 9, 5, 3), lambda h, i, j: j >= 0, lambda: None, "top-left"),
    # causal, and where query 0 stands
    Case("causal", square(13), causal, lambda: sv.Causal(), None, "is_causal"),
    Case("causal top-left wide", (2, 2, 5, 12, 5, 5), causal, lambda: sv.Causal(), "top-left", "is_causal"),
    Case("causal top-left tall", (2, 2, 12, 5, 5, 5), causal, lambda: sv.Causal(), "top-left", "is_causal"),
    Case("causal bottom-right wide", (2, 2, 5, 12, 5, 5), causal, lambda: sv.Causal(), "bottom-right", "lower_right"),
    Case("causal bottom-right tall", (2, 2, 12, 5, 5, 5), causal, lambda: sv.Causal(), "bottom-right", "lower_right"),
    Case("causal from 5", (2, 2, 4, 12, 5, 5), causal, lambda: sv.Causal(), 5),
    Case("decode step", (2, 2, 1, 11, 5, 5), lambda h, i, j: near(i, j, 3), lambda: sv.SlidingWindow(3), "bottom-right"),
    Case("chunked prefill", (2, 2, 4, 13, 5, 5), lambda h, i, j: near(i, j, 4), lambda: sv.SlidingWindow(4), 7),
    # local
    Case("window two-sided", square(13), lambda h, i, j: abs(i - j) <= 3, lambda: sv.SlidingWindow(3, 3)),
    Case("window uneven", square(13), lambda h, i, j: near(i, j, 1, 3), lambda: sv.SlidingWindow(1, 3)),
    Case("window unbounded", square(9), lambda h, i, j: j - i <= 2, lambda: sv.SlidingWindow(None, 2)),
    Case("mistral", square(13), lambda h, i, j: (j <= i) & (j > i - 4), lambda: sv.mistral(window=4)),
    Case("dilated slots", square(14), lambda h, i, j: near(i, j, 6, 3) & ((i - j) % 3 == 0), lambda: sv.Dilated(2, 1, dilation=3)),
    Case("dilated reach", square(14), lambda h, i, j: near(i, j, 5, 5) & ((i - j) % 2 == 0), lambda: sv.Dilated.by_reach(5, 5, 2)),
    Case("block window", square(14), lambda h, i, j: near(i // 4, j // 4, 1), lambda: sv.BlockWindow(4, left=1, right=0)),
    Case("chunked", square(13), lambda h, i, j: (j <= i) & (i // 5 == j // 5), lambda: sv.Causal() & sv.Chunked(5)),
    # strided: the rule, then the two factors of the Sparse Transformer in one head, then one in each (window as in its code)
    Case("strided", square(13), lambda h, i, j: (i - j) % 4 == 0, lambda: sv.Strided(4)),
    Case(
        "sparse transformer strided, merged",
        square(14),
        lambda h, i, j: (j <= i) & ((i - j < 4) | ((i - j) % 4 == 0)),
        lambda: sv.sparse_transformer_strided(4, merged=True),
    ),
    Case(
        "sparse transformer strided",
        square(14),
        lambda h, i, j: (j <= i) & (((h == 0) & (i - j < 4)) | ((h == 1) & ((i - j) % 4 == 0))),
        lambda: sv.sparse_transformer_strided(4),
    ),
    Case(
        "sparse transformer fixed, merged",
        square(14),
        lambda h, i, j: (j <= i) & ((i // 5 == j // 5) | (j % 5 >= 3)),
        lambda: sv.sparse_transformer_fixed(5, 2, merged=True),
    ),
    Case(
        "sparse transformer fixed",
        square(14),
        lambda h, i, j: (j <= i) & (((h == 0) & (i // 4 == j // 4)) | ((h == 1) & (j % 4 >= 3))),
        lambda: sv.sparse_transformer_fixed(4, 1),
    ),
    # global tokens
    Case("global", square(12), lambda h, i, j: of(i, 0, 11) | of(j, 0, 11), lambda: sv.Global([0, -1])),
    Case("global columns", square(9), lambda h, i, j: of(j, 2, 5), lambda: sv.Global([2, 5], rows=False)),
    Case(
        "window and global",
        square(10),
        lambda h, i, j: near(i, j, 1, 1) | of(i, 0, 6) | of(j, 0, 6),
        lambda: sv.SlidingWindow(1, 1) | sv.Global([0, 6]),
    ),
    Case(
        "longformer",
        square(14),
        lambda h, i, j: (abs(i - j) <= 3) | of(i, 0, 9) | of(j, 0, 9),
        lambda: sv.longformer(window=6, global_tokens=(0, 9)),
    ),
    Case(
        "longformer dilated",
        square(14),
        lambda h, i, j: ((abs(i - j) <= 4) & ((i - j) % 2 == 0)) | of(i, 5) | of(j, 5),
        lambda: sv.longformer(window=4, global_tokens=(5,), dilation=2),
    ),
    Case(
        "bigbird without draws",
        square(21),
        lambda h, i, j: (abs(i // 3 - j // 3) <= 1) | of(i // 3, 0, 6) | of(j // 3, 0, 6),
        lambda: sv.bigbird(block=3, random_blocks=0),
    ),
    Case(
        "streaming",
        square(13),
        lambda h, i, j: (j <= i) & ((j < 2) | (j > i - 4)),
        lambda: sv.streaming_llm(sinks=2, window=4),
    ),
    # documents and prefixes
    Case("documents", square(13), lambda h, i, j: document(i) == document(j), lambda: sv.Documents([3, 1, 5, 4])),
    Case(
        "documents causal",
        square(13),
        lambda h, i, j: (document(i) == document(j)) & (j <= i),
        lambda: sv.Causal() & sv.Documents([3, 1, 5, 4]),
    ),
    Case("prefix", square(11), lambda h, i, j: (j < 4) | (j <= i), lambda: sv.PrefixLM(4)),
    # heads that share keys, heads that differ, rows with no key
    Case("grouped heads", square(9, heads=6), lambda h, i, j: near(i, j, 2), lambda: sv.SlidingWindow(2)),
    Case(
        "grouped heads that differ",
        square(9, heads=4),
        lambda h, i, j: (j <= i) & (j >= i - h),
        lambda: sv.PerHead(*(sv.SlidingWindow(left) for left in range(4))),
    ),
    Case("last row empty", square(8), lambda h, i, j: j > i, lambda: ~sv.Causal()),
    Case("every row empty", square(4), lambda h, i, j: j < 0, lambda: ~sv.Dense()),
]

# --- the same with scores that are more than a product: by FlexAttention's score_mod, gpt-oss' attention for sinks ------------------


@dataclass(frozen=True)
class Scored:
    """A call whose scores are scaled, capped, then biased by slopes[h] * (j - i); `sinks` is one logit a head."""

    name: str
    case: Case
    scale: float | None = None
    softcap: float | None = None
    slopes: tuple[float, ...] | None = None
    sinks: tuple[float, ...] | None = None

    @property
    def bias(self):
        if self.slopes is None:
            return None
        heads, _, nq, nk, _, _ = self.case.shape
        _, i, j = np.ogrid[:heads, self.case.shift : self.case.shift + nq, :nk]
        return np.array(self.slopes)[:, None, None] * (j - i)

    @property
    def options(self):
        """What sparsevis and rounding.py are told."""
        told = {"scale": self.scale, "softcap": self.softcap, "bias": self.bias, "sinks": self.sinks}
        return {name: value for name, value in told.items() if value is not None}

    def allowance(self, *dtypes):
        """As that of a Case."""
        return self.case.allowance(*dtypes, **self.options)


def local(h, i, j):
    return near(i, j, 4)


WINDOW = Case("scored window", square(11, heads=4), local, lambda: sv.SlidingWindow(4))
TALL = Case("scored tall", (4, 2, 9, 6, 5, 5), local, lambda: sv.SlidingWindow(4), "bottom-right")  # three rows are empty

SCORED = [
    Scored("scale", WINDOW, scale=0.7),
    Scored("scale 0", WINDOW, scale=0.0),
    Scored("softcap", WINDOW, softcap=1.5),
    Scored("bias", WINDOW, slopes=(1.0, 0.5, 0.25, -0.5)),
    Scored("softcap, then bias", TALL, scale=1.25, softcap=2.0, slopes=(1.0, 0.5, 0.25, -0.5)),
    Scored("sinks", WINDOW, sinks=(0.0, -2.0, 1.5, 3.0)),
    Scored("sinks and empty rows", TALL, scale=0.5, sinks=(0.5, -1.0, 2.0, 0.0)),
]

# --- masks that transformers makes (masking_utils): name of its function, arguments, n, the pattern ----------------------------

MASKS = [
    ("sliding_window_causal_mask_function", (3,), 8, lambda: sv.mistral(window=3)),
    ("sliding_window_bidirectional_mask_function", (3,), 9, lambda: sv.SlidingWindow(3, 3)),
    ("chunked_causal_mask_function", (3, [0]), 8, lambda: sv.Causal() & sv.Chunked(3)),
    ("packed_sequence_mask_function", ([[0, 0, 1, 1, 1, 1, 2, 2, 2]],), 9, lambda: sv.Documents([2, 4, 3])),
]
