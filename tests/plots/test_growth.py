from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_hex

import sparsevis as sv
from sparsevis.palette import INGREDIENT
from sparsevis.plots.words import words_of


def field(pattern, layers=4, n=200, query=-1):
    return sv.receptive_field(pattern, n, query=query, layers=layers)


def lines_of(ax):
    return {line.get_label(): line.get_xydata().tolist() for line in ax.lines}


def texts(ax, gid):
    return [t.get_text() for t in ax.texts if t.get_gid() == gid]


def test_lines_are_the_counts():
    fields = {"window": field(sv.mistral(8)), "random": field(sv.RandomKeys(2), layers=6), "full": field(sv.Causal(), layers=2)}
    lines = lines_of(sv.plots.growth(fields))
    for name, f in fields.items():
        assert lines[name] == [[0, 1], *([l + 1, size] for l, size in enumerate(f.sizes))]
    assert lines["window, published"] == [[1, 8], [2, 16], [3, 24], [4, 32]]
    assert set(lines) == {*fields, "window, published"}  # nothing was published for the others


def test_claims_only_where_they_differ():
    assert "dilated, published" in lines_of(sv.plots.growth({"dilated": field(sv.Dilated(2, 2, 4), query=100)}))
    assert list(lines_of(sv.plots.growth({"chunks": field(sv.Chunked(9))}))) == ["chunks"]
    causal = lines_of(sv.plots.growth({"global": field(sv.Causal() & sv.longformer(8), layers=3)}))
    assert causal["global, published"] == [[2, 200], [3, 200]]  # it says nothing of the first layer


def test_names_numbers_and_formulas_at_the_ends():
    ax = sv.plots.growth({"window": field(sv.mistral(8)), "chunks": field(sv.Chunked(64))})
    assert texts(ax, "end") == ["window", "chunks"]
    assert texts(ax, "count") == ["29", "8"]
    assert texts(ax, "formula") == ["1 + 7 l"]
    assert texts(ax, "published") == ["published 32 (+3)"]
    ax.figure.canvas.draw()
    boxes = sorted((t.get_window_extent() for t in ax.texts if t.get_gid() in ("end", "formula", "published")), key=lambda b: b.y0)
    assert all(a.y1 < b.y0 + 2 for a, b in pairwise(boxes))


def test_all_queries_are_a_mean_and_a_band():
    f = field(sv.mistral(8), query=None)
    ax = sv.plots.growth({"window": f})
    assert lines_of(ax)["window"] == [[0, 1], *([l + 1, mean] for l, mean in enumerate(f.sizes.mean(1)))]
    (band,) = ax.collections
    corners = {tuple(p) for p in band.get_paths()[0].vertices.tolist()}
    assert corners == {(0, 1), *((l + 1, y) for l in range(4) for y in (f.sizes[l].min(), f.sizes[l].max()))}
    assert words_of(ax)["numbers"] == "mean of 200 queries · band: least to most"


def test_titles_say_what_is_found():
    words = lambda result, **o: words_of(sv.plots.growth(result, **o))
    assert words(field(sv.mistral(8)))["title"] == "After 4 layers 29 keys are seen, not 32"
    assert words(field(sv.Chunked(64), layers=1))["title"] == "After 1 layer 8 keys are seen"
    many = words({"a": field(sv.mistral(8)), "b": field(sv.Causal())})
    assert (many["title"], many["numbers"]) == ("What a query has seen, layer by layer", "query 199 of 200")
    assert words(field(sv.mistral(8)), title="Mine")["title"] == "Mine"
    assert texts(sv.plots.growth(field(sv.mistral(8))), "end") == ["SlidingWindow(left=7)"]
    assert texts(sv.plots.growth(field([sv.mistral(8), sv.Causal()])), "end") == ["counted"]


def test_scale_follows_the_spread():
    far = {"window": field(sv.mistral(2)), "full": field(sv.Causal())}
    near = {"window": field(sv.mistral(20)), "full": field(sv.Causal())}
    assert (sv.plots.growth(far).get_yscale(), sv.plots.growth(near).get_yscale()) == ("log", "linear")
    assert (sv.plots.growth(far, log=False).get_yscale(), sv.plots.growth(near, log=True).get_yscale()) == ("linear", "log")


def test_colours():
    hue = lambda ax: {line.get_label(): to_hex(line.get_color()).upper() for line in ax.lines}
    got = hue(sv.plots.growth({"my window": field(sv.Chunked(9)), "x": field(sv.Causal())}, colours={"x": "global"}))
    assert got == {"my window": INGREDIENT["window"], "x": INGREDIENT["global"]}


def test_million_positions():
    ax = sv.plots.growth({"Mistral": field(sv.mistral(4096), layers=32, n=1 << 20)})
    assert ax.lines[0].get_ydata()[-1] == 131041
    assert np.isclose(ax.lines[1].get_ydata()[-1], 131072)


def test_errors():
    with pytest.raises(ValueError, match="the dict is empty"):
        sv.plots.growth({})
    with pytest.raises(TypeError, match=r"plots\.growth needs what sparsevis\.receptive_field"):
        sv.plots.growth({"a": sv.mistral(8)})
