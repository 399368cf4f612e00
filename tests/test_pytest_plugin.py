"""The plugin: a test a call, for kernels of other projects; run in fresh processes, as those would."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = '''
import numpy as np
import sparsevis as sv

def right(q, k, v, *, causal=False, window_size=(-1, -1), more=0):
    left, after = (None if x < 0 else x for x in window_size)
    rule = sv.SlidingWindow(None if left is None else left + more, 0 if causal else after)
    mask = rule.mask(q.shape[1], k.shape[1], "bottom-right")
    o, lse = sv.reference.attention(*(np.swapaxes(x, 1, 2) for x in (q, k, v)), mask)
    return np.swapaxes(o, 1, 2).astype(q.dtype), np.where(np.isneginf(lse), np.inf, lse).astype(np.float32)

def wrong(q, k, v, *, causal=False, window_size=(-1, -1)):
    return right(q, k, v, causal=causal, window_size=window_size, more=1)

def refuses(q, k, v, mask=None):
    raise NotImplementedError("heads of 128 only")
'''


@pytest.fixture
def run(tmp_path):
    """Run pytest in a folder with these kernels: (exit code, output)."""
    (tmp_path / "kernels_here.py").write_text(KERNELS)
    (tmp_path / "test_own.py").write_text("def test_own():\n    pass\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[1]}"}

    def run(*options):
        command = [sys.executable, "-m", "pytest", "-p", "sparsevis.pytest_plugin", "-p", "no:cacheprovider", "-q", *options]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    return run


def test_a_right_kernel(run):
    code, out = run("--sparsevis-kernel", "kernels_here:right", "--sparsevis-dialect", "flash")
    assert code == 0, out
    passed, skipped = (int(out.split(word)[0].split()[-1]) for word in (" passed", " skipped"))
    assert passed > 100  # the folder's own test among them
    assert passed + skipped > 200


def test_a_wrong_kernel_fails_by_call_and_is_diagnosed(run):
    code, out = run("--sparsevis-kernel", "kernels_here:wrong", "--sparsevis-dialect", "flash", "-k", "windows", "-rf")
    assert code == 1
    assert "FAILED kernels_here:wrong::windows 1" in out
    assert "diagnosis: window one key longer on the left" in out
    assert "Call(nq=2, nk=5, " in out
    assert "Traceback" not in out


def test_nothing_tested_is_no_success(run):
    code, out = run("--sparsevis-kernel", "kernels_here:refuses", "-k", "windows or dense")
    assert code == 1
    assert "so nothing was tested" in out


def test_isolated(run):
    right = ("--sparsevis-kernel", "kernels_here:right", "--sparsevis-dialect", "flash")
    code, out = run(*right, "--sparsevis-isolate", "-k", "dense or heads")
    assert code == 0, out
    assert "10 passed" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [(("--sparsevis-kernel", "kernels_here:nope"), "kernels_here has no 'nope'"),
     (("--sparsevis-kernel", "kernels_here"), "names no function"),
     (("--sparsevis-kernel", "not_here:f"), "No module named 'not_here'"),
     (("--sparsevis-kernel", "kernels_here:right", "--sparsevis-dialect", "flsh"), "no dialect is called 'flsh'")],
)  # fmt: skip
def test_wrong_words_are_one_line(run, options, words):
    code, out = run(*options)
    assert code == 4
    assert words in out
    assert "Traceback" not in out


def test_without_the_option_nothing_of_the_kit_is_loaded(run, tmp_path):
    (tmp_path / "test_own.py").write_text("import sys\n\ndef test_own():\n    assert 'sparsevis.golden' not in sys.modules\n")
    assert run()[0] == 0
