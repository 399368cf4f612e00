"""The worked examples: every block of docs/golden-examples.md and docs/golden.md runs, in order, and prints what the page says."""

import io
import re
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {"golden-examples.md": 7, "golden.md": 2}


def blocks(page):
    return re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_the_page_has_no_block_that_is_not_run(page):
    assert (DOCS / page).read_text(encoding="utf-8").count("```python") == len(blocks(page)) >= PAGES[page]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_prints_what_the_page_says(page):
    room, ran, some = {"SOURCE": blocks(page)[0][0]}, 0, blocks(page)
    for code, printed in some:
        if code.startswith("import torch") and find_spec("torch") is None:
            continue
        out = io.StringIO()
        with redirect_stdout(out):
            exec(compile(code, page, "exec"), room)
        assert out.getvalue() == printed
        ran += 1
    if ran < len(some):
        pytest.skip(f"{ran} of {len(some)} blocks ran: torch is not installed")
