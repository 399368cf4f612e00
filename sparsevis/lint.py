"""What looks wrong with a pattern at a length, in plain sentences: each with the rows it concerns, exactly, and how to fix it.

Nothing is sampled and no n x n array is made: the rows are exact up to a million positions. The checks stand in `_checks`.
"""

from dataclasses import replace
from operator import index

from sparsevis._checks import CHECKS, STACK_CHECKS, Case
from sparsevis._findings import SEVERITIES, Finding, Findings, place_of
from sparsevis.layout import block_of
from sparsevis.pattern import Pattern, sizes
from sparsevis.per_head import PerHead

__all__ = ["Finding", "Findings", "lint"]


def lint(pattern, n, *, causal=None, layers=None, block=64, tax=2.0, offset=None):
    """Look for what is likely wrong with a pattern at a length.

    Parameters
    ----------
    pattern : Pattern, PerHead, or list of them
        A list is a schedule, with one entry a layer.
    n : int or (int, int)
        Number of positions, or numbers of queries and keys.
    causal : bool, optional
        Whether the pattern claims that no query attends the future; what breaks the claim is an error. Left out, two signs are taken for
        a claim: a part that looks back only, such as `Causal()` or a window with right=0 (a warning), and a future of less than 1 % of
        the pairs (a note). What a `PrefixLM` sees of the future is not held against it.
    layers : int, optional
        How many layers are stacked, to look for what stays out of reach; a list says so by its length.
    block : int or (int, int)
        Tile of the kernel.
    tax : float
        How many pairs the tiles may make a kernel compute for one that is needed.
    offset
        As for `Pattern.mask`.

    Returns
    -------
    Findings

    Examples
    --------
    >>> from sparsevis import Causal, Global, SlidingWindow
    >>> print(lint(Causal() & SlidingWindow(7) | Global([0]), 64, block=4))
    1 warning at n = 64 (8 checks)
    warning: Causal() looks back only, but 1 of 64 queries attends later keys: 63 pairs in the future (row 0)
      fix: write Causal() & (...) around the whole, since & binds tighter than |; if the future may be seen, say causal=False
    >>> bool(lint(Causal() & (SlidingWindow(7) | Global([0])), 64, block=4))
    False
    """
    (nq, nk), offset = sizes(*(n if isinstance(n, tuple | list) else (n, None)), offset)
    stack, layers = _stacked(pattern, layers)
    places, rest, made = {}, (nq, nk, offset, causal, layers, block_of(block), tax), {}
    for layer, heads in enumerate(stack):
        for head, one in enumerate(heads):
            places.setdefault(one, []).append((layer, head))  # a pattern that several share is looked at once
    cases = [Case(one, stack, place_of(at, stack), *rest, made) for one, at in places.items()]
    jobs = [(*check, case) for check in CHECKS.items() for case in cases]
    jobs += [(*check, Case(None, stack, "", *rest, made)) for check in STACK_CHECKS.items()]
    found, unchecked = [], []
    for name, check, case in jobs if nq and nk else ():
        try:
            found += [replace(finding, name=name, where=case.where) for finding in check(case)]
        except MemoryError as error:
            unchecked.append(": ".join(filter(None, (case.where, name, str(error)))))
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Findings(tuple(found), nq if nq == nk else (nq, nk), (*CHECKS, *STACK_CHECKS), tuple(unchecked))


def _stacked(pattern, layers):
    """The heads of each layer, and how many layers there are, None where nobody said."""
    schedule = isinstance(pattern, tuple | list)
    entries = pattern if schedule else [pattern]
    for entry in entries:
        if not isinstance(entry, Pattern | PerHead):
            raise TypeError(f"lint needs a Pattern, a PerHead or a list of them, not {type(entry).__name__} (a mask: Chosen.from_mask)")
    if schedule and (not entries or layers not in (None, len(entries))):
        raise ValueError(f"a list has one pattern a layer: there are {len(entries)}, and layers is {layers}")
    if layers is not None and index(layers) < 1:
        raise ValueError(f"layers is {layers}, and needs to be 1 or more")
    return tuple(tuple(e.patterns) if isinstance(e, PerHead) else (e,) for e in entries), len(entries) if schedule else layers
