import re

import pytest

from sparsevis.bench import CASES, PEERS, Goal, goals_table, listing, measure, table
from sparsevis.bench.report import verdicts

from .fakes import TINY, peer

ROWS = [
    {"peer": "cpu", "seconds": 0.5, "ratio": 1.0, "of_peak": 0.8, "of_inputs": 0.25},
    {"peer": "flex 64", "seconds": 1.5, "ratio": 3.0},
    {"peer": "flex 128", "seconds": 1.0, "ratio": 2.0},
    {"peer": "sdpa", "skipped": "torch is not installed: pip install torch"},
]
FIRST = [
    {"peer": "cpu, nothing cached", "state": "cold", "import_seconds": 1.0, "call_seconds": 5.0, "seconds": 6.0, "backward_seconds": 7.0},
    {"peer": "cpu, cached", "state": "warm", "import_seconds": 0.4, "call_seconds": 0.1, "seconds": 0.5, "backward_seconds": 0.1},
    {"peer": "flex 128, nothing cached", "state": "cold", "import_seconds": 1.0, "call_seconds": 9.0, "seconds": 10.0},
]


@pytest.mark.parametrize(
    ("rows", "measure", "value", "bound", "met"),
    [
        (ROWS, "flex", 2.0, 2.0, True),  # its better block size
        (ROWS, "flex", 2.0, 2.1, False),
        (ROWS, "sdpa", None, 1.0, None),
        (ROWS, "peak", 0.8, 0.75, True),
        (ROWS, "seconds", 0.5, 0.4, False),
        (ROWS, "memory", 0.25, 0.25, True),
        (ROWS[1:], "peak", None, 0.5, None),
        ([{**ROWS[0], "skipped": "wrong"}], "seconds", None, 1.0, None),
        (FIRST, "cold", 5.0, 5.0, True),
        (FIRST, "cold backward", 7.0, 5.0, False),
        (FIRST, "warm", 0.5, 0.8, True),
    ],
)
def test_verdicts(rows, measure, value, bound, met):
    assert verdicts({"rows": rows}, [Goal(measure, bound)]) == [{"measure": measure, "bound": bound, "value": value, "met": met}]


def test_goals_of_all_cases():
    case = {"name": "some", "dtype": "float32", "peak": 2.3e11}
    goals = verdicts({"rows": ROWS}, [Goal("flex", 1.5), Goal("sdpa", 1.5), Goal("memory", 0.05)])
    first = {"name": "first", "goals": verdicts({"rows": FIRST}, [Goal("cold", 4)])}
    m = {"processor": "Some CPU", "compiled for": "znver4", "threads": 2, "cores": 4}
    lines = goals_table({"machine": m, "cases": [{**case, "goals": goals}, first]}).splitlines()
    assert [re.split(r"  +", line.strip()) for line in lines] == [
        ["Some CPU (znver4), 2 of 4 cores; multiply-adds: 230 GFLOP/s float32"],
        ["case", "goal", "measured", "met"],
        ["some", ">= 1.50x FlexAttention", "2.00x", "yes"],
        ["some", ">= 1.50x SDPA", "not measured", "-"],
        ["some", "<= 5.0% of the inputs", "25.0%", "no"],
        ["first", "<= 4.0 s for the first call, nothing cached", "5.0", "no"],
    ]
    assert len({line.find(word) for line, word in zip(lines[1:], ("goal", ">=", ">=", "<=", "<="), strict=True)}) == 1
    assert goals_table({"machine": m, "cases": [{**case, "goals": []}]}) == ""


def test_table_shows_what_was_measured():
    (case,) = measure([TINY], peers=[peer("a"), peer("absent", modules=("no_such_library",))], rounds=1, threads=1)["cases"]
    title, heads, row, skipped = table(case).splitlines()
    assert title.startswith("tiny: a case of a test; forward, 2 heads x 24 x 4, float32, 0.0006 million pairs (52.08%); processor ")
    for head in ("time", "ratio", "of peak", "cores", "rounds", "error"):
        assert head in heads
    assert "first call" not in heads
    assert row.split()[0] == "a"
    assert "1.00x" in row
    assert len(row) <= len(heads)
    assert skipped == "  absent: no_such_library is not installed: pip install no_such_library"


def test_table_of_first_calls_and_goals():
    case = {"name": "f", "what": "w", "heads": 1, "n": 64, "d": 64, "dtype": "float32", "rows": FIRST}
    lines = table({**case, "goals": verdicts(case, [Goal("cold", 4)])}).splitlines()
    assert lines[0] == "f: w; 1 head x 64 x 64, float32"
    assert lines[1].split() == ["import", "call", "backward", "time"]
    assert lines[3].split() == ["cpu,", "cached", "400.0", "ms", "100.0", "ms", "100.0", "ms", "500.0", "ms"]
    assert lines[-1] == "  goal <= 4.0 s for the first call, nothing cached: 5.0, no"


def test_listing_names_everything():
    lines = listing(CASES, [*PEERS, peer("absent", modules=("no_such_library",))]).splitlines()
    named = [line.split()[0] for line in lines if line[2:3].strip()]
    assert [name for name in named if name in {case.name for case in CASES}] == [case.name for case in CASES]
    assert lines[-1].endswith("a peer called absent (no_such_library is not installed: pip install no_such_library)")
    assert sum(line.count("= ") for line in lines) == sum(len(case.goals) for case in CASES)
