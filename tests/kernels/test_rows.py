"""Arrays of any strides: read where they lie, by one compilation, to the same bits."""
import numba
import numpy as np
import pytest
from test_loops import FEATURES, NEUTRAL, draw, layout_of, picture

from sparsevis.kernels import _cpu_backward, _features, _rows, cpu, cpu_plain, loops

NEEDS_COMPILER = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="machine instructions: needs Numba's compiler")
FORMS = {                                                           # of (heads, n, d): what is left where it lies
    "tokens first": lambda x: np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1),
    "sliced": lambda x: np.concatenate([x, x + 1], -1)[..., :x.shape[-1]],
    "reversed": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    "every third": lambda x: np.repeat(x, 3, axis=1)[:, ::3],
    "batch, tokens first": lambda x: np.ascontiguousarray(x.reshape(2, -1, *x.shape[1:]).swapaxes(1, 2)).swapaxes(1, 2),
}


def read_only(x):
    x = x.view()
    x.flags.writeable = False
    return x


@pytest.mark.parametrize("form", FORMS)
def test_heads_say_where_every_number_lies(form):
    x = np.arange(4 * 7 * 5.0).reshape(4, 7, 5)
    there = FORMS[form](x)
    assert _features.side_by_side(there) is there
    h = _rows.heads(there)
    assert (h.rows, h.columns, h.address.size) == (7, 5, 4)
    start, flat = there.__array_interface__["data"][0], there.reshape(4, 7, 5)
    for head, row in np.ndindex(4, 7):
        one = there[divmod(head, 2)][row] if there.ndim == 4 else there[head, row]
        assert h.address[head] + row * h.stride == one.__array_interface__["data"][0]
    assert start == h.address[0]
    np.testing.assert_array_equal(flat, x)


@pytest.mark.parametrize("form", [np.asfortranarray, lambda x: x[..., ::-1], lambda x: np.broadcast_to(x[..., :1], x.shape)])
def test_rows_that_are_not_side_by_side_are_copied(form):
    x = form(np.arange(4 * 7 * 5.0).reshape(4, 7, 5))
    y = _features.side_by_side(x)
    assert y.flags.c_contiguous
    np.testing.assert_array_equal(x, y)


def test_numbers_at_odd_addresses_are_copied():
    raw = np.zeros(8 * 12 + 1, np.uint8)
    x = raw[1:].view(np.float64).reshape(1, 3, 4)
    x[:] = np.arange(12).reshape(3, 4)
    y = _features.side_by_side(x)
    assert not x.flags.aligned
    assert y.flags.aligned
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kernel", [loops, cpu_plain, pytest.param(cpu, marks=NEEDS_COMPILER)], ids=["loops", "cpu_plain", "cpu"])
def test_forward(kernel, form):
    given = draw("float32", 4, 4, nq=60, nk=60, d=20, dv=20)
    layout = layout_of(picture("window", 60, 60), (16, 16))
    want = kernel.forward(*given, layout, scale=0.3)
    compiled = len(cpu.DRAIN["float32"].signatures)
    got = kernel.forward(*(read_only(FORMS[form](x)) for x in given), layout, scale=0.3)
    assert [x.tobytes() for x in got] == [x.tobytes() for x in want]
    assert len(cpu.DRAIN["float32"].signatures) == compiled


@NEEDS_COMPILER
def test_keys_that_all_heads_share_need_not_be_repeated():
    q, k, v = draw("float32", 4, 1)
    layout = layout_of(picture("causal", 70, 70), (64, 64))
    shared = [np.broadcast_to(x, (4, *x.shape[1:])) for x in (k, v)]
    assert all(_features.side_by_side(x) is x for x in shared)
    for x, y in zip(cpu.forward(q, *shared, layout, scale=0.3), cpu.forward(q, k, v, layout, scale=0.3), strict=True):
        np.testing.assert_array_equal(x, y)


@NEEDS_COMPILER
@pytest.mark.parametrize("form", FORMS)
def test_backward(form):
    q, k, v = draw("float32", 4, 4, nq=60, nk=60, d=20, dv=20)
    layout, do = layout_of(picture("window", 60, 60), (16, 16)), draw("float32", 4, 4, nq=60, d=20)[0]
    o, lse = cpu.forward(q, k, v, layout, scale=0.3)
    want = cpu.backward(do, q, k, v, o, lse, layout, scale=0.3)
    compiled = len(_cpu_backward.DRAIN["float32"].signatures)
    there = [read_only(FORMS[form](x)) for x in (do, q, k, v)]
    got = cpu.backward(*there, o, lse, layout, scale=0.3)
    assert [x.tobytes() for x in got] == [x.tobytes() for x in want]
    assert len(_cpu_backward.DRAIN["float32"].signatures) == compiled


@pytest.mark.parametrize("kernel", [loops, cpu_plain, pytest.param(cpu, marks=NEEDS_COMPILER)], ids=["loops", "cpu_plain", "cpu"])
def test_bias(kernel):
    """One row for all queries, one matrix for all heads of a batch, turned, cut out: each as if it were written out."""
    q, k, v = draw("float64", 4, 2, nq=60, nk=70)
    layout, rng = layout_of(picture("window", 60, 70), (16, 16)), np.random.default_rng(3)
    forms = {
        "one row": np.broadcast_to(rng.standard_normal((4, 1, 70)), (4, 60, 70)),
        "one for a batch": np.broadcast_to(rng.standard_normal((2, 1, 60, 70)), (2, 2, 60, 70)),
        "cut out": rng.standard_normal((4, 70, 90))[:, 3:63, 5:75],
        "turned": rng.standard_normal((4, 70, 60)).swapaxes(1, 2),
        "a matrix": rng.standard_normal((60, 70)),
    }
    for name, bias in forms.items():
        got = kernel.forward(q, k, v, layout, scale=0.3, **{**NEUTRAL, "bias": bias})
        want = kernel.forward(q, k, v, layout, scale=0.3, **{**NEUTRAL, "bias": bias.reshape(-1, 60, 70).copy()})
        assert [x.tobytes() for x in got] == [x.tobytes() for x in want], name
        other = kernel.forward(q, k, v, layout, scale=0.3, **{**NEUTRAL, "bias": FEATURES["bias"]})
        assert other[0].tobytes() != got[0].tobytes()
