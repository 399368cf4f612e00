"""Every mistake on the page of real bugs: its case is asked, and sees the mistake planted again, where the kernel without it passes."""

from pathlib import Path

import numpy as np
import pytest

from sparsevis.golden import Dialect, Model
from sparsevis.golden.check import Judge
from tests.golden.mutants import SPOKEN, variant, way
from tests.golden.real_bugs import BUGS_OF_OTHERS, found, planted

IDS = [f"{bug.reports}: {bug.what}"[:70] for bug in BUGS_OF_OTHERS]
WITH = [(bug, name) for bug, name in zip(BUGS_OF_OTHERS, IDS, strict=True) if bug.patch is not None]


def judge(forward, backward, words):
    return Judge(forward, backward, Dialect(**words), Model(), np.dtype("float32"))


@pytest.mark.parametrize("bug", BUGS_OF_OTHERS, ids=IDS)
def test_its_case_is_asked(bug):
    assert found(bug)[1].nq >= 0


@pytest.mark.parametrize("bug", [bug for bug, _ in WITH], ids=[name for _, name in WITH])
def test_its_case_sees_it(bug):
    before, case = found(bug)
    forward, backward, words = planted(bug)
    right = way(bug.patch[0])[:2] if bug.patch[0] in SPOKEN else variant()
    assert judge(right[0], right[1] if backward else None, words)(case).status == "pass"
    asked = judge(forward, backward, words)
    seen = [asked(call).status for call in before]  # in order: a stale cache shows at the second call
    assert seen[-1] == "fail"


def test_the_page_is_what_the_rows_say():
    page = (Path(__file__).parents[2] / "docs" / "golden-bugs.md").read_text(encoding="utf-8")
    for bug in BUGS_OF_OTHERS:
        assert f"| {bug.reports} | {bug.what} | {bug.family} | `{found(bug)[1]!r}` |" in page


def test_few_are_out_of_reach():
    assert len(BUGS_OF_OTHERS) >= 40
    assert sum(bug.patch is None for bug in BUGS_OF_OTHERS) == 1
