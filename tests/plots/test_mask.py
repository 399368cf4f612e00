import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb

import sparsevis as sv
from sparsevis.palette import DARK, INGREDIENT, LIGHT
from sparsevis.plots.mask import count_layers
from sparsevis.plots.words import words_of


def cells_of(ax):
    """{label: boolean matrix} of the rounded cells that are drawn."""
    n = round(ax.get_xlim()[1] + 0.5)
    out = {}
    for collection in ax.collections:
        drawn = out[collection.get_label()] = np.zeros((n, n), bool)
        for path in collection.get_paths():
            box = path.get_extents()
            j, i = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
            assert (j, i) == pytest.approx((round(j), round(i)), abs=1e-9)
            drawn[round(i), round(j)] = True
    return out


def test_each_cell_has_the_colour_of_the_first_part_that_allows_it():
    ax = sv.plots.mask(sv.longformer(4, (0, 1)), 24)
    i, j = np.mgrid[:24, :24]
    window = abs(i - j) <= 2
    drawn = cells_of(ax)
    assert list(drawn) == ["window", "global"]
    np.testing.assert_array_equal(drawn["window"], window)
    np.testing.assert_array_equal(drawn["global"], ((i < 2) | (j < 2)) & ~window)
    assert [to_hex(c.get_facecolor()[0]) for c in ax.collections] == [INGREDIENT["window"].lower(), INGREDIENT["global"].lower()]
    assert words_of(ax)["key"] == ["window", "global"]
    assert not ax.images


def test_axes_of_a_matrix():
    ax = sv.plots.mask(sv.Causal(), 24)
    assert ax.get_xlim() == (-0.5, 23.5)
    assert ax.get_ylim() == (23.5, -0.5)  # query 0 on top
    assert ax.get_aspect() == 1
    assert ax.get_xticks().tolist() == ax.get_yticks().tolist() == [0, 12, 23]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "12", "23"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("key", "query")
    assert not any(spine.get_visible() for spine in ax.spines.values())
    assert to_hex(ax.get_facecolor()) == LIGHT["ground"].lower()


def test_title_and_numbers():
    words = words_of(sv.plots.mask(sv.Causal() & sv.SlidingWindow(2), 24))
    assert words["title"] == "Causal() & SlidingWindow(left=2)"
    assert words["numbers"] == "69 of 576 pairs · 12.0 % · 2.9 keys a query"
    assert words["key"] == []  # one ingredient needs no telling apart
    assert words_of(sv.plots.mask(sv.bigbird(block=2, random_blocks=1), 24))["title"] == "Window + global + random"
    assert words_of(sv.plots.mask(sv.Causal(), 24, title="Only the past"))["title"] == "Only the past"


@pytest.mark.parametrize("n", [49, 97, 200, 512])
def test_a_pixel_a_pair(n):
    ax = sv.plots.mask(sv.SlidingWindow(5, 1), n)
    image = np.asarray(ax.images[-1].get_array())
    i, j = np.mgrid[:n, :n]
    allowed = (i - 5 <= j) & (j <= i + 1)
    assert image.shape == (n, n, 3)
    np.testing.assert_allclose(image[allowed], np.broadcast_to(to_rgb(INGREDIENT["window"]), (allowed.sum(), 3)))
    np.testing.assert_allclose(image[~allowed], np.broadcast_to(to_rgb(LIGHT["ground"]), ((~allowed).sum(), 3)))
    assert ax.get_xlabel() == "key"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_exact_shares_at_an_odd_length(theme):
    n, cell = 97, 8
    pattern = sv.Causal() & (sv.SlidingWindow(9) | sv.Global([0, 50]))
    ax = sv.plots.mask(pattern, n, cells=16, theme=theme)
    i, j = np.mgrid[:n, :n]
    window = (j <= i) & (i - j <= 9)
    other = (j <= i) & ((i == 0) | (j == 0) | (i == 50) | (j == 50)) & ~window
    ground = np.array(to_rgb((LIGHT if theme == "light" else DARK)["ground"]))
    want = np.empty((13, 13, 3))
    for a in range(13):
        for b in range(13):
            at = np.s_[cell * a : cell * (a + 1), cell * b : cell * (b + 1)]
            w, g = window[at].mean(), other[at].mean()
            fw, fg, depth = (0.2 + 0.8 * s ** (1 / 3) if s else 0 for s in (w, g, w + g))
            hue = (fw * np.array(to_rgb(INGREDIENT["window"])) + fg * np.array(to_rgb(INGREDIENT["global"]))) / (fw + fg or 1)
            want[a, b] = ground + depth * (hue - ground)
    np.testing.assert_allclose(np.asarray(ax.images[-1].get_array()), want, atol=1e-12)
    assert ax.images[-1].get_extent() == [-0.5, 103.5, 103.5, -0.5]  # the last pixels hang over, and are cut by the axes
    assert ax.get_xlim() == (-0.5, 96.5)
    assert ax.get_xlabel() == "key · 1 pixel = 8 x 8 pairs"
    assert words_of(ax)["key"] == ["window", "global", "0.1 %", "1 %", "10 %", "all of a pixel"]
    assert f"{window.sum() + other.sum():,} of 9,409 pairs" in words_of(ax)["numbers"]


