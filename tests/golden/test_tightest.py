"""The tightest model that passes: kernels that round as they say, less, and more."""

from dataclasses import replace

import numpy as np
import pytest

import sparsevis as sv
from sparsevis.golden import Call, Dialect, Model, check
from sparsevis.golden.model import tighter, weaker
from tests.golden.mutants import BACKWARD, variant

SOME = [Call(33, 33, right=0), Call(20, 60), Call(9, 40, left=8, right=0), Call(12, 19, kv_heads=2, group=2)]
OURS = Dialect(axes="bhnd", mask_axes=4)


def whole(q, k, v, mask=None, p=None, stored=np.float32):
    """Whole rows in float32, P in another dtype where one is said."""
    k, v = (np.repeat(x, len(q) // len(k), 0) for x in (k, v))
    s = q.astype(np.float32) @ np.swapaxes(k, -1, -2).astype(np.float32) * np.float32(q.shape[-1] ** -0.5)
    s = s if mask is None else np.where(mask, s, np.float32(-np.inf))
    e = np.exp(s - s.max(-1, keepdims=True))
    l = e.sum(-1, keepdims=True)
    e = e if p is None else e.astype(p).astype(np.float32)
    return (e @ v.astype(np.float32) / l).astype(stored)


def said(fn, **options):
    return check(fn, calls=SOME, shrink=False, **options).tightest


def test_the_reference_rounded_once_is_the_tightest():
    words, model, calls = said(lambda q, k, v, mask=None: sv.reference.attention(q, k, v, mask)[0].astype(np.float32))
    assert (words, calls) == ("sums in float64", 4)
    assert model == Model(acc="float64", tile=None)


def test_float32_is_told_from_float64():
    words, model, _ = said(whole)
    assert words.startswith("sums in steps of 16")
    assert model.acc == "float32"


@pytest.mark.parametrize(
    ("options", "words"), [({"p": np.float16}, "P rounded to float16"), ({"stored": np.float16}, "o stored in float16")]
)
def test_a_hidden_rounding_is_what_has_to_be_declared(options, words):
    hidden = lambda q, k, v, mask=None: whole(q, k, v, mask, **options)
    assert not check(hidden, calls=SOME, shrink=False).ok
    found, model, _ = said(hidden)
    assert found == words
    assert check(hidden, calls=SOME, model=model).ok


def test_halves_whose_p_is_not_rounded():
    words, model, _ = said(lambda q, k, v, mask=None: whole(q, k, v, mask, stored=np.float16), dtype="float16")
    assert words in ("sums in float64", "sums in steps of 16, one softmax a row, P not rounded")  # stored in halves, both look alike
    assert model.p is None


def test_a_mistake_is_no_matter_of_rounding():
    assert said(lambda q, k, v, mask=None: whole(q, k, v)) is None
    assert said(lambda q, k, v: None) is None  # nothing was judged
    assert "tightest" not in str(check(lambda q, k, v, mask=None: whole(q, k, v), calls=SOME, shrink=False))


def test_gradients_are_explained_by_weaker_arithmetic():
    line, instead, _ = BACKWARD["ds in half"]
    forward, backward = variant((line, instead), part="backward")
    report = check(forward, backward=backward, dialect=OURS, calls=SOME, shrink=False)
    assert report.diagnosis[0][0] == "weaker arithmetic than declared: P or dS rounded to float16"
    assert report.tightest[0] == "P rounded to float16"


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_the_ladder_is_one(dtype):
    """Every tighter model allows less, every weaker one more, somewhere; and none is the declared one."""
    dtype = np.dtype(dtype)
    declared = Model.of(dtype)
    p = sv.golden.cases.Problem.of(Call(20, 60), dtype)
    errors = lambda model: sv.golden.expect(p.q, p.k, p.v, model=model, do=p.do, **p.options()).errors
    now = errors(declared)
    for words, change in tighter(dtype).items():
        assert all((errors(replace(declared, **change))[x] <= now[x]).all() for x in now), words
    for words, change in weaker(dtype).items():
        model = replace(declared, **change)
        if model != declared:
            assert any((errors(model)[x] > now[x]).any() for x in now), words
