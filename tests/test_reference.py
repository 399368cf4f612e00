"""Judges `sparsevis.reference` by what shares nothing with it: scalar loops, 60-digit decimals, closed forms, laws and complex steps."""

import itertools
import math
import subprocess
import sys
from decimal import Decimal

import ml_dtypes
import numpy as np
import pytest
from oracles import decimals
from oracles.problems import FEATURES, NAMES, U, assert_close, budget, changed, oracle, problem, same_bits

from sparsevis import reference


def run(p):
    """All five results of the reference."""
    return reference.attention(**p.inputs) + reference.attention_grad(p.do, **p.inputs, dlse=p.dlse)


SHAPES = list(itertools.product((0, 1, 2, 7, 13), (0, 1, 2, 7, 13), ("dense", "causal", "holes", "none")))
HEADS = ((1, 1), (2, 1), (3, 1), (7, 1), (2, 2), (4, 2), (6, 2), (6, 3))
DIMS = ((1, 1), (3, 8), (8, 3), (8, 8), (1, 3))


@pytest.mark.parametrize(("seed", "nq", "nk", "mask"), [(n, *shape) for n, shape in enumerate(SHAPES)])
def test_shapes_against_scalar_loops(seed, nq, nk, mask):
    rng = np.random.default_rng(seed)
    (heads, kv_heads), (d, dv) = HEADS[rng.integers(len(HEADS))], DIMS[rng.integers(len(DIMS))]
    p = problem(seed, nq, nk, d, dv, heads, kv_heads, mask, [x for x in FEATURES if rng.random() < 0.5])
    if rng.random() < 0.1:
        p.inputs["scale"] = 0.0
    assert_close(run(p), oracle(p), [2 * err for err in budget(p)])


@pytest.mark.parametrize("chosen", list(itertools.product((False, True), repeat=4)))
def test_options_against_scalar_loops(chosen):
    p = problem(0, features=[x for x, on in zip(FEATURES, chosen, strict=True) if on])
    for call in (p, changed(p, scale=0.0), changed(p, scale=-2.0)):
        assert_close(run(call), oracle(call), [2 * err for err in budget(call)])


def test_budget_is_sharp():
    p = problem(1, 7, 13, features=("bias", "sinks"))                        # values of order one
    assert max(err.max() for err in budget(p)) < 2e-12
    sums = reference.attention(**p.inputs | {"v": np.abs(p.inputs["v"])})[0]
    assert (budget(p)[0] <= 1e-13 * sums + 1e-300).all()


FAMILIES = ("plain", "thousands", "identical", "cancelling", "magnitudes", "rising", "far below zero", "capped")


@pytest.mark.parametrize("family", FAMILIES)
def test_certificate_of_decimals(family):
    p = problem(FAMILIES.index(family), 3, 11, heads=1, kv_heads=1, features=("sinks",) if family == "plain" else ("bias",))
    q, k, v = (p.inputs[x] for x in "qkv")
    if family == "thousands":
        q *= 3000
    elif family == "identical":
        k[:] = k[:, :1]
    elif family == "cancelling":
        v[:] = 1000.0 * (-1) ** np.arange(11)[:, None] + 1e-6 * v
    elif family == "magnitudes":
        v *= 10.0 ** np.linspace(-6, 6, 11)[:, None]
        k *= 10.0 ** np.linspace(-6, 1, 11)[:, None]
    elif family == "rising":
        q[:], k[:] = 30, np.arange(11)[:, None]
    elif family == "far below zero":
        q[:], k[:], p.inputs["bias"][:] = 64, -64, -5e4
    elif family == "capped":
        q *= 20
        p.inputs["softcap"] = 30.0
    options = {name: x[0] if name in ("mask", "bias") else x for name, x in p.inputs.items() if name not in ("q", "k", "v")}
    options["allowed"], options["sink"] = options.pop("mask"), options.pop("sinks", [None])[0]
    truth = decimals.attention(q[0], k[0], v[0], **options) + decimals.attention_grad(p.do[0], q[0], k[0], v[0], **options, dlse=p.dlse[0])
    for results in (run(p), oracle(p)):
        for name, x, true, err in zip(NAMES, results, truth, budget(p), strict=True):
            for got, want, bound in zip(x.ravel(), np.array(true, object).ravel(), err.ravel(), strict=True):
                assert got == want or abs(Decimal(float(got)) - want) <= bound, (name, got, want, bound)


