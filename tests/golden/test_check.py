"""The check itself: what counts as tested, what a kernel may not do besides being wrong, and dialects."""

import subprocess
import sys

import numpy as np
import pytest

import sparsevis as sv
from sparsevis.golden import Call, Dialect, Model, check
from tests.golden import kernel

SOME = [Call(5, 9, d=8, dv=8, right=0), Call(9, 9, left=2, right=0, scale=0.3), Call(7, 3, right=0), Call(4, 4)]


def plain(q, k, v, mask=None, scale=None):
    o, lse = sv.reference.attention(q, k, v, mask, scale=scale)
    return o.astype(q.dtype), lse.astype(np.float32)


def test_the_smallest_call():
    report = check(plain)
    assert report.ok
    assert report.exit_code == 0
    assert report.diagnosis == ()
    assert report.smallest is None


def test_only_the_output_may_be_returned():
    assert check(lambda q, k, v, mask=None: plain(q, k, v, mask)[0], calls=[Call(4, 4, right=0)]).ok


def test_a_feature_that_is_not_taken_is_not_supported_and_not_passed():
    report = check(lambda q, k, v: plain(q, k, v), calls=[Call(4, 4), Call(4, 4, right=0), Call(4, 4, softcap=1.0), Call(4, 4, batch=2)])
    assert report.counts == {"pass": 1, "fail": 0, "unsupported": 3}
    assert [o.reason for o in report.outcomes] == ["", "windows", "softcap", "a batch"]


def test_nothing_tested_is_no_success():
    report = check(lambda q, k, v: plain(q, k, v), calls=[Call(4, 4, right=0)])
    assert not report.ok
    assert report.exit_code == 3
    assert "NOTHING WAS TESTED" in str(report)


def test_a_refusal_is_not_a_failure():
    def refuses(q, k, v, mask=None):
        raise NotImplementedError("heads of 8 only")

    assert check(refuses, calls=SOME[:1]).outcomes[0].reason == "heads of 8 only"


def cheats():
    results, calls_made = {}, []

    def writes(q, k, v, mask=None, scale=None):
        o = plain(q, k, v, mask, scale)
        q[..., 0] = 0
        return o

    def zeros(q, k, v, mask=None, scale=None):
        return np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)

    def cached_by_shape(q, k, v, mask=None, scale=None):
        return results.setdefault((q.shape, k.shape), plain(q, k, v, mask, scale))

    def drifts(q, k, v, mask=None, scale=None):
        calls_made.append(0)
        return plain(q, k, v, mask, scale)[0] * np.float32(1 + 1e-7 * (len(calls_made) % 2))

    def wrong_shape(q, k, v, mask=None, scale=None):
        return plain(q, k, v, mask, scale)[0][..., :-1]

    def crashes(q, k, v, mask=None, scale=None):
        raise RuntimeError("<illegal memory access>")

    def alias(q, k, v, mask=None, scale=None):
        return v[:, : q.shape[1]]

    return {
        writes: "wrote into its input q", zeros: "times its budget", cached_by_shape: "two calls returned the same memory",
        drifts: "the same call twice gave two results", wrong_shape: "o has shape (1, 5, 7), and needs (1, 5, 8)",
        crashes: "raised RuntimeError: <illegal memory access>", alias: "the result o shares memory with the input v",
    }  # fmt: skip


@pytest.mark.parametrize("fn", cheats(), ids=lambda fn: fn.__name__)
def test_cheats_and_bad_manners(fn):
    report = check(fn, calls=SOME, shrink=False)
    words = next(words for f, words in cheats().items() if f.__name__ == fn.__name__)
    assert report.exit_code == 1
    assert words in report.outcomes[0].reason


def test_a_read_only_input_that_is_written_is_a_crash_of_the_kernel():
    def writes(q, k, v):
        q *= 1
        return plain(q, k, v)

    outcome = check(writes, calls=[Call(3, 3, memory="read-only")], shrink=False).outcomes[0]
    assert outcome.reason == "raised ValueError: output array is read-only"


def test_atomics_may_be_declared():
    count = []

    def drifts(q, k, v, mask=None):
        count.append(0)
        o, lse = plain(q, k, v, mask)
        return o * np.float32(1 + 2e-7 * (len(count) % 2)), lse

    assert not check(drifts, calls=[Call(4, 40)], shrink=False).ok
    assert check(drifts, calls=[Call(4, 40)], deterministic=False).ok


