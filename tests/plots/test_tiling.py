import numpy as np
import pytest
from matplotlib.colors import to_rgb

import sparsevis as sv
from sparsevis.palette import INGREDIENT, LIGHT
from sparsevis.plots.words import words_of


def walked(pattern=None, n=24, block=6, d=4, seed=0):
    q, k, v = np.random.default_rng(seed).standard_normal((3, n, d))
    return sv.walk(3 * q, k, v, sv.streaming_llm(2, 8) if pattern is None else pattern, block=block)


def tiles_of(ax, label):
    """Tiles (row, column) of 6 x 6 positions that a collection covers."""
    (found,) = [c for c in ax.collections if c.get_label() == label]
    return [tuple(int(x) for x in (p.get_extents().y0 + 0.5 + 1e-6, p.get_extents().x0 + 0.5 + 1e-6)) for p in found.get_paths()]


@pytest.mark.parametrize("step", [0, 3, -1])
def test_what_lies_behind_and_ahead(step):
    w = walked()
    ax = sv.plots.tiling(w, step=step)
    at = step % len(w.steps)
    place = lambda s: (6 * s.row, 6 * s.column)
    assert tiles_of(ax, "now") == [place(w.steps[at])]
    assert tiles_of(ax, "ahead") == [place(s) for s in w.steps[at + 1 :]]
    assert sorted([*tiles_of(ax, "full"), *tiles_of(ax, "partial")]) == sorted(map(place, w.steps))
    (line,) = ax.lines
    own = [s for s in w.steps[: at + 1] if s.row == w.steps[at].row]
    assert line.get_xydata().tolist() == [[6 * s.column + 2.5, 6 * s.row + 2.5] for s in own]


def test_the_whole_walk():
    w = walked()
    ax = sv.plots.tiling(w)
    assert tiles_of(ax, "now") == tiles_of(ax, "ahead") == []
    assert len(ax.lines) == 4
    assert sum(len(line.get_xdata()) for line in ax.lines) == len(w.steps)
    words = words_of(ax)
    full, partial, empty = w.layout.tally()
    assert words["title"] == f"The walk: {full + partial} of 16 tiles, row after row"
    assert words["numbers"] == f"{full} full and {partial} partial tiles · {empty} skipped"
    assert words["key"] == ["walked", "skipped"]
    assert words_of(sv.plots.tiling(w, step=1))["key"] == ["now", "walked", "ahead", "skipped"]


def faces(ax, label, shape):
    (cells,) = [c for c in ax.collections if c.get_label() == label]
    return cells.get_facecolors()[:, :3].reshape(*shape, 3)


@pytest.mark.parametrize("step", range(4))
def test_a_step_shows_its_numbers(step):
    w = walked(sv.Causal() - sv.SlidingWindow(0), n=14)
    s = w.steps[step]
    ax = sv.plots.running(w, step=step, size=12)
    text = lambda gid: [t.get_text() for t in ax.texts if t.get_gid() == gid]
    assert text("m") == [f"{x:.2f}" if x > -np.inf else "–" for x in s.m]
    assert text("l") == [f"{x:.2f}" for x in s.l]
    assert text("shrink") == [f"× {x:.2f}" for x, up in zip(s.shrink, s.raised, strict=True) if up]
    bold = [t.get_fontweight() == "bold" for t in ax.texts if t.get_gid() == "m"]
    assert bold == s.raised.tolist()
    ground, blue = (np.array(to_rgb(c)) for c in (LIGHT["ground"], INGREDIENT["window"]))
    depth = (0.12 + 0.88 * np.sqrt(s.weights))[..., None]
    want = np.where((s.scores > -np.inf)[..., None], (1 - depth) * ground + depth * blue, 1)
    np.testing.assert_allclose(faces(ax, "weights", s.scores.shape), want, atol=1e-9)
    top = max(np.abs(x.o).max() for x in w.of(s.row))
    hue = np.where((s.o < 0)[..., None], blue, np.array(to_rgb(INGREDIENT["global"])))
    depth = np.sqrt(np.abs(s.o) / top)[..., None]
    np.testing.assert_allclose(faces(ax, "o", s.o.shape), (1 - depth) * ground + depth * hue, atol=1e-9)