def loss(q, k, v, mask, softcap, bias, sinks, scale, do, dlse):
    """sum(do * o) + sum(dlse * lse), analytic in q, k and v."""
    k, v = (np.repeat(x, len(q) // len(k), axis=0) for x in (k, v))
    s = softcap * np.tanh(scale * q @ k.swapaxes(1, 2) / softcap) + bias
    l = np.where(mask, np.exp(s), 0).sum(-1) + np.exp(sinks)[:, None]       # scores of order one: no maximum is needed
    o = np.where(mask, np.exp(s), 0) @ v / l[..., None]
    return (do * o).sum() + (dlse * np.log(l)).sum()


def test_gradients_against_complex_steps():
    p = problem(3)
    for x, gradient in zip("qkv", run(p)[2:], strict=True):
        steps = np.empty(gradient.shape)
        for at in np.ndindex(gradient.shape):
            moved = p.inputs[x].astype(complex)
            moved[at] += 1e-30j
            steps[at] = loss(**(p.inputs | {x: moved}), do=p.do, dlse=p.dlse).imag / 1e-30
        assert np.abs(gradient - steps).max() <= 1e-13 * np.abs(steps).max()


# Closed forms: nothing but arithmetic done by hand.


def test_zero_queries_read_the_mask_off_the_output():
    mask = np.array([[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 1, 1, 1, 1], [0, 0, 0, 0, 0], [0, 1, 0, 0, 1]], bool)
    o, lse = reference.attention(np.zeros((5, 3)), np.ones((5, 3)), np.eye(5), mask)
    assert np.array_equal(o, [[1, 0, 0, 0, 0], [0.5, 0.5, 0, 0, 0], [0, 0.25, 0.25, 0.25, 0.25], [0] * 5, [0, 0.5, 0, 0, 0.5]])
    assert np.allclose(lse, [0, math.log(2), math.log(4), -math.inf, math.log(2)], rtol=2 * U, atol=0)
    o, lse = reference.attention(np.zeros((1, 3)), np.ones((7, 3)), np.arange(7.0)[:, None])
    assert abs(o.item() - 3) <= 9 * U * 3
    assert math.isclose(lse.item(), math.log(7), rel_tol=2 * U)


def test_values_coded_by_key_and_head():
    v = np.arange(1.0, 5)[:, None] * np.array([1.0, 10, 100])[:, None, None]                       # (3 kv heads, 4 keys, 1)
    o, _ = reference.attention(np.zeros((6, 2, 2)), np.ones((3, 4, 2)), v, np.array([[1, 1, 1, 1], [0, 1, 0, 1]], bool))
    assert np.array_equal(o[..., 0], [[2.5, 3], [2.5, 3], [25, 30], [25, 30], [250, 300], [250, 300]])


def test_one_allowed_key_gives_its_value_exactly():
    p = problem(5, 4, 4, heads=1, kv_heads=1, mask="dense", features=())
    p.inputs["mask"] = np.eye(4, dtype=bool)[[2, 0, 3, 1]]
    o, _, dq, dk, dv = run(p)
    assert np.array_equal(o[0], p.inputs["v"][0, [2, 0, 3, 1]])
    assert np.array_equal(dv[0, [2, 0, 3, 1]], p.do[0])
    p.dlse[:] = 0
    assert_close(run(p)[2:4], (0 * dq, 0 * dk), budget(p)[2:4])             # a softmax of one key does not move


def test_identical_keys():
    p = problem(6, 3, 8, heads=1, kv_heads=1, mask="dense", features=())
    p.inputs["k"][:] = p.inputs["k"][:, :1]
    score = p.inputs["q"][0] @ p.inputs["k"][0, 0] / math.sqrt(3)
    want = np.broadcast_to(p.inputs["v"].mean(1), (1, 3, 4)), score[None] + math.log(8)
    assert_close(run(p)[:2], want, [2 * err for err in budget(p)])


def test_one_hot_scores():
    o, lse = reference.attention(60 * np.eye(4)[[3, 1]], np.eye(4), np.diag([1.0, 2, 3, 4]) + 1, scale=1)
    assert np.array_equal(o, [[1, 1, 1, 5], [1, 3, 1, 1]])                  # the others weigh e^-60 = 9e-27
    assert np.array_equal(lse, [60, 60])


def test_dyadic_weights():
    q, k = np.array([[[math.log(2)]]]), np.array([[[0.0], [1], [2], [0]]])  # weights 1, 2, 4, 1: eighths, sixteenths with a sink of 8
    v = np.array([[[8.0, 1], [4, 2], [2, 3], [-16, 4]]])
    for sinks, parts, bits in ((None, 8, 3), (np.array([math.log(8)]), 16, 4)):
        p = changed(problem(0, 1, 4, 1, 2, 1, 1), q=q, k=k, v=v, mask=None, scale=1.0, sinks=sinks, softcap=None, bias=None)
        want = np.array([[[8 / parts, 21 / parts]]]), np.array([[bits * math.log(2)]])
        assert_close(run(p)[:2], want, [2 * err for err in budget(p)])


# Laws: a change of the inputs whose effect is known.


def test_constant_added_to_all_scores_moves_lse_alone():
    p = problem(7, features=())
    o, lse = reference.attention(**p.inputs)
    for constant in (3.0, -1e4, -5e4, 1e4):
        moved = changed(p, bias=np.full((4, 5, 7), constant))
        assert_close(run(moved)[:2], (o, lse + constant), [2 * err for err in budget(moved)])
        assert same_bits(reference.attention(**p.inputs, bias=np.full((1, 1), constant))[0], run(moved)[0])


def test_linear_in_v():
    p, v = problem(8), problem(9).inputs["v"]
    o, other = run(p)[0], run(changed(p, v=v))[0]
    sums = changed(p, v=2 * np.abs(p.inputs["v"]) + 3 * np.abs(v))
    assert_close(run(changed(p, v=2 * p.inputs["v"] + 3 * v))[:1], (2 * o + 3 * other,), [2 * err for err in budget(sums)])
    assert same_bits(run(changed(p, v=2 * p.inputs["v"]))[0], 2 * o)


def test_permuted_keys():
    p, order = problem(10, nk=13), np.random.default_rng(0).permutation(13)
    permuted = changed(p, **{x: p.inputs[x][:, order] for x in "kv"}, **{x: p.inputs[x][..., order] for x in ("mask", "bias")})
    o, lse, dq, dk, dv = run(p)
    assert_close(run(permuted), (o, lse, dq, dk[:, order], dv[:, order]), [2 * err for err in budget(permuted)])


@pytest.mark.parametrize("more", [1, 3, 20])
@pytest.mark.parametrize("nq", [1, 5])
def test_appended_forbidden_keys_change_nothing(nq, more):
    """What stands in them changes no bit; their number may change the order in which NumPy's product adds, so the budget judges it."""
    p, rng = problem(11, nq=nq, nk=13, mask="causal"), np.random.default_rng(0)

    def longer():
        k, v = (np.concatenate([p.inputs[x], 1000 * rng.normal(size=(2, more, d))], 1) for x, d in (("k", 3), ("v", 4)))
        bias = np.concatenate([p.inputs["bias"], rng.normal(size=(4, nq, more))], -1)
        return run(changed(p, k=k, v=v, bias=bias, mask=np.concatenate([p.inputs["mask"], np.zeros((nq, more), bool)], -1)))

    one, other = longer(), longer()
    for name, x, y in zip(NAMES, one, other, strict=True):
        assert same_bits(x, y), name
        assert name not in ("dk", "dv") or not x[:, 13:].any(), name
    cut = [x[:, :13] if name in ("dk", "dv") else x for name, x in zip(NAMES, one, strict=True)]
    assert_close(cut, run(p), [2 * err for err in budget(p)])


def test_heads_and_batches_do_not_see_each_other():
    parts = [[problem(10 * b + c, features=("softcap", "bias", "sinks")) for c in range(3)] for b in range(2)]
    stack = lambda get: np.array([[get(part) for part in line] for line in parts])
    batched = changed(parts[0][0], **{x: stack(lambda part, x=x: part.inputs[x]) for x in ("q", "k", "v", "mask", "bias")})
    batched.do, batched.dlse = stack(lambda part: part.do), stack(lambda part: part.dlse)
    results = run(batched)
    for at in np.ndindex(2, 3):
        alone = changed(parts[at[0]][at[1]], sinks=batched.inputs["sinks"])
        assert_close([x[at] for x in results], oracle(alone), [2 * err for err in budget(alone)])
    none = changed(batched, **{x: batched.inputs[x][:0] for x in ("q", "k", "v", "mask", "bias")})
    none.do, none.dlse = batched.do[:0], batched.dlse[:0]
    assert [x.shape for x in run(none)] == [(0, *x.shape[1:]) for x in results]
    for x in "qkv":
        batched.inputs[x][1, 2, -1] += 1                                    # the last head of the last batch
    for x, y in zip(run(batched), results, strict=True):
        other = (x != y).reshape(2, 3, x.shape[2], -1).any(-1)
        assert np.argwhere(other).tolist() == ([[1, 2, 2], [1, 2, 3]] if x.shape[2] == 4 else [[1, 2, 1]])


def test_sink_scales_the_output():
    p = problem(12, features=("softcap", "bias"))
    o, lse = run(p)[:2]
    for sinks in (np.array([-8.0, 0, 3, 20]), np.array([-1e3, 1e3, -700, 700])):
        gate = np.exp(-np.logaddexp(0, sinks[:, None] - lse))               # sigmoid(lse - sink); 0 on rows without keys
        error = [3 * err for err in budget(changed(p, sinks=sinks))]        # holds the gate's own error too: T grows with |sink|
        assert_close(run(changed(p, sinks=sinks))[:2], (o * gate[..., None], np.logaddexp(lse, sinks[:, None])), error)
    assert_close(run(changed(p, sinks=np.full(4, -np.inf))), run(p), budget(p))


def test_sums_of_gradients():
    p = problem(13, features=())
    (o, _, dq, dk, dv), (err_o, _, err_dq, err_dk, err_dv) = run(p), [2 * err for err in budget(p)]
    q, k, v, live = *(p.inputs[x] for x in "qkv"), p.inputs["mask"].any(-1)
    group = lambda x: x.reshape(2, -1, x.shape[-1]).sum(1)                  # over the rows of the query heads of one key head
    # The same vector added to all keys moves lse alone (without dlse the rows of dS sum to 0); added to all values, o.
    assert (np.abs(dk.sum(1) - group((p.dlse * live)[..., None] * q) / math.sqrt(3)) <= err_dk.sum(1)).all()
    assert (np.abs(dv.sum(1) - group(p.do * live[..., None])) <= err_dv.sum(1)).all()
    # The scores know q.k alone; o is linear in v.
    q, k, v, do = (np.abs(x) if x is not None else x for x in (q, k, v, p.do))
    total = lambda x: group(x).sum(-1)
    assert (np.abs(total(p.inputs["q"] * dq) - total(p.inputs["k"] * dk)) <= total(q * err_dq) + total(k * err_dk)).all()
    assert (np.abs(total(p.inputs["v"] * dv) - total(p.do * o)) <= total(v * err_dv) + total(do * err_o)).all()


# Rows without keys, NaN and infinities.


@pytest.mark.parametrize("poison", [0.0, np.nan, np.inf])
def test_rows_without_keys(poison):
    p = problem(14)
    for x in (p.inputs["q"], p.inputs["bias"], p.do, p.dlse):
        x[:, 2] = poison                                                    # row 2 of every head attends nothing
    o, lse, dq, dk, dv = run(p)
    assert not o[:, 2].any()
    assert not dq[:, 2].any()
    assert np.array_equal(lse[:, 2], p.inputs["sinks"])
    assert np.array_equal(run(changed(p, sinks=None))[1][:, 2], np.full(4, -np.inf))
    for x in (p.inputs["q"], p.inputs["bias"], p.do, p.dlse):
        x[:, 2] = 1
    assert all(same_bits(x, y) for x, y in zip((o, lse, dq, dk, dv), run(p), strict=True))


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("where", ["k", "v", "bias"])
def test_forbidden_poison_changes_no_bit(where, poison):
    p = problem(15)
    clean = run(p)
    if where == "bias":
        p.inputs["bias"][~p.inputs["mask"]] = poison
    else:
        p.inputs[where][:, 2] = poison                                      # the key that no row attends
    for name, x, y in zip(NAMES, run(p), clean, strict=True):
        assert same_bits(x, y), name
    assert not clean[3][:, 2].any()
    assert not clean[4][:, 2].any()


@pytest.mark.parametrize("where", ["q", "k", "v", "bias", "do", "dlse"])
def test_live_nan_reaches_its_rows_and_nothing_else(where):
    p = problem(17, heads=1, kv_heads=1)
    mask, clean, error = p.inputs["mask"][0], run(p), budget(p)
    key = np.flatnonzero(mask[1])[0]
    table = p.inputs[where] if where in p.inputs else getattr(p, where)
    table[{"q": (0, 1, 1), "k": (0, key, 1), "v": (0, key, 1), "bias": (0, 1, key), "do": (0, 1, 1), "dlse": (0, 1)}[where]] = np.nan
    rows = mask[:, key] if where in "kv" else np.arange(5) == 1
    assert 0 < rows.sum() < mask.any(-1).sum()
    keys = mask[rows].any(0)
    none, one, every, wide = np.zeros(4, bool), np.arange(4) == 1, np.ones(4, bool), np.ones(3, bool)
    o, lse, dv = {"v": (one, False, none), "do": (none, False, one), "dlse": (none, False, none)}.get(where, (every, True, every))
    reached = np.outer(rows, o), rows & lse, np.outer(rows, wide), np.outer(keys, wide), np.outer(keys, dv)
    for name, x, y, err, nan, line in zip(NAMES, run(p), clean, error, reached, (rows, rows, rows, keys, keys), strict=True):
        assert np.array_equal(np.isnan(x[0]), nan), name
        assert same_bits(x[0][~line], y[0][~line]), name                    # of other rows, or keys, no bit
        assert (np.abs(x - y)[0][~nan] <= 2 * err[0][~nan]).all(), name     # of other columns, rounding


def test_live_infinities():
    p = problem(17, heads=1, kv_heads=1)
    mask, (o, lse), error = p.inputs["mask"][0], run(p)[:2], budget(p)
    key = np.flatnonzero(mask[1])[0]
    p.inputs["v"][0, key, 1] = np.inf
    got = reference.attention(**p.inputs)
    reached = np.outer(mask[:, key], np.arange(4) == 1)
    assert np.array_equal(~np.isfinite(got[0][0]), reached)
    assert_close([np.where(reached, 0, got[0]), got[1]], [np.where(reached, 0, o), lse], [2 * err for err in error])
    assert same_bits(got[0][0][~mask[:, key]], o[0][~mask[:, key]])
    # A bias of -inf is a weight of 0 and works as a mask while another key of the row is alive.
    p, lower = problem(18, mask="dense"), np.tri(5, 7, dtype=bool)
    masked, biased = changed(p, mask=lower), changed(p, bias=np.where(lower, p.inputs["bias"], -np.inf))
    assert_close(run(biased), run(masked), [2 * err for err in budget(masked)])
    # No finite score left is 0 / 0, and not a row without keys: those are told by the mask alone.
    assert np.isnan(reference.attention(**changed(p, bias=np.full((5, 7), -np.inf), sinks=None).inputs)[0]).all()


# Arrays of any make.


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16])
def test_narrow_inputs_are_upcast_exactly(dtype):
    p = problem(19, nk=13)
    for x in ("q", "k", "v", "bias"):
        p.inputs[x] = p.inputs[x].astype(dtype)
    wide = changed(p, **{x: p.inputs[x].astype(float) for x in ("q", "k", "v", "bias")})
    p.do, wide.do = p.do.astype(dtype), p.do.astype(dtype).astype(float)
    for x, y in zip(run(p), run(wide), strict=True):
        assert same_bits(x, y)                                              # float64 both


