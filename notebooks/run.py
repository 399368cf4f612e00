"""Run notebooks of the course, once: every cell of the solution twin, and every check on the learner's stub as well.

    python notebooks/run.py 01 02        run some, or all if none is named, and say how long each took

After a check has passed on the solution, the stub and the check run again, and the check has to fail: with `NotYet`, and in no other way.
The rest of the notebook then runs as for a learner who has answered nothing. What was run is kept in `build/notebooks`, with its outputs,
which the documentation shows; `executed` runs a notebook again only if its source or the package has changed.
"""

import hashlib
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from build import ROOT, exercises_of, read, sources, tags_of, twins

__all__ = ["WrongNotebook", "executed", "keep", "run"]

KEPT = ROOT.parent / "build" / "notebooks"
LIMIT = 120  # seconds a notebook may take on two cores


class WrongNotebook(AssertionError):
    """A notebook runs, and is not as it should be."""


def run(source):
    """Run a source, a path or text, and return the executed solution twin; its metadata hold the seconds it took."""
    cells = read(source)
    stubs = {check.source: stubs for stubs, _, check in exercises_of(cells)}
    book, start = twins(cells)[1], time.perf_counter()
    quiet = ["--IPKernelApp.log_level=40"]  # no warning that a local connection is not encrypted
    resources = {"metadata": {"path": str(ROOT)}}
    client = NotebookClient(book, timeout=LIMIT, kernel_name="python3", resources=resources, extra_arguments=quiet)
    lesson = list(enumerate(book.cells))
    with client.setup_kernel(env=_environment()):
        _beside(client, "get_ipython().run_line_magic('config', \"InlineBackend.figure_format = 'retina'\")")
        for index, cell in lesson:
            if cell.cell_type == "code":
                client.execute_cell(cell, index)
            if "check" in tags_of(cell):
                _fails(client, stubs[cell.source], cell)
    seconds = time.perf_counter() - start
    if not any("image/png" in x.get("data", ()) for c in book.cells for x in c.get("outputs", ())):
        raise WrongNotebook("the notebook shows no figure")
    code = [c for c in book.cells if c.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        cell.execution_count = count
        said = [x.text for x in cell.outputs if x.output_type == "stream" and x.name == "stderr"]
        if said:
            raise WrongNotebook(f"a cell writes to stderr: {said[0].strip()}\nthe cell:\n{cell.source}")
    if seconds > LIMIT:
        raise WrongNotebook(f"the notebook takes {seconds:.0f} s, and {LIMIT} are the most")
    book.metadata["sparsevis"] = {"seconds": round(seconds, 1)}
    return book


def executed(source):
    """Return the executed solution twin of a source, from `build/notebooks` if it is there and nothing has changed since."""
    key, file = _key(source), KEPT / f"{source.stem}.ipynb"
    if file.exists():
        book = nbformat.read(file, as_version=4)
        if book.metadata["sparsevis"].get("key") == key:
            return book
    return keep(source, key)


def keep(source, key=None):
    """Run a source, keep what came out in `build/notebooks`, and return it."""
    book = run(source)
    book.metadata["sparsevis"]["key"] = key or _key(source)
    KEPT.mkdir(parents=True, exist_ok=True)
    file = KEPT / f"{source.stem}.{os.getpid()}.tmp"
    nbformat.write(book, file)
    file.replace(KEPT / f"{source.stem}.ipynb")
    return book


def _fails(client, stubs, check):
    """The check fails on the stub, with NotYet."""
    for stub in stubs:
        _beside(client, stub.source)
    try:
        _beside(client, check.source)
    except CellExecutionError as error:
        if error.ename == "NotYet":
            return
        raise WrongNotebook(f"on its stub the check fails with {error.ename}: {error.evalue}\nthe check:\n{check.source}") from error
    raise WrongNotebook(f"the check passes on its stub, so it checks nothing:\n{check.source}")


def _beside(client, source):
    """Run code that is not part of the notebook: in a cell at its end, which is taken away again."""
    client.nb.cells.append(nbformat.v4.new_code_cell(source))
    try:
        client.execute_cell(client.nb.cells[-1], len(client.nb.cells) - 1, store_history=False)
    finally:
        client.nb.cells.pop()


def _environment():
    """That of this process, with figures in the notebook whatever backend is asked for here."""
    return dict(os.environ) | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}


def _key(source):
    import sparsevis

    files = [source, ROOT / "build.py", Path(__file__), *sorted(Path(sparsevis.__file__).parent.rglob("*.py"))]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def main(asked):
    """Run those whose names begin as asked, or all."""
    for source in sources():
        if not asked or any(source.name.startswith(x) for x in asked):
            print(f"{source.stem}: {keep(source).metadata['sparsevis']['seconds']} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
