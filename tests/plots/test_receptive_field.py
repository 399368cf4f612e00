import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb

import sparsevis as sv
from sparsevis.palette import LIGHT
from sparsevis.plots.words import words_of


def cells_of(ax):
    """{label: set of (layer, key)} of the cells that are drawn."""
    out = {}
    for collection in ax.collections:
        if collection.get_label() != "query":
            boxes = [path.get_extents() for path in collection.get_paths()]
            out[collection.get_label()] = {(round((b.y0 + b.y1) / 2), round((b.x0 + b.x1) / 2)) for b in boxes}
    return out


STACKS = {
    "window": ([sv.mistral(4)] * 6, 40, -1), "two-sided": ([sv.Dilated(1, 1, 2), sv.SlidingWindow(3, 0)], 31, 12),
    "full": (sv.schedules.gemma3(6, window=3), 24, 20), "global": ([sv.longformer(2)] * 3, 17, 8),
}  # fmt: skip


@pytest.mark.parametrize("name", STACKS)
def test_a_cell_for_each_key_seen_in_the_colour_of_its_first_layer(name):
    field = sv.receptive_field(*STACKS[name])
    ax = sv.plots.receptive_field(field)
    drawn = cells_of(ax)
    layers, seen = len(field.sizes), [field.seen(l) for l in range(len(field.sizes) + 1)]
    assert drawn.pop("ground") == {(l, j) for l in range(layers + 1) for j in range(field.n)}
    for first in range(layers + 1):
        fresh = seen[first] & ~(seen[first - 1] if first else np.zeros(field.n, bool))
        assert drawn.pop(str(first), set()) == {(l, j) for l in range(first, layers + 1) for j in np.flatnonzero(fresh)}
    assert drawn == {}
    colours = [to_hex(c.get_facecolor()[0]) for c in ax.collections if c.get_label().isdigit()]
    assert len(set(colours)) == len(colours)


def test_exact_shares_of_pixels():
    field = sv.receptive_field([sv.Dilated(3, 0, 7)] * 4, 1001, query=900)
    ax = sv.plots.receptive_field(field, cells=70)
    image = np.asarray(ax.images[-1].get_array())
    assert image.shape == (9, 63, 3)  # five rows and the gaps between them; a pixel is 16 keys
    assert words_of(ax)["x"] == "position of the key · 1 pixel = 16 keys"
    ground = np.array(to_rgb(LIGHT["ground"]))
    colours = colormaps["viridis_r"](np.linspace(0.1, 1, 5))[:, :3]
    strength = lambda share: np.where(share > 0, 0.2 + 0.8 * np.cbrt(share), 0)[:, None]
    share_of = lambda keys: np.add.reduceat(keys, np.arange(0, 1001, 16), dtype=float) / np.r_[np.full(62, 16), 9]
    np.testing.assert_allclose(image[1::2], 1)
    hue = total = 0
    for l in range(5):
        weight = strength(share_of(field.seen(l) & ~field.seen(l - 1) if l else field.seen(0)))
        hue, total = hue + weight * colours[l], total + weight
        depth = strength(share_of(field.seen(l)))
        np.testing.assert_allclose(image[2 * l], (1 - depth) * ground + depth * hue / np.maximum(total, 1e-9), atol=3e-3)


def test_pixels_stand_where_their_keys_are():
    ax = sv.plots.receptive_field(sv.receptive_field(sv.SlidingWindow(9, 0), 200, query=150, layers=4))
    ax.figure.canvas.draw()
    screen, image = np.asarray(ax.figure.canvas.buffer_rgba())[::-1, :, :3] / 255, np.asarray(ax.images[-1].get_array())
    for l in range(5):
        for key in (0, 113, 114, 115, 141, 151, 199):
            x, y = ax.transData.transform((key, l + 0.2)).astype(int)
            np.testing.assert_allclose(screen[y, x], image[2 * l, key], atol=0.01)


