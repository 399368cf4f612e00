"""The compiled plain loops: all that `test_loops` asks, and their threads."""
from concurrent.futures import ThreadPoolExecutor

import numba
import pytest
from test_loops import TOLERANCE, Kernel, draw, layout_of, picture

from sparsevis.kernels import cpu_plain


class TestCpuPlain(Kernel):
    forward = staticmethod(cpu_plain.forward)


def bits(dtype):
    o, lse = cpu_plain.forward(*draw(dtype, 4, 2, nq=150, nk=150), layout_of(picture("window", 150, 150), (64, 64)), scale=0.3)
    return o.tobytes() + lse.tobytes()


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_same_bits_for_any_number_of_threads(dtype, monkeypatch):
    seen = set()
    for threads in (1, 2, 5):
        monkeypatch.setattr(numba, "get_num_threads", lambda threads=threads: threads)
        seen |= {bits(dtype) for _ in range(3)}
    with ThreadPoolExecutor(3) as pool:
        seen |= set(pool.map(bits, [dtype] * 6))
    assert len(seen) == 1
