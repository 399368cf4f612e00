"""What only a GPU can show: whose arrays come in and go out, streams, CUDA graphs, the same bits in many runs, and who is chosen.

Each function is a case, as those of `cuda_cases.py`, and run by `tests/gpu/run.py`: it raises where something is wrong.
"""
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
from cuda_problems import HALVES, Problem, expected, within

import sparsevis as sv

__all__ = ["cases"]

HOLES = sv.Causal() & (sv.SlidingWindow(90) | sv.RandomBlocks(64, 2) | sv.Sink(2)) & ~sv.Chunked(3)


def cases(rung, capability):
    """Return {name of a case: function} for a rung on a GPU of this compute capability."""
    found = {"runs: the same bits 50 times": partial(many_runs, rung)}
    if rung.gradients:
        found["runs: the same gradients 20 times"] = partial(many_gradients, rung)
    if find_spec("torch"):
        for dtype in rung.dtypes:
            found[f"torch: on a stream of its own, {dtype}"] = partial(torch_stream, rung, dtype)
            found[f"torch: heads after positions in memory, {dtype}"] = partial(torch_transposed, rung, dtype)
        found["torch: no memory but for the results"] = partial(torch_memory, rung)
        found["torch: a CUDA graph"] = partial(torch_graph, rung)
        found["torch: a CUDA graph that makes q, k and v"] = partial(torch_graph, rung, makes=True)
        found["torch: sinks, read anew in each call"] = partial(torch_sinks, rung)
        found["torch: a second shape, then the first again"] = partial(torch_shapes, rung)
        found["torch: half of the arrays in host memory"] = partial(torch_mixed, rung)
        if rung.gradients:
            found["torch: gradients"] = partial(torch_gradients, rung)
    if find_spec("cupy"):
        found["cupy: in and out"] = partial(in_cupy, rung)
    if find_spec("jax"):
        found["jax: in and out"] = partial(in_jax, rung)
    if rung.dtypes[-1] == "float32":
        found["numba: in and out"] = partial(in_numba, rung)
    else:
        found["refusal: what tensor cores cannot do"] = partial(refusals, rung)
    found["choice: impl='cuda'"] = partial(choices, rung, capability)
    return found


def problem(rung, dtype=None, **changes):
    """Heads that share keys, a batch, lengths that no tile divides, a pattern of all kinds of tiles."""
    dims = (64, 64) if rung.dtypes[-1] != "float32" else (40, 24)
    usual = Problem(HOLES, 300, 333, 33, 4, 2, (2,), dims, dtype or rung.dtypes[-1])
    return replace(usual, **changes)


# ---------------------------------------------------------------- the same bits

def many_runs(rung):
    """50 runs, also while other work keeps the GPU busy in between."""
    for dtype in rung.dtypes:
        p = problem(rung, dtype, nq=1000, nk=1000, offset=0)
        (q, k, v), _ = p.draw()
        results = {b"".join(x.tobytes() for x in sv.attention(q, k, v, p.pattern, impl=rung.name, return_lse=True)) for _ in range(50)}
        assert len(results) == 1, f"{len(results)} different results in {dtype}"


def many_gradients(rung):
    for dtype in rung.dtypes:
        p = problem(rung, dtype)
        (q, k, v), _ = p.draw()
        do = np.random.default_rng(1).standard_normal((*q.shape[:-1], p.dims[1])).astype(q.dtype)
        grads = [sv.attention_grad(do, q, k, v, p.pattern, offset=p.offset, impl=rung.name) for _ in range(20)]
        different = {b"".join(x.tobytes() for x in of_one_run) for of_one_run in grads}
        assert len(different) == 1, f"{len(different)} different gradients in {dtype}"


# ---------------------------------------------------------------- PyTorch

def to_torch(x):
    import torch
    wide = torch.from_numpy(np.ascontiguousarray(x, np.float64 if x.dtype == np.float64 else np.float32))
    return wide.cuda().to(getattr(torch, x.dtype.name))


def to_numpy(x):
    return x.double().cpu().numpy()


def run(rung, p, arrays):
    return sv.attention(*arrays, p.pattern, impl=rung.name, return_lse=True, **p.options())


