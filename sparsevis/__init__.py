"""Sparse attention to see, run and trust.

Patterns say who may attend whom; layouts, kernels, counts and pictures are readings of them. Names are imported when they are first
used: `import sparsevis` loads NumPy only.

>>> import sparsevis as sv
>>> sv.Causal() & (sv.SlidingWindow(255) | sv.Global([0]))
Causal() & (SlidingWindow(left=255) | Global(tokens=(0,)))
"""

import sys
from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"

_HOME = {
    "pattern": ["And", "Not", "Or", "Pattern"],
    "per_head": ["PerHead"],
    "portable": ["from_dict"],
    "patterns": [
        *["BlockWindow", "Causal", "Chosen", "Chunked", "Dense", "Dilated", "Documents", "Fixed", "Global", "PrefixLM", "RandomBlocks"],
        *["RandomKeys", "Sink", "SlidingWindow", "Strided", "bigbird", "longformer", "mistral", "sparse_transformer_fixed"],
        *["sparse_transformer_strided", "streaming_llm"],
    ],
    "layout": ["Layout"],
    "attention": ["alibi_slopes", "attention", "attention_grad", "implementations", "longformer_attention"],
    "kv_cache": ["KVCache"],
    "merge": ["merge"],
    "walk": ["Walked", "walk"],
    "reads": ["Reads", "reads"],
    "cost": ["Cost", "cost"],
    "cost_curve": ["CostCurve", "ScheduleCost", "cost_curve", "cost_schedule"],
    "roofline": ["Roofline", "roofline"],
    "measure": ["Measurement", "measure"],
    "receptive_field": ["ReceptiveField", "receptive_field"],
    "compare": ["Comparison", "compare"],
    "diff": ["Difference", "diff"],
    "exercises": ["check"],
    "lint": ["Finding", "Findings", "lint"],
    "explorer": ["Explorer", "explore"],
}
_NAMES = {name: module for module, names in _HOME.items() for name in names}
_ROOMS = ["data", "dialects", "golden", "plots", "reference", "schedules"]

__all__ = [*_NAMES, *_ROOMS]


def __getattr__(name):
    if name in _NAMES:
        value = getattr(import_module(f"sparsevis.{_NAMES[name]}"), name)
    elif name in _ROOMS:
        value = import_module(f"sparsevis.{name}")
    else:
        raise AttributeError(f"module 'sparsevis' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """A function and the file it lives in share a name (attention, cost, merge ...): seen from outside, the function wins."""

    def __setattr__(self, name, value):
        is_file = isinstance(value, ModuleType) and name in _NAMES
        super().__setattr__(name, getattr(value, name) if is_file else value)


sys.modules[__name__].__class__ = _Package
