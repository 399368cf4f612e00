"""Make an exercise sheet from exercises of the course, with its solutions and a test that marks what is handed in.

    python notebooks/sheet.py                                   list the exercises
    python notebooks/sheet.py 02.1 02.3 05.2 --to sheet1        exercises 1 and 3 of notebook 2, and 2 of notebook 5

writes `sheet.ipynb` to hand out, `solutions.ipynb` to keep, and `test_sheet.py`:

    ANSWERS=handed_in/ada.ipynb pytest -q test_sheet.py         a notebook, or a .py file; answers.py if nothing is said

What an exercise needs of its lesson, imports and values, comes with it.
"""

import argparse
import ast
import builtins
import re
import symtable
import sys
from pathlib import Path

import nbformat

from build import KERNEL, read, sources, tags_of

__all__ = ["exercises", "marker", "sheet"]

MARKER = '''\
"""Marks {title}: ANSWERS=handed_in/ada.ipynb pytest -q test_sheet.py

A notebook or a .py file; answers.py beside this file if nothing is said. Every statement of it runs, one after the other; one that fails is
left out, so that a mistake in one exercise costs no other.
"""

import ast
import json
import os
from functools import cache
from pathlib import Path

{imports}


@cache
def handed_in():
    """The names that the answers define."""
    file = Path(os.environ.get("ANSWERS", Path(__file__).parent / "answers.py"))
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    else:
        cells = [text]
    found = {{"__name__": "answers"}}
    for cell in cells:
        try:
            statements = ast.parse(cell, str(file)).body
        except SyntaxError:
            continue
        for statement in statements:
            try:
                exec(compile(ast.Module([statement], []), str(file), "exec"), found)
            except Exception:
                continue
    return found
'''


def exercises():
    """Return every exercise of the course by its name, 02.1: cells that put it, stubs, solutions with their texts, check, needs."""
    found = {}
    for source in sources():
        asks, own, lesson, number, begun = [], [], [], 0, False
        for cell in read(source):
            tags = tags_of(cell)
            begun |= cell.cell_type == "markdown" and "## Exercises" in cell.source
            if "check" in tags:
                number += 1
                used = [c.source for c in (*own, cell) if c.cell_type == "code"]
                found[f"{source.name[:2]}.{number}"] = {
                    "lesson": source.stem[3:], "asks": asks, "check": cell, "needs": _needs(used, lesson),
                    "stubs": [c for c in own if "exercise" in tags_of(c)], "solutions": [c for c in own if "solution" in tags_of(c)],
                }  # fmt: skip
                asks, own = [], []
            elif tags & {"exercise", "solution"}:
                own.append(cell)
            else:
                asks += [cell] * begun
                lesson += [cell.source] * (cell.cell_type == "code")
    return found


def sheet(chosen, title):
    """Return a learner's notebook and its solution twin."""
    both = []
    for kept in ("stubs", "solutions"):
        cells = [("markdown", f"# {title}\n\nWrite each answer where the `...` stands, run it, and run the check below it.")]
        cells.append(("code", "\n".join(_opening(chosen))))
        for number, exercise in enumerate(chosen.values(), 1):
            asks = [(c.cell_type, c.source) for c in exercise["asks"]]
            shown = {source for _, source in asks}
            needs = [x for x in exercise["needs"][1] if x not in shown]
            cells += [(asks[0][0], _numbered(asks[0][1], number))] + [("code", "\n".join(needs))] * bool(needs) + asks[1:]
            cells += [(c.cell_type, c.source) for c in (*exercise[kept], exercise["check"])]
        book = nbformat.v4.new_notebook(metadata=KERNEL)
        for place, (kind, source) in enumerate(cells):
            new = nbformat.v4.new_markdown_cell if kind == "markdown" else nbformat.v4.new_code_cell
            book.cells.append(new(source, id=f"cell-{place}"))
        nbformat.validate(book)
        both.append(book)
    return both


def _numbered(text, number):
    return re.sub(r"\A.*?\*\*\d+\.\*\*", f"**{number}.**", text, flags=re.DOTALL)


def marker(chosen, title):
    """Return the text of the test that marks answers to a sheet."""
    imports = _opening(chosen)
    parts = [MARKER.format(title=title, imports="\n".join(imports))]
    for number, exercise in enumerate(chosen.values(), 1):
        answers = [f"{name} = handed_in().get({name!r}, ...)" for name in _asked(exercise)]
        body = "\n".join([*exercise["needs"][1], *answers, exercise["check"].source]).replace("\n", "\n    ")
        parts.append(f"\n\ndef test_{number}_{exercise['lesson']}():\n    {body}\n")
    return "".join(parts)


