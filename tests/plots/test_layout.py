import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb

import sparsevis as sv
from sparsevis.palette import INGREDIENT, LIGHT
from sparsevis.plots.words import words_of

STREAM = sv.Causal() & (sv.SlidingWindow(19) | sv.Sink(3))


def boxes(ax, label):
    (found,) = [c for c in ax.collections if c.get_label() == label]
    return np.array([p.get_extents().extents for p in found.get_paths()]).reshape(-1, 4)


def tile_of(box, block):
    return int((box[1] + box[3] + 1) / 2 // block[0]), int((box[0] + box[2] + 1) / 2 // block[1])


@pytest.mark.parametrize(("n", "block"), [(64, (8, 8)), (67, (8, 5)), (13, (4, 6))])
def test_countable_tiles(n, block):
    ax = sv.plots.layout(sv.Layout.of(STREAM, n, block))
    mask = STREAM.mask(n)
    want = {"full": set(), "partial": set(), "skipped": set()}
    for r in range(-(-n // block[0])):
        for c in range(-(-n // block[1])):
            part = mask[block[0] * r : block[0] * (r + 1), block[1] * c : block[1] * (c + 1)]
            kind = "skipped" if not part.any() else "full" if part.all() and part.size == block[0] * block[1] else "partial"
            want[kind].add((r, c))
    for kind, tiles in want.items():
        assert {tile_of(box, block) for box in boxes(ax, kind)} == tiles
        assert len(boxes(ax, kind)) == len(tiles)
        assert (boxes(ax, kind) >= -0.5).all()
        assert (boxes(ax, kind) <= n - 0.5).all()
    assert words_of(ax)["key"] == [f"{len(want[kind])} {kind}" for kind in want]
    in_partial = sum(mask[block[0] * r : block[0] * (r + 1), block[1] * c : block[1] * (c + 1)].sum() for r, c in want["partial"])
    assert len(boxes(ax, "pairs")) == in_partial


def test_pairs_stand_on_their_own_partial_tile():
    ax = sv.plots.layout(sv.Layout.of(STREAM, 64, 8))
    tiles = {tile_of(box, (8, 8)): box for box in boxes(ax, "partial")}
    mask, seen = STREAM.mask(64), set()
    for pair in boxes(ax, "pairs"):
        i, j = int((pair[1] + pair[3] + 1) // 2), int((pair[0] + pair[2] + 1) // 2)
        tile = tiles[i // 8, j // 8]
        assert mask[i, j]
        assert (pair[:2] > tile[:2]).all()
        assert (pair[2:] < tile[2:]).all()
        seen.add((i, j))
    assert len(seen) == len(boxes(ax, "pairs"))


def test_colours_and_numbers():
    ax = sv.plots.layout(sv.Layout.of(STREAM, 64, 8))
    colours = {c.get_label(): to_hex(c.get_facecolor()[0]) for c in ax.collections}
    assert colours["full"] == colours["pairs"] == INGREDIENT["window"].lower()
    assert colours["skipped"] == LIGHT["ground"].lower()
    assert len(set(colours.values())) == 3
    words = words_of(ax)
    assert words["title"] == "What the kernel walks: 8 x 8 tiles"
    assert words["numbers"] == "needs 1,219 pairs · computes 1,920 · block tax 1.58"


def test_pairs_too_many_to_count_are_an_image_that_leaves_gutters_free():
    pattern, n, block = sv.longformer(128, (0,)), 512, 64
    ax = sv.plots.layout(sv.Layout.of(pattern, n, block))
    assert [c.get_label() for c in ax.collections] == ["full", "partial", "skipped"]
    alpha = np.asarray(ax.images[-1].get_array())[..., 3]
    mask, side = pattern.mask(n), 32  # 512 positions on 256 pixels: 2 x 2 pairs each
    want = np.zeros((8, 8, side + 1, side + 1))
    for r in range(8):
        for c in range(8):
            part = mask[64 * r : 64 * (r + 1), 64 * c : 64 * (c + 1)]
            if not part.all():
                share = part.reshape(side, 2, side, 2).mean((1, 3))
                want[r, c, :-1, :-1] = np.where(share > 0, 0.2 + 0.8 * share ** (1 / 3), 0)
    want = want.transpose(0, 2, 1, 3).reshape(8 * 33, 8 * 33)[:-1, :-1]
    np.testing.assert_allclose(alpha, want)


def test_a_pixel_a_tile():
    layout = sv.Layout.of(sv.Causal() & sv.SlidingWindow(200), 1000, 16)
    ax = sv.plots.layout(layout)
    image = np.asarray(ax.images[-1].get_array())
    mask = np.pad(layout.mask(), (0, 63 * 16 - 1000)).reshape(63, 16, 63, 16).transpose(0, 2, 1, 3)
    full, some = mask.all((2, 3)), mask.any((2, 3))
    for which, colour in ((full, INGREDIENT["window"]), (some & ~full, INGREDIENT["partial"]), (~some, LIGHT["ground"])):
        assert which.any()
        np.testing.assert_allclose(image[which], np.broadcast_to(to_rgb(colour), (which.sum(), 3)))
    assert ax.get_xlabel() == "key · 1 pixel = 1 tile"
    assert words_of(ax)["key"] == [f"{full.sum():,} full", f"{(some & ~full).sum():,} partial", f"{(~some).sum():,} skipped"]


def test_many_tiles_a_pixel():
    layout = sv.Layout.of(sv.SlidingWindow(40), 1 << 16, 64)
    ax = sv.plots.layout(layout)
    image = np.asarray(ax.images[-1].get_array())
    assert ax.get_xlabel() == "key · 1 pixel = 4 x 4 tiles"
    assert image.shape == (256, 256, 3)
    ground, partial = np.array(to_rgb(LIGHT["ground"])), np.array(to_rgb(INGREDIENT["partial"]))
    depth = 0.2 + 0.8 * (7 / 16) ** (1 / 3)  # 4 tiles of the diagonal and 3 below it
    np.testing.assert_allclose(image[5, 5], ground + depth * (partial - ground))
    depth = 0.2 + 0.8 * (1 / 16) ** (1 / 3)
    np.testing.assert_allclose(image[5, 4], ground + depth * (partial - ground))
    np.testing.assert_allclose(image[4, 5], ground)


def test_the_last_pixel_may_hold_fewer_tiles():
    image = np.asarray(sv.plots.layout(sv.Layout.of(sv.SlidingWindow(40), 64 * 1001, 64)).images[-1].get_array())
    assert image.shape == (251, 251, 3)
    np.testing.assert_allclose(image[250, 250], to_rgb(INGREDIENT["partial"]))


def test_planes():
    layout = sv.Layout.of(sv.PerHead(sv.SlidingWindow(7), sv.Causal() & sv.Strided(8)), 64, 8)
    counts = [words_of(sv.plots.layout(layout, plane=p))["numbers"] for p in (0, 1)]
    assert counts == ["needs 484 pairs · computes 960 · block tax 1.98", "needs 288 pairs · computes 2,304 · block tax 8.00"]
    ax = sv.plots.layout(layout, plane=1)
    tiles = {tile_of(box, (8, 8)) for box in boxes(ax, "partial")}
    assert tiles == {(r, c) for r in range(8) for c in range(r + 1)}
    with pytest.raises(ValueError, match=r"plane=2: .* planes 0 to 1"):
        sv.plots.layout(layout, plane=2)


def test_more_keys_than_queries():
    layout = sv.Layout.of(sv.Causal(), (40, 100), (8, 16), offset="bottom-right")
    ax = sv.plots.layout(layout)
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 99.5), (39.5, -0.5))
    assert words_of(ax)["numbers"].startswith(f"needs {layout.nnz:,} pairs · computes {layout.computed:,}")


def test_errors():
    with pytest.raises(TypeError, match="needs a Layout, not Causal"):
        sv.plots.layout(sv.Causal())
    ax = sv.plots.layout(sv.Layout.from_mask(np.zeros((8, 8), bool), 4))
    assert words_of(ax)["numbers"] == "needs 0 pairs · computes 0"
