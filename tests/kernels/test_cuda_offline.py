"""Kernels compiled for GPUs that are not there: nothing in them may live in local memory, and products run where they should."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "gpu"))
offline = pytest.importorskip("offline")


@pytest.fixture(scope="module")
def kernels():
    if (reason := offline.missing()) is not None:
        pytest.skip(reason)
    return offline.shipped()


NAMES = [
    "mma forward 64", "mma forward 128", "mma forward 256", "mma backward keys 64", "mma backward queries 64", "mma backward keys 128",
    "mma backward queries 128", "wgmma forward 64 bf16 (64", "wgmma forward 64 f16 softcap", "wgmma forward 64 bf16 (192",
    "wgmma forward 128 bf16", "wgmma forward 128 f16 softcap", "wgmma forward 256", "tiled forward float32 64", "tiled forward float32 128",
    "tiled backward queries float32 64", "tiled backward keys float32 64", "tiled backward keys float32 128", "tiled forward float64 64",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_everything_stays_in_registers(kernels, name):
    """No stack, no spills, as many registers as its place on the GPU allows, and no product that is waited for by itself (C7512)."""
    for full in [x for x in kernels if x.startswith(name)]:
        kernel = kernels[full]
        found = offline.compiled(*kernel.build(), kernel.capability)
        assert (found.stack, found.spilled) == (0, 0), full
        assert found.registers <= 255
        assert found.counts.get(kernel.instruction, 0) >= 16, found.counts
        assert not [w for w in found.warnings if "C7512" in w or "C7508" in w], found.warnings


def test_every_name_is_shipped(kernels):
    assert not [name for name in NAMES if not any(full.startswith(name) for full in kernels)]
