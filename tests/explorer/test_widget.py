"""The explorer's state without a browser: what the interface would set, and what it is told."""

import re

import pytest
from pictures import INSTANCES, instance

import sparsevis as sv
from sparsevis.explorer import Explorer


def edited(explorer, **trees):
    """What the browser does: it sends trees with a later stamp."""
    explorer.trees = explorer.trees | {"stamp": explorer.trees["stamp"] + 1} | trees


def leaf(make, **values):
    return {"make": make, "values": values} if values else {"make": make}


@pytest.mark.parametrize("name", INSTANCES)
def test_code_makes_the_pattern(name):
    pattern = instance(name, 32)
    explorer = sv.explore(pattern, 32)
    assert explorer.pattern == pattern
    assert explorer.sides["a"]["error"] == ""
    assert eval(explorer.code, {"sv": sv}) == pattern


@pytest.mark.parametrize("n", [8, 64, 4096, 1 << 20])
def test_every_name_of_the_picker_starts_with_something_to_see(n):
    explorer = sv.explore(sv.Causal(), n)
    for word in explorer.words:
        if n == 1 << 20 and word["name"] in ("RandomKeys", "Chosen"):  # drawn for each of a million rows
            continue
        edited(explorer, a={"make": word["name"]})
        assert explorer.sides["a"]["error"] == "", word
        assert explorer.code.startswith(f"sv.{word['name']}(") or word["name"] == "Chosen"
        one = explorer.pattern if isinstance(explorer.pattern, sv.Pattern) else explorer.pattern[0]
        assert 0 < one.counts(n, offset=0)[0].sum()


def test_fields_have_ranges_that_work():
    explorer = sv.explore(sv.Fixed(8, 2), 64)
    stride, summary, group = explorer.sides["a"]["panel"][""]["controls"]
    assert (stride["lo"], stride["hi"], stride["kind"]) == (2, 64, "number")
    assert (summary["lo"], summary["hi"]) == (1, 8)
    assert group["kind"] == "switch"
    assert summary["help"].startswith("How many keys at the end")
    longformer = sv.explore(sv.Causal(), 64)
    edited(longformer, a={"make": "longformer"})
    window = longformer.sides["a"]["panel"][""]["controls"][0]
    assert (window["step"], window["value"] % 2) == (2, 0)
    edited(longformer, a={"make": "bigbird"})
    plan = next(c for c in longformer.sides["a"]["panel"][""]["controls"] if c["field"] == "plan")
    assert plan["choices"] == ["uniform", "published"]


def test_composition_by_the_interface():
    explorer = sv.explore(sv.Causal(), 64)
    either = {"op": "|", "a": leaf("SlidingWindow", left=3, right=0), "b": {"op": "~", "a": leaf("Chunked", size=4)}}
    tree = {"op": "&", "a": leaf("Causal"), "b": either}
    edited(explorer, a=tree)
    assert explorer.pattern == sv.Causal() & (sv.SlidingWindow(3) | ~sv.Chunked(4))
    assert explorer.code == "sv.Causal() & (sv.SlidingWindow(left=3) | ~sv.Chunked(size=4))"
    assert explorer.trees["a"]["a"] == {"make": "Causal", "values": {}}
    assert explorer.sides["a"]["direct"] == {"ba.left": 0, "ba.right": 1, "bba.size": 2}


def test_a_wrong_value_is_told_and_changes_nothing():
    explorer = sv.explore(sv.Fixed(8, 2), 64)
    edited(explorer, a=leaf("Fixed", stride=4, summary=9, group=True))
    assert explorer.pattern == sv.Fixed(8, 2)
    assert "summary is 9" in explorer.sides["a"]["error"]
    edited(explorer, a=leaf("Fixed", stride=4, summary=3, group=True))
    assert (explorer.pattern, explorer.sides["a"]["error"]) == (sv.Fixed(4, 3), "")


def test_too_many_draws_are_refused_before_they_are_made():
    explorer = sv.explore(sv.Causal(), 1 << 20)
    edited(explorer, a=leaf("RandomKeys", keys_per_query=64, seed=0))
    assert "draws 67,108,864 at n = 1,048,576" in explorer.sides["a"]["error"]
    edited(explorer, a=leaf("bigbird", block=1, global_blocks=[0], window_blocks=3, random_blocks=9, seed=0, plan="uniform", heads=None))
    assert "draws 9,437,184" in explorer.sides["a"]["error"]
    assert explorer.pattern == sv.Causal()