def _opening(chosen):
    """The statements of all opening cells, each once."""
    return list(dict.fromkeys(x for e in chosen.values() for x in e["needs"][0]))


def _asked(exercise):
    return sorted(_bound("\n".join(c.source for c in exercise["stubs"])))


# ---------------------------------------------------------------- what an exercise needs of its lesson


def _needs(used, lesson):
    """The opening cell of a lesson, and the statements that bind or change what some code uses."""
    own = "\n".join(used)
    wanted = _used(own) - _bound(own)
    kept = []
    for source in reversed(lesson[1:]):
        for statement in reversed(ast.parse(source).body):
            text = _text(source, statement)
            if (_bound(text) | _changed(statement)) & wanted:
                kept.insert(0, text)
                wanted |= _used(text)
    missing = wanted - set(dir(builtins)) - _bound("\n".join([lesson[0], *kept, own]))
    if missing:
        raise ValueError(f"no cell before the exercise defines {', '.join(sorted(missing))}")
    opening = [_text(lesson[0], x) for x in ast.parse(lesson[0]).body]
    return opening, kept


def _text(source, statement):
    """A statement as it is written, with its decorators."""
    first = min([x.lineno for x in getattr(statement, "decorator_list", ())], default=statement.lineno)
    return "\n".join(source.split("\n")[first - 1 : statement.end_lineno])


def _used(source):
    """Names that code takes from outside of its functions."""
    tables = [symtable.symtable(source, "cell", "exec")]
    for table in tables:
        tables += table.get_children()
    top = [x.get_name() for x in tables[0].get_symbols() if x.is_referenced()]
    return {*top, *(x.get_name() for table in tables[1:] for x in table.get_symbols() if x.is_global())}


def _bound(source):
    return {x.get_name() for x in symtable.symtable(source, "cell", "exec").get_symbols() if x.is_assigned() or x.is_imported()}


def _changed(tree):
    """Names whose value code changes: x[i] = ..., x.y = ..., x.append(...)."""
    roots = [x for x in ast.walk(tree) if isinstance(x, ast.Subscript | ast.Attribute) and isinstance(x.ctx, ast.Store)]
    calls = [x.value.func for x in ast.walk(tree) if isinstance(x, ast.Expr) and isinstance(x.value, ast.Call)]
    roots += [x for x in calls if isinstance(x, ast.Attribute) and x.attr in ("add", "append", "extend", "insert", "update")]
    found = set()
    for x in roots:
        while isinstance(x, ast.Subscript | ast.Attribute):
            x = x.value
        found |= {x.id} if isinstance(x, ast.Name) else set()
    return found


# ---------------------------------------------------------------- the command


def main(asked=None):
    """List the exercises, or write a sheet; return the exit code."""
    parser = argparse.ArgumentParser(description="Make an exercise sheet from exercises of the course.")
    parser.add_argument("exercise", nargs="*", help="02.1: exercise 1 of notebook 2; none lists them all")
    parser.add_argument("--to", type=Path, default=Path("sheet"), help="the folder that is written")
    parser.add_argument("--title", default="Exercises")
    arguments = parser.parse_args(asked)
    known = exercises()
    if not arguments.exercise:
        for name, exercise in known.items():
            words = " ".join(_numbered(exercise["asks"][0].source, 0).split())[7:]
            print(f"{name}  {words[:110]}{'...' * (len(words) > 110)}")
        return 0
    unknown = [name for name in arguments.exercise if name not in known]
    if unknown:
        print(f"there is no exercise {', '.join(unknown)}: python notebooks/sheet.py lists those there are", file=sys.stderr)
        return 2
    chosen = {name: known[name] for name in arguments.exercise}
    asked = {}
    for name, exercise in chosen.items():
        for answer in _asked(exercise):
            if asked.setdefault(answer, name) != name:
                print(f"{asked[answer]} and {name} both ask for {answer}: a sheet can hold one of them", file=sys.stderr)
                return 2
    arguments.to.mkdir(parents=True, exist_ok=True)
    learner, solutions = sheet(chosen, arguments.title)
    nbformat.write(learner, arguments.to / "sheet.ipynb")
    nbformat.write(solutions, arguments.to / "solutions.ipynb")
    (arguments.to / "test_sheet.py").write_text(marker(chosen, arguments.title), encoding="utf-8")
    print(f"{arguments.to}: sheet.ipynb, solutions.ipynb, test_sheet.py; {len(chosen)} exercises")
    return 0


if __name__ == "__main__":
    sys.exit(main())
