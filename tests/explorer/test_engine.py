"""The rule in the browser against the rule in Python: every pair of every pattern, and counts of squares and tiles at any length."""

import base64
from dataclasses import dataclass

import numpy as np
import pytest
from pictures import INSTANCES, instance

import sparsevis as sv
from sparsevis.explorer.script import program
from sparsevis.palette import INGREDIENT, LIGHT
from sparsevis.plots.mask import count_layers
from sparsevis.plots.shade import blend

from .pages import MAKE, engine, handed


@pytest.fixture(scope="module")
def asked(chromium):
    """Ask the front end in the browser: code over `made`, `lists`, `tables` and `values`."""
    opened = chromium.new_page()
    engine(opened)

    def ask(made, code, **values):
        script = f"([made, values]) => {{ {MAKE} made = JSON.parse(made); const {{ lists, tables }} = program(made); {code} }}"
        return opened.evaluate(script, [handed(made), values])

    yield ask
    opened.close()


def fitting(name, n):
    pattern = instance(name, n)
    pattern = pattern.union() if isinstance(pattern, sv.PerHead) else pattern
    least, most, queries = pattern.fits
    return pattern if least <= n and (most is None or n <= most) and queries in (None, n) else None


PAIRS = """
const counter = new Counter(lists[0], made.params, tables, values.n, 8), out = [];
for (let i = 0; i < values.n; i++) for (let j = 0; j < values.n; j++) out.push(counter.which(i, j));
return out;
"""
BLOCKS = (1, 8, 32)
BOTH = f"""
const which = (() => {{ {PAIRS} }})();
return [which, ...values.blocks.map((b) => Array.from(new Counter(lists[0], made.params, tables, values.n, b).total()))];
"""
TOTAL = "const c = new Counter(lists[0], made.params, tables, values.n, values.block); return Array.from(c.total());"


