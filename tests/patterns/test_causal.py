import pytest
from pictures import assert_picture, assert_refused

from sparsevis import Causal, Dense, PrefixLM


def test_dense():
    assert_picture(Dense().mask(2, 3, offset=0), """
        ███
        ███""")
    assert Dense().mask(2, 3, offset=-7).all()


def test_causal():
    assert_picture(Causal().mask(4), """
        █...
        ██..
        ███.
        ████""")


def test_causal_rectangles():
    """xformers' LowerTriangularMask and LowerTriangularFromBottomRightMask."""
    assert_picture(Causal().mask(3, 5, offset="top-left"), """
        █....
        ██...
        ███..""")
    assert_picture(Causal().mask(3, 5, offset="bottom-right"), """
        ███..
        ████.
        █████""")


def test_more_queries_than_keys():
    assert_picture(Causal().mask(5, 3, offset="bottom-right"), """
        ...
        ...
        █..
        ██.
        ███""")
    assert_picture(Causal().mask(4, 2, offset="top-left"), """
        █.
        ██
        ██
        ██""")


def test_prefix():
    assert_picture(PrefixLM(3).mask(6), """
        ███...
        ███...
        ███...
        ████..
        █████.
        ██████""")


def test_prefix_of_a_rectangle():
    assert_picture(PrefixLM(2).mask(3, 5, offset=0), """
        ██...
        ██...
        ███..""")
    assert_picture(PrefixLM(1).mask(4, 2, offset="bottom-right"), """
        █.
        █.
        █.
        ██""")


def test_edges_of_the_prefix():
    assert (PrefixLM(0).mask(5) == Causal().mask(5)).all()
    assert (PrefixLM(1).mask(5) == Causal().mask(5)).all()
    assert PrefixLM(9).mask(5).all()


@pytest.mark.parametrize("n", [1, 6, 23])
def test_counts(n):
    assert Dense().mask(n).sum() == n * n
    assert Causal().mask(n).sum() == n * (n + 1) // 2
    for prefix in range(1, n + 1):
        assert PrefixLM(prefix).mask(n).sum() == n * (n + 1) // 2 + prefix * (prefix - 1) // 2


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: PrefixLM(-1), ValueError, ["PrefixLM", "prefix is -1", ">= 0"]),
        (lambda: PrefixLM(None), TypeError, ["prefix is None", "whole number"]),
        (lambda: PrefixLM(1.0), TypeError, ["prefix is 1.0"]),
        (lambda: PrefixLM(False), ValueError, ["prefix is False"]),
    ],
)
def test_bad_fields(make, error, words):
    assert_refused(make, error, words)
