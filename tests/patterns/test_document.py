import numpy as np
import pytest
from pictures import assert_picture, assert_refused

from sparsevis import Causal, Documents


def test_documents():
    assert_picture(Documents([1, 3, 2]).mask(6), """
        █.....
        .███..
        .███..
        .███..
        ....██
        ....██""")


def test_causal_documents():
    assert_picture((Causal() & Documents([2, 4, 3])).mask(9), """
        █........
        ██.......
        ..█......
        ..██.....
        ..███....
        ..████...
        ......█..
        ......██.
        ......███""")


@pytest.mark.parametrize("lengths", [[1, 0, 2], [0, 1, 2], [1, 2, 0], [1, 0, 0, 2]])
def test_documents_of_no_length(lengths):
    assert_picture(Documents(lengths).mask(3), """
        █..
        .██
        .██""")


def test_documents_of_a_rectangle():
    assert_picture(Documents([2, 3]).mask(2, 5, offset=1), """
        ██...
        ..███""")
    assert_picture(Documents([2, 3]).mask(1, 5, offset="bottom-right"), "..███")


@pytest.mark.parametrize("lengths", [[5], [1] * 5, [3, 1, 8], [2, 0, 7, 7]])
def test_documents_count(lengths):
    pattern, n = Documents(lengths), sum(lengths)
    assert pattern.length == n
    assert pattern.mask(n).sum() == sum(x * x for x in lengths)
    assert (Causal() & pattern).mask(n).sum() == sum(x * (x + 1) // 2 for x in lengths)


def test_lengths_are_plain_numbers():
    assert Documents(np.array([2, 3])) == Documents((2, 3)) == Documents(x for x in (2, 3))
    assert all(type(x) is int for x in Documents(np.array([2, 3])).lengths)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Documents([]), ValueError, ["Documents", "lengths is ()", ">= 0"]),
        (lambda: Documents([3, -1]), ValueError, ["lengths is (3, -1)"]),
        (lambda: Documents([1.5]), TypeError, ["lengths is [1.5]", "whole numbers"]),
        (lambda: Documents(4), TypeError, ["lengths is 4"]),
        (lambda: Documents([2, 2]).mask(5), ValueError, ["4", "5"]),
        (lambda: Documents([2, 2]).mask(3), ValueError, ["4", "3"]),
        (lambda: Documents([2, 2]).mask(3, 4, offset=2), ValueError, ["4", "5"]),
        (lambda: Documents([2, 2]).mask(5, 4, offset="bottom-right"), ValueError, ["4"]),
    ],
)
def test_bad_fields(make, error, words):
    assert_refused(make, error, words)
