"""Problems for CUDA kernels: what each kernel promises, inputs of every kind, what is right, and how far rounding may carry a result.

What is right says `sparsevis.reference`; how far off an element may be, the budget that `sparsevis.golden` computes from the inputs.
"""
import zlib
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

import sparsevis as sv
from sparsevis.golden.budget import expect
from sparsevis.golden.model import Model, dtype_of

__all__ = ["RUNGS", "Problem", "expected", "judged", "within"]


class Rung(NamedTuple):
    """What a kernel promises, written here again: a promise that shrinks must be seen."""

    name: str
    dtypes: tuple
    dims: tuple                          # (d, dv); the first where they do not matter
    features: tuple = ("softcap", "sinks", "slopes", "key_mask", "bias")
    gradients: bool = False
    exact: bool = True                   # a NaN in a value that nobody may see is not felt, and a scale may be negative
    slow: bool = False                   # in the simulator


ANY = ((8, 5), (1, 1), (3, 8), (16, 3), (33, 16), (16, 33), (33, 33), (0, 4), (4, 0))
EIGHTS = ((64, 64), (8, 8), (16, 64), (64, 16), (40, 72), (80, 80), (96, 96), (128, 128), (192, 128), (128, 192), (256, 256))
HALVES = ("bfloat16", "float16")
RUNGS = {rung.name: rung for rung in (
    Rung("cuda_rows", ("float64", "float32"), ANY),
    Rung("cuda_tiled", ("float64", "float32"), ANY, gradients=True, slow=True),
    Rung("cuda_mma", HALVES, EIGHTS, ("softcap", "sinks"), gradients=True, exact=False),
    Rung("cuda_wgmma", HALVES, EIGHTS, ("softcap", "sinks"), exact=False),
)}


# ---------------------------------------------------------------- a problem, and what is right

@dataclass(frozen=True)
class Problem:
    """A call of attention; its numbers are drawn from its own words."""

    pattern: object
    nq: int = 20
    nk: int = 20
    offset: int = 0
    heads: int = 1
    kv_heads: int = 1
    batch: tuple = ()
    dims: tuple = (8, 5)
    dtype: str = "float64"
    scale: float | None = None
    block: object = None
    asked: tuple = ()

    def draw(self):
        """Return (q, k, v) and the features that are asked for."""
        rng = np.random.default_rng(zlib.crc32(repr(replace(self, pattern=None)).encode()))
        d, dv = self.dims
        shapes = (self.heads, self.nq, d), (self.kv_heads, self.nk, d), (self.kv_heads, self.nk, dv)
        q, k, v = (rng.standard_normal((*self.batch, *shape)).astype(dtype_of(self.dtype)) for shape in shapes)
        every = {                                                    # exact in float32
            "softcap": 1.75, "sinks": np.resize([1.0, -50.0, 30.0, 0.5], self.heads), "slopes": np.arange(self.heads) / 16 - 0.125,
            "key_mask": rng.random((*self.batch, self.nk)) < 0.8,
            "bias": rng.standard_normal((self.heads, self.nq, self.nk)).astype(np.float32),
        }
        return (q, k, v), {name: every[name] for name in self.asked}

    def mask(self):
        """Who may attend whom, dense."""
        return np.ones((self.nq, self.nk), bool) if self.pattern is None else self.pattern.mask(self.nq, self.nk, self.offset)

    def options(self):
        """How `sv.attention` is asked."""
        return {"scale": self.scale, "offset": self.offset}


def folded(p, asked):
    """The mask and the options that the reference knows: slopes are a bias, padding is a mask."""
    asked, mask = dict(asked), p.mask()
    if "slopes" in asked:
        distance = np.arange(p.nk) - (np.arange(p.nq)[:, None] + p.offset)
        asked["bias"] = asked.get("bias", 0.0) + asked.pop("slopes")[:, None, None] * distance
    if "key_mask" in asked:
        mask = mask & asked.pop("key_mask")[..., None, None, :]
    return mask, asked


def expected(p, q, k, v, asked, rows=slice(None), **cotangents):
    """The right results of some rows and their error budget; tensor cores may cut sums off where others round them."""
    mask, options = folded(p, asked)
    if "bias" in options:
        options["bias"] = options["bias"][..., rows, :]
    model = replace(Model.of(q.dtype), nearest=p.dtype not in HALVES)
    return expect(q[..., rows, :], k, v, mask[..., rows, :], model=model, scale=p.scale, **options, **cotangents)


def within(got, want, rows=slice(None)):
    """Results are of the shapes wanted and within the budget; infinities and NaN stand where they should."""
    for name, x in got.items():
        x = np.asarray(x).astype(np.float64)
        x = x[..., rows, :] if name == "o" else x[..., rows] if name == "lse" else x
        y, most = want.values[name], want.errors[name]
        assert x.shape == y.shape, f"{name} has shape {x.shape}, not {y.shape}"
        with np.errstate(invalid="ignore"):
            bad = np.argwhere(~((x == y) | (abs(x - y) <= most) | (np.isnan(x) & np.isnan(y))))
        if len(bad):
            at = tuple(bad[0].tolist())
            raise AssertionError(f"{name}{list(at)} is {x[at]!r}, not {y[at]!r} within {most[at]:.1e}; {len(bad)} of {x.size} are off")


def judged(rung, p, gradient=False):
    """Run a problem, hold the results against the reference, and return them."""
    (q, k, v), asked = p.draw()
    kept = [x.tobytes() for x in (q, k, v)]
    for x in (q, k, v):
        x.flags.writeable = False
    o, lse = sv.attention(q, k, v, p.pattern, impl=rung.name, block=p.block, return_lse=True, **p.options(), **asked)
    assert (o.dtype, lse.dtype) == (q.dtype, np.float64 if p.dtype == "float64" else np.float32), f"{o.dtype}, {lse.dtype}"
    rows = slice(None) if p.nq <= 400 else np.unique(np.r_[0:p.nq:37, 62:66, 126:130, 190:194, 254:258, p.nq - 1])
    within({"o": o, "lse": lse}, expected(p, q, k, v, asked, rows), rows)
    if gradient:
        rng = np.random.default_rng(1)
        do, dlse = rng.standard_normal(o.shape).astype(q.dtype), rng.standard_normal(lse.shape).astype(lse.dtype)
        grads = sv.attention_grad(do, q, k, v, p.pattern, impl=rung.name, dlse=dlse, **p.options(), **asked)
        assert all(x.dtype == q.dtype for x in grads)
        within(dict(zip(("dq", "dk", "dv"), grads, strict=True)), expected(p, q, k, v, asked, do=do, dlse=dlse))
    assert [x.tobytes() for x in (q, k, v)] == kept, "an input was written to"
    return o, lse
