"""How a kernel is spoken to: its dialect is declared, and every call is translated into it and its results back.

Nothing is guessed. What a function can be asked for is read from the names of its parameters; what no name can say (which end of a window
counts, where the queries stand, the base of the lse) is declared, and a call that cannot be said is counted as not supported.
"""

from dataclasses import dataclass
from inspect import Parameter, signature

import numpy as np

from sparsevis.layout import Layout

__all__ = ["Dialect", "NotSaid"]

AXES = {"nd": "nd", "hnd": "hnd", "nhd": "nhd", "bhnd": "bhnd", "bnhd": "bnhd"}
PAIRS = ("causal", "window", "global_keys", "pattern", "layout", "mask")
NUMBERS = ("scale", "softcap", "sinks", "bias")
OTHER = ("offset", "o", "lse", "dlse")


class NotSaid(Exception):
    """The call cannot be said in the kernel's dialect; the text is the feature that is missing."""


@dataclass(frozen=True)
class Dialect:
    """The conventions of a kernel `fn(q, k, v, ...)`. The defaults are those of sparsevis.

    Parameters
    ----------
    axes : str
        "nd", "hnd", "nhd", "bhnd" or "bnhd": batch, heads, positions, dimension. The lse is always heads before positions.
    window : str
        What `window=` means. "sides": (left, right), the query itself excluded, None for unbounded. "flash": the same with -1 for
        unbounded. "count": the number of keys up to the query, which is included, None for unbounded.
    align : str, optional
        "top-left" or "bottom-right": where the queries stand if there are more or fewer of them than keys. Needed by functions that take
        `causal=` or `window=`, unless they take `offset=`.
    mask : str
        What `mask=` holds: "allowed" (boolean, True may attend), "forbidden" (boolean, True may not) or "additive" (0 and -inf).
    lse : str
        "natural" or "base 2".
    empty, empty_lse : float
        What a query without keys gets; 0 and -inf are the conventions of sparsevis.
    gqa : bool
        False if there must be as many key/value heads as query heads.
    block : int
        Tile of the layouts given to functions that take `layout=`.
    takes : tuple of str, optional
        Names of the keyword arguments the function takes; read from its signature where it is left out. Known are causal, window,
        global_keys, pattern, layout, mask, offset, scale, softcap, sinks, bias; and for gradients o, lse, dlse.

    Examples
    --------
    >>> Dialect(axes="bnhd", window="flash", align="bottom-right").window
    'flash'
    """

    axes: str = "hnd"
    window: str = "sides"
    align: str | None = None
    mask: str = "allowed"
    lse: str = "natural"
    empty: float = 0.0
    empty_lse: float = -np.inf
    gqa: bool = True
    block: int = 16
    takes: tuple[str, ...] | None = None

    def __post_init__(self):
        choices = {
            "axes": tuple(AXES), "window": ("sides", "flash", "count"), "align": (None, "top-left", "bottom-right"),
            "mask": ("allowed", "forbidden", "additive"), "lse": ("natural", "base 2"),
        }  # fmt: skip
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"Dialect: {name}={getattr(self, name)!r}, and needs one of {', '.join(map(repr, known))}")

    def parameters(self, fn):
        """Return {name: whether it must be given} of the keyword arguments that `fn` takes, or raise if they leave something open."""
        if self.takes is not None:
            found = dict.fromkeys(self.takes, False)
        else:
            try:
                given = list(signature(fn).parameters.values())
            except (TypeError, ValueError):
                raise TypeError(f"{fn!r} has no signature to read: say Dialect(takes=(...))") from None
            if any(p.kind is Parameter.VAR_KEYWORD for p in given):
                raise TypeError("the function takes **keywords, so its signature does not say what it knows: say Dialect(takes=(...))")
            found = {p.name: p.default is Parameter.empty for p in given if p.name in PAIRS + NUMBERS + OTHER}
        unknown = set(found) - {*PAIRS, *NUMBERS, *OTHER}
        if unknown:
            raise ValueError(f"Dialect: takes has {', '.join(sorted(unknown))}; known are {', '.join(PAIRS + NUMBERS + OTHER)}")
        if {"causal", "window", "pattern"} & set(found) and "offset" not in found and self.align is None:
            raise ValueError('where do the queries stand if there are fewer than keys? Say Dialect(align="bottom-right") or "top-left"')
        return found

    def keywords(self, call, problem, parameters):
        """Return the keyword arguments that say `call`, or raise NotSaid."""
        if call.group > 1 and not self.gqa:
            raise NotSaid("grouped heads")
        if self.axes == "nd" and call.group * call.kv_heads > 1:
            raise NotSaid("several heads")
        if "b" not in self.axes and call.batch != 1:
            raise NotSaid("a batch")
        said = self._pairs(call, problem, parameters)
        for name in NUMBERS:
            value = getattr(problem, name)
            if name in parameters and (value is not None or parameters[name]):
                default = problem.q.shape[-1] ** -0.5 if name == "scale" else None
                said[name] = default if value is None else value
            elif value is not None:
                raise NotSaid(name)
        return said

    def _pairs(self, call, problem, parameters):
        """Which pairs may attend, in the first way that can say it: numbers, a pattern, a layout, a mask."""
        (nq, nk), at = problem.mask.shape, {}
        if "offset" in parameters:
            at = {"offset": call.at}
        placed = "offset" in parameters or call.at == (nk - nq if self.align == "bottom-right" else 0)
        if (call.left, call.right, call.pattern) == (None, None, None) and not any(parameters.get(x) for x in PAIRS):
            return at
        if placed and call.pattern is None and (said := self._numbers(call, parameters)) is not None:
            return said | at
        if "pattern" in parameters and placed:
            return {"pattern": call.allowed} | at
        if "layout" in parameters:
            return {"layout": Layout.of(call.allowed, (nq, nk), self.block, call.at)}
        if "mask" in parameters:
            forms = {"allowed": problem.mask, "forbidden": ~problem.mask, "additive": np.where(problem.mask, 0, -np.inf)}
            mask = forms[self.mask].copy()
            return {"mask": mask.astype(problem.q.dtype) if self.mask == "additive" else mask} | at
        if not placed:
            raise NotSaid("this alignment")
        raise NotSaid("patterns" if call.pattern is not None else "global keys" if call.global_keys else "windows")

    def _numbers(self, call, parameters):
        """`causal`, `window` and `global_keys`, or None where they cannot say it."""
        said, causal = {}, call.right == 0
        if "causal" in parameters:
            said["causal"] = causal
        if "window" in parameters:
            none = -1 if self.window == "flash" else None
            if self.window == "count":
                if not causal:
                    return None
                said["window"] = None if call.left is None else call.left + 1
            else:
                said["window"] = tuple(none if x is None else x for x in (call.left, call.right))
        elif call.left is not None or not ("causal" in parameters and call.right in (0, None)):
            return None
        if call.global_keys:
            if "global_keys" not in parameters:
                return None
            said["global_keys"] = call.global_keys
        return said

    def give(self, x):
        """Return an array (batch, heads, n, d) with the kernel's axes, a copy of its own."""
        x = x if "b" in self.axes else x[0]
        x = x[0] if self.axes == "nd" else x
        return np.array(np.swapaxes(x, -2, -3) if "nh" in self.axes else x, order="C")

    def take(self, x, shape, name):
        """Return a result in float64 with our axes, of the `shape` expected, or raise ValueError."""
        needed = list(shape) if "b" in self.axes else list(shape)[1:]
        needed = needed[1:] if self.axes == "nd" else needed
        turned = "nh" in self.axes and name != "lse"
        if turned:
            needed[-2], needed[-3] = needed[-3], needed[-2]
        x = np.asarray(x)
        if list(x.shape) != needed:
            raise ValueError(f"{name} has shape {tuple(x.shape)}, and needs {tuple(needed)}")
        x = x.astype(np.float64)
        x = (np.swapaxes(x, -2, -3) if turned else x).reshape(shape)
        return x * np.log(2) if name == "lse" and self.lse == "base 2" else x
