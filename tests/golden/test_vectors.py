"""Golden vectors: written and judged, frozen ones agreed by oracles that share no code, and files from anywhere refused."""

import hashlib
import json
import os
import shutil
import tracemalloc

import numpy as np
import pytest

from sparsevis import reference
from sparsevis.golden import Call, Model, check_vectors, manifest, npy, write_vectors
from sparsevis.golden.budget import expect
from sparsevis.golden.cases import calls
from sparsevis.golden.compare import ratios
from sparsevis.golden.conventions import conventions
from sparsevis.golden.draws import numbers
from sparsevis.golden.npy import Refused
from tests.golden.make_vectors import FOLDER, SETS, frozen
from tests.oracles import balls

ONE = {"window": [Call(33, 33, left=6, right=0), Call(17, 33, left=3, right=0)], "all": [Call(9, 13)]}


def outputs_of(folder, change=lambda call, problem: problem, store=np.float32):
    """What the reference makes of each case, or of another reading of it, as a stranger's program would hand it over."""
    found = {}
    for name, call, p, want in manifest.load(folder)[1]:
        p = change(call, p)
        o, lse = reference.attention(p.q, p.k, p.v, **p.options())
        found[name] = {"o": o, "lse": lse}
        if "dq" in want.values:
            dlse = p.dlse if np.any(p.dlse) else None
            grads = reference.attention_grad(p.do, p.q, p.k, p.v, dlse=dlse, **p.options())
            found[name] |= dict(zip(("dq", "dk", "dv"), grads, strict=True))
    return {name: {part: x.astype(store) for part, x in got.items()} for name, got in found.items()}


# ---------------------------------------------------------------- written and judged


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_what_is_written_is_read(dtype, tmp_path):
    names = write_vectors(tmp_path / "v", calls=ONE, dtype=dtype, dlse=True)
    assert names == ["window-0", "window-1", "all-0"]
    said, some = manifest.load(tmp_path / "v")
    assert (said["dtype"], [x[0] for x in some]) == (dtype, names)
    for (_, call, p, want), asked in zip(some, [*ONE["window"], *ONE["all"]], strict=True):
        assert call == asked
        assert p.q.dtype.name == dtype
        np.testing.assert_array_equal(p.mask, call.mask)
        right = expect(p.q, p.k, p.v, **p.options(), do=p.do, dlse=p.dlse)
        for part in manifest.RESULTS:
            np.testing.assert_allclose(want.values[part], right.values[part], rtol=1e-12, atol=1e-13)
            np.testing.assert_allclose(want.errors[part], right.errors[part], rtol=1e-6)
    report = check_vectors(tmp_path / "v", outputs_of(tmp_path / "v", store=np.float64))
    assert report.ok
    assert report.counts == {"pass": 3, "fail": 0, "unsupported": 0}


def test_every_call_of_a_level_can_be_written(tmp_path):
    names = write_vectors(tmp_path / "v")
    assert len(names) > 180
    said = {family.replace(" ", "-") for family in calls("quick")} - {"alibi"}       # vectors have no slopes
    assert {name.rpartition("-")[0] for name in names} == said
    assert check_vectors(tmp_path / "v", outputs_of(tmp_path / "v")).ok


def test_outputs_come_as_files(tmp_path):
    write_vectors(tmp_path / "v", calls=ONE, dtype="bfloat16")
    (tmp_path / "out").mkdir()
    found = outputs_of(tmp_path / "v", store="float64")
    from ml_dtypes import bfloat16

    for name, got in found.items():
        npy.write(tmp_path / "out" / f"{name}.o.npy", got["o"].astype(bfloat16))
        np.save(tmp_path / "out" / f"{name}.lse.npy", np.asfortranarray(got["lse"].astype(np.float32)))
    assert check_vectors(tmp_path / "v", tmp_path / "out").ok
    npy.write(tmp_path / "out" / "window-0.o.npy", found["window-0"]["o"].astype(np.float32) * 1.01)
    report = check_vectors(tmp_path / "v", tmp_path / "out")
    assert report.counts == {"pass": 2, "fail": 1, "unsupported": 0}
    (tmp_path / "out" / "windos-0.o.npy").write_bytes(b"")
    with pytest.raises(ValueError, match=r"windos-0.o.npy: needs to be CASE.o.npy"):
        check_vectors(tmp_path / "v", tmp_path / "out")


