"""Source code of a mask for JAX's Splash attention, which asks a mask for one block of rows and columns at a time.

The rule is that of `flex_mask_mod`; what is around it is the class that Splash wants, so that no n x n array exists.
"""

from sparsevis.dialects.mask_mod import MaskMod, flex_mask_mod
from sparsevis.pattern import sizes
from sparsevis.per_head import PerHead

__all__ = ["splash_mask"]

CLASS = '''
def splash_mask({names}):
    """The rule as a MultiHeadMask of {heads}."""
    import numpy as np
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as splash

    rule, shape = {made}, {shape}

    class Head(splash.Mask):
        def __init__(self, h):
            self.h = h

        @property
        def shape(self):
            return shape

        def __getitem__(self, at):
            rows, columns = (np.arange(n)[some] for n, some in zip(shape, at, strict=True))
            return np.array(np.broadcast_to(rule(0, self.h, rows[:, None], columns), (rows.size, columns.size)))

        def __eq__(self, other):
            return type(other) is Head and other.h == self.h

        def __hash__(self):
            return hash((Head, self.h))

    return splash.MultiHeadMask([Head({which}) for h in range({count})])
'''


def splash_mask(pattern, nq, nk=None, offset=None, heads=1):
    """Return the pattern as Python source of a mask for JAX's Splash attention.

    Parameters
    ----------
    pattern : Pattern or PerHead
        What to say.
    nq, nk, offset
        As for `Pattern.mask`; the offset is written into the code.
    heads : int
        Query heads; a `PerHead` has its own number.

    Returns
    -------
    MaskMod
        `source` defines `splash_mask(...)`, which returns a MultiHeadMask and is given `tables` where there are any, and `check`, which
        needs NumPy alone, as that of `flex_mask_mod`.

    Examples
    --------
    >>> from sparsevis import SlidingWindow
    >>> print(splash_mask(SlidingWindow(3), 8, heads=2).source.splitlines()[-1].strip())
    return splash.MultiHeadMask([Head(0) for h in range(2)])
    """
    (rows, columns), _ = sizes(nq, nk, offset)
    rule = flex_mask_mod(pattern, nq, nk, offset)
    own = isinstance(pattern, PerHead)
    count, names = len(pattern) if own else heads, ", ".join(rule.tables)
    words = {"names": names, "made": f"make_mask_mod({names})" if names else "mask_mod", "shape": (rows, columns), "count": count}
    words |= {"heads": f"{count} head{'s' * (count != 1)}", "which": "h" if own else "0"}
    return MaskMod(f"{rule.source}\n{CLASS.format(**words)}", rule.tables)
