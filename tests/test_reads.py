"""What threads read is what the kernels of the simulator ask for: counted, and held against counts made from the mask alone."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import sparsevis as sv
from sparsevis.reads import Reads

SCRIPT = """
import json
import numpy as np
import sparsevis as sv
from sparsevis.kernels import _cuda, cuda_rows

q, k, v = (np.random.default_rng(i).standard_normal(shape) for i, shape in enumerate([(70, 5), (90, 5), (90, 3)]))
found = {}
for impl, dtype in (("cuda_rows", "float64"), ("cuda_tiled", "float64"), ("cuda_tiled", "float32")):
    r = sv.reads(*(x.astype(dtype) for x in (q, k, v)), sv.longformer(20, [0]), impl=impl, offset=20)
    found[f"{impl} {dtype}"] = {
        "counts": {x: c.tolist() for x, c in r.counts.items()}, "o": r.o.tolist(), "lse": r.lse.tolist(), "pairs": r.pairs,
        "bytes": r.bytes, "once": {x: r.once(x) for x in r.counts}, "read": {x: r.read(x) for x in r.counts}, "text": str(r),
    }
start = _cuda.launch
try:
    sv.reads(*(x.astype("float16") for x in (q, k, v)), impl="cuda_rows")
except NotImplementedError as error:
    found["float16"] = str(error)
found["restored"] = _cuda.launch is start and getattr(cuda_rows, "launch", start) is start
print(json.dumps(found))
"""
MASK = sv.longformer(20, [0]).mask(70, 90, 20)
RUNS = ["cuda_rows float64", "cuda_tiled float64", "cuda_tiled float32"]


@pytest.fixture(scope="module")
def found():
    pytest.importorskip("sparsevis.kernels.cuda_tiled", reason="numba.cuda does not load here", exc_type=ImportError)
    command, environment = [sys.executable, "-W", "error", "-c", SCRIPT], {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("run", RUNS)
def test_watching_changes_no_result(found, run):
    q, k, v = (np.random.default_rng(i).standard_normal(shape) for i, shape in enumerate([(70, 5), (90, 5), (90, 3)]))
    o, lse = sv.reference.attention(q, k, v, MASK)
    close = 1e-12 if "float64" in run else 1e-5
    np.testing.assert_allclose(found[run]["o"], o, rtol=0, atol=close)
    np.testing.assert_allclose(found[run]["lse"], lse, rtol=0, atol=close)
    assert found[run]["pairs"] == MASK.sum()


def test_a_thread_of_cuda_rows_reads_what_its_query_may_attend(found):
    counts = {x: np.array(c).reshape(-1, len(c[0][0])) for x, c in found[RUNS[0]]["counts"].items()}
    whole = np.zeros((128, 90), int)                     # two blocks of 64 threads for 70 queries: 58 have nothing to do
    whole[:70] = MASK
    np.testing.assert_array_equal(counts["k"], 5 * whole)
    np.testing.assert_array_equal(counts["v"], 3 * whole)
    np.testing.assert_array_equal(counts["q"], np.diag(5 * whole.sum(1))[:, :70])
    assert (counts["o"].sum(1)[:70] >= 3 * MASK.sum(1)).all()                   # its sums grow in memory


@pytest.mark.parametrize("run", RUNS[1:])
def test_a_block_of_cuda_tiled_reads_a_number_once(found, run):
    r = found[run]
    for x in "kv":
        assert r["read"][x] == r["once"][x]
        assert r["read"][x] < found[RUNS[0]]["read"][x] / 2
    assert r["read"]["o"] == 0
    blocks = np.array(r["counts"]["k"]).sum(1)           # whole keys: those that some query attends, no key twice
    assert set(blocks.ravel()) <= {0, 5}
    assert (blocks.any(0) >= MASK.any(0)).all()


def test_bytes_and_table(found):
    rows, narrow = found[RUNS[0]], found[RUNS[2]]
    assert rows["bytes"] == 8 * sum(rows["read"].values())
    assert narrow["bytes"] == 4 * sum(narrow["read"].values())
    assert rows["text"].startswith(f"cuda_rows: {MASK.sum():,} pairs, 2 blocks of 64 threads\narray  numbers  ")
    assert f"{rows['read']['k']:,}" in rows["text"]


def test_a_refusal_is_the_kernels_and_leaves_nothing_behind(found):
    assert "float32 and float64, not float16" in found["float16"]
    assert found["restored"]


def test_errors():
    x = np.ones((4, 2))
    with pytest.raises(RuntimeError, match="NUMBA_ENABLE_CUDASIM to 1 before numba"):
        sv.reads(x, x, x)
    with pytest.raises(ValueError, match="'cuda_wgmma', and the simulator runs 'cuda_rows' and 'cuda_tiled'"):
        sv.reads(x, x, x, impl="cuda_wgmma")
    with pytest.raises(ValueError, match="of one head"):
        sv.reads(x[None], x[None], x[None])
    with pytest.raises(ValueError, match="65,536 pairs"):
        sv.reads(np.ones((300, 2)), np.ones((300, 2)), np.ones((300, 2)))


def test_sums():
    counts = {"k": np.array([[[2, 2, 0], [2, 0, 0]], [[0, 0, 2], [0, 0, 2]]])}
    r = Reads("mine", 2, 2, 5, counts, {"k": 2}, 4, None, None)
    assert (r.read("k"), r.once("k"), r.holds("k"), r.bytes) == (10, 6, 6, 40)
    assert json.loads(r.to_json()) == [{"array": "k", "numbers": 6, "read": 10, "once": 6}]
