"""Drawn calls: a mistake that no list holds is found and made small; numbers that have to change together do."""

import sys

import pytest

import sparsevis as sv
from sparsevis.golden import Call, Dialect, calls, check, search
from sparsevis.golden.call import Problem
from sparsevis.golden.check import judge_of
from sparsevis.golden.search import calls_of

hypothesis = pytest.importorskip("hypothesis")


def right(q, k, v, mask=None, scale=None):
    return sv.reference.attention(q, k, v, mask, scale=scale)[0]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Small calls, which are quickly asked."""
    for name, most in {"nq": 6, "nk": 60, "d": 6, "dv": 6}.items():
        monkeypatch.setitem(sys.modules["sparsevis.golden.search"].LARGEST, name, most)


def test_a_right_kernel():
    report = search(right, seconds=1.0)
    assert report.ok, report
    assert report.level == "search"
    assert len(report.outcomes) >= 20
    assert report.smallest is None


def test_a_mistake_between_the_lists():
    def at_53_keys(q, k, v, mask=None, scale=None):
        return right(q, k, v, mask, scale) * (1.5 if k.shape[-2] > 52 and q.shape[-2] % 2 else 1)

    assert {call.nk for some in calls("quick").values() for call in some if call.nk > 52 and call.nq % 2} == set()
    report = search(at_53_keys, seconds=60)
    assert report.exit_code == 1
    assert (report.smallest.call.nq, report.smallest.call.nk) == (1, 53)
    assert report.diagnosis


def test_draws_make_sense_and_differ():
    """Every drawn call has arrays; features that the kernel does not take are not drawn."""
    drawn, judge = [], judge_of(lambda q, k, v, *, mask, softcap=None: None)

    @hypothesis.settings(max_examples=120, database=None, deadline=None, derandomize=True)
    @hypothesis.given(calls_of(hypothesis.strategies, judge))
    def draw(call):
        drawn.append(call)
        assert Problem.of(call, "float32").q.shape[2] == call.nq

    draw()
    assert len({repr(c) for c in drawn}) > 60
    assert any(c.softcap for c in drawn)
    assert not any(c.sinks or c.bias or c.scale is not None or c.batch > 1 for c in drawn)
    assert any(c.lengths for c in drawn)
    assert any(c.seen for c in drawn)
    assert any(c.pattern is not None for c in drawn)


def test_equal_seeds_draw_equal_calls():
    one, two, other = ([o.call for o in search(right, seconds=0.1, seed=seed).outcomes][:20] for seed in (3, 3, 4))
    assert one == two != other


def test_numbers_that_change_together():
    """nk = 3 nq - 3: no number alone can be made smaller."""

    def together(q, k, v, mask=None):
        return right(q, k, v, mask) * (1.5 if q.shape[-2] * 3 - 3 == k.shape[-2] else 1)

    small = check(together, calls=[Call(10, 27, right=0)]).smallest.call
    assert small.nq * small.nk < 10 * 27
    assert small.nk == 3 * small.nq - 3


def test_shrinking_does_without_hypothesis(monkeypatch):
    from sparsevis.golden import shrink

    monkeypatch.setattr(shrink, "find_spec", lambda name: None)
    wrong = lambda q, k, v, *, scale=None: right(q, k, v, scale=None)
    assert check(wrong, dialect=Dialect(), calls=[Call(33, 33, scale=0.3)]).smallest.call == Call(1, 2, scale=0.3)


