"""The calls of the conformance kit, put to an oracle: which are asked, and one head after the other of each."""

from dataclasses import replace

from sparsevis.golden.budget import expect
from sparsevis.golden.call import Problem
from sparsevis.golden.cases import calls
from sparsevis.golden.model import Model, dtype_of

from .pairs import alibi, pairs

__all__ = ["LIVE", "asked", "head", "wanted"]

LIVE = ("nan in a key", "nan in a value", "nan in a query", "inf in a value")   # no finite truth: tests/test_reference.py has the rules


def asked(level, every=1):
    """[(family, Call)] with a finite answer, every so many of a family."""
    return [(family, c) for family, some in calls(level).items() for c in some[::every] if c.values not in LIVE]


def wanted(call):
    """The float64 problem of a call, its pairs by definition, and what the reference says of it, with its error budget."""
    p = Problem.of(call, dtype_of("float64"))
    options = p.options() | {"mask": pairs(call)}
    want = expect(p.q, p.k, p.v, model=Model.of("float64"), do=p.do, dlse=p.dlse, **options)
    return replace(p, bias=alibi(call), alibi=None) if call.alibi else p, options["mask"], want


def head(p, mask, b, h):
    """(q, k, v) of a query head, and its keywords."""
    g = h // (p.q.shape[1] // p.k.shape[1])
    bias, sink = None if p.bias is None else p.bias[h], None if p.sinks is None else p.sinks[h]
    features = {"allowed": mask[b, h], "scale": p.scale, "softcap": p.softcap, "bias": bias, "sink": sink}
    return (p.q[b, h], p.k[b, g], p.v[b, g]), features
