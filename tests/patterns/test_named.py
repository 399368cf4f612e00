import numpy as np
import pytest
from pictures import assert_picture, assert_refused, mask_of_picture

from sparsevis import (
    PerHead,
    SlidingWindow,
    bigbird,
    longformer,
    mistral,
    sparse_transformer_fixed,
    sparse_transformer_strided,
    streaming_llm,
)


def test_mistral_keeps_window_keys():
    assert_picture(mistral(3).mask(6), """
        █.....
        ██....
        ███...
        .███..
        ..███.
        ...███""")
    assert mistral() == SlidingWindow(4095)
    for n, window in [(20, 1), (20, 6), (9, 9)]:
        assert mistral(window).mask(n).sum() == n * window - window * (window - 1) // 2


def test_longformer():
    """A total of 2 is one key on each side; tokens 0 and 6 are global."""
    assert_picture(longformer(2, (0, 6)).mask(10), """
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


def test_longformer_dilated():
    assert_picture(longformer(4, (0,), dilation=2).mask(7), """
        ███████
        ██.█.█.
        █.█.█.█
        ██.█.█.
        █.█.█.█
        ██.█.█.
        █.█.█.█""")


def test_longformer_without_globals():
    assert longformer(4, ()) == SlidingWindow(2, 2)
    assert longformer(4, 3) == longformer(4, [3])
    assert longformer(4, np.int64(3)) == longformer(4, np.array([3])) == longformer(np.int64(4), [3])


@pytest.mark.parametrize(("n", "g", "window"), [(30, 1, 4), (30, 3, 8), (64, 2, 2)])
def test_longformer_count(n, g, window):
    w = window // 2
    assert longformer(window, range(g)).mask(n).sum() == 2 * g * n - g * g + (n - g) * (2 * w + 1) - w * (w + 1)


BIGBIRD = """
    ██████
    ███..█
    ████.█
    █.████
    █..███
    ██████"""


def test_bigbird_blocks():
    """Six blocks: the first and the last are global, each row sees its neighbours."""
    blocks = mask_of_picture(BIGBIRD)
    assert (bigbird(2, random_blocks=0).mask(12) == np.kron(blocks, np.ones((2, 2), bool))).all()
    ragged = np.kron(blocks, np.ones((2, 2), bool))[:11, :11]
    assert (bigbird(2, random_blocks=0).mask(11) == ragged).all()


def test_bigbird_random_blocks():
    """Two more blocks a row, drawn for the row of blocks; some are listed already."""
    mask = bigbird(4, random_blocks=2, seed=1).mask(80)
    cells = mask[::4, ::4]
    assert (mask == np.kron(cells, np.ones((4, 4), bool))).all()
    more = cells & ~bigbird(1, random_blocks=0).mask(20)
    assert more.sum(1).max() == 2
    assert more.sum() > 20
    assert not (bigbird(4, random_blocks=2, seed=2).mask(80) == mask).all()


def test_bigbird_of_several_heads():
    heads = bigbird(4, random_blocks=2, seed=5, heads=3)
    assert isinstance(heads, PerHead)
    assert len(heads) == 3
    assert len({p.mask(80).tobytes() for p in heads}) == 3
    assert heads[0] == bigbird(4, random_blocks=2, seed=5)
    published = bigbird(64, heads=2, plan="published")
    assert [p.b.head for p in published] == [0, 1]
    assert {p.b.heads for p in published} == {2}
    assert bigbird(4, random_blocks=0, heads=2) == PerHead(*[bigbird(4, random_blocks=0)] * 2)


def test_bigbird_parameters():
    assert_picture(bigbird(1, (), 1, 0).mask(3), """
        █..
        .█.
        ..█""")
    assert_picture(bigbird(1, [1], 1, 0).mask(3), """
        ██.
        ███
        .██""")
    assert bigbird(2, (x for x in (0, -1)), random_blocks=0) == bigbird(2, random_blocks=0)


def test_sparse_transformer_strided():
    """Head 0 keeps the last 3 keys, head 1 every third: two steps reach everything before."""
    near, far = sparse_transformer_strided(3).mask(7)
    assert_picture(near, """
        █......
        ██.....
        ███....
        .███...
        ..███..
        ...███.
        ....███""")
    assert_picture(far, """
        █......
        .█.....
        ..█....
        █..█...
        .█..█..
        ..█..█.
        █..█..█""")
    assert_picture(sparse_transformer_strided(3, merged=True).mask(7), """
        █......
        ██.....
        ███....
        ████...
        .████..
        ..████.
        █..████""")
    assert ((near.astype(int) @ far > 0) == np.tri(7)).all()


def test_sparse_transformer_fixed():
    """Head 0 keeps the query's own group, head 1 the last key of every group."""
    group, told = sparse_transformer_fixed(3, 1).mask(7)
    assert_picture(group, """
        █......
        ██.....
        ███....
        ...█...
        ...██..
        ...███.
        ......█""")
    assert_picture(told, """
        .......
        .......
        ..█....
        ..█....
        ..█....
        ..█..█.
        ..█..█.""")
    assert_picture(sparse_transformer_fixed(3, 1, merged=True).mask(7), """
        █......
        ██.....
        ███....
        ..██...
        ..███..
        ..████.
        ..█..██""")


def test_heads_take_turns():
    for make in (sparse_transformer_strided, sparse_transformer_fixed):
        two, five = make(8), make(8, heads=5)
        assert [five[h] == two[h % 2] for h in range(5)] == [True] * 5
        assert two[0] != two[1]


def test_streaming_llm():
    """Two sinks and the last three keys, the query among them."""
    assert_picture(streaming_llm(2, 3).mask(7), """
        █......
        ██.....
        ███....
        ████...
        █████..
        ██.███.
        ██..███""")
    for n, sinks, window in [(7, 2, 3), (40, 4, 9), (40, 1, 1)]:
        pairs = n * window - window * (window - 1) // 2 + sinks * (n - window) - sinks * (sinks - 1) // 2
        assert streaming_llm(sinks, window).mask(n).sum() == pairs


def test_numpy_numbers_are_numbers():
    assert mistral(np.int64(3)) == mistral(3)
    assert streaming_llm(np.int32(2), np.int32(3)) == streaming_llm(2, 3)
    assert sparse_transformer_strided(np.int64(4)) == sparse_transformer_strided(4)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: mistral(0), ValueError, ["mistral", "window is 0", ">= 1"]),
        (lambda: mistral(True), ValueError, ["window is True"]),
        (lambda: longformer(3), ValueError, ["longformer", "window is 3", "even"]),
        (lambda: longformer(-2), ValueError, ["window is -2", ">= 0"]),
        (lambda: longformer(4, dilation=0), ValueError, ["dilation is 0", ">= 1"]),
        (lambda: longformer(4, (9,)).mask(5), ValueError, ["(9,)", "from -5 to 4"]),
        (lambda: bigbird(window_blocks=2), ValueError, ["bigbird", "window_blocks is 2", "odd"]),
        (lambda: bigbird(window_blocks=0), ValueError, ["window_blocks is 0", ">= 1"]),
        (lambda: bigbird(0), ValueError, ["block is 0", ">= 1"]),
        (lambda: bigbird(random_blocks=-1), ValueError, ["blocks_per_row is -1"]),
        (lambda: bigbird(4).mask(8), ValueError, ["blocks_per_row=3", "0 to 2"]),
        (lambda: sparse_transformer_strided(0), ValueError, ["sparse_transformer_strided", "stride is 0", ">= 1"]),
        (lambda: sparse_transformer_fixed(4), ValueError, ["summary is 8", "from 1 to 4"]),
        (lambda: streaming_llm(-1), ValueError, ["count is -1", ">= 0"]),
        (lambda: streaming_llm(4, 0), ValueError, ["streaming_llm", "window is 0", ">= 1"]),
    ],
)
def test_bad_parameters(make, error, words):
    assert_refused(make, error, words)
