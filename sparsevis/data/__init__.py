"""Queries, keys and values of a trained model reading a real text, so that a pattern can be judged on attention as it occurs.

Random inputs attend to everything a little; trained heads do not. The capture "alice" is a passage of the Mad Tea-Party as read by
the six-layer BERT all-MiniLM-L6-v2: 512 tokens, 12 heads, three layers. Heads to look at first, with what they do on this text:

=======  ===============================================================================================
layer 0  head 2 reads the previous token and little else (0.99 of its weight from position 128 on);
         heads 7, 8 and 11 spread over more than 400 keys: what no sparse pattern keeps
layer 2  heads 8 and 11 stay near (two thirds of the weight within 4 tokens);
         head 9 looks for the same word elsewhere (0.28 of its weight on other copies of the query's token)
layer 4  head 10 leaves 0.45 of its weight on ``[CLS]``, whose value is 1/34 as long as the median one:
         an attention sink, weight put where it does nothing
=======  ===============================================================================================

``capture.py`` is the script that made it: the whole model in plain NumPy, and a check that the stored numbers are the model's.
"""

import io
import json
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

__all__ = ["Capture", "load", "names"]


@dataclass(frozen=True, eq=False, repr=False)
class Capture:
    """Queries, keys and values of some layers of a model on one text.

    Attributes
    ----------
    name : str
        What `load` calls it.
    q, k, v : ndarray of float32, (layers, heads, n, head_dim)
        As the model computes them, before the scale ``1 / sqrt(head_dim)``; the values are those of the float16 file.
    layers : tuple of int
        The model's number of each captured layer, counted from 0.
    tokens : tuple of str
        The n pieces of text, one a position; a piece beginning with ``##`` continues the word before it.
    text : str
        What was read.
    provenance : dict
        Model, package, checksums, licence and source of the text.

    Examples
    --------
    >>> alice = load("alice")
    >>> alice
    <Capture alice: q, k, v (3, 12, 512, 32) float32 of layers 0, 2, 4; 512 tokens>
    >>> alice.tokens[1:8]
    ('“', 'have', 'some', 'wine', ',', '”', 'the')
    """

    name: str
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    layers: tuple[int, ...]
    tokens: tuple[str, ...]
    text: str
    provenance: dict

    def __repr__(self):
        layers = ", ".join(map(str, self.layers))
        return f"<Capture {self.name}: q, k, v {self.q.shape} {self.q.dtype} of layers {layers}; {len(self.tokens)} tokens>"

    def layer(self, number):
        """Return q, k and v of one layer, (heads, n, head_dim) each; `number` is the model's, counted from 0.

        Examples
        --------
        >>> q, k, v = load("alice").layer(2)
        >>> q.shape
        (12, 512, 32)
        """
        if number not in self.layers:
            raise ValueError(f"no layer {number!r} in {self.name!r}: it holds layers {', '.join(map(str, self.layers))}")
        i = self.layers.index(number)
        return self.q[i], self.k[i], self.v[i]


def names():
    """Return the names of the captures `load` knows.

    Examples
    --------
    >>> names()
    ('alice',)
    """
    return tuple(sorted(file.name.removesuffix(".npz") for file in files(__name__).iterdir() if file.name.endswith(".npz")))


def load(name="alice"):
    """Return the capture called `name`, read from the package: no network, no model, no cache; each call returns fresh arrays.

    Examples
    --------
    >>> q, k, v = load("alice").layer(0)
    >>> scores = q[2] @ k[2].T / np.sqrt(q.shape[-1])
    >>> int(scores[400].argmax())                           # head 2 of layer 0: query 400 reads key 399
    399
    """
    if name not in names():
        raise ValueError(f"no capture {name!r}: there is {', '.join(map(repr, names()))}")
    return unpack(name, (files(__name__) / f"{name}.npz").read_bytes())


def unpack(name, raw):
    """Return the capture held by the bytes of an ``.npz`` file, as ``capture.pack`` writes it."""
    with np.load(io.BytesIO(raw), allow_pickle=False) as file:
        return Capture(
            name=name,
            **{x: file[x].astype(np.float32) for x in "qkv"},
            layers=tuple(file["layers"].tolist()),
            tokens=tuple(file["tokens"].tolist()),
            text=str(file["text"]),
            provenance=json.loads(str(file["provenance"])),
        )
