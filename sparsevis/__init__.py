"""Sparse attention to see, run and trust."""

__version__ = "0.1.0"
from sparsevis.pattern import *
from sparsevis.patterns import *
