"""How many keys a query has seen after l layers, as a formula: where one is known, and beside what was published.

    windows, causal     1 + l w             for w keys besides the query; published l (w + 1): the query counted once a layer
    windows, two-sided  1 + l (left + right)
    dilated             as a window of its slots, though it spans dilation times as much: one residue class
    global tokens       everything after 2 layers, if the tokens may look at everything: not under a causal mask

Formulas are cut at the ends of the text, so that they hold for every query and not only for those far inside.
"""

from dataclasses import dataclass

import numpy as np

from sparsevis.pattern import And, Or
from sparsevis.patterns import BlockWindow, Causal, Chunked, Dense, Dilated, Documents, Fixed, Global, Sink, SlidingWindow, Strided
from sparsevis.per_head import PerHead

__all__ = ["ClosedForm", "closed_form"]

FAR = 1 << 40  # the reach of a side that is not bounded


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """A formula for the sizes of receptive fields, and what was published for them.

    Attributes
    ----------
    formula : str
        In words and signs, for l layers.
    sizes : int64 array
        Like `ReceptiveField.sizes`; -1 where the formula says nothing.
    claim : str
        The published claim and its source; empty where there is none, or none that differs.
    claimed : int64 array (layers,)
        Its sizes; -1 where it says nothing.
    why : str
        Why the two differ.
    """

    formula: str
    sizes: np.ndarray
    claim: str = ""
    claimed: np.ndarray | None = None
    why: str = ""

    def agrees(self, sizes):
        """Tell whether measured sizes are the formula's, wherever it says something."""
        return bool(((self.sizes == sizes) | (self.sizes < 0)).all())


def closed_form(patterns, n, query=None):
    """Return the ClosedForm of a stack of patterns, one a layer; None where none is known.

    Parameters
    ----------
    patterns : sequence of Pattern or PerHead
        The first is nearest the input.
    n : int
        Number of positions.
    query : int, optional
        One query; all of them if left out.

    Examples
    --------
    >>> from sparsevis import SlidingWindow
    >>> form = closed_form([SlidingWindow(4095)] * 32, 1 << 20, query=(1 << 20) - 1)
    >>> form.formula, int(form.sizes[-1]), int(form.claimed[-1])
    ('1 + 4,095 l', 131041, 131072)
    """
    patterns = [p.union() if isinstance(p, PerHead) else p for p in patterns]
    i = np.arange(n) if query is None else np.array([query])
    layers = np.arange(1, len(patterns) + 1)[:, None]
    found = _windows(patterns, n, i, layers)
    if found is None and len(set(patterns)) == 1:
        found = _uniform(patterns[0], n, i, layers)
    if found is None:
        found = _until_a_full_layer(patterns, n, i, layers)
    if found is None:
        return None
    formula, sizes, *published = found
    sizes = np.broadcast_to(sizes, (len(patterns), i.size))
    return ClosedForm(formula, sizes[:, 0] if query is not None else sizes, *published)


def _windows(patterns, n, i, layers):
    """Windows add up: after any layers of them a query has seen an interval around itself."""
    sides = [_sides(p) for p in patterns]
    if None in sides:
        return None
    left, right = (np.minimum(np.cumsum(side), FAR)[:, None] for side in zip(*sides, strict=True))
    sizes = 1 + np.minimum(i, left) + np.minimum(n - 1 - i, right)
    (l, r), added = sides[0], sum(sides[0])
    if max(max(s) for s in sides) >= FAR:
        return "1 + the extra keys of all windows, and everything once a layer is full", sizes
    if len(set(sides)) > 1:
        return "1 + the extra keys of all windows", sizes
    if added and r == 0:
        claim = f"{added + 1:,} l, the keys of a window times the layers (Mistral, arXiv 2310.06825)"
        why = f"one of the {added + 1:,} keys of a window is the query itself: a layer adds {added:,}"
        return f"1 + {added:,} l", sizes, claim, (added + 1) * layers[:, 0], why
    if added and l == r:
        claim = f"{added:,} l, the window times the layers (Longformer, arXiv 2004.05150)"
        return f"1 + {added:,} l", sizes, claim, added * layers[:, 0], "the query itself counts too"
    return f"1 + {added:,} l", sizes


def _sides(p):
    """(left, right) of a pattern that is a window around every query, FAR for an open side; None if it is not."""
    if isinstance(p, Dense):
        return FAR, FAR
    if isinstance(p, Causal):
        return FAR, 0
    if isinstance(p, SlidingWindow):
        return tuple(FAR if side is None else side for side in (p.left, p.right))
    if isinstance(p, And | Or):
        a, b, pick = _sides(p.a), _sides(p.b), min if isinstance(p, And) else max
        return None if a is None or b is None else (pick(a[0], b[0]), pick(a[1], b[1]))
    return None