def test_a_million_positions_take_no_matrix():
    field = sv.receptive_field(sv.mistral(4096), 1 << 20, query=-1, layers=8)
    ax = sv.plots.receptive_field(field, name="Mistral")
    image = np.asarray(ax.images[-1].get_array())
    assert image.shape[1] <= 2048
    seen = np.abs(image[16] - to_rgb(LIGHT["ground"])).max(-1) > 1e-6
    width = (1 << 20) // image.shape[1]
    assert seen.sum() == -(-int(field.sizes[-1]) // width)
    assert words_of(ax)["title"].replace("\n", " ") == "Mistral, 8 layers: the last query has seen 32,761 of 1,048,576 keys"
    assert "published: 32,768" in words_of(ax)["numbers"]


def test_sizes_stand_at_the_right():
    field = sv.receptive_field([sv.mistral(4)] * 3, 30, query=-1)
    ax = sv.plots.receptive_field(field)
    sizes = [(t.xy[1], t.get_text()) for t in ax.texts if t.get_gid() == "size"]
    assert sizes == [(0, "1"), (1, "4 · 13.3 %"), (2, "7 · 23.3 %"), (3, "10 · 33.3 %")]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["input", "layer 1", "layer 2", "layer 3"]
    nearly = sv.plots.receptive_field(sv.receptive_field(sv.mistral(4096), 1 << 17, query=-1, layers=32))
    assert [t.get_text() for t in nearly.texts if t.get_gid() == "size"][-1] == "131,041 · 99.98 %"  # not 100.0 %


def test_layers_up_to_one():
    field = sv.receptive_field([sv.mistral(4)] * 3, 30, query=20)
    part, whole = (cells_of(sv.plots.receptive_field(field, layer=l)) for l in (1, 3))
    assert part == {"ground": {c for c in whole["ground"] if c[0] <= 1}, "0": {(0, 20), (1, 20)}, "1": {(1, 17), (1, 18), (1, 19)}}
    ax = sv.plots.receptive_field(field, layer=1, name="Mine")
    assert words_of(ax)["title"] == "Mine, layer 1: 4 of 21 visible keys seen"
    assert ax.get_ylim() == (-0.6, 3.6)
    assert [t.get_alpha() for t in ax.texts if t.get_gid() == "size"] == [1, 1, 0, 0]
    assert words_of(sv.plots.receptive_field(field, layer=0))["title"] == "Input: 1 of 21 visible keys seen"


def test_which_query():
    field = sv.receptive_field([sv.mistral(4)] * 2, 30)
    assert words_of(sv.plots.receptive_field(field))["title"] == "After 2 layers the last query has seen 7 of 30 keys"
    assert words_of(sv.plots.receptive_field(field, query=9))["title"] == "After 2 layers query 9 has seen 7 of 10 visible keys"
    (line,) = [c for c in sv.plots.receptive_field(field, query=9).collections if c.get_label() == "query"]
    assert line.get_segments()[0][:, 0].tolist() == [9, 9]


def test_what_the_numbers_say():
    words = lambda *a, **o: words_of(sv.plots.receptive_field(sv.receptive_field(*a, **o)))["numbers"]
    assert words(sv.mistral(4), 99, query=-1, layers=3) == "1 + 3 l keys after l layers · published: 12"
    assert "only every 3th position" not in words(sv.mistral(4), 99, query=-1, layers=3)
    assert "only one key in 3 can ever be seen" in words(sv.Dilated(1, 1, 3), 60, query=30, layers=3)
    assert "nothing new after layer 1" in words(sv.Causal(), 20, query=-1, layers=3)
    mixed = [sv.SlidingWindow(1) | sv.RandomKeys(2), sv.SlidingWindow(2)]
    field = sv.receptive_field(mixed, 50, query=30)
    assert words(mixed, 50, query=30) == f"layer 2 adds {field.growth[1]} keys"


def test_errors():
    field = sv.receptive_field(sv.mistral(4), 30, layers=2)
    with pytest.raises(ValueError, match="layer is 3, and needs to lie from 0, the input, to 2"):
        sv.plots.receptive_field(field, layer=3)
    with pytest.raises(TypeError, match=r"needs what sparsevis.receptive_field\(patterns, n\) returned, not SlidingWindow"):
        sv.plots.receptive_field(sv.mistral(4))
    with pytest.raises(ValueError, match="query is 30"):
        sv.plots.receptive_field(field, query=30)
