"""Patterns as plain JSON values and back."""

import json
import subprocess
import sys

import numpy as np
import pytest
from pictures import INSTANCES, assert_refused, instance

from sparsevis import Causal, Chosen, PerHead, SlidingWindow, bigbird, from_dict


@pytest.mark.parametrize("name", INSTANCES)
def test_round_trip(name):
    pattern = instance(name, 14)
    data = pattern.to_dict()
    assert from_dict(data) == pattern
    assert from_dict(json.dumps(data)) == pattern
    assert hash(from_dict(json.dumps(data))) == hash(pattern)
    assert (from_dict(json.loads(json.dumps(data))).mask(14) == pattern.mask(14)).all()


def test_literals():
    assert SlidingWindow(3, None).to_dict() == {"pattern": "SlidingWindow", "left": 3, "right": None}
    assert (~Causal()).to_dict() == {"pattern": "Not", "a": {"pattern": "Causal"}}
    assert Chosen.from_mask(np.tri(2, dtype=bool)).to_dict() == {
        "pattern": "Chosen", "pairs": {"columns": 2, "rows": [[0], [0, 1]]}, "block": 1,
    }  # fmt: skip
    assert PerHead(Causal()).to_dict() == {"pattern": "PerHead", "patterns": [{"pattern": "Causal"}]}


def test_heads():
    heads = bigbird(4, random_blocks=1, heads=3)
    assert from_dict(json.dumps(heads.to_dict())) == heads


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (2, 5)])
def test_tables_of_any_shape(shape):
    pattern = Chosen.from_mask(np.ones(shape, bool))
    assert from_dict(json.dumps(pattern.to_dict())) == pattern


def test_in_a_fresh_process():
    """Nothing need have been imported for a pattern's name to be known."""
    code = "import sparsevis as sv; print(sv.from_dict({'pattern': 'SlidingWindow', 'left': 3}) == sv.SlidingWindow(3))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize(("data", "error", "words"), [
    ({"pattern": "Nonsense"}, ValueError, ["Nonsense", "SlidingWindow", "PerHead"]),
    ({"left": 3}, ValueError, ["left", "'pattern'"]),
    ([], ValueError, ["[]"]),
    (3, ValueError, ["3"]),
    ({"pattern": ["Causal"]}, ValueError, ["Causal"]),
    ({"pattern": "Pattern"}, ValueError, ["Pattern"]),
    ({"pattern": "__import__"}, ValueError, ["__import__"]),
    ({"pattern": "SlidingWindow", "left": 3, "width": 4}, ValueError, ["SlidingWindow", "width", "left", "right"]),
    ({"pattern": "SlidingWindow", "left": -3}, ValueError, ["left is -3"]),
    ({"pattern": "SlidingWindow"}, ValueError, ["SlidingWindow", "left"]),
    ({"pattern": "Not", "a": 3}, (ValueError, TypeError), []),
    ({"pattern": "PerHead", "patterns": []}, (ValueError, TypeError), ["one or more patterns"]),
    ({"pattern": "PerHead", "pattern_s": []}, (ValueError, TypeError), []),
    ({"pattern": "Chosen", "pairs": {"columns": 2, "rows": [[2], []]}}, ValueError, ["2"]),
    ({"pattern": "Chosen", "pairs": {"columns": 2, "rows": [[-1], []]}}, ValueError, ["-1"]),
    ({"pattern": "Chosen", "pairs": {"columns": 2}}, (ValueError, TypeError), []),
    ({"pattern": "Chosen", "pairs": [[1]]}, (ValueError, TypeError), []),
])  # fmt: skip
def test_bad_data(data, error, words):
    with pytest.raises(error) as caught:
        from_dict(data)
    assert not isinstance(caught.value, KeyError)
    assert all(word in str(caught.value) for word in words), caught.value


def test_bad_text():
    assert_refused(lambda: from_dict("Causal()"), json.JSONDecodeError, [])
