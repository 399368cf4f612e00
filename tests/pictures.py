"""Literal pictures of masks, and the patterns that every law is held against.

A picture is one line a query: `█` (or `#`, `1`) where the key is allowed, `.` (or `0`) where it is not. Pictures in the tests are worked
out by hand from the rule in the paper; nobody prints the code's answer and pastes it.

A law is checked over `INSTANCES`: a function of the number of keys for each, because some patterns hold a table of one length. A test
asks that every class in `sparsevis.patterns` stands in the list, so that a new pattern cannot go untested.
"""

import textwrap

import numpy as np
import pytest

import sparsevis as sv

__all__ = ["INSTANCES", "SHAPES", "assert_picture", "assert_refused", "instance", "keys", "mask_of_picture", "placed"]

_ON, _OFF = "█#1", ".·0"


def mask_of_picture(text):
    """Boolean matrix of a picture; spaces at the front and empty lines around it do not count."""
    lines = textwrap.dedent(text).strip("\n").split("\n")
    lines = [line.strip() for line in lines]
    strange = set("".join(lines)) - set(_ON + _OFF)
    if strange or len({len(line) for line in lines}) != 1:
        raise ValueError(f"a picture needs lines of one length, of {_ON} and {_OFF}: {lines}")
    return np.array([[c in _ON for c in line] for line in lines])


def assert_picture(mask, text):
    """The mask is the picture; else say where they part, and show the first row that differs."""
    mask, want = np.asarray(mask), mask_of_picture(text)
    assert mask.dtype == bool, f"the mask is {mask.dtype}, not bool"
    assert mask.shape == want.shape, f"the mask is {mask.shape[0]} x {mask.shape[1]}, the picture {want.shape[0]} x {want.shape[1]}"
    wrong = np.flatnonzero((mask != want).any(1))
    if wrong.size:
        row = int(wrong[0])
        draw = lambda cells, on="█", off=".": "".join(on if c else off for c in cells)
        raise AssertionError(
            f"{wrong.size} of {len(want)} rows differ; the first is row {row}\n"
            f"  mask     {draw(mask[row])}\n  picture  {draw(want[row])}\n           {draw(mask[row] != want[row], '^', ' ')}"
        )


def assert_refused(make, error, words):
    """The call raises just this error, and its message holds every one of the words: what was given, what is needed."""
    with pytest.raises(error) as caught:
        make()
    assert type(caught.value) is error, f"{type(caught.value).__name__} is not {error.__name__}"
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"no {missing} in: {caught.value}"


def keys(row):
    """Keys that a row of a mask allows, as a list."""
    return np.flatnonzero(row).tolist()


