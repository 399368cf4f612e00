import numpy as np
import pytest
from matplotlib.colors import to_rgb

from sparsevis.palette import DARK, INGREDIENT, LIGHT
from sparsevis.plots.shade import blend, luminance, readable, rounded, shades, strength


def test_strength_rises_and_marks_even_the_faintest():
    share = np.concatenate([[0], np.geomspace(1e-9, 1, 50)])
    assert strength(share)[0] == 0
    assert (strength(share)[1:] >= 0.2).all()
    assert (np.diff(strength(share)) > 0).all()
    assert strength(1.0) == 1


def test_blend():
    share = np.array([[0.0, 1.0, 0.5]])
    image = blend("#FFFFFF", [("#FF0000", share), ("#0000FF", share[:, ::-1] * [[0, 0, 1]])])
    np.testing.assert_allclose(image[0, 0], [1, 1, 1])
    np.testing.assert_allclose(image[0, 1], [1, 0, 0])
    depth = 0.2 + 0.8 * 0.5 ** (1 / 3)
    np.testing.assert_allclose(image[0, 2], [1, 1 - depth, 1 - depth])
    np.testing.assert_allclose(blend("#FFFFFF", [("#FF0000", share * 0 + 0.5), ("#0000FF", share * 0 + 0.5)])[0, 0], [0.5, 0, 0.5])


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("name", INGREDIENT)
def test_words_can_be_read(palette, name):
    word = readable(INGREDIENT[name], palette["paper"], palette["ink"])
    dark, light = sorted((luminance(word), luminance(palette["paper"])))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_luminance():
    assert luminance("#FFFFFF") == pytest.approx(1)
    assert luminance("#000000") == 0
    assert luminance("#777777") == pytest.approx(0.184475, abs=1e-5)  # the grey whose contrast with white is just below 4.5


def test_shades_say_what_is_drawn():
    entries = {word: colours[0] for colours, word in shades("#FFFFFF", "#000000")}
    drawn = blend("#FFFFFF", [("#000000", np.array([[0.001, 0.01, 0.1, 1.0]]))])[0]
    np.testing.assert_allclose([to_rgb(c) for c in entries.values()], drawn, atol=0.003)
    assert list(entries) == ["0.1 %", "1 %", "10 %", "all of a pixel"]


def test_rounded():
    paths = rounded(np.array([0.0, 5]), np.array([1.0, 7]), 2, 3, 0.4)
    np.testing.assert_allclose([p.get_extents().extents for p in paths], [[0, 1, 2, 4], [5, 7, 7, 10]])
