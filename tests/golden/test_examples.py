"""The worked examples: every block of docs/golden-examples.md runs, in order, and prints what the page says."""

import io
import re
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "golden-examples.md"
BLOCKS = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_has_no_block_that_is_not_run():
    assert PAGE.read_text(encoding="utf-8").count("```python") == len(BLOCKS) >= 7


def test_every_block_prints_what_the_page_says():
    room, ran = {"SOURCE": BLOCKS[0][0]}, 0
    for code, printed in BLOCKS:
        if code.startswith("import torch") and find_spec("torch") is None:
            continue
        out = io.StringIO()
        with redirect_stdout(out):
            exec(compile(code, str(PAGE), "exec"), room)
        assert out.getvalue() == printed
        ran += 1
    if ran < len(BLOCKS):
        pytest.skip(f"{ran} of {len(BLOCKS)} blocks ran: torch is not installed")