def test_setting_the_pattern_tells_the_interface():
    explorer, seen = sv.explore(sv.Causal(), 64), []
    explorer.observe(lambda change: seen.append(change["new"]), "pattern")
    explorer.pattern = sv.mistral(5)
    assert explorer.trees["a"] == leaf("SlidingWindow", left=4, right=0)
    edited(explorer, a=leaf("SlidingWindow", left=7, right=0))
    assert seen == [sv.SlidingWindow(4), sv.SlidingWindow(7)]


def test_lengths():
    explorer = sv.explore(sv.Documents([30, 34]) & sv.Causal())
    assert explorer.n == 64
    explorer.n = 100
    assert explorer.pattern.length == 100, "a table of another length is set anew"
    explorer.pattern = sv.SlidingWindow(4)
    explorer.n = 1 << 20
    assert explorer.view == [0, 0, 1 << 20]
    assert explorer.sides["a"]["n"] is None


def test_a_mask_of_ones_own():
    mask = sv.Causal().mask(40)
    explorer = sv.explore(sv.Chosen.from_mask(mask))
    assert explorer.n == 40
    assert explorer.trees["a"] == {"given": 0}
    assert eval(explorer.code, {"sv": sv}) == explorer.pattern
    explorer.n = 50
    assert "is for 40 keys" in explorer.sides["a"]["error"]


def test_heads():
    heads = sv.sparse_transformer_strided(8)
    explorer = sv.explore(heads, 64)
    assert explorer.sides["a"]["heads"] == 2
    assert len(explorer.sides["a"]["labels"]) == 2, "all heads together"
    explorer.head = 0
    assert explorer.sides["a"]["labels"] == ["SlidingWindow(left=7)"]
    assert explorer.pattern == heads


def test_two_patterns():
    explorer = sv.explore(sv.SlidingWindow(4), 64, other=sv.SlidingWindow(6))
    assert explorer.sides["difference"]["labels"] == ["only in A", "only in B", "in both"]
    explorer.other = None
    assert explorer.sides["b"] is None
    assert explorer.sides["difference"] is None
    edited(explorer, b={"make": "Causal"})
    assert (explorer.other, explorer.other_code) == (sv.Causal(), "sv.Causal()")


def test_a_slider_needs_no_new_program():
    explorer = sv.explore(sv.SlidingWindow(4) | sv.Global([0]), 64)
    before = explorer.sides["a"]["key"]
    edited(explorer, a=explorer.trees["a"] | {"a": leaf("SlidingWindow", left=9, right=0)})
    assert explorer.sides["a"]["key"] == before
    assert explorer.sides["a"]["params"] == [9, 0, 1][: len(explorer.sides["a"]["params"])]


@pytest.mark.parametrize(("make", "error", "words"), [
    (lambda: sv.explore("causal"), TypeError, "needs a Pattern"),
    (lambda: sv.explore(sv.Causal(), 0), ValueError, "n is 0"),
    (lambda: sv.explore(sv.Causal(), (1 << 20) + 1), ValueError, "1,048,576"),
    (lambda: sv.explore(sv.Causal(), 64, block=12), ValueError, "power of two"),
    (lambda: sv.explore(sv.Causal(), 64, other=3), TypeError, "needs a Pattern"),
])  # fmt: skip
def test_refusals(make, error, words):
    with pytest.raises(error, match=re.escape(words)):
        make()


def test_a_pattern_of_ones_own_class():
    from dataclasses import dataclass

    @dataclass(frozen=True, repr=False)
    class Diagonal(sv.Pattern):
        """Keys on two diagonals.

        Parameters
        ----------
        apart : int
            Where the second lies.
        """

        apart: int = 3

        def allows(self, q, k, n):
            return (q == k) | (q - k == self.apart)

    explorer = sv.explore(Diagonal(5), 32)
    assert isinstance(explorer, Explorer)
    assert explorer.sides["a"]["panel"][""]["controls"][0] | {"hi": 0} == {
        "field": "apart", "kind": "number", "value": 5, "help": "Where the second lies.", "lo": 0, "hi": 0, "step": 1,
    }  # fmt: skip
    edited(explorer, a=leaf("Diagonal", apart=7))
    assert explorer.pattern == Diagonal(7)


def test_a_still_picture_where_no_widget_runs():
    bundle, _ = sv.explore(sv.SlidingWindow(2), 16)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/html"].count("<svg") == 1
    assert "45 of 256 pairs" in bundle["text/html"]
    assert "██" in bundle["text/plain"]
    assert bundle["text/plain"].startswith("sv.SlidingWindow(left=2)")
