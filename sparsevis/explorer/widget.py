"""The explorer's state as traits: in a notebook the browser draws and edits it, in Python it is read and set.

`trees` holds the composition that the interface edits; `pattern` is its value and `code` the line that makes it, whichever was changed.
What Python derives goes to the browser in `sides` (controls, numbers, labels), `programs` (rules as JavaScript, tables) and `numbers` (what
the chosen view needs).
"""

from operator import index
from pathlib import Path

import anywidget
import traitlets as t

from sparsevis.explorer import answers, page
from sparsevis.explorer.sides import check_fit, completed, difference_of, one_head, panel_of, side_of
from sparsevis.explorer.tree import Words
from sparsevis.pattern import Pattern
from sparsevis.per_head import PerHead

__all__ = ["Explorer", "explore"]

VIEWS = ["mask", "tiles", "field", "graph", "cost", "real"]
MOST = 1 << 20
STATE = ["trees", "sides", "programs", "numbers", "attention", "words", "n", "block", "layers", "query", "head", "heads", "head_dim",
         "rate", "show", "view", "capture"]  # fmt: skip
SIZES = {"n": (1, MOST), "block": (1, 4096), "layers": (1, 128), "heads": (1, 1024), "head_dim": (1, 1024), "rate": (1, 10_000_000)}


