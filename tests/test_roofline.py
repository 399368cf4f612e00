"""The roofs as arithmetic; what is measured is only asked to be a possible machine."""

import numba
import numpy as np
import pytest

from sparsevis import Roofline, roofline


def test_the_two_roofs():
    roof = Roofline(flops=8e9, bandwidth=2e9, threads=1, dtype="float32")
    assert roof.ridge == 4
    assert roof.at(np.array([1, 4, 100])).tolist() == [2e9, 8e9, 8e9]
    assert roof.seconds(16e9, 1e9) == 2       # arithmetic is the limit
    assert roof.seconds(1e9, 16e9) == 8       # memory is
    with pytest.raises(AttributeError):
        roof.flops = 1


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="multiply-adds in registers need Numba's compiler")
def test_of_this_machine():
    one = roofline(threads=1, megabytes=8)
    assert (one.threads, one.dtype) == (1, "float32")
    assert 1e8 < one.flops < 1e13
    assert 1e8 < one.bandwidth < 1e13
