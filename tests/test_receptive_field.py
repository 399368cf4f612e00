"""Receptive fields worked by hand, at lengths that need panels and large tiles, and what the result says; the law is in tests/laws."""

import json
import threading
import tracemalloc

import numpy as np
import pytest
from pictures import assert_picture, assert_refused, instance

import sparsevis as sv
from sparsevis import Causal, Chunked, Dilated, PerHead, SlidingWindow, _panels, _reach, receptive_field, schedules

C = Causal()


def powers(masks):
    seen, out = np.eye(len(masks[0]), dtype=bool), []
    for mask in masks:
        seen = (mask | np.eye(len(mask), dtype=bool)).astype(np.float32) @ seen.astype(np.float32) > 0
        out.append(seen)
    return np.array(out)


# ---------------------------------------------------------------- by hand


def test_two_layers_by_hand():
    """Layer 1 pairs of positions, layer 2 the one before: the order of the layers is seen in the field."""
    field = receptive_field([Chunked(2), SlidingWindow(1)], 6)
    assert field.sizes.tolist() == [[2, 2, 2, 2, 2, 2], [2, 2, 4, 2, 4, 2]]
    assert field.growth.tolist() == [[1] * 6, [0, 0, 2, 0, 2, 0]]
    assert_picture(np.array([field.seen(query=i) for i in range(6)]), """
        ██....
        ██....
        ████..
        ..██..
        ..████
        ....██""")
    assert receptive_field([SlidingWindow(1), Chunked(2)], 6).sizes[-1].tolist() == [2, 2, 3, 3, 3, 3]


def test_one_query_by_hand():
    field = receptive_field([Chunked(2), SlidingWindow(1)], 6, query=4)
    assert field.sizes.tolist() == [2, 4]
    assert_picture(np.array([field.seen(l) for l in range(3)]), """
        ....█.
        ....██
        ..████""")
    assert_picture(field.cone(), """
        ..████
        ...██.
        ....█.""")
    assert (field.seen() == field.seen(2)).all()
    assert (field.visible, field.unreachable, field.causal) == (6, 2, False)


def test_a_row_without_keys_keeps_itself():
    assert receptive_field(~sv.Dense(), 5, layers=2).sizes.tolist() == [[1] * 5] * 2
    assert receptive_field(sv.Global([0], columns=False), 4, layers=2).sizes.tolist() == [[4, 1, 1, 1]] * 2


def test_rows_of_one_tile_fill_up_apart():
    """Key 0 has seen all; of the queries that attend it or key 70, in turn, the latter must not stop when the former are done."""
    n = 130
    mask = np.zeros((n, n), bool)
    mask[64:128:2, 0] = mask[65:128:2, 70] = True
    field = receptive_field([sv.Global([0], columns=False), sv.Chosen.from_mask(mask)], n)
    assert field.sizes[1, 64:128].tolist() == [n, 2] * 32


def test_heads_are_taken_together():
    heads = PerHead(SlidingWindow(1), sv.Strided(4), SlidingWindow(1))
    assert receptive_field(heads, 30, layers=3).sizes.tolist() == receptive_field(heads.union(), 30, layers=3).sizes.tolist()


def test_lists_repeat():
    a, b = SlidingWindow(1), SlidingWindow(4)
    assert receptive_field([a, b], 40, layers=5).patterns == (a, b, a, b, a)
    assert receptive_field(a, 40).patterns == (a,)
    assert receptive_field((a, b), 40, 39, layers=5).sizes.tolist() == [2, 6, 7, 11, 12]


def test_hops_and_paths_by_hand():
    field = receptive_field([sv.Global([0]) | SlidingWindow(1, 1)] * 3, 9)
    assert [field.hops(6, j) for j in (6, 5, 0, 3)] == [0, 1, 1, 2]
    assert (field.path(6, 6), field.path(6, 5), field.path(6, 3)) == ([6], [6, 5], [6, 0, 3])
    assert (field.diameter, field.saturated_at) == (2, 2)
    assert field.hop_counts.tolist() == [9, 9 * 9 - 9 - 42, 42, 0]            # two hops: 8 x 8 pairs less the 22 within 1
    chain = receptive_field(SlidingWindow(2), 20, -1, layers=4)
    assert (chain.hops(-1, 11), chain.hops(19, 10), chain.path(19, 10)) == (4, float("inf"), None)
    assert chain.path(19, -9) == [19, 17, 15, 13, 11]


