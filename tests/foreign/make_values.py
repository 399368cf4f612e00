"""Makes values.npz: what other libraries compute for the cases of this folder, with the versions that computed it.

    python -m tests.foreign.make_values [library ...]          (from the repository root, with `pip install "sparsevis[parity]"`)

With names of libraries, those alone are computed again and the others kept: not all need to live in one environment. The tests call the
same `compute` for the live comparison.
"""

import json
import platform
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from . import with_jax, with_onnx, with_torch, with_transformers

__all__ = ["FILE", "LIBRARIES", "NEEDS", "load"]

FILE = Path(__file__).with_name("values.npz")
LIBRARIES = {"torch": with_torch, "transformers": with_transformers, "jax": with_jax, "onnx": with_onnx}
NEEDS = {"torch": ["torch"], "transformers": ["torch", "transformers"], "jax": ["jax"], "onnx": ["onnx", "onnxruntime"]}
KINDS = {"jax": ("jax", "jax scored"), "onnx": tuple(f"{x}{y}" for x in ("onnx", "onnxruntime") for y in ("", " scored", " past"))}
KINDS["transformers"] = "masks", "sinks", "longformer", "bigbird", "bigbird plan"


@cache
def load():
    """The committed values and what is known of their origin."""
    with np.load(FILE, allow_pickle=False) as file:
        values = {name: file[name] for name in file.files}
    return values, json.loads(str(values.pop("origin")))


def library_of(name):
    """Which library computed a value."""
    kind = name.partition("/")[0]
    return next((library for library, kinds in KINDS.items() if kind in kinds), "torch")


def main(names):
    asked = names or list(LIBRARIES)
    values, origin = load() if names else ({}, {})
    values = {name: x for name, x in values.items() if library_of(name) not in asked}
    for library in asked:
        values |= LIBRARIES[library].compute()
        origin = origin | {name: version(name) for name in NEEDS[library]}
    origin = origin | {"numpy": version("numpy"), "python": platform.python_version(), "machine": platform.machine()}
    origin |= {"seeds": "RandomState(crc32 of the case's name); random blocks: the seed in layers.py and PLANS"}
    np.savez_compressed(FILE, origin=np.array(json.dumps(origin)), **values)
    print(f"{len(values)} arrays, {FILE.stat().st_size / 1024:.0f} KiB, {origin}")


if __name__ == "__main__":
    main(sys.argv[1:])
