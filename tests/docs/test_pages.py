"""The documentation's pages: every public name is listed, what a page runs runs, links inside the built pages lead somewhere."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import check_links
import choosing
import pytest

import sparsevis as sv

DOCS = Path(check_links.__file__).parent
QUIET = os.environ | {"MPLBACKEND": "Agg"}


def public(room):
    """The names of a room that are its own: its __all__, or what its __init__ says."""
    module = getattr(sv, room)
    names = getattr(module, "__all__", None) or [x for x in dir(module) if not x.startswith("_") and not x.isupper()]
    return {f"{room}.{x}" for x in names if not inspect.ismodule(getattr(module, x))}


def test_every_public_name_is_listed():
    lines = (DOCS / "api.md").read_text(encoding="utf-8").splitlines()
    listed = {line.removeprefix(".. autoclass:: sparsevis.").strip() for line in lines}
    rooms = {name for name in sv.__all__ if inspect.ismodule(getattr(sv, name))}
    expected = (set(sv.__all__) - rooms).union(*map(public, rooms))
    assert len(expected) > 100
    assert sorted(expected - listed) == []


def test_what_is_listed_exists():
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    for line in re.findall(r"^   ([\w.]+)$", text, flags=re.MULTILINE):
        found = sv
        for part in line.split("."):
            found = getattr(found, part)


@pytest.mark.parametrize("page", ["index.md", "choosing.md", "teaching.md"])
def test_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), {})
    assert page != "teaching.md" or (tmp_path / "lecture.html").stat().st_size > 100_000


def test_pages_leave_no_number_to_type():
    """The tables of the guide are computed: what the page includes is what choosing.py makes."""
    included = set(re.findall(r"\{include\} generated/choosing/choosing_(\w+).md", (DOCS / "choosing.md").read_text(encoding="utf-8")))
    assert included == {"share", "cache", "kept", "same_pairs", "writing", "reading"}
    rows = choosing.patterns({"all": "sv.Dense()", "half": "sv.SlidingWindow(127, 128)"}, query=64).splitlines()
    assert rows[2] == "| **all**<br>`sv.Dense()` | 4,096 | 1.0x | 1.0x | all after 1 layer |"
    n, pairs = 4096, 4096 * 256 - 127 * 128 // 2 - 128 * 129 // 2
    assert f"| {pairs / n:,.0f} | {n * n / pairs:.0f}x |" in rows[3]


# ---------------------------------------------------------------- teaching


def marked(answers, folder):
    """Run the worked example's test on answers, in words."""
    (folder / "answers.py").write_text(answers, encoding="utf-8")
    (folder / "test_answers.py").write_text((DOCS / "teaching" / "test_answers.py").read_text(encoding="utf-8"), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "test_answers.py"]
    return subprocess.run(command, cwd=folder, env=QUIET, capture_output=True, text=True, encoding="utf-8").stdout


def test_the_worked_example_is_marked_as_the_page_says(tmp_path):
    said = marked((DOCS / "teaching" / "answers.py").read_text(encoding="utf-8"), tmp_path)
    assert "1 failed, 2 passed" in said
    words = re.sub(r"^E {3}", "", said, flags=re.MULTILINE).replace("sparsevis.exercises.NotYet: ", "")
    assert (DOCS / "teaching" / "said.txt").read_text(encoding="utf-8").strip() in words


def test_right_answers_and_none(tmp_path):
    answers = (DOCS / "teaching" / "answers.py").read_text(encoding="utf-8")
    assert answers.count("SlidingWindow(w)") == 1
    assert "3 passed" in marked(answers.replace("SlidingWindow(w)", "SlidingWindow(w - 1)"), tmp_path)
    assert "3 failed" in marked(re.sub(r"return .*", "...", answers), tmp_path)


def test_figures_to_project(tmp_path):
    subprocess.run([sys.executable, "-W", "error", DOCS / "teaching" / "figures.py", tmp_path], check=True, env=QUIET)
    drawn = sorted(file.stem for file in tmp_path.glob("*.svg"))
    source = (DOCS / "teaching" / "figures.py").read_text(encoding="utf-8")
    assert drawn == sorted(re.findall(r'^    "([\w-]+)": lambda', source, flags=re.MULTILINE))
    assert len(drawn) >= 12


# ---------------------------------------------------------------- links


def site(folder, **pages):
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return folder


def test_links_that_lead_somewhere(tmp_path):
    folder = site(tmp_path, index='<h1 id="top">a</h1><a href="#top">x</a><a href="b.html#c%20d">y</a><a href="https://example.org">z</a>',
                  b='<p id="c d"></p><a href=".">up</a><img src="data:image/png;base64,x">')  # fmt: skip
    assert check_links.broken(folder) == ([], 3, 1)
    assert check_links.main([str(folder)]) == 0


@pytest.mark.parametrize(("text", "words"), [
    ('<a href="gone.html">x</a>', "no such file"),
    ('<a href="index.html#gone">x</a>', "index.html has no element with the id gone"),
    ('<a href="#gone">x</a>', "no element with the id gone"),
    ('<img src="gone.png">', "no such file"),
    ('<a href="../../secret">x</a>', "leads out"),
    ('<script src="https://cdn.example.org/x.js"></script>', "loads https://cdn.example.org/x.js from elsewhere"),
    ('<link rel="stylesheet" href="//cdn.example.org/x.css">', "from elsewhere"),
    ('<iframe src="gone.html"></iframe>', "no such file"),
])  # fmt: skip
def test_links_that_do_not(tmp_path, capsys, text, words):
    assert check_links.main([str(site(tmp_path, index=f"<p>\n{text}</p>"))]) == 1
    said = capsys.readouterr().out
    assert words in said
    assert said.startswith("index.html:2: ")
    assert "1 broken" in said


def test_an_empty_folder_is_not_right(tmp_path):
    assert check_links.main([str(tmp_path)]) == 1
    assert check_links.main([]) == 2
