import numpy as np
import pytest
from matplotlib.colors import to_rgb

import sparsevis as sv
from sparsevis.palette import INGREDIENT, LIGHT
from sparsevis.plots.words import words_of
from sparsevis.reads import Reads

COUNTS = np.array([[[8, 8, 0, 0], [1, 0, 0, 0]], [[0, 0, 0, 24], [0, 0, 4, 0]]])


def drawn(array="k", **style):
    return sv.plots.reads(Reads("mine", 2, 2, 7, {array: COUNTS}, {array: 8}, 4, None, None), array, **style)


@pytest.mark.parametrize(("array", "ingredient"), [("q", "sink"), ("k", "window"), ("v", "random"), ("o", "global")])
def test_a_pixel_a_row_of_a_thread(array, ingredient):
    ax = drawn(array)
    image = np.asarray(ax.images[-1].get_array())
    assert image.shape == (4, 4, 3)
    ground, full = np.array(to_rgb(LIGHT["ground"])), np.array(to_rgb(INGREDIENT[ingredient]))
    depth = (image - ground) @ (full - ground) / ((full - ground) @ (full - ground))
    wide = COUNTS.reshape(4, 4)
    np.testing.assert_allclose(depth[wide == 0], 0, atol=1e-9)
    np.testing.assert_allclose(depth[wide >= 8], 1, atol=1e-9)           # a row read three times is no deeper than one read whole
    assert 0.2 < depth[1, 0] < depth[3, 2] < 1
    assert words_of(ax)["x"] == f"row of {array}"


def test_words_and_blocks():
    ax = drawn()
    words = words_of(ax)
    assert words["title"] == "mine: who reads k"
    assert words["numbers"] == "45 reads of 32 numbers · 1.41 each · blocks of 2 threads"
    assert words["key"] == ["1 of the 8 numbers of a row", "a whole row, or more"]
    assert [line.get_ydata()[0] for line in ax.lines] == [1.5]
    assert words_of(drawn(title="Mine"))["title"] == "Mine"


def test_errors():
    with pytest.raises(TypeError, match=r"what sparsevis\.reads returned"):
        sv.plots.reads({"counts": 1})
    counted = Reads("mine", 2, 2, 7, {"k": COUNTS}, {"k": 8}, 4, None, None)
    with pytest.raises(TypeError, match="'w' of mine"):
        sv.plots.reads(counted, "w")
