"""The table of peers, and every one of them that is installed on a problem it can solve."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from sparsevis.bench import PEERS, measure
from sparsevis.patterns import Dense, bigbird, longformer, mistral

from .fakes import TINY, peer

OURS = ("cpu", "cpu_plain", "loops", "numpy", "scipy", "reference")


def test_table():
    assert PEERS[0].name == "cpu"
    assert len({p.name for p in PEERS}) == len(PEERS)
    assert all(p.can for p in PEERS)


def test_why_not():
    assert peer("x").why_not(TINY, 600, 4 << 30) is None
    assert peer("x", modules=("no_such_library",)).why_not(TINY, 600, 0) == "no_such_library is not installed: pip install no_such_library"
    assert peer("x", unable=lambda case: f"not {case.dtype}").why_not(TINY, 600, 0) == "not float32"
    assert peer("x", needs=lambda case: 6 << 30).why_not(TINY, 600, 4 << 30) == "would take about 6.0 GiB, and the limit is 4.0 GiB"
    assert peer("x", most=2_000_000).why_not(TINY, 2_000_001, 4 << 30) == "too slow for more than 2 million pairs"


def test_what_needs_n_squared_memory_says_so():
    big = replace(TINY, n=1 << 20)
    for p in PEERS:
        asked = p.needs(big)
        assert asked == 0 or asked >= 1 << 40 or p.name == "sdpa"
    sdpa = next(p for p in PEERS if p.name == "sdpa")
    assert (sdpa.needs(big), sdpa.needs(replace(big, pattern=mistral(8)))) == (0, 5 << 40)


@pytest.mark.parametrize(("pattern", "dtype"), [(mistral(20), "float32"), (longformer(20, (0, 5)), "float16")], ids=["window", "global"])
def test_forward(pattern, dtype):
    case = replace(TINY, pattern=pattern, dtype=dtype, n=97, d=8)
    (found,) = measure([case], peers=[p for p in PEERS if p.name in OURS], rounds=2, threads=2)["cases"]
    rows = {row["peer"]: row for row in found["rows"]}
    assert list(rows) == [p.name for p in PEERS if p.name in OURS]
    if not rows["scipy"].get("seconds"):
        assert rows.pop("scipy")["skipped"].startswith("scipy is not installed")
    for row in rows.values():
        assert row["error"] <= row["tolerance"]
        for name in ("seconds", "best", "ratio", "cores", "flops", "of_peak", "prepare_seconds"):
            assert row[name] > 0
        assert row["rounds"] == 2
        assert {"call_bytes", "prepare_bytes"} <= set(row)
        assert row["flops"] == pytest.approx(4 * 8 * found["pairs"] / row["seconds"])
        assert row["of_peak"] == pytest.approx(row["flops"] / found["peak"])
    assert {name for name, row in rows.items() if "first_seconds" in row} == {"cpu", "cpu_plain"}
    assert rows["cpu"]["ratio"] == 1


def test_backward_and_layout():
    cases = [replace(TINY, kind="backward", n=97, d=8), replace(TINY, kind="layout", pattern=bigbird(random_blocks=1), n=640)]
    backward, layout = measure(cases, peers=PEERS[:1], rounds=1)["cases"]
    assert backward["rows"][0]["error"] <= backward["rows"][0]["tolerance"]
    assert backward["rows"][0]["flops"] == pytest.approx(10 * 8 * backward["pairs"] / backward["rows"][0]["seconds"])
    assert layout["rows"][0]["error"] == 0
    assert not {"flops", "of_peak", "of_inputs"} & set(layout["rows"][0])


# ---------------------------------------------------------------- libraries that need not be there

CODE = """
import json, sys
from dataclasses import replace
from sparsevis.bench import CASES, PEERS, measure
names, small = json.loads(sys.argv[1])
cases = [replace(next(c for c in CASES if c.name == name), n=256, heads=2, peers=None) for name in small]
peers = [p for p in PEERS if p.name in names]
print(json.dumps(measure(cases, peers=peers, rounds=1, threads=2)))
"""


def elsewhere(names, *cases):
    """Measure in a process of its own, where PyTorch is loaded before Numba starts threads and warns as it likes."""
    command = [sys.executable, "-W", "ignore", "-c", CODE, json.dumps([names, cases])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [{row["peer"]: row for row in case["rows"]} for case in json.loads(done.stdout.splitlines()[-1])["cases"]]


def test_torch():
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    windows, half, backward, layout = elsewhere(
        ["cpu", "flex 128", "sdpa"], "window-256", "window-1024-float16", "causal-backward", "layout-longformer"
    )
    for rows in (windows, half):
        assert rows["sdpa"]["error"] <= rows["sdpa"]["tolerance"]
        assert rows["flex 128"].get("error", 0) <= rows["flex 128"].get("tolerance", 0), rows
        assert "ratio" in rows["flex 128"] or "C++ compiler" in rows["flex 128"]["skipped"]
    assert backward["sdpa"]["error"] <= backward["sdpa"]["tolerance"]
    assert layout["flex 128"].get("error", 0) == 0


def test_jax():
    pytest.importorskip("jax", reason="JAX is not installed: pip install jax")
    for rows in elsewhere(["cpu", "jax"], "window-256", "dense", "causal", "causal-backward"):
        assert rows["jax"]["error"] <= rows["jax"]["tolerance"]
    (double,) = elsewhere(["cpu", "jax"], "causal-float64")
    assert double["jax"]["skipped"] == "is float32 unless told otherwise"


def test_dense_has_a_name_everywhere():
    (found,) = measure([replace(TINY, pattern=Dense())], peers=[p for p in PEERS if p.name in OURS], rounds=1)["cases"]
    assert found["pairs"] == 2 * 24 * 24
    assert not [row for row in found["rows"] if row.get("wrong") or row.get("failed")]
