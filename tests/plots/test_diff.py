import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.transforms import Affine2D

import sparsevis as sv
from sparsevis.palette import DARK, INGREDIENT, LIGHT
from sparsevis.plots.shade import mix
from sparsevis.plots.words import words_of

W = sv.SlidingWindow
B = {"light": INGREDIENT["window"], "dark": INGREDIENT["partial"]}


def cells_of(ax, shape):
    """{label: boolean matrix} of the cells that are drawn."""
    out = {}
    for collection in ax.collections:
        drawn = out[collection.get_label()] = np.zeros(shape, bool)
        for path in collection.get_paths():
            box = path.get_extents()
            j, i = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
            assert (j, i) == pytest.approx((round(j), round(i)), abs=1e-9)
            drawn[round(i), round(j)] = True
    return out


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_cell_for_each_pair(theme):
    a, b = sv.longformer(8), sv.bigbird(2, random_blocks=1)
    ax = sv.plots.diff(sv.diff(a, b, 24, names=("Longformer", "BigBird")), theme=theme)
    x, y = a.mask(24), b.mask(24)
    drawn = cells_of(ax, (24, 24))
    assert set(drawn) == {"only in Longformer", "only in BigBird", "in both"}
    np.testing.assert_array_equal(drawn["only in Longformer"], x & ~y)
    np.testing.assert_array_equal(drawn["only in BigBird"], y & ~x)
    np.testing.assert_array_equal(drawn["in both"], x & y)
    colours = {c.get_label(): to_hex(c.get_facecolor()[0]).upper() for c in ax.collections}
    ground = (LIGHT if theme == "light" else DARK)["ground"]
    assert colours == {
        "only in Longformer": INGREDIENT["global"], "only in BigBird": B[theme],
        "in both": mix(ground, INGREDIENT["dense"], 0.45).upper(),
    }  # fmt: skip
    assert words_of(ax)["key"] == ["only in Longformer", "only in BigBird (round)", "in both"]
    assert ax.get_title(loc="left").startswith("42 pairs only in Longformer, 108 only in BigBird")


def test_round_cells_tell_the_two_apart_without_colours():
    ax = sv.plots.diff(sv.diff(W(2), W(0, 2), 12))
    paths = {c.get_label(): c.get_paths()[0] for c in ax.collections}
    large = {name: path.transformed(Affine2D().scale(100)) for name, path in paths.items()}
    filled = {name: path.contains_point(path.get_extents().min + 8) for name, path in large.items()}
    assert filled == {"only in a": True, "only in b": False, "in both": True}  # near the corner
    only_b = sv.plots.diff(sv.diff(W(2), W(3), 12))
    assert words_of(only_b)["key"] == ["only in b", "in both"]  # nothing to tell apart


def test_words():
    words = words_of(sv.plots.diff(sv.diff(W(4), W(3), 24)))
    assert words["title"].replace("\n", " ") == "20 pairs only in a, 0 only in b: a has one key a query more on the left"
    assert words["numbers"] == "20 of 24 queries differ · 90 pairs in both · 18.2 % differ"
    assert words["key"] == ["only in a", "in both"]
    same = words_of(sv.plots.diff(sv.diff(W(4), W(4), 24)))
    assert same["title"] == "a and b allow the same 110 pairs"
    assert (same["numbers"], same["key"]) == ("24 queries · 110 pairs in both", ["in both"])
    assert words_of(sv.plots.diff(sv.diff(W(4), W(3), 24), title="Off by one"))["title"] == "Off by one"


