"""Local attention: the keys near the query, counted in positions (windows) or in blocks (block windows, chunks).

    SlidingWindow(2)  █.....   SlidingWindow(1, 1)  ██....   Chunked(3)  ███...   BlockWindow(2, 1, 0)  ██....
                      ██....                        ███...               ███...                         ██....
                      ███...                        .███..               ███...                         ████..
                      .███..                        ..███.               ...███                         ████..
                      ..███.                        ...███               ...███                         ..████
                      ...███                        ....██               ...███                         ..████
"""

from dataclasses import dataclass

from sparsevis.pattern import Pattern, whole

__all__ = ["BlockWindow", "Chunked", "SlidingWindow"]


@dataclass(frozen=True, repr=False)
class SlidingWindow(Pattern):
    """Keys from `left` before the query to `right` after it, both ends and the query itself included.

    Beware of a bare "window W": libraries mean W, W + 1, 2 W - 1 or 2 W + 1 keys by it. Here the sides are said apart, so an inner
    query attends left + 1 + right keys.

    Parameters
    ----------
    left, right : int or None
        Keys on that side of the query, the query excluded; None is unbounded.

    Examples
    --------
    >>> print(SlidingWindow(1).mask(4).astype(int))
    [[1 0 0 0]
     [1 1 0 0]
     [0 1 1 0]
     [0 0 1 1]]
    """

    left: int | None
    right: int | None = 0
    ingredient = "window"

    def __post_init__(self):
        whole(self, "left", 0, none=True)
        whole(self, "right", 0, none=True)

    def allows(self, q, k, n):
        """i - left <= j <= i + right."""
        if self.left is None:
            return k >= 0 if self.right is None else k - q <= self.right
        return q - k <= self.left if self.right is None else (q - k <= self.left) & (k - q <= self.right)


@dataclass(frozen=True, repr=False)
class BlockWindow(Pattern):
    """Keys of the query's own block and of `left` blocks before and `right` blocks after it, as in BigBird (arXiv 2007.14062).

    Parameters
    ----------
    block : int
        Positions in a block.
    left, right : int or None
        Blocks on that side, the query's own excluded; None is unbounded.

    Examples
    --------
    >>> print(BlockWindow(2, left=1, right=0).mask(6)[4].astype(int))
    [0 0 1 1 1 1]
    """

    block: int
    left: int | None = 1
    right: int | None = 1
    ingredient = "window"

    def __post_init__(self):
        whole(self, "block", 1)
        whole(self, "left", 0, none=True)
        whole(self, "right", 0, none=True)

    def allows(self, q, k, n):
        """The rule of SlidingWindow, of block numbers."""
        return SlidingWindow(self.left, self.right).allows(q // self.block, k // self.block, n)


@dataclass(frozen=True, repr=False)
class Chunked(Pattern):
    """Queries attend the keys of their own chunk, as in Llama 4's local layers (chunks of 8192, causal).

    Parameters
    ----------
    size : int
        Positions in a chunk; the last chunk may be shorter.

    Examples
    --------
    >>> print(Chunked(2).mask(4).astype(int))
    [[1 1 0 0]
     [1 1 0 0]
     [0 0 1 1]
     [0 0 1 1]]
    """

    size: int
    ingredient = "window"

    def __post_init__(self):
        whole(self, "size", 1)

    def allows(self, q, k, n):
        """Both positions lie in one chunk."""
        return q // self.size == k // self.size
