"""One pattern for each query head."""

from functools import reduce

import numpy as np

from sparsevis.pattern import Pattern

__all__ = ["PerHead"]


class PerHead:
    """One pattern for each query head.

    Parameters
    ----------
    *patterns : Pattern
        The pattern of head 0, 1, ...

    Examples
    --------
    >>> from sparsevis import Causal, PerHead, SlidingWindow
    >>> heads = PerHead(SlidingWindow(1), SlidingWindow(3)) & Causal()
    >>> len(heads), heads.mask(4).shape
    (2, (2, 4, 4))
    """

    def __init__(self, *patterns):
        if not patterns or not all(isinstance(p, Pattern) for p in patterns):
            raise TypeError(f"PerHead needs one or more patterns, one a head; it was given {patterns!r}")
        self.patterns = patterns

    def cycled(self, heads):
        """Return the same patterns repeated in turn for `heads` heads: head h has pattern h modulo their number."""
        return PerHead(*(self.patterns[h % len(self)] for h in range(heads)))

    def mask(self, nq, nk=None, offset=None):
        """Return a boolean array (heads, nq, nk); see `Pattern.mask`."""
        return np.stack([p.mask(nq, nk, offset) for p in self.patterns])

    def union(self):
        """Return the pattern of the pairs that some head allows."""
        return reduce(lambda a, b: a | b, dict.fromkeys(self.patterns))

    def to_dict(self):
        """Return plain JSON values; see `Pattern.to_dict`."""
        return {"pattern": "PerHead", "patterns": [p.to_dict() for p in self.patterns]}

    def example_length(self):
        """See `Pattern.example_length`."""
        return max(p.example_length() for p in self.patterns)

    def _map(self, other, combine):
        if isinstance(other, Pattern):
            return PerHead(*(combine(p, other) for p in self.patterns))
        if isinstance(other, PerHead):
            if len(other) != len(self):
                raise ValueError(f"PerHead of {len(self)} heads combined with one of {len(other)}: the numbers of heads must be equal")
            return PerHead(*map(combine, self.patterns, other.patterns))
        return NotImplemented

    def __and__(self, other):
        return self._map(other, lambda a, b: a & b)

    def __or__(self, other):
        return self._map(other, lambda a, b: a | b)

    def __sub__(self, other):
        return self._map(other, lambda a, b: a - b)

    def __rsub__(self, other):
        return self._map(other, lambda a, b: b - a)

    __rand__, __ror__ = __and__, __or__

    def __invert__(self):
        return PerHead(*(~p for p in self.patterns))

    def __len__(self):
        return len(self.patterns)

    def __getitem__(self, head):
        return self.patterns[head]

    def __eq__(self, other):
        return self.patterns == other.patterns if isinstance(other, PerHead) else NotImplemented

    def __hash__(self):
        return hash(("PerHead", self.patterns))

    def __bool__(self):
        return Pattern.__bool__(self)

    def __repr__(self):
        return f"PerHead({', '.join(map(repr, self.patterns))})"

    def describe(self, n=None):
        """Describe every head; see `Pattern.describe`."""
        return "\n".join(f"head {h}: {p.describe(n)}" for h, p in enumerate(self.patterns))

    def __str__(self):
        return self.describe()

    def _repr_html_(self):
        return "".join(f"<p>head {h}</p>{p._repr_html_()}" for h, p in enumerate(self.patterns))
