"""One library's way to say a pattern: its arguments read as a pattern, and a pattern written as its arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparsevis.dialects.rule import Place, Unsayable, rule_of
from sparsevis.pattern import Pattern, sizes

__all__ = ["Code", "Dialect"]


class Code(str):
    """An argument that is written as code, not as a value."""

    __slots__ = ()

    def __repr__(self):
        return str(self)


@dataclass(frozen=True)
class Dialect:
    """How a library says which pairs are allowed.

    Parameters
    ----------
    name, version : str
        The library, and the release or commit whose behaviour is described; later ones may differ.
    source : str
        Where the rule stands.
    align : {"top-left", "bottom-right", "square", "any"} or callable
        Where query 0 stands when nq != nk: always at key 0; always so that the last query stands at the last key; never, as only
        nq = nk is taken; where the call says (then, if that is by its arguments, a function of them).
    reads : callable
        ``(**arguments) -> Pattern``.
    writes : callable
        ``(Rule, Place) -> arguments``, or raises Unsayable.
    call : str or callable
        The call with "{}" for the arguments, or a function of them that returns the whole text.
    note : str
        What its users trip over.
    dense : str
        How it takes a mask of any shape; empty where it cannot.

    Examples
    --------
    >>> from sparsevis import SlidingWindow
    >>> from sparsevis.dialects import DIALECTS
    >>> flash = DIALECTS["flash-attn"]
    >>> flash.pattern(window_size=(3, 0), causal=True)
    SlidingWindow(left=3)
    >>> flash.arguments(SlidingWindow(3))
    {'causal': True, 'window_size': (3, 0)}
    >>> print(flash.code(SlidingWindow(3)))
    flash_attn_func(q, k, v, causal=True, window_size=(3, 0))
    >>> flash.mask(2, 4, causal=True).astype(int)
    array([[1, 1, 1, 0],
           [1, 1, 1, 1]])
    """

    name: str
    version: str
    source: str
    align: str | Callable
    reads: Callable[..., Any]
    writes: Callable[..., dict]
    call: str | Callable
    note: str = ""
    dense: str = ""

    def pattern(self, **arguments):
        """Return the pattern that these arguments mean to the library."""
        return self.reads(**arguments)

    def offset(self, nq, nk, **arguments):
        """Return where query 0 stands in such a call, as a number; for "any" without a word in the arguments, raise if nq != nk."""
        align = self.align(**arguments) if callable(self.align) else self.align
        if align == "square" and nq != nk:
            raise ValueError(f"{self.name} takes as many queries as keys, not {nq} and {nk}")
        return sizes(nq, nk, None if align in ("square", "any") else align)[1]

    def mask(self, nq, nk=None, **arguments):
        """Return the boolean mask (nq, nk) of such a call, in the library's own alignment."""
        nk = nq if nk is None else nk
        return self.pattern(**arguments).mask(nq, nk, offset=self.offset(nq, nk, **arguments))

    def arguments(self, pattern, nq=None, nk=None, offset=None):
        """Return the arguments by which the library says the pattern.

        Parameters
        ----------
        pattern : Pattern
            What to say.
        nq, nk : int, optional
            Numbers of queries and keys; left out, they are equal and any.
        offset
            As for `Pattern.mask`.

        Raises
        ------
        Unsayable
            If the library cannot say it, or stands its queries elsewhere.
        """
        place = Place() if nq is None else Place(*sizes(nq, nk, offset)[0], sizes(nq, nk, offset)[1])
        if nq is None and (nk is not None or offset is not None):
            raise ValueError("nk and offset need nq: give the number of queries too")
        try:
            rule = rule_of(pattern)
            self._check(place, rule.everything)
            return self.writes(rule, place)
        except Unsayable as why:
            raise Unsayable(why.reason, f"{self.name} cannot say {_short(pattern)}: ") from None

    def code(self, pattern, nq=None, nk=None, offset=None):
        """Return the call that says the pattern, as text; see `arguments`."""
        arguments = self.arguments(pattern, nq, nk, offset)
        return self.call(**arguments) if callable(self.call) else filled(self.call, arguments)

    def _check(self, place, anywhere):
        wanted = {"top-left": 0, "square": 0, "bottom-right": place.bottom_right}.get(self.align, place.offset)
        if place.offset != wanted and not anywhere:
            raise Unsayable(f"it stands query 0 at position {wanted} ({self.align}), and it was asked to stand at {place.offset}")
        if self.align == "square" and place.nq != place.nk:
            raise Unsayable(f"it takes as many queries as keys, not {place.nq} and {place.nk}")


def filled(call, arguments):
    """Put arguments into a call."""
    text = call.format(", ".join(f"{name}={_written(value)}" for name, value in arguments.items()))
    return text.replace(", )", ")").replace("(, ", "(")


def _written(value):
    return f"<{value.dtype} array {value.shape}>" if isinstance(value, np.ndarray) else repr(value)


def _short(pattern: Pattern):
    text = repr(pattern)
    return text if len(text) <= 120 else text[:116] + " ..."
