from itertools import pairwise
from math import nan

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex

import sparsevis as sv
from sparsevis.measure import Measured, Measurement
from sparsevis.palette import INGREDIENT
from sparsevis.plots.words import words_of

LENGTHS = (256, 512, 1024, 2048)


@pytest.fixture(scope="module")
def curves():
    patterns = {"window 64": sv.mistral(64), "window 65": sv.mistral(65), "my global": sv.longformer(64)}
    return {name: [sv.cost(p, n) for n in LENGTHS] for name, p in patterns.items()}


def ends(ax, gid="end"):
    return {t.get_text(): t for t in ax.texts if t.get_gid() == gid}


def test_dense_attention_under_another_name_is_drawn_once():
    rows = {f"{b} rows": [sv.cost(None, n, block=(b, 64)) for n in LENGTHS] for b in (64, 128)}
    assert [line.get_label() for line in sv.plots.cost(rows, quantity="bytes_tiled").lines] == ["dense, naive", *rows]


@pytest.mark.parametrize(
    ("quantity", "base", "dense"), [
        ("flops", "dense", lambda n: 256 * n * n), ("flops_backward", "dense", lambda n: 640 * n * n),
        ("computed", "dense", lambda n: n * n), ("memory_tiled", "dense, naive", lambda n: 8 * n * n),
        ("kv_bytes", "dense", lambda n: 512 * n), ("bytes_tiled", "dense, tiled", lambda n: 516 * n + n * n // 64 * 512),
    ],
)  # fmt: skip
def test_curves(curves, quantity, base, dense):
    ax = sv.plots.cost(curves, quantity=quantity)
    lines = {line.get_label(): line for line in ax.lines}
    assert list(lines) == [*(["dense, naive"] if quantity == "bytes_tiled" else []), base, *curves]
    assert lines[base].get_ydata().tolist() == [dense(n) for n in LENGTHS]
    for name, costs in curves.items():
        assert lines[name].get_xdata().tolist() == list(LENGTHS)
        assert lines[name].get_ydata().tolist() == [getattr(c, quantity) for c in costs]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["256", "512", "1k", "2k"]
    assert not ax.get_legend()


def test_a_curve_takes_the_colour_its_name_mentions_or_the_one_asked_for(curves):
    hue = lambda ax: {line.get_label(): to_hex(line.get_color()).upper() for line in ax.lines}
    got = hue(sv.plots.cost(curves))
    assert (got["dense"], got["window 64"], got["my global"]) == tuple(INGREDIENT[i] for i in ("dense", "window", "global"))
    assert len(set(got.values())) == 4
    assert hue(sv.plots.cost(curves, colours={"window 64": "random"}))["window 64"] == INGREDIENT["random"]


def test_names_stand_at_the_ends_and_apart(curves):
    ax = sv.plots.cost(curves)
    ax.figure.canvas.draw()
    names = ends(ax)
    assert set(names) == {"dense", *curves}
    boxes = sorted((t.get_window_extent() for t in names.values()), key=lambda box: box.y0)
    assert all(low.y1 < high.y0 for low, high in pairwise(boxes))
    assert all(box.x0 > ax.get_window_extent().x1 for box in boxes)
    saved = [t.get_text() for t in ax.texts if t.get_gid() == "saved"]
    assert saved == ["", *(f"{2048**2 / c[-1].nnz:,.0f}x less" for c in curves.values())]


def test_numbers_of_curves(curves):
    words = words_of(sv.plots.cost(curves, title="Growth"))
    assert (words["title"], words["numbers"]) == ("Growth", "n = 256 to 2,048 · 1 head of dimension 64")


def test_a_shorter_curve_is_compared_at_its_own_end(curves):
    """And led on to its name by a dotted line."""
    short = {"long": curves["window 64"], "brief": curves["window 65"][:2]}
    ax = sv.plots.cost(short)
    long, brief = 2048**2 / short["long"][-1].nnz, 512**2 / short["brief"][-1].nnz
    assert [t.get_text() for t in ax.texts if t.get_gid() == "saved"] == ["", f"{long:.0f}x less", f"{brief:.1f}x less at 512"]
    (leader,) = (c for c in ax.collections if isinstance(c, LineCollection))
    assert leader.get_segments()[0].tolist() == [[512, short["brief"][-1].flops], [2048, short["brief"][-1].flops]]


def test_crossovers_are_marked():
    family = {f"window {w}": sv.cost_curve(sv.mistral(w), LENGTHS, against=sv.Causal()) for w in (64, 300, 700)}
    ax = sv.plots.cost(family)
    assert [line.get_label() for line in ax.lines] == ["dense", "Causal()", *family]
    assert ax.lines[1].get_ydata().tolist() == [128 * n * (n + 1) for n in LENGTHS]
    rings = {c.get_label(): c.get_offsets().tolist() for c in ax.collections if len(c.get_offsets()) and isinstance(c, PathCollection)}
    assert {name: points[0][0] for name, points in rings.items()} == {"window 300, crossing": 301, "window 700, crossing": 701}
    told = [t for t in ax.texts if t.get_gid() == "crossing"]
    assert [t.get_text() for t in told] == ["pays off from n = 301", "pays off from n = 701"]        # the first pays off everywhere
    causal = 2048 * 2049 / 2
    assert [t.get_text() for t in ax.texts if t.get_gid() == "saved"][2:] == [
        f"{causal / family[name].rows[-1].nnz:{'.1f' if causal / family[name].rows[-1].nnz < 10 else ',.0f'}}x less" for name in family
    ]
    ax.figure.canvas.draw()
    boxes = sorted((t.get_window_extent() for t in [*told, *ends(ax).values()]), key=lambda box: box.y0)
    assert all(low.y1 < high.y0 + 2 for low, high in pairwise(boxes))
    assert not [t for t in sv.plots.cost(family, size=2).texts if t.get_gid() == "crossing"]


def test_a_single_curve_brings_its_name():
    curve = sv.cost_curve(sv.mistral(64), LENGTHS, name="mine")
    ax = sv.plots.cost(curve, quantity="kv_bytes")
    assert [line.get_label() for line in ax.lines] == ["dense", "mine"]
    assert ax.lines[1].get_ydata().tolist() == [64 * 512] * 4


def measured(name="window", dense=(0.004, 0.016, nan)):
    rows = []
    for n, mine, theirs in zip(LENGTHS, (0.002, 0.004, 0.008), dense, strict=False):
        rows.append(Measured(n, sv.cost(sv.mistral(64), n), sv.cost(None, n), mine, theirs, 1000 * n, 0.001))
    return Measurement(name, "cpu", tuple(rows), sv.Roofline(1e11, 1e10, 2, "float32"), {})


def test_seconds_beside_the_promise():
    m = measured()
    ax = sv.plots.cost(m, quantity="seconds")
    lines = {line.get_label(): line for line in ax.lines}
    assert list(lines) == ["dense", "window, promised", "window"]
    assert lines["dense"].get_xydata().tolist() == [[256, 0.004], [512, 0.016]]
    assert lines["window"].get_xydata().tolist() == [[256, 0.002], [512, 0.004], [1024, 0.008]]
    assert lines["window, promised"].get_ydata().tolist() == [r.promised for r in m.rows[:2]]
    assert (lines["window"].get_marker(), lines["window, promised"].get_marker()) == ("o", "None")
    assert lines["window"].get_color() == lines["window, promised"].get_color() != lines["dense"].get_color()
    ax.figure.canvas.draw()
    assert {t.get_text() for t in ax.get_yticklabels()} <= {"100 us", "1 ms", "10 ms", "100 ms"}
    numbers = words_of(ax)["numbers"]
    assert "dashed: as the counts promise" in numbers
    assert f"{m.gap:.2f}x the promised time" in numbers
    late = measured(dense=(0.001, 0.016, 0.08))
    faster = sv.plots.cost(late, quantity="seconds")
    assert [t.get_text() for t in faster.texts if t.get_gid() == "saved"] == ["", "10x faster"]
    assert [t.get_text() for t in faster.texts if t.get_gid() == "crossing"] == [f"pays off from n = {late.crossover}"]


def test_seconds_without_dense():
    ax = sv.plots.cost({"a": measured("a", (nan,) * 3), "b": measured("b", (nan,) * 3)}, quantity="seconds")
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    assert "promise" not in words_of(ax)["numbers"]


def test_measured_memory_stands_over_what_was_counted():
    m = measured()
    ax = sv.plots.cost({"w": m}, quantity="memory_tiled")
    lines = {line.get_label(): line for line in ax.lines}
    assert list(lines) == ["dense, naive", "w", "w, measured"]
    assert lines["w"].get_ydata().tolist() == [r.cost.memory_tiled for r in m.rows]
    assert lines["w, measured"].get_xydata().tolist() == [[n, 1000 * n] for n in LENGTHS[:3]]
    assert lines["w, measured"].get_linestyle() == "None"
    assert words_of(ax)["numbers"].endswith("points: measured")


def test_nothing_is_clipped_or_overlaps():
    """Every word lies on the paper, in a notebook and on a slide, light and dark."""
    curves = {"window": sv.cost_curve(sv.mistral(300), LENGTHS, against=sv.Causal())}
    for size, theme in ((6, "light"), (12, "dark")):
        for ax in (sv.plots.cost(curves, size=size, theme=theme), sv.plots.cost(measured(), quantity="seconds", size=size, theme=theme)):
            ax.figure.canvas.draw()
            paper = ax.figure.bbox
            for t in [t for t in ax.texts if t.get_text()]:
                box = t.get_window_extent()
                assert paper.x0 <= box.x0, t
                assert box.x1 <= paper.x1, t
                assert paper.y0 <= box.y0, t
                assert box.y1 <= paper.y1, t


def test_own_dense_curve_comes_once():
    ax = sv.plots.cost({"dense": [sv.cost(None, n, heads=2) for n in (1024, 256)]})
    assert [line.get_label() for line in ax.lines] == ["dense"]
    assert ax.lines[0].get_xdata().tolist() == [256, 1024]
    assert words_of(ax)["numbers"].startswith("n = 256 to 1,024 · 2 heads")


def test_bars_are_sorted_and_exact():
    costs = {"dense": sv.cost(None, 512), "small": sv.cost(sv.mistral(32), 512), "strided": sv.cost(sv.Causal() & sv.Strided(16), 512)}
    ax = sv.plots.cost_bars(costs)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["small", "strided", "dense"]
    widths = {bars.get_label(): [bar.get_width() for bar in bars] for bars in ax.containers}
    order = [costs[name] for name in ("small", "strided", "dense")]
    assert widths == {"computed": [c.computed for c in order], "needed": [c.nnz for c in order]}
    assert ax.get_xlim()[0] == 0
    assert set(ends(ax)) == {f"{100 * c.computed / 512**2:.1f} %, needs {100 * c.density:.1f} %" for c in order[:2]} | {"100 %"}
    assert to_hex(ax.containers[1][2].get_facecolor()).upper() == INGREDIENT["dense"]
    assert to_hex(ax.containers[1][0].get_facecolor()).upper() == INGREDIENT["window"]
    assert words_of(ax)["key"] == ["needed", "computed in vain"]


def test_bars_of_a_comparison_and_on_a_logarithmic_axis():
    q = np.random.default_rng(0).standard_normal((2, 64, 4))
    comparison = sv.compare(q, q, q, {"window": sv.mistral(8)}, impl="loops", repeats=0, block=16)
    for rows in (comparison, list(comparison)[::-1]):
        ax = sv.plots.cost_bars(rows, log=True)
        assert [t.get_text() for t in ax.get_yticklabels()] == ["window", "dense"]
        assert ax.get_xscale() == "log"
        assert 0 < ax.get_xlim()[0] < comparison["window"].cost.nnz
    assert words_of(ax)["numbers"] == "n = 64 · 2 heads · tiles of 16 x 16"


def test_bars_of_tiles_that_hang_over():
    ax = sv.plots.cost_bars({"dense": sv.cost(None, 17, block=16)})
    assert ax.get_xlim() == (0, 32 * 32)
    assert set(ends(ax)) == {f"{100 * 32 * 32 / 17**2:.1f} %, needs 100 %"}


def test_errors(curves):
    with pytest.raises(TypeError, match=r"plots.cost needs a CostCurve, a Measurement, or a dict of names .*, not list \[1, 2\]"):
        sv.plots.cost([1, 2])
    with pytest.raises(TypeError, match=r"plots.cost: \[3\] is no CostCurve, no Measurement and no sequence"):
        sv.plots.cost({"x": [3]})
    with pytest.raises(ValueError, match=r"two lengths or more, .* for one length use cost_bars"):
        sv.plots.cost({"x": sv.cost(None, 8)})
    with pytest.raises(ValueError, match="quantity is 'time', and needs to be one of flops"):
        sv.plots.cost(curves, quantity="time")
    with pytest.raises(TypeError, match="'window 64' has no measured seconds"):
        sv.plots.cost(curves, quantity="seconds")
    with pytest.raises(TypeError, match="cost_bars needs a dict"):
        sv.plots.cost_bars({})
    with pytest.raises(TypeError, match=r"cost_bars: 'x' holds \[3\]"):
        sv.plots.cost_bars({"x": [3]})