def test_a_path_waits_for_its_layer():
    """Only layer 3 looks 10 back; the first two need not move."""
    nothing = ~sv.Dense()
    assert receptive_field([nothing, nothing, SlidingWindow(10)], 30).path(20, 10) == [20, 10, 10, 10]
    assert receptive_field([SlidingWindow(10), nothing, nothing], 30).path(20, 10) == [20, 10]


# ---------------------------------------------------------------- what is said of the whole


def test_gridding():
    field = receptive_field(Dilated(2, 2, 3), 40, layers=20)
    assert (field.gridding, field.saturated_at, field.closed) == (3, 7, True)          # 39 apart, 6 a layer
    assert (field.missed_residues(0), field.missed_residues(7)) == ([1, 2], [0, 2])
    assert set(np.flatnonzero(field.seen(query=7)) % 3) == {1}
    assert field.unreachable.tolist() == [40 - len(range(i % 3, 40, 3)) for i in range(40)]
    assert "never sees keys of the other 2 of 3 residues" in str(field)
    mixed = receptive_field([Dilated(2, 2, 3)] * 2 + [SlidingWindow(1)], 40, 20)
    assert (mixed.gridding, mixed.missed_residues()) == (1, [])
    assert receptive_field([Dilated(1, 1, 6), Dilated(1, 1, 4)], 40).gridding == 2
    assert receptive_field(SlidingWindow(0), 5).gridding == 0


def test_gridding_across_tiles():
    """Distances that no tile of 64 holds: from its place in the layout."""
    assert receptive_field(Dilated(1, 0, 96), 500).gridding == 96
    assert receptive_field([Dilated(1, 0, 96), Dilated(1, 0, 128)], 500).gridding == 32
    assert receptive_field(Dilated(1, 0, 3000), 20000, -1).gridding == 3000


@pytest.mark.parametrize(("pattern", "causal"), [
    (C, True), (SlidingWindow(3), True), (SlidingWindow(3, 1), False), (sv.Dense(), False), (C & Chunked(64), True), (Chunked(64), False),
    (sv.Strided(64), False), (PerHead(C, SlidingWindow(0, 2)), False),
])  # fmt: skip
def test_causal_stacks(pattern, causal):
    for query in (None, 150):
        field = receptive_field(pattern, 200, query)
        assert field.causal == causal
        assert np.max(field.visible) == (200 if query is None or not causal else 151)


def test_saturation():
    chunks = receptive_field(C & Chunked(4), 10, layers=3)
    assert (chunks.saturated_at, chunks.closed, chunks.diameter) == (1, True, float("inf"))
    assert chunks.unreachable.tolist() == [0] * 4 + [4] * 4 + [8] * 2
    growing = receptive_field(SlidingWindow(1), 10, layers=3)
    assert (growing.saturated_at, growing.closed, growing.diameter) == (None, False, float("inf"))
    just = receptive_field(SlidingWindow(1), 10, layers=9)
    assert (just.saturated_at, just.closed, just.diameter) == (9, True, 9)
    assert receptive_field(SlidingWindow(0), 10).saturated_at == 0
    late = receptive_field([SlidingWindow(1), SlidingWindow(1), C], 10, layers=2)
    assert not late.closed                                                    # of the two layers there are, not of the third
    full = receptive_field([SlidingWindow(1), SlidingWindow(1), C], 10, layers=6)
    assert (full.saturated_at, full.diameter) == (3, 3)


def test_a_stack_is_not_closed_while_some_layer_would_add():
    """The last layers add nothing, and yet the first would, once more."""
    for query in (None, 9):
        field = receptive_field([SlidingWindow(2)] + [SlidingWindow(0)] * 4, 10, query)
        assert not field.closed
        assert np.max(field.sizes[-1]) == 3


# ---------------------------------------------------------------- long texts


