import matplotlib as mpl
import numpy as np
import pytest

import sparsevis as sv
from sparsevis.palette import DARK

PATTERNS = {"Window": sv.SlidingWindow(2), "Global": sv.Global((0, 1)), "Both": sv.longformer(4, (0, 1)), "Random": sv.RandomKeys(2)}


def test_one_picture_a_pattern():
    fig = sv.plots.compare_grid(PATTERNS, 24)
    assert [ax.get_title(loc="left") for ax in fig.axes] == list(PATTERNS)
    assert [[c.get_label() for c in ax.collections] for ax in fig.axes] == [["window"], ["global"], ["window", "global"], ["random"]]
    assert [ax.get_ylabel() for ax in fig.axes] == ["query", "", "", "query"]


@pytest.mark.parametrize("columns", [1, 2, 4])
def test_pictures_are_level_and_equal_and_fill_the_figure(columns):
    fig = sv.plots.compare_grid(PATTERNS, 24, columns=columns, size=3 * columns)
    fig.canvas.draw()
    boxes = np.array([ax.get_window_extent().bounds for ax in fig.axes])
    np.testing.assert_allclose(boxes[:, 2:], boxes[0, 2], atol=1.5)
    for row in np.split(boxes, range(columns, 4, columns)):
        np.testing.assert_allclose(row[:, 1], row[0, 1], atol=1.5)
    drawn = fig.get_tightbbox()
    assert (drawn.x0 >= 0) & (drawn.y0 >= 0)
    assert fig.get_figwidth() - drawn.x1 < 0.3
    assert drawn.y0 < 0.4
    assert fig.get_figheight() - drawn.y1 < 0.4


def test_theme():
    fig = sv.plots.compare_grid({"Window": sv.SlidingWindow(2)}, 24, theme="dark", size=4)
    assert fig.get_facecolor() == mpl.colors.to_rgba(DARK["paper"])
    assert fig.axes[0].get_facecolor() == mpl.colors.to_rgba(DARK["ground"])


def test_errors():
    with pytest.raises(TypeError, match="a dict of titles and patterns, not list"):
        sv.plots.compare_grid([sv.Causal()], 24)
    with pytest.raises(TypeError, match="a dict of titles and patterns"):
        sv.plots.compare_grid({}, 24)


def test_a_picture_a_layer():
    patterns = sv.schedules.gemma3(n_layers=7, window=4)
    fig = sv.plots.layers_grid(patterns, 24)
    assert [ax.get_title(loc="left") for ax in fig.axes] == [f"Layer {l}" for l in range(1, 8)]
    drawn = [[c.get_label() for c in ax.collections] for ax in fig.axes]
    assert drawn == [["window"]] * 5 + [["dense"]] + [["window"]]
    pairs = [sum(len(c.get_paths()) for c in ax.collections) for ax in fig.axes]
    assert pairs == [int(p.mask(24).sum()) for p in patterns]


@pytest.mark.parametrize(
    ("layers", "titles"), [
        ("aaa", ["Layers 1 to 3"]), ("abab", ["Layers 1, 3", "Layers 2, 4"]), ("aabaaab", ["Layers 1, 2, 4 to 6", "Layers 3, 7"]),
        ("ab", ["Layer 1", "Layer 2"]),
    ],
)  # fmt: skip
def test_equal_layers_together(layers, titles):
    kinds = {"a": sv.SlidingWindow(2), "b": sv.PerHead(sv.Strided(3), sv.Global([0]))}
    fig = sv.plots.layers_grid([kinds[x] for x in layers], 20, together=True)
    assert [ax.get_title(loc="left") for ax in fig.axes] == titles
    if "b" in layers:
        cells = sum(len(c.get_paths()) for c in fig.axes[1].collections)
        assert cells == (sv.Strided(3) | sv.Global([0])).mask(20).sum()


def test_layers_of_a_receptive_field():
    fig = sv.plots.layers_grid(sv.receptive_field(sv.mistral(4), 20, layers=2), 20)
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["Layer 1", "Layer 2"]


def test_a_picture_a_head():
    fig = sv.plots.heads_grid(sv.PerHead(sv.SlidingWindow(2), sv.Strided(4), sv.SlidingWindow(2)), 20, theme="dark")
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["Head 0", "Head 1", "Head 2"]
    assert [[c.get_label() for c in ax.collections] for ax in fig.axes] == [["window"], ["dilated"], ["window"]]


def test_errors_of_layers_and_heads():
    for wrong in (sv.Causal(), [], [sv.Causal(), 3]):
        with pytest.raises(TypeError, match="layers_grid needs a sequence of patterns, one a layer"):
            sv.plots.layers_grid(wrong, 24)
    with pytest.raises(TypeError, match="heads_grid needs a PerHead, not Causal"):
        sv.plots.heads_grid(sv.Causal(), 24)
