"""The error budget: the reference in exact arithmetic stays inside it, lawful kernels do, and a single hidden rounding does not."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from sparsevis.golden import Model, compare, expect
from sparsevis.golden.cases import VALUES, Call, Problem
from sparsevis.golden.compare import ratios
from tests.golden import kernel
from tests.oracles import decimals

FINITE = [name for name in VALUES if not name.startswith("nan")]


def results(problem, **change):
    """(got, expected) of the tiled kernel, forward and backward."""
    options = problem.options()
    with np.errstate(all="ignore"):
        o, lse = kernel.forward(problem.q, problem.k, problem.v, **options)
        grads = kernel.backward(problem.do, problem.q, problem.k, problem.v, o=o, lse=lse, dlse=problem.dlse, **options)
    model = replace(Model.of(problem.q.dtype), **change)
    want = expect(problem.q, problem.k, problem.v, model=model, do=problem.do, dlse=problem.dlse, **options)
    return dict(zip(("o", "lse", "dq", "dk", "dv"), (o, lse, *grads), strict=True)), want


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("values", FINITE)
def test_a_right_kernel_stays_inside(values, dtype):
    for seed in range(3):
        call = Call(23, 37, d=8, dv=5, kv_heads=2, group=2, left=20, right=0, values=values, seed=seed, bias=seed == 1, sinks=seed == 2)
        got, want = results(Problem.of(call, dtype))
        assert compare(got, want)[0].ratio <= 1, compare(got, want)[0]


@pytest.mark.parametrize("values", ["normal", "large logits", "equal keys", "cancelling", "rising", "one sign", "far below zero"])
def test_the_reference_is_inside_its_own_budget_judged_in_60_digits(values):
    call = Call(5, 7, d=3, dv=3, left=4, right=1, values=values, offset=1)
    p = Problem.of(call, "float32")
    q, k, v, do, dlse = (x[0, 0].astype(float) for x in (p.q, p.k, p.v, p.do, p.dlse))
    model = Model(acc="float64", out="float64", lse="float64", tile=None)
    want = expect(q, k, v, p.mask, model=model, do=do, dlse=dlse)
    scale = q.shape[1] ** -0.5
    exact = decimals.attention(q, k, v, p.mask, scale=scale) + decimals.attention_grad(do, q, k, v, p.mask, scale=scale, dlse=dlse)
    for (name, value), truth in zip(want.values.items(), exact, strict=True):
        truth = np.array(truth, object).reshape(value.shape)
        error = np.vectorize(lambda a, b: abs(float(Decimal(float(a)) - b)))(value, truth)
        assert (error <= want.errors[name]).all(), (name, np.max(error / want.errors[name]))
        assert (want.errors[name] <= 1e-9 * (1 + np.abs(value).max())).all()  # a budget that allows anything proves nothing


@pytest.mark.parametrize(("field", "value"), [("p", "float16"), ("out", "float16"), ("score", "float16"), ("operand", "tf32")])
def test_a_declared_rounding_widens_the_budget(field, value):
    p = Problem.of(Call(9, 30), "float32")
    wide = expect(p.q, p.k, p.v, model=Model(**{field: value})).errors["o"]
    narrow = expect(p.q, p.k, p.v, model=Model()).errors["o"]
    assert (wide > narrow).all()
    assert np.median(wide / narrow) > 5


def test_a_hidden_rounding_of_the_probabilities_is_seen():
    p = Problem.of(Call(40, 97, d=16, dv=16, kv_heads=2), "float32")
    options = p.options()
    rounded = dict(vars(kernel), store=lambda x, dtype: np.asarray(x).astype(np.float16).astype(np.float32))
    hidden = type(kernel.forward)(kernel.forward.__code__, rounded, "forward", kernel.forward.__defaults__)
    hidden.__kwdefaults__ = kernel.forward.__kwdefaults__
    want = expect(p.q, p.k, p.v, model=Model(), **options)
    assert ratios(hidden(p.q, p.k, p.v, **options)[0], want.values["o"], want.errors["o"]).max() > 2
    assert ratios(kernel.forward(p.q, p.k, p.v, **options)[0], want.values["o"], want.errors["o"]).max() < 0.5
    declared = expect(p.q, p.k, p.v, model=Model(p="float16"), **options)
    assert ratios(hidden(p.q, p.k, p.v, **options)[0], declared.values["o"], declared.errors["o"]).max() <= 1


@pytest.mark.parametrize(
    ("n", "exceeds"),
    [(64, [3.5, 6.2, 6.9]), (256, [0.97, 2.6, 3.9]), (1024, [0.12, 0.53, 1.6]), (4096, [0.02, 0.12, 0.65])],
)  # fmt: skip
def test_what_the_page_says_of_hidden_roundings(n, exceeds):
    """The table of docs/golden-budget.md: P secretly in float16, by three declarations of how sums are formed."""
    rng, f32, d = np.random.default_rng(0), np.float32, 64
    q, k, v = (rng.standard_normal((m, d)).astype(f32) for m in (64, n, n))
    s = (q @ k.T) * f32(d**-0.5)
    e = np.exp(s - s.max(-1, keepdims=True))
    o = (e.astype(np.float16).astype(f32) @ v) / e.sum(-1, keepdims=True)
    for model, said in zip((Model(), Model(tile=128), Model(step=16, tile=128)), exceeds, strict=True):
        want = expect(q, k, v, model=model)
        assert ratios(o, want.values["o"], want.errors["o"]).max() == pytest.approx(said, rel=0.1, abs=0.006)
        assert ratios((e @ v) / e.sum(-1, keepdims=True), want.values["o"], want.errors["o"]).max() < 0.02


def test_rows_without_keys_have_no_budget():
    p = Problem.of(Call(6, 3, right=0), "float32")
    want = expect(p.q, p.k, p.v, do=p.do, dlse=p.dlse, **p.options())
    for name in ("o", "lse", "dq"):
        assert (want.errors[name][0, 0, :3] == 0).all()
        assert (want.errors[name][0, 0, 3:] > 0).all()


def test_one_allowed_key_leaves_only_storage():
    """o is v itself: the score's error cancels."""
    p = Problem.of(Call(9, 9, left=0, right=0, values="large logits"), "float32")
    want = expect(p.q, p.k, p.v, **p.options())
    assert (want.errors["o"] <= 12 * 2.0**-24 * np.abs(p.v) + 1e-36).all()


