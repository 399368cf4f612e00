from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_hex

import sparsevis as sv
from sparsevis.palette import INGREDIENT
from sparsevis.plots.words import words_of


def arcs_of(ax):
    """{label: set of (layer, key, query)}"""
    out = {}
    for c in ax.collections:
        if c.get_label() in ("arcs", "kept", *INGREDIENT):
            ends = [(path.vertices[0], path.vertices[-1]) for path in c.get_paths()]
            assert all(b[1] == a[1] + 1 for a, b in ends)
            out[c.get_label()] = {(int(a[1]), int(a[0]), int(b[0])) for a, b in ends}
    return out


def nodes_of(ax):
    (dots,) = [c for c in ax.collections if c.get_label() == "nodes"]
    return {(int(l), int(x)) for x, l in dots.get_offsets()}


def ways(masks, source, target):
    """Nodes (layer, position) and steps (layer, from, to) on some way up from the source to the target, by listing every way."""
    found = [[source]]
    for mask in masks:
        found = [[*way, i] for way in found for i in range(len(mask)) if mask[i, way[-1]] or i == way[-1]]
    found = [way for way in found if way[-1] == target]
    return {(l, x) for way in found for l, x in enumerate(way)}, {(l, *step) for way in found for l, step in enumerate(pairwise(way))}


