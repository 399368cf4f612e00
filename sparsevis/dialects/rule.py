"""A pattern taken apart the way other libraries say it: a band around the diagonal, and whatever else must hold."""

from __future__ import annotations

from dataclasses import dataclass

from sparsevis.pattern import And, Or, Pattern
from sparsevis.patterns import BlockWindow, Causal, Dense, Dilated, PrefixLM, SlidingWindow, Strided

__all__ = ["Place", "Rule", "Unsayable", "band_pattern", "rule_of"]


class Unsayable(ValueError):
    """The library has no arguments for this pattern; the message says why, `reason` without naming library and pattern."""

    def __init__(self, reason, before=""):
        super().__init__(before + reason)
        self.reason = reason


@dataclass(frozen=True)
class Rule:
    """`i - left <= j <= i + right` (None is unbounded) and every pattern of `rest`.

    Parameters
    ----------
    left, right : int or None
        The band.
    rest : tuple of Pattern
        The conditions that are no band, in order.
    pattern : Pattern
        What was taken apart.
    """

    left: int | None
    right: int | None
    rest: tuple[Pattern, ...]
    pattern: Pattern

    @property
    def everything(self):
        """Whether nothing is masked."""
        return self.left is None and self.right is None and not self.rest

    def band(self):
        """Return (left, right), or raise if there is more to the rule."""
        if self.rest:
            raise Unsayable(f"its arguments say windows and causality only, and this needs {_named(self.rest)}")
        return self.left, self.right

    def split(self, kind):
        """Return (the one part of `rest` that is a `kind`, the rule without it); (None, the rule) where there is none."""
        found = [p for p in self.rest if isinstance(p, kind)]
        if len(found) != 1:
            return None, self
        return found[0], Rule(self.left, self.right, tuple(p for p in self.rest if p is not found[0]), self.pattern)


@dataclass(frozen=True)
class Place:
    """How many queries and keys a call has (None where that was not said) and where query 0 stands."""

    nq: int | None = None
    nk: int | None = None
    offset: int = 0

    def packed(self):
        """Raise unless there are as many queries as keys, as documents have."""
        if (self.nq, self.offset) != (self.nk, 0):
            raise Unsayable(f"its documents have as many queries as keys, not {self.nq} and {self.nk} from position {self.offset}")

    @property
    def bottom_right(self):
        """The offset at which the last query stands at the last key."""
        return 0 if self.nq is None else self.nk - self.nq


def rule_of(pattern):
    """Take a pattern apart.

    >>> from sparsevis import Causal, Chunked, SlidingWindow
    >>> rule = rule_of(SlidingWindow(7, 2) & Causal() & Chunked(4))
    >>> rule.left, rule.right, rule.rest
    (7, 0, (Chunked(size=4),))
    """
    if not isinstance(pattern, Pattern):
        raise TypeError(f"dialects speak of one Pattern, not of a {type(pattern).__name__}; take the heads of a PerHead one by one")
    left, right, rest = None, None, []
    for part in _conjuncts(pattern):
        band = _band(part)
        if band is None:
            rest.append(part)
        else:
            left, right = _nearer(left, band[0]), _nearer(right, band[1])
    return Rule(left, right, tuple(dict.fromkeys(rest)), pattern)


def band_pattern(left, right):
    """Return the simplest pattern that is this band.

    >>> band_pattern(None, 0), band_pattern(3, 0)
    (Causal(), SlidingWindow(left=3))
    """
    if left is None:
        return Dense() if right is None else Causal() if right == 0 else SlidingWindow(None, right)
    return SlidingWindow(left, right)


def _conjuncts(pattern):
    return [*_conjuncts(pattern.a), *_conjuncts(pattern.b)] if isinstance(pattern, And) else [pattern]


def _band(pattern):
    """(left, right) of a pattern that is a band around the diagonal, else None."""
    match pattern:
        case Dense() | Strided(stride=1):
            return None, None
        case Causal() | PrefixLM(prefix=0):
            return None, 0
        case SlidingWindow(left, right) | Dilated(left, right, 1) | BlockWindow(1, left, right):
            return left, right
        case Or(a, b):
            a, b = rule_of(a), rule_of(b)  # bands all hold the diagonal, so the union of two has no gap
            return None if a.rest or b.rest else (_farther(a.left, b.left), _farther(a.right, b.right))
    return None


def _nearer(a, b):
    return b if a is None else a if b is None else min(a, b)


def _farther(a, b):
    return None if a is None or b is None else max(a, b)


def _named(patterns):
    text = " and ".join(map(repr, patterns))
    return text if len(text) <= 120 else text[:116] + " ..."
