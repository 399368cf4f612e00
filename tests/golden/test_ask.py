"""How a kernel is asked: arrays that it fills itself, what lies around them, and what it keeps from call to call."""

import numpy as np
import pytest

import sparsevis as sv
from sparsevis.golden import Call, Dialect, calls, check

SOME = [Call(5, 9, right=0), Call(9, 9), Call(7, 3, right=0)]


def plain(q, k, v, mask=None):
    o, lse = sv.reference.attention(q, k, v, mask)
    return o.astype(q.dtype), lse.astype(np.float32)


def fills(q, k, v, mask=None, *, out, lse_out):
    out[...], lse_out[...] = plain(q, k, v, mask)


def test_alibi_is_said_as_slopes_or_as_the_bias_it_is():
    told = []

    def slopes(q, k, v, *, causal, offset, slopes=None):
        told.append(slopes)
        raise NotImplementedError

    def bias(q, k, v, *, mask, bias=None):
        return sv.reference.attention(q, k, v, mask, bias=bias)[0]

    some = [Call(4, 6, right=0, alibi=True, kv_heads=3), Call(6, 6, right=0, alibi=True, lengths=(2, 4))]
    report = check(slopes, calls=some)
    assert [x.tolist() for x in told] == [[0.5, 0.25, 0.125]]
    assert report.outcomes[1].reason == "packed documents"
    assert check(bias, calls=some).counts["pass"] == 2
    assert check(plain, calls=some).outcomes[0].reason == "ALiBi slopes"
    flash = lambda q, k, v, *, causal, alibi_slopes=None: told.append(alibi_slopes) or q * 0
    check(flash, dialect="flash", calls=some[:1], shrink=False)
    assert told[-1].tolist() == [0.5, 0.25, 0.125]


def test_outputs_are_filled():
    assert check(fills, calls=SOME).counts == {"pass": 3, "fail": 0, "unsupported": 0}
    renamed = lambda q, k, v, *, mask=None, o: fills(q, k, v, mask, out=o, lse_out=np.empty(q.shape[:-1], np.float32))
    assert check(renamed, dialect=Dialect(names={"out": "o"}), calls=SOME).ok


def test_an_output_of_which_a_part_is_not_written():
    def some(q, k, v, mask=None, *, out):
        o, lse = plain(q, k, v, mask)
        out[np.isfinite(lse)] = o[np.isfinite(lse)]

    report = check(some, calls=SOME, shrink=False)
    assert [o.status for o in report.outcomes] == ["pass", "pass", "fail"]
    assert report.diagnosis[0][0] == "queries without keys give NaN"


@pytest.mark.parametrize("place", [slice(None, 64), slice(-64, None)])
def test_what_lies_around_an_output_must_stay(place):
    def beyond(q, k, v, mask=None, *, out):
        out[...] = plain(q, k, v, mask)[0]
        out.base[place][-1 if place.start is None else 0] = 0

    assert "it wrote beyond the ends of out" in check(beyond, calls=SOME, shrink=False).outcomes[0].reason


def test_tensors_are_filled_where_they_lie():
    torch = pytest.importorskip("torch", reason="torch is not installed")

    def kernel(q, k, v, *, mask=None, out):
        found = plain(*(x.numpy() for x in (q, k, v)), None if mask is None else mask.numpy())[0]
        out.copy_(torch.from_numpy(found))

    assert check(kernel, arrays="torch", calls=SOME).ok


def test_what_lies_around_an_input_is_nan():
    """A kernel that reads a whole tile behind the last key, by strides, feels it."""

    def reads_on(q, k, v, mask=None):
        nk = -(-k.shape[1] // 2) * 2
        longer = lambda x: np.lib.stride_tricks.as_strided(x, (x.shape[0], nk, x.shape[2]), x.strides, writeable=False)
        wide = np.zeros((q.shape[1], nk), bool)
        wide[:, : k.shape[1]] = True if mask is None else mask
        s = np.where(wide, q @ np.swapaxes(longer(k), 1, 2) * np.float32(q.shape[2] ** -0.5), np.float32(-np.inf))
        p = np.exp(s - s.max(-1, keepdims=True))
        return p / p.sum(-1, keepdims=True) @ longer(v)

    even, odd = Call(4, 8, memory="among NaN"), Call(4, 9, memory="among NaN")
    report = check(reads_on, calls=[even, odd], shrink=False)
    assert [o.status for o in report.outcomes] == ["pass", "fail"]
    assert "nan" in report.outcomes[1].reason


def test_state_that_is_kept_is_named():
    kept = {}

    def stale(q, k, v, mask=None, scale=None):
        scale = kept.setdefault((q.shape, k.shape), scale)
        return sv.reference.attention(q, k, v, mask, scale=scale)[0]

    report = check(stale, calls=calls("quick")["state"], shrink=False)
    assert report.diagnosis[0][0] == "state kept from an earlier call: its scale"
    kept.clear()

    def compiled(q, k, v, pattern=None):
        mask = kept.setdefault((q.shape, k.shape), pattern.mask(q.shape[1]))
        return sv.reference.attention(q, k, v, mask)[0]

    report = check(compiled, dialect=Dialect(align="top-left"), calls=calls("quick")["state"], shrink=False)
    assert report.diagnosis[0][0] == "state kept from an earlier call: its pairs"


def test_every_call_of_state_follows_one_of_the_same_shape():
    some = calls("full")["state"]
    assert len({(c.nq, c.nk, c.d, c.dv, c.batch, c.kv_heads, c.group) for c in some}) == 1
    assert len(some) > len(set(some))  # some come back
