"""Rules of CUDA kernels, each a function of a kernel's promises: what must not be felt, what must, the same bits, arrays of any strides."""
from dataclasses import replace

import numpy as np
from cuda_problems import Problem, expected, judged, within

import sparsevis as sv

__all__ = ["again", "chosen", "empty_rows", "live_infinity", "live_nan", "strides", "unseen", "unseen_gradient"]


def unseen(rung, target, poison, dtype):
    """Rows that may not see the poisoned keys are within the budget of the clean problem; the poison stands in full tiles and cut ones."""
    seen_by_few = sv.Chosen.from_indices([[0, 17] if i % 5 == 0 else [0] for i in range(20)])
    p = Problem(sv.Causal() & (sv.SlidingWindow(4) | seen_by_few), dims=rung.dims[0], dtype=dtype)
    (q, k, v), _ = p.draw()
    bad = [3, 11, 17]
    blind = np.flatnonzero(~p.mask()[:, bad].any(1))
    assert 3 < len(blind) < 17
    want = expected(p, q, k, v, {}, blind)
    {"k": k, "v": v}[target][:, bad] = poison
    o, lse = sv.attention(q, k, v, p.pattern, impl=rung.name, return_lse=True)
    within({"o": o, "lse": lse}, want, blind)


def live_nan(rung, target, dtype):
    """A NaN key spoils whole rows, a NaN value its own component, a NaN query its own row: nothing is swallowed, nothing spreads."""
    p = Problem(sv.mistral(6), dims=rung.dims[0], dtype=dtype)
    (q, k, v), _ = p.draw()
    {"q": q, "k": k, "v": v}[target][:, 9, 0] = np.nan
    o, lse = (x.astype(np.float64) for x in sv.attention(q, k, v, p.pattern, impl=rung.name, return_lse=True))
    rows = p.mask()[:, 9] if target != "q" else np.arange(20) == 9
    want = rows[:, None] & (np.arange(o.shape[-1]) == 0 if target == "v" else True)
    assert (np.isnan(o[0]) == want).all(), f"NaN in o at {np.argwhere(np.isnan(o[0]) != want)[:3].tolist()}: too many, or missing"
    assert (np.isnan(lse[0]) == (rows if target != "v" else False)).all()


def live_infinity(rung, dtype):
    """A score of -inf takes no part, one of +inf is NaN, as in any softmax; an infinite value comes out infinite."""
    p = Problem(sv.Causal(), dims=rung.dims[0], dtype=dtype)
    (q, k, v), _ = p.draw()
    q, rows, later = abs(q), np.arange(20) >= 4, slice(1, None)
    without = p.mask()
    without[:, [0, 4]] = False
    want = expected(replace(p, pattern=sv.Chosen.from_mask(without)), q, k, v, {}, later)
    k[:, [0, 4]] = -np.inf
    o, lse = sv.attention(q, k, v, p.pattern, impl=rung.name, return_lse=True)
    within({"o": o, "lse": lse}, want, later)
    assert (lse[:, 0] == -np.inf).all()
    assert np.isnan(o[:, 0]).all() or not rung.exact                 # a row that sees scores of -inf alone
    (_, k, _), _ = p.draw()
    k[:, 4] = np.inf
    o = sv.attention(q, k, v, p.pattern, impl=rung.name)
    assert (np.isnan(o[0].astype(np.float64)) == rows[:, None]).all()
    if rung.exact:
        (q, k, v), _ = p.draw()
        v[:, 4, 1] = np.inf
        o = sv.attention(q, k, v, p.pattern, impl=rung.name)
        assert (np.isposinf(o[0]) == (rows[:, None] & (np.arange(o.shape[-1]) == 1))).all()
        assert not np.isnan(o).any()


def empty_rows(rung, dtype):
    """Decided by the pattern, not by scores: 0 and -inf though every number is NaN."""
    p = Problem(sv.Causal() - sv.SlidingWindow(4), dims=rung.dims[0], dtype=dtype)
    q, k, v = (np.full_like(x, np.nan) for x in p.draw()[0])
    o, lse = sv.attention(q, k, v, p.pattern, impl=rung.name, return_lse=True)
    assert (o[:, :5] == 0).all() or not rung.exact
    assert (lse[:, :5] == -np.inf).all()
    assert np.isnan(o[:, 5:].astype(np.float64)).all()


def again(rung, dtype):
    p = Problem(sv.mistral(9), heads=2, dims=rung.dims[0], dtype=dtype)
    first = judged(rung, p)
    assert [x.tobytes() for x in judged(rung, p)] == [x.tobytes() for x in first]


def strides(rung, dtype):
    """(n, heads, d) seen as (heads, n, d), queries from back to front, every second key."""
    p = Problem(sv.mistral(9), nk=40, heads=2, kv_heads=2, dims=rung.dims[0], dtype=dtype)
    (q, k, v), _ = p.draw()
    q, v = np.ascontiguousarray(q.swapaxes(0, 1)).swapaxes(0, 1)[:, ::-1], v[:, ::2]
    o, lse = sv.attention(q, k[:, ::2], v, p.pattern, impl=rung.name, return_lse=True)
    within({"o": o, "lse": lse}, expected(replace(p, nk=20), q, k[:, ::2], v, {}))


def chosen(rung):
    (q, k, v), _ = Problem(None, dims=rung.dims[0], dtype=rung.dtypes[-1]).draw()
    o, info = sv.attention(q, k, v, impl="cuda", return_info=True)
    assert info.impl == rung.name or (info.impl, rung.name) == ("cuda_wgmma", "cuda_mma"), f"impl='cuda' took {info}"
    assert (o == sv.attention(q, k, v, impl=info.impl)).all()


def unseen_gradient(rung):
    """It changes no gradient, and has none."""
    mask = np.tri(20, dtype=bool)
    mask[:, 7] = False
    p = Problem(sv.Chosen.from_mask(mask), dims=rung.dims[0], dtype=rung.dtypes[0])
    (q, k, v), _ = p.draw()
    do = np.random.default_rng(1).standard_normal((1, 20, p.dims[1])).astype(q.dtype)
    want = expected(p, q, k, v, {}, do=do)
    k[:, 7], v[:, 7] = np.nan, np.inf
    dq, dk, dv = sv.attention_grad(do, q, k, v, p.pattern, impl=rung.name)
    within({"dq": dq, "dk": dk, "dv": dv}, want)
    assert not dk[:, 7].any()
    assert not dv[:, 7].any()
