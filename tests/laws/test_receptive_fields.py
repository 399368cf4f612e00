"""Laws of receptive fields: the Boolean power of the mask, whatever the pattern, the mix of layers and the way it is asked."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import INSTANCES, instance

from sparsevis import PerHead, receptive_field

NAMES = list(INSTANCES)


def powers(masks):
    """What has been seen after each layer: dense Boolean products of the masks, each with its diagonal filled in."""
    seen, out = np.eye(len(masks[0]), dtype=bool), []
    for mask in masks:
        seen = (mask | np.eye(len(mask), dtype=bool)).astype(int) @ seen > 0
        out.append(seen)
    return np.array(out)


def closure(masks):
    """What any number of any of the layers lets see."""
    seen = np.eye(len(masks[0]), dtype=bool) | np.logical_or.reduce(masks)
    for _ in range(len(seen).bit_length()):
        seen = seen.astype(int) @ seen > 0
    return seen


@pytest.mark.parametrize("n", [1, 7, 64, 97])
@pytest.mark.parametrize("name", NAMES)
def test_powers_of_the_mask(name, n):
    pattern = instance(name, n)
    mask = pattern.mask(n)
    want = powers([mask] * 3)
    field = receptive_field(pattern, n, layers=3)
    assert field.sizes.tolist() == want.sum(2).tolist()
    for query in {0, n // 3, n - 1}:
        one = receptive_field(pattern, n, query, layers=3)
        assert one.sizes.tolist() == want[:, query].sum(1).tolist()
        assert (one.seen() == want[2, query]).all()
        assert (one.cone()[::-1] == [one.seen(l) for l in range(4)]).all()     # layers all alike
        assert (field.seen(2, query) == want[1, query]).all()


@pytest.mark.parametrize("n", [7, 97])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_of_the_whole(name, n):
    pattern = instance(name, n)
    mask = pattern.mask(n)
    want, all_ever = powers([mask] * 4), closure([mask])
    field = receptive_field(pattern, n, layers=4)
    assert field.causal == (not np.triu(mask, 1).any())
    assert field.closed == (want[-1] == all_ever).all()
    to_see = np.tri(n, dtype=bool) if field.causal else np.ones((n, n), bool)
    assert (field.unreachable == (to_see & ~want[-1]).sum(1)).all()
    first = next((l for l, seen in enumerate([np.eye(n, dtype=bool), *want]) if (seen == all_ever).all()), None)
    assert field.saturated_at == first
    i, j = np.nonzero(mask)
    assert field.gridding == (np.gcd.reduce(i - j) if i.size else 0)
    hops = field.hop_matrix()
    after = np.array([np.eye(n, dtype=bool), *want])
    assert (hops == np.where(want[-1], after.argmax(0), -1)).all()
    assert field.hop_counts.tolist() == np.bincount(hops[hops >= 0], minlength=5).tolist()
    assert field.diameter == (np.inf if (hops[to_see] < 0).any() else hops[to_see].max())


@pytest.mark.parametrize("name", NAMES)
def test_closed_forms_are_what_is_measured(name):
    for n in (7, 60, 97):
        for layers in (1, 3):
            for causal in (False, True):
                pattern = instance("causal", n) & instance(name, n) if causal else instance(name, n)
                field = receptive_field(pattern, n, layers=layers)
                assert field.closed_form is None or field.closed_form.agrees(field.sizes), (n, layers, causal)
                one = receptive_field(pattern, n, n // 2, layers=layers)
                assert (one.closed_form is None) == (field.closed_form is None)
                assert one.closed_form is None or one.closed_form.sizes.tolist() == field.closed_form.sizes[:, n // 2].tolist()


@given(st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3), min_size=1, max_size=5), st.integers(1, 80), st.data())
@settings(max_examples=60)
def test_mixed_layers_of_several_heads(names, n, data):
    """The first layer is nearest the input, heads are taken together, and layers are asked in any order and any number of times."""
    layers = [PerHead(*(instance(x, n) for x in heads)) if len(heads) > 1 else instance(heads[0], n) for heads in names]
    masks = [np.logical_or.reduce([instance(x, n).mask(n) for x in heads]) for heads in names]
    want = powers(masks)
    field = receptive_field(layers, n)
    assert field.sizes.tolist() == want.sum(2).tolist()
    assert field.closed == (want[-1] == closure(masks)).all()
    query, key = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, n - 1))
    one = field.of(query)
    assert one.sizes.tolist() == want[:, query].sum(1).tolist()
    closed = (want[-1, query] == closure(masks)[query]).all()
    assert one.closed == closed
    needed = [np.arange(n) == query]                                 # from the top down: whom each layer's members attend
    for mask in masks[::-1]:
        needed.append(needed[-1] | mask[needed[-1]].any(0))
    assert (one.cone() == needed[::-1]).all()
    hops = [query == key, *want[:, query, key]].index(True) if want[-1, query, key] else np.inf
    assert field.hops(query, key) == hops == (field.hop_matrix()[query, key] if hops < np.inf else np.inf)
    path = field.path(query, key)
    if hops == np.inf:
        assert path is None
    else:
        assert (path[0], path[-1], len(path)) == (query, key, hops + 1)
        down = zip(path[:-1], path[1:], masks[:hops][::-1], strict=True)
        assert all(i == j or mask[i, j] for i, j, mask in down)
    assert field.closed_form is None or field.closed_form.agrees(field.sizes)
