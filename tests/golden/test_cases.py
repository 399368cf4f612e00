"""The cases: each follows from its line of text, says something about the feature it is there for, and shrinks."""

from dataclasses import replace

import numpy as np
import pytest

import sparsevis as sv
from sparsevis.golden import Model, calls, expect
from sparsevis.golden.cases import LEVELS, MEMORY, VALUES, Call, Problem
from sparsevis.golden.compare import ratios
from sparsevis.golden.conventions import conventions
from sparsevis.golden.shrink import _simpler


def test_a_call_is_its_text():
    names = {x: getattr(sv, x) for x in sv.__all__ if x[0].isupper()} | {"Call": Call}
    for some in calls("adversarial").values():
        for call in some:
            if call.pattern is None or "-" not in repr(call.pattern):
                assert eval(repr(call), names) == call


def test_levels_grow():
    sizes = [sum(map(len, calls(level).values())) for level in LEVELS]
    assert sizes == sorted(sizes)
    assert sizes[0] > 100


def test_equal_calls_have_equal_arrays_and_seeds_differ():
    call = Call(5, 6, sinks=True, bias=True)
    a, b, c = (Problem.of(x, "float16") for x in (call, call, replace(call, seed=1)))
    for name in ("q", "k", "v", "do", "dlse", "bias"):
        assert np.array_equal(getattr(a, name), getattr(b, name))
        assert not np.array_equal(getattr(a, name), getattr(c, name))


def test_masks_by_hand():
    assert Call(2, 4, left=1, right=0).mask.astype(int).tolist() == [[0, 1, 1, 0], [0, 0, 1, 1]]
    assert Call(2, 4, left=1, right=0, offset="top-left").mask.astype(int).tolist() == [[1, 0, 0, 0], [1, 1, 0, 0]]
    assert Call(4, 2, right=0).mask.astype(int).tolist() == [[0, 0], [0, 0], [1, 0], [1, 1]]
    assert Call(4, 4, left=0, right=0, global_keys=1).mask.astype(int).tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]]


@pytest.mark.parametrize("family", ["scale", "softcap", "sinks", "bias", "alibi"])
def test_a_feature_moves_the_answer_by_a_hundred_budgets(family):
    """A case in which a feature is numerically invisible tests nothing."""
    moved = []
    for call in calls("quick")[family]:
        p = Problem.of(call, "float32")
        with_it = expect(p.q, p.k, p.v, **p.options())
        without = expect(p.q, p.k, p.v, **p.options() | {"bias" if family == "alibi" else family: None})
        moved.append(ratios(without.values["o"], with_it.values["o"], with_it.errors["o"]).max())
    assert max(moved) > 100


@pytest.mark.parametrize("name", MEMORY)
def test_memory_changes_how_an_array_lies_and_not_what_it_holds(name):
    x = np.arange(24.0).reshape(2, 3, 4)
    x = x[:, :1] + 0 * x if name == "broadcast" else x
    y = MEMORY[name](x.copy())
    assert np.array_equal(x, y)
    assert name == "plain" or y.strides != x.strides or not y.flags.writeable


def test_values_where_forbidden_lie_in_keys_that_no_query_attends():
    for name in ("nan where forbidden", "1000 where forbidden"):
        p = Problem.of(Call(8, 33, left=3, right=0, values=name), "float32")
        strange = (np.isnan(p.v) | (p.v == 1000)).any((0, 1, 3))
        assert strange.any()
        assert not p.mask[:, strange].any()
    assert set(VALUES) > {"normal", "coded"}


def test_conventions_change_the_problem():
    call = Call(9, 14, d=8, dv=5, kv_heads=2, group=2, left=3, right=0, global_keys=2, softcap=1.0, sinks=True, bias=True, offset=2)
    p = Problem.of(call, "float32")
    right = expect(p.q, p.k, p.v, model=Model(), **p.options())
    found = dict(conventions(call, p))
    assert len(found) > 20
    for words, other in found.items():
        got = expect(other.q, other.k, other.v, **other.options()).values["o"]
        assert ratios(got, right.values["o"], right.errors["o"]).max() > 1, words


def test_every_smaller_call_is_smaller():
    """Else the search for the smallest one might not end."""
    sizes = {"nq": 9, "nk": 5, "d": 4, "dv": 3, "batch": 2, "kv_heads": 2, "group": 3, "left": 4, "right": 2, "seed": 2}
    call = Call(**sizes, scale=0.5, sinks=True, values="coded", memory="strided")

    def weight(c):
        features = (c.scale is not None, c.sinks, c.values != "normal", c.memory != "plain")
        return sum(-1 if getattr(c, x) is None else getattr(c, x) for x in sizes) + sum(features)

    found = list(_simpler(call))
    assert len(found) == len(set(found)) > 20
    assert all(weight(c) < weight(call) for c in found)
    assert list(_simpler(Call())) == []


def picture(call):
    return ["".join("█" if x else "·" for x in row) for row in call.mask]


