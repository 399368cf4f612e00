"""The compiled kernel: all that `test_loops` asks, its threads, its cache, its other vector widths, its exponential."""
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest
from test_loops import Kernel, dense, draw, layout_of, picture

import sparsevis
from sparsevis.kernels import _exp, _launch, _simd, cpu

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="machine instructions: needs Numba's compiler, unset NUMBA_DISABLE_JIT")


class TestCpu(Kernel):
    forward = staticmethod(cpu.forward)


# ---------------------------------------------------------------- threads

@pytest.fixture
def all_threads():
    yield
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)


def bits(dtype):
    o, lse = cpu.forward(*draw(dtype, 4, 2, nq=150, nk=150), layout_of(picture("window", 150, 150), (64, 64)), scale=0.3)
    return o.tobytes() + lse.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_bits_for_any_number_of_threads(dtype, all_threads):
    seen = set()
    for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
        numba.set_num_threads(threads)
        seen |= {bits(dtype) for _ in range(5)}
    with ThreadPoolExecutor(3) as pool:                                        # several callers at once
        seen |= set(pool.map(bits, [dtype] * 12))
    assert len(seen) == 1


def test_threads_are_started_from_the_main_thread_alone(monkeypatch, all_threads):
    ran = []
    work = (lambda scratch: ran.append((threading.current_thread(), scratch)),)
    monkeypatch.setattr(numba, "get_num_threads", lambda: 4)
    _launch.on_all_threads(lambda f, scratch: f(scratch), work, object, items=100)
    assert all(len(set(each)) == 4 for each in zip(*ran, strict=True))               # threads, and buffers
    ran.clear()
    _launch.on_all_threads(lambda f, scratch: f(scratch), work, object, items=2)
    assert len({thread for thread, _ in ran}) == 2
    ran.clear()
    caller = threading.Thread(target=_launch.on_all_threads, args=(lambda f, scratch: f(scratch), work, object, 100))
    caller.start()
    caller.join()
    assert [thread for thread, _ in ran] == [caller]


def test_longest_lists_first():
    """Head by head where lists are about as long: 8 to 15 tiles, 4 to 7, 2 or 3, one, none."""
    mask = np.zeros((4, 8), bool)
    mask[1], mask[2, :3], mask[3, :5] = True, True, True
    layout = layout_of(mask, (1, 1))
    assert _launch.longest_first(layout, np.array([0]), 1).tolist() == [1, 3, 2, 0]
    assert _launch.longest_first(layout, np.array([0, 0]), 2).tolist() == [2, 3, 10, 11, 6, 7, 14, 15, 4, 5, 12, 13, 0, 1, 8, 9]
    mask[:, 0], mask[:, 5:] = True, True
    assert _launch.longest_first(layout_of(mask, (1, 1)), np.array([0, 0]), 1).tolist() == [1, 3, 5, 7, 2, 0, 6, 4]


# ---------------------------------------------------------------- compiling

def test_one_compilation_a_dtype():
    """Read-only, empty and one-row arrays are other types to Numba, and must not reach it."""
    counts = []
    for sizes in ({}, {"nq": 1, "nk": 1}, {"nk": 0}, {"d": 0}, {"dv": 0}, {"heads": 1, "kv_heads": 1}):
        q, k, v = draw("float32", **sizes)
        for x in (q, k, v):
            x.flags.writeable = False
        cpu.forward(q, k, v, layout_of(picture("causal", q.shape[1], k.shape[1]), (64, 64)), scale=1.0)
        counts.append(len(cpu.DRAIN[q.dtype.name].signatures))
    assert counts == counts[:1] * 6


@pytest.mark.parametrize("found_out", ["at once", "when saving"])
def test_compiles_without_a_place_for_the_cache(found_out, monkeypatch, tmp_path):
    (tmp_path / "file").touch()

    class Blocked(numba.core.caching._CacheLocator):
        """A place that Numba thinks well of, as it does of a zip file in a home that cannot be written."""

        from_function = classmethod(lambda cls, function, path: cls())
        get_cache_path = lambda self: str(tmp_path / "file" / "cache")
        get_source_stamp = get_disambiguator = lambda self: "0"

    def double(x):
        return 2 * x

    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [] if found_out == "at once" else [Blocked])
    with pytest.raises((RuntimeError, OSError)):
        numba.njit(cache=True)(double)(4)
    assert _launch.compiled(double, "double")(4) == 8


SCRIPT = """
import numpy as np
import sparsevis.kernels.cpu as cpu
from sparsevis.kernels import _simd
from sparsevis.layout import Layout
assert not any(f.signatures for f in cpu.DRAIN.values()), "compiled at import"
layout = Layout((40, 40), (40, 40), np.array([0, 1]), np.zeros(1, np.int32), np.zeros(1, np.int32),
                np.packbits(np.tri(40, dtype=bool)[None], axis=-1, bitorder="little"))
q, k, v = np.random.default_rng(0).standard_normal((3, 2, 40, 16)).astype("f4")
o, lse = cpu.forward(q, k, v, layout, scale=0.3)
stats = cpu.DRAIN[q.dtype.name].stats
print(_simd.WIDTH, sum(stats.cache_hits.values()), sum(stats.cache_misses.values()), o.tobytes().hex())
"""


