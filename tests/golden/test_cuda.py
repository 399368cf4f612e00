"""The CUDA kernels under the kit, in Numba's simulator: a process of its own, few and small calls; no GPU is needed."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

CODE = """
import json, sys
import sparsevis as sv
from sparsevis.golden import Dialect, calls, check

def kernel(q, k, v, *, pattern=None, offset=None, scale=None, softcap=None, sinks=None, bias=None):
    features = {"offset": offset, "scale": scale, "softcap": softcap, "sinks": sinks, "bias": bias, "impl": sys.argv[1]}
    return sv.attention(q, k, v, pattern, return_lse=True, **features)

every, most = int(sys.argv[2]), int(sys.argv[3])
some = [c for family in calls("full").values() for c in [x for x in family if x.nq * x.nk <= most and x.kv_heads * x.group < 5][::every]]
report = check(kernel, dialect=Dialect(axes="bhnd"), calls=some, shrink=False)
print(json.dumps(report.to_dict() | {"text": str(report)}))
"""


@pytest.mark.parametrize(("impl", "every", "most"), [("cuda_rows", 6, 700), ("cuda_tiled", 14, 250)])
def test_no_false_alarm_on_a_cuda_kernel(impl, every, most):
    if find_spec(f"sparsevis.kernels.{impl}") is None or find_spec("numba.cuda") is None:
        pytest.skip(f"{impl} or numba.cuda is not there")
    command = [sys.executable, "-W", "ignore", "-c", CODE, impl, str(every), str(most)]
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["ok"], report["text"]
    assert report["counts"]["pass"] >= 10
    assert set(report["unsupported"]) == {"padding"}
