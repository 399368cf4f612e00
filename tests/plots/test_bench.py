from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_hex

import sparsevis as sv
from sparsevis.palette import INGREDIENT
from sparsevis.plots.words import words_of

MACHINE = {"processor": "Some CPU", "threads": 2}


def case(name, seconds=0.02, of_peak=0.8, **ratios):
    ours = {"peer": "cpu", "ratio": 1.0, "seconds": seconds, "of_peak": of_peak}
    others = [{"peer": peer.replace("_", " "), "ratio": ratio, "seconds": seconds * ratio} for peer, ratio in ratios.items()]
    return {"name": name, "rows": [ours, *others]}


def result(*cases):
    return {"machine": MACHINE, "settings": {"rounds": 9}, "cases": list(cases)}


def dots(ax):
    return {c.get_label(): c.get_offsets().tolist() for c in ax.collections}


def texts(ax, gid):
    return [t for t in ax.texts if t.get_gid() == gid]


def test_a_dot_for_every_ratio_and_a_line_at_one():
    ax = sv.plots.bench(result(case("first", sdpa=2.5, numpy=40.0, loops=12.0), case("second", sdpa=0.5), case("alone")))
    assert dots(ax) == {"first": [[2.5, 0], [40.0, 0], [12.0, 0]], "second": [[0.5, 1]], "alone": []}
    assert ax.get_xscale() == "log"
    assert [t.get_text() for t in ax.get_yticklabels()] == ["first", "second", "alone"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first on top
    ours = next(line for line in ax.lines if to_hex(line.get_color()).upper() == INGREDIENT["window"])
    assert set(ours.get_xdata()) == {1}
    assert ax.get_xlim()[0] < 0.5 < 40 < ax.get_xlim()[1]


def test_names_numbers_and_what_is_said_of_ours():
    first = case("first", 0.0123, 0.617, sdpa=2.5, numpy=40.25, loops=12.0)
    ax = sv.plots.bench(result(first, case("second", 2.5, None, scipy=1234.6), case("alone")))
    assert [t.get_text() for t in texts(ax, "peer")] == ["sdpa", "numpy", "scipy"]
    assert [t.get_text() for t in texts(ax, "ratio")] == ["2.50x", "40.2x", "1,235x"]
    assert [t.get_text() for t in texts(ax, "ours")] == ["12.3 ms · 62 % of peak", "2.50 s", "20 ms · 80 % of peak"]
    assert [t.get_text() for t in texts(ax, "none")] == ["no other took part"]
    words = words_of(ax)
    assert (words["title"], words["numbers"]) == ("How much longer others take", "Some CPU · 2 threads · medians of 9 rounds")
    assert words["key"] == ["ours", "our slower ones"]
    assert words_of(sv.plots.bench(result(case("a", sdpa=2.0)), title="Speed"))["key"] == []


@pytest.mark.parametrize("size", [6, 12])
def test_labels_keep_apart_and_inside(size):
    crowd = {"flex_64": 2.0, "flex_128": 2.01, "sdpa": 2.02, "jax": 30.0, "numpy": 30.1, "scipy": 30.2}
    ax = sv.plots.bench(result(case("crowd", **crowd), case("again", **crowd)), size=size)
    ax.figure.canvas.draw()
    for gid in ("peer", "ratio"):
        boxes = [t.get_window_extent() for t in texts(ax, gid)][:6]
        assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))
        assert ax.transData.transform((1, 0))[0] < boxes[0].x0
        assert boxes[-1].x1 <= ax.get_window_extent().x1 + 1
    lines = sorted((t.get_window_extent() for t in [*texts(ax, "peer"), *texts(ax, "ratio")]), key=lambda box: -box.y0)
    assert lines[6].y0 >= lines[12].y1  # numbers of the first case end above names of the second


def test_colours_tell_libraries_apart_and_ours_from_theirs():
    ax = sv.plots.bench(result(case("c", flex_64=2.0, flex_128=3.0, sdpa=4.0, jax=5.0, numpy=6.0, scipy=7.0, reference=8.0, other=9.0)))
    hues = [to_hex(c).upper() for c in ax.collections[0].get_facecolors()]
    assert hues[0] == hues[1] == INGREDIENT["global"]
    assert hues[6] == INGREDIENT["partial"]
    assert len(set(hues)) == 7
    sizes = ax.collections[0].get_sizes()
    assert sizes[6] < min(np.delete(sizes, 6))


def test_what_was_not_timed_is_left_out():
    skipped = {"name": "skipped", "rows": [{"peer": "cpu", "skipped": "wrong"}]}
    first = {"name": "first call", "rows": [{"peer": "cpu, cached", "seconds": 0.5}]}
    some = case("some", sdpa=2.0)
    some["rows"].append({"peer": "jax", "skipped": "jax is not installed"})
    assert dots(sv.plots.bench(result(skipped, some, first))) == {"some": [[2.0, 0]]}
    with pytest.raises(ValueError, match="no case of this result has anything that was timed"):
        sv.plots.bench(result(skipped, first))


def test_thumbnail_has_dots_and_no_numbers():
    ax = sv.plots.bench(result(case("some", sdpa=2.0, jax=300.0)), size=2)
    assert dots(ax) == {"some": [[2.0, 0], [300.0, 0]]}
    assert not texts(ax, "peer")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1x", "10x", "100x"]


def test_on_given_axes_and_dark():
    fig = sv.plots.style.figure(1, 2, width=12, height=4, theme="dark")
    ax = sv.plots.bench(result(case("some", sdpa=2.0)), ax=fig.axes[1])
    assert ax is fig.axes[1]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1x", "2x"]


@pytest.mark.parametrize("wrong", [[1], {"cases": []}, "x.json"])
def test_errors(wrong):
    with pytest.raises(TypeError, match=r"plots.bench needs what sparsevis.bench.measure returned, not (list|dict|str)"):
        sv.plots.bench(wrong)
