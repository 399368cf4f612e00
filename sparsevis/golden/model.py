"""What a kernel rounds: the declaration that an error budget is computed from."""

from dataclasses import dataclass, fields

import numpy as np

__all__ = ["Model", "dtype_of"]

UNIT = {"float64": 2.0**-53, "float32": 2.0**-24, "tf32": 2.0**-11, "float16": 2.0**-11, "bfloat16": 2.0**-8, "e4m3": 2.0**-4, None: 0.0}
HALF_STEP = {  # half the smallest subnormal: what storing loses near 0
    "float64": 2.0**-1074, "float32": 2.0**-150, "tf32": 2.0**-137, "float16": 2.0**-25, "bfloat16": 2.0**-134, "e4m3": 2.0**-10, None: 0.0,
}  # fmt: skip
SMALLEST = {"float64": 2.0**-1022, "float32": 2.0**-126, "float16": 2.0**-14, "bfloat16": 2.0**-126}  # below: exp may give 0


def dtype_of(name):
    """Return a numpy.dtype by name; bfloat16 is ml_dtypes'.

    >>> dtype_of("float16")
    dtype('float16')
    """
    if name != "bfloat16":
        return np.dtype(name)
    from ml_dtypes import bfloat16

    return np.dtype(bfloat16)


@dataclass(frozen=True)
class Model:
    """The roundings of a kernel. None is "not rounded"; whatever is not declared is held against the kernel.

    The order of tiles is free, and so is their size unless `tile` and `step` say more.

    Parameters
    ----------
    acc : str
        Dtype of scores, softmax and sums: float16, bfloat16, float32 or float64.
    out, lse : str
        Dtypes in which o and the gradients, and the lse, are stored.
    p : str, optional
        Dtype of P and dS before they enter a second product.
    operand : str, optional
        Dtype to which q, k, v are rounded once more before a product: tf32, or float16 for a scale folded into a half-precision q.
    score, dp : str, optional
        Dtypes of scores and of dO V^T, where they are stored narrow.
    carry : str, optional
        Dtype of the memory in which gradients are added up tile by tile.
    exp, tanh : float
        Relative error of these functions in unit roundoffs of `acc`; 4 is 2**-22 in float32, as a GPU's ex2 has.
    tile : int, optional
        Keys between two rescales of the sums: 1 allows any number of rescales, None none at all (the softmax of a whole row).
    step : int, optional
        Keys summed before they join a running sum, so that chains are step + n / step long; None allows any order.
    merged : bool
        Parts over the keys are merged through their lse, as split-KV kernels do.
    rounded_sum : bool
        The denominator sums P after its rounding, not before.
    nearest : bool
        False for sums that truncate, as those of tensor cores may.

    Examples
    --------
    >>> Model.of("float16")
    Model(out='float16', p='float16')
    """

    acc: str = "float32"
    out: str = "float32"
    lse: str = "float32"
    p: str | None = None
    operand: str | None = None
    score: str | None = None
    dp: str | None = None
    carry: str | None = None
    exp: float = 4.0
    tanh: float = 4.0
    tile: int | None = 1
    step: int | None = None
    merged: bool = False
    rounded_sum: bool = False
    nearest: bool = True

    def __post_init__(self):
        for name in ("acc", "out", "lse", "p", "operand", "score", "dp", "carry"):
            known = SMALLEST if name in ("acc", "out", "lse") else UNIT
            if getattr(self, name) not in known:
                raise ValueError(f"Model: {name}={getattr(self, name)!r}, and needs one of {', '.join(map(repr, known))}")

    @classmethod
    def of(cls, dtype):
        """Return what is expected of a kernel whose inputs have this dtype: halves accumulate in float32 and round P to themselves."""
        name = np.dtype(dtype).name
        if name == "float64":
            return cls(acc="float64", out="float64", lse="float64")
        return cls(out=name, p=None if name == "float32" else name)

    @property
    def u(self):
        """Unit roundoff of the accumulators."""
        return UNIT[self.acc] * (1 if self.nearest else 2)

    def gamma(self, n):
        """Relative error of n chained roundings, n u / (1 - n u)."""
        nu = np.minimum(np.asarray(n, float) * self.u, 0.5)
        return nu / (1 - nu)

    def __repr__(self):
        return f"Model({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in fields(self) if getattr(self, f.name) != f.default)})"
