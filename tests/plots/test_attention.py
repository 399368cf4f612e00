from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb

import sparsevis as sv
from sparsevis.palette import INGREDIENT, LIGHT
from sparsevis.plots.words import words_of


def softmax(seed, nq, nk=None):
    p = np.exp(2 * np.random.default_rng(seed).standard_normal((nq, nq if nk is None else nk)))
    return p / p.sum(-1, keepdims=True)


def blueness(image):
    return image[..., 2] - image[..., 0]


def test_kept_is_blue_and_dropped_is_orange_and_more_is_darker():
    p, pattern = softmax(0, 21), sv.SlidingWindow(4)
    image = np.asarray(sv.plots.attention(p, pattern=pattern).images[-1].get_array())
    kept = pattern.mask(21)
    assert (blueness(image)[kept] > 0).all()
    assert (blueness(image)[~kept] < 0).all()
    for which in (kept, ~kept):
        order = np.argsort(p[which])
        grey = image[which][order] @ [0.2126, 0.7152, 0.0722]
        assert (np.diff(grey) <= 1e-3).all()
        assert grey[0] - grey[-1] > 0.25


def test_steps_of_the_ramp():
    p = np.array([[0, 0.35**3, 0.75**3]])  # of the cube root: the ground, and the palette's two blues
    image = np.asarray(sv.plots.attention(np.append(p, [[1.0]], 1)).images[-1].get_array())[0]
    np.testing.assert_allclose(image[0], to_rgb(LIGHT["ground"]), atol=0.01)
    np.testing.assert_allclose(image[1], to_rgb(INGREDIENT["partial"]), atol=0.01)
    np.testing.assert_allclose(image[2], to_rgb(INGREDIENT["window"]), atol=0.01)


def test_numbers_and_key():
    p = np.array([[0.5, 0.25, 0.25], [0.1, 0.9, 0.0], [0.0, 0.0, 1.0]])
    words = words_of(sv.plots.attention(p, pattern=sv.Causal()))
    assert words["numbers"] == f"keeps {100 * 2.5 / 3:.1f} % of this head's attention · 66.7 % of the pairs"
    assert words["key"][:2] == ["kept", "dropped"]
    assert words["key"][-1] == "1 (cube root)"
    words = words_of(sv.plots.attention(p))
    assert words["numbers"] == "3 x 3 probabilities · largest 1"
    assert "kept" not in words["key"]


def test_outline_follows_the_pattern():
    ax = sv.plots.attention(np.full((2, 2), 0.5), pattern=np.array([[True, False], [True, True]]))
    (lines,) = [c for c in ax.collections if c.get_label() == "pattern"]
    got = {tuple(sorted(map(tuple, segment.tolist()))) for segment in lines.get_segments()}
    a, b, c = -0.5, 0.5, 1.5
    corners = [(a, a), (b, a), (b, b), (c, b), (c, c), (b, c), (a, c), (a, b), (a, a)]
    assert got == {tuple(sorted(edge)) for edge in pairwise(corners)}
    assert not sv.plots.attention(softmax(1, 300), pattern=sv.Causal()).collections  # too fine to outline


def test_a_pixel_shows_its_strongest_pair():
    p = np.full((100, 100), 1e-4)
    p[7, 90], p[8, 91], p[30, 31] = 0.5, 0.6, 0.7
    pattern = sv.SlidingWindow(0)
    ax = sv.plots.attention(p, pattern=pattern, pixels=34)
    image = np.asarray(ax.images[-1].get_array())
    assert image.shape == (34, 34, 3)
    assert ax.get_xlabel() == "key · 1 pixel = largest of 3 x 3 pairs"
    one = np.asarray(sv.plots.attention(p, pattern=pattern).images[-1].get_array())
    np.testing.assert_allclose(image[2, 30], one[8, 91])
    np.testing.assert_allclose(image[10, 10], one[30, 31])
    np.testing.assert_allclose(image[33, 33], one[99, 99])
    assert (blueness(image)[np.arange(34), np.arange(34)] > 0).tolist() == [k != 10 for k in range(34)]


def test_tokens_where_they_fit():
    names = [f"t{k}" for k in range(12)]
    ax = sv.plots.attention(softmax(2, 12), tokens=names)
    assert [t.get_text() for t in ax.get_yticklabels()] == [t.get_text() for t in ax.get_xticklabels()] == names
    ax = sv.plots.attention(softmax(2, 2, 3), tokens=(["a", "b"], ["x", "y", "$z$"]))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["x", "y", "$z$"]
    ax = sv.plots.attention(softmax(2, 200), tokens=["t"] * 200)
    assert ax.get_xticks().tolist() == [0, 100, 199]
    with pytest.raises(ValueError, match="tokens name 3 queries and 3 keys, and p has 12 and 12"):
        sv.plots.attention(softmax(2, 12), tokens="abc")


def test_a_part_of_a_matrix():
    p, pattern = softmax(3, 40), sv.SlidingWindow(3)
    ax = sv.plots.attention(p[30:], pattern=pattern, offset=30)
    share = 100 * p[30:][pattern.mask(40)[30:]].sum() / 10
    assert words_of(ax)["numbers"].startswith(f"keeps {share:.1f} %")


@pytest.mark.parametrize(
    ("p", "options", "error", "message"),
    [
        (np.zeros((2, 3, 3)), {}, ValueError, r"needs to be the probabilities of one head"),
        (np.zeros((0, 3)), {}, ValueError, r"p has shape \(0, 3\)"),
        (np.full((2, 2), np.nan), {}, ValueError, "negative numbers or nan"),
        (-np.eye(2), {}, ValueError, "negative numbers or nan"),
        (np.eye(2), {"pattern": np.eye(3, dtype=bool)}, TypeError, r"ndarray of bool \(3, 3\), and needs to be a Pattern or a boolean"),
        (np.eye(2), {"pattern": np.eye(2)}, TypeError, "ndarray of float64"),
        (np.ones((2, 3)), {"pattern": sv.Causal()}, ValueError, "2 queries over 3 keys: say offset="),
    ],
)
def test_errors(p, options, error, message):
    with pytest.raises(error, match=message):
        sv.plots.attention(p, **options)


def test_no_attention_at_all():
    ax = sv.plots.attention(np.zeros((3, 3)), pattern=sv.Causal())
    assert words_of(ax)["numbers"].startswith("keeps 0 % of this head's attention")
