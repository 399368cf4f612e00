"""Sheets of exercises: every exercise of the course can stand on one, marks a right answer as right, and no answer as none."""

import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("jupytext", reason='the course needs jupytext: pip install -e ".[notebook]"')

import nbformat

import sheet

KNOWN = sheet.exercises()


def marked(folder, answers):
    """Run the sheet's test as a teacher does, and return what pytest says."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=short", "test_sheet.py"]
    environment = os.environ | {"ANSWERS": str(folder / answers), "MPLBACKEND": "Agg"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True).stdout


def apart():
    """All exercises, but for those whose answers have the name of another's."""
    names, kept = set(), []
    for name, exercise in KNOWN.items():
        asked = set(sheet._asked(exercise))
        kept += [name] * (not asked & names)
        names |= asked
    return kept


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sheet")
    assert sheet.main([*apart(), "--to", str(folder), "--title", "Everything"]) == 0
    return folder


def test_solutions_are_right(everything):
    said = marked(everything, "solutions.ipynb")
    assert f"{len(apart())} passed" in said, said
    assert len(apart()) > 0.8 * len(KNOWN)


def test_the_sheet_itself_holds_no_answer(everything):
    said = marked(everything, "sheet.ipynb")
    assert f"{len(apart())} failed" in said, said
    assert len(re.findall(r"^E +sparsevis.exercises.NotYet: ", said, flags=re.MULTILINE)) == len(apart())
    text = (everything / "sheet.ipynb").read_text(encoding="utf-8")
    assert text.count("...") >= len(apart())


def test_the_sheet_runs_as_a_notebook(everything):
    book = nbformat.read(everything / "solutions.ipynb", as_version=4)
    names = {}
    for cell in book.cells[:6]:
        if cell.cell_type == "code":
            exec(cell.source, names)
    numbers = [re.match(r"\*\*(\d+)\.\*\*", c.source) for c in book.cells if c.cell_type == "markdown"]
    assert [int(x[1]) for x in numbers if x] == list(range(1, len(apart()) + 1))


def test_one_mistake_costs_no_other_exercise(tmp_path):
    assert sheet.main(["02.1", "02.2", "02.3", "--to", str(tmp_path)]) == 0
    (tmp_path / "answers.py").write_text("""\
keys_of_0 = {0, 1}
keys_of_6 = {4, 5, 6}
1 / 0
def layers_needed(distance, w):
    return -(-distance // (w - 1))
""", encoding="utf-8")  # fmt: skip
    said = marked(tmp_path, "answers.py")
    assert "1 passed" in said
    assert "2 failed" in said
    assert "query 6: 1 missing" in said
    assert "There is no answer" in said


def test_needs_are_found():
    lesson = ["import numpy as np", "a = 1\nb = a + 1\nprint(b)", "table = {}\nfor x in range(3):\n    table[x] = b", "unused = 7"]
    opening, kept = sheet._needs(["def f(q):\n    c = lambda a: a + q\n    return c", "check(f, table)", "from m import check"], lesson)
    assert opening == ["import numpy as np"]
    assert kept == ["a = 1", "b = a + 1", "table = {}", "for x in range(3):\n    table[x] = b"]
    with pytest.raises(ValueError, match="defines gone"):
        sheet._needs(["check(gone)"], ["from m import check"])


def test_errors_for_people(capsys, tmp_path):
    assert sheet.main(["99.1", "--to", str(tmp_path / "a")]) == 2
    assert "no exercise 99.1" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    assert sheet.main([]) == 0
    assert "02.3  How many layers" in capsys.readouterr().out


def test_two_answers_of_one_name(capsys, tmp_path):
    both = [name for name, exercise in KNOWN.items() if "layers_needed" in sheet._asked(exercise)]
    if len(both) < 2:
        pytest.skip("no two exercises of the course ask for the same name")
    assert sheet.main([*both, "--to", str(tmp_path / "a")]) == 2
    assert "both ask for layers_needed" in capsys.readouterr().err
