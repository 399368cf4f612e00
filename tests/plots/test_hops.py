import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb

import sparsevis as sv
from sparsevis.palette import INGREDIENT
from sparsevis.plots.words import words_of

STACKS = {
    "causal window": (sv.mistral(4), 30, 5), "two-sided": (sv.longformer(4), 25, 3), "dilated": (sv.Dilated(1, 1, 3), 28, 4),
    "causal random": (sv.Causal() & sv.RandomKeys(2), 33, 3),
}  # fmt: skip


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", STACKS)
def test_a_colour_for_each_number_of_hops(name, theme):
    pattern, n, layers = STACKS[name]
    field = sv.receptive_field(pattern, n, layers=layers)
    ax = sv.plots.hops(field, theme=theme)
    image = np.asarray(ax.images[-1].get_array())
    hops = field.hop_matrix()
    ramp = colormaps["viridis_r" if theme == "light" else "viridis"](np.linspace(0.1 if theme == "light" else 0.22, 1, layers + 1))[:, :3]
    i, j = np.mgrid[:n, :n]
    hidden = (hops < 0) & (j > i) if field.causal else np.zeros((n, n), bool)
    np.testing.assert_allclose(image[hops >= 0], ramp[hops[hops >= 0]], atol=3e-3)
    np.testing.assert_allclose(image[hidden], np.broadcast_to(to_rgb(ax.figure.get_facecolor()), image[hidden].shape), atol=3e-3)
    missed = (hops < 0) & ~hidden
    if missed.any():
        assert len(np.unique(image[missed].round(6), axis=0)) == 1
        assert "not seen" in words_of(ax)["key"]


@pytest.mark.parametrize("pattern", [sv.mistral(9), sv.longformer(6)])
def test_pixels_hold_exact_means(pattern):
    field = sv.receptive_field(pattern, 101, layers=4)
    ax = sv.plots.hops(field, cells=30)
    image, hops = np.asarray(ax.images[-1].get_array()), field.hop_matrix().astype(float)
    assert image.shape == (26, 26, 3)
    assert ax.get_xlabel() == "key · 1 pixel = mean of 4 x 4 pairs"
    ramp = np.array([to_rgb(to_hex(c)) for c in colormaps["viridis_r"](np.linspace(0.1, 1, 5))])
    unseen = 0.8 + 0.2 * np.array(to_rgb(INGREDIENT["dense"]))
    i, j = np.mgrid[:101, :101]
    for r in range(26):
        for c in range(26):
            at = np.s_[4 * r : 4 * r + 4, 4 * c : 4 * c + 4]
            visible = (j <= i)[at] if field.causal else np.ones_like(hops[at], bool)
            if not visible.any():
                np.testing.assert_allclose(image[r, c], 1)
                continue
            seen = hops[at] >= 0
            share = seen.sum() / visible.sum()
            mean = hops[at][seen].mean() if seen.any() else 0
            hue = [np.interp(mean, range(5), ramp[:, channel]) for channel in range(3)]
            depth = 0.2 + 0.8 * np.cbrt(share) if share else 0
            np.testing.assert_allclose(image[r, c], (1 - depth) * unseen + depth * np.array(hue), atol=3e-3)


def test_words():
    words = words_of(sv.plots.hops(sv.receptive_field(sv.longformer(4), 64, layers=3)))
    assert words["title"] == "Any key is at most 2 layers away"
    assert words["key"] == ["itself", "1 layer", "2 layers"]
    field = sv.receptive_field(sv.mistral(3), 30, layers=12)
    words = words_of(sv.plots.hops(field))
    assert words["key"] == ["itself", "3", "6", "9", "12 layers", "not seen"]
    total, left = 30 * 31 // 2, int(field.unreachable.sum())
    assert words["title"].replace("\n", " ") == f"{100 * left / total:.1f} % of the visible pairs are not seen within 12 layers"
    mean = (field.hop_counts * np.arange(13)).sum() / field.hop_counts.sum()
    assert f"mean {mean:.2f} layers" in words["numbers"]


def test_bars_are_the_counts():
    field = sv.receptive_field(sv.mistral(4), 30, layers=3)
    ax = sv.plots.hop_counts(field)
    assert [int(b.get_height()) for b in ax.patches] == [*field.hop_counts, int(field.unreachable.sum())]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "1", "2", "3", "not yet"]
    assert [t.get_text() for t in ax.texts if t.get_gid() == "end"] == [f"{b.get_height():,.0f}" for b in ax.patches]
    closed = sv.plots.hop_counts(sv.receptive_field(sv.Dilated(1, 1, 3), 30, query=4, layers=20))
    assert closed.get_xticklabels()[-1].get_text() == "never"
    assert words_of(closed)["y"] == "keys"
    assert words_of(closed)["numbers"].startswith("query 4 · ")
    assert int(closed.patches[-1].get_height()) == 20
    everything = sv.plots.hop_counts(sv.receptive_field(sv.longformer(4), 30, layers=9))
    assert len(everything.patches) == 3  # no bars for layers that add nothing


def test_bars_have_the_colours_of_the_matrix():
    field = sv.receptive_field(sv.mistral(4), 30, layers=3)
    image = np.asarray(sv.plots.hops(field).images[-1].get_array())
    bars = [b.get_facecolor()[:3] for b in sv.plots.hop_counts(field).patches]
    np.testing.assert_allclose(bars, [image[29, 29], image[29, 27], image[29, 24], image[29, 21], image[29, 0]], atol=3e-3)


def test_grid():
    field = sv.receptive_field(sv.mistral(4), 30, layers=3)
    fig = sv.plots.hops_grid(field, theme="dark")
    assert [ax.get_title(loc="left") for ax in fig.axes][1] == "How many pairs are how far apart"
    assert (len(fig.axes[0].images), len(fig.axes[1].patches)) == (1, 5)
    with pytest.raises(ValueError, match="needs the receptive field of all queries, and this is of query 29"):
        sv.plots.hops_grid(field.of(-1))


def test_errors():
    with pytest.raises(ValueError, match=r"n is 8,193, and the hops of all pairs are drawn up to 8,192"):
        sv.plots.hops(sv.receptive_field(sv.mistral(4), 8193, query=0))
    with pytest.raises(TypeError, match=r"plots\.hops needs what sparsevis\.receptive_field"):
        sv.plots.hops(np.zeros((3, 3)))
