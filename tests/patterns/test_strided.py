import pytest
from pictures import assert_picture, assert_refused

from sparsevis import Causal, Dilated, Fixed, SlidingWindow, Strided


def test_dilated():
    """attention-gym's dilated window: reach 4, dilation 2."""
    picture = """
        █.█.█.....
        .█.█.█....
        █.█.█.█...
        .█.█.█.█..
        █.█.█.█.█.
        .█.█.█.█.█
        ..█.█.█.█.
        ...█.█.█.█
        ....█.█.█.
        .....█.█.█"""
    assert_picture(Dilated(2, 2, dilation=2).mask(10), picture)
    assert_picture(Dilated.by_reach(4, 4, dilation=2).mask(10), picture)


def test_dilated_sides():
    """One slot before and two after, three positions apart."""
    assert_picture(Dilated(1, 2, 3).mask(8), """
        █..█..█.
        .█..█..█
        ..█..█..
        █..█..█.
        .█..█..█
        ..█..█..
        ...█..█.
        ....█..█""")


def test_dilated_rectangle():
    assert_picture(Dilated(1, 0, 2).mask(2, 5, offset="bottom-right"), """
        .█.█.
        ..█.█""")
    assert_picture(Dilated(0, 1, 2).mask(3, 2, offset="bottom-right"), """
        .█
        █.
        .█""")


def test_dilation_1_is_a_window():
    assert (Dilated(3, 2).mask(9) == SlidingWindow(3, 2).mask(9)).all()


def test_reach_rounds_down_to_whole_slots():
    assert Dilated.by_reach(5, 3, dilation=2) == Dilated(2, 1, dilation=2)
    assert Dilated.by_reach(2, dilation=3) == Dilated(0, 0, dilation=3)
    for reach in range(7):
        want = [[abs(i - j) <= reach and (i - j) % 3 == 0 for j in range(9)] for i in range(9)]
        assert (Dilated.by_reach(reach, reach, 3).mask(9) == want).all()


@pytest.mark.parametrize("n", [12, 25])
@pytest.mark.parametrize(("left", "right", "dilation"), [(0, 0, 3), (2, 1, 4), (3, 3, 2), (1, 0, 12), (4, 2, 1)])
def test_dilated_count(n, left, right, dilation):
    pairs = n * (left + right + 1) - dilation * (left * (left + 1) + right * (right + 1)) // 2
    assert Dilated(left, right, dilation).mask(n).sum() == pairs


def test_strided():
    assert_picture(Strided(3).mask(8), """
        █..█..█.
        .█..█..█
        ..█..█..
        █..█..█.
        .█..█..█
        ..█..█..
        █..█..█.
        .█..█..█""")


def test_causal_stride():
    assert_picture((Causal() & Strided(2)).mask(5), """
        █....
        .█...
        █.█..
        .█.█.
        █.█.█""")


def test_strided_rectangles():
    assert_picture(Strided(2).mask(2, 5, offset="bottom-right"), """
        .█.█.
        █.█.█""")
    assert_picture(Strided(3).mask(5, 3, offset="bottom-right"), """
        .█.
        ..█
        █..
        .█.
        ..█""")


@pytest.mark.parametrize("n", [1, 10, 24, 37])
@pytest.mark.parametrize("stride", [1, 4, 9])
def test_strided_count(n, stride):
    a, t = divmod(n, stride)
    assert Strided(stride).mask(n).sum() == t * (a + 1) ** 2 + (stride - t) * a**2
    causal = t * (a + 1) * (a + 2) // 2 + (stride - t) * a * (a + 1) // 2
    assert (Causal() & Strided(stride)).mask(n).sum() == causal


def test_fixed():
    assert_picture(Fixed(4).mask(8), """
        ████...█
        ████...█
        ████...█
        ████...█
        ...█████
        ...█████
        ...█████
        ...█████""")


def test_fixed_with_a_short_last_group():
    assert_picture(Fixed(3).mask(7), """
        ███..█.
        ███..█.
        ███..█.
        ..████.
        ..████.
        ..████.
        ..█..██""")


def test_fixed_summary_alone():
    assert_picture(Fixed(3, 2, group=False).mask(2, 7, offset=0), """
        .██.██.
        .██.██.""")


def test_fixed_groups_begin_at_position_0():
    assert_picture(Fixed(3).mask(3, 6, offset=2), """
        ███..█
        ..████
        ..████""")


@pytest.mark.parametrize(("stride", "summary", "groups"), [(1, 1, 5), (4, 1, 3), (4, 4, 2), (5, 2, 4)])
def test_fixed_count(stride, summary, groups):
    n = stride * groups
    assert Fixed(stride, summary).mask(n).sum() == n * (stride + (groups - 1) * summary)
    assert Fixed(stride, summary, group=False).mask(n).sum() == n * groups * summary
    causal = groups * stride * (stride + 1) // 2 + stride * summary * groups * (groups - 1) // 2
    assert (Causal() & Fixed(stride, summary)).mask(n).sum() == causal


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Dilated(-1), ValueError, ["Dilated", "left is -1", ">= 0"]),
        (lambda: Dilated(None), TypeError, ["left is None"]),
        (lambda: Dilated(1, -1), ValueError, ["right is -1"]),
        (lambda: Dilated(1, 1, 0), ValueError, ["dilation is 0", ">= 1"]),
        (lambda: Dilated.by_reach(4, 4, 0), ValueError, ["dilation is 0", ">= 1"]),
        (lambda: Dilated.by_reach(-4), ValueError, ["left is -4"]),
        (lambda: Strided(0), ValueError, ["Strided", "stride is 0", ">= 1"]),
        (lambda: Strided(2.0), TypeError, ["stride is 2.0"]),
        (lambda: Fixed(0), ValueError, ["Fixed", "stride is 0"]),
        (lambda: Fixed(4, 0), ValueError, ["summary is 0", "from 1 to 4"]),
        (lambda: Fixed(4, 5), ValueError, ["summary is 5", "from 1 to 4"]),
        (lambda: Fixed(4, 1, group=1), TypeError, ["group is 1", "True or False"]),
    ],
)
def test_bad_fields(make, error, words):
    assert_refused(make, error, words)