def test_lines_thinner_than_a_pixel_stay_visible():
    image = np.asarray(sv.plots.mask(sv.Global([0]), 1 << 20, cells=256).images[-1].get_array())
    away = np.abs(image - to_rgb(LIGHT["ground"])).max(-1)
    assert away[0].min() > 0.1
    assert away[1:, 0].min() > 0.1
    assert (away[1:, 1:] == 0).all()


def test_a_million_positions_where_small_tiles_would_be_too_many():
    n, stride = 1 << 20, 128
    (window, strided), cell = count_layers(sv.sparse_transformer_strided(stride, merged=True), (n, n), 256)
    assert (window[0], strided[0], cell) == ("window", "dilated", 4096)
    assert window[1].sum() == n * stride - stride * (stride - 1) // 2
    assert strided[1].sum() == sum(m * stride for m in range(n // stride))
    assert strided[1][0, 1] == 0


@pytest.mark.parametrize("pattern", [sv.bigbird(block=16), sv.streaming_llm(2, 30), sv.sparse_transformer_fixed(20, 3, merged=True)])
def test_layers_are_a_partition(pattern):
    layers, cell = count_layers(pattern, (333, 333), 100)
    mask = np.pad(pattern.mask(333), (0, 84 * cell - 333))
    np.testing.assert_array_equal(sum(pairs for _, pairs in layers), mask.reshape(84, cell, 84, cell).sum((1, 3)))


def test_heads():
    heads = sv.PerHead(sv.SlidingWindow(1), sv.Causal() & sv.Strided(3))
    assert list(cells_of(sv.plots.mask(heads, 12, head=1))) == ["dilated"]
    with pytest.raises(ValueError, match=r"2 heads: say head=0 to 1, or draw pattern.union"):
        sv.plots.mask(heads, 12)
    with pytest.raises(ValueError, match="one pattern for all heads"):
        sv.plots.mask(sv.Causal(), 12, head=0)


def test_errors_open_no_figure():
    import matplotlib.pyplot as plt

    with pytest.raises(TypeError, match=r"needs a Pattern or a PerHead, not ndarray .*Chosen.from_mask"):
        sv.plots.mask(np.eye(3, dtype=bool), 3)
    with pytest.raises(ValueError, match="n is 0: nothing to draw"):
        sv.plots.mask(sv.Causal(), 0)
    with pytest.raises(ValueError, match="2 queries over 4 keys: say offset"):
        sv.plots.mask(sv.Causal(), (2, 4))
    with pytest.raises(ValueError, match="tokens are"):
        sv.plots.mask(sv.Global([9]), 4)
    with pytest.raises(ValueError, match='theme is \'pink\', and needs to be "light" or "dark"'):
        sv.plots.mask(sv.Causal(), 4, theme="pink")
    assert plt.get_fignums() == []


@pytest.mark.parametrize("shape", [(9, 20), (20, 12), (90, 200)])
def test_queries_and_keys_that_differ(shape):
    ax = sv.plots.mask(sv.Causal(), shape, offset="bottom-right", cells=max(shape))
    i, j = np.mgrid[: shape[0], : shape[1]]
    allowed = j <= i + shape[1] - shape[0]
    assert words_of(ax)["numbers"].startswith(f"{allowed.sum():,} of {allowed.size:,} pairs")
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, shape[1] - 0.5), (shape[0] - 0.5, -0.5))
    if ax.images:
        grey = np.asarray(ax.images[-1].get_array())[..., 0] < 0.9
    else:
        grey = np.zeros(shape, bool)
        for path in ax.collections[0].get_paths():
            x, y = path.vertices[:-1].mean(0)
            grey[round(y), round(x)] = True
    np.testing.assert_array_equal(grey, allowed)


def test_nothing_allowed():
    ax = sv.plots.mask(sv.SlidingWindow(2) - sv.SlidingWindow(3), 20)
    assert not ax.collections
    assert words_of(ax)["numbers"].startswith("0 of 400 pairs")