@pytest.mark.parametrize("name", [
    "window two-sided", "dilated", "strided", "longformer", "bigbird", "strided merged", "random keys", "nested", "chosen nothing",
])  # fmt: skip
def test_panels_tiles_and_queries_agree(name, monkeypatch):
    """The same field from one panel and from many, from tiles of 8, of 64 and of 1024, for all queries and for one."""
    n = 300
    patterns = [instance(name, n), C & instance(name, n), SlidingWindow(5)]
    want = powers([p.mask(n) for p in patterns])
    monkeypatch.setattr(_panels, "WORDS", 1)
    for blocks in ([8], [64]):
        layouts = _reach.layouts_of(patterns, n, blocks)
        assert {x.block for x in layouts[0]} == {(blocks[0], blocks[0])}
        sizes, _ = _panels.all_queries(*layouts, n)
        assert sizes.tolist() == want.sum(2).tolist()
    assert (receptive_field(patterns, n).hop_matrix() == np.where(want[-1], np.array([np.eye(n), *want]).argmax(0), -1)).all()
    for blocks in ([8], [64], [1024]):
        walk = _reach.Walk(*_reach.layouts_of(patterns, n, blocks), n)
        for query in (0, 130, 299):
            seen, _, _ = walk.of(query)
            assert (np.unpackbits(seen[1:], axis=1, bitorder="little")[:, :n] == want[:, query]).all()


def test_a_layout_that_would_not_fit_is_cut_in_other_tiles():
    blocks = lambda pattern, n, tries: _reach.layouts_of([pattern], n, tries)[0][0].block[0]
    assert blocks(SlidingWindow(100), 1 << 16, [1024, 64, 8]) == 1024
    assert blocks(sv.bigbird(64), 1 << 16, [1024, 64, 8]) == 64               # thousands of different tiles of 1024
    assert blocks(sv.RandomKeys(2), 1 << 16, [1024, 64, 8]) == 8


@pytest.mark.parametrize("query", [None, 4999])
def test_longer_than_a_panel(query):
    """5,000 positions, two panels: the closed forms hold for every query."""
    for pattern in (sv.mistral(100), SlidingWindow(70, 30), Dilated(20, 10, 7), C & Chunked(999), sv.sparse_transformer_strided(70), C):
        field = receptive_field(pattern, 5000, query, layers=3)
        assert field.closed_form.agrees(field.sizes)


def test_mistral_exactly():
    """The reach of 32 layers with windows of 4,096: 131,041 positions and not 32 x 4,096."""
    field = receptive_field(schedules.mistral(), 1 << 17, query=-1)
    assert field.sizes.tolist() == [1 + 4095 * l for l in range(1, 33)]
    assert (field.unreachable, field.query) == ((1 << 17) - 131_041, (1 << 17) - 1)
    assert np.flatnonzero(field.seen())[0] == 31
    assert field.hops(-1, 31) == 32
    assert field.path(-1, 31) == [131_071 - 4095 * l for l in range(33)]


def test_a_million_positions():
    """One query; a window, a window with sinks, globals, a stride of which 64 x 64 tiles would be millions."""
    n = 1 << 20
    tracemalloc.start()
    for patterns, size in [
        ([SlidingWindow(1023)] * 8, 1 + 8 * 1023), ([sv.streaming_llm(4, 1024)] * 8, 5 + 8 * 1023), ([sv.longformer(512)] * 2, n),
        (schedules.gemma3(7), n), ([sv.sparse_transformer_strided(1024)] * 2, n), ([Dilated(64, 64, 16)] * 4, 1 + 4 * 64),
    ]:  # fmt: skip
        assert receptive_field(patterns, n, query=-1).sizes[-1] == size
    assert tracemalloc.get_traced_memory()[1] < 1 << 29
    tracemalloc.stop()


def test_works_in_threads():
    want, got = receptive_field(sv.longformer(8), 500, layers=2).sizes, []
    run = lambda: got.append(receptive_field(sv.longformer(8), 500, layers=2).sizes)
    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [x.tolist() for x in got] == [want.tolist()] * 3


# ---------------------------------------------------------------- the value


