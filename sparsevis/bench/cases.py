"""What is timed: each case is a pattern at one size and dtype, with the goals it is held to."""

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from sparsevis.pattern import Pattern
from sparsevis.patterns import Causal, Dense, bigbird, longformer, mistral

__all__ = ["CASES", "MEASURES", "Case", "Goal", "chosen"]

# what a goal can be set on: is more better, and how it reads
MEASURES = {
    "flex": (True, "{:.2f}x FlexAttention"),  # its better block size, from the medians of the ratios of each round
    "sdpa": (True, "{:.2f}x SDPA"),
    "peak": (True, "{:.0%} of the FMA peak"),
    "seconds": (False, "{:.2f} s"),
    "memory": (False, "{:.1%} of the inputs"),  # layout and call together, at their highest
    "cold": (False, "{:.1f} s for the first call, nothing cached"),
    "cold backward": (False, "{:.1f} s for the first backward, nothing cached"),
    "warm": (False, "{:.2f} s for import and first call, cached"),
}

FLOPS = {"forward": 4, "backward": 10}  # for each pair and element of the head dimension


@dataclass(frozen=True)
class Goal:
    """A bound on one measure of a case, on two cores and at full size.

    >>> Goal("sdpa", 1.5).met(2.0), Goal("memory", 0.05).met(0.2)
    (True, False)
    """

    measure: str
    bound: float

    def met(self, value):
        """Whether a measured value keeps the bound."""
        return bool(value >= self.bound if MEASURES[self.measure][0] else value <= self.bound)


@dataclass(frozen=True)
class Case:
    """One line of work for every peer.

    Attributes
    ----------
    kind : {"forward", "backward", "layout", "first call"}
        "backward" starts from a forward pass that was kept; "layout" is what is made of a pattern before any call.
    peers : tuple of str or None
        Who takes part, if they can; None is everyone.
    small : int or None
        The length in a quick run; None leaves the case out of it.
    """

    name: str
    what: str
    pattern: Pattern
    n: int
    small: int | None = None
    heads: int = 8
    d: int = 64
    dtype: str = "float32"
    kind: str = "forward"
    peers: tuple[str, ...] | None = None
    goals: tuple[Goal, ...] = ()

    def quick(self):
        """Return the case at its small size, which no goal is meant for."""
        return replace(self, n=self.small, heads=min(self.heads, 4), goals=())

    @property
    def flops_a_pair(self):
        """Floating-point operations for each allowed pair of a head; 0 where the case computes no attention."""
        return FLOPS.get(self.kind, 0) * self.d


def chosen(names, quick=False):
    """Return the cases of these names or wildcards, all for none; of a quick run at their small size.

    >>> [case.name for case in chosen(["window-*"], quick=True)]
    ['window-256']
    """
    cases = [case for case in CASES if not quick or case.small]
    known = [case.name for case in cases]
    for name in names:
        if not any(fnmatchcase(x, name) for x in known):
            raise ValueError(f"no {'quick ' if quick else ''}case is called {name!r}; there are {', '.join(known)}")
    found = [case for case in cases if not names or any(fnmatchcase(case.name, name) for name in names)]
    return [case.quick() if quick else case for case in found]


def _float64(case):
    peers = ("cpu", "sdpa") if case.name in ("causal", "dense") else ("cpu",)
    return replace(case, name=f"{case.name}-float64", dtype="float64", small=None, peers=peers, goals=(Goal("peak", 0.75),))


def _layout(case):
    what = "the tiles, against create_block_mask"
    return replace(case, name=f"layout-{case.name}", what=what, kind="layout", goals=(Goal("flex", 50),))


_LONGFORMER = longformer(512, range(16))
_FORWARD = [
    Case("window-256", "causal window of 256 keys", mistral(256), 16384, 2048, goals=(Goal("flex", 2.4), Goal("peak", 0.65))),
    Case("window-1024", "causal window of 1,024 keys", mistral(1024), 16384, goals=(Goal("flex", 2.3), Goal("peak", 0.78))),
    Case("longformer", "256 keys on each side and 16 global tokens", _LONGFORMER, 16384, goals=(Goal("flex", 2.5),)),
    Case("bigbird", "blocks of 64: 3 window, 2 global, 3 random", bigbird(), 16384, goals=(Goal("flex", 2.2),)),
    Case("causal", "dense and causal", Causal(), 4096, goals=(Goal("sdpa", 1.5), Goal("peak", 0.85))),
    Case("dense", "every key, exact, and no n x n matrix: see the memory", Dense(), 4096, 1024, goals=(Goal("memory", 0.05),)),
]

CASES = [
    Case("ladder", "dense and causal, small enough for everyone", Causal(), 1024, 512, heads=2),
    *_FORWARD,
    Case(
        "window-1024-float16", "inputs of 16 bits, sums of 32", mistral(1024), 16384, dtype="float16",
        peers=("cpu", "flex 64", "flex 128", "sdpa"),
    ),
    *map(_float64, _FORWARD),
    Case("causal-backward", "backward alone, forward kept", Causal(), 4096, 1024, kind="backward", goals=(Goal("sdpa", 1.4),)),
    Case(
        "million", "causal window of 512 keys over 1,048,576 tokens, one head", mistral(512), 1 << 20, 1 << 16, heads=1,
        peers=("cpu", "flex 128"), goals=(Goal("seconds", 1.0), Goal("memory", 0.05)),
    ),
    *map(_layout, _FORWARD[:4]),
    Case(
        "first-call", "in a process of its own: compiled, then from the cache", Causal(), 64, heads=1, kind="first call",
        goals=(Goal("cold", 5.0), Goal("cold backward", 8.0), Goal("warm", 0.8)),
    ),
]  # fmt: skip