def test_bars_are_as_long_as_the_sums():
    w = walked()
    lengths = []
    for s in w.of(-1):
        ax = sv.plots.running(w, step=[x is s for x in w.steps].index(True))
        (bars,) = [c for c in ax.containers if c.get_label() == "l"]
        lengths += zip(s.l, (b.get_width() for b in bars), strict=True)
    l, wide = np.array(lengths).T
    np.testing.assert_allclose(wide / wide.max(), 0.06 + 0.94 * l / l.max())  # one scale, from 0, for all steps of a block


def test_words_of_a_step():
    w = walked()
    first, last = ([x.row for x in w.steps].index(3), len(w.steps) - 1)
    words = words_of(sv.plots.running(w, step=first))
    assert words["title"] == "Tile 1 of 4: keys 0 to 5"
    assert words["numbers"] == "the first tile: nothing to correct"
    words = words_of(sv.plots.running(w))
    assert words["numbers"] == f"m rises for {w.steps[last].raised.sum()} of 6 queries · o is the output"
    heads = [t.get_text() for t in sv.plots.running(w, size=12).texts if t.get_gid() == "head"]
    assert heads == ["weights exp(s − m)", "max m", "sum l", "output o"]


def test_large_tiles_are_images():
    w = walked(sv.Causal(), n=200, block=100, d=64)
    ax = sv.plots.running(w, size=6)
    assert {i.get_label(): i.get_array().shape for i in ax.images} == {"weights": (100, 100, 3), "o": (100, 64, 3)}
    np.testing.assert_allclose(ax.images[0].get_array()[0, 1], 1)  # not allowed: paper
    assert not [t for t in ax.texts if t.get_gid() in ("m", "l", "shrink")]


@pytest.mark.parametrize("size", [6, 12])
def test_strip(size):
    w = walked()
    fig = sv.plots.tiling_grid(w, size=size, theme="dark")
    titles = [f"Tile {x + 1} of 4: keys {s.keys.start} to {s.keys.stop - 1}" for x, s in enumerate(w.of(-1))]
    assert [ax.get_title(loc="left") for ax in fig.axes] == titles
    fig.canvas.draw()
    drawn = fig.get_tightbbox()
    assert drawn.x0 >= -0.02
    assert drawn.x1 <= size + 0.02
    assert fig.get_figheight() - drawn.height < 0.4


def test_errors():
    with pytest.raises(TypeError, match=r"plots\.tiling needs what sparsevis\.walk\(q, k, v, pattern\) returned, not Causal"):
        sv.plots.tiling(sv.Causal())
    with pytest.raises(ValueError, match="the walk has no step, because the pattern allows no pair"):
        sv.plots.running(walked(sv.Sink(0)))
    w = walked()
    with pytest.raises(ValueError, match=f"step is {len(w.steps)}, and needs to lie from -{len(w.steps)} to {len(w.steps) - 1}"):
        sv.plots.tiling(w, step=len(w.steps))
    with pytest.raises(ValueError, match="row is 4"):
        sv.plots.tiling_grid(w, row=4)
    with pytest.raises(ValueError, match="block 0 of the queries has no tile"):
        sv.plots.tiling_grid(walked(sv.Global([20], columns=False)), row=0)
    with pytest.raises(ValueError, match="over 49 x 49 tiles, and up to 48 a side"):
        sv.plots.tiling(walked(sv.Causal(), n=49, block=1))
    with pytest.raises(ValueError, match="walks 25 tiles, and a strip has up to 24"):
        sv.plots.tiling_grid(walked(sv.Causal(), n=25, block=1))