def test_queries_of_a_whole():
    field = receptive_field([SlidingWindow(2)] * 3, 50)
    one = field.of(-1)
    assert (one.query, one.sizes.tolist()) == (49, [3, 5, 7])
    assert one is field.of(49) is one.of(49)
    assert one.of(10).sizes.tolist() == receptive_field([SlidingWindow(2)] * 3, 50, 10).sizes.tolist()
    assert field.cone(49).sum(1).tolist() == [7, 5, 3, 1]


def test_sizes_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        receptive_field(C, 5).sizes[0, 0] = 3


def test_printed():
    assert str(receptive_field([SlidingWindow(3)] * 2, 1000, query=-1)) == """\
query 999 of 1,000, 2 layers, causal
layer                pattern  seen  growth  share  closed form  published
-----  ---------------------  ----  ------  -----  -----------  ---------
1      SlidingWindow(left=3)     4       3  0.4 %            4          4
2      SlidingWindow(left=3)     7       3  0.7 %            7          8
still growing after layer 2: 993 of 1,000 visible keys are not seen yet
closed form: 1 + 3 l; equal to what is measured
published: 4 l, the keys of a window times the layers (Mistral, arXiv 2310.06825); but one of the 4 keys of a window is the query itself: \
a layer adds 3"""
    chunks = receptive_field(Chunked(4), 10, layers=30)
    assert str(chunks).splitlines()[0] == "all 10 queries, 30 layers, two-sided"
    assert "nothing is added after layer 1: 64 of 100 visible pairs are never seen, however many layers there are" in str(chunks)
    assert len(str(chunks).splitlines()) < 25                                 # the middle of many layers is left out
    assert "<td>Chunked(size=4)</td>" in chunks._repr_html_()


def test_no_share_is_rounded_up_to_all():
    assert "99.98 %" in str(receptive_field(schedules.mistral(), 1 << 17, query=-1))


@pytest.mark.parametrize("query", [None, 7])
def test_exported(query):
    field = receptive_field([sv.longformer(4), SlidingWindow(1)], 12, query)
    data = json.loads(field.to_json())
    assert data["sizes"] == field.sizes.tolist()
    assert data["hop_counts"] == field.hop_counts.tolist()
    assert [sv.from_dict(p) for p in data["patterns"]] == list(field.patterns)
    assert (data["n"], data["query"], data["diameter"], data["causal"]) == (12, query, None, False)
    assert data["unreachable"] == (field.unreachable.tolist() if query is None else field.unreachable)
    assert [row["layer"] for row in data["layers"]] == [1, 2]
    form = json.loads(receptive_field([SlidingWindow(2)] * 3, 12, 11).to_json())
    assert (form["closed_form"], [row["closed_form"] for row in form["layers"]]) == ("1 + 2 l", [3, 5, 7])
    assert [row["published"] for row in form["layers"]] == [3, 6, 9]


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: receptive_field([], 5), ValueError, ["0 patterns", "at least one"]),
    (lambda: receptive_field(C, 5, layers=0), ValueError, ["0 layers"]),
    (lambda: receptive_field(np.tri(3), 3), TypeError, ["ndarray", "Pattern"]),
    (lambda: receptive_field([C, "F"], 3), TypeError, ["str", "one a layer"]),
    (lambda: receptive_field(C, 0), ValueError, ["n is 0", "1 or more"]),
    (lambda: receptive_field(C, 5, 5), ValueError, ["query is 5", "-5 to 4"]),
    (lambda: receptive_field(C, 5).hops(1, 9), ValueError, ["key is 9"]),
    (lambda: receptive_field(C, 5).cone(), ValueError, ["all 5 queries", "say query="]),
    (lambda: receptive_field(sv.Documents([2, 2]), 5), ValueError, ["4", "5"]),
    (lambda: receptive_field([C] * 100, 1 << 20, memory_limit=1 << 29), MemoryError, ["100 layers", "0.781 GiB", "memory_limit"]),
    (lambda: receptive_field(C, 1 << 16).hop_matrix(), MemoryError, ["65,536 x 65,536", "memory_limit"]),
])  # fmt: skip
def test_refused(call, error, words):
    assert_refused(call, error, words)
