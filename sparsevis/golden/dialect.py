"""How a kernel is spoken to: its dialect is declared, and every call is translated into it and its results back.

Nothing is guessed. What a function can be asked for is read from the names of its parameters; what no name can say (which end of a window
counts, where the queries stand, the base of the lse) is declared, and a call that cannot be said is counted as not supported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import Parameter, signature

import numpy as np

from sparsevis.golden.arrays import Library, NotSaid
from sparsevis.golden.saying import KNOWN, PACKED, said_of

__all__ = ["Dialect", "NotSaid"]

AXES = ("nd", "hnd", "nhd", "bhnd", "bnhd")


@dataclass(frozen=True)
class Dialect:
    """The conventions of a kernel `fn(q, k, v, ...)`. The defaults are those of sparsevis.

    Parameters
    ----------
    axes : str
        "nd", "hnd", "nhd", "bhnd" or "bnhd": batch, heads, positions, dimension. The lse is always heads before positions.
    window : str
        What `window=` means. "sides": (left, right), the query itself excluded, None for unbounded. "flash": the same with -1 for
        unbounded. "left": the keys before the query alone, -1 for unbounded. "count": the number of keys up to the query, which is
        included, None for unbounded.
    align : str, optional
        "top-left" or "bottom-right": where the queries stand if there are more or fewer of them than keys. Needed by functions that take
        `causal=` or `window=`, unless they take `offset=`.
    mask : str
        What `mask=` holds: "allowed" (boolean, True may attend), "forbidden" (boolean, True may not) or "additive" (0 and -inf).
    mask_axes : int
        2 for masks (nq, nk) alone; 3 where (heads, nq, nk) is understood too, 4 where (batch, 1 or heads, nq, nk) is.
    lse : str
        "natural" or "base 2".
    empty : float, optional
        What a query without keys gets; 0 is the convention of sparsevis. None leaves such queries out of the comparison.
    empty_lse : float
        The lse of a query without keys.
    leaks : bool
        True for functions that multiply forbidden values by 0, so that NaN and infinities among them are felt: they are then not asked.
    gqa : bool
        False if there must be as many key/value heads as query heads.
    block : int
        Tile of the layouts given to functions that take `layout=`.
    takes : tuple of str, optional
        What the function takes, in the words of the kit; read from its signature where it is left out. Known are causal, window,
        global_keys, pattern, layout, mask, offset, scale, softcap, sinks, bias, slopes (of ALiBi); lengths, key_lengths, cu_seqlens_q,
        cu_seqlens_k, max_seqlen_q, max_seqlen_k of packed documents; kv_lengths, the valid keys of each entry of a batch; positions, of
        the key in each slot of a ring; out and lse_out, arrays to be filled, which come full of NaN and with a margin that must stay as
        it is; and for gradients o, lse, dlse.
    names : dict, optional
        The function's own names for them: {"scale": "softmax_scale"}.
    also : dict, optional
        Further keyword arguments, given with every call to functions that have a parameter of the name.
    arrays : str
        "numpy", "torch", "jax" or "cupy"; "torch:cuda" names a device.

    Examples
    --------
    >>> Dialect(axes="bnhd", window="flash", align="bottom-right", names={"window": "window_size"}).window
    'flash'
    """

    axes: str = "hnd"
    window: str = "sides"
    align: str | None = None
    mask: str = "allowed"
    mask_axes: int = 2
    lse: str = "natural"
    empty: float | None = 0.0
    empty_lse: float = -np.inf
    leaks: bool = False
    gqa: bool = True
    block: int = 16
    takes: tuple[str, ...] | None = None
    names: Mapping | tuple = ()
    also: Mapping | tuple = ()
    arrays: str = "numpy"

    def __post_init__(self):
        choices = {
            "axes": AXES, "window": ("sides", "flash", "left", "count"), "align": (None, "top-left", "bottom-right"),
            "mask": ("allowed", "forbidden", "additive"), "mask_axes": (2, 3, 4), "lse": ("natural", "base 2"),
        }  # fmt: skip
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"Dialect: {name}={getattr(self, name)!r}, and needs one of {', '.join(map(repr, known))}")
        for name in ("names", "also"):
            object.__setattr__(self, name, tuple(dict(getattr(self, name)).items()))
        Library.of(self.arrays)
        self._know(dict(self.names), "names")

    @staticmethod
    def _know(words, where):
        unknown = sorted(set(words) - set(KNOWN))
        if unknown:
            raise ValueError(f"Dialect: {where} has {', '.join(unknown)}; known are {', '.join(KNOWN)}")

    def parameters(self, fn):
        """Return {name: whether it must be given} of the keyword arguments that `fn` takes, or raise if they leave something open."""
        also = dict(self.also)
        if self.takes is not None:
            self._know(self.takes, "takes")
            found = dict.fromkeys((*self.takes, *also), False)
        else:
            try:
                given = list(signature(fn).parameters.values())
            except (TypeError, ValueError):
                raise TypeError(f"{fn!r} has no signature to read: say Dialect(takes=(...))") from None
            if any(p.kind is Parameter.VAR_KEYWORD for p in given):
                raise TypeError("the function takes **keywords, so its signature does not say what it knows: say Dialect(takes=(...))")
            ours = {theirs: name for name, theirs in self.names}
            known = [p for p in given if ours.get(p.name, p.name) in KNOWN or p.name in also]
            found = {ours.get(p.name, p.name): p.default is Parameter.empty for p in known}
        if {"causal", "window", "pattern"} & set(found) and "offset" not in found and self.align is None:
            raise ValueError('where do the queries stand if there are fewer than keys? Say Dialect(align="bottom-right") or "top-left"')
        return found

    def keywords(self, call, problem, parameters):
        """Return the keyword arguments that say `call`, in the function's own names, or raise NotSaid."""
        if call.group > 1 and not self.gqa:
            raise NotSaid("grouped heads")
        if self.leaks and not (np.isfinite(problem.k.astype(float)).all() and np.isfinite(problem.v.astype(float)).all()):
            raise NotSaid("NaN or infinity among keys and values")
        if self.axes == "nd" and call.group * call.kv_heads > 1:
            raise NotSaid("several heads")
        if "b" not in self.axes and call.batch != 1:
            raise NotSaid("a batch")
        if "b" in self.axes and any(x in parameters for x in PACKED) and call.batch > 1 and call.lengths is not None:
            raise NotSaid("a batch of packed documents")
        said = said_of(self, call, problem, parameters) | {name: x for name, x in self.also if name in parameters}
        return self.renamed(said)

    def renamed(self, said):
        """Return the keywords under the names that the function has for them."""
        names = dict(self.names)
        return {names.get(name, name): x for name, x in said.items()}

    def give(self, x):
        """Return an array (batch, heads, n, d) with the kernel's axes, a copy of its own."""
        x = x if "b" in self.axes else x[0]
        x = x[0] if self.axes == "nd" else x
        return np.array(np.swapaxes(x, -2, -3) if "nh" in self.axes else x, order="C")

    def give_lse(self, x):
        """Return an array (batch, heads, nq) with the kernel's axes."""
        x = x if "b" in self.axes else x[0]
        return x[0] if self.axes == "nd" else x

    def take(self, x, shape, name):
        """Return a result in float64 with our axes, of the `shape` expected, or raise ValueError."""
        needed = list(shape) if "b" in self.axes else list(shape)[1:]
        needed = needed[1:] if self.axes == "nd" else needed
        turned = "nh" in self.axes and name != "lse"
        if turned:
            needed[-2], needed[-3] = needed[-3], needed[-2]
        if list(x.shape) != needed:
            raise ValueError(f"{name} has shape {tuple(x.shape)}, and needs {tuple(needed)}")
        x = x.astype(np.float64)
        x = (np.swapaxes(x, -2, -3) if turned else x).reshape(shape)
        return x * np.log(2) if name == "lse" and self.lse == "base 2" else x