STACKS = {
    "window": ([sv.mistral(3)] * 4, 9, 2, 8), "global": ([sv.longformer(2)] * 3, 8, 5, 2), "per head": (
        [sv.PerHead(sv.Causal() & sv.Strided(3), sv.mistral(3)), sv.mistral(2)], 9, 1, 8),
    "random": ([sv.bigbird(2, (0,), random_blocks=1)] * 2, 10, 9, 4), "itself": ([sv.mistral(3)], 5, 3, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", STACKS)
def test_arcs_are_the_pairs_and_coloured_where_information_flows(name):
    patterns, n, source, target = STACKS[name]
    field = sv.receptive_field(patterns, n)
    ax = sv.plots.graph(field, source, target)
    masks = [np.atleast_3d(p.mask(n).T).any(-1).T if isinstance(p, sv.PerHead) else p.mask(n) for p in patterns]
    nodes, steps = ways(masks, source, target)
    arcs = arcs_of(ax)
    assert nodes_of(ax) == nodes
    assert arcs.pop("kept", set()) == {s for s in steps if s[1] == s[2]}
    pale = arcs.pop("arcs")
    live = set().union(*arcs.values())
    assert live == {s for s in steps if s[1] != s[2]}
    assert pale | live == {(l, int(j), int(i)) for l, mask in enumerate(masks) for i, j in np.argwhere(mask) if i != j}
    assert not pale & live


def test_arcs_have_the_colour_of_the_first_part_that_allows_them():
    ax = sv.plots.graph(sv.receptive_field(sv.longformer(4), 16, layers=2), source=5, target=12)
    arcs = arcs_of(ax)
    assert arcs["global"] == {(0, 5, 0), (1, 0, 12)}
    assert "window" not in arcs
    assert words_of(ax)["key"] == []
    (drawn,) = [c for c in ax.collections if c.get_label() == "global"]
    readable = sv.plots.style.Look("light", 360, 360).word(INGREDIENT["global"])
    assert to_hex(drawn.get_edgecolor()[0]) == readable


def test_a_pair_that_two_parts_allow_is_one_arc():
    pattern = sv.SlidingWindow(2, 2) | sv.Global([0])
    ax = sv.plots.graph(sv.receptive_field(pattern, 8), source=0, target=2)
    assert arcs_of(ax)["window"] == {(0, 0, 2)}
    assert sum(len(c.get_paths()) for c in ax.collections if c.get_label() in ("arcs", *INGREDIENT)) == pattern.mask(8).sum() - 8


@pytest.mark.parametrize("name", STACKS)
def test_a_shortest_path_is_drawn_and_waits_at_its_end(name):
    patterns, n, source, target = STACKS[name]
    field = sv.receptive_field(patterns, n)
    ax = sv.plots.graph(field, source, target)
    (line,) = ax.lines
    assert line.get_label() == "path"
    way = line.get_xdata().astype(int).tolist()
    hops = int(field.hops(target, source))
    assert line.get_ydata().tolist() == list(range(len(patterns) + 1))
    assert (way[0], way[hops:]) == (source, [target] * (len(patterns) + 1 - hops))
    for p, (j, i) in zip(patterns, pairwise(way), strict=True):
        assert i == j or any(part.mask(n)[i, j] for part in getattr(p, "patterns", (p,)))


def test_without_a_path():
    ax = sv.plots.graph(sv.receptive_field(sv.Dilated(1, 1, 3), 24, layers=4), source=1, target=20)
    assert words_of(ax)["title"] == "Nothing of token 1 reaches token 20 in 4 layers"
    assert words_of(ax)["numbers"] == "all distances are multiples of 3"
    assert ax.lines[0].get_xydata().tolist() == [[1, 0], [20, 4]]
    assert nodes_of(ax) == set()


def test_the_farthest_key_by_itself():
    field = sv.receptive_field(sv.mistral(4), 20, query=15, layers=3)
    assert words_of(sv.plots.graph(field))["title"] == "3 layers carry token 6 to token 15"
    assert words_of(sv.plots.graph(sv.receptive_field(sv.mistral(4), 20, layers=3)))["title"] == "3 layers carry token 10 to token 19"


def test_tokens():
    tokens = [*"abcdefghi"]
    ax = sv.plots.graph(sv.receptive_field(sv.mistral(3), 9, layers=4), 2, 8, tokens=tokens)
    assert words_of(ax)["title"] == "3 layers carry “c” to “i”"
    labels = ax.get_xticklabels()
    assert [t.get_text() for t in labels] == tokens
    assert [t.get_text() for t in labels if t.get_fontweight() == "bold"] == ["c", "i"]
    assert not labels[0].get_rotation()
    long = sv.plots.graph(sv.receptive_field(sv.mistral(3), 9, layers=2), tokens=["a very long token"] * 9)
    assert long.get_xticklabels()[0].get_rotation() == 90
    odd = sv.plots.graph(sv.receptive_field(sv.mistral(3), 9, layers=2), tokens=["\n", "$x$", *"abcdefg"])
    assert [t.get_text() for t in odd.get_xticklabels()][:2] == ["·", "$x$"]
    odd.figure.canvas.draw()


def test_numbers():
    words = words_of(sv.plots.graph(sv.receptive_field(sv.mistral(4), 16, layers=4), 7, 15))
    assert words["numbers"].startswith("a shortest path: 7 → 9 → 12 → 15 · ")
    assert words_of(sv.plots.graph(sv.receptive_field(sv.mistral(3), 5), 3, 3))["title"] == "Token 3 is token 3 itself"


def test_errors():
    with pytest.raises(ValueError, match="65 tokens in 2 layers: a graph can be read up to 64 tokens in 12 layers"):
        sv.plots.graph(sv.receptive_field(sv.mistral(4), 65, layers=2))
    with pytest.raises(ValueError, match="16 tokens in 13 layers"):
        sv.plots.graph(sv.receptive_field(sv.mistral(4), 16, layers=13))
    field = sv.receptive_field(sv.mistral(4), 16, layers=2)
    with pytest.raises(ValueError, match="3 tokens are given for 16 positions"):
        sv.plots.graph(field, tokens=["a", "b", "c"])
    with pytest.raises(ValueError, match="source is 16"):
        sv.plots.graph(field, source=16)
    with pytest.raises(ValueError, match="query is 16"):
        sv.plots.graph(field, target=16)
    with pytest.raises(TypeError, match=r"plots\.graph needs"):
        sv.plots.graph([[0]])