def test_packed_documents_by_hand():
    call = Call(5, 6, lengths=(2, 0, 3), key_lengths=(3, 1, 2), right=0)
    assert picture(call) == ["██····", "███···", "······", "····█·", "····██"]  # bottom-right in each: its first query is before all keys
    assert picture(replace(call, offset="top-left")) == ["█·····", "██····", "····█·", "····██", "····██"]
    assert picture(replace(call, left=0)) == ["·█····", "··█···", "······", "····█·", "·····█"]


def test_a_ring_by_hand():
    ring = Call(2, 4, left=2, right=0, seen=6)  # queries at 4 and 5; slots hold 4 5 2 3
    assert ring.positions.tolist() == [4, 5, 2, 3]
    assert picture(ring) == ["█·██", "██·█"]
    free = Call(1, 4, left=9, right=0, seen=3)
    assert free.positions.tolist() == [0, 1, 2, -1]
    assert picture(free) == ["███·"]


def test_distances_by_hand():
    assert Call(2, 3, right=0, alibi=True).distance.tolist() == [[-1, 0, 1], [-2, -1, 0]]
    assert Call(2, 3, right=0, offset="top-left").distance.tolist() == [[0, 1, 2], [-1, 0, 1]]
    packed = Call(3, 4, lengths=(1, 2), key_lengths=(2, 2), right=0).distance
    assert [packed[0, :2].tolist(), packed[1:, 2:].tolist()] == [[-1, 0], [[0, 1], [-1, 0]]]
    assert Call(1, 4, left=2, right=0, seen=6).distance.tolist() == [[-1, 0, -3, -2]]
    p = Problem.of(Call(2, 3, right=0, alibi=True, kv_heads=2), "float16")
    assert p.slopes.tolist() == [0.5, 0.25]
    assert p.options()["bias"][1].tolist() == [[-0.25, 0, 0.25], [-0.5, -0.25, 0]]


def test_padding_and_heads_by_hand():
    padded = Call(2, 3, batch=2, valid=(3, 1), offset=0, right=0).mask
    assert padded.shape == (2, 1, 2, 3)
    assert padded[:, 0].astype(int).tolist() == [[[1, 0, 0], [1, 1, 0]], [[1, 0, 0], [1, 0, 0]]]
    heads = Call(2, 2, kv_heads=2, pattern=sv.PerHead(sv.Causal(), sv.Dense())).mask
    assert heads.astype(int).tolist() == [[[1, 0], [1, 1]], [[1, 1], [1, 1]]]


@pytest.mark.parametrize("family", ["documents", "decode"])
def test_other_ways_are_the_same_attention(family):
    """Each document alone, and the keys in the order of their positions, give what the packed call and the ring give."""
    for call in calls("quick")[family]:
        p = Problem.of(call, "float64")
        o, lse = sv.reference.attention(p.q, p.k, p.v, p.mask)
        if call.seen is not None:
            order = np.argsort(call.positions)[int((call.positions < 0).sum()) :]
            held = call.positions[order]
            rule = call.rule.mask(call.nq, call.seen, call.seen - call.nq)[:, held]
            o2, lse2 = sv.reference.attention(p.q, p.k[:, :, order], p.v[:, :, order], rule)
            np.testing.assert_allclose(o, o2, rtol=1e-12, atol=1e-13)
            np.testing.assert_allclose(lse, lse2, rtol=1e-12, atol=1e-13)
            continue
        i = j = 0
        for nq, nk in zip(*call.documents, strict=True):
            one = replace(call, nq=nq, nk=nk, lengths=None, key_lengths=None)
            alone = sv.reference.attention(p.q[:, :, i : i + nq], p.k[:, :, j : j + nk], p.v[:, :, j : j + nk], one.mask)[0]
            np.testing.assert_allclose(o[:, :, i : i + nq], alone, rtol=1e-12, atol=1e-13)
            i, j = i + nq, j + nk


@pytest.mark.parametrize(
    ("change", "words"),
    [({"lengths": (2, 2)}, "do not sum to nq=5"), ({"lengths": (5,), "key_lengths": (2, 3)}, "one of each a document"),
     ({"batch": 2, "valid": (3,)}, "needs 2 numbers of keys"), ({"valid": (9,)}, "of 0 to 5"), ({"seen": 4}, "the 5 queries are the last"),
     ({"seen": 9, "valid": (3,)}, "exclude one another")],
)  # fmt: skip
def test_calls_that_make_no_sense_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        Call(5, 5, **change)


def test_documents_and_batches_get_smaller_together():
    packed = Call(9, 9, lengths=(4, 0, 5), right=0)
    found = list(_simpler(packed))
    assert Call(4, 4, lengths=(4,), right=0) in found
    assert Call(8, 8, lengths=(3, 0, 5), right=0) in found
    padded = Call(3, 4, batch=2, valid=(4, 1), offset=0)
    assert replace(padded, batch=1, valid=(1,)) in list(_simpler(padded))
    ring = Call(1, 4, right=0, left=2, seen=11)
    assert replace(ring, seen=5) in list(_simpler(ring))
