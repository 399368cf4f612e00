"""What `import sparsevis` loads and what it offers, in processes of their own."""

import subprocess
import sys

import pytest

import sparsevis

OPTIONAL = ["numba", "llvmlite", "matplotlib", "anywidget", "ipywidgets", "scipy", "tqdm", "ml_dtypes", "pandas", "torch", "jax", "IPython"]


def fresh(code):
    """The words that a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def loaded(code):
    return set(fresh(f"import sys\n{code}\nprint(*sys.modules)"))


def test_import_loads_numpy_only():
    modules = loaded("import sparsevis")
    assert modules & set(OPTIONAL) == set()
    assert {m for m in modules if m.startswith("sparsevis")} == {"sparsevis"}


def test_patterns_layouts_and_counts_need_numpy_only():
    code = """
import numpy as np, sparsevis as sv
p = sv.Causal() & (sv.SlidingWindow(3) | sv.Global([0]))
str(p), p._repr_html_(), sv.Layout.of(p, 50, 8).T, sv.cost(p, 50), sv.from_dict(p.to_dict())
x = np.ones((8, 4))
sv.attention(x, x, x, p, impl="loops"), sv.attention(x, x, x, p, impl="reference"), sv.compare(x, x, x, {"p": p}, impl="loops", repeats=1)
"""
    assert loaded(code) & set(OPTIONAL) == set()


def test_choosing_a_kernel_does_not_load_the_others():
    modules = loaded("import numpy as np, sparsevis as sv\nx = np.ones((4, 2))\nsv.attention(x, x, x, impl='loops')")
    assert {m for m in modules if m.startswith("sparsevis.kernels.")} == {"sparsevis.kernels._features", "sparsevis.kernels.loops"}


@pytest.mark.parametrize("name", sparsevis.__all__)
def test_every_name_resolves(name):
    value = getattr(sparsevis, name)
    assert getattr(value, "__name__", name).rpartition(".")[2] == name
    assert value.__doc__ or name == "plots"


FORGET = "for m in [m for m in sys.modules if m.split('.')[0] == 'sparsevis']: del sys.modules[m]"


def test_every_name_resolves_first():
    """Each before any other could have loaded what it needs."""
    names = [name for name in sparsevis.__all__ if name not in ("plots", "data")]
    lines = [f"{FORGET}\nimport sparsevis\nprint(sparsevis.{name} is not None)" for name in names]
    assert fresh("import sys\n" + "\n".join(lines)) == ["True"] * len(names)


def test_dir_is_complete_before_anything_is_used():
    names = fresh("import sparsevis\nprint(*dir(sparsevis))")
    assert set(sparsevis.__all__) <= set(names)
    assert "__version__" in names


def test_dir_names_nothing_twice():
    names = fresh("import sparsevis\nsparsevis.Causal, sparsevis.attention\nprint(*dir(sparsevis))")
    assert len(names) == len(set(names))


def test_names_are_listed_once():
    assert len(sparsevis.__all__) == len(set(sparsevis.__all__))


def test_star_import():
    assert fresh("from sparsevis import *\nprint(Layout.__name__, attention.__name__)") == ["Layout", "attention"]


@pytest.mark.parametrize("order", [
    "import sparsevis.{0}",
    "from sparsevis import {0}",
    "import sparsevis.{0}, sparsevis.compare",
    "import sparsevis.compare; from sparsevis import Layout",
    "import sparsevis; sparsevis.{0}; import sparsevis.{0}",
    "from sparsevis.{0} import {0}",
    "import importlib; importlib.import_module('sparsevis.{0}')",
])  # fmt: skip
def test_functions_win_over_the_files_they_live_in(order):
    names = ["attention", "cost", "merge", "compare"]
    asked = "print(type(sparsevis.{0}).__name__, type(sys.modules.get('sparsevis.{0}')).__name__)"
    lines = [f"{FORGET}\n{order.format(name)}\nimport sparsevis\n{asked.format(name)}" for name in names]
    assert fresh("import sys\n" + "\n".join(lines)) == ["function", "module"] * 4


def test_unknown_names():
    with pytest.raises(AttributeError, match="no attribute 'attnetion'"):
        _ = sparsevis.attnetion
    with pytest.raises(ImportError):
        exec("from sparsevis import nonsense")


def test_version():
    assert sparsevis.__version__.count(".") == 2
