"""A kernel in a process of its own: what kills it there is the outcome of one call, and the next call is asked all the same."""

import subprocess
import sys

import pytest

from sparsevis.golden import Call, Dialect, check
from sparsevis.golden.isolate import LOST
from tests.golden import misbehaving

SOME = [Call(4, 4), Call(4, 9), Call(9, 4, right=0)]


@pytest.mark.parametrize(
    ("name", "reason", "options"),
    [("segfaults", "its process died of SIGSEGV", {}), ("leaves", "its process ended with code 7", {}),
     ("hangs", "no answer within 0.5 s", {"timeout": 0.5}), ("hungry", "raised MemoryError", {"memory": 4 << 30})],
)  # fmt: skip
@pytest.mark.skipif(sys.platform == "win32", reason="signals and memory limits are those of POSIX")
def test_a_lost_process_is_one_failing_call(name, reason, options):
    report = check(getattr(misbehaving, name), calls=SOME, isolate=True, shrink=False, **options)
    assert [o.status for o in report.outcomes] == ["pass", "fail", "pass"]
    assert report.outcomes[1].reason.startswith(reason)
    assert report.outcomes[1].call == SOME[1]
    assert report.diagnosis[0][0].startswith(reason)


def test_what_is_printed_there_does_not_disturb():
    assert check(misbehaving.talks, calls=SOME, isolate=True).ok


def test_the_same_numbers_as_in_this_process():
    options = {"backward": misbehaving.gradients, "calls": [*SOME, Call(3, 5, scale=0.3), Call(3, 3, softcap=1.0), Call(3, 3, batch=2)]}
    here, there = (check(misbehaving.plain, isolate=isolate, **options) for isolate in (False, True))
    assert [(o.status, o.reason, o.deviations) for o in here.outcomes] == [(o.status, o.reason, o.deviations) for o in there.outcomes]
    assert here.counts == {"pass": 4, "fail": 0, "unsupported": 2}


def test_a_kernel_that_is_lost_again_and_again_is_left_alone():
    report = check(misbehaving.leaves, calls=[Call(4, 9)] * (LOST + 1), isolate=True, shrink=False)
    assert {o.status for o in report.outcomes} == {"fail"}
    assert report.outcomes[-1].reason.startswith("not asked")
    assert [words for words, _ in report.diagnosis] == ["its process ended with code 7"]


def test_what_no_other_process_can_import_is_refused():
    with pytest.raises(TypeError, match="define it at the top of a module"):
        check(lambda q, k, v: None, dialect=Dialect(), isolate=True)
    with pytest.raises(ValueError, match="above 0"):
        check(misbehaving.plain, isolate=True, timeout=0)


def test_the_process_loads_no_kernel_of_ours():
    code = "import sys, sparsevis.golden.worker, sparsevis.golden.ask; print('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
