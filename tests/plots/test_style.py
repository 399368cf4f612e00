"""What all plots share: the axes given, the themes, text that is neither clipped nor overlapped, and vector files that keep it."""

import io
import itertools
import os
import subprocess
import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text

import sparsevis as sv
from sparsevis.palette import DARK, LIGHT
from sparsevis.plots.style import figure

P = np.tril(np.ones((40, 40))) / np.arange(1, 41)[:, None]
Q = np.random.default_rng(0).standard_normal((2, 64, 4))
COSTS = {name: [sv.cost(p, n) for n in (512, 1024, 2048)] for name, p in (("window", sv.mistral(64)), ("global", sv.longformer(64)))}
COMPARISON = sv.compare(Q, Q, Q, {"window": sv.mistral(8), "causal": sv.Causal()}, impl="loops", repeats=0, block=16)
FIELD = sv.receptive_field([sv.mistral(9)] * 5, 40, query=-1)
FULL = sv.receptive_field(sv.schedules.gemma3(6, window=8), 40, query=-1)
LONG = sv.receptive_field(sv.mistral(4096), 1 << 17, query=100_000, layers=32)
WALK = sv.walk(*np.random.default_rng(1).standard_normal((3, 24, 4)), sv.streaming_llm(2, 8), block=6)
PLOTS = {
    "mask of cells": lambda **o: sv.plots.mask(sv.bigbird(block=2, random_blocks=1), 24, **o),
    "mask of pixels": lambda **o: sv.plots.mask(sv.longformer(20), 200, **o),
    "mask of shares": lambda **o: sv.plots.mask(sv.longformer(512), 1 << 20, title="Longformer: window + global", **o),
    "layout of tiles": lambda **o: sv.plots.layout(sv.Layout.of(sv.streaming_llm(3, 20), 64, 8), **o),
    "layout of pixels": lambda **o: sv.plots.layout(sv.Layout.of(sv.longformer(512), 1 << 16, 64), **o),
    "attention": lambda **o: sv.plots.attention(P, pattern=sv.SlidingWindow(5), **o),
    "attention of tokens": lambda **o: sv.plots.attention(P[:9, :9], tokens=[*"Alice in "], **o),
    "cost": lambda **o: sv.plots.cost(COSTS, **o),
    "cost_bars": lambda **o: sv.plots.cost_bars(COMPARISON, **o),
    "compare": lambda **o: sv.plots.compare(COMPARISON, **o),
    "mass_kept": lambda **o: sv.plots.mass_kept(COMPARISON["window"], **o),
    "receptive_field of cells": lambda **o: sv.plots.receptive_field(FIELD, **o),
    "receptive_field of pixels": lambda **o: sv.plots.receptive_field(LONG, name="Mistral", **o),
    "growth": lambda **o: sv.plots.growth({"window": FIELD, "full": FULL}, **o),
    "growth of one": lambda **o: sv.plots.growth(FIELD, **o),
    "hops": lambda **o: sv.plots.hops(FIELD, **o),
    "hop_counts": lambda **o: sv.plots.hop_counts(FIELD, **o),
    "graph": lambda **o: sv.plots.graph(FIELD, **o),
    "tiling": lambda **o: sv.plots.tiling(WALK, step=4, **o),
    "running": lambda **o: sv.plots.running(WALK, step=4, **o),
}
every_plot = pytest.mark.parametrize("draw", PLOTS.values(), ids=PLOTS)


def texts(fig):
    """Everything written on a figure: (text, box in pixels)."""
    axes = [axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)]
    of_axes = {t for axis in axes for t in axis.findobj(Text)}
    shown = [t for t in fig.findobj(Text) if t not in of_axes] + [axis.label for axis in axes]
    for axis in axes:
        low, high = sorted(axis.get_view_interval())
        shown += [t for t, at in zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True) if low <= at <= high]
    written = [t for t in shown if t.get_visible() and t.get_text().strip() and t.get_rotation() in (0, 90)]  # slanted ones: test_compare
    return [(t.get_text(), t.get_window_extent()) for t in written]


@every_plot
@pytest.mark.parametrize("size", [2, 6, 12])
def test_no_text_is_clipped_or_covers_another_and_no_band_is_empty(draw, size):
    fig = draw(size=size).figure
    fig.draw_without_rendering()
    drawn, written = fig.get_tightbbox(), texts(fig)
    assert fig.get_figwidth() == size
    assert drawn.width > 0.92 * size
    assert drawn.height > fig.get_figheight() - 0.06 * size
    assert len(written) > 4
    for text, box in written:
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= fig.bbox.width + 1, text
        assert box.y1 <= fig.bbox.height + 1, text
    for (a, one), (b, other) in itertools.combinations(written, 2):
        wide, high = min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0)
        assert wide <= 1 or high <= 0.25 * min(one.height, other.height), (a, b)


