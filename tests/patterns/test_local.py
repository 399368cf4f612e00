import pytest
from pictures import assert_picture, assert_refused

from sparsevis import BlockWindow, Causal, Chunked, SlidingWindow


def test_causal_window():
    assert_picture(SlidingWindow(2).mask(6), """
        █.....
        ██....
        ███...
        .███..
        ..███.
        ...███""")


def test_windows_of_other_libraries():
    """attention-gym's generate_sliding_window(3) keeps 4 keys, transformers' sliding_window=3 keeps 3."""
    assert_picture(SlidingWindow(3).mask(8), """
        █.......
        ██......
        ███.....
        ████....
        .████...
        ..████..
        ...████.
        ....████""")
    assert_picture(SlidingWindow(2).mask(8), """
        █.......
        ██......
        ███.....
        .███....
        ..███...
        ...███..
        ....███.
        .....███""")


def test_sides_are_not_mixed_up():
    assert_picture(SlidingWindow(0, 1).mask(4), """
        ██..
        .██.
        ..██
        ...█""")
    assert_picture(SlidingWindow(2, 1).mask(5), """
        ██...
        ███..
        ████.
        .████
        ..███""")


def test_unbounded_sides():
    assert_picture(SlidingWindow(None, 1).mask(5), """
        ██...
        ███..
        ████.
        █████
        █████""")
    assert_picture(SlidingWindow(1, None).mask(5), """
        █████
        █████
        .████
        ..███
        ...██""")
    assert SlidingWindow(None, None).mask(3).all()


def test_window_of_a_rectangle():
    """The middle one is xformers' LocalAttentionFromBottomRightMask(1, 2)."""
    assert_picture(SlidingWindow(1).mask(3, 5, offset="top-left"), """
        █....
        ██...
        .██..""")
    assert_picture(SlidingWindow(1, 2).mask(4, 6, offset="bottom-right"), """
        .████.
        ..████
        ...███
        ....██""")
    assert_picture(SlidingWindow(1).mask(5, 3, offset="bottom-right"), """
        ...
        ...
        █..
        ██.
        .██""")
    assert_picture(SlidingWindow(1).mask(5, 3, offset="top-left"), """
        █..
        ██.
        .██
        ..█
        ...""")


@pytest.mark.parametrize("n", [8, 13, 40])
@pytest.mark.parametrize(("left", "right"), [(0, 0), (3, 0), (0, 5), (2, 2), (7, 4)])
def test_window_count(n, left, right):
    assert SlidingWindow(left, right).mask(n).sum() == n * (left + right + 1) - left * (left + 1) // 2 - right * (right + 1) // 2


def test_block_window():
    assert_picture(BlockWindow(2, 1, 0).mask(6), """
        ██....
        ██....
        ████..
        ████..
        ..████
        ..████""")


def test_block_window_with_a_short_last_block():
    assert_picture(BlockWindow(2).mask(7), """
        ████...
        ████...
        ██████.
        ██████.
        ..█████
        ..█████
        ....███""")


def test_block_window_sides():
    assert_picture(BlockWindow(2, None, 0).mask(5), """
        ██...
        ██...
        ████.
        ████.
        █████""")
    assert_picture(BlockWindow(2, 0, None).mask(5), """
        █████
        █████
        ..███
        ..███
        ....█""")


def test_block_window_counts_blocks_from_position_0():
    assert_picture(BlockWindow(3, 0, 1).mask(3, 8, offset=4), """
        ...█████
        ...█████
        ......██""")


@pytest.mark.parametrize("block", [1, 3, 8])
@pytest.mark.parametrize(("left", "right"), [(0, 0), (1, 1), (3, 0), (1, 2)])
def test_block_window_count(block, left, right):
    blocks = 6
    pairs = block**2 * (blocks * (left + right + 1) - left * (left + 1) // 2 - right * (right + 1) // 2)
    assert BlockWindow(block, left, right).mask(blocks * block).sum() == pairs


def test_chunks():
    assert_picture(Chunked(3).mask(7), """
        ███....
        ███....
        ███....
        ...███.
        ...███.
        ...███.
        ......█""")


def test_causal_chunks():
    """Llama 4's local layers; transformers' chunked mask at chunk size 3."""
    assert_picture((Causal() & Chunked(3)).mask(8), """
        █.......
        ██......
        ███.....
        ...█....
        ...██...
        ...███..
        ......█.
        ......██""")


def test_chunks_begin_at_position_0():
    assert_picture(Chunked(3).mask(3, 7, offset=4), """
        ...███.
        ...███.
        ......█""")


@pytest.mark.parametrize("n", [1, 5, 12, 31])
@pytest.mark.parametrize("size", [1, 4, 7, 40])
def test_chunk_count(n, size):
    rest = n % size
    assert Chunked(size).mask(n).sum() == n // size * size**2 + rest**2
    assert (Causal() & Chunked(size)).mask(n).sum() == n // size * (size * (size + 1) // 2) + rest * (rest + 1) // 2


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: SlidingWindow(-1), ValueError, ["SlidingWindow", "left is -1", ">= 0 or None"]),
        (lambda: SlidingWindow(1, -2), ValueError, ["right is -2", ">= 0 or None"]),
        (lambda: SlidingWindow(2.0), TypeError, ["left is 2.0", "whole number"]),
        (lambda: SlidingWindow("3"), TypeError, ["left is '3'"]),
        (lambda: SlidingWindow(True), ValueError, ["left is True"]),
        (lambda: BlockWindow(0), ValueError, ["BlockWindow", "block is 0", ">= 1"]),
        (lambda: BlockWindow(None), TypeError, ["block is None"]),
        (lambda: BlockWindow(2, -1), ValueError, ["left is -1"]),
        (lambda: BlockWindow(2, 1, 0.5), TypeError, ["right is 0.5"]),
        (lambda: Chunked(0), ValueError, ["Chunked", "size is 0", ">= 1"]),
        (lambda: Chunked(1.5), TypeError, ["size is 1.5"]),
    ],
)
def test_bad_fields(make, error, words):
    assert_refused(make, error, words)
