"""Who is timed: one table of implementations, ours and others', with what each can do and how to install it.

What a peer can do is a function of a `Problem` that returns `Work`, in `with_sparsevis.py`, `with_torch.py`, `with_jax.py` and
`with_numpy.py`; libraries are imported there, in use.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import numpy as np

from sparsevis.bench.with_jax import jax_backward, jax_forward
from sparsevis.bench.with_numpy import gathered, naive
from sparsevis.bench.with_sparsevis import our_backward, our_forward, our_layout
from sparsevis.bench.with_torch import flex, flex_layout, no_compiler, sdpa, torch_backward, torch_forward
from sparsevis.patterns import Causal, Dense

__all__ = ["PEERS", "Peer"]


@dataclass(frozen=True)
class Peer:
    """One implementation.

    Attributes
    ----------
    can : dict of str to function
        For each kind of case, Problem -> Work.
    modules : tuple of str
        What it imports in use, so that this is neither timed nor weighed. The first is what to install.
    compiles : bool
        Whether a first call compiles, and so says nothing of the others.
    quick : bool
        Whether it takes part in a quick run.
    needs : function
        Case -> bytes it will take about, beyond inputs and outputs.
    most : float
        Pairs of all heads, beyond which nobody wants to wait.
    unable : function
        Case -> why not, or None.

    Examples
    --------
    >>> Peer("mine", "a library of mine", {}, modules=("mylib",)).missing()
    'mylib is not installed: pip install mylib'
    """

    name: str
    what: str
    can: Mapping[str, Callable]
    modules: tuple[str, ...] = ()
    compiles: bool = False
    quick: bool = True
    needs: Callable = lambda case: 0
    most: float = float("inf")
    unable: Callable = lambda case: None

    def missing(self):
        """Return why this peer cannot run here at all, or None."""
        absent = self.modules and find_spec(self.modules[0]) is None
        return f"{self.modules[0]} is not installed: pip install {self.modules[0]}" if absent else None

    def why_not(self, case, pairs, memory_limit):
        """Return why this peer sits this case out, or None."""
        reason = self.missing() or self.unable(case)
        if not reason and self.needs(case) > memory_limit:
            reason = f"would take about {self.needs(case) / 2**30:,.1f} GiB, and the limit is {memory_limit / 2**30:.1f} GiB"
        if not reason and pairs > self.most:
            reason = f"too slow for more than {self.most / 1e6:.0f} million pairs"
        return reason


def _scores(copies, itemsize=None):
    """So many n x n arrays for every head."""
    return lambda case: copies * case.heads * case.n**2 * (itemsize or np.dtype(case.dtype).itemsize)


def _mask(case):
    """A boolean n x n mask, and the same in float32; none where the peer has the pattern by name."""
    return 0 if case.pattern in (Dense(), Causal()) else 5 * case.n**2


def _torch(attend):
    return {"forward": partial(torch_forward, attend), "backward": partial(torch_backward, attend)}


def _float64(case):
    return "is float32 unless told otherwise" if case.dtype == "float64" else None


_FLEX = {
    "modules": ("torch", "torch._dynamo", "torch.nn.attention.flex_attention"), "compiles": True, "unable": no_compiler,
    "needs": lambda case: 10 * case.n**2,  # create_block_mask asks the rule about every pair: 2.5 GiB for n = 16,384
}  # fmt: skip
_64, _128, _compiled = partial(flex_layout, 64), partial(flex_layout, 128), partial(flex_layout, 128, compiled=True)

PEERS = [
    Peer(
        "cpu", "sparsevis, impl='cpu': register tiles",
        {"forward": partial(our_forward, "cpu"), "backward": partial(our_backward, "cpu"), "layout": our_layout},
        ("sparsevis.kernels.cpu",), compiles=True,
    ),
    Peer("flex 64", "PyTorch FlexAttention, compiled, blocks of 64", _torch(partial(flex, 64)) | {"layout": _64}, **_FLEX, quick=False),
    Peer("flex 128", "PyTorch FlexAttention, compiled, blocks of 128", _torch(partial(flex, 128)) | {"layout": _128}, **_FLEX),
    Peer("flex compiled", "its create_block_mask compiled, for layouts", {"layout": _compiled}, **_FLEX, quick=False),
    Peer("sdpa", "PyTorch scaled_dot_product_attention", _torch(sdpa), ("torch",), needs=_mask),
    Peer(
        "jax", "JAX dot_product_attention, jitted; what it prepares are its copies of the inputs",
        {"forward": jax_forward, "backward": jax_backward}, ("jax",), compiles=True, needs=_scores(3), unable=_float64,
    ),
    Peer("numpy", "NumPy as first written: the n x n scores", {"forward": naive}, needs=_scores(4)),
    Peer("scipy", "NumPy and SciPy: keys gathered by a CSR matrix", {"forward": gathered}, modules=("scipy", "scipy.sparse"), most=1 << 25),
    Peer(
        "cpu_plain", "sparsevis, impl='cpu_plain': loops, compiled", {"forward": partial(our_forward, "cpu_plain")},
        ("sparsevis.kernels.cpu_plain",), compiles=True,
    ),
    Peer("loops", "sparsevis, impl='loops': plain Python over tiles", {"forward": partial(our_forward, "loops")}),
    Peer(
        "reference", "sparsevis, impl='reference': dense, float64", {"forward": partial(our_forward, "reference")},
        needs=_scores(6, 8), most=1 << 22,
    ),
]  # fmt: skip