def _uniform(pattern, n, i, layers):
    """The same layer again and again, by what its union is made of."""
    bases, causal = zip(*map(_base, pattern.parts()), strict=True)
    if len(set(causal)) > 1:
        return None
    kinds, alone = {type(base): base for base in bases}, bases[0] if len(bases) == 1 else None
    causal, later = causal[0], layers >= 2
    everything = i + 1 if causal else n
    if isinstance(alone, Dilated):
        return _dilated(alone, causal, n, i, layers)
    if isinstance(alone, BlockWindow) and None not in (alone.left, alone.right):
        block, l, r = alone.block, alone.left, alone.right
        end = i + 1 if causal else np.minimum(n, (i // block + r * layers + 1) * block)
        return f"{block:,} (1 + {l if causal else l + r} l)", end - np.maximum(0, (i // block - l * layers) * block)
    if isinstance(alone, Chunked | Documents):
        first, end = _own(alone, n, i)
        what = "chunk" if isinstance(alone, Chunked) else "document"
        return f"one's own {what}, whatever l", (i + 1 if causal else end) - first
    if isinstance(alone, Strided):
        return f"every {alone.stride}-th key, whatever l", i // alone.stride + 1 + (0 if causal else (n - 1 - i) // alone.stride)
    if causal and len(bases) == 2 and set(kinds) in ({Sink, SlidingWindow}, {Global, SlidingWindow}):
        return _sinks(kinds, n, i, layers)
    if not causal and any(isinstance(b, Global) and b.rows and b.columns for b in bases):
        return "everything after 2 layers, through a global token", np.where(later, everything, -1)
    if causal and {SlidingWindow, Strided} <= set(kinds) and (_sides(kinds[SlidingWindow])[0] >= kinds[Strided].stride - 1):
        return "everything after 2 layers: multiples of the stride, then the window", np.where(later, everything, -1)
    if causal and Fixed in kinds and (kinds[Fixed].group or kinds.get(Chunked) == Chunked(kinds[Fixed].stride)):
        return "everything after 2 layers, through the last keys of a group", np.where(later, everything, -1)
    return None


def _sinks(kinds, n, i, layers):
    """Leading keys that all see, and a window: under a causal mask leading global tokens are no more than sinks."""
    told, left = kinds.get(Global), _sides(kinds[SlidingWindow])[0]
    if told is not None and not (told.columns and told.block == 1 and told.tokens == tuple(range(len(told.tokens)))):
        return None
    count = kinds[Sink].count if told is None else len(told.tokens)
    form = f"1 + {count:,} + {left:,} l", np.minimum(i + 1, 1 + count + left * layers)
    if told is None:
        return form
    claim = "everything after 2 layers, through a global token (Longformer, arXiv 2004.05150; BigBird, 2007.14062)"
    return *form, claim, np.where(layers[:, 0] >= 2, n, -1), "under a causal mask a global token has seen only what stands before it"


def _dilated(p, causal, n, i, layers):
    right = 0 if causal else p.right
    before, after = np.minimum(i // p.dilation, p.left * layers), np.minimum((n - 1 - i) // p.dilation, right * layers)
    formula, sizes, slots = f"1 + {p.left + right:,} l", 1 + before + after, p.left + right
    if p.dilation == 1:
        return formula, sizes
    claim = f"{p.dilation * slots:,} l, layers times dilation times window (Longformer, arXiv 2004.05150)"
    why = f"so far it spans, but only every {p.dilation}-th position of it is ever seen"
    return formula, sizes, claim, p.dilation * slots * layers[:, 0], why


def _until_a_full_layer(patterns, n, i, layers):
    """Layers whose field is known, then one that sees everything there is."""
    full = next((l for l, p in enumerate(patterns) if (_sides(p) or (0,))[0] == FAR), None)
    if full is None:
        return None
    causal = all(_sides(p) == (FAR, 0) or all(_base(part)[1] for part in p.parts()) for p in patterns)
    before = closed_form(patterns[:full], n, int(i[0]) if i.size == 1 else None) if full else None
    if (full and before is None) or (not causal and _sides(patterns[full]) != (FAR, FAR)):
        return None
    sizes = np.broadcast_to(i + 1 if causal else n, (len(patterns), i.size)).copy()
    if before is not None:
        sizes[:full] = before.sizes.reshape(full, -1)
    return f"{before.formula + '; ' if before else ''}everything from layer {full + 1} on", sizes


def _base(part):
    """(the rule, whether it is causal) of a part of a union, without its `Causal()`."""
    if isinstance(part, And) and Causal() in (part.a, part.b):
        return part.b if part.a == Causal() else part.a, True
    return part, isinstance(part, SlidingWindow) and part.right == 0


def _own(p, n, i):
    """Where the chunk or document of each query begins, and where it ends."""
    if isinstance(p, Chunked):
        return i // p.size * p.size, np.minimum(n, (i // p.size + 1) * p.size)
    ends = np.cumsum(p.lengths)
    own = np.searchsorted(ends, i, side="right")
    return ends[own] - np.array(p.lengths)[own], ends[own]
