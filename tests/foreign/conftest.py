"""Where values come from: the committed file, or the library itself where it is installed."""

from functools import cache
from importlib.util import find_spec

import pytest

from .make_values import LIBRARIES, NEEDS, load

SOURCES = ("committed", "live")


@pytest.fixture(params=SOURCES)
def torch_values(request):
    return values("torch", request.param)


@pytest.fixture(params=SOURCES)
def transformers_values(request):
    return values("transformers", request.param)


@pytest.fixture(params=SOURCES)
def jax_values(request):
    return values("jax", request.param)


@pytest.fixture(params=SOURCES)
def onnx_values(request):
    return values("onnx", request.param)


@pytest.fixture(params=list(LIBRARIES))
def fresh(request):
    """Everything one of the libraries computes."""
    return values(request.param, "live")


def values(library, source):
    if source == "committed":
        return load()[0]
    missing = [name for name in NEEDS[library] if find_spec(name) is None]
    if missing:
        pytest.skip(f'{" and ".join(missing)} not installed: pip install "sparsevis[parity]"')
    return live(library)


@cache
def live(library):
    return LIBRARIES[library].compute()
