"""Peers and a case that cost nothing: what the runner does with them is the test."""

from sparsevis import reference
from sparsevis.bench import Case, Peer, Work
from sparsevis.patterns import Causal

TINY = Case("tiny", "a case of a test", Causal(), n=24, heads=2, d=4)


def right(x):
    mask = Causal().mask(x.n)
    return Work(lambda: reference.naive(x.q, x.k, x.v, mask))


def peer(name, forward=right, **more):
    return Peer(name, f"a peer called {name}", {"forward": forward}, **more)


def off_by(amount):
    return lambda x: Work(lambda: right(x).call() + amount)


def raising(error):
    def forward(x):
        raise error

    return forward
