from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_hex

import sparsevis as sv
from sparsevis.palette import INGREDIENT
from sparsevis.plots.words import words_of

LENGTHS = (256, 512, 1024, 2048)


@pytest.fixture(scope="module")
def curves():
    patterns = {"window 64": sv.mistral(64), "window 65": sv.mistral(65), "my global": sv.longformer(64)}
    return {name: [sv.cost(p, n) for n in LENGTHS] for name, p in patterns.items()}


def ends(ax, gid="end"):
    return {t.get_text(): t for t in ax.texts if t.get_gid() == gid}


@pytest.mark.parametrize(
    ("quantity", "dense"), [("flops", lambda n: 256 * n * n), ("computed", lambda n: n * n), ("memory_tiled", lambda n: 8 * n * n)]
)
def test_curves(curves, quantity, dense):
    ax = sv.plots.cost(curves, quantity=quantity)
    lines = {line.get_label(): line for line in ax.lines}
    assert list(lines) == ["dense", *curves]
    assert lines["dense"].get_ydata().tolist() == [dense(n) for n in LENGTHS]
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
    with pytest.raises(TypeError, match=r"plots.cost needs a dict of names to what sparsevis.cost returned, not list"):
        sv.plots.cost([1, 2])
    with pytest.raises(TypeError, match=r"'x' holds \[3\], and needs what sparsevis.cost returned"):
        sv.plots.cost({"x": [3]})
    with pytest.raises(ValueError, match=r"two lengths or more, .* for one length use cost_bars"):
        sv.plots.cost({"x": sv.cost(None, 8)})
    with pytest.raises(ValueError, match="quantity is 'time', and needs to be one of flops"):
        sv.plots.cost(curves, quantity="time")
    with pytest.raises(TypeError, match="cost_bars needs a dict"):
        sv.plots.cost_bars({})