@every_plot
def test_axes_that_are_given_are_used(draw):
    fig, (left, right) = plt.subplots(1, 2, figsize=(12, 6))
    before = plt.get_fignums()
    assert draw(ax=right) is right
    assert plt.get_fignums() == before
    assert not left.has_data()
    assert fig.get_size_inches().tolist() == [12, 6]
    assert right.get_title(loc="left")


@every_plot
def test_dark_theme_and_files(draw):
    ax, png, svg = draw(theme="dark"), io.BytesIO(), io.BytesIO()
    rgba = mpl.colors.to_rgba
    assert ax.figure.get_facecolor() == rgba(DARK["paper"])
    assert rgba(ax._left_title.get_color()) == rgba(DARK["ink"])
    assert rgba(ax.xaxis.label.get_color()) == rgba(DARK["soft"])
    assert rgba(ax.get_facecolor()) in (rgba(DARK["ground"]), rgba(DARK["paper"]))
    sv.plots.save(ax, png, dpi=50)
    assert png.getvalue()[:4] == b"\x89PNG"
    with sv.plots.style.context():
        ax.figure.savefig(svg, format="svg")
    title = ax.get_title(loc="left").split("\n")[0].replace("&", "&amp;")
    assert f">{title}<" in svg.getvalue().decode()


def test_theme_follows_the_figure_that_is_given():
    assert sv.plots.mask(sv.Causal(), 8).figure.get_facecolor() == mpl.colors.to_rgba(LIGHT["paper"])
    fig, ax = plt.subplots(facecolor="#101010")
    assert sv.plots.mask(sv.Causal(), 8, ax=ax)._left_title.get_color() == DARK["ink"]
    assert fig.get_facecolor() == mpl.colors.to_rgba("#101010")
    fig, ax = plt.subplots()
    sv.plots.mask(sv.Causal(), 8, ax=ax, theme="dark")
    assert fig.get_facecolor() == mpl.colors.to_rgba(DARK["paper"])


def test_save_keeps_text_as_text(tmp_path):
    sv.plots.save(sv.plots.mask(sv.Causal(), 8, title="Only the past"), tmp_path / "past.svg")
    assert ">Only the past<" in (tmp_path / "past.svg").read_text()


def test_subfigures_and_bare_axes():
    fig = plt.figure(figsize=(9, 4))
    left, right = fig.subfigures(1, 2)
    ax = sv.plots.mask(sv.Causal(), 24, ax=left.subplots())
    other = sv.plots.mask(sv.longformer(512), 4096, ax=right.add_axes((0.2, 0.2, 0.6, 0.6)))
    assert ax.get_title(loc="left") == "Causal()"
    sv.plots.save(other, io.BytesIO())


def test_figure_of_several_plots():
    fig = figure(1, 3, width=9, height=4, theme="dark")
    for ax in fig.axes:
        sv.plots.mask(sv.mistral(4), 24, ax=ax)
    assert [ax._left_title.get_color() for ax in fig.axes] == [DARK["ink"]] * 3


def test_colours_of_a_look():
    with sv.plots.style.canvas(None, "dark", 4) as (_, look):
        assert look.soft == DARK["soft"]
        with pytest.raises(AttributeError, match="the colours paper, ink, soft, grid, ground; not 'pink'"):
            _ = look.pink


def test_matplotlib_is_imported_only_with_the_plots():
    code = """
import sys, sparsevis as sv
sv.Layout.of(sv.Causal(), 8, 4)
assert 'matplotlib' not in sys.modules
sv.plots.mask
print(sorted({'matplotlib', 'numba', 'sparsevis.kernels'} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['matplotlib']"


def test_a_backend_that_turns_interactive_mode_on_keeps_it_on(tmp_path):
    """As the one of notebooks does when it is loaded, which is at the first figure; without it the second figure is not shown."""
    (tmp_path / "eager.py").write_text("from matplotlib.backends.backend_agg import *\nimport matplotlib\nmatplotlib.interactive(True)\n")
    code = "import matplotlib as mpl, sparsevis as sv; sv.plots.mask(sv.Causal(), 4); print(mpl.is_interactive())"
    env = dict(os.environ) | {"MPLBACKEND": "module://eager", "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.split() == ["True"]