def run(script, folder, **env):
    """What a fresh process prints that finds the package in a folder, and keeps its cache there."""
    env = {**os.environ, "PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(Path(folder) / "cache"), **env}
    command = [sys.executable, "-W", "error", "-c", script]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True).stdout


def test_cache_is_used_and_never_stale(tmp_path):
    """As for a processor without AVX-512 where this one has it: so the narrower registers are tested as well."""
    shutil.copytree(Path(sparsevis.__file__).parent, tmp_path / "sparsevis", ignore=shutil.ignore_patterns("__pycache__"))
    narrow = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+bmi,+bmi2"} if _simd.WIDTH == 64 else {}
    first, again = (run(SCRIPT, tmp_path, **narrow).split() for _ in range(2))
    assert first[1:3] == ["0", "1"]
    assert again[1:3] == ["1", "0"]
    q, k, v = np.random.default_rng(0).standard_normal((3, 2, 40, 16)).astype("f4")
    want, _ = dense(q, k, v, [np.tri(40, dtype=bool)] * 2, 0.3)
    for words in (first, again):
        assert int(words[0]) == min(_simd.WIDTH, 32)
        np.testing.assert_allclose(np.frombuffer(bytes.fromhex(words[3]), "f4").reshape(want.shape), want, atol=2e-5)

    callee = tmp_path / "sparsevis/kernels/_tile.py"
    text = callee.read_text()
    assert text.count("x[lane, p] * scale") == 2                        # docstring and code
    callee.write_text(text.replace("x[lane, p] * scale", "x[lane, p] * scale * 2"))
    edited = run(SCRIPT, tmp_path, **narrow).split()
    assert edited[1:3] == ["0", "1"]
    assert edited[3] != first[3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_works_in_a_forked_child(tmp_path):
    here = Path(sparsevis.__file__).parents[1]
    child = SCRIPT + """
import os
pid = os.fork()
if pid == 0:
    os._exit(0 if cpu.forward(q, k, v, layout, scale=0.3)[0].tobytes() == o.tobytes() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    run(child, here, NUMBA_CACHE_DIR=numba.config.CACHE_DIR)


def test_says_what_to_do_without_the_compiler():
    here = Path(sparsevis.__file__).parents[1]
    script = SCRIPT.replace("any(f.signatures for f in cpu.DRAIN.values())", "False").replace("o, lse = cpu", """
try:
    cpu""").replace("scale=0.3)", "scale=0.3)\nexcept RuntimeError as e:\n    print(e)\n    raise SystemExit", 1)
    assert "unset NUMBA_DISABLE_JIT" in run(script, here, NUMBA_DISABLE_JIT="1")


# ---------------------------------------------------------------- register tiles

def test_shapes_follow_the_features():
    assert _simd.shapes("+avx,+avx2,+avx512f") == (64, (4, 4), (8, 1))
    assert _simd.shapes("+avx,+avx2,-avx512f") == (32, (4, 2), (8, 1))
    assert _simd.shapes("+neon,+fp-armv8") == (16, (4, 4), (8, 2))
    assert _simd.shapes("")[0] == 16
    assert all(cpu.BLOCK % _simd.lanes(t) == 0 for t in ("float32", "float64"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_hyperbolic_tangent(dtype):
    """Within 4 unit roundoffs everywhere: also near 0, where 1 - 2 / (e ** 2x + 1) would have no digits left."""
    width = _simd.WIDTH // np.dtype(dtype).itemsize

    @numba.njit
    def tangent(x):
        for j in range(0, x.shape[1], width):
            _simd.store(x, 0, j, _exp.tanh(_simd.load(x, 0, j, 1, 1)))
    special = [0, -0.0, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 1e30, -1e30, 20, 19, 9] + [0] * 4
    x = np.concatenate([np.linspace(-25, 25, 4000), np.logspace(-9, 0, 80), -np.logspace(-9, 0, 80), special]).astype(dtype)
    y = x[None].copy()
    tangent(y)
    want = np.tanh(x.astype(np.longdouble))
    np.testing.assert_allclose(y[0], want, rtol=2 * np.finfo(dtype).eps, atol=0)
    assert (abs(y[0, ~np.isnan(x)]) <= 1).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exponential(dtype):
    """Within 2 unit roundoffs, where the error budget allows 4."""
    width = _simd.WIDTH // np.dtype(dtype).itemsize

    @numba.njit
    def exponential(x):
        for j in range(0, x.shape[1], width):
            _simd.store(x, 0, j, _exp.exp(_simd.load(x, 0, j, 1, 1)))
    info = np.finfo(dtype)
    special = [0, -np.inf, np.nan, -1e4, -1e30, 1e-30] + [0] * 10
    x = np.concatenate([np.linspace(-80, 5.5, 4000), -np.logspace(-9, 0, 80), special]).astype(dtype)
    assert len(x) % 16 == 0
    y = x[None].copy()
    exponential(y)
    want = np.exp(x.astype(np.longdouble))
    fine = x > np.log(info.smallest_normal)
    argument = abs(x[fine]) * info.eps                                         # x log2(e) is rounded, too
    assert (abs(y[0, fine] / want[fine] - 1) <= info.eps + argument).all()
    assert (y[0, x == 0] == 1).all()
    assert np.isnan(y[0, np.isnan(x)]).all()
    assert (y[0, x <= -1e4] == 0).all()
