"""16-bit numbers in the compiled kernel: every one of them, both ways, and what attention makes of them."""
import tracemalloc

import ml_dtypes
import numba
import numpy as np
import pytest
from test_loops import FEATURES, NEUTRAL, draw, layout_of, picture

from sparsevis.kernels import _half, cpu

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="machine instructions: needs Numba's compiler, unset NUMBA_DISABLE_JIT")
HALVES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


@numba.njit(error_model="numpy")
def widen(x, room):
    _half.read(x, room)                 # what it returns lies in the room, and does not keep it alive


@numba.njit(error_model="numpy")
def round_off(x, xt, factor, room):
    _half.write(x, xt, factor, room)


def rounded(x, name):
    """Some float32 numbers as a kernel writes them."""
    out = np.empty((1, x.size), _half.SEEN_AS[name])
    round_off(out, x.reshape(-1, 1).astype(np.float32), np.ones((1, 1), np.float32), np.empty((1, x.size), np.float32))
    return out[0].view(HALVES[name])


@pytest.mark.parametrize("name", HALVES)
def test_all_numbers_are_widened_exactly(name):
    """Sign of zero, subnormal numbers and infinities included; NaN stays NaN."""
    bits = np.arange(2 ** 16, dtype=np.uint16).reshape(256, 256)
    got, want = np.empty((256, 256), np.float32), bits.view(HALVES[name]).astype(np.float32)
    widen(bits.view(_half.SEEN_AS[name]), got)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    fine = ~np.isnan(want)
    np.testing.assert_array_equal(got[fine].view(np.uint32), want[fine].view(np.uint32))


@pytest.mark.parametrize("name", HALVES)
def test_numbers_are_rounded_to_the_nearest_even(name):
    """Every 16-bit number, the midpoint between it and the next, and the float32 numbers on both sides of these."""
    every = np.arange(2 ** 16, dtype=np.uint16).view(HALVES[name]).astype(np.float32)
    every = every[np.isfinite(every)]
    up = np.append(np.unique(every)[1:], np.float32(2.0 ** (16 if name == "float16" else 127)))
    middle = ((np.unique(every).astype(np.float64) + up) / 2).astype(np.float32)
    x = np.concatenate([every, middle])
    x = np.concatenate([x, np.nextafter(x, np.float32(np.inf)), np.nextafter(x, np.float32(-np.inf)), [np.inf, -np.inf, 3e38, -1e-45]])
    with np.errstate(over="ignore"):
        want = x.astype(np.float32).astype(HALVES[name])
    np.testing.assert_array_equal(rounded(x, name).view(np.uint16), want.view(np.uint16))


@pytest.mark.parametrize("name", HALVES)
def test_every_kind_of_nan_stays_one(name):
    bits = np.array([0x7F800001, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF, 0x7FC00000, 0x7F80FFFF, 0x7FFF8000], np.uint32)
    assert np.isnan(rounded(bits.view(np.float32), name).astype(np.float32)).all()


@pytest.mark.parametrize("features", ["none", "all"])
@pytest.mark.parametrize("name", HALVES)
def test_same_as_widening_everything_first_and_rounding_once(name, features):
    q, k, v = (x.astype(HALVES[name]) for x in draw("float32", 4, 2, nq=60, nk=70, d=20, dv=33))
    k[:, 7, 3], v[:, 9, 2] = np.nan, np.inf
    v[:, 20:24] *= np.float32(1e-7).astype(HALVES[name])                        # subnormal in float16
    for pattern, block in (("window", (64, 64)), ("holes", (16, 16)), ("full", (7, 5))):
        layout, asked = layout_of(picture(pattern, 60, 70), block), {} if features == "none" else {**NEUTRAL, **FEATURES}
        if name == "bfloat16" and features == "all":
            asked = {}                                                          # one compilation with features is enough
        o, lse = cpu.forward(q, k, v, layout, scale=0.3, **asked)
        want, want_lse = cpu.forward(*(x.astype(np.float32) for x in (q, k, v)), layout, scale=0.3, **asked)
        assert (o.dtype, lse.dtype) == (HALVES[name], np.float32)
        np.testing.assert_array_equal(o.astype(np.float32), want.astype(HALVES[name]).astype(np.float32))
        np.testing.assert_array_equal(lse, want_lse)


@pytest.mark.parametrize("name", HALVES)
def test_no_wider_copy_of_anything_long(name, monkeypatch):
    monkeypatch.setattr(numba, "get_num_threads", lambda: 1)
    n = 4000
    q, k, v = (x.astype(HALVES[name]) for x in draw("float32", 1, 1, n, n, d=64, dv=64))
    layout = layout_of(picture("window", n, n), (64, 64))
    cpu.forward(q, k, v, layout, scale=0.1)
    tracemalloc.start()
    o, lse = cpu.forward(q, k, v, layout, scale=0.1)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0 < most - o.nbytes - lse.nbytes < 200_000 < 4 * k.size                # one thread's buffers
