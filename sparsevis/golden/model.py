"""What a kernel rounds: the declaration that an error budget is computed from."""

from dataclasses import dataclass, fields

import numpy as np

__all__ = ["Model", "dtype_of", "tighter", "weaker"]

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


def weaker(dtype):
    """Return {words: fields of a Model}: roundings that a kernel may make without saying so, the least weak first.

    >>> list(weaker(np.dtype("float16")))[:3]
    ['the denominator sums the rounded P', 'parts merged through their lse', 'o stored in float16']
    """
    halves, narrow = [dtype.name] if dtype.itemsize == 2 else ["float16", "bfloat16"], dtype.itemsize == 2
    found = {"the denominator sums the rounded P": {"rounded_sum": True}} if narrow else {}
    found |= {"parts merged through their lse": {"merged": True}} | {f"o stored in {half}": {"out": half} for half in halves}
    for half in halves:
        found |= {
            f"P rounded to {half}": {"p": half}, f"P rounded to {half}, also in the denominator": {"p": half, "rounded_sum": True},
            f"dP stored in {half}": {"dp": half}, f"gradients carried in {half}": {"carry": half},
        }  # fmt: skip
    found |= {f"lse stored in {half}": {"lse": half} for half in halves}
    for half in halves:
        found |= {f"scores stored in {half}": {"score": half}, f"q, k or v rounded to {half}": {"operand": half}}
    found |= {"q, k or v rounded to tf32": {"operand": "tf32"}, "P in 8 bits": {"p": "e4m3"}, "sums in float16": {"acc": "float16"}}
    single = {"acc": "float32", "out": "float32", "lse": "float32"}
    return {"sums in float32": single} | found if dtype == np.float64 else found


def tighter(dtype):
    """Return {words: fields of a Model}: less rounding than is usual for a dtype, the least first.

    >>> list(tighter(np.dtype("float32")))
    ['sums in float64', 'sums in steps of 16, one softmax a row', 'sums in steps of 16']
    """
    steps = {"sums in steps of 16, one softmax a row": {"step": 16, "tile": None}, "sums in steps of 16": {"step": 16, "tile": 16}}
    if dtype == np.float64:
        return steps
    exact = {"sums in float64": {"acc": "float64", "p": None, "tile": None}}
    if dtype.itemsize > 2:
        return exact | steps
    kept = {f"{words}, P not rounded": change | {"p": None} for words, change in steps.items()}
    return exact | kept | {"P not rounded": {"p": None}} | steps
