"""`sparsevis golden`: vectors are written and judged, calls are drawn; `golden check` of functions is in test_main.py."""

import numpy as np
import pytest

from sparsevis import golden
from sparsevis.__main__ import main
from sparsevis.golden.manifest import load
from tests.golden import misbehaving

SOME = {"causal": [golden.Call(3, 5, right=0)], "sinks": [golden.Call(4, 4, sinks=True, kv_heads=2)]}


@pytest.fixture
def folder(tmp_path):
    golden.write_vectors(tmp_path / "vectors", calls=SOME, dlse=True)
    return tmp_path / "vectors"


def outputs_of(folder, into, wrong=0.0):
    """Leave what another program might have: o and gradients of every case."""
    into.mkdir()
    for name, _, p, want in load(folder)[1]:
        for part in ("o", "dq"):
            np.save(into / f"{name}.{part}.npy", (want.values[part] + wrong).astype(p.q.dtype))
    return into


def test_write(tmp_path, capsys):
    assert main(["golden", "write", str(tmp_path / "v"), "--dtype", "float16", "--seed", "3"]) in (0, None)
    assert "cases" in capsys.readouterr().out
    said, some = load(tmp_path / "v")
    assert (said["dtype"], said["seed"]) == ("float16", 3)
    assert len(some) > 150
    assert main(["golden", "write", str(tmp_path / "v")]) == 2
    assert "is not empty: name a new folder" in capsys.readouterr().err


def test_outputs_are_judged(folder, tmp_path, capsys):
    assert main(["golden", "check", str(folder), str(outputs_of(folder, tmp_path / "right"))]) == 0
    assert capsys.readouterr().out.startswith("outputs: conforms. 2 of 2 calls apply (vectors of spec 1, float32)")
    assert main(["golden", "check", str(folder), str(outputs_of(folder, tmp_path / "wrong", 1e-3))]) == 1
    assert "outputs: FAILS" in capsys.readouterr().out
    (tmp_path / "none").mkdir()
    assert main(["golden", "check", str(folder), str(tmp_path / "none")]) == 3
    assert "NOTHING WAS TESTED" in capsys.readouterr().out


def test_vectors_alone_are_held_against_the_reference(folder, capsys):
    assert main(["golden", "check", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("the vectors themselves: conforms.")
    raw = bytearray((folder / "values.npy").read_bytes())
    raw[-1] ^= 1
    (folder / "values.npy").write_bytes(raw)
    assert main(["golden", "check", str(folder)]) == 2
    assert "SHA-256" in capsys.readouterr().err


def test_frozen_vectors_are_what_the_reference_says():
    from tests.golden.make_vectors import FOLDER, SETS

    for dtype in SETS:
        report = golden.check_vectors(FOLDER / dtype)
        assert report.ok, report
        assert report.counts["unsupported"] == 0


def test_search(capsys):
    assert main(["golden", "search", "tests.golden.misbehaving:plain", "--seconds", "0.5"]) == 0
    assert capsys.readouterr().out.startswith("plain: conforms.")


def test_what_makes_no_sense(folder, capsys):
    assert main(["golden", "check", "tests.golden.misbehaving:plain", str(folder)]) == 2
    assert "is no folder of vectors" in capsys.readouterr().err
    assert main(["golden", "search", "tests.golden.misbehaving:nope"]) == 2
    assert "has no 'nope'" in capsys.readouterr().err
    assert callable(misbehaving.plain)
