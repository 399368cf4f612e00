"""Arrays of other libraries, in and out. A library is imported when it is first asked for, and not before."""

import warnings
from dataclasses import dataclass

import numpy as np

__all__ = ["Library", "NotSaid"]


class NotSaid(Exception):
    """The call cannot be said in the kernel's dialect; the text is the feature that is missing."""


@dataclass(frozen=True)
class Library:
    """NumPy arrays as they are, or as the arrays of another library: `give`, `take`, and whether two `share` memory."""

    name: str
    device: str = ""

    @classmethod
    def of(cls, text):
        """Read "numpy", "torch", "torch:cuda:1", "jax" or "cupy"."""
        name, _, device = text.partition(":")
        if name not in ("numpy", "torch", "jax", "cupy") or (device and name != "torch"):
            raise ValueError(f'arrays={text!r}: needs "numpy", "torch", "jax" or "cupy"; "torch:cuda" names a device')
        return cls(name, device)

    def give(self, x):
        """Return a NumPy array as the library's; of PyTorch on the processor it is the same memory, so that its strides are felt."""
        if self.name == "numpy":
            return x
        if self.name == "torch":
            return _tensor(x, self.device)
        if self.name == "cupy":
            import cupy

            return cupy.asarray(x)
        import jax.numpy as jnp

        given = jnp.asarray(x)
        if x.dtype == np.float64 and given.dtype != np.float64:
            raise ValueError('JAX makes float32 of float64: jax.config.update("jax_enable_x64", True) first, or check in float32')
        return given

    def take(self, x):
        """Return the library's array as a NumPy array."""
        if self.name == "torch" and hasattr(x, "detach"):
            import torch

            x = x.detach().cpu()
            if x.dtype == torch.bfloat16:
                return x.view(torch.int16).numpy().view(_bfloat16())
            return x.numpy()
        return x.get() if self.name == "cupy" and hasattr(x, "get") else np.asarray(x)

    def share(self, a, b):
        """Whether two of the library's arrays lie in the same memory; those of JAX cannot be written, so it does not matter."""
        if self.name == "torch" and hasattr(a, "untyped_storage") and hasattr(b, "untyped_storage"):
            return a.numel() > 0 and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
        if self.name == "cupy":
            import cupy

            return bool(cupy.shares_memory(a, b))
        return self.name == "numpy" and np.shares_memory(np.asarray(a), np.asarray(b))


def _tensor(x, device):
    import torch

    if any(step < 0 for step in x.strides):
        raise NotSaid("tensors of negative strides")
    narrow = x.dtype.name == "bfloat16"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that tensors cannot be read-only: whether one is written to is looked at afterwards
        given = torch.from_numpy(x.view(np.int16) if narrow else x)
    given = given.view(torch.bfloat16) if narrow else given
    return given.to(device) if device else given


def _bfloat16():
    import ml_dtypes

    return ml_dtypes.bfloat16
