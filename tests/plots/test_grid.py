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
