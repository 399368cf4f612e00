"""Packed documents: several texts in one sequence that do not see each other.

    Documents([1, 3, 2])  █.....
                          .███..
                          .███..
                          .███..
                          ....██
                          ....██
"""

from dataclasses import dataclass
from functools import lru_cache
from operator import index

import numpy as np

from sparsevis.pattern import Fits, Pattern
from sparsevis.readings import Symbol, at, extent, low
from sparsevis.tables import Steps

__all__ = ["Documents"]


@dataclass(frozen=True, repr=False)
class Documents(Pattern):
    """Queries attend the keys of their own document; add `& Causal()` for language models.

    Parameters
    ----------
    lengths : iterable of int
        The length of each document in order; 0 is legal. Their sum is the only number of keys that the pattern fits.

    Raises
    ------
    ValueError
        If a length is negative, or if the pattern is used at another number of keys.

    Examples
    --------
    >>> print(Documents([1, 2]).mask(3).astype(int))
    [[1 0 0]
     [0 1 1]
     [0 1 1]]
    """

    lengths: tuple[int, ...]
    ingredient = "window"

    def __post_init__(self):
        try:
            object.__setattr__(self, "lengths", tuple(index(x) for x in self.lengths))
        except TypeError:
            raise TypeError(f"Documents: lengths is {self.lengths!r}, and needs a list of whole numbers") from None
        if min(self.lengths, default=-1) < 0:
            raise ValueError(f"Documents: lengths is {self.lengths}, and needs one or more whole numbers >= 0")

    @property
    def fits(self):
        """The sum of the lengths, and nothing else."""
        return Fits(sum(self.lengths), sum(self.lengths), sum(self.lengths))

    def allows(self, q, k, n):
        """Document of i is document of j."""
        first = 0 if isinstance(q, Symbol) else int(np.min(low(q), initial=0))
        if not isinstance(n, Symbol) and (n != self.length or extent(q) > n or first < 0):
            asked = f"{extent(q)} query positions and {n} keys" if first == 0 else f"a query at position {first}"
            raise ValueError(f"Documents: lengths sum to {self.length}, but the rule was asked about {asked}")
        steps = _steps(self.lengths)
        return at(steps, q) == at(steps, k)


@lru_cache(maxsize=16)
def _steps(lengths):
    return Steps(lengths, "document")
