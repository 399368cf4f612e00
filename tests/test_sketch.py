"""Small pictures: which character, which rectangle, which words."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from sparsevis.palette import INGREDIENT
from sparsevis.sketch import facts, svg, text


def test_text_shades():
    share = np.array([[0, 1e-9, 0.33], [0.34, 0.66, 0.67], [0.999, 1, 1]])
    assert text(share) == "··░░░░\n▒▒▒▒▓▓\n▓▓████"


def test_text_never_hides_a_pair_nor_invents_one():
    for share in (1e-12, 0.5, 1 - 1e-12):
        assert text(np.array([[share]])) not in ("··", "██")


@pytest.mark.parametrize(("nnz", "nq", "nk", "words"), [
    (196, 24, 24, "196 of 576 pairs · 34.0 % · 8.2 keys a query"),
    (0, 3, 4, "0 of 12 pairs · 0.0 % · 0.0 keys a query"),
    (0, 0, 0, "0 of 0 pairs · 0.0 % · 0.0 keys a query"),
    (12, 3, 4, "12 of 12 pairs · 100.0 % · 4.0 keys a query"),
    (5, 1000, 1000, "5 of 1,000,000 pairs · 0.0005 % · 0.0 keys a query"),
    (524_800, 1024, 1024, "524,800 of 1,048,576 pairs · 50.0 % · 512.5 keys a query"),
])  # fmt: skip
def test_facts(nnz, nq, nk, words):
    assert facts(nnz, nq, nk) == words


def rectangles(drawing):
    """(fill, x, y, width, height, opacity) of every rectangle but the ground, in cells of a picture of `size` pixels."""
    root = ET.fromstring(drawing)
    space = {"s": "http://www.w3.org/2000/svg"}
    out = []
    for group in root.findall("s:g", space):
        for r in group.findall("s:rect", space):
            out.append((group.get("fill"), *(float(r.get(x)) for x in ("x", "y", "width", "height")), float(r.get("fill-opacity", 1))))
    return root, out


def test_svg_runs_become_one_rectangle():
    share = np.zeros((100, 100))
    share[0, 10:60], share[0, 60:70], share[99, 99] = 1, 0.5, 0.01
    root, found = rectangles(svg([("window", share)], size=200))
    assert (root.get("width"), root.get("height")) == ("200", "200")
    blue = INGREDIENT["window"]
    assert found == [(blue, 20, 0, 100, 2, 1), (blue, 120, 0, 20, 2, 0.5), (blue, 198, 198, 2, 2, 0.15)]


def test_svg_cells_apart_when_they_are_large():
    _, found = rectangles(svg([("window", np.array([[1.0, 1.0]])), ("global", np.array([[0.0, 1.0]]))], size=40))
    assert [(fill, x, width) for fill, x, _, width, _, _ in found] == [
        (INGREDIENT["window"], 2.4, 15.2), (INGREDIENT["window"], 22.4, 15.2), (INGREDIENT["global"], 22.4, 15.2),
    ]  # fmt: skip


def test_svg_of_a_wide_matrix_keeps_its_shape():
    root, _ = rectangles(svg([("window", np.ones((2, 8)))], size=80))
    assert (root.get("width"), root.get("height")) == ("80", "20")


def test_svg_title_is_escaped():
    assert "<script>" not in svg([("window", np.ones((1, 1)))], title="<script>&")
    assert ET.fromstring(svg([("window", np.ones((1, 1)))], title="a < b & c"))[0].text == "a < b & c"


def test_svg_knows_every_ingredient():
    for name in INGREDIENT:
        assert INGREDIENT[name] in svg([(name, np.ones((1, 1)))])
    with pytest.raises(KeyError):
        svg([("nonsense", np.ones((1, 1)))])