def test_a_model_that_declares_more_passes_more():
    def half(q, k, v, mask=None):
        return plain(q, k, v, mask)[0].astype(np.float16)

    report = check(half, calls=[Call(20, 20, right=0)], shrink=False)
    assert report.diagnosis[0][0] == "weaker arithmetic than declared: o stored in float16"
    assert check(half, calls=[Call(20, 20, right=0)], model=Model(out="float16")).ok


def flash(q, k, v, causal=False, window_size=(-1, -1)):
    """(b, n, h, d), -1 unbounded, bottom-right, lse in base 2 and +inf where there is no key."""
    q, k, v = (np.swapaxes(x, 1, 2) for x in (q, k, v))
    window = tuple(None if x == -1 else x for x in window_size)
    o, lse = kernel.forward(q, k, v, causal=causal, window=window, offset=k.shape[2] - q.shape[2])
    return np.swapaxes(o, 1, 2), np.where(np.isneginf(lse), np.float32(np.inf), lse * np.float32(np.log2(np.e)))


def spoken(q, k, v, causal=False, window=(-1, -1)):
    return flash(q, k, v, causal, window)


FLASH = {"axes": "bnhd", "window": "flash", "align": "bottom-right", "lse": "base 2", "empty_lse": np.inf}


def test_a_foreign_dialect():
    report = check(spoken, dialect=Dialect(**FLASH))
    assert report.ok, report
    assert report.counts["pass"] > 100


@pytest.mark.parametrize(
    ("change", "words"),
    [({"lse": "natural"}, "lse in base 2"), ({"align": "top-left"}, "queries at the end of the keys (bottom-right)"),
     ({"empty_lse": -np.inf}, "queries without keys")],
)  # fmt: skip
def test_a_dialect_declared_wrongly_is_named(change, words):
    report = check(spoken, dialect=Dialect(**FLASH | change), shrink=False)
    assert words in report.diagnosis[0][0]


def test_counted_windows():
    def fn(q, k, v, causal, window=None):
        i, j = np.arange(q.shape[1])[:, None], np.arange(k.shape[1])
        return plain(q, k, v, (j <= i) & (i - j < (window or 10**6)) if causal else None)

    three = [Call(9, 9, left=2, right=0), Call(9, 9, right=0), Call(9, 9)]
    report = check(fn, dialect=Dialect(window="count", align="top-left"), calls=three)
    assert [o.status for o in report.outcomes] == ["pass", "pass", "unsupported"]


@pytest.mark.parametrize(("kind", "read"), [("allowed", lambda m: m), ("forbidden", lambda m: ~m), ("additive", lambda m: m == 0)])
def test_kinds_of_mask(kind, read):
    fn = lambda q, k, v, mask=None: plain(q, k, v, None if mask is None else read(mask))
    assert check(fn, dialect=Dialect(mask=kind), calls=SOME[:1] + SOME[2:]).ok
    other = Dialect(mask="forbidden" if kind == "allowed" else "allowed")
    assert not check(fn, dialect=other, calls=[Call(5, 5, pattern=sv.Strided(2))], shrink=False).ok


def test_layouts_and_patterns_are_given():
    assert check(lambda q, k, v, layout: plain(q, k, v, layout.mask()), calls=SOME[2:]).ok
    fn = lambda q, k, v, pattern, offset: plain(q, k, v, pattern.mask(q.shape[1], k.shape[1], offset))
    assert check(fn, calls=[SOME[0], SOME[2], Call(9, 9, pattern=sv.Strided(3), offset=2)]).ok


def test_empty_rows_by_another_rule():
    def fn(q, k, v, mask):
        o, lse = plain(q, k, v, mask)
        return np.where(mask.any(-1)[:, None], o, np.float32(np.nan)), lse

    call = Call(20, 8, right=0)
    assert check(fn, calls=[call], shrink=False).diagnosis[0][0] == "queries without keys give NaN"
    assert check(fn, calls=[call], dialect=Dialect(empty=np.nan)).ok


def test_what_is_ambiguous_is_refused():
    with pytest.raises(ValueError, match="where do the queries stand"):
        check(lambda q, k, v, causal=False: None)
    with pytest.raises(TypeError, match="say Dialect"):
        check(lambda q, k, v, **anything: None)
    with pytest.raises(TypeError, match="not a int"):
        check(3)
    with pytest.raises(ValueError, match="axes='bshd', and needs one of"):
        Dialect(axes="bshd")
    with pytest.raises(ValueError, match="level='core'"):
        check(plain, level="core")
    with pytest.raises(ValueError, match="takes has dropout"):
        check(plain, dialect=Dialect(takes=("mask", "dropout")))


