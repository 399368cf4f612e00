"""Arrays of PyTorch and JAX in and out, their attention and gradients checked, and dialects by name; each where it is installed."""

import json
from dataclasses import replace

import numpy as np
import pytest

import sparsevis as sv
from sparsevis.golden import NAMED, Call, Dialect, Model, adapter, adapters, autograd, calls, check
from sparsevis.golden.arrays import Library

SOME = [Call(5, 9, right=0), Call(9, 9, left=2, right=0, scale=0.3), Call(7, 3, right=0), Call(4, 4), Call(4, 6, memory="strided")]


def one_key_more(q, k, v, *, softmax_scale=None, causal=False, window_size=(-1, -1)):
    """Flash's words, its axes, and a window one key too long."""
    left, right = (None if x < 0 else x for x in window_size)
    rule = sv.SlidingWindow(None if left is None else left + 1, 0 if causal else right)
    mask = rule.mask(q.shape[1], k.shape[1], "bottom-right")
    o, lse = sv.reference.attention(*(np.swapaxes(x, 1, 2) for x in (q, k, v)), mask, scale=softmax_scale)
    return np.swapaxes(o, 1, 2).astype(q.dtype), np.where(np.isneginf(lse), np.inf, lse).astype(np.float32)


def test_a_dialect_by_name():
    report = check(one_key_more, dialect="flash")
    assert report.diagnosis[0][0] == "window one key longer on the left"
    assert check(one_key_more, dialect="flash", calls=[Call(4, 9, d=16), Call(4, 9, right=0), Call(9, 4, right=0)]).ok
    with pytest.raises(ValueError, match="no dialect is called 'flsh'; there are sparsevis, flash"):
        check(one_key_more, dialect="flsh")


def test_named_dialects_say_the_same_call_in_their_words():
    said = {}

    def spy(q, k, v, **words):
        who = words.pop("who")
        said[who] = {name: x for name, x in words.items() if not isinstance(x, np.ndarray)}
        raise NotImplementedError

    call = Call(6, 6, left=3, right=0, scale=0.5)
    for name in ("flash", "flash-varlen", "flashinfer"):
        takes = ("causal", "window", "scale", *(("cu_seqlens_q", "max_seqlen_q") if name == "flash-varlen" else ()))
        one = replace(NAMED[name], takes=takes, also={**dict(NAMED[name].also), "who": name})
        packed = replace(call, lengths=(2, 4)) if name == "flash-varlen" else call
        check(spy, dialect=one, calls=[packed])
    assert said == {
        "flash": {"causal": True, "window_size": (3, 0), "softmax_scale": 0.5, "return_attn_probs": True},
        "flash-varlen": {"causal": True, "window_size": (3, 0), "softmax_scale": 0.5, "return_attn_probs": True, "max_seqlen_q": 4},
        "flashinfer": {"causal": True, "window_left": 3, "sm_scale": 0.5, "return_lse": True},
    }


def test_a_function_that_says_its_own_dialect():
    @adapter(Dialect(axes="bhnd", mask_axes=4))
    def mine(q, k, v, *, mask=None):
        return sv.reference.attention(q, k, v, mask)[0].astype(q.dtype)

    heads = Call(4, 4, kv_heads=2, pattern=sv.PerHead(sv.Causal(), sv.Dense()))
    found = check(mine, calls=[Call(4, 4, batch=2), Call(3, 5, batch=2, valid=(5, 0)), heads])
    assert found.counts == {"pass": 3, "fail": 0, "unsupported": 0}


def test_nan_among_forbidden_values_may_be_declared_to_be_felt():
    def multiplies(q, k, v, *, mask):
        s = np.where(mask, q @ np.swapaxes(k, -1, -2) * q.shape[-1] ** -0.5, -np.inf)
        p = np.exp(s - s.max(-1, keepdims=True))
        return ((p / p.sum(-1, keepdims=True)) @ v).astype(q.dtype)

    odd = [Call(4, 9, left=2, right=0, values="nan where forbidden"), Call(4, 9, left=2, right=0)]
    dialect = Dialect(gqa=False, mask_axes=2)
    assert not check(multiplies, dialect=dialect, calls=odd).ok
    assert check(multiplies, dialect=replace(dialect, leaks=True), calls=odd).counts == {"pass": 1, "fail": 0, "unsupported": 1}


