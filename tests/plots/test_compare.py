import numpy as np
import pytest
from matplotlib.transforms import Bbox

import sparsevis as sv
from sparsevis.plots.words import words_of

PATTERNS = {
    "window": sv.mistral(8), "wider": sv.mistral(9), "causal": sv.Causal(), "global": sv.Global([0]),
    "strided": sv.Strided(8), "sinks": sv.streaming_llm(2, 8), "heads": sv.PerHead(sv.mistral(4), sv.Causal()),
}  # fmt: skip


@pytest.fixture(scope="module")
def comparison():
    q, k, v = np.random.default_rng(0).standard_normal((3, 2, 2, 64, 8))
    return sv.compare(q, k, v, PATTERNS, impl="loops", repeats=0, block=16)


def offsets(ax, label):
    (found,) = [c for c in ax.collections if c.get_label() == label]
    return np.asarray(found.get_offsets())


def test_dots(comparison):
    ax = sv.plots.compare(comparison)
    rows = [comparison[name] for name in PATTERNS]
    np.testing.assert_allclose(offsets(ax, "patterns"), [(r.cost.computed / (2 * 64**2), r.mass.mean()) for r in rows])
    heads = np.array([[(r.cost.computed / (2 * 64**2), r.mass[:, h].mean()) for h in (0, 1)] for r in rows]).reshape(-1, 2)
    np.testing.assert_allclose(offsets(ax, "heads"), heads)
    (waste,) = [c for c in ax.collections if c.get_label() == "in vain"]
    starts = [segment[:, 0].min() for segment in waste.get_segments()]
    np.testing.assert_allclose(starts, [r.cost.nnz / (2 * 64**2) for r in rows])
    assert words_of(ax)["numbers"] == "2 heads · 64 keys · tiles of 16 x 16"


@pytest.mark.parametrize("size", [5, 8, 12])
def test_every_name_is_written_once_and_none_on_another(comparison, size):
    ax = sv.plots.compare(comparison, size=size)
    ax.figure.canvas.draw()
    names = [t for t in ax.texts if t.get_gid() == "end"]
    assert sorted(t.get_text() for t in names) == sorted(PATTERNS)
    boxes = [t.get_window_extent() for t in names]
    for k, box in enumerate(boxes):
        assert not any(Bbox.intersection(box, other) for other in boxes[k + 1 :])


def test_chance_is_the_diagonal(comparison):
    (line,) = sv.plots.compare(comparison).lines
    np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())


def test_without_heads():
    q = np.random.default_rng(1).standard_normal((16, 4))
    ax = sv.plots.compare(sv.compare(q, q, q, {"window": sv.mistral(3)}, impl="loops", repeats=0, block=4))
    np.testing.assert_allclose(offsets(ax, "heads"), offsets(ax, "patterns"))


def test_tiles_that_hang_over_and_a_pattern_of_nothing():
    q = np.random.default_rng(2).standard_normal((1, 17, 4))
    ax = sv.plots.compare(sv.compare(q, q, q, {"causal": sv.Causal(), "far": sv.Strided(9)}, impl="loops", repeats=0, block=16))
    assert offsets(ax, "patterns")[1, 0] == (2 * 16 / 17) ** 2
    assert ax.get_xlim() == (0, (2 * 16 / 17) ** 2)
    ax = sv.plots.compare(sv.compare(q, q, q, {"none": ~sv.Dense()}, impl="loops", repeats=0, block=16))
    assert ax.get_xlim() == (0, 1)
    assert offsets(ax, "patterns").tolist() == [[0, 0]]


def test_dense_alone_says_nothing():
    q = np.ones((4, 2))
    with pytest.raises(ValueError, match="dense attention alone"):
        sv.plots.compare(sv.compare(q, q, q, {}, impl="loops", repeats=0))
