from dataclasses import replace

import numpy as np
import pytest

from sparsevis import reference
from sparsevis.bench import Problem
from sparsevis.bench.problem import grid
from sparsevis.layout import Layout
from sparsevis.patterns import mistral

from .fakes import TINY


def exact(x):
    return reference.attention(x.q, x.k, x.v, x.pattern.mask(x.n))[0]


@pytest.mark.parametrize(("dtype", "most"), [("float16", 3), ("float32", 300), ("float64", 300)])  # of 16 bits, sums have 32
def test_rounding_is_tolerated_and_little_more(dtype, most):
    x = Problem(replace(TINY, dtype=dtype, n=100, d=16))
    assert x.q.dtype == dtype
    assert x.input_bytes == 3 * 2 * 100 * 16 * x.q.itemsize
    error, tolerance = x.error(exact(x).astype(dtype))
    assert error <= tolerance < most * np.finfo(dtype).eps * np.abs(x.v).max()


def test_the_first_good_result_is_what_later_ones_are_held_against():
    x = Problem(replace(TINY, n=40))
    good = exact(x).astype(np.float32)
    hole = good.copy()
    hole[1, 1, 2] += 0.1  # not one of the rows that are compared with the reference
    assert x.error(hole)[0] < x.error(hole)[1]
    error, tolerance = x.error(good)
    assert error == pytest.approx(0.1, abs=1e-6)
    assert error > tolerance


def test_a_wrong_first_result_is_not_believed():
    x = Problem(TINY)
    good = exact(x).astype(np.float32)
    assert x.error(good + 0.1)[0] == pytest.approx(0.1, abs=1e-6)
    assert not x.error(np.full_like(good, np.nan))[0] <= 1
    assert x.error(good)[0] < 1e-6


def test_gradients():
    x = Problem(replace(TINY, kind="backward"))
    grads = np.stack(reference.attention_grad(x.do, x.q, x.k, x.v, x.pattern.mask(x.n))).astype(np.float32)
    assert x.error(grads.copy())[0] <= x.error(grads)[1]
    grads[2, 1, 3, 0] += 0.1
    error, tolerance = x.error(grads)
    assert error > tolerance


@pytest.mark.parametrize("block", [16, 64])
def test_tiles_are_counted_that_are_listed_wrongly(block):
    x = Problem(replace(TINY, kind="layout", pattern=mistral(30), n=200))
    listed = grid(Layout.of(x.pattern, x.n, block))
    mask = np.zeros((len(listed) * block,) * 2, bool)
    mask[:200, :200] = x.pattern.mask(200)
    assert (listed == mask.reshape(len(listed), block, -1, block).any((1, 3))).all()
    assert x.error(listed) == (0, 0.0)
    listed[0, 0] ^= True
    listed[-1, 0] ^= True
    assert x.error(listed) == (2, 0.0)