def test_queries_without_keys_may_be_left_open():
    def mean(q, k, v, *, mask):
        o = sv.reference.attention(q, k, v, mask)[0]
        return np.where(mask.any(-1)[:, None], o, 7.0).astype(q.dtype)

    empty = [Call(6, 3, right=0)]
    assert not check(mean, calls=empty).ok
    assert check(mean, dialect=Dialect(empty=None), calls=empty).ok


def test_an_unknown_library():
    for text in ("tensorflow", "jax:0", "numpy:cuda"):
        with pytest.raises(ValueError, match='needs "numpy", "torch", "jax" or "cupy"'):
            check(one_key_more, arrays=text)


# ---------------------------------------------------------------- PyTorch


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="needs torch (pip install torch)")


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_torch_arrays_go_in_and_come_back(torch, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    from sparsevis.golden.model import dtype_of

    x = np.arange(24.0).reshape(2, 3, 4).astype(dtype_of(dtype))
    library = Library.of("torch")
    given = library.give(x)
    assert given.dtype == getattr(torch, dtype)
    assert library.take(given).dtype == x.dtype
    assert library.take(given).tobytes() == x.tobytes()
    assert library.share(given, given[1:])
    assert not library.share(given, given + 1)


def test_a_tensor_that_is_written_into_is_noticed(torch):
    @adapter(Dialect(axes="bhnd", arrays="torch", mask_axes=4))
    def writes(q, k, v, *, mask=None):
        o = adapters.sdpa(q, k, v, mask=mask)
        k[..., 0] = 0
        return o

    assert check(writes, calls=[Call(4, 4)], shrink=False).outcomes[0].reason == "wrote into its input k"


# what PyTorch does otherwise than sparsevis says, and is so by its own rules: 0 * nan, and -inf * 0 for scale 0
def sdpa_calls(level="quick"):
    return [c for some in calls(level).values() for c in some if c.scale != 0.0]


@pytest.mark.parametrize(("dtype", "model"), [("float32", None), ("float16", Model(out="float16", p="float16", carry="float16"))])
def test_no_false_alarm_on_sdpa_and_its_gradients(torch, dtype, model):
    dialect = replace(adapters.sdpa.dialect, leaks=True)
    report = check(adapters.sdpa, backward=autograd(adapters.sdpa), dialect=dialect, dtype=dtype, model=model, calls=sdpa_calls())
    assert report.ok, report
    assert report.counts["pass"] > 150


def test_sdpa_itself_by_a_named_dialect(torch):
    fn = torch.nn.functional.scaled_dot_product_attention
    report = check(fn, dialect="sdpa")
    assert report.counts["pass"] > 150
    assert report.diagnosis[0][0].startswith("NaN of a forbidden key or value leaks")
    assert check(fn, dialect=replace(NAMED["sdpa"], leaks=True), calls=sdpa_calls()).ok


def test_no_false_alarm_on_flex_attention(torch):
    some = [c for family in calls("quick").values() for c in family[::4]]
    report = check(adapters.flex, dialect=replace(adapters.flex.dialect, leaks=True), calls=some)
    assert report.ok, report
    assert report.counts["pass"] > 30


def test_a_wrong_torch_kernel_is_named(torch):
    @adapter(replace(adapters.sdpa.dialect, leaks=True))
    def wrong(q, k, v, *, mask=None, causal=False, scale=None):
        return adapters.sdpa(q, k, v, mask=mask, causal=causal, scale=1.0 if scale is None else scale)

    assert check(wrong, shrink=False).diagnosis[0][0] == "scale missing (1 instead of 1/sqrt(d))"


# ---------------------------------------------------------------- JAX


def test_no_false_alarm_on_jax(request):
    pytest.importorskip("jax", reason="needs jax (pip install jax)")
    dialect = replace(adapters.jax_attention.dialect, leaks=True)
    some = [*SOME, Call(5, 5, kv_heads=2, group=2, right=0), Call(4, 7, batch=2, valid=(7, 3)), Call(4, 4, bias=True)]
    report = check(adapters.jax_attention, backward=autograd(adapters.jax_attention), dialect=dialect, calls=some)
    assert report.counts == {"pass": 7, "fail": 0, "unsupported": 1}, report
    assert json.loads(report.to_json())["unsupported"] == {"gradients of queries without keys, which are left open": 1}
