"""Compile kernels for a GPU that is not there, and count what the compiler made of them: registers, stack, spills, instructions.

Needs numba-cuda and the wheels nvidia-cuda-nvcc, nvidia-nvvm and nvidia-cuda-nvdisasm. `python offline.py` compiles every shipped kernel.
"""
import re
import subprocess
import sys
import sysconfig
import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

__all__ = ["Machine", "compiled", "missing", "shipped"]

TOOLS = Path(sysconfig.get_paths()["purelib"], "nvidia", "cu13", "bin")


class Machine(NamedTuple):
    """What a kernel became: registers of a thread, bytes of stack and spills, ptxas's warnings, how often each instruction stands."""

    registers: int
    stack: int
    spilled: int
    warnings: list
    counts: dict


def missing():
    """What is missing to compile, or None."""
    if find_spec("numba_cuda") is None:
        return "numba-cuda is not installed"
    absent = [name for name in ("ptxas", "nvdisasm") if not (TOOLS / name).exists()]
    return f"{' and '.join(absent)} not found: pip install nvidia-cuda-nvcc nvidia-cuda-nvdisasm nvidia-nvvm" if absent else None


def compiled(built, capability):
    """Compile what a factory built for a compute capability: (8, 0) or (9, 0, "a")."""
    from numba import cuda
    from numba.cuda import compiler, dispatcher, types
    device = SimpleNamespace(compute_capability=capability[:2])
    compiler.get_current_device = dispatcher.get_current_device = lambda: device       # device functions ask the driver
    options = {name: built.kernel.targetoptions.get(name) for name in ("fastmath", "launch_bounds")}
    signature = tuple(getattr(types, name) for name in built.signature)
    ptx, _ = cuda.compile_ptx(built.kernel.py_func, signature, cc=capability, **options)
    with tempfile.TemporaryDirectory() as folder:
        source, cubin = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(ptx)
        architecture = "sm_" + "".join(map(str, capability))
        log = _run("ptxas", "-v", f"-arch={architecture}", source, "-o", cubin)
        return _read(log.stderr, _run("nvdisasm", "-c", cubin).stdout)


def _run(tool, *arguments):
    done = subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{tool}: {done.stderr}")
    return done


def _read(log, listing):
    counts = {}
    for name in re.findall(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9]+)", listing, re.M):
        counts[name] = counts.get(name, 0) + 1
    stack, stores, loads = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)[-1]
    warnings = [line for line in log.splitlines() if "arning" in line or "C75" in line]
    return Machine(int(re.findall(r"Used (\d+) registers", log)[-1]), int(stack), int(stores) + int(loads), warnings, counts)


# ---------------------------------------------------------------- what is shipped

def shipped(module):
    """Return [(name, capability, instruction, build)]: every specialisation that a module's `SHIPPED` or the list here names."""
    found = import_module(f"sparsevis.kernels.{module}")
    return list(LISTS[module](found))


def _mma(kernels):
    cards = {"consumer": 99 << 10, "A100": 163 << 10}
    for d, dv in ((16, 16), (40, 40), (64, 64), (80, 80), (96, 96), (128, 128), (192, 192), (256, 256), (64, 128), (192, 128), (128, 64)):
        tiles = {kernels.tile_of(d, dv, limit): card for card, limit in reversed(cards.items())}
        for tile, card in tiles.items():
            for dtype, capped in (("bf16", False), ("f16", True)):
                name = f"d {d} dv {dv} {dtype}{' softcap' * capped} {card} {tuple(tile)}"
                yield name, (8, 0), "HMMA", lambda a=(d, dv, dtype, capped, tile): kernels.make_attend(*a)


LISTS = {"cuda_mma": _mma}


def main(modules):
    for module in modules:
        for name, capability, instruction, build in shipped(module):
            m = compiled(build(), capability)
            count = {n: m.counts.get(n, 0) for n in (instruction, "LDSM")}
            print(f"{module} {name}: {m.registers} registers, stack {m.stack}, spilled {m.spilled}, {count}, "
                  f"{sum(m.counts.values())} instructions {m.warnings}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or LISTS)