def test_a_title_too_long_to_read_is_cut_to_the_counts():
    d = sv.diff(sv.longformer(512, (0, 700)), W(255, 255) | sv.Global((0, 700), rows=False), 2000, names=("published", "ours"))
    assert len(d.sentence) > 110
    assert words_of(sv.plots.diff(d))["title"].replace("\n", " ") == f"{d.only_a:,} pairs only in published, 0 only in ours"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_exact_shares_at_an_odd_length(theme):
    n, cell = 97, 8
    a, b = W(9, 2) | sv.Global([50]), W(7, 5)
    ax = sv.plots.diff(sv.diff(a, b, n), cells=16, theme=theme)
    x, y = a.mask(n), b.mask(n)
    ground, dense = np.array(to_rgb((LIGHT if theme == "light" else DARK)["ground"])), np.array(to_rgb(INGREDIENT["dense"]))
    ca, cb, both = np.array(to_rgb(INGREDIENT["global"])), np.array(to_rgb(B[theme])), 0.55 * ground + 0.45 * dense
    want = np.empty((13, 13, 3))
    for r in range(13):
        for c in range(13):
            at = np.s_[cell * r : cell * (r + 1), cell * c : cell * (c + 1)]
            p, q, s = (x & ~y)[at].mean(), (y & ~x)[at].mean(), (x & y)[at].mean()
            base = ground + ((0.2 + 0.8 * s ** (1 / 3)) if s else 0) * (both - ground)
            hue = (p * ca + q * cb) / (p + q or 1)
            want[r, c] = base + ((0.6 + 0.4 * (p + q) ** (1 / 3)) if p + q else 0) * (hue - base)
    np.testing.assert_allclose(np.asarray(ax.images[-1].get_array()), want, atol=5e-3)  # palette colours are rounded to 1 / 255
    assert ax.images[-1].get_extent() == [-0.5, 103.5, 103.5, -0.5]
    assert ax.get_xlim() == (-0.5, 96.5)
    assert ax.get_xlabel() == "key · 1 pixel = 8 x 8 pairs"
    assert words_of(ax)["key"] == ["only in a", "only in b", "in both"]


def test_an_off_by_one_is_visible_at_a_million_positions():
    ax = sv.plots.diff(sv.diff(W(4095), W(4096), 1 << 20), cells=256)
    image = np.asarray(ax.images[-1].get_array())
    blue, paper = np.array(to_rgb(INGREDIENT["window"])), np.array(to_rgb(LIGHT["ground"]))
    off = np.abs(image - blue).max(-1)
    assert off[np.eye(256, k=-1) > 0].max() < 0.4 * np.abs(paper - blue).max()  # all along, and most of the way to blue
    far = np.abs(np.subtract.outer(np.arange(256), np.arange(256))) > 1
    np.testing.assert_allclose(image[far], np.broadcast_to(paper, (far.sum(), 3)))


@pytest.mark.parametrize("shape", [(9, 20), (20, 12), (90, 200)])
def test_queries_and_keys_that_differ(shape):
    d = sv.diff(sv.Causal(), sv.Causal(), shape, offset=("top-left", "bottom-right"))
    ax = sv.plots.diff(d, cells=max(shape))
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, shape[1] - 0.5), (shape[0] - 0.5, -0.5))
    assert f"{shape[0]} queries over {shape[1]} keys" in words_of(ax)["numbers"]
    assert "aligned top-left, b bottom-right" in words_of(ax)["title"].replace("\n", " ")
    if ax.collections:
        x, y = (sv.Causal().mask(*shape, at) for at in ("top-left", "bottom-right"))
        want = {"only in a": x & ~y, "only in b": y & ~x, "in both": x & y}
        drawn = cells_of(ax, shape)
        assert set(drawn) == {name for name, mask in want.items() if mask.any()}
        for name, mask in drawn.items():
            np.testing.assert_array_equal(mask, want[name])


def test_given_axes_and_errors():
    import matplotlib.pyplot as plt

    fig = sv.plots.style.figure(1, 2, width=12, height=6)
    assert sv.plots.diff(sv.diff(W(4), W(3), 24), ax=fig.axes[1]) is fig.axes[1]
    plt.close(fig)
    with pytest.raises(TypeError, match=r"needs a Difference, .* not SlidingWindow"):
        sv.plots.diff(W(4))
    with pytest.raises(ValueError, match="0 x 0: nothing to draw"):
        sv.plots.diff(sv.diff(W(4), W(3), 0))
    assert plt.get_fignums() == []
