"""What the runner does with peers that are right, wrong, slow, greedy or missing; none of them is real."""

import json
from dataclasses import replace
from time import sleep

import numba
import numpy as np
import pytest

from sparsevis.bench import Work, measure

from .fakes import TINY, off_by, peer, raising, right


def rows_of(*peers, case=TINY, **options):
    (found,) = measure([case], peers=peers, threads=1, **{"rounds": 2, **options})["cases"]
    return {row["peer"]: row for row in found["rows"]}


def test_result_is_plain_data():
    result = measure([TINY, replace(TINY, name="again")], peers=[peer("a"), peer("b", off_by(np.nan))], rounds=2, threads=1)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert [case["name"] for case in result["cases"]] == ["tiny", "again"]
    assert result["machine"]["threads"] == 1
    assert result["settings"] == {"rounds": 2, "budget": 3.0, "memory_limit": 4 << 30}
    case = result["cases"][0]
    assert (case["pairs"], case["input_bytes"], case["pattern"], case["goals"]) == (2 * 24 * 25 // 2, 3 * 2 * 24 * 4 * 4, "Causal()", [])


def test_wrong_results_are_reported_and_not_timed():
    rows = rows_of(peer("a"), peer("off", off_by(0.5)), peer("nan", off_by(np.nan)), peer("b"))
    assert set(rows["off"]) == {"peer", "skipped", "wrong"}
    assert rows["off"]["wrong"]
    assert rows["off"]["skipped"].startswith("wrong: off by 0.5, where rounding explains ")
    assert rows["nan"]["skipped"].startswith("wrong: off by nan, ")
    assert rows["a"]["rounds"] == rows["b"]["rounds"] == 2


def test_without_the_first_the_others_are_compared_with_the_next():
    rows = rows_of(peer("wrong", off_by(0.5)), peer("a"), peer("b"))
    assert rows["wrong"]["wrong"]
    assert rows["a"]["ratio"] == 1
    assert rows["b"]["error"] == 0


def test_whoever_raises_is_skipped_and_says_why():
    rows = rows_of(peer("a"), peer("bug", raising(KeyError("x"))), peer("no", raising(NotImplementedError("not yet\nmore"))))
    assert rows["bug"] == {"peer": "bug", "skipped": "KeyError: 'x'", "failed": True}
    assert rows["no"] == {"peer": "no", "skipped": "NotImplementedError: not yet", "failed": False}


def test_who_sits_out_is_not_even_prepared():
    never = raising(AssertionError("prepared"))
    rows = rows_of(
        peer("a"), peer("greedy", never, needs=lambda case: 100 * case.n), peer("absent", never, modules=("no_such_library",)),
        peer("slow", never, most=599), memory_limit=2399,
    )  # fmt: skip
    assert rows["greedy"]["skipped"] == "would take about 0.0 GiB, and the limit is 0.0 GiB"
    assert rows["absent"]["skipped"] == "no_such_library is not installed: pip install no_such_library"
    assert rows["slow"]["skipped"] == "too slow for more than 0 million pairs"
    assert "skipped" not in rows_of(peer("a"), peer("greedy", needs=lambda case: 100 * case.n), memory_limit=2400)["greedy"]


def test_who_was_not_asked_and_who_cannot_is_not_listed():
    assert list(rows_of(peer("a"), peer("b"), case=replace(TINY, peers=("b",)))) == ["b"]
    assert rows_of(peer("a"), case=replace(TINY, kind="backward")) == {}


def test_preparing_and_compiling_take_nothing_from_the_rounds():
    def slow_to_start(x):
        sleep(0.06)
        work, calls = right(x), []

        def call():
            if not calls:
                sleep(0.06)
            calls.append(1)
            return work.call()

        return Work(call)

    row = rows_of(peer("a", slow_to_start, compiles=True), rounds=3, budget=0.05)["a"]
    assert row["rounds"] == 3
    assert row["prepare_seconds"] >= 0.06
    assert row["first_seconds"] >= 0.06 > row["seconds"]


def test_rounds_are_interleaved():
    said = []

    def saying(name):
        return lambda x: Work(lambda: said.append(name) or right(x).call())

    rows_of(peer("a", saying("a")), peer("b", saying("b")), rounds=3)
    assert "".join(said) == "ab" + "ab" + "ba" + "ab"  # the check, and three rounds


def test_a_slow_peer_takes_part_in_fewer_rounds():
    rows = rows_of(peer("a"), peer("slow", lambda x: Work(lambda: sleep(0.02) or right(x).call())), rounds=4, budget=0.03)
    assert (rows["a"]["rounds"], rows["slow"]["rounds"]) == (4, 2)
    assert rows["slow"]["ratio"] > 1


def test_memory_of_a_call_is_without_its_result():
    def greedy(x):
        return Work(lambda: right(x).call() + 0 * np.ones(1 << 24)[0])

    rows = rows_of(peer("a"), peer("greedy", greedy), case=replace(TINY, n=16, heads=1, d=1 << 18))  # results of 16 MiB
    if rows["a"]["call_bytes"] is None:
        pytest.skip("only Linux tells how much memory was resident at the highest")
    assert rows["a"]["call_bytes"] < 1 << 22
    assert rows["greedy"]["call_bytes"] > 100 << 20  # of 128, less what earlier calls left to reuse
    assert rows["greedy"]["of_inputs"] == (rows["greedy"]["call_bytes"] + rows["greedy"]["prepare_bytes"]) / (3 << 24)


def test_what_is_loaded_late_counts_neither():
    begun = []

    def late(x):
        if not begun:
            sleep(0.1)
        begun.append(1)
        return right(x)

    assert rows_of(peer("a", late))["a"]["prepare_seconds"] < 0.1
    assert len(begun) == 2


def test_threads_are_as_before():
    before = numba.config.NUMBA_NUM_THREADS
    numba.set_num_threads(before)
    result = measure([TINY], peers=[peer("a", lambda x: Work(right(x).call) if numba.get_num_threads() == 1 else None)], threads=1)
    assert "ratio" in result["cases"][0]["rows"][0]
    assert numba.get_num_threads() == before


def test_every_case_is_shown_as_it_is_done(capsys):
    measure([TINY, replace(TINY, name="again")], peers=[peer("a")], rounds=1, threads=1, show=lambda case: f"<{case['name']}>")
    assert capsys.readouterr().out == "<tiny>\n<again>\n"
