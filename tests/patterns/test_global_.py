import numpy as np
import pytest
from pictures import assert_picture, assert_refused

from sparsevis import Global, Sink, SlidingWindow


def test_global():
    assert_picture(Global([0, 3]).mask(6), """
        ██████
        █..█..
        █..█..
        ██████
        █..█..
        █..█..""")


def test_one_side_only():
    assert_picture(Global([1], columns=False).mask(3), """
        ...
        ███
        ...""")
    assert_picture(Global([1], rows=False).mask(3), """
        .█.
        .█.
        .█.""")


def test_tokens_from_the_end():
    assert_picture(Global([1, -2]).mask(5), """
        .█.█.
        █████
        .█.█.
        █████
        .█.█.""")
    assert_picture(Global([-1, 0]).mask(4), """
        ████
        █..█
        █..█
        ████""")


def test_runs_of_tokens():
    assert_picture(Global([0, 1, 3, -2, -1], rows=False).mask(2, 8, offset=0), """
        ██.█..██
        ██.█..██""")
    assert_picture(Global([2, 3, 4], columns=False).mask(6), """
        ......
        ......
        ██████
        ██████
        ██████
        ......""")


def test_rows_are_positions_not_row_numbers():
    assert_picture(Global([2]).mask(2, 5, offset=2), """
        █████
        ..█..""")
    assert_picture(Global([4]).mask(2, 5, offset=2), """
        ....█
        ....█""")
    assert_picture(Global([0], columns=False).mask(3, 2, offset="bottom-right"), """
        ..
        ██
        ..""")


def test_global_blocks():
    assert_picture(Global([0], block=2).mask(5), """
        █████
        █████
        ██...
        ██...
        ██...""")
    assert_picture(Global([-1], block=2).mask(5), """
        ....█
        ....█
        ....█
        ....█
        █████""")
    assert_picture(Global([1], block=2, columns=False).mask(5), """
        .....
        .....
        █████
        █████
        .....""")


def test_with_a_window():
    """attention-gym's global sliding window of radius 1 with tokens 0 and 6."""
    assert_picture((SlidingWindow(1, 1) | Global([0, 6])).mask(10), """
        ██████████
        ███...█...
        ████..█...
        █.███.█...
        █..████...
        █...███...
        ██████████
        █.....███.
        █.....████
        █.....█.██""")


@pytest.mark.parametrize("n", [4, 9, 20])
def test_global_counts(n):
    for g in range(1, n + 1):
        assert Global(range(g)).mask(n).sum() == 2 * g * n - g * g
        assert Global(range(g), rows=False).mask(n).sum() == g * n
    for g, w in [(1, 1), (2, 1), (1, 2)]:
        pairs = 2 * g * n - g * g + (n - g) * (2 * w + 1) - w * (w + 1)
        assert (Global(range(g)) | SlidingWindow(w, w)).mask(n).sum() == pairs


def test_tokens_are_a_set():
    assert Global([3, 0, 3]) == Global((0, 3)) == Global(np.array([3, 0]))
    assert Global(5) == Global([5])
    assert Global(t for t in (4, 2)) == Global([2, 4])
    assert hash(Global([3, 0])) == hash(Global([0, 3]))


def test_tokens_must_lie_inside():
    for tokens in ([5], [-6], [0, 5]):
        with pytest.raises(ValueError, match=r"from -5 to 4 for 5 keys"):
            Global(tokens).mask(5)
    with pytest.raises(ValueError, match=r"\(3,\).*from -3 to 2 for 3 blocks of 2"):
        Global([3], block=2).mask(5)
    assert Global([4]).mask(5).sum() == Global([-5]).mask(5).sum() == 9


def test_sink():
    assert_picture(Sink(2).mask(4), """
        ██..
        ██..
        ██..
        ██..""")
    assert_picture(Sink(1).mask(2, 3, offset=1), """
        █..
        █..""")
    assert Sink(7).mask(3).all()
    assert not Sink(0).mask(3).any()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Global([]), ValueError, ["Global", "tokens is empty"]),
        (lambda: Global([0.5]), TypeError, ["Global", "tokens is [0.5]"]),
        (lambda: Global("ab"), TypeError, ["tokens is 'ab'"]),
        (lambda: Global(None), TypeError, ["tokens is None"]),
        (lambda: Global([0], rows=False, columns=False), ValueError, ["rows", "columns"]),
        (lambda: Global([0], rows=1), TypeError, ["rows is 1", "True or False"]),
        (lambda: Global([0], columns=None), TypeError, ["columns is None", "True or False"]),
        (lambda: Global([0], block=0), ValueError, ["block is 0", ">= 1"]),
        (lambda: Sink(-1), ValueError, ["Sink", "count is -1", ">= 0"]),
        (lambda: Sink(2.5), TypeError, ["count is 2.5"]),
    ],
)
def test_bad_fields(make, error, words):
    assert_refused(make, error, words)
