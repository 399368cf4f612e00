"""The certificate: every element of the reference is proven to lie within the float64 error budget of its inputs.

    python -m tests.oracles.test_balls          all adversarial calls, one after the other: minutes

The largest share of a budget in use, 2026-12: o 0.19, lse 0.18, dq 0.07, dk 0.08, dv 0.12, over 404 adversarial calls (27,018 rows).
"""

import numpy as np
import pytest

from . import balls, decimals, kit
from .problems import NAMES

pytest.importorskip("flint", reason='python-flint is not installed: pip install python-flint')


def shares(call):
    """{result: the largest part of its budget that the reference uses}; None where that is not proven to be at most 1."""
    p, mask, want = kit.wanted(call)
    found = {name: [] for name in NAMES}
    for b in range(call.batch):
        gradients = {"dk": {}, "dv": {}}
        for h in range(p.q.shape[1]):
            arrays, features = kit.head(p, mask, b, h)
            o, lse = balls.attention(*arrays, **features)
            dq, dk, dv = balls.attention_grad(p.do[b, h], *arrays, **features, dlse=p.dlse[b, h])
            for name, truth in (("o", o), ("lse", lse), ("dq", dq)):
                found[name].append(balls.share(want.values[name][b, h], truth, want.errors[name][b, h]))
            for name, truth in (("dk", dk), ("dv", dv)):
                total = gradients[name]
                total[h // call.group] = total[h // call.group] + truth if h // call.group in total else truth
        for name, total in gradients.items():
            found[name] += [balls.share(want.values[name][b, g], x, want.errors[name][b, g]) for g, x in total.items()]
    return {name: None if None in some else max(some, default=0.0) for name, some in found.items()}


@pytest.mark.parametrize("level", ["quick", "full", "adversarial"])
def test_every_call_of_the_kit_is_certified(level):
    for family, call in kit.asked(level, every={"quick": 3, "full": 5, "adversarial": 7}[level]):
        found = shares(call)
        assert None not in found.values(), (family, call, found)
        assert max(found.values()) < 0.25, (family, call, found)                   # and the budget is not loose by luck: see below


def test_ten_thousand_random_rows_are_certified():
    rng, rows = np.random.default_rng(0), 0
    worst = dict.fromkeys(("o", "lse"), 0.0)
    while rows < 10_000:
        nq, nk, d, dv = rng.integers((100, 1, 1, 1), (300, 24, 12, 6))
        q, k, v = (10 ** rng.uniform(-2, 1) * rng.standard_normal(shape) for shape in ((nq, d), (nk, d), (nk, dv)))
        mask = rng.random((nq, nk)) < rng.uniform(0.2, 1)
        features = {"softcap": rng.choice([None, 2.0]), "scale": rng.choice([None, 0.3])}
        want = kit.expect(q, k, v, mask, model=kit.Model.of("float64"), **features)
        for name, truth in zip(worst, balls.attention(q, k, v, mask, **features), strict=True):
            found = balls.share(want.values[name], truth, want.errors[name])
            assert found is not None, (nq, nk, d, dv, features)
            worst[name] = max(worst[name], found)
        rows += nq
    assert 0.02 < min(worst.values()), worst                                       # a bound that nothing comes near would prove little


def test_a_wrong_digit_is_not_certified():
    """The comparison can fail: beyond the budget by a hundredth, a NaN, a number where the lse is -inf, the other way round."""
    q, k, v = np.ones((1, 2)), np.ones((3, 2)), np.arange(3.0)[:, None]
    o, lse = balls.attention(q, k, v)
    error = np.full((1, 1), 1e-15)
    assert balls.certified(np.array([[1.0]]), o, error)
    assert not balls.certified(np.array([[1 + 1.01e-12]]), o, 1e3 * error)
    assert balls.certified(np.array([[1 + 0.99e-12]]), o, 1e3 * error)
    assert not balls.certified(np.array([[np.nan]]), o, error)
    empty = balls.attention(q, k, v, np.zeros((1, 3), bool))[1]
    assert balls.certified(np.array([-np.inf]), empty, error[0])
    assert not balls.certified(np.array([-1e30]), empty, error[0])
    assert not balls.certified(np.array([-np.inf]), lse, error[0])


def test_balls_hold_the_decimals():
    """Two oracles that share no code: every 60-digit result lies in its ball, softcap, bias, sink and gradients included."""
    rng = np.random.default_rng(1)
    q, k, v, do = (rng.standard_normal(shape) for shape in ((3, 2), (5, 2), (5, 3), (3, 3)))
    features = {"allowed": rng.random((3, 5)) < 0.7, "scale": 0.4, "softcap": 1.5, "bias": rng.standard_normal((3, 5)), "sink": 0.25}
    dlse = rng.standard_normal(3)
    one = balls.attention(q, k, v, **features) + balls.attention_grad(do, q, k, v, **features, dlse=dlse)
    other = decimals.attention(q, k, v, **features) + decimals.attention_grad(do, q, k, v, **features, dlse=dlse)
    from flint import arb

    with balls.precision():
        for ball, decimal in zip(one, other, strict=True):
            for x, y in zip(np.ravel(ball), np.ravel(np.array(decimal, object)), strict=True):
                near = arb(str(y))
                assert near.overlaps(x + arb(0, 1e-55) * (1 + abs(x)))
                assert float(x.rad()) < 1e-40


def main():
    worst, rows, some = dict.fromkeys(NAMES, 0.0), 0, kit.asked("adversarial")
    for family, call in some:
        found = shares(call)
        if None in found.values():
            raise AssertionError(f"{family}: {call!r}: not proven: {found}")
        worst = {name: max(x, found[name]) for name, x in worst.items()}
        rows += call.batch * call.kv_heads * call.group * call.nq
    print(f"{len(some)} calls, {rows:,} rows: {', '.join(f'{name} {x:.2f}' for name, x in worst.items())}")


if __name__ == "__main__":
    main()
