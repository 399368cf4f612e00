from math import nan

import pytest
from matplotlib.colors import to_hex

import sparsevis as sv
from sparsevis.measure import Measured, Measurement
from sparsevis.palette import INGREDIENT
from sparsevis.plots.words import words_of

ROOF = sv.Roofline(flops=2e11, bandwidth=2e10, threads=2, dtype="float32")


def measured(pattern, seconds, dense=(nan, nan), roof=ROOF):
    rows = []
    for n, mine, theirs in zip((256, 1024), seconds, dense, strict=True):
        c = sv.cost(pattern, n)
        rows.append(Measured(n, c, sv.cost(None, n), mine, theirs, None, ROOF.seconds(c.flops_computed, c.bytes_tiled)))
    return Measurement("window", "cpu", tuple(rows), roof, {})


def lines_of(ax):
    return {line.get_label(): line for line in ax.lines}


def test_points_stand_under_their_roof():
    m = measured(sv.mistral(64), (1e-3, 2e-3), dense=(2e-3, nan))
    ax = sv.plots.roofline(m)
    lines = lines_of(ax)
    assert list(lines) == ["roof", "naive", "dense", "window"]
    assert lines["window"].get_xydata().tolist() == [[r.cost.intensity, r.cost.flops_computed / r.seconds] for r in m.rows]
    assert lines["dense"].get_xydata().tolist() == [[m.rows[0].dense_cost.intensity, m.rows[0].dense_cost.flops_computed / 2e-3]]
    x, y = lines["roof"].get_data()
    assert (x[1], y[1], y[2]) == (10, 2e11, 2e11)          # the ridge, and flat from there
    assert y[0] == pytest.approx(2e10 * x[0])
    assert lines["naive"].get_xdata().tolist() == [m.rows[0].dense_cost.intensity_naive] * 2
    assert lines["naive"].get_ydata()[1] == ROOF.at(m.rows[0].dense_cost.intensity_naive)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    for line in lines.values():
        (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
        assert ((line.get_xdata() >= left) & (line.get_xdata() <= right)).all()
        assert ((line.get_ydata() >= low) & (line.get_ydata() <= high)).all()


def test_names_say_how_much_of_the_roof_is_reached():
    m = measured(sv.mistral(64), (1e-3, 2e-3))
    ax = sv.plots.roofline({"mine": m})
    last = m.rows[-1]
    share = 100 * last.cost.flops_computed / 2e-3 / min(2e11, 2e10 * last.cost.intensity)
    assert [t.get_text() for t in ax.texts if t.get_gid() == "end"] == [f"mine  {share:.0f} %"]
    assert [t.get_text() for t in ax.texts if t.get_gid() == "roof"] == ["memory: 20 GB/s", "arithmetic: 200 GFLOP/s", "naive method"]
    assert words_of(ax)["numbers"] == f"n = 256 to 1,024 · 1 head of dimension 64 · {m.roof_gap:.2f}x the time of the roof"
    assert words_of(sv.plots.roofline({"mine": m}, title="Mine"))["title"] == "Mine"


def test_colours_are_those_of_the_curves():
    ax = sv.plots.roofline({"a global one": measured(sv.mistral(64), (1e-3, 2e-3)), "b": measured(sv.mistral(9), (1e-3, 2e-3))})
    hue = {name: to_hex(line.get_color()).upper() for name, line in lines_of(ax).items()}
    assert hue["a global one"] == INGREDIENT["global"]
    assert hue["b"] == INGREDIENT["window"]


@pytest.mark.parametrize(("size", "theme"), [(2, "dark"), (6, "light"), (12, "dark")])
def test_nothing_is_clipped_or_overlaps(size, theme):
    results = {"window": measured(sv.mistral(64), (1e-3, 2e-3), (2e-3, 9e-3)), "streaming": measured(sv.streaming_llm(4, 60), (1e-3, 2e-3))}
    ax = sv.plots.roofline(results, size=size, theme=theme)
    ax.figure.canvas.draw()
    boxes = [t.get_window_extent() for t in ax.texts if t.get_text()]
    paper = ax.figure.bbox
    assert all(paper.x0 <= box.x0 and box.x1 <= paper.x1 and paper.y0 <= box.y0 and box.y1 <= paper.y1 for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_errors():
    with pytest.raises(TypeError, match=r"plots.roofline needs what sparsevis.measure returned"):
        sv.plots.roofline([1])
    with pytest.raises(TypeError, match="'x' is 3"):
        sv.plots.roofline({"x": 3})
    with pytest.raises(ValueError, match=r"'x' has no roofline .* measure\(..., roof=True\)"):
        sv.plots.roofline({"x": measured(None, (1, 1), roof=None)})
    with pytest.raises(ValueError, match="nothing to draw"):
        sv.plots.roofline({})
