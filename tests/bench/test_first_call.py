import os

import pytest

from sparsevis.bench import CASES, PEERS, first_call, measure

FAKE = """
import os, pathlib
cached = list(pathlib.Path(os.environ["FAKE_CACHE"]).iterdir())
(pathlib.Path(os.environ["FAKE_CACHE"]) / "code").write_text("compiled")
print(0, 1, 1.5, 2) if cached else print(0, 1, 6, 16)
"""


def test_once_with_nothing_cached_and_then_with_what_that_left(monkeypatch):
    monkeypatch.setitem(first_call.CODE, "fake", ("FAKE_CACHE", FAKE))
    cold, warm = first_call.first_calls("fake", repeats=2)
    times = {"import_seconds": 1, "call_seconds": 5, "seconds": 6, "backward_seconds": 10}
    assert cold == {"peer": "fake, nothing cached", "state": "cold", **times}
    times = {"import_seconds": 1, "call_seconds": 0.5, "seconds": 1.5, "backward_seconds": 0.5}
    assert warm == {"peer": "fake, cached", "state": "warm", **times}


def test_a_failure_says_the_last_line(monkeypatch):
    monkeypatch.setitem(first_call.CODE, "cpu", ("FAKE_CACHE", "raise ValueError('no such thing')"))
    with pytest.raises(RuntimeError, match="the first call failed: ValueError: no such thing"):
        first_call.first_calls("cpu")
    case = next(case for case in CASES if case.kind == "first call")
    (row,) = measure([case], peers=PEERS[:1])["cases"][0]["rows"]
    assert row == {"peer": "cpu", "skipped": "the first call failed: ValueError: no such thing", "failed": True}


def test_what_ours_runs():
    row = first_call._run(first_call.CODE["cpu"][1], os.environ)
    assert set(row) == {"import_seconds", "call_seconds", "seconds", "backward_seconds"}
    assert all(x > 0 for x in row.values())
    assert row["seconds"] == pytest.approx(row["import_seconds"] + row["call_seconds"])