def test_nan_where_forbidden_is_not_felt_by_the_budget():
    call = Call(8, 33, left=3, right=0)
    clean, dirty = (Problem.of(replace(call, values=x), "float32") for x in ("normal", "nan where forbidden"))
    for name, error in expect(clean.q, clean.k, clean.v, **clean.options()).errors.items():
        assert np.array_equal(error, expect(dirty.q, dirty.k, dirty.v, **dirty.options()).errors[name])


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_zero_sizes(shape):
    p = Problem.of(Call(*shape, kv_heads=2, group=3), "float32")
    want = expect(p.q, p.k, p.v, do=p.do, dlse=p.dlse, **p.options())
    assert {x: e.shape for x, e in want.errors.items()} == {x: y.shape for x, y in want.values.items()}
    assert not any(e.any() for e in want.errors.values())


def test_ratios():
    inf, nan = np.inf, np.nan
    got = ratios([1.0, nan, 1.0, inf, -inf, 0.0, 1e-9], [1.5, nan, nan, inf, inf, 0.0, 0.0], np.array([1.0, 1, 1, 1, 1, 0, 0]))
    assert got.tolist() == [0.5, 0, inf, 0, inf, 0, inf]


def test_a_model_refuses_unknown_dtypes():
    with pytest.raises(ValueError, match="acc='fp32', and needs one of"):
        Model(acc="fp32")
    with pytest.raises(ValueError, match="p='half'"):
        Model(p="half")
