import getpass
import json
import os
import socket

import numpy as np
import pytest

from sparsevis.bench import machine


def test_the_chain_adds_in_every_sum_it_counts():
    chain, size = machine._chain()
    x = np.ones((8, 1024), np.float32)
    chain(x, 5)  # x * 1 + 1, five times
    assert 4 * int((x == 6).sum()) == size
    assert set(np.unique(x)) == {1, 6}


@pytest.mark.parametrize(("dtype", "of"), [("float16", 4), ("float32", 4), ("float64", 8)])
def test_rate(dtype, of, monkeypatch):
    """On a clock of one second a look: a chain of 50,000 steps, on each of three threads."""
    done, looks = [], iter(range(9))
    monkeypatch.setattr(machine, "perf_counter", lambda: next(looks))
    monkeypatch.setattr(machine, "_chain", lambda: (lambda x, steps: done.append((x.dtype.itemsize, steps)), 1024))
    assert machine.fma_rate(dtype, 3) == 3 * 50_000 * 2 * 1024 / of
    assert done == [(of, 1), *[(of, 50_000)] * 4]


def test_facts_say_what_a_number_depends_on_and_nothing_of_whose_machine_it_is():
    found = machine.facts(threads=3)
    assert found["threads"] == 3
    assert found["versions"]["numpy"] == np.__version__
    assert set(found["versions"]) >= {"numba", "torch", "jax", "scipy"}
    words = json.dumps(found)
    assert f'"{socket.gethostname()}"' not in words
    assert os.getcwd() not in words
    assert f'"{getpass.getuser()}"' not in words


def test_available_is_what_the_process_may_use():
    assert 1 <= machine.available() <= os.cpu_count()
