"""Examples in docstrings draw, and leave their figures open: they are closed here, as `tests/plots` closes its own."""

import sys

import pytest


@pytest.fixture(autouse=True)
def closed_figures():
    """Leave no figure open."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
