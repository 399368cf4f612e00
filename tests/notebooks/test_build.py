"""The twins are what their sources make, the sources keep the rules, and each rule finds its breach."""

import json
import re

import pytest

pytest.importorskip("jupytext", reason='the course needs jupytext: pip install -e ".[notebook]"')

import build

GOOD = """\
# %% [markdown]
# # 3. A title

# %%
import numpy as np

import sparsevis as sv

# %%
assert sv.Causal().mask(4).sum() == 10

# %% [markdown]
# **1.** Say how many.

# %% tags=["exercise"]
number = ...

# %% [markdown] tags=["solution"]
# Three.

# %% tags=["solution"]
number = 3

# %% tags=["check"]
sv.check(number, 3)

# %% tags=["exercise"]
def double(n):
    ...

# %% tags=["solution"]
def double(n):
    return 2 * n

# %% tags=["check"]
sv.check(double, lambda n: n + n, at=[1, 7])
"""


def texts(book):
    return [cell.source for cell in book.cells]


def test_the_course_is_in_order():
    assert build.main(["--check"]) == 0


def test_sources_are_numbered_once():
    numbers = [source.name[:2] for source in build.sources()]
    assert numbers
    assert len(set(numbers)) == len(numbers)
    for source in build.sources():
        assert build.read(source)[0].source.startswith(f"# {int(source.name[:2])}. ")


def test_twins():
    learner, solution = build.twins(build.read(GOOD))
    assert build.complaints(build.read(GOOD)) == []
    assert "number = ..." in texts(learner)
    assert "number = ..." not in texts(solution)
    assert not any("Three." in x or "number = 3" in x or "return 2" in x for x in texts(learner))
    assert sum("Three." in x or "number = 3" in x or "return 2" in x for x in texts(solution)) == 3
    assert texts(learner).count("sv.check(number, 3)") == texts(solution).count("sv.check(number, 3)") == 1
    for book in (learner, solution):
        assert all(cell.outputs == [] and cell.execution_count is None for cell in book.cells if cell.cell_type == "code")
        assert json.loads(json.dumps(book.metadata))["kernelspec"]["name"] == "python3"


def test_ids_follow_the_text_and_are_unique():
    twice = GOOD + "\n# %%\nassert True\n\n# %%\nassert True\n"
    ids = [cell.id for cell in build.twins(build.read(twice))[0].cells]
    assert len(set(ids)) == len(ids)
    assert ids == [cell.id for cell in build.twins(build.read(twice))[0].cells]
    assert set(ids) > {cell.id for cell in build.twins(build.read(GOOD))[0].cells}


@pytest.mark.parametrize(("old", "new", "words"), [
    ("# # 3. A title", "# A title", "title"),
    ("import sparsevis as sv", "import sparsevis", "imports"),
    ("assert sv.Causal().mask(4).sum() == 10", "print(3)", "asserted"),
    ("assert sv.Causal()", "x = 1\n" * 10 + "assert sv.Causal()", "11 lines"),
    ("assert sv.Causal()", "%matplotlib inline\nassert sv.Causal()", "magics"),
    ("assert sv.Causal()", "def helper():\n    return 1\n\nassert sv.Causal()", "helper"),
    ("assert sv.Causal()", "x = " + "1 + " * 30 + "1\nassert sv.Causal()", "88 characters"),
    ("assert sv.Causal()", "number = 7\nassert sv.Causal()", "only its own cells may use ['number']"),
    ("assert sv.Causal()", "print(double)\nassert sv.Causal()", "only its own cells may use ['double']"),
    ('# %% tags=["exercise"]\nnumber = ...\n', "", "exercise 1 needs"),
    ("sv.check(number, 3)", "assert number == 3", "exercise 1 needs"),
    ("number = 3", "number = other = 3", "the solution defines ['other']"),
    ('tags=["check"]\nsv.check(double', 'tags=["chekc"]\nsv.check(double', "unknown tags ['chekc']"),
    ("sv.check(double, lambda n: n + n, at=[1, 7])", "", "empty cell"),
])  # fmt: skip
def test_each_rule_finds_its_breach(old, new, words):
    assert GOOD.count(old) == 1 or old == "# # 3. A title"
    source = GOOD.replace(old, new)
    found = build.complaints(build.read(re.sub(r"^%", "# %", source, flags=re.MULTILINE)))
    assert any(words in x for x in found), found


def test_one_exercise_is_too_few_but_for_the_tour():
    cells = build.read(GOOD[: GOOD.index('# %% tags=["exercise"]\ndef')])
    assert ["1 exercises, and two to four are needed"] == build.complaints(cells)
    assert build.complaints(cells, tour=True) == []


def test_a_twin_that_was_edited_by_hand_is_found(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build, "ROOT", tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "03_a_title.py").write_text(GOOD, encoding="utf-8")
    assert build.main(["--check"]) == 1
    assert build.main([]) == 0
    assert build.main(["--check"]) == 0
    twin = tmp_path / "solutions" / "03_a_title.ipynb"
    twin.write_text(twin.read_text(encoding="utf-8").replace("number = 3", "number = 4"), encoding="utf-8")
    (tmp_path / "04_gone.ipynb").write_text("{}", encoding="utf-8")
    capsys.readouterr()
    assert build.main(["--check"]) == 1
    said = capsys.readouterr().out
    assert "03_a_title.ipynb is not what its source makes" in said
    assert "04_gone.ipynb has no source" in said
