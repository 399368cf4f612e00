"""How the tests ask sparsevis."""

import pytest

import sparsevis as sv

__all__ = ["IMPLS", "attention", "over", "scored_attention"]

IMPLS = ("reference", "loops", "cpu")


def over(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def attention(case, impl, dtype="float64", **options):
    """(o, lse) of the case's pattern."""
    q, k, v = (x.astype(dtype) for x in case.inputs)
    return sv.attention(q, k, v, case.pattern(), offset=case.offset, impl=impl, return_lse=True, **options)


def scored_attention(scored, impl):
    """The same with the case's scale, softcap, bias or sinks, where the implementation knows them."""
    try:
        return attention(scored.case, impl, **scored.options)
    except NotImplementedError as said:
        pytest.skip(str(said))
