"""`impl="cuda"`: the fastest CUDA kernel that can do what is asked on the GPU at hand. Never one on the CPU.

    cuda_wgmma    16-bit numbers on Hopper, compute capability 9.0
    cuda_mma      16-bit numbers, compute capability 8.0 and newer; gradients of both
    cuda_tiled    float32 and float64 on any GPU, every feature, gradients
    cuda_rows     is for reading

A kernel's `NEEDS` say what it can serve; the first that can is taken.
"""
from functools import lru_cache
from importlib import import_module

from ._cuda import SIMULATED, cuda, needs_device

__all__ = ["choose"]

LADDER = ("cuda_wgmma", "cuda_mma", "cuda_tiled")


def choose(dtype, d, dv, asked, call="forward"):
    """Return (name, why) of the kernel for a dtype, head dimensions, features that are asked for, and "forward" or "backward".

    Raises
    ------
    NotImplementedError
        If none can serve, with the reason of each.
    """
    needs_device("cuda")
    return _first(dtype, d, dv, asked, call, (0, 0) if SIMULATED else tuple(cuda.get_current_device().compute_capability))


@lru_cache
def _first(dtype, d, dv, asked, call, capability):
    reasons = {}
    for name in ("cuda_tiled",) if SIMULATED else LADDER:
        needs = import_module(f".{name}", __package__).NEEDS
        refusal = needs._replace(capability=(0, 0), only=False).refusal if SIMULATED else needs.refusal
        reasons[name] = refusal(dtype, d, dv, asked, call, capability)
        if reasons[name] is None:
            return name, _why(name, dtype, d, dv, capability, reasons)
    said = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise NotImplementedError(f"impl='cuda': no kernel can do this ({said}); impl='cpu' can, in host memory")


def _why(name, dtype, d, dv, capability, reasons):
    dims = f"head dimension {d}" + (f" and {dv}" if dv != d else "")
    gpu = "the simulator" if SIMULATED else f"compute capability {'.'.join(map(str, capability))}"
    passed = [f"not {other}: {reason}" for other, reason in reasons.items() if other != name]
    return "; ".join([f"{dtype}, {dims}, {gpu}", *passed])
