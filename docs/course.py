"""The pages of the course: every notebook as it was run, with its solutions folded.

A notebook that the tests have just run is taken from `build/notebooks`, and not run again.
"""

import sys
from pathlib import Path

import nbformat

sys.path.insert(0, str(Path(__file__).parent.parent / "notebooks"))

import build
import run


def pages(folder):
    """Write every executed notebook into a folder that nobody edits, and remove those whose source has gone."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {folder / f"{source.stem}.ipynb": run.executed(source) for source in build.sources()}
    for file in set(folder.glob("*.ipynb")) - set(made):
        file.unlink()
    for file, book in made.items():
        for cell in book.cells:
            if "solution" not in build.tags_of(cell):
                continue
            if cell.cell_type == "code":
                cell.metadata["tags"] = ["hide-cell"]
            else:
                cell.source = f"<details><summary>Why</summary>\n\n{cell.source}\n\n</details>"
        nbformat.write(book, file)