def test_nothing_handed_over_is_not_a_pass(tmp_path):
    write_vectors(tmp_path / "v", calls=ONE)
    report = check_vectors(tmp_path / "v", {})
    assert (report.ok, report.exit_code, report.counts["unsupported"]) == (False, 3, 3)


def test_shapes_and_names_that_do_not_fit(tmp_path):
    write_vectors(tmp_path / "v", calls=ONE)
    found = outputs_of(tmp_path / "v")
    turned = {"all-0": {"o": found["all-0"]["o"].swapaxes(-1, -2)}}
    assert "needs (1, 1, 9, 8)" in check_vectors(tmp_path / "v", turned).worst()[0].reason
    with pytest.raises(ValueError, match="no case is called 'all-1'"):
        check_vectors(tmp_path / "v", {"all-1": found["all-0"]})
    with pytest.raises(ValueError, match="asks for no dx"):
        check_vectors(tmp_path / "v", {"all-0": {"dx": found["all-0"]["o"]}})
    with pytest.raises(ValueError, match="not empty"):
        write_vectors(tmp_path / "v", calls=ONE)


@pytest.mark.parametrize("words", ["window one key longer on the left", "scale 1/d", "causal ignored", "causal without the query itself"])
def test_a_mistake_in_another_language_is_named(words, tmp_path):
    write_vectors(tmp_path / "v", calls={"window": [*ONE["window"], Call(40, 40, right=0), Call(33, 48, left=9, right=0)]})
    wrong = outputs_of(tmp_path / "v", lambda call, p: dict(conventions(call, p)).get(words, p))
    wrong = {name: {x: got[x] for x in ("o", "lse")} for name, got in wrong.items()}
    report = check_vectors(tmp_path / "v", wrong)
    assert report.exit_code == 1
    assert report.diagnosis[0][0] == words


# ---------------------------------------------------------------- the numbers


def test_splitmix64_is_the_published_one():
    """The first words from the state 1234567, by whole numbers of Python; their highest bits are the numbers."""
    state, words = 1234567, []
    for _ in range(5):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        words.append(z ^ (z >> 31))
    assert words[:2] == [6457827717110365317, 3203168211198807973]
    for dtype, bits in (("bfloat16", 8), ("float16", 11), ("float32", 24)):
        x, after = numbers(1234567, 5, dtype)
        assert x.tolist() == [(word >> (64 - bits)) / 2 ** (bits - 2) - 2 for word in words]
        assert after == state
        from sparsevis.golden.model import dtype_of

        assert np.array_equal(x, x.astype(dtype_of(dtype)).astype(float))


# ---------------------------------------------------------------- the frozen set


def test_the_frozen_set_is_small():
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1 << 20
    assert {path.suffix for path in files} == {".npy", ".json", ".md"}


@pytest.mark.parametrize("dtype", SETS)
def test_the_frozen_set_is_made_again_bit_for_bit(dtype, tmp_path):
    """Decimals, scalar loops and the reference agree, or `frozen` raises; budgets may differ by one step of their ten bits."""
    made = frozen(dtype)
    manifest.save(tmp_path / "v", made, dtype=dtype, model=Model.of(manifest.dtype_of(dtype)), seed=7)
    for file in ("inputs.npy", "pairs.npy", "values.npy"):
        assert (tmp_path / "v" / file).read_bytes() == (FOLDER / dtype / file).read_bytes(), file
    new, old = (npy.read(folder / "errors.npy")[0] for folder in (tmp_path / "v", FOLDER / dtype))
    assert np.isfinite(old).all()
    np.testing.assert_allclose(new, old, rtol=2.0**-9, atol=0)
    new, old = (json.loads((folder / "manifest.json").read_text()) for folder in (tmp_path / "v", FOLDER / dtype))
    del new["files"]["errors.npy"]["sha256"], old["files"]["errors.npy"]["sha256"]
    assert new == old


