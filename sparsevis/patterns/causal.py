"""Dense, causal and prefix attention: what everything sparse is measured against.

    dense   █████   causal  █....   prefix 2  ██...
            █████           ██...             ██...
            █████           ███..             ███..
            █████           ████.             ████.
            █████           █████             █████
"""

from dataclasses import dataclass

from sparsevis.pattern import Pattern, whole

__all__ = ["Causal", "Dense", "PrefixLM"]


@dataclass(frozen=True, repr=False)
class Dense(Pattern):
    """Every query attends every key (Vaswani et al. 2017, arXiv 1706.03762): n squared pairs.

    >>> print(Dense().mask(3).astype(int))
    [[1 1 1]
     [1 1 1]
     [1 1 1]]
    """

    def allows(self, q, k, n):
        """True of every key, since positions begin at 0."""
        return k >= 0


@dataclass(frozen=True, repr=False)
class Causal(Pattern):
    """A query attends itself and every key before it: n (n + 1) / 2 pairs.

    >>> print(Causal().mask(3).astype(int))
    [[1 0 0]
     [1 1 0]
     [1 1 1]]
    """

    def allows(self, q, k, n):
        """j <= i."""
        return k <= q


@dataclass(frozen=True, repr=False)
class PrefixLM(Pattern):
    """The first `prefix` keys are seen by all, the rest causally (T5, arXiv 1910.10683; UniLM, 1905.03197).

    Parameters
    ----------
    prefix : int
        How many leading keys every query attends; 0 is plain causal attention.

    Examples
    --------
    >>> print(PrefixLM(2).mask(4).astype(int))
    [[1 1 0 0]
     [1 1 0 0]
     [1 1 1 0]
     [1 1 1 1]]
    """

    prefix: int
    ingredient = "sink"

    def __post_init__(self):
        whole(self, "prefix", 0)

    def allows(self, q, k, n):
        """j < prefix, or causal."""
        return (k < self.prefix) | (k <= q)
