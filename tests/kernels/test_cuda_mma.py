"""`cuda_mma` without a GPU: its own source runs in the emulator of tests/gpu, against the reference in float64."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("greenlet", reason="the emulator of GPU threads needs greenlet")
pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes")

GPU = Path(__file__).parents[1] / "gpu"
sys.path.insert(0, str(GPU))
from mma_cases import BUGS, CASES  # noqa: E402


@pytest.fixture(scope="module")
def said():
    """What is wrong with each case and each planted bug, by name; two processes share the work."""
    names = [*CASES, *BUGS]
    command = [sys.executable, "-W", "error", str(GPU / "mma_cases.py")]
    running = [subprocess.Popen([*command, *names[i::2]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for i in (0, 1)]
    done = [process.communicate(timeout=300) for process in running]
    results = dict(json.loads(line) for out, _ in done for line in out.splitlines())
    assert list(results.keys() ^ set(names)) == [], [err for _, err in done]
    return results


@pytest.mark.parametrize("name", CASES)
def test_case(said, name):
    assert said[name] is None, said[name]


@pytest.mark.parametrize("name", BUGS)
def test_planted_bug_is_seen(said, name):
    assert said[name] is not None
    assert "Traceback" not in said[name], said[name]
