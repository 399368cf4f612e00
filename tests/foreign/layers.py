"""Whole layers of transformers: their settings, inputs and weights, drawn as in cases.py."""

from dataclasses import dataclass

import numpy as np

from .cases import fractions
from .rounding import UNIT, bound

__all__ = ["BIGBIRDS", "LONGFORMERS", "BigBird", "Longformer"]


def projections(seed, names, hidden):
    """Weight and bias of each linear map; small, so that its results stay near 1."""
    drawn = fractions(seed, len(names), hidden + 1, hidden, most=0.25)
    return {name: (w[:hidden], w[hidden]) for name, w in zip(names, drawn, strict=True)}


def project(x, weights, heads):
    """(n, hidden) -> (heads, n, head dimension), exactly."""
    w, b = weights
    return np.ascontiguousarray((x @ w.T + b).reshape(len(x), heads, -1).swapaxes(0, 1))


@dataclass(frozen=True)
class Longformer:
    """A LongformerSelfAttention layer; `window` is the total of both sides."""

    name: str
    n: int
    window: int
    tokens: tuple[int, ...]
    heads: int = 4
    hidden: int = 32
    maps = ("query", "key", "value", "query_global", "key_global", "value_global")

    @property
    def hidden_states(self):
        return fractions(self.name, self.n, self.hidden)

    @property
    def weights(self):
        return projections(self.name + " weights", self.maps, self.hidden)

    @property
    def inputs(self):
        return [project(self.hidden_states, self.weights[name], self.heads) for name in self.maps]

    @property
    def mask(self):
        i, j = np.ogrid[: self.n, : self.n]
        return (abs(i - j) <= self.window // 2) | np.isin(i, self.tokens) | np.isin(j, self.tokens)

    def allowance(self, *dtypes):
        """How far two outputs may lie apart that were computed in these dtypes; rows of global tokens have other q, k, v."""
        mask, is_global = np.broadcast_to(self.mask, (self.heads, self.n, self.n)), np.isin(np.arange(self.n), self.tokens)
        errors = [[bound(*x, mask, UNIT[dtype])[0] for dtype in dtypes] for x in (self.inputs[:3], self.inputs[3:])]
        return np.where(is_global[:, None], sum(errors[1]), sum(errors[0]))


LONGFORMERS = [
    Longformer("two globals", n=32, window=8, tokens=(0, 17)),
    Longformer("neighbours and the last", n=24, window=6, tokens=(2, 3, 23)),
    Longformer("no global", n=24, window=4, tokens=()),
]


@dataclass(frozen=True)
class BigBird:
    """A BigBirdBlockSparseAttention layer in training mode without dropout; `rows` are the query rows that are kept."""

    name: str
    n: int
    block: int
    random_blocks: int
    seed: int
    heads: int
    hidden: int
    every: int = 1
    maps = ("query", "key", "value")

    @property
    def hidden_states(self):
        return fractions(self.name, self.n, self.hidden)

    @property
    def weights(self):
        return projections(self.name + " weights", self.maps, self.hidden)

    @property
    def inputs(self):
        return [project(self.hidden_states, self.weights[name], self.heads) for name in self.maps]

    @property
    def rows(self):
        return np.arange(self.every // 2, self.n, self.every)

    def allowance(self, tiles):
        """How far two outputs in float64 may lie apart at the kept rows, `tiles` (heads, blocks, blocks) being attended."""
        q, k, v = self.inputs
        return 2 * bound(q[:, self.rows], k, v, self.spread(tiles)[:, self.rows], UNIT["float64"])[0]

    def spread(self, tiles):
        """From a table over blocks to one over positions."""
        return tiles.repeat(self.block, 1).repeat(self.block, 2)


BIGBIRDS = [
    BigBird("few blocks", n=32, block=4, random_blocks=3, seed=2, heads=3, hidden=12),  # nb = 8: draws from all blocks
    BigBird("two segments", n=50, block=2, random_blocks=10, seed=7, heads=2, hidden=8),  # nb = 25: half of the draws from each
    BigBird("generic", n=64, block=4, random_blocks=3, seed=1, heads=3, hidden=12),  # nb = 16: draws from the first 11 blocks
    BigBird("paper", n=1024, block=64, random_blocks=3, seed=0, heads=2, hidden=16, every=32),  # the paper's plan for 1024
]