def test_every_frozen_value_lies_in_its_ball():
    pytest.importorskip("flint", reason="python-flint is not installed: pip install python-flint")
    for name, call, p, want in manifest.load(FOLDER / "float32")[1]:
        wide = expect(p.q, p.k, p.v, model=Model.of("float64"), **p.options())
        mask = np.broadcast_to(p.mask, (*p.q.shape[:3], p.k.shape[2]))
        for b, h in np.ndindex(p.q.shape[:2]):
            arrays = p.q[b, h], p.k[b, h // call.group], p.v[b, h // call.group]
            features = {"allowed": mask[b, h], "scale": p.scale, "softcap": p.softcap, "bias": None if p.bias is None else p.bias[h],
                        "sink": None if p.sinks is None else p.sinks[h]}  # fmt: skip
            for part, truth in zip(("o", "lse"), balls.attention(*arrays, **features), strict=True):
                assert balls.certified(want.values[part][b, h], truth, wide.errors[part][b, h]), name


@pytest.mark.parametrize("dtype", SETS)
def test_the_frozen_set_passes_what_is_right_and_nothing_else(dtype):
    found = outputs_of(FOLDER / dtype, store=np.float64)
    assert check_vectors(FOLDER / dtype, found).ok
    _, some = manifest.load(FOLDER / dtype)
    for name, *_, want in some:
        for part, x in found[name].items():
            finite = np.isfinite(x)
            wrong = np.where(finite, x + 1.5 * want.errors[part] + 1e-30, 0.0)
            assert ratios(wrong, want.values[part], want.errors[part]).max() > 1, (name, part)


# ---------------------------------------------------------------- hostile files


@pytest.fixture
def folder(tmp_path):
    write_vectors(tmp_path / "v", calls=ONE)
    return tmp_path / "v"


def signed(folder, file, raw):
    """The bytes in the place of a file, under the right SHA-256: an enemy can compute that, too."""
    said = json.loads((folder / "manifest.json").read_text())
    (folder / file).write_bytes(raw)
    said["files"][file]["sha256"] = hashlib.sha256(raw).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(said))


def npy_file(header, data=b"", version=b"\x01\x00"):
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + data


def header(descr="'<f8'", shape="(3,)", order="False"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()


HOSTILE = {
    "claims 8 PiB": npy_file(header(shape="(1125899906842624,)")),
    "claims more than 2**64": npy_file(header(shape="(4294967296, 4294967296, 4294967296)"), bytes(24)),
    "one byte short": npy_file(header(), bytes(23)),
    "one byte more": npy_file(header(), bytes(25)),
    "pickled objects": npy_file(header("'|O'"), b"cos\nsystem\n(S'true'\ntR."),
    "structured dtype": npy_file(header("[('a', '<f8')]"), bytes(24)),
    "dtype with a subarray": npy_file(header("'(1000000,)<f8'"), bytes(24)),
    "void": npy_file(header("'|V8'"), bytes(24)),
    "big-endian": npy_file(header("'>f8'"), bytes(24)),
    "longdouble": npy_file(header("'<f16'"), bytes(48)),
    "an expression": npy_file(header(shape="(3,) * 10**9"), bytes(24)),
    "a call": npy_file(header("__import__('os').system('true')"), bytes(24)),
    "negative": npy_file(header(shape="(-3,)"), bytes(24)),
    "deep": npy_file(header(shape="(" * 4000)),
    "nine axes": npy_file(header(shape="(1, 1, 1, 1, 1, 1, 1, 1, 3)"), bytes(24)),
    "header beyond the end": b"\x93NUMPY\x02\x00" + (1 << 31).to_bytes(4, "little"),
    "no header": b"\x93NUMPY\x01\x00",
    "version 9": npy_file(header(), bytes(24), b"\x09\x00"),
    "a zip": b"PK\x03\x04" + bytes(60),
    "empty": b"",
    "two axes": npy_file(header(shape="(3, 1)"), bytes(24)),
    "booleans of 2": npy_file(header("'|b1'"), b"\x02\x02\x02"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_arrays_are_refused_before_any_allocation(name, folder):
    signed(folder, "values.npy", HOSTILE[name])
    tracemalloc.start()
    with pytest.raises(Refused, match=r"values.npy"):
        check_vectors(folder, {})
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "two axes"])
def test_hostile_outputs_are_refused(name, folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "all-0.o.npy").write_bytes(HOSTILE[name])
    with pytest.raises(Refused, match=r"all-0.o.npy"):
        check_vectors(folder, tmp_path / "out")


def test_a_changed_byte_is_noticed(folder):
    raw = bytearray((folder / "values.npy").read_bytes())
    raw[-1] ^= 1
    (folder / "values.npy").write_bytes(raw)
    with pytest.raises(Refused, match="SHA-256"):
        check_vectors(folder, {})


@pytest.mark.skipif(os.name == "nt", reason="no links or pipes to make")
def test_links_pipes_folders_and_giants_are_refused(folder, tmp_path):
    path = folder / "values.npy"
    real = shutil.copy(path, tmp_path / "real.npy")
    path.unlink()
    with pytest.raises(Refused, match="No such file"):
        check_vectors(folder, {})
    path.symlink_to(real)
    with pytest.raises(Refused):
        check_vectors(folder, {})
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Refused, match="not a regular file"):
        check_vectors(folder, {})
    path.unlink()
    path.mkdir()
    with pytest.raises(Refused, match="not a regular file"):
        check_vectors(folder, {})
    path.rmdir()
    with open(path, "wb") as file:
        file.truncate(npy.LIMIT + 1)  # sparse: no byte of it is stored
    with pytest.raises(Refused, match="are the most"):
        check_vectors(folder, {})


