import numpy as np
import pytest
from matplotlib import colormaps

import sparsevis as sv
from sparsevis.plots.words import words_of

LOCAL = sv.Causal() & sv.SlidingWindow(5)


def compared(shape=(3, 40, 4), pattern=LOCAL):
    q, k, v = np.random.default_rng(2).standard_normal((3, *shape)) * 2
    return sv.compare(q, k, v, {"mine": pattern}, impl="loops", repeats=0), q, k


def kept(q, k, mask):
    """Dense probabilities inside the mask, summed by query."""
    s = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    p = np.exp(s - s.max(-1, keepdims=True))
    return (p / p.sum(-1, keepdims=True) * mask).sum(-1)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_line_a_head_and_a_pixel_a_query(theme):
    result, q, k = compared()
    ax = sv.plots.mass_kept(result["mine"], theme=theme)
    want = kept(q, k, LOCAL.mask(40))
    image = np.asarray(ax.images[-1].get_array())
    ramp = colormaps["viridis_r" if theme == "light" else "viridis"]
    np.testing.assert_allclose(image, ramp(want)[..., :3], atol=0.02)  # a step of the ramp, where rounding differs
    assert [t.get_text() for t in ax.texts if t.get_gid() == "head"] == [f"{100 * x:.1f} %" for x in want.mean(1)]
    least, (head, query) = int(want.mean(1).argmin()), np.unravel_index(want.argmin(), want.shape)
    words = words_of(ax)
    assert words["title"].replace("\n", " ") == (
        f"mine keeps {100 * want.mean():.1f} % of the attention: head {least} least, {100 * want.mean(1)[least]:.1f} %"
    )
    assert words["numbers"].endswith(f"worst served: head {head}, query {query}, {100 * want.min():.1f} %")
    assert words["key"] == ["0 %", "25 %", "50 %", "75 %", "100 %"]


def test_values_without_a_picture():
    result, q, k = compared((2, 3, 20, 4))
    row, want = result["mine"], kept(q, k, LOCAL.mask(20))
    np.testing.assert_allclose(row.mass_of_queries, want.mean(0), atol=1e-12)
    np.testing.assert_allclose(row.mass_by_head, want.mean((0, 2)), atol=1e-12)
    one = sv.compare(q[0, 0], k[0, 0], k[0, 0], {"mine": sv.Causal()}, impl="loops", repeats=0)["mine"]
    assert (one.mass_of_queries.shape, one.mass_by_head.shape) == ((1, 20), (1,))


def test_many_queries_are_means():
    pattern = sv.SlidingWindow(150, 150)
    result, q, k = compared((2, 301, 4), pattern)
    ax = sv.plots.mass_kept(result["mine"], size=2)
    image = np.asarray(ax.images[-1].get_array())
    fold = -(-301 // image.shape[1])
    assert words_of(ax)["x"].replace("\n", " ") == f"query · 1 pixel = mean of {fold} queries"
    want = kept(q, k, pattern.mask(301))
    means = np.stack([want[:, a : a + fold].mean(1) for a in range(0, 301, fold)], 1)
    np.testing.assert_allclose(image, colormaps["viridis_r"](means)[..., :3], atol=0.02)


def test_one_head_and_everything_kept():
    result, _, _ = compared((20, 4), sv.Dense())
    words = words_of(sv.plots.mass_kept(result["mine"]))
    assert words["title"] == "mine keeps 100 % of the attention"
    assert words["numbers"].startswith("1 head · 20 queries · worst served: query ")


def test_errors():
    result, _, _ = compared()
    with pytest.raises(TypeError, match=r"one row of what sparsevis\.compare returned, comparison\['name'\], not Comparison"):
        sv.plots.mass_kept(result)
