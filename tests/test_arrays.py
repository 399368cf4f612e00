"""Arrays on a GPU are seen by what they say of themselves; no GPU is needed to read that."""

import numpy as np
import pytest

import sparsevis as sv
from sparsevis import arrays
from sparsevis.arrays import DeviceArray, compact, on_device, on_host, seen


class OnGpu:
    """Speaks the CUDA array interface; what lies at the address is never read."""

    def __init__(self, shape, typestr="<f4", strides=None, address=4096):
        self.__cuda_array_interface__ = {"shape": shape, "typestr": typestr, "strides": strides, "data": (address, False), "version": 3}


class Packed:
    """Speaks DLPack alone; its numbers lie in host memory, but it says that they lie on GPU 1."""

    def __init__(self, x):
        self.x = x

    def __dlpack_device__(self):
        return 2, 1

    def __dlpack__(self, stream=None):
        return self.x.__dlpack__()


def test_interface():
    x = seen(OnGpu((2, 3, 4)))
    assert (x.address, x.shape, x.strides, x.dtype, x.library) == (4096, (2, 3, 4), (48, 16, 4), np.float32, "other")
    assert x.contiguous
    assert x.ndim == 3


def test_interface_with_strides():
    x = seen(OnGpu((2, 3), "<f8", (8, 16)))
    assert x.strides == (8, 16)
    assert not x.contiguous


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dlpack(dtype):
    there = np.arange(24, dtype=dtype).reshape(4, 6)[:, ::2]
    x = seen(Packed(there))
    assert (x.shape, x.strides, x.dtype, x.device) == ((4, 3), there.strides, there.dtype, 0)
    assert x.address == there.__array_interface__["data"][0]
    assert x.source[0].x is there  # kept alive


def test_dlpack_of_other_numbers():
    with pytest.raises(TypeError, match="needs float16"):
        seen(Packed(np.arange(3)))


def test_host_arrays_stay_what_they_are():
    x = np.zeros((2, 3))
    assert seen(x) is x
    assert not on_device(x)
    assert not on_device([1.0])
    assert on_host(x) is x
    assert seen([[1, 2]]).shape == (1, 2)


def test_on_host_asks_the_owner():
    class Mine(OnGpu):
        def get(self):
            return np.ones(3)

    assert on_device(Mine((3,)))
    np.testing.assert_array_equal(on_host(Mine((3,))), np.ones(3))


def test_compact():
    assert compact((), 4) == ()
    assert compact((5, 0, 2), 8) == (0, 16, 8)


def test_a_cpu_kernel_refuses_memory_of_a_gpu():
    q = OnGpu((4, 8, 16))
    with pytest.raises(ValueError, match="lie on GPU 0, where impl='cpu' cannot compute: impl='cuda'"):
        sv.attention(q, q, q, sv.Causal())
    with pytest.raises(ValueError, match="bring them to host memory"):
        sv.attention_grad(q, q, q, q, sv.Causal())


def test_places_must_agree():
    q, k = OnGpu((4, 8, 16)), np.zeros((4, 8, 16), np.float32)
    with pytest.raises(ValueError, match="q, k, v lie in GPU 0, host memory, GPU 0"):
        sv.attention(q, k, q, sv.Causal(), impl="cuda")


def test_shapes_are_checked_where_arrays_lie_on_a_gpu():
    with pytest.raises(ValueError, match="head dimension 16 and k 8"):
        sv.attention(OnGpu((4, 8, 16)), OnGpu((4, 8, 8)), OnGpu((4, 8, 8)), impl="cuda")
    with pytest.raises(TypeError, match="q is int32"):
        sv.attention(*(OnGpu((8, 16), "<i4"),) * 3, impl="cuda")


def test_readers_cover_every_library():
    assert set(arrays._READERS) == {"torch", "jax", "dlpack", "cupy", "numba", "other"}
    assert DeviceArray(0, (0, 3), (5, 5), np.dtype("f4"), "other", 0, None).contiguous  # of nothing, every order is C's


def test_tensors_of_bfloat16_in_host_memory():
    torch = pytest.importorskip("torch", reason="of PyTorch")
    pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes")
    x = torch.tensor([[1.5, -2.0, 3.0], [0.0, 4.0, 5.0]], dtype=torch.bfloat16)
    for there in (seen(x.T), on_host(x.T)):
        assert there.dtype.name == "bfloat16"
        assert there.astype(float).tolist() == [[1.5, 0.0], [-2.0, 4.0], [3.0, 5.0]]
    o = sv.attention(x, x, x, sv.Causal(), impl="reference")
    assert o.dtype == there.dtype


def test_traits_are_of_tensors_on_a_gpu():
    torch = pytest.importorskip("torch", reason="of PyTorch")
    for x in (np.zeros((2, 3)), [[1.0]], torch.zeros(2, 3), OnGpu((2, 3)), arrays.seen(OnGpu((2, 3)))):
        assert arrays.traits([x]) is None
    assert arrays.traits([None]) == (None,)
