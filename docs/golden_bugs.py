"""The page of real bugs: what attention libraries shipped, and the call of the kit that sees each.

python docs/golden_bugs.py docs/golden-bugs.md writes the page, from the rows of tests/golden/real_bugs.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the rows are the tests' own

from tests.golden.real_bugs import BUGS_OF_OTHERS, found


def page():
    """Return the page as Markdown."""
    rows = ["| report | what was wrong | family | the case | planted |", "|---|---|---|---|---|"]
    for bug in BUGS_OF_OTHERS:
        mark = "seen" if bug.patch is not None else "no case: too large to ask"
        rows.append(f"| {bug.reports} | {bug.what} | {bug.family} | `{found(bug)[1]!r}` | {mark} |")
    seen = sum(bug.patch is not None for bug in BUGS_OF_OTHERS)
    return "\n\n".join([
        "# Bugs this kit would have caught",
        "Attention libraries shipped these, as their public reports tell; the words are read, not reproduced.",
        'Each row names the call of `sparsevis.golden.check(..., level="full")` that sees such a mistake; it can be pasted into'
        " `calls=[...]`. A mistake of the same kind is planted in a small kernel of ours, and the tests hold that the case sees it and"
        f" lets the kernel pass without it: {seen} of {len(BUGS_OF_OTHERS)}.",
        "\n".join(rows),
    ]) + "\n"  # fmt: skip


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