def change(*path, to):
    def apply(said):
        at = said
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = to

    return apply


CASE = ("cases", 0)
LIES = {
    "another format": change("format", to="x"),
    "a later spec": change("spec", to=2),
    "spec is a boolean": change("spec", to=True),
    "a path for a file": lambda said: said["files"].update({"../../x.npy": said["files"]["values.npy"]}),
    "no file": lambda said: said["files"].pop("errors.npy"),
    "a dtype to evaluate": change("dtype", to="O"),
    "values as float32": change("files", "values.npy", "dtype", to="float32"),
    "name with a path": change(*CASE, "case", to="../x"),
    "name with HTML": change(*CASE, "case", to="<img src=x onerror=alert(1)>"),
    "two of one name": lambda said: said["cases"].append(said["cases"][0]),
    "an unknown key": change(*CASE, "code", to="import os"),
    "values by another word": change(*CASE, "call", "values", to="__import__"),
    "no query": lambda said: said["cases"][0]["inputs"].pop("q"),
    "start below 0": change(*CASE, "inputs", "q", "start", to=-1),
    "start beyond the end": change(*CASE, "inputs", "q", "start", to=1 << 39),
    "another shape": change(*CASE, "inputs", "q", "shape", to=[1, 1, 33, 9]),
    "a huge shape": change(*CASE, "inputs", "q", "shape", to=[65536] * 5),
    "six axes": change(*CASE, "results", "o", "shape", to=[1] * 6),
    "huge sizes": change(*CASE, "call", "nq", to=1 << 40),
    "a size of 1.5": change(*CASE, "call", "nq", to=1.5),
    "seen for ever": change(*CASE, "call", "seen", to=1 << 62),
    "documents that do not sum": change(*CASE, "call", "lengths", to=[1, 2]),
    "scale as text": change(*CASE, "scale", to="1"),
    "another scale": change(*CASE, "scale", to=2.0),
    "softcap without the call": change(*CASE, "softcap", to=2.0),
    "a model of strange dtype": change("model", "acc", to="int3"),
    "a model of strange kind": change("model", "exp", to="4"),
    "a pattern of control characters": change(*CASE, "pattern", to="\x1b[2J"),
    "cases are no list": change("cases", to={"0": 1}),
}


@pytest.mark.parametrize("name", LIES)
def test_manifests_that_lie_are_refused(name, folder):
    said = json.loads((folder / "manifest.json").read_text())
    LIES[name](said)
    (folder / "manifest.json").write_text(json.dumps(said))
    tracemalloc.start()
    with pytest.raises(Refused):
        check_vectors(folder, {})
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"spec": NaN}', '{"spec": 1, "spec": 1}', "[" * 100_000, '"\\ud800"', "1e999"])
def test_manifests_that_are_none_are_refused(text, folder):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(Refused, match=r"manifest.json"):
        check_vectors(folder, {})
    (folder / "manifest.json").write_bytes(b"\xff\xfe" + text.encode())
    with pytest.raises(Refused, match=r"manifest.json"):
        check_vectors(folder, {})


def test_a_negative_budget_is_refused(folder):
    errors = npy.read(folder / "errors.npy")[0].copy()
    errors[3] = -1
    npy.write(folder / "new.npy", errors)
    raw = (folder / "new.npy").read_bytes()
    (folder / "new.npy").unlink()
    signed(folder, "errors.npy", raw)
    with pytest.raises(Refused, match="negative"):
        check_vectors(folder, {})
