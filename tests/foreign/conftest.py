"""Where values come from: the committed file, or the library itself where it is installed."""

from functools import cache
from importlib.util import find_spec

import pytest

from . import with_torch, with_transformers
from .make_values import load

SOURCES = ("committed", "live")


@pytest.fixture(params=SOURCES)
def torch_values(request):
    return values("torch", request.param)


@pytest.fixture(params=SOURCES)
def transformers_values(request):
    return values("transformers", request.param)


@pytest.fixture(params=["torch", "transformers"])
def fresh(request):
    """Everything one of the libraries computes."""
    return values(request.param, "live")


def values(library, source):
    if source == "committed":
        return load()[0]
    missing = [name for name in dict.fromkeys(["torch", library]) if find_spec(name) is None]
    if missing:
        pytest.skip(f'{" and ".join(missing)} not installed: pip install "sparsevis[parity]"')
    return live(library)


@cache
def live(library):
    return (with_torch if library == "torch" else with_transformers).compute()
