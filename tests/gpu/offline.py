"""Compile kernels for a GPU that is not there, and count what the compiler made of them: registers, stack, spills, instructions.

Needs numba-cuda and the wheels nvidia-cuda-nvcc, nvidia-nvvm and nvidia-cuda-nvdisasm. `python tests/gpu/offline.py [WORD ...]` compiles
the shipped kernels whose names hold one of the words, and prints what became of each.
"""
import re
import subprocess
import sys
import sysconfig
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

__all__ = ["Machine", "compiled", "missing", "shipped"]

TOOLS = Path(sysconfig.get_paths()["purelib"], "nvidia", "cu13", "bin")
AMPERE, HOPPER = (8, 0), (9, 0, "a")


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
        return "numba-cuda is not installed: pip install 'sparsevis[cuda]'"
    absent = [name for name in ("ptxas", "nvdisasm") if not (TOOLS / name).exists()]
    return f"{' and '.join(absent)} not found: pip install nvidia-cuda-nvcc nvidia-cuda-nvdisasm nvidia-nvvm" if absent else None


def compiled(kernel, signature, capability):
    """Compile a kernel of a signature, as `_cuda_launch.kinds` writes it, for a compute capability: (8, 0) or (9, 0, "a")."""
    from numba import cuda
    from numba.cuda import compiler, dispatcher

    from sparsevis.kernels._cuda_launch import _type
    device = SimpleNamespace(compute_capability=capability[:2])
    compiler.get_current_device = dispatcher.get_current_device = lambda: device       # device functions ask the driver
    options = {name: kernel.targetoptions.get(name) for name in ("fastmath", "launch_bounds")}
    ptx, _ = cuda.compile_ptx(kernel.py_func, tuple(map(_type, signature)), cc=capability, **options)
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

class Kernel(NamedTuple):
    """A specialisation: how to build it as (kernel, signature), for whom, and the instruction it is about."""

    build: object
    capability: tuple
    instruction: str


def shipped():
    """Return {name: Kernel} of the specialisations that common head dimensions call for."""
    return {**_tiled(), **_mma(), **_wgmma()}


def _built(build, *arguments, **options):
    built = build(*arguments, **options)
    return built.kernel, built.signature


def _mma():
    from sparsevis.kernels import _cuda_mma_backward as back
    from sparsevis.kernels import cuda_mma
    found = {}
    for d, dv, limit in ((64, 64, 163), (128, 128, 163), (128, 128, 99), (256, 256, 163), (192, 128, 163), (80, 80, 99)):
        tile = cuda_mma.tile_of(d, dv, limit << 10)
        found[f"mma forward {d} {dv} {tuple(tile)}"] = Kernel(
            lambda d=d, dv=dv, tile=tile: _built(cuda_mma.make_attend, d, dv, "bf16", False, tile), AMPERE, "HMMA")
    for d, softcap, limit in ((64, False, 163), (128, False, 227), (128, True, 163), (256, False, 227)):
        for of_keys in (True, False):
            shape = back.shape_of(of_keys, d, d, softcap, limit << 10)
            found[f"mma backward {'keys' if of_keys else 'queries'} {d}{' softcap' * softcap} {tuple(shape)}"] = Kernel(
                lambda d=d, k=of_keys, s=softcap, shape=shape: _built(back.make_walk, k, d, d, "f16" if s else "bf16", s, shape), AMPERE,
                "HMMA")
    return found


def _wgmma():
    from sparsevis.kernels import cuda_wgmma
    found = {}
    for d, keys, dtype, softcap in ((64, 256, "bf16", False), (64, 256, "f16", True), (64, 4096, "bf16", False), (128, 1024, "bf16", False),
                                    (128, 1024, "f16", True), (192, 1024, "bf16", False), (256, 1024, "bf16", False)):
        block, blocks = cuda_wgmma.tile_of(d, d, keys, 1.0)
        found[f"wgmma forward {d} {dtype}{' softcap' * softcap} {block}"] = Kernel(
            lambda d=d, b=block, t=dtype, s=softcap, n=blocks: _built(cuda_wgmma.make_attend, d, d, b, t, s, blocks=n), HOPPER, "HGMMA")
    return found


def _tiled():
    from sparsevis.kernels import _cuda_backward as back
    from sparsevis.kernels import cuda_tiled
    found, limit = {}, 227 << 10
    for name, d in (("float32", 64), ("float32", 128), ("float64", 64)):
        T = np.dtype(name)
        lists = (("int32", 1, "C"),) * 5 + (("uint32", 3, "C"),)
        rest = lists, name, ("int64", name, (name, 1, "C"), (name, 1, "C"), ("bool", 2, "C"), (name, 3, "C"), ("int64", 1, "C"), "int64")
        result, multiply, inputs = (name, 3, "C"), "DFMA" if name == "float64" else "FFMA", ((name, 4, "A"),) * 3
        shape, back_shape = cuda_tiled.shape_of(T, d, d, limit), back.shape_of(T, d, d, limit)
        found[f"tiled forward {name} {d}"] = Kernel(
            lambda T=T, d=d, shape=shape, x=(*inputs, result, (name, 2, "C"), *rest): (
                cuda_tiled.make_attend(T, d, d, shape, True, True), x), HOPPER, multiply)
        given = *inputs, inputs[0], inputs[0], (name, 2, "C")
        for what, make, results in (("queries", back.make_of_queries, (result,)), ("keys", back.make_of_keys, (result, result))):
            found[f"tiled backward {what} {name} {d}"] = Kernel(
                lambda T=T, d=d, shape=back_shape, make=make, x=(*given, *results, *rest): (make(T, d, d, shape, True, True), x), HOPPER,
                multiply)
    return found


def main(words):
    for name, kernel in shipped().items():
        if not words or any(word in name for word in words):
            m = compiled(*kernel.build(), kernel.capability)
            print(f"{name}: {m.registers} registers, stack {m.stack}, spilled {m.spilled}, {m.counts.get(kernel.instruction, 0)} "
                  f"{kernel.instruction}, {sum(m.counts.values())} instructions {m.warnings}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