def torch_stream(rung, dtype):
    """The queries are written late on a stream of its own: a kernel on any other one would read NaN."""
    import torch
    p = problem(rung, dtype)
    (q, k, v), _ = p.draw()
    late, k_there, v_there = map(to_torch, (q, k, v))
    there = torch.full_like(late, float("nan"))
    run(rung, p, (late, k_there, v_there))                          # compiled and uploaded: nothing but the kernel is left to wait for
    torch.cuda.synchronize()
    where = [x.data_ptr() for x in (there, k_there, v_there)]
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(100_000_000)                               # cycles, 50 ms and more
        there.copy_(late)
        o, lse = run(rung, p, (there, k_there, v_there))
        kept = o.clone(), lse.clone()
        torch.cuda.current_stream().synchronize()
    assert o.device == there.device
    assert (o.dtype, lse.dtype) == (there.dtype, torch.float64 if dtype == "float64" else torch.float32)
    assert [x.data_ptr() for x in (there, k_there, v_there)] == where
    assert all(torch.equal(x, to_torch(y)) for x, y in zip((there, k_there, v_there), (q, k, v), strict=True)), "an input was written to"
    within(dict(zip(("o", "lse"), map(to_numpy, kept), strict=True)), expected(p, q, k, v, {}))


def torch_transposed(rung, dtype):
    """(batch, n, heads, d) seen as (batch, heads, n, d): read where it lies."""
    import torch
    p = problem(rung, dtype)
    (q, k, v), _ = p.draw()
    arrays = [to_torch(x.swapaxes(1, 2)).transpose(1, 2) for x in (q, k, v)]
    assert not arrays[0].is_contiguous()
    o, lse = run(rung, p, arrays)
    torch.cuda.synchronize()
    within({"o": to_numpy(o), "lse": to_numpy(lse)}, expected(p, q, k, v, {}))


def torch_memory(rung):
    """After the first call, no memory is asked for but that of o and lse, and no number crosses to the host."""
    import torch
    p = problem(rung, nq=1024, nk=1024, offset=0)
    arrays = [to_torch(x) for x in p.draw()[0]]
    o, lse = run(rung, p, arrays)
    own = sum(x.numel() * x.element_size() for x in (o, lse))
    del o, lse
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    o, lse = run(rung, p, arrays)
    assert lse.data_ptr() != o.data_ptr()
    assert torch.cuda.max_memory_allocated() - before <= own + 4096, "PyTorch made more than o and lse"
    assert o.data_ptr() not in [x.data_ptr() for x in arrays]


def torch_graph(rung, makes=False):
    """Captured once, replayed on other numbers in the same memory; `makes`: q, k and v lie where no call has met them before."""
    import torch
    p = problem(rung)
    arrays, others = ([to_torch(x) for x in replace(p, heads=heads).draw()[0]] for heads in (4, 4))
    others = [x.flip(-2).contiguous() for x in others]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run(rung, p, arrays)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        inside = [x + 0 for x in arrays] if makes else arrays
        o, lse = run(rung, p, inside)
    for x, y in zip(arrays, others, strict=True):
        x.copy_(y)
    graph.replay()
    torch.cuda.synchronize()
    want = run(rung, p, others)
    assert torch.equal(o, want[0]), "o of the replayed graph is another"
    assert torch.equal(lse, want[1])


def torch_sinks(rung):
    """Three calls with the same memory, the last after its numbers have changed; of one batch element, and of two."""
    import torch
    for p in (problem(rung, batch=()), problem(rung)):
        arrays, sinks = [to_torch(x) for x in p.draw()[0]], torch.tensor([0.5, -1.0, 2.0, 0.0], device="cuda")
        first, second = (sv.attention(*arrays, p.pattern, impl=rung.name, sinks=sinks, **p.options()) for _ in range(2))
        sinks += 1
        third = sv.attention(*arrays, p.pattern, impl=rung.name, sinks=sinks, **p.options())
        fresh = sv.attention(*arrays, p.pattern, impl=rung.name, sinks=sinks.tolist(), **p.options())
        assert torch.equal(first, second)
        assert torch.equal(third, fresh)
        assert not torch.equal(first, third)


def torch_shapes(rung):
    """What was kept from one call serves no other: shapes, scales, strides, memory."""
    import torch
    first, second = problem(rung), problem(rung, nq=65, nk=200, offset=135, scale=0.3)
    for p in (first, second, replace(second, scale=0.7), first, replace(first, pattern=None), replace(first, heads=2)):
        q, k, v = p.draw()[0]
        o, lse = run(rung, p, [to_torch(x) for x in (q, k, v)])
        torch.cuda.synchronize()
        within({"o": to_numpy(o), "lse": to_numpy(lse)}, expected(p, q, k, v, {}))


def torch_mixed(rung):
    q, k, v = problem(rung).draw()[0]
    for arrays in ((to_torch(q), k, v), (q, to_torch(k), v)):
        with pytest.raises((TypeError, ValueError), match=r"host memory|the same"):
            run(rung, problem(rung), arrays)


