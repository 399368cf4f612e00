import json
from types import SimpleNamespace

import pytest

from sparsevis.__main__ import main
from sparsevis.bench import CASES, PEERS, command, measure
from sparsevis.bench.command import finish, left_out

from .fakes import TINY, off_by, peer, raising


def test_list_runs_nothing(capsys):
    assert main(["bench", "--list"]) == 0
    out = capsys.readouterr().out
    assert all(case.name in out for case in CASES)
    assert all(peer.what in out for peer in PEERS)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--case", "denes"], "no case is called 'denes'; there are ladder, "),
        (["--quick", "--case", "bigbird"], "no quick case is called 'bigbird'"),
        (["--rounds", "0"], "--rounds is 0, and needs to be more than 0"),
        (["--threads", "-1"], "--threads is -1"),
        (["--budget", "nan"], "--budget is nan"),
        (["--json", "/no/such/folder/x.json"], "/no/such/folder is no folder: make it first"),
        (["--plot", "x.gif"], "x.gif needs to end in .png, .svg or .pdf"),
    ],
)
def test_wrong_input_costs_one_line_and_no_time(capsys, argv, words):
    assert main(["bench", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.startswith("sparsevis bench: ")
    assert err.count("\n") == 1


def result_of(*peers):
    return measure([TINY], peers=peers, rounds=1, threads=1)


@pytest.mark.parametrize(
    ("peers", "code"),
    [
        ([peer("cpu"), peer("b")], 0),
        ([peer("cpu"), peer("b", off_by(0.5))], 1),
        ([peer("cpu", off_by(0.5)), peer("b")], 1),
        ([peer("cpu", raising(ValueError())), peer("b")], 1),
        ([peer("cpu"), peer("b", raising(ValueError()))], 0),  # what others cannot do is theirs
        ([peer("cpu"), peer("b", modules=("no_such_library",))], 0),
    ],
)
def test_exit_code(peers, code, capsys):
    assert finish(result_of(*peers)) == code


def test_json_holds_the_result(tmp_path):
    result = result_of(peer("cpu"), peer("b", off_by(float("nan"))))
    assert finish(result, tmp_path / "x.json") == 1
    assert json.loads((tmp_path / "x.json").read_text()) == result


def test_all_of_it_in_a_process_of_its_own(tmp_path, capfd):
    argv = "bench --quick --case ladder --rounds 1 --threads 1 --budget 0.01".split()
    assert main([*argv, "--json", str(tmp_path / "x.json"), "--plot", str(tmp_path / "x.svg")]) == 0
    out = capfd.readouterr().out
    assert out.startswith("ladder: dense and causal")
    result = json.loads((tmp_path / "x.json").read_text())
    assert result["machine"]["threads"] == 1
    (case,) = result["cases"]
    assert (case["n"], case["goals"]) == (512, [])
    assert "flex 64" not in {row["peer"] for row in case["rows"]}
    assert "How much longer others take" in (tmp_path / "x.svg").read_text()


def test_pools_of_threads_take_their_size_before_a_library_is_loaded(monkeypatch):
    begun = []
    monkeypatch.setattr(command.subprocess, "run", lambda argv, env, check: begun.append((argv, env)) or SimpleNamespace(returncode=7))
    assert main(["bench", "--quick", "--threads", "1"]) == 7
    ((argv, env),) = begun
    assert {env[name] for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")} == {"1"}
    options = json.loads(argv[-1])
    assert (options["threads"], options["budget"], options["quick"], options["json"]) == (1, 1.0, True, None)


def test_a_quick_run_says_what_it_leaves_out():
    assert f"{sum(not case.small for case in CASES)} of {len(CASES)} cases, and flex 64 and flex compiled" in left_out()