class Explorer(anywidget.AnyWidget):
    """A live view of one pattern, or of two side by side; make it with `explore`.

    Attributes
    ----------
    pattern, other : Pattern, PerHead or None
        What is shown, and what it is held against; read them, or set them.
    code, other_code : str
        The line of Python that makes each.
    n, block, layers : int
        Number of positions, tile of the kernel (a power of two), and layers of the stack.
    query : int
        The query whose receptive field is shown.
    head : int
        Which head of a PerHead; -1 for all of them together.
    show : str
        The view: "mask", "tiles", "field", "graph", "cost" or "real".
    view : list of int
        What the mask shows: first query, first key, positions a side.
    heads, head_dim, rate : int
        Of the call whose cost is shown; GFLOP a second of the machine it is estimated for.
    capture : list of int
        Layer and head of the real attention.
    """

    _esm = t.Unicode(page.module()).tag(sync=True)
    _css = t.Unicode(page.style()).tag(sync=True)
    trees, sides, programs, numbers, asked, answer = (t.Dict().tag(sync=True) for _ in range(6))
    words = t.List().tag(sync=True)
    n, block, layers, query, head = (t.Int(x).tag(sync=True) for x in (64, 8, 4, 0, -1))
    heads, head_dim, rate, measure = (t.Int(x).tag(sync=True) for x in (8, 64, 100, 0))
    attention = t.Dict().tag(sync=True)
    show = t.Enum(VIEWS, "mask").tag(sync=True)
    view, capture = t.List(t.Int()).tag(sync=True), t.List(t.Int(), [2, 8]).tag(sync=True)
    pattern, other = t.Any(), t.Any(None, allow_none=True)
    code, other_code = t.Unicode(), t.Unicode()

    def __init__(self, pattern, n, *, other=None, **state):
        self._names, self._busy, self._sent, self._measured = Words(), True, {}, {}
        super().__init__(pattern=pattern, other=other, n=n, view=[0, 0, n], **state)
        self._busy = False
        kinds = {name: "pattern" if isinstance(make, type) else "preset" for name, make in self._names.makers.items()}
        self.words = [{"name": name, "kind": kind} for name, kind in kinds.items()]
        self._trees_from_patterns()

    # what may be set

    @t.validate("pattern", "other")
    def _a_pattern(self, proposal):
        value = proposal["value"]
        if not isinstance(value, Pattern | PerHead) and not (value is None and proposal["trait"].name == "other"):
            raise TypeError(f"the explorer needs a Pattern or a PerHead, not {type(value).__name__} (a mask: Chosen.from_mask)")
        return value

    @t.validate(*SIZES)
    def _a_size(self, proposal):
        name, value = proposal["trait"].name, index(proposal["value"])
        least, most = SIZES[name]
        if not least <= value <= most or (name == "block" and value & (value - 1)):
            what = "a power of two" if name == "block" else "a whole number"
            raise ValueError(f"{name} is {value}, and needs {what} from {least} to {most:,}")
        return value

    @t.validate("capture")
    def _a_head(self, proposal):
        layer, head = proposal["value"]
        answers.check_capture(layer, head)
        return [layer, head]

    # one change at a time

    @t.observe("pattern", "other")
    def _pattern_set(self, _):
        if not self._busy:
            self._trees_from_patterns()

    def _trees_from_patterns(self):
        trees = {"a": self._names.tree_of(self.pattern), "b": None if self.other is None else self._names.tree_of(self.other)}
        self.trees = trees | {"stamp": self.trees.get("stamp", 0) + 1}
        self._refresh()

    @t.observe("trees")
    def _trees_set(self, change):
        if not self._busy and change["old"] != change["new"]:
            self._refresh()

    @t.observe("n", "head")
    def _size_set(self, change):
        if not self._busy:
            if change["name"] == "n":
                self.view = [0, 0, self.n]
                self.query = min(self.query, self.n - 1)
            self._refresh()

    @t.observe("show", "block", "layers", "query", "capture", "heads", "head_dim", "rate")
    def _view_set(self, _):
        if not self._busy:
            self._compute()

    @t.observe("measure")
    def _measure(self, change):
        """The button: time every pattern shown."""
        if change["new"]:
            for pattern in answers.shown(self).values():
                self._measured[self._call(pattern)] = answers.measured(pattern, self.n, self.block, self.heads, self.head_dim)
            self._compute()

    def _call(self, pattern):
        return pattern, self.n, self.block, self.heads, self.head_dim

    @property
    def times(self):
        """What has been measured of the patterns shown, by side; see `answers.measured`."""
        return {name: self._measured.get(self._call(pattern)) for name, pattern in answers.shown(self).items()}

    @t.observe("asked")
    def _asked(self, change):
        if change["new"]:
            self.answer = answers.viewport(self._rules(change["new"]["figure"]), self.n, change["new"])

    def _refresh(self):
        """Derive everything from the trees."""
        busy, self._busy = self._busy, True
        try:
            with self.hold_sync():
                names = ("a", "b")
                trees = {"stamp": self.trees.get("stamp", 0)} | {x: completed(self._names, self.trees.get(x), self.n) for x in names}
                if trees != self.trees:
                    self.trees = trees
                told = {"a": self._side("a", "pattern", "code"), "b": self._side("b", "other", "other_code"), "difference": None}
                if told["b"] and not told["a"]["error"] and not told["b"]["error"]:
                    told["difference"] = difference_of(self._one_head(self.pattern), self._one_head(self.other), self.n, self._sent)
                keys = dict.fromkeys(side["key"] for side in told.values() if side and side["key"])
                self._sent = {key: self._sent[key] for key in keys}
                self.programs = dict(self._sent)
                self.sides = told | {"stamp": trees["stamp"]}
        finally:
            self._busy = busy
        self._compute()

    def _side(self, name, trait, code):
        """What the browser needs to know of one pattern; an error leaves what was there, and says why."""
        tree = self.trees[name]
        if tree is None:
            setattr(self, trait, None)
            setattr(self, code, "")
            return None
        try:
            pattern = self._names.build(tree)
            check_fit(self._one_head(pattern), self.n)
            side = side_of(self._names, tree, pattern, self.head, self.n, self._sent)
        except (ValueError, TypeError) as error:
            return (self.sides.get(name) or {"key": ""}) | {"error": str(error), "panel": panel_of(self._names, tree, self.n)}
        setattr(self, trait, pattern)
        setattr(self, code, side["code"])
        return side

    def _one_head(self, pattern):
        return one_head(pattern, self.head)

    def _rules(self, figure):
        """The rules of a figure, for counting in Python."""
        a = self._one_head(self.pattern)
        if figure == "difference":
            b = self._one_head(self.other)
            return [a - b, b - a, a & b]
        return (a if figure == "a" else self._one_head(self.other)).parts()

    def _compute(self):
        """What the chosen view needs beyond the picture."""
        if self.show == "real" and [self.attention.get("layer"), self.attention.get("head")] != self.capture:
            self.attention = answers.attention_of(*self.capture)
        self.numbers = answers.numbers(self)

    # what others see

    def _repr_mimebundle_(self, **options):
        """The widget, and a still picture and text for viewers without a widget manager."""
        bundle = super()._repr_mimebundle_(**options)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        html, text = page.still(self._one_head(self.pattern), self.n, self.code)
        return {**(data or {}), "text/plain": text, "text/html": html}, metadata

    def export_html(self, path, states=None, *, views=VIEWS, title=None):
        """Write a page that needs neither Python nor a network, and keeps zoom, hover, views and sliders.

        Parameters
        ----------
        path : str or Path
            The file to write.
        states : dict of str to (Pattern, PerHead or dict), optional
            What can be chosen on the page, by name: a pattern, or traits to set, such as {"pattern": p, "n": 4096}. What is shown now if
            left out.
        views : iterable of str
            The views the page has; see `show`. Receptive fields and costs of very long texts take a while.
        title : str, optional
            Of the page; the code if left out.
        """
        wrong, made, programs = [x for x in views if x not in VIEWS], {}, {}
        if wrong or not views:
            raise ValueError(f"views is {list(views)!r}, and needs one or more of {', '.join(VIEWS)}")
        for name, change in (states or {self.code: {}}).items():
            change = change if isinstance(change, dict) else {"pattern": change}
            own = {trait: getattr(self, trait) for trait in ("pattern", "other", *SIZES, "query", "head", "show", "capture")}
            copy = Explorer(**own | change)
            if copy.n == self.n:
                copy.view = self.view
            copy.show = copy.show if copy.show in views else next(iter(views))
            made[str(name)], known = copy._for_page(list(views))
            programs |= known
            copy.close()
        Path(path).write_text(page.page(title or self.code, made, programs), encoding="utf-8")

    def _for_page(self, views):
        """(traits, sources of programs) that a page needs to show every view without Python."""
        self.attention = answers.attention_of(*self.capture) if "real" in views else {}
        state = {name: getattr(self, name) for name in STATE}
        state["views"] = views
        state["offline_numbers"] = {show: answers.numbers(self, show) for show in views}
        state["programs"] = {key: {"tables": made["tables"]} for key, made in self.programs.items()}
        remote = [name for name, side in self.sides.items() if isinstance(side, dict) and not side["key"]]
        state["offline_answers"] = {name: answers.viewport(self._rules(name), self.n, answers.whole_view(self.n, name)) for name in remote}
        return state, {key: made["source"] for key, made in self.programs.items()}


