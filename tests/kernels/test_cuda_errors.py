"""What CUDA kernels say where they cannot run: without a GPU, without numba.cuda, in the simulator; and that nobody else needs either."""
import os
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest

import sparsevis as sv

INSTALL = 'pip install "sparsevis[cuda]"'
RUNGS = [name for name in sv.implementations() if name.startswith("cuda")]
X = np.zeros((2, 8, 16), np.float32)


def python(code, **environment):
    """Run code in a process of its own, warnings being errors; return what it printed."""
    command = [sys.executable, "-W", "error", "-c", "import numpy as np, sparsevis as sv\nx = np.zeros((2, 8, 16), np.float32)\n" + code]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def no_device():
    """Numba loads, and finds no GPU."""
    kernel = import_module("sparsevis.kernels._cuda") if _loads() else pytest.skip("numba.cuda does not load here")
    if kernel._available():
        pytest.skip("there is a device here: a GPU, or the simulator")


def _loads():
    try:
        import_module("sparsevis.kernels._cuda")
    except ImportError:
        return False
    return True


def test_there_are_rungs():
    assert {"cuda", "cuda_rows", "cuda_tiled"} <= set(RUNGS)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("impl", RUNGS)
def test_no_device(no_device, impl, dtype):
    """One sentence says what was missing, what to install, and what runs here."""
    q = X.astype(dtype)
    with pytest.raises(RuntimeError) as caught:
        sv.attention(q, q, q, sv.Causal(), impl=impl)
    assert type(caught.value) is RuntimeError
    for words in (f"impl={impl!r}", "NVIDIA GPU", "driver", INSTALL, "impl='cpu'", "NUMBA_ENABLE_CUDASIM=1"):
        assert words in str(caught.value), words
    assert "found none" in str(caught.value)


@pytest.mark.parametrize("impl", RUNGS)
def test_no_device_for_gradients(no_device, impl):
    """Or, where a kernel has none at all, that; never the gradients of another one."""
    with pytest.raises((RuntimeError, NotImplementedError)) as caught:
        sv.attention_grad(X, X, X, X, sv.Causal(), impl=impl)
    said = str(caught.value)
    assert INSTALL in said if type(caught.value) is RuntimeError else f"impl={impl!r} has no backward pass" in said


def test_inputs_are_checked_before_the_device_is_looked_for(no_device):
    with pytest.raises(ValueError, match="offset"):
        sv.attention(X[:, :5], X, X, sv.Causal(), impl="cuda_rows")


@pytest.mark.parametrize("impl", RUNGS)
def test_no_numba_cuda(impl):
    """Where the package is missing: its name, and how to install it."""
    code = f"""
import sys
sys.modules["numba.cuda"] = None
try:
    sv.attention(x, x, x, impl={impl!r})
except ImportError as e:
    print(e)"""
    said = python(code)
    for words in ("numba.cuda", INSTALL, "sparsevis[cuda12]", "impl='cpu'"):
        assert words in said, words


def test_no_row_stack_in_numpy():
    """NumPy 2.5 dropped a name that some versions of numba-cuda import: the cure is another one than a driver's."""
    code = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "numba.cuda":
            raise AttributeError("module 'numpy' has no attribute 'row_stack'")
sys.meta_path.insert(0, Finder())
try:
    sv.attention(x, x, x, impl="cuda_rows")
except ImportError as e:
    print(e)"""
    said = python(code)
    assert "NumPy below 2.5, or a newer numba-cuda" in said
    assert INSTALL not in said


@pytest.mark.parametrize("impl", [name for name in RUNGS if name in ("cuda_mma", "cuda_wgmma")])
def test_tensor_cores_are_not_simulated(impl):
    if not _loads():
        pytest.skip("numba.cuda does not load here")
    code = f"""
try:
    sv.attention(x.astype(np.float16), x.astype(np.float16), x.astype(np.float16), impl={impl!r})
except NotImplementedError as e:
    print(e)"""
    said = python(code, NUMBA_ENABLE_CUDASIM="1")
    for words in (f"impl={impl!r}", "simulator", "impl='cuda_tiled'"):
        assert words in said, words


def test_the_processor_needs_no_numba_cuda():
    """Neither `import sparsevis` nor the fast kernel of the processor loads it."""
    code = """
import sys
sv.attention(x, x, x, sv.Causal())
print([name for name in sys.modules if name.startswith("numba.cuda.cudadrv") or name.startswith("cuda.")])"""
    assert python(code).strip() == "[]"