def torch_gradients(rung):
    import torch
    for dtype in rung.dtypes:
        p = problem(rung, dtype, nq=150, nk=183)
        q, k, v = p.draw()[0]
        do = np.random.default_rng(1).standard_normal((*q.shape[:-1], p.dims[1])).astype(q.dtype)
        there = [to_torch(x) for x in (do, q, k, v)]
        torch.cuda.synchronize()
        with torch.cuda.stream(torch.cuda.Stream()):
            grads, again = (sv.attention_grad(*there, p.pattern, offset=p.offset, impl=rung.name) for _ in range(2))
            torch.cuda.current_stream().synchronize()
        assert all(map(torch.equal, grads, again)), "the second call, which was ready, found others"
        assert all(g.is_cuda and g.dtype == getattr(torch, dtype) for g in grads)
        within(dict(zip(("dq", "dk", "dv"), map(to_numpy, grads), strict=True)), expected(p, q, k, v, {}, do=do))


# ---------------------------------------------------------------- the others

def in_cupy(rung):
    import cupy
    p = problem(rung)
    p = replace(p, dtype="float16") if p.dtype in HALVES else p
    q, k, v = p.draw()[0]
    with cupy.cuda.Stream(non_blocking=True) as stream:
        arrays = [cupy.asarray(x) for x in (q, k, v)]
        where = [x.data.ptr for x in arrays]
        o, lse = run(rung, p, arrays)
        stream.synchronize()
    assert isinstance(o, cupy.ndarray)
    assert isinstance(lse, cupy.ndarray)
    assert (o.dtype, o.device) == (q.dtype, arrays[0].device)
    assert [x.data.ptr for x in arrays] == where
    assert all((cupy.asnumpy(x) == y).all() for x, y in zip(arrays, (q, k, v), strict=True)), "an input was written to"
    within({"o": cupy.asnumpy(o), "lse": cupy.asnumpy(lse)}, expected(p, q, k, v, {}))


def in_jax(rung):
    import jax
    for dtype in [x for x in rung.dtypes if x != "float64"]:         # which JAX leaves switched off
        p = problem(rung, dtype)
        q, k, v = p.draw()[0]
        arrays = [jax.device_put(x) for x in (q, k, v)]
        assert arrays[0].devices().copy().pop().platform == "gpu", "JAX sees no GPU"
        o, lse = run(rung, p, arrays)
        assert isinstance(o, jax.Array)
        assert o.devices() == arrays[0].devices()
        assert o.dtype == arrays[0].dtype
        assert all((np.asarray(x) == y).all() for x, y in zip(arrays, (q, k, v), strict=True)), "an input was written to"
        within({"o": np.asarray(o), "lse": np.asarray(lse)}, expected(p, q, k, v, {}))


def in_numba(rung):
    from numba import cuda
    p = problem(rung)
    q, k, v = p.draw()[0]
    o, lse = run(rung, p, [cuda.to_device(x) for x in (q, k, v)])
    assert all(hasattr(x, "__cuda_array_interface__") and hasattr(x, "copy_to_host") for x in (o, lse))
    within({"o": o.copy_to_host(), "lse": lse.copy_to_host()}, expected(p, q, k, v, {}))


# ---------------------------------------------------------------- who is chosen, and who refuses

def choices(rung, capability):
    """bf16 and float16 go to the newest tensor cores, the rest to `cuda_tiled`; the reason names the dtype."""
    halves = "cuda_wgmma" if capability == (9, 0) else "cuda_mma"
    for dtype in rung.dtypes:
        p = problem(rung, dtype)
        q, k, v = p.draw()[0]
        o, info = sv.attention(q, k, v, p.pattern, offset=p.offset, impl="cuda", return_info=True)
        assert info.impl == (halves if dtype in HALVES else "cuda_tiled"), f"{dtype} went to {info.impl}: {info.why}"
        assert dtype in info.why
        assert (o == sv.attention(q, k, v, p.pattern, offset=p.offset, impl=info.impl)).all()


def refusals(rung):
    """An implementation that is named and cannot raises and says so; `cuda` may take another."""
    q, k, v = Problem(None, dims=(64, 64), dtype=rung.dtypes[0]).draw()[0]
    odd = Problem(None, dims=(65, 64), dtype=rung.dtypes[0]).draw()[0]
    wide = Problem(None, dims=(64, 64), dtype="float32").draw()[0]
    for arrays, asked in (((q, k, v), {"bias": np.zeros((20, 20))}), ((q, k, v), {"scale": -1.0}), (odd, {}), (wide, {})):
        with pytest.raises((NotImplementedError, TypeError), match=rf"impl='{rung.name}'|scale is -1"):
            sv.attention(*arrays, impl=rung.name, **asked)
