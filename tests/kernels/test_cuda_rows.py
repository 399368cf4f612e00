"""One thread, one query: every law in Numba's simulator; no GPU is needed."""
import cuda_cases
import pytest


@pytest.fixture(scope="session")
def results():
    """What went wrong in each case, all run once."""
    pytest.importorskip("sparsevis.kernels.cuda_rows", reason="numba.cuda does not load here", exc_type=ImportError)
    return cuda_cases.simulated("cuda_rows", 1)


@pytest.mark.parametrize("case", cuda_cases.cases("cuda_rows"))
def test_law(case, results):
    assert not results[case], results[case]
