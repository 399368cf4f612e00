"""The second call of a kind: which calls are kept ready, and that they start kernels with the very arguments of the first.

No GPU is needed: tensors in host memory say that they lie on GPU 0, and the driver, instead of starting a kernel, notes its arguments.
"""
import ctypes
import gc
import logging
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

import sparsevis as sv
from sparsevis import inputs
from sparsevis.arrays import DeviceArray, compact

torch = pytest.importorskip("torch", reason="ready calls are those of PyTorch tensors")
pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes")
_cuda = pytest.importorskip("sparsevis.kernels._cuda", reason="numba.cuda does not load here", exc_type=ImportError)
launching, ready = (import_module(f"sparsevis.kernels.{name}") for name in ("_cuda_launch", "_cuda_ready"))
PATTERN, STREAM, ALLOCATED = sv.mistral(40), 77, torch.empty


class Gpu(torch.Tensor):
    """A tensor in host memory that says it lies on a GPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    __module__ = "torch"
    is_cuda, device = True, torch.device("cuda:0")

    def get_device(self):
        return self.device.index

    def new_empty(self, shape, dtype=None):
        return gpu(ALLOCATED(shape, dtype=dtype or self.dtype))


def gpu(x):
    return x.as_subclass(Gpu)


def draw(*shape, dtype=torch.bfloat16):
    return gpu(torch.zeros(shape, dtype=dtype))


class Driver:
    """Notes what is started, and in which context; `checks` counts the calls that were not ready."""

    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_RELAXED=2)

    def __init__(self):
        self.started, self.context, self.checks, self.capturing = [], 5, 0, False

    def cuThreadExchangeStreamCaptureMode(self, mode):
        return 0, 0

    def cuCtxGetCurrent(self):
        return 0, self.context

    def cuLaunchKernel(self, prepared, x, y, z, threads, _, __, shared, stream, block, extra):
        time.sleep(0)                                                # another thread's turn
        types = [c for kind in prepared.signature for c in launching._slots(kind)]
        where = (ctypes.c_void_p * len(types)).from_address(block)
        values = [c.from_address(at).value for c, at in zip(types, where, strict=True)]
        self.started.append((prepared.kernel, (x, y, threads, shared, stream), values, prepared.signature))
        return (0,)

    def prepare(self, kernel, shared, signature, device):
        made = object.__new__(launching.Prepared)                    # all of it but what compiles
        made.kernel, made.shared, made.signature, made.launch = kernel, shared, signature, self.cuLaunchKernel
        made.function, made.block = made, launching.Block(signature)
        return made


def upload(x):
    x = np.array(x, order="C") if x.size else np.empty(1)
    return DeviceArray(x.ctypes.data, x.shape, compact(x.shape, x.dtype.itemsize), x.dtype, "numba", 0, x)


@pytest.fixture
def driver(monkeypatch):
    made, device = Driver(), SimpleNamespace(id=0, compute_capability=(9, 0), MULTIPROCESSOR_COUNT=132,
                                             MAX_SHARED_MEMORY_PER_BLOCK_OPTIN=232448)
    context = SimpleNamespace(get_memory_info=lambda: (1 << 30, 80 << 30))
    stand_ins = {"upload": upload, "prepare": made.prepare, "tensor_map": lambda *given: np.zeros(128, np.uint8)}
    for name in ("_cuda", "_cuda_call", "_cuda_exact", "_cuda_launch", "_cuda_mma_backward"):
        for what in stand_ins.keys() & vars(import_module(f"sparsevis.kernels.{name}")).keys():
            monkeypatch.setattr(f"sparsevis.kernels.{name}.{what}", stand_ins[what])
    monkeypatch.setattr(launching, "driver", lambda: made)
    monkeypatch.setattr(_cuda, "_available", lambda: True)
    monkeypatch.setattr(_cuda.cuda, "get_current_device", lambda: device)
    monkeypatch.setattr(_cuda.cuda, "current_context", lambda: context)
    monkeypatch.setattr(torch, "empty", lambda shape, dtype, device: gpu(ALLOCATED(shape, dtype=dtype)))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: SimpleNamespace(cuda_stream=STREAM))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: made.capturing)
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", lambda index: STREAM, raising=False)
    check = inputs.check_inputs

    def counted(*arrays):
        made.checks += 1
        return check(*arrays)

    monkeypatch.setitem(sv.attention.__globals__, "check_inputs", counted)
    forget()
    _cuda._neutral.cache_clear()
    yield made
    forget()
    _cuda._neutral.cache_clear()


def forget():
    """What was kept for patterns."""
    inputs._recent.cache_clear()
    inputs._layout.cache_clear()
    ready.CAPTURED.clear()


def three(batch=1, heads=4, n=96, d=64, dtype=torch.bfloat16, kv_heads=2):
    return [draw(batch, h, n, d, dtype=dtype) for h in (heads, kv_heads, kv_heads)]


def calls(driver, arrays, pattern=PATTERN, times=1, **options):
    """What the calls started, and how many of them were not ready."""
    before, driver.started = driver.checks, []
    for _ in range(times):
        sv.attention(*arrays, pattern, **{"impl": "cuda", **options})
    return driver.started, driver.checks - before


def slot(pattern):
    """Where `calls(driver, three(), pattern)` keeps its call."""
    return inputs.slot_of(pattern, (*three(), None), "attention", "cuda", None, None, None, None)


# ---------------------------------------------------------------- the same call again

@pytest.mark.parametrize("as_layout", [False, True])
@pytest.mark.parametrize("impl", ["cuda", "cuda_mma"])
def test_a_ready_call_starts_what_the_first_did(driver, impl, as_layout):
    q, k, v = three()
    pattern = sv.Layout.of(PATTERN, 96, 32) if as_layout else PATTERN
    (first, second), ordinary = calls(driver, (q, k, v), pattern, 2, impl=impl)
    assert ordinary == 1
    assert first[:2] == second[:2]
    assert first[1][-1] == STREAM
    assert [a for i, a in enumerate(first[2]) if i not in (3, 4)] == [a for i, a in enumerate(second[2]) if i not in (3, 4)]


def test_addresses_are_those_of_the_call(driver):
    calls(driver, three(), impl="cuda_mma")
    q, k, v = three()
    o, lse = sv.attention(q, k, v, PATTERN, impl="cuda_mma", return_lse=True)
    assert driver.checks == 1
    assert driver.started[-1][2][:5] == [x.data_ptr() for x in (q, k, v, o, lse)]
    assert (o.shape, o.dtype, lse.shape, lse.dtype) == (q.shape, q.dtype, q.shape[:-1], torch.float32)


def test_results_and_log_are_as_before(driver, caplog):
    q, k, v = three(d=128)
    with caplog.at_level(logging.INFO, "sparsevis"):
        said = [sv.attention(q, k, v, PATTERN, impl="cuda", return_info=True)[1] for _ in range(2)]
        named = [sv.attention(q, k, v, PATTERN, impl="cuda_mma", return_lse=True, return_info=True)[2] for _ in range(2)]
    assert driver.checks == 2
    assert said[0] == said[1]
    assert said[0].impl == "cuda_wgmma"
    assert named == [("cuda_mma", "asked for by name")] * 2
    assert len(caplog.messages) == 2
    assert len(set(caplog.messages)) == 1


def test_equal_patterns_are_one(driver):
    arrays = three()
    _, ordinary = calls(driver, arrays, sv.Causal() & sv.SlidingWindow(9))
    assert (ordinary, calls(driver, arrays, sv.Causal() & sv.SlidingWindow(9))[1]) == (1, 0)


@pytest.mark.parametrize("arrays", [[draw(96, 64)] * 3, [draw(2, 96, 64)] * 3, [draw(2, 3, 2, 96, 64)] * 3], ids=["2", "3", "5"])
def test_axes(driver, arrays):
    for _ in range(2):
        o, lse = sv.attention(*arrays, PATTERN, impl="cuda", return_lse=True)
        assert (o.shape, lse.shape) == (arrays[0].shape, arrays[0].shape[:-1])
    assert driver.checks == 1


# ---------------------------------------------------------------- kernels that take arrays

def taken(started):
    """Numbers of a start: (those that are no addresses, the addresses of arrays), in order."""
    plain, addresses, values = [], [], iter(started[2])

    def walk(kinds):
        for kind in kinds:
            if isinstance(kind, str):
                plain.append(next(values))
            elif len(kind) == 3 and isinstance(kind[1], int):
                numbers = [next(values) for _ in range(5 + 2 * kind[1])]
                addresses.append(numbers.pop(4))
                plain.extend(numbers)
            else:
                walk(kind)
    walk(started[3])
    return plain, addresses


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("impl", ["cuda_rows", "cuda_tiled"])
def test_exact_kernels_are_kept_ready(driver, impl, dtype):
    calls(driver, three(dtype=dtype), impl=impl, softcap=3.0)         # another plan of the same layout
    q, k, v = three(dtype=dtype)
    first = calls(driver, (q, k, v), impl=impl)[0][0]
    q2, k2, v2 = three(dtype=dtype)
    checks = driver.checks
    o, lse = sv.attention(q2, k2, v2, PATTERN, impl=impl, return_lse=True)
    assert driver.checks == checks
    assert (o.shape, lse.shape, lse.dtype) == (q.shape, q.shape[:-1], dtype)
    second = driver.started[-1]
    (numbers, before), (same, after) = taken(first), taken(second)
    assert (first[:2], numbers) == (second[:2], same)
    assert before[:3] == [x.data_ptr() for x in (q, k, v)]
    assert after[:5] == [x.data_ptr() for x in (q2, k2, v2, o, lse)]
    assert before[5:11] == after[5:11], "the layout is another"


@pytest.mark.parametrize("impl", ["cuda_rows", "cuda_tiled"])
def test_sinks_of_exact_kernels_are_read_anew(driver, impl):
    arrays, sinks = three(dtype=torch.float32), [gpu(torch.rand(4)) for _ in range(2)]
    for given in (None, *sinks, None):
        calls(driver, arrays, impl=impl, times=2, sinks=given)
        found = taken(driver.started[-1])[1][11]
        assert (found in [x.data_ptr() for x in sinks]) == (given is not None)
        assert given is None or found == given.data_ptr()


def test_gradients_of_the_exact_kernel(driver):
    do, q, k, v = three(dtype=torch.float32)[:1] + three(dtype=torch.float32)
    starts = []
    for dlse in (None, None, draw(1, 4, 96, dtype=torch.float32), draw(1, 4, 96, dtype=torch.float32)):
        driver.started = []
        grads = sv.attention_grad(do, q, k, v, PATTERN, impl="cuda_tiled", dlse=dlse)
        starts.append([(x[:2], *taken(x)) for x in driver.started])
        (_, _, forward), (_, _, sums), (_, _, queries), (_, _, keys) = starts[-1]
        assert forward[:3] == queries[:3] == keys[:3] == [x.data_ptr() for x in (q, k, v)]
        assert sums[:2] == [do.data_ptr(), forward[3]]                # o
        assert sums[2] == (forward[4] if dlse is None else dlse.data_ptr())
        assert queries[3:6] == keys[3:6] == [do.data_ptr(), forward[4], sums[3]]       # lse, delta
        assert [queries[6], *keys[6:8]] == [g.data_ptr() for g in grads]
    for first, second in ((0, 1), (2, 3)):
        assert [x[:2] for x in starts[first]] == [x[:2] for x in starts[second]], "not what was started first"
    assert driver.checks == 2


def test_gaps_in_dlse_are_refused(driver):
    do, (q, k, v) = draw(1, 4, 96, 64, dtype=torch.float32), three(dtype=torch.float32)
    with pytest.raises(ValueError, match=r"dlse.contiguous\(\)"):
        sv.attention_grad(do, q, k, v, PATTERN, impl="cuda_tiled", dlse=gpu(torch.zeros(1, 4, 192)[..., ::2]))


# ---------------------------------------------------------------- calls that are others

def transposed(batch=1):
    return [gpu(torch.zeros(batch, 96, h, 64, dtype=torch.bfloat16).transpose(1, 2)) for h in (4, 2, 2)]


OTHERS = {
    "shape": (three(n=128), {}), "heads": (three(kv_heads=4), {}), "batch": (three(2), {}), "head dimension": (three(d=128), {}),
    "dtype": (three(dtype=torch.float16), {}), "strides": (transposed(), {}), "scale": (three(), {"scale": 0.5}),
    "scale 0": (three(), {"scale": 0.0}), "softcap": (three(), {"softcap": 20.0}), "offset": (three(), {"offset": 7}),
    "offset in words": (three(), {"offset": "top-left"}), "pattern": (three(), {"pattern": sv.mistral(41)}),
    "dense": (three(), {"pattern": None}), "a layout": (three(), {"pattern": lambda: sv.Layout.of(sv.Causal(), 96, 64)}),
    "tiles": (three(), {"block": 16}), "another kernel": (three(), {"impl": "cuda_mma"}), "sinks": (three(), {"sinks": draw(4)}),
    "heads of a pattern": (three(), {"pattern": sv.PerHead(*[PATTERN] * 3, sv.Causal())}),
}


def made(options):
    """With a layout of its own, which has not kept a call of before."""
    return {name: x() if callable(x) else x for name, x in options.items()}


@pytest.mark.parametrize("name", OTHERS)
def test_what_differs_is_planned_anew(driver, name):
    """And then started, ready or not, with what a call starts that knows of no other."""
    arrays, given = OTHERS[name]
    (alone,), _ = calls(driver, arrays, **made(given))
    forget()
    calls(driver, three(), times=2)
    options = made(given)
    (first, second), ordinary = calls(driver, arrays, times=2, **options)
    assert ordinary == 1, "taken for another call, or not kept ready"
    varying = [3, 4, *range(5, 12), *(range(3) if first[0] is not alone[0] or alone[2][0] != arrays[0].data_ptr() else ())]
    for found in (first, second):
        assert found[:2] == alone[:2]
        assert [x for i, x in enumerate(found[2]) if i not in varying] == [x for i, x in enumerate(alone[2]) if i not in varying]
    _, again = calls(driver, three())
    assert again == 0, "the first call is not ready any more"


def test_one_layout_serves_many_calls(driver):
    layout, others = sv.Layout.of(PATTERN, 96, 64), ("heads", "batch", "head dimension", "dtype", "strides", "scale", "softcap", "sinks")
    for name in others:
        arrays, options = OTHERS[name]
        assert calls(driver, three(), layout, 2)[1] == (name == others[0])
        assert calls(driver, arrays, layout, 2, **options)[1] == 1, name
    assert [calls(driver, OTHERS[name][0], layout, **OTHERS[name][1])[1] for name in others] == [0] * len(others)


def test_gpus_are_told_apart():
    class Second(Gpu):
        device = torch.device("cuda:1")

    there = draw(2, 64)
    assert inputs.traits([there]) == inputs.traits([draw(2, 64)])
    assert inputs.traits([there]) != inputs.traits([there.as_subclass(Second)])


def test_rows_that_start_elsewhere_are_refused(driver):
    """Where everything but the address is as it was."""
    room = torch.zeros(96 * 64 + 4, dtype=torch.bfloat16)
    even, odd = gpu(room[:-4].view(1, 1, 96, 64)), gpu(room[4:].view(1, 1, 96, 64))
    calls(driver, (even, even, even), times=2)
    for _ in range(2):
        with pytest.raises(ValueError, match="multiples of 16 bytes"):
            sv.attention(odd, even, even, PATTERN, impl="cuda")


def test_mistakes_are_refused_after_good_calls(driver):
    q, k, v = three()
    calls(driver, (q, k, v), offset=1)
    for wrong, error in (({"offset": 1.0}, TypeError), ({"softcap": 0.0}, ValueError), ({"impl": "cud"}, ValueError),
                         ({"sinks": draw(3)}, ValueError), ({"block": 8.0}, TypeError)):
        with pytest.raises(error):
            sv.attention(q, k, v, PATTERN, **{"impl": "cuda", **wrong})
    with pytest.raises(ValueError, match="host memory"):
        sv.attention(q, k, v.as_subclass(torch.Tensor), PATTERN, impl="cuda")
    with pytest.raises(TypeError, match="needs to be a Pattern"):
        sv.attention(q, k, v, np.ones((96, 96), bool), impl="cuda")


def test_a_factor_that_can_change_is_read_each_time(driver):
    scale = np.array(0.5)
    (first,), _ = calls(driver, three(), impl="cuda_mma", scale=scale)
    scale[...] = 0.25
    (second,), ordinary = calls(driver, three(), impl="cuda_mma", scale=scale)
    assert ordinary == 1
    assert second[2][-2] == first[2][-2] / 2


def test_another_context_is_no_place_for_a_ready_call(driver):
    calls(driver, three(), times=2)
    driver.context = 6
    _, ordinary = calls(driver, three())
    assert ordinary == 1


# ---------------------------------------------------------------- what is kept, and what not

def test_no_tensor_is_kept(driver):
    arrays = [*three(), draw(4)]
    kept = [weakref.ref(x) for x in arrays]
    for _ in range(2):
        sv.attention(*arrays[:3], PATTERN, impl="cuda", sinks=arrays[3])
        sv.attention_grad(arrays[0], *arrays[:3], PATTERN, impl="cuda")
    assert driver.checks == 2
    del arrays
    gc.collect()
    assert [x() for x in kept] == [None] * 4


def test_what_belongs_to_a_layout_goes_with_it(driver):
    layout = sv.Layout.of(PATTERN, 96, 64)
    calls(driver, three(), layout, 2)
    call = weakref.ref(slot(layout).call)
    assert call() is not None
    del layout
    gc.collect()
    assert call() is None


def test_what_a_cuda_graph_reads_stays(driver):
    calls(driver, three(), times=2)
    assert not ready.CAPTURED
    driver.capturing = True
    calls(driver, three(), times=2)
    (kept,) = ready.CAPTURED
    assert kept.plan.locate.captured


def test_tensor_maps_are_few(driver):
    """They are dropped when there are too many, but not while a call of another thread may still use them, nor those of a CUDA graph."""
    calls(driver, three())
    calls(driver, three())
    maps = slot(PATTERN).call.plan.locate
    maps.most = 3
    for first in range(16, 16 * 20, 16):
        found = maps((first, 1600, 3200))
        assert maps((first, 1600, 3200)) is found
        assert found[1] in [x.address for x in maps.kept.values()]
    assert len(maps.found) <= 4
    maps.captured = True
    for first in range(16, 16 * 20, 16):
        maps((first, 1600, 3200))
    assert len(maps.found) > 10


def test_memory_that_is_not_there(driver, monkeypatch):
    """The error is that of an ordinary call."""
    def fail(self, *given, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    calls(driver, three(), times=2)
    monkeypatch.setattr(Gpu, "new_empty", fail)
    with pytest.raises(MemoryError, match=r"impl='cuda_wgmma': the device is out of memory \(1.0 of 80.0 GiB are free\)"):
        sv.attention(*three(), PATTERN, impl="cuda")


# ---------------------------------------------------------------- sinks, threads, gradients

def test_sinks_are_read_where_they_lie(driver):
    sinks = gpu(torch.arange(4, dtype=torch.float32))
    (_, second), ordinary = calls(driver, three(), times=2, sinks=sinks, impl="cuda_mma")
    assert ordinary == 1
    assert second[2][11] == sinks.data_ptr()


@pytest.mark.parametrize("sinks", [
    gpu(torch.arange(4, dtype=torch.float64)), gpu(torch.arange(4).to(torch.bfloat16)), gpu(torch.arange(8.0)[::2] / 2),
    gpu(torch.nn.Parameter(torch.arange(4.0)))], ids=["float64", "bfloat16", "strides", "of a module"])  # fmt: skip
def test_sinks_of_every_batch_element(driver, sinks, monkeypatch):
    read = []
    launch = Driver.cuLaunchKernel

    def looked_at(self, *given):
        done = launch(self, *given)
        read.append(np.ctypeslib.as_array((ctypes.c_float * 8).from_address(self.started[-1][2][11])).tolist())
        return done

    monkeypatch.setattr(Driver, "cuLaunchKernel", looked_at)
    _, ordinary = calls(driver, three(2), times=2, sinks=sinks, impl="cuda_mma")
    assert ordinary == 1
    assert read == [[0, 1, 2, 3] * 2] * 2


def test_threads_share_a_plan(driver):
    calls(driver, three(), impl="cuda_mma")

    def work(_):
        arrays, pairs = three(), []
        for _ in range(60):
            o, lse = sv.attention(*arrays, PATTERN, impl="cuda_mma", return_lse=True)
            pairs.append(([x.data_ptr() for x in (*arrays, o, lse)], (arrays, o, lse)))
        return pairs

    driver.started = []
    with ThreadPoolExecutor(4) as pool:
        wanted = [pair for pairs in pool.map(work, range(4)) for pair in pairs]
    assert driver.checks == 1
    assert sorted(values[:5] for _, _, values, _ in driver.started) == sorted(addresses for addresses, _ in wanted)


@pytest.mark.parametrize("with_dlse", [False, True])
def test_ready_gradients_start_what_the_first_did(driver, with_dlse):
    (q, k, v), options = three(2), {"dlse": draw(2, 4, 96, dtype=torch.float32)} if with_dlse else {}
    do = draw(2, 4, 96, 64)
    for _ in range(2):
        grads = sv.attention_grad(do, q, k, v, PATTERN, impl="cuda", **options)
    assert driver.checks == 1
    assert [(g.shape, g.dtype) for g in grads] == [(x.shape, x.dtype) for x in (q, k, v)]
    first, second = driver.started[:4], driver.started[4:]
    assert [x[:2] for x in first] == [x[:2] for x in second]
    changing = ((3, 4), (1, 2, 4), (4, 5, 6), (4, 5))               # o, lse, numbers, dq, dk, dv
    for a, b, own in zip(first, second, changing, strict=True):
        assert [x for i, x in enumerate(a[2]) if i not in own] == [x for i, x in enumerate(b[2]) if i not in own]
    forward, delta, keys, queries = (x[2] for x in second)
    assert delta[1:3] == forward[3:5]
    assert delta[4] == keys[4] == queries[4]
    assert delta[3] == (options["dlse"].data_ptr() if with_dlse else 0)
    assert delta[8] == with_dlse
    assert [queries[5], *keys[5:7]] == [g.data_ptr() for g in grads]
    o, lse, numbers = *forward[3:5], delta[4]
    assert lse - o >= 2 * 4 * 96 * 64 * 2
    assert numbers - lse >= 2 * 4 * 96 * 4


def test_gradients_of_other_calls(driver):
    q, k, v = three()
    do, dlse = draw(1, 4, 96, 64), draw(1, 4, 96, dtype=torch.float32)
    late = gpu(torch.zeros(1, 96, 4, 64, dtype=torch.bfloat16).transpose(1, 2))
    for options in ({}, {"dlse": dlse}, {"scale": 0.5}, {"softcap": 3.0}, {"pattern": sv.Causal()}, {"do": late}):
        given, before = {"do": do, "pattern": PATTERN, **options}, driver.checks
        for _ in range(2):
            sv.attention_grad(q=q, k=k, v=v, impl="cuda", **given)
        assert driver.checks == before + 1, options
