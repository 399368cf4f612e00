import sys
from time import sleep

import numpy as np
import pytest

from sparsevis.bench.clock import grown, interleaved, summary, timed


def test_rounds_take_turns_and_go_back_and_forth():
    said = []
    calls = {name: lambda name=name: said.append(name) for name in "abc"}
    times = interleaved(calls, 3, each_round=lambda: said.append("|"))
    assert "".join(said) == "|abc|cba|abc"
    assert {name: len(t) for name, t in times.items()} == {"a": 3, "b": 3, "c": 3}


def test_a_slow_call_leaves_when_its_budget_is_used_and_the_others_go_on():
    calls = {"quick": lambda: None, "slow": lambda: sleep(0.02)}
    times = interleaved(calls, 5, budget=0.03)
    assert {name: len(t) for name, t in times.items()} == {"quick": 5, "slow": 2}


def test_rounds_end_when_nobody_is_left():
    begun = []
    assert interleaved({}, 5, each_round=lambda: begun.append(1)) == {}
    assert len(interleaved({"slow": lambda: sleep(0.01)}, 5, budget=0.001, each_round=lambda: begun.append(1))["slow"]) == 1
    assert len(begun) < 5


def test_time_of_wall_and_processor_differ():
    wall, cpu = timed(lambda: sleep(0.05))
    assert wall >= 0.05 > cpu


def test_ratio_is_the_median_over_rounds_not_the_ratio_of_medians():
    base = [(1.0, 1.0), (10.0, 10.0), (2.0, 2.0)]
    got = summary([(3.0, 3.0), (40.0, 20.0), (2.0, 4.0)], base)
    assert got == {"seconds": 3.0, "best": 2.0, "ratio": 3.0, "cores": 1.0, "rounds": 3}  # medians: 3 / 2
    assert summary([(3.0, 3.0)], base)["ratio"] == 3.0
    assert summary(base, base)["ratio"] == 1.0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells how much memory was resident at the highest")
def test_memory_is_seen_at_its_highest_even_if_given_back():
    result, seconds, size = grown(lambda: np.ones(1 << 25).sum())
    assert result == 1 << 25
    assert seconds > 0
    assert 0.95 * (1 << 28) < size < 1.5 * (1 << 28)
    assert grown(lambda: None)[2] < 1 << 24
