"""Makes values.npz: what PyTorch and transformers compute for the cases of this folder, with the versions that computed it.

    python -m tests.foreign.make_values          (from the repository root, with `pip install "sparsevis[parity]"`)

The tests call the same two `compute` for the live comparison.
"""

import json
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from . import with_torch, with_transformers

__all__ = ["FILE", "load"]

FILE = Path(__file__).with_name("values.npz")


@cache
def load():
    """The committed values and what is known of their origin."""
    with np.load(FILE, allow_pickle=False) as file:
        values = {name: file[name] for name in file.files}
    return values, json.loads(str(values.pop("origin")))


def main():
    origin = {name: version(name) for name in ("torch", "transformers", "numpy")}
    origin |= {"python": platform.python_version(), "machine": platform.machine()}
    origin |= {"seeds": "RandomState(crc32 of the case's name); random blocks: the seed in layers.py and PLANS"}
    values = with_torch.compute() | with_transformers.compute()
    np.savez_compressed(FILE, origin=np.array(json.dumps(origin)), **values)
    print(f"{len(values)} arrays, {FILE.stat().st_size / 1024:.0f} KiB, {origin}")


if __name__ == "__main__":
    main()
