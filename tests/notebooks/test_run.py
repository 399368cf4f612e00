"""Every notebook runs from top to bottom; every check passes on the solution and fails on the stub; and what goes wrong is seen."""

import pytest

pytest.importorskip("jupytext", reason='the course needs jupytext: pip install -e ".[notebook]"')
pytest.importorskip("nbclient", reason='the course needs nbclient: pip install -e ".[notebook]"')
pytest.importorskip("ipykernel", reason='the course needs ipykernel: pip install -e ".[notebook]"')

from nbclient.exceptions import CellExecutionError
from test_build import GOOD

import build
import run

FIGURE = GOOD.replace("assert sv.Causal()", "sv.plots.mask(sv.Causal(), 4)\nassert sv.Causal()")


@pytest.mark.parametrize("source", build.sources(), ids=lambda source: source.stem)
def test_the_course(source):
    book = run.keep(source)
    assert book.metadata["sparsevis"]["seconds"] < run.LIMIT
    checks = [cell for cell in book.cells if "check" in build.tags_of(cell)]
    for cell in checks:
        printed = "".join(x.text for x in cell.outputs if x.output_type == "stream").splitlines()
        assert any(line.startswith("Right: ") for line in printed), f"{cell.source} printed {printed}"
    assert len(checks) == len(build.exercises_of(build.read(source)))


def test_what_was_run_is_the_solution_twin():
    book = run.run(FIGURE)
    assert [cell.source for cell in book.cells] == [cell.source for cell in build.twins(build.read(FIGURE))[1].cells]
    counts = [cell.execution_count for cell in book.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    shown = [x for cell in book.cells if cell.cell_type == "code" for x in cell.outputs if "image/png" in x.get("data", ())]
    assert len(shown) == 1


@pytest.mark.parametrize(("old", "new", "error", "words"), [
    ("number = 3", "number = 4", CellExecutionError, "4 is too large by one"),
    ("number = ...", "number = 3", run.WrongNotebook, "passes on its stub"),
    ("def double(n):\n    ...", "def double():\n    ...", run.WrongNotebook, "fails with TypeError"),
    ("assert sv.Causal()", "import sys\nprint('oh', file=sys.stderr)\nassert sv.Causal()", run.WrongNotebook, "writes to stderr: oh"),
    ("sv.plots.mask(sv.Causal(), 4)\n", "", run.WrongNotebook, "no figure"),
    ("== 10", "== 11", CellExecutionError, "AssertionError"),
])  # fmt: skip
def test_what_goes_wrong_is_seen(old, new, error, words):
    assert FIGURE.count(old) == 1
    with pytest.raises(error, match=words):
        run.run(FIGURE.replace(old, new))


def test_a_notebook_is_run_again_only_if_something_changed(tmp_path, monkeypatch):
    source, runs = tmp_path / "03_a_title.py", []
    source.write_text(GOOD, encoding="utf-8")
    monkeypatch.setattr(run, "KEPT", tmp_path / "kept")

    def as_if_run(source):
        book = build.twins(build.read(source))[1]
        book.metadata["sparsevis"] = {"seconds": 0.1}
        runs.append(source)
        return book

    monkeypatch.setattr(run, "run", as_if_run)
    for _ in range(2):
        run.executed(source)
    assert len(runs) == 1
    source.write_text(GOOD.replace("Say how many", "Say how much"), encoding="utf-8")
    assert any("how much" in cell.source for cell in run.executed(source).cells)
    assert len(runs) == 2
