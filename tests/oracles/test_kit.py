"""The kit's own answers, put to the scalar loops: every family of calls, over pairs that are told entry by entry from what the words mean.

Packed documents, padded keys, a ring of cached keys after any number of steps, patterns a head: the same attention over other pairs.
"""

import numpy as np
import pytest

from sparsevis.golden.call import Call
from sparsevis.golden.cases import calls
from sparsevis.golden.compare import ratios

from . import kit, scalar
from .pairs import in_ring, pairs
from .problems import NAMES


@pytest.mark.parametrize("level", ["quick", "adversarial"])
def test_masks_are_what_the_words_mean(level):
    for family, some in calls(level).items():
        for call in some if level == "quick" else some[::4]:
            mask = np.broadcast_to(call.mask, (call.batch, call.kv_heads * call.group, call.nq, call.nk))
            np.testing.assert_array_equal(mask, pairs(call), f"{family} {call!r}")


def test_a_ring_is_what_writing_leaves():
    for slots in (1, 2, 5):
        for seen in (1, 2, 5, 6, 13):
            found = [-1 if x is None else x for x in in_ring(slots, seen)]
            assert Call(1, slots, right=0, seen=seen).positions.tolist() == found


@pytest.mark.parametrize("family", calls("quick"))
def test_scalar_loops_agree(family):
    """Each result within twice its float64 budget: either side may use one."""
    asked = [call for name, call in kit.asked("quick") if name == family]
    assert asked
    for call in asked:
        p, mask, want = kit.wanted(call)
        for b in range(call.batch):
            features = {"allowed": mask[b], "scale": p.scale, "softcap": p.softcap, "bias": p.bias, "sinks": p.sinks}
            arrays = p.q[b], p.k[b], p.v[b]
            results = scalar.attention(*arrays, **features) + scalar.attention_grad(p.do[b], *arrays, **features, dlse=p.dlse[b])
            for name, x in zip(NAMES, results, strict=True):
                right, error = want.values[name][b], want.errors[name][b]
                assert ratios(np.array(x, float).reshape(right.shape), right, 2 * error).max(initial=0) <= 1, (call, name)
