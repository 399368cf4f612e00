"""Tiles through shared memory, forward and backward: every law in Numba's simulator; no GPU is needed."""
import cuda_cases
import pytest


@pytest.fixture(scope="session")
def results():
    """What went wrong in each case, all run once, in two processes: about 50 s on two cores."""
    pytest.importorskip("sparsevis.kernels.cuda_tiled", reason="numba.cuda does not load here", exc_type=ImportError)
    return cuda_cases.simulated("cuda_tiled", 2)


@pytest.mark.parametrize("case", cuda_cases.cases("cuda_tiled"))
def test_law(case, results):
    assert not results[case], results[case]