def test_the_smallest_call_is_code_that_fails_again():
    fn = lambda q, k, v, mask=None, scale=None: plain(q, k, v, mask, scale=None)
    small = check(fn).smallest
    assert small.call == eval(repr(small.call), {"Call": Call})
    assert small.call == Call(1, 1, scale=small.call.scale)
    assert small.call.scale is not None
    assert not check(fn, calls=[small.call], shrink=False).ok


def test_bfloat16():
    pytest.importorskip("ml_dtypes")
    report = check(kernel.forward, backward=kernel.backward, dialect=Dialect(axes="bhnd"), dtype="bfloat16")
    assert report.ok, report


def test_the_kit_needs_numpy_alone():
    code = (
        "import sys, sparsevis as sv; assert sv.golden.check(lambda q, k, v: sv.reference.attention(q, k, v)).ok;"
        "print(*sorted(x for x in sys.modules if x in ('numba', 'matplotlib', 'scipy', 'hypothesis') or x.startswith('sparsevis.kernels')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []


# ---------------------------------------------------------------- the ways in which keys lie


def test_a_kernel_of_packed_documents_is_told_their_ends():
    told = []

    def packed(q, k, v, *, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, causal=False):
        told.append((cu_seqlens_q.tolist(), cu_seqlens_k.tolist(), max_seqlen_q, causal))
        raise NotImplementedError

    some = [Call(5, 6, lengths=(2, 0, 3), key_lengths=(3, 1, 2), right=0), Call(4, 7, right=0), Call(4, 4, left=2, right=0)]
    found = check(packed, dialect=Dialect(axes="nhd", align="bottom-right"), calls=some)
    assert told == [([0, 2, 2, 5], [0, 3, 4, 6], 3, True), ([0, 4], [0, 7], 4, True)]
    assert found.outcomes[2].reason == "windows"
    other = check(packed, dialect=Dialect(axes="nhd", align="top-left"), calls=some[:1])
    assert other.outcomes[0].reason == "this alignment"


def test_a_ring_is_told_by_positions_and_padding_by_lengths():
    told = []

    def fn(q, k, v, *, positions=None, kv_lengths=None, offset=0, causal=False):
        told.append((None if positions is None else positions.tolist(), None if kv_lengths is None else kv_lengths.tolist(), offset))
        raise NotImplementedError

    some = [Call(1, 4, right=0, seen=6), Call(1, 4, right=0), Call(2, 4, batch=2, valid=(4, 1), right=0, offset=0)]
    check(fn, dialect=Dialect(axes="bhnd"), calls=some)
    assert told == [([4, 5, 2, 3], None, 5), (None, None, 3), (None, [4, 1], 0)]


def test_what_cannot_be_said_is_named():
    heads = Call(2, 2, kv_heads=2, pattern=sv.PerHead(sv.Causal(), sv.Dense()))
    some = [Call(4, 4, lengths=(1, 3)), Call(1, 3, seen=5), Call(2, 2, valid=(1,)), heads]
    found = check(lambda q, k, v, causal=False: None, dialect=Dialect(align="top-left"), calls=some)
    assert [o.reason for o in found.outcomes] == ["packed documents", "a ring of keys", "padding", "a pattern for each head"]


def test_every_way_can_be_said_by_a_mask_or_a_layout():
    some = [Call(5, 6, lengths=(2, 0, 3), key_lengths=(3, 1, 2), right=0), Call(2, 5, left=3, right=0, seen=13)]
    heads = Call(9, 9, kv_heads=2, pattern=sv.PerHead(sv.Causal(), sv.SlidingWindow(1)))
    assert check(plain, calls=some).counts["pass"] == 2
    assert check(lambda q, k, v, layout: plain(q, k, v, layout.mask()), calls=[*some, heads]).counts["pass"] == 3
    assert check(plain, dialect=Dialect(mask_axes=3), calls=[heads]).counts["pass"] == 1


def test_a_kernel_that_is_causal_unless_told_otherwise_is_told():
    def fn(q, k, v, *, causal=True):
        return plain(q, k, v, np.tri(q.shape[1], k.shape[1], k.shape[1] - q.shape[1], dtype=bool) if causal else None)

    assert check(fn, dialect=Dialect(align="bottom-right"), calls=[Call(4, 4), Call(4, 4, right=0)]).counts["pass"] == 2
