import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sparsevis as sv
from sparsevis.plots.words import apart, percent, short, text_width, words_of


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12), st.floats(0.1, 20))
def test_apart(places, gap):
    places = np.array(places)
    moved = apart(places, gap, 0, 100)
    assert moved.min() >= -1e-9
    assert moved.max() <= 100 + 1e-9
    order = np.argsort(places, kind="stable")
    least = min(gap, 100 / max(1, len(places) - 1))
    assert (np.diff(moved[order]) >= least - 1e-6).all()


def test_apart_moves_nothing_without_need():
    np.testing.assert_array_equal(apart(np.array([30.0, 10.0, 20.0]), 10, 0, 40), [30, 10, 20])
    np.testing.assert_allclose(apart(np.array([0.0, 0.0]), 4, 0, 40), [0, 4])
    np.testing.assert_allclose(apart(np.array([39.0, 40.0, 20.0]), 4, 0, 40), [36, 40, 20])


def test_short_and_percent():
    assert [short(x) for x in (0, 7, 999, 1000, 65535, 1 << 20)] == ["0", "7", "999", "1k", "65.5k", "1.05M"]
    assert [percent(*x) for x in ((0, 5), (5, 5), (1, 8), (1, 10**6), (0, 0))] == ["0 %", "100 %", "12.5 %", "0.0001 %", "0 %"]


def test_text_width_is_enough_on_a_screen():
    import matplotlib.pyplot as plt

    fig = plt.figure()
    for points in (5.5, 7, 9.5, 12.5, 20):
        for dpi in (72, 100, 200):
            fig.dpi = dpi
            text = fig.text(0, 0, "1,219 of 4,096 pairs · 29.8 % · 19.0 keys a query", fontsize=points, family="DejaVu Sans")
            assert text.get_window_extent().width * 72 / dpi <= text_width(text.get_text(), points)


@pytest.mark.parametrize(("size", "lines"), [(6, 1), (1.6, 2)])
def test_numbers_take_two_lines_where_one_is_too_short(size, lines):
    ax = sv.plots.mask(sv.Causal(), 24, size=size)
    (numbers,) = [t for t in ax.texts if t.get_gid() == "numbers"]
    assert numbers.get_text().count("\n") == lines - 1
    assert words_of(ax)["numbers"] == "300 of 576 pairs · 52.1 % · 12.5 keys a query"


def test_a_number_too_long_for_a_thumbnail_is_left_out():
    ax = sv.plots.mask(sv.mistral(512), 1 << 20, size=1.8)
    assert words_of(ax)["numbers"] == "0.049 % · 511.9 keys a query"


def test_long_titles_shrink_or_break():
    title = "BigBird: window + global + random blocks, as in the paper"
    wide, narrow = (sv.plots.mask(sv.Causal(), 24, size=size, title=title) for size in (12, 2.5))
    assert wide.get_title(loc="left") == title
    assert narrow.get_title(loc="left").replace("\n", " ") == title
    assert "\n" in narrow.get_title(loc="left")