@dataclass(frozen=True, repr=False)
class Odd(sv.Pattern):
    """Every operator a rule may use, where negative numbers, and bounds, are easy to get wrong."""

    size: int = 5
    shift: int = 3

    def allows(self, q, k, n):
        turned = ((k - 2 * q) % self.size == self.shift) | ((q - k) // 3 % 4 == 1) & ~(abs(q - k - self.shift) > n // 2)
        return turned & (q != k) | (-1 * k + 7 > q * self.shift) & (abs(k - 9) >= 4) | (n - q < k) & (q // self.size * 2 < k)


@pytest.mark.parametrize("n", [3, 41, 70])
@pytest.mark.parametrize("pattern", [Odd(), Odd(7, 1), ~Odd(3, 2), sv.Causal() & Odd(4) | sv.Strided(9)], ids=repr)
def test_every_operator(asked, pattern, n):
    made = program([pattern], lambda p: [p.parts()], n)
    assert made.n is None
    which, *totals = asked(made, BOTH, n=n, blocks=BLOCKS)
    assert (np.array(which).reshape(n, n) >= 0).tolist() == pattern.mask(n).tolist()
    for block, (*pairs, full, partial) in zip(BLOCKS, totals, strict=True):
        layout = sv.Layout.of(pattern, n, block)
        assert (sum(pairs), full, partial) == (layout.nnz, *layout.tally()[:2]), block


@pytest.mark.parametrize("n", [1, 7, 64, 97])
def test_every_pair_of_every_pattern(asked, n):
    """Which part is the first to allow it; and all tiles of three sizes."""
    seen = 0
    for name in INSTANCES:
        pattern = fitting(name, n)
        if pattern is None:
            continue
        seen += 1
        made = program([pattern], lambda p: [p.parts()], n)
        assert made.source, name
        first = np.full((n, n), -1)
        for k, part in reversed(list(enumerate(pattern.parts()))):
            first[part.mask(n)] = k
        which, *totals = asked(made, BOTH, n=n, blocks=BLOCKS)
        assert which == first.ravel().tolist(), name
        for block, (*pairs, full, partial) in zip(BLOCKS, totals, strict=True):
            layout = sv.Layout.of(pattern, n, block)
            assert (sum(pairs), full, partial) == (layout.nnz, *layout.tally()[:2]), (name, block)
            assert pairs == [(first == k).sum() for k in range(len(pairs))], name
    assert seen > len(INSTANCES) // 2


@pytest.mark.parametrize("pattern", [
    sv.longformer(512, (0, 700, -1)), sv.Causal() & (sv.SlidingWindow(100) | sv.Strided(128)), sv.bigbird(), sv.Causal() & sv.Fixed(128, 8),
    sv.Dilated(64, 9, dilation=3) - sv.Chunked(1000), ~sv.BlockWindow(96, 2, 0),
], ids=repr)  # fmt: skip
@pytest.mark.parametrize("n", [4096, 50_000, 1 << 20])
def test_long_texts_are_counted_exactly(asked, pattern, n):
    """Against the counts of `cost`, which come another way."""
    made = program([pattern], lambda p: [p.parts()], n)
    *pairs, full, partial = asked(made, TOTAL, n=n, block=64)
    cost = sv.cost(pattern, n, block=64)
    assert (sum(pairs), full, partial) == (cost.nnz, cost.full, cost.partial)


def test_sliders_change_parameters_and_no_code(asked):
    pattern = sv.Causal() & (sv.Dilated(3, 0, dilation=2) | sv.Fixed(8, 2)) | sv.BlockWindow(5)
    made = program([pattern], lambda p: [p.parts()], 60)
    names = ["0aba.left", "0aba.right", "0aba.dilation", "0abb.stride", "0abb.summary", "0b.block", "0b.left", "0b.right"]
    assert made.direct == {name: k for k, name in enumerate(names)}
    other = sv.Causal() & (sv.Dilated(5, 1, dilation=3) | sv.Fixed(9, 4)) | sv.BlockWindow(4, 0, 2)
    changed = asked(made, PAIRS.replace("made.params", "values.params"), n=60, params=[5, 1, 3, 9, 4, 4, 0, 2])
    assert (np.array(changed).reshape(60, 60) >= 0).tolist() == other.mask(60).tolist()


@pytest.mark.parametrize("n", [600, 4096, 100_000])
def test_pixels_of_long_texts(asked, n):
    """Every pixel has the colour of the exact shares of its pairs, as a figure has."""
    pattern = sv.Causal() & (sv.SlidingWindow(n // 40) | sv.Global([0, n // 3]) | sv.Strided(48))
    made = program([pattern], lambda p: [p.parts()], n)
    colours = [INGREDIENT[p.ingredient] for p in pattern.parts()]
    code = """
    const counter = new Counter(lists[0], made.params, tables, values.n, 64);
    const shown = picture(counter, values.colours, PALETTE.light, [0, 0, values.n], false);
    return [shown.px, shown.cell, btoa(Array.from(shown.image.data, (x) => String.fromCharCode(x)).join(""))];
    """
    px, cell, data = asked(made, code, n=n, colours=colours)
    got = np.frombuffer(base64.b64decode(data), np.uint8).reshape(px, px, 4)[..., :3]
    layers, wanted_cell = count_layers(pattern, (n, n), 512)
    assert cell == wanted_cell
    rows = np.minimum(cell, n - cell * np.arange(px))
    wanted = 255 * blend(LIGHT["ground"], [(c, pairs / np.outer(rows, rows)) for c, (_, pairs) in zip(colours, layers, strict=True)])
    assert np.abs(got - wanted).max() <= 1


def test_values_of_sliders(asked):
    nothing = program([sv.Causal()], lambda p: [p.parts()], 8)
    few, many = asked(nothing, "return [valuesOf(2, 10, 2), valuesOf(0, 1 << 20, 1)]")
    assert few == [2, 4, 6, 8, 10]
    assert many[:5] == [0, 1, 2, 3, 4]
    assert many[-1] == 1 << 20
    assert np.diff(many).min() > 0
    assert len(many) < 500
