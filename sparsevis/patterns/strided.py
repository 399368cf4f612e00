"""Gaps: dilated windows (Longformer) and the strided and fixed factors of the Sparse Transformer.

    Dilated(2, 2, dilation=2)  █.█.█...   Strided(3)  █..█..█.   Fixed(4)  ████...█
                               .█.█.█..               .█..█..█             ████...█
                               █.█.█.█.               ..█..█..             ████...█
                               .█.█.█.█               █..█..█.             ████...█
                               █.█.█.█.               .█..█..█             ...█████
                               .█.█.█.█               ..█..█..             ...█████
                               ..█.█.█.               █..█..█.             ...█████
                               ...█.█.█               .█..█..█             ...█████
"""

from dataclasses import dataclass

from sparsevis.pattern import Pattern, whole

__all__ = ["Dilated", "Fixed", "Strided"]


@dataclass(frozen=True, repr=False)
class Dilated(Pattern):
    """A window with gaps: `left` keys before and `right` keys after the query, each `dilation` positions from the next.

    Longformer's form (arXiv 2004.05150), which counts slots. The other convention gives the reach in positions: `Dilated.by_reach`.
    Stacked layers of one dilation never leave the residue class i % dilation ("gridding").

    Parameters
    ----------
    left, right : int
        Slots on that side, the query's own excluded.
    dilation : int
        Positions from one slot to the next; 1 is a plain window.

    Examples
    --------
    >>> print(Dilated(1, 1, dilation=2).mask(5)[2].astype(int))
    [1 0 1 0 1]
    """

    left: int
    right: int = 0
    dilation: int = 1
    ingredient = "dilated"

    def __post_init__(self):
        whole(self, "left", 0)
        whole(self, "right", 0)
        whole(self, "dilation", 1)

    @classmethod
    def by_reach(cls, left, right=0, dilation=1):
        """Give the sides in positions: ``|i - j|`` up to `left` (or `right`) and a multiple of `dilation`, as attention-gym has it.

        >>> Dilated.by_reach(4, 4, dilation=2) == Dilated(2, 2, dilation=2)
        True
        """
        checked = cls(left, right, dilation)
        return cls(checked.left // checked.dilation, checked.right // checked.dilation, checked.dilation)

    def allows(self, q, k, n):
        """j = i + t * dilation for some -left <= t <= right."""
        near = (q - k <= self.left * self.dilation) & (k - q <= self.right * self.dilation)
        return near & ((q - k) % self.dilation == 0)

    def _scale(self):
        return (self.left + self.right) * self.dilation


@dataclass(frozen=True, repr=False)
class Strided(Pattern):
    """Every key a multiple of `stride` away, on both sides (Sparse Transformer, arXiv 1904.10509, with `& Causal()`).

    Parameters
    ----------
    stride : int
        The distance from one attended key to the next.

    Examples
    --------
    >>> print(Strided(2).mask(4).astype(int))
    [[1 0 1 0]
     [0 1 0 1]
     [1 0 1 0]
     [0 1 0 1]]
    """

    stride: int
    ingredient = "dilated"

    def __post_init__(self):
        whole(self, "stride", 1)

    def allows(self, q, k, n):
        """(i - j) % stride == 0."""
        return (q - k) % self.stride == 0


@dataclass(frozen=True, repr=False)
class Fixed(Pattern):
    """The keys of one's own group of `stride`, and the last `summary` keys of every group (Sparse Transformer, arXiv 1904.10509).

    Parameters
    ----------
    stride : int
        Positions in a group.
    summary : int
        How many keys at the end of a group speak for it, from 1 to `stride`.
    group : bool
        Attend one's own group too; False leaves the summary keys alone, which is the second published head.

    Examples
    --------
    >>> print(Fixed(2).mask(4).astype(int))
    [[1 1 0 1]
     [1 1 0 1]
     [0 1 1 1]
     [0 1 1 1]]
    """

    stride: int
    summary: int = 1
    group: bool = True
    ingredient = "dilated"

    def __post_init__(self):
        whole(self, "stride", 1)
        whole(self, "summary", 1, self.stride)
        if not isinstance(self.group, bool):
            raise TypeError(f"Fixed: group is {self.group!r}, and needs True or False")

    def allows(self, q, k, n):
        """j % stride >= stride - summary, or one group."""
        told = k % self.stride >= self.stride - self.summary
        return told | (q // self.stride == k // self.stride) if self.group else told