def test_inputs_are_left_alone_and_may_be_views():
    p = problem(20)
    want, before = run(p), {}
    arrays = {x: y for x, y in p.inputs.items() if isinstance(y, np.ndarray)} | {"do": p.do, "dlse": p.dlse}
    for name, x in arrays.items():
        arrays[name] = np.zeros([2 * n for n in x.shape], x.dtype)[tuple(slice(None, None, -2) for _ in x.shape)]
        arrays[name][...] = x
        arrays[name].flags.writeable = False
        before[name] = x.tobytes()
    p.do, p.dlse = arrays.pop("do"), arrays.pop("dlse")
    views = changed(p, **arrays)
    results = run(views)
    assert_close(results, want, [2 * err for err in budget(p)])
    assert all(x.tobytes() == before[name] for name, x in (arrays | {"do": p.do, "dlse": p.dlse}).items())
    assert not any(np.shares_memory(x, y) for x in results for y in arrays.values())


def test_missing_axes_and_broadcast_masks():
    p = problem(21, heads=1, kv_heads=1, features=("softcap", "bias"))
    flat = changed(p, **{x: p.inputs[x][0] for x in ("q", "k", "v", "mask", "bias")})
    flat.do, flat.dlse = p.do[0], p.dlse[0]
    assert_close(run(flat), [x[0] for x in run(p)], [2 * err[0] for err in budget(p)])
    p, rng = problem(22), np.random.default_rng(0)
    for shape in ((7,), (1, 7), (5, 1), (4, 1, 1), (4, 1, 7), (1, 5, 7)):
        mask, bias = rng.random(shape) < 0.5, rng.normal(size=shape)
        full = {"mask": np.broadcast_to(mask, (4, 5, 7)).copy(), "bias": np.broadcast_to(bias, (4, 5, 7)).copy()}
        assert all(same_bits(x, y) for x, y in zip(run(changed(p, mask=mask, bias=bias)), run(changed(p, **full)), strict=True)), shape


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mask", ["dense", "causal"])
def test_naive_is_attention_in_the_dtype_of_its_inputs(dtype, mask):
    p = problem(23, 7, 13, 8, 4, mask=mask, heads=2, features=("scale",))
    for x in "qkv":
        p.inputs[x] = p.inputs[x].astype(dtype)
    o = reference.naive(**p.inputs)
    assert o.dtype == dtype
    u = np.finfo(dtype).eps / 2
    want = run(p)[0]
    assert_close([o.astype(float)], [want], [2 * err for err in budget(p, u=u)])
    if dtype == np.float32:
        assert (o != want.astype(dtype)).any()                              # every step in float32, not a rounded float64 result


def test_shapes_that_do_not_fit_are_refused():
    p = problem(24, features=())
    q, v = p.inputs["q"], p.inputs["v"]
    for x in ({"q": q[:3]}, {"q": q[..., :2]}, {"v": v[:, :6]}, {"v": v[:1]}, {"mask": np.ones((5, 6), bool)}, {"sinks": np.zeros(3)}):
        with pytest.raises(ValueError, match=r"\d"):
            reference.attention(**p.inputs | x)


def test_import_needs_numpy_alone():
    code = "import sys, sparsevis.reference; print(*(x for x in sys.modules if x in ('numba', 'scipy') or x.startswith('sparsevis.')))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["sparsevis.reference"]
