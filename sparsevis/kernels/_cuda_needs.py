"""What a CUDA kernel needs of the GPU and of what is asked, said once: by it `cuda` chooses, and a kernel that is named refuses."""
from typing import NamedTuple

__all__ = ["FEATURES", "Needs"]

FEATURES = ("softcap", "sinks", "slopes", "key_mask", "bias")


class Needs(NamedTuple):
    """The conditions under which a kernel can serve.

    Parameters
    ----------
    dtypes : tuple of str
    capability : (int, int)
        Least compute capability of the GPU, or the only one.
    only : bool
        Whether newer GPUs cannot run it either.
    multiple, largest : int
        Of the head dimensions of keys and values.
    features : tuple of str
        What it knows beyond scale.
    gradients : bool
        Whether it has a backward pass.
    """

    dtypes: tuple[str, ...]
    capability: tuple[int, int] = (5, 0)
    only: bool = False
    multiple: int = 1
    largest: int = 1 << 20
    features: tuple[str, ...] = FEATURES
    gradients: bool = False

    def refusal(self, dtype, d, dv, asked, call, capability):
        """Say why a call cannot be served, or None.

        >>> Needs(("float32",)).refusal("float16", 64, 64, (), "forward", (9, 0))
        'it computes float32, not float16'
        """
        unknown = [name for name in asked if name in FEATURES and name not in self.features]
        need, have = (".".join(map(str, c)) for c in (self.capability, capability))
        if dtype not in self.dtypes:
            return f"it computes {' and '.join(self.dtypes)}, not {dtype}"
        if (self.only and capability != self.capability) or capability < self.capability:
            return f"it needs a GPU of compute capability {need}{'' if self.only else ' or newer'}, and this one has {have}"
        if d % self.multiple or dv % self.multiple:
            return f"it needs head dimensions that are multiples of {self.multiple}, not {d} and {dv}: pad with zeros"
        if max(d, dv) > self.largest:
            return f"it takes head dimensions up to {self.largest}, not {d} and {dv}"
        if unknown:
            return f"it does not know {', '.join(unknown)}"
        if call == "backward" and not self.gradients:
            return "it has no backward pass"
        return None
