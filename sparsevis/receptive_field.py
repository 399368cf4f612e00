"""What a query has seen after each layer of a stack: receptive fields, by exact propagation over layouts.

    after layer 0 a query has seen itself; after layer l, all that the keys it attends in layer l had seen after layer l - 1

Layer 1 is nearest the input. What a position has seen it keeps, because a transformer block adds its input to what attention gathered;
so a row without keys keeps itself, and the field after l layers is the Boolean product of the masks, each with its diagonal filled in.
Heads of one layer are taken together: their outputs are.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import index

import numpy as np

from sparsevis._panels import all_queries
from sparsevis._reach import Walk, layouts_of, offsets
from sparsevis.closed_forms import closed_form
from sparsevis.pattern import Pattern
from sparsevis.per_head import PerHead
from sparsevis.sift import MEMORY_LIMIT, check_memory
from sparsevis.tabular import Tabular

__all__ = ["ReceptiveField", "receptive_field"]


@dataclass(frozen=True, eq=False, repr=False)
class ReceptiveField(Tabular):
    """What every query, or one, has seen after each layer; prints as a table beside the closed form and the published claim.

    Attributes
    ----------
    patterns : tuple of Pattern or PerHead
        One a layer, the first nearest the input.
    n : int
        Number of positions.
    query : int or None
        The query; None for all.
    sizes : int64 array (layers, n), or (layers,) for one query
        How many keys have been seen after layer 1, 2, ...
    causal : bool
        No layer lets a query look ahead.
    gridding : int
        The greatest number that all distances from query to key, of all layers, are multiples of: 1 for no gridding, 0 where no query
        attends anything but itself. Above 1 a query never sees a key of another residue, however many layers there are.
    closed : bool
        More layers of the same patterns would add nothing.
    """

    patterns: tuple
    n: int
    query: int | None
    sizes: np.ndarray
    causal: bool
    gridding: int
    closed: bool
    _made: dict = field(default_factory=dict)

    def __post_init__(self):
        self.sizes.setflags(write=False)

    @property
    def visible(self):
        """How many keys there are to see: all n, or those up to the query where the stack is causal; int, or (n,)."""
        if self.query is None:
            return np.arange(1, self.n + 1) if self.causal else np.full(self.n, self.n)
        return self.query + 1 if self.causal else self.n

    @property
    def growth(self):
        """How many keys each layer adds, like `sizes`; the query itself, seen before layer 1, is not counted."""
        return np.diff(self.sizes, axis=0, prepend=1)

    @property
    def unreachable(self):
        """How many visible keys are not seen after the last layer; int, or (n,). If `closed`, they never are."""
        return self.visible - self.sizes[-1]

    @property
    def saturated_at(self):
        """The first layer after which no layer, of these or of more like them, adds anything; None if they still do after the last."""
        if not self.closed:
            return None
        return int((self.sizes != self.sizes[-1]).reshape(len(self.sizes), -1).any(1).sum()) + 1 if self.growth.any() else 0

    @property
    def diameter(self):
        """The most hops from any query, or this one, to any visible key; inf if some key is not seen within these layers."""
        return float("inf") if np.any(self.unreachable) else self.saturated_at

    @property
    def hop_counts(self):
        """How many pairs are 0, 1, 2, ... hops apart: int64 (layers + 1,)."""
        first = self.n if self.query is None else 1
        return np.array([first, *self.growth.reshape(len(self.sizes), -1).sum(1)])

    @property
    def closed_form(self):
        """The `ClosedForm` of this stack, or None where none is known."""
        return self._remember("form", lambda: closed_form(self.patterns, self.n, self.query))

    def of(self, query):
        """Return the receptive field of one query of this stack; -1 is the last."""
        query = _position(query, self.n, "query")
        if query == self.query:
            return self
        return self._remember(query, lambda: _one(self.patterns, self.n, query, self._made["layouts"]))

    def seen(self, layer=-1, query=None):
        """Return which keys a query has seen after a layer, 0 being the input: bool (n,); after a slice of layers: bool (layers, n)."""
        return self._bits("seen", query)[range(len(self.sizes) + 1)[layer]]

    def cone(self, query=None):
        """Return which positions at the output of each layer the query's last output rests on: bool (layers + 1, n), row 0 the input.

        Equal to `seen` read from the last layer down where all layers are alike.
        """
        return self._bits("cone", query)

    def hops(self, i, j):
        """Return after how many layers query i has seen key j: 0 for itself; inf if not within these layers."""
        found = np.flatnonzero(self._bits("seen", i)[:, _position(j, self.n, "key")])
        return int(found[0]) if found.size else float("inf")

    def hop_matrix(self, memory_limit=MEMORY_LIMIT):
        """Return the hops between all pairs: int16 (n, n), query by key, -1 where a key is not seen within these layers."""
        check_memory(4 * self.n**2, memory_limit, f"hops between {self.n:,} x {self.n:,} pairs")
        hops = np.full((self.n, self.n), -1, np.int16)
        np.fill_diagonal(hops, 0)

        def visit(layer, first, rows):
            part = hops[:, first:]
            seen = np.unpackbits(rows[:self.n].view(np.uint8), axis=1, bitorder="little", count=min(64 * rows.shape[1], part.shape[1]))
            part = part[:, :seen.shape[1]]
            part[(part < 0) & (seen > 0)] = layer

        all_queries(*layouts_of(self.patterns, self.n, [64, 8], memory_limit), self.n, memory_limit, visit)
        return hops

    def path(self, i, j):
        """Return one shortest path from query i to key j: positions [i, ..., j], one a layer from the top down; None if there is none.

        A position met twice in a row waits for a layer that takes it on.
        """
        i, j, hops = _position(i, self.n, "query"), _position(j, self.n, "key"), self.hops(i, j)
        if hops == float("inf"):
            return None
        layouts, order = self._made["layouts"]
        cone, path = _unpacked(Walk(layouts, order[:hops], self.n).of(i)[1], self.n), [j]
        for layer in range(1, hops + 1):
            places = np.flatnonzero(cone[layer])
            heads = getattr(self.patterns[layer - 1], "patterns", (self.patterns[layer - 1],))
            allowed = np.any([np.broadcast_to(p.allows(places, path[-1], self.n), places.shape) for p in heads], axis=0)
            path.append(int(places[allowed | (places == path[-1])][0]))
        return path[::-1]

    def missed_residues(self, query=None):
        """Return the residues modulo `gridding` of which the query never sees a key; empty without gridding."""
        query = self._asked(query)
        return [r for r in range(min(self.gridding, self.n)) if r != query % self.gridding] if self.gridding > 1 else []

    def to_dicts(self):
        """Return plain rows, one a layer."""
        form, rows = self.closed_form, []
        for l, sizes in enumerate(self.sizes.reshape(len(self.sizes), -1)):
            row = {"layer": l + 1, "pattern": repr(self.patterns[l])}
            if self.query is None:
                row |= {"least": int(sizes.min()), "mean": float(sizes.mean()), "most": int(sizes.max())} if self.n else {}
                said = None if form is None else form.sizes[l].max(initial=-1)
            else:
                row |= {"seen": int(sizes[0]), "growth": int(self.growth[l]), "share": float(sizes[0] / self.visible)}
                said = None if form is None else form.sizes[l]
            claimed = None if form is None or form.claimed is None else form.claimed[l]
            named = {"closed_form": said, "published": claimed}
            rows.append(row | {name: None if x is None or x < 0 else int(x) for name, x in named.items()})
        return rows

    def to_dict(self):
        """Return everything as plain JSON values, every size of every query among them."""
        form, diameter = self.closed_form, self.diameter
        return {
            "n": self.n, "query": self.query, "patterns": [p.to_dict() for p in self.patterns], "sizes": self.sizes.tolist(),
            "causal": self.causal, "gridding": self.gridding, "closed": self.closed, "saturated_at": self.saturated_at,
            "diameter": None if diameter == float("inf") else diameter, "unreachable": np.asarray(self.unreachable).tolist(),
            "hop_counts": self.hop_counts.tolist(), "closed_form": form and form.formula, "published": form and form.claim,
            "layers": self.to_dicts(),
        }  # fmt: skip

    def to_json(self):
        """Return `to_dict` as JSON text."""
        return json.dumps(self.to_dict())

    def _heading(self):
        who = f"all {self.n:,} queries" if self.query is None else f"query {self.query:,} of {self.n:,}"
        return f"{who}, {len(self.patterns)} layer{'s' * (len(self.patterns) > 1)}, {'causal' if self.causal else 'two-sided'}"

    def _cells(self):
        rows = self.to_dicts()
        names = [name for name in rows[0] if any(row[name] is not None for row in rows)]
        body = [[_text(name, row[name]) for name in names] for row in rows]
        if len(body) > 20:
            body = [*body[:12], ["..."] * len(names), *body[-4:]]
        return [name.replace("_", " ") for name in names], body

    def _notes(self):
        """What the numbers say, in sentences."""
        left, form, notes = int(np.sum(self.unreachable)), self.closed_form, []
        what = f"{left:,} of {int(np.sum(self.visible)):,} {'visible keys' if self.query is not None else 'visible pairs'}"
        if not left:
            notes.append(f"everything visible is seen after layer {self.saturated_at}")
        elif self.closed:
            notes.append(f"nothing is added after layer {self.saturated_at}: {what} are never seen, however many layers there are")
        else:
            notes.append(f"still growing after layer {len(self.patterns)}: {what} are not seen yet")
        if self.gridding > 1:
            g = self.gridding
            notes.append(f"gridding: all distances are multiples of {g}, so a query never sees keys of the other {g - 1} of {g} residues")
        if form is not None:
            notes.append(f"closed form: {form.formula}; {'equal to' if form.agrees(self.sizes) else 'NOT'} what is measured")
            notes += [f"published: {form.claim}; but {form.why}"] if form.claim else []
        return notes

    def _asked(self, query):
        if query is None and self.query is None:
            raise ValueError(f"this is the receptive field of all {self.n:,} queries: say query=, from 0 to {self.n - 1}")
        return self.query if query is None else _position(query, self.n, "query")

    def _bits(self, name, query):
        one = self.of(self._asked(query))
        return _unpacked(one._made[name], self.n)

    def _remember(self, name, make):
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]


def receptive_field(patterns_per_layer, n, query=None, *, layers=None, memory_limit=MEMORY_LIMIT):
    """Find exactly which keys a query, or every query, has seen after each layer of a stack.

    Parameters
    ----------
    patterns_per_layer : Pattern, PerHead or sequence of them
        One a layer, the first nearest the input; see `sparsevis.schedules` for those of published models. Heads are taken together.
    n : int
        Number of positions.
    query : int, optional
        One query, for long texts; -1 is the last. All of them if left out: time grows as n squared, some seconds at 65,536.
    layers : int, optional
        Number of layers; the patterns repeat in turn.
    memory_limit : int or None
        Bytes that may be taken.

    Raises
    ------
    MemoryError
        Before allocating, if the limit would be passed; the message has the sizes.

    Examples
    --------
    >>> import sparsevis as sv
    >>> field = sv.receptive_field(sv.mistral(4096), 1 << 18, query=-1, layers=32)
    >>> field.sizes[-1], field.closed_form.claimed[-1]
    (np.int64(131041), np.int64(131072))
    >>> print(sv.receptive_field([sv.longformer(4)] * 2, 1000))
    all 1,000 queries, 2 layers, two-sided
    layer                                            pattern  least   mean   most  closed form
    -----  -------------------------------------------------  -----  -----  -----  -----------
    1      SlidingWindow(left=2, right=2) | Global(tokens...      4    7.0  1,000
    2      SlidingWindow(left=2, right=2) | Global(tokens...  1,000  1,000  1,000        1,000
    everything visible is seen after layer 2
    closed form: everything after 2 layers, through a global token; equal to what is measured
    """
    patterns = _stack(patterns_per_layer, layers)
    n = index(n)
    if n < 1:
        raise ValueError(f"n is {n}, and needs to be 1 or more: without positions nothing is seen")
    if query is not None:
        blocks = [1024, 64, 8] if n > 4096 else [64, 8]
        return _one(patterns, n, _position(query, n, "query"), layouts_of(patterns, n, blocks, memory_limit))
    check_memory(8 * n * len(patterns), memory_limit, f"what {n:,} queries see after {len(patterns):,} layers")
    layouts = layouts_of(patterns, n, [64, 8], memory_limit)
    sizes, closed = all_queries(*layouts, n, memory_limit)
    return ReceptiveField(patterns, n, None, sizes, *_shape(layouts), closed, {"layouts": layouts})


def _one(patterns, n, query, layouts):
    seen, cone, closed = Walk(*layouts, n).of(query)
    sizes = np.bitwise_count(seen[1:]).sum(1, dtype=np.int64)
    return ReceptiveField(patterns, n, query, sizes, *_shape(layouts), closed, {"layouts": layouts, "seen": seen, "cone": cone})


def _shape(layouts):
    """(causal, gridding) of all layers together."""
    found = [offsets(layout) for layout in layouts[0]]
    return all(causal for _, causal in found), int(np.gcd.reduce([step for step, _ in found]))


def _stack(patterns, layers):
    """The patterns of all layers, as a tuple."""
    given = [patterns] if isinstance(patterns, Pattern | PerHead) else patterns
    wrong = [p for p in given if not isinstance(p, Pattern | PerHead)] if isinstance(given, Sequence) else [given]
    if wrong:
        raise TypeError(f"patterns_per_layer needs a Pattern, a PerHead or a list of them, one a layer, not {type(wrong[0]).__name__}")
    layers = len(given) if layers is None else index(layers)
    if layers < 1 or not given:
        raise ValueError(f"{len(given)} patterns for {layers} layers: a stack needs at least one of each")
    return tuple(given[l % len(given)] for l in range(layers))


def _position(x, n, what):
    """A position as a whole number from 0; negative ones count from the end."""
    if not -n <= index(x) < n:
        raise ValueError(f"{what} is {x}, and needs to lie from {-n} to {n - 1}")
    return index(x) % n


def _unpacked(bits, n):
    return np.unpackbits(bits, axis=-1, bitorder="little", count=n).astype(bool)


def _text(name, x):
    if x is None or isinstance(x, str):
        return "" if x is None else x if len(x) <= 49 else x[:46] + "..."
    if name == "share":
        return f"{100 * x:.4g} %"
    return f"{x:,}" if isinstance(x, int) else f"{x:,.1f}" if x < 1000 else f"{x:,.0f}"