def _splits(n):
    """Lengths of documents that fill n positions: uneven ones, and one of no length."""
    return [n] if n < 4 else [1, n // 3, 0, n - n // 3 - 1]


def _blocks(n, block):
    """Number of blocks that cover n positions."""
    return -(-n // block)


def _coins(rows, columns, share, seed):
    return np.random.default_rng(seed).random((rows, columns)) < share


def _some_indices(n):
    draw = np.random.default_rng(5)
    return [draw.integers(-1, n, size=draw.integers(0, 6)).tolist() for _ in range(n)]


INSTANCES = {
    "dense": lambda n: sv.Dense(),
    "causal": lambda n: sv.Causal(),
    "prefix": lambda n: sv.PrefixLM(5),
    "window": lambda n: sv.SlidingWindow(3),
    "window two-sided": lambda n: sv.SlidingWindow(2, 9),
    "window of itself": lambda n: sv.SlidingWindow(0),
    "window left open": lambda n: sv.SlidingWindow(None, 1),
    "window right open": lambda n: sv.SlidingWindow(4, None),
    "window open": lambda n: sv.SlidingWindow(None, None),
    "block window": lambda n: sv.BlockWindow(5),
    "block window right": lambda n: sv.BlockWindow(3, 0, 2),
    "block window left open": lambda n: sv.BlockWindow(7, None, 0),
    "chunked": lambda n: sv.Chunked(6),
    "dilated": lambda n: sv.Dilated(2, 1, 3),
    "dilated one-sided": lambda n: sv.Dilated(5, 0, 2),
    "strided": lambda n: sv.Strided(5),
    "strided by one": lambda n: sv.Strided(1),
    "fixed": lambda n: sv.Fixed(5, 2),
    "fixed summary": lambda n: sv.Fixed(6, 1, group=False),
    "global": lambda n: sv.Global([0, n // 2, -1]),
    "global rows": lambda n: sv.Global(range(min(n, 3)), columns=False),
    "global columns": lambda n: sv.Global([-1], rows=False),
    "global blocks": lambda n: sv.Global([0, -1], block=5),
    "sink": lambda n: sv.Sink(2),
    "sink of nothing": lambda n: sv.Sink(0),
    "random keys": lambda n: sv.RandomKeys(min(3, n), seed=4),
    "random keys, most": lambda n: sv.RandomKeys(n - n // 4),
    "random blocks": lambda n: sv.RandomBlocks(5, min(2, _blocks(n, 5)), seed=1),
    "documents": lambda n: sv.Documents(_splits(n)),
    "chosen mask": lambda n: sv.Chosen.from_mask(_coins(n, n, 0.3, 2)),
    "chosen blocks": lambda n: sv.Chosen.from_blocks(_coins(_blocks(n, 6), _blocks(n, 6), 0.5, 3), 6),
    "chosen indices": lambda n: sv.Chosen.from_indices(_some_indices(n)),
    "chosen nothing": lambda n: sv.Chosen.from_mask(np.zeros((n, n), bool)),
    "mistral": lambda n: sv.mistral(6),
    "longformer": lambda n: sv.longformer(8, (0, n // 3)),
    "longformer dilated": lambda n: sv.longformer(4, (0,), dilation=3),
    "bigbird": lambda n: sv.bigbird(4, random_blocks=min(1, _blocks(n, 4))),
    "strided merged": lambda n: sv.sparse_transformer_strided(6, merged=True),
    "fixed merged": lambda n: sv.sparse_transformer_fixed(6, 2, merged=True),
    "streaming": lambda n: sv.streaming_llm(3, 7),
    "not": lambda n: ~sv.SlidingWindow(4, 4),
    "difference": lambda n: sv.Causal() - sv.Dilated(3, 3, 4),
    "causal documents": lambda n: sv.Causal() & sv.Documents(_splits(n)),
    "table and rule": lambda n: (sv.Chosen.from_mask(_coins(n, n, 0.1, 7)) | sv.Strided(4)) - sv.Sink(1),
    "nested": lambda n: ~(sv.Chunked(9) | ~(sv.Causal() & (sv.SlidingWindow(5) | sv.Global([0]) | sv.Strided(11)))),
}

# (queries, keys, position of query 0) for n keys: square, the last rows, rows from the middle, one decode step, more queries than keys
SHAPES = {
    "square": lambda n: (n, n, 0),
    "last rows": lambda n: (n // 2 + 1, n, n - n // 2 - 1),
    "middle": lambda n: (n // 3 + 1, n, n // 4),
    "decode": lambda n: (1, n, n - 1),
    "tall": lambda n: (n + 5, n, 0),
    "tall, last": lambda n: (n + 5, n, -5),
}


def instance(name, n):
    """The instance of a pattern for n keys."""
    return INSTANCES[name](n)


def placed(pattern, n):
    """The shapes (nq, nk, offset) at n keys that the pattern fits: tables know no position before 0, and some none beyond their end."""
    table, bounded = "[" in pattern.formula(), pattern.fits.queries is not None
    shapes = [shape(n) for shape in SHAPES.values()]
    return [(nq, nk, offset) for nq, nk, offset in shapes if not (table and offset < 0) and not (bounded and offset + nq > n)]
