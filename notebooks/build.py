"""Make the notebooks of the course from their sources.

    python notebooks/build.py            write both twins of every source
    python notebooks/build.py --check    write nothing; exit with 1 if a twin is not what its source makes, or a source breaks a rule

`src/NN_name.py` (py:percent) is what is written. A cell tagged "exercise" goes to the learner's twin alone, `NN_name.ipynb`; one tagged
"solution" to `solutions/NN_name.ipynb` alone; every other cell to both. Neither has outputs. What a machine can hold of the rules in
README.md is held here, in `complaints`.
"""

import argparse
import ast
import hashlib
import re
import sys
from pathlib import Path

import jupytext
import nbformat

__all__ = ["ROOT", "complaints", "exercises_of", "read", "sources", "tags_of", "twins"]

ROOT = Path(__file__).parent
TAGS = {"exercise", "solution", "check", "definition"}
KERNEL = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def sources():
    """Return the sources in the order of the course."""
    return sorted((ROOT / "src").glob("[0-9][0-9]_*.py"))


def read(source):
    """Return the cells of a source, which is a path or text."""
    return jupytext.reads(source.read_text(encoding="utf-8") if isinstance(source, Path) else source, fmt="py:percent").cells


def tags_of(cell):
    """Return the tags of a cell as a set."""
    return set(cell.metadata.get("tags", ()))


def twins(cells):
    """Return the learner's notebook and its solution twin."""
    return _notebook(cells, without="solution"), _notebook(cells, without="exercise")


def _notebook(cells, without):
    book = nbformat.v4.new_notebook(metadata=KERNEL)
    seen = {}
    for cell in cells:
        if without in tags_of(cell):
            continue
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1  # ids follow the text: the same source makes the same bytes, everywhere
        name = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        new = nbformat.v4.new_markdown_cell if cell.cell_type == "markdown" else nbformat.v4.new_code_cell
        book.cells.append(new(cell.source, id=name, metadata={"tags": sorted(tags_of(cell))} if tags_of(cell) else {}))
    nbformat.validate(book)
    return book


def exercises_of(cells):
    """Return (stubs, solutions, check) of every exercise: its cells of code."""
    found, stubs, solutions = [], [], []
    for cell in cells:
        tags = tags_of(cell)
        if cell.cell_type == "code" and "exercise" in tags:
            stubs.append(cell)
        elif cell.cell_type == "code" and "solution" in tags:
            solutions.append(cell)
        elif "check" in tags:
            found.append((stubs, solutions, cell))
            stubs, solutions = [], []
    if stubs or solutions:
        found.append((stubs, solutions, None))
    return found


# ---------------------------------------------------------------- what a machine can hold of the rules


def complaints(cells, tour=False):
    """Return what is against the rules, in sentences; `tour` marks the zeroth notebook, which has no exercises."""
    code = [c for c in cells if c.cell_type == "code"]
    found = []
    if not cells or cells[0].cell_type != "markdown" or not re.match(r"# \d+\. \S", cells[0].source):
        found.append("the first cell needs to be markdown that begins with the title: # 3. Global tokens")
    if not code or "import sparsevis as sv" not in code[0].source:
        found.append("the first cell of code needs to hold the imports, import sparsevis as sv among them")
    for cell in cells:
        lines = [line for line in cell.source.split("\n") if line.strip()]
        shown = lines[0] if lines else "an empty cell"
        if not lines:
            found.append("an empty cell")
        if tags_of(cell) - TAGS:
            found.append(f"unknown tags {sorted(tags_of(cell) - TAGS)}: {shown}")
        if cell.cell_type != "code":
            continue
        if len(lines) > 10:
            found.append(f"{len(lines)} lines, and ten are the most: {shown}")
        if any(len(line) > 88 for line in lines):
            found.append(f"a line of code is longer than 88 characters: {shown}")
        if "plt.show" in cell.source or not _is_python(cell):
            found.append(f"not Python: magics, shell commands and plt.show have no place: {shown}")
        defines = [x for x in ast.walk(_tree(cell)) if isinstance(x, ast.FunctionDef | ast.ClassDef)]
        if defines and not tags_of(cell) & {"exercise", "solution", "definition"}:
            found.append(f"a helper: it belongs to the package; or tag the cell definition if it is the subject itself: {shown}")
    if not any(isinstance(x, ast.Assert) for c in code if not tags_of(c) for x in ast.walk(_tree(c))):
        found.append("no result is asserted")
    return found + ([] if tour else _about_exercises(cells, code))


def _about_exercises(cells, code):
    found, exercises = [], exercises_of(cells)
    if not 2 <= len(exercises) <= 4:
        found.append(f"{len(exercises)} exercises, and two to four are needed")
    for number, (stubs, solutions, check) in enumerate(exercises, 1):
        if not stubs or not solutions or check is None or "sv.check(" not in check.source:
            found.append(f"exercise {number} needs a cell tagged exercise, one tagged solution, and one tagged check that calls sv.check")
            continue
        asked, own = _bound(stubs), [*stubs, *solutions, check]
        if _bound(solutions) - asked:
            found.append(f"exercise {number}: the solution defines {sorted(_bound(solutions) - asked)}, which the stub does not")
        users = [c for c in code if not any(c is x for x in own) and (_used([c]) | _bound([c])) & asked]
        if users:
            found.append(f"exercise {number}: only its own cells may use {sorted(asked)}, so that the rest runs without an answer: "
                         + users[0].source.split("\n")[0])  # fmt: skip
    return found


def _is_python(cell):
    try:
        ast.parse(cell.source)
    except SyntaxError:
        return False
    return True


def _tree(cell):
    return ast.parse(cell.source if _is_python(cell) else "")


def _names(cells, kind):
    return {x.id for c in cells for x in ast.walk(_tree(c)) if isinstance(x, ast.Name) and isinstance(x.ctx, kind)}


def _used(cells):
    return _names(cells, ast.Load)


def _bound(cells):
    """Names that cells define on their outermost level."""
    found = set()
    for statement in (x for c in cells for x in _tree(c).body):
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            found.add(statement.name)
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            found |= {(x.asname or x.name).partition(".")[0] for x in statement.names}
        else:
            inner = {y for x in ast.walk(statement) if isinstance(x, ast.comprehension | ast.Lambda) for y in ast.walk(x)}
            found |= {x.id for x in ast.walk(statement) if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store) and x not in inner}
    return found


# ---------------------------------------------------------------- the command


def main(asked=None):
    """Write or check the twins; return the exit code."""
    parser = argparse.ArgumentParser(description="Make the notebooks of the course from their sources.")
    parser.add_argument("--check", action="store_true", help="write nothing, say what is not as its source makes it")
    check = parser.parse_args(asked).check
    wrong, made = [], set()
    for source in sources():
        cells = read(source)
        wrong += [f"{source.name}: {x}" for x in complaints(cells, tour=source.name.startswith("00"))]
        for folder, book in zip((ROOT, ROOT / "solutions"), twins(cells), strict=True):
            file, text = folder / f"{source.stem}.ipynb", nbformat.writes(book) + "\n"
            made.add(file)
            if check and (not file.exists() or file.read_text(encoding="utf-8") != text):
                wrong.append(f"{file.relative_to(ROOT)} is not what its source makes: run python notebooks/build.py")
            elif not check:
                folder.mkdir(exist_ok=True)
                file.write_text(text, encoding="utf-8")
    left = {*ROOT.glob("*.ipynb"), *ROOT.glob("solutions/*.ipynb")} - made
    wrong += [f"{file.relative_to(ROOT)} has no source: delete it" for file in sorted(left)]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
