import pytest

from sparsevis.bench import CASES, PEERS, Goal, Problem, chosen
from sparsevis.bench.cases import MEASURES


def names(*asked, quick=False):
    return [case.name for case in chosen(asked, quick)]


def test_names_are_unique_and_wildcards_choose():
    every = names()
    assert every == [case.name for case in CASES]
    assert len(set(every)) == len(every)
    assert names("causal") == ["causal"]
    assert names("layout-*", "dense") == ["dense", *(name for name in every if name.startswith("layout-"))]


def test_a_quick_run_is_small_and_has_no_goals():
    cases = {case.name: case for case in chosen([], quick=True)}
    assert {case.name for case in CASES if case.small} == set(cases)
    assert {"ladder", "window-256", "dense", "causal-backward"} <= set(cases)
    assert all(case.n <= 1 << 16 and case.heads <= 4 and not case.goals for case in cases.values())


def test_unknown_names():
    with pytest.raises(ValueError, match="no case is called 'denes'; there are ladder, window-256, "):
        chosen(["denes"])
    with pytest.raises(ValueError, match=r"no quick case is called 'million-\*'; there are ladder"):
        chosen(["ladder", "million-*"], quick=True)


def test_what_cases_name_exists():
    assert {name for case in CASES for name in case.peers or ()} <= {peer.name for peer in PEERS}
    assert {goal.measure for case in CASES for goal in case.goals} <= set(MEASURES)
    assert {case.dtype for case in CASES} == {"float16", "float32", "float64"}


@pytest.mark.parametrize(("goal", "met", "missed"), [(Goal("sdpa", 1.5), 1.5, 1.4), (Goal("memory", 0.05), 0.05, 0.06)])
def test_goals(goal, met, missed):
    assert goal.met(met)
    assert not goal.met(missed)


@pytest.mark.parametrize(("kind", "flops"), [("forward", 4), ("backward", 10), ("layout", 0), ("first call", 0)])
def test_work_of_a_pair(kind, flops):
    case = next(case for case in CASES if case.kind == kind)
    assert case.flops_a_pair == flops * 64


def test_pairs_are_those_of_the_mask():
    for case in chosen(["window-256", "dense"], quick=True):
        assert Problem(case).pairs == case.heads * case.pattern.mask(case.n).sum()