def explore(pattern=None, n=None, *, other=None, block=None, layers=4, query=None, show="mask"):
    """Open a live view of a pattern: change its fields, its length, combine it, and see mask, tiles, receptive field and cost follow.

    Parameters
    ----------
    pattern : Pattern or PerHead, optional
        Where to start; Longformer's if left out.
    n : int, optional
        Number of positions, up to 1,048,576; what suits the pattern if left out.
    other : Pattern or PerHead, optional
        A second pattern, shown beside the first with their difference.
    block : int, optional
        Tile of the kernel, a power of two; what suits n if left out.
    layers : int
        Layers of the stack whose receptive field is shown.
    query : int, optional
        The query whose receptive field is shown; the last but a quarter if left out.
    show : {"mask", "tiles", "field", "graph", "cost", "real"}
        The view.

    Returns
    -------
    Explorer
        Its traits are the state; `explorer.pattern` is the pattern and `explorer.code` the line that makes it.

    Examples
    --------
    >>> import sparsevis as sv
    >>> explorer = sv.explore(sv.SlidingWindow(4), 64)
    >>> explorer.pattern = explorer.pattern | sv.Global([0])
    >>> explorer.code
    'sv.SlidingWindow(left=4) | sv.Global(tokens=(0,))'
    """
    from sparsevis.patterns import longformer

    pattern = longformer(8) if pattern is None else pattern
    if not isinstance(pattern, Pattern | PerHead):
        raise TypeError(f"explore needs a Pattern or a PerHead, not {type(pattern).__name__} (a mask: Chosen.from_mask)")
    n = max(8, min(MOST, _length(pattern))) if n is None else index(n)
    block = max(1, min(64, 1 << max(0, n.bit_length() - 4))) if block is None else block
    query = max(0, 3 * n // 4) if query is None else index(query)
    return Explorer(pattern, n, other=other, block=block, layers=layers, query=query % max(1, n), show=show)


def _length(pattern):
    return getattr(pattern, "length", None) or max(32, pattern.example_length())
