"""Golden vectors for other languages: inputs, right results and their error budgets as a JSON manifest and four plain .npy files.

    manifest.json   format, spec, dtype, model, seed; `files`: SHA-256 and dtype of each; `cases`: what is asked, and where its arrays lie
    inputs.npy      all q, k, v, do (dlse, sinks, bias), one after the other, in the dtype of the manifest; bfloat16 as its bits
    pairs.npy       which pairs are allowed, uint8 0 or 1
    values.npy      the right results, float64
    errors.npy      how far each result may be off, float64: |got - value| <= error; where it is 0, or a value is not finite, only equality

An array of a case is {"start", "shape"}: so many numbers of its file from there on, in C order: q (batch, heads, nq, d); k, v (batch, kv
heads, nk, d); pairs (nq, nk), or with heads or (batch, 1) before them. The lse is natural, and -inf where a query has no key; o is 0 there.
Query head h reads key/value head h // (heads // kv heads). `scale` is always given. Outputs are checked as one file each,
CASE.o.npy, CASE.lse.npy, CASE.dq.npy ...: those that are missing are not judged. Gradients are of sum(do * o), plus sum(dlse * lse)
where the case has dlse.

Numbers come from SplitMix64 (Steele, Lea, Flood 2014, doi 10.1145/2660193.2660195), so that any language can draw them again: the highest
8 (bfloat16), 11 (float16) or 24 bits as a number in [-2, 2). Case i begins with the state seed * 2**32 + i.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sparsevis.golden import cases, manifest, npy
from sparsevis.golden.budget import Expected, expect
from sparsevis.golden.call import Call, Problem
from sparsevis.golden.check import Judge, Outcome
from sparsevis.golden.compare import compare, ratios
from sparsevis.golden.diagnose import diagnose
from sparsevis.golden.dialect import Dialect
from sparsevis.golden.draws import problem_of
from sparsevis.golden.model import Model, dtype_of
from sparsevis.golden.report import Report
from sparsevis.golden.tightest import tightest

__all__ = ["Vector", "check_vectors", "vectors_of", "write_vectors"]


@dataclass(frozen=True, eq=False)
class Vector:
    """One case: its name, the call, its arrays, and the right results with their budgets; `dlse` says whether the lse has a cotangent."""

    name: str
    call: Call
    problem: Problem
    expected: Expected
    dlse: bool = False


def write_vectors(folder, *, calls=None, level="quick", dtype="float32", model=None, seed=0, dlse=False):
    """Write the vectors of a level, or of the calls given, into a new or an empty folder; return the names of the cases.

    Parameters
    ----------
    folder : path
        Must not hold anything yet.
    calls : dict of {family: [Call]}, optional
        In the place of a level's. Calls with NaN or infinities in live inputs are left out, and so are those of zero size and of
        ALiBi, which is a bias.
    level : {"quick", "full", "adversarial"}
        As for `check`.
    dtype : str
        Of the inputs: float32, float64, float16 or bfloat16.
    model : Model, optional
        What the kernels to come may round; `Model.of(dtype)` where it is left out.
    seed : int
        Of all numbers.
    dlse : bool
        Whether gradients are also those of the lse.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp()) / "vectors"
    >>> write_vectors(folder, calls={"causal": [Call(2, 3, right=0)]})
    ['causal-0']
    >>> sorted(path.name for path in folder.iterdir())
    ['errors.npy', 'inputs.npy', 'manifest.json', 'pairs.npy', 'values.npy']
    """
    made = vectors_of(cases.calls(level) if calls is None else calls, dtype=dtype, model=model, seed=seed, dlse=dlse)
    manifest.save(folder, made, dtype=dtype, model=model or Model.of(dtype_of(dtype)), seed=seed)
    return [vector.name for vector in made]


def check_vectors(folder, outputs=None, *, name=None):
    """Judge what another program made of the vectors in a folder: a Report, as that of `check`.

    Parameters
    ----------
    folder : path
        What `write_vectors` wrote. Every claim in it is checked; a file that is not right is refused (`golden.npy.Refused`).
    outputs : path or dict
        A folder of files CASE.o.npy, CASE.lse.npy, CASE.dq.npy, CASE.dk.npy, CASE.dv.npy, or {case: {"o": array, ...}}; of any of them.
        Left out, the values in the folder are held against what the reference says here and now.
    name : str, optional
        What the report calls them.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp()) / "vectors"
    >>> names = write_vectors(folder, calls={"equal scores": [Call(1, 4, dv=1, values="zero queries", right=0)]})
    >>> mean = np.array([[[[0.25 + 0.5 + 0.75 + 1]]]]) / 4
    >>> check_vectors(folder, {"equal-scores-0": {"o": mean}}).ok
    True
    >>> check_vectors(folder, {"equal-scores-0": {"o": mean + 1e-5}}).ok
    False
    """
    said, some = manifest.load(folder)
    name = name or ("the vectors themselves" if outputs is None else "outputs")
    outputs = {name: _again(*vector) for name, _, *vector in some} if outputs is None else outputs
    given = _outputs(outputs, [x[0] for x in some], said["dtype"])
    judge = Given({name: (call, problem) for name, call, problem, _ in some}, Model(**said["model"]), dtype_of(said["dtype"]))
    outcomes = [_judged(*vector, given.get(vector[0], {})) for vector in some]
    failing = [x for x in outcomes if x.status == "fail"]
    explained = tuple(diagnose(failing, judge)) if failing else ()
    level, narrow = f"vectors of spec {manifest.SPEC}", tightest(outcomes, judge)
    return Report(name, level, said["dtype"], judge.model, tuple(outcomes), explained, None, narrow)


def _again(problem, want):
    """The results of the reference, those that a vector has."""
    dlse = problem.dlse if problem.dlse.any() else None
    back = {"do": problem.do, "dlse": dlse} if "dq" in want.values else {}
    found = expect(problem.q, problem.k, problem.v, **problem.options(), **back).values
    return {part: found[part] for part in want.values}


class Given(Judge):
    """A judge of results that are there already: it knows the arrays of each call, and asks nobody."""

    def __init__(self, problems, model, dtype):
        self.problems = {id(call): problem for call, problem in problems.values()}
        self.backward, self.dialect, self.model, self.dtype, self.back_parameters = True, Dialect(), model, dtype, ("dlse",)

    def problem(self, call):
        return self.problems[id(call)]


def _judged(name, call, problem, want, got):
    """The Outcome of one case."""
    family = name.rpartition("-")[0] or name
    if not got:
        return Outcome(call, family, "unsupported", "no outputs")
    for part, x in got.items():
        if part not in want.values:
            raise ValueError(f"{name} asks for no {part}, only for {', '.join(want.values)}")
        if x.shape != want.values[part].shape:
            return Outcome(call, family, "fail", f"{part} has shape {x.shape}, and needs {want.values[part].shape}")
    deviations = tuple(compare(got, want))
    if deviations and deviations[0].ratio > 1:
        over = {part: ratios(x, want.values[part], want.errors[part]) for part, x in got.items()}
        return Outcome(call, family, "fail", str(deviations[0]), deviations, got, over)
    return Outcome(call, family, "pass", "", deviations, got)


def _outputs(outputs, names, dtype):
    """Outputs by case and part, in float64; of a folder, or of a dict."""
    found = {}
    if not isinstance(outputs, dict):
        for path in sorted(Path(outputs).iterdir()):
            case, _, part = path.name.removesuffix(".npy").partition(".")
            if case not in names or part not in manifest.RESULTS or path.suffix != ".npy":
                raise ValueError(f"{path.name}: needs to be CASE.o.npy, or lse, dq, dk, dv, of a case such as {names[0] if names else '-'}")
            x, _ = npy.read(path)
            if x.dtype.kind == "u" and not (x.dtype.name == "uint16" and dtype == "bfloat16"):
                raise npy.Refused(f"{path.name}: {x.dtype} is no dtype of results")
            found.setdefault(case, {})[part] = x.view(dtype_of(dtype)) if x.dtype.kind == "u" else x
        outputs = found
    unknown = sorted(set(outputs) - set(names))
    if unknown:
        raise ValueError(f"no case is called {unknown[0]!r}; cases are called {', '.join(names[:3])} ...")
    return {case: {part: np.asarray(x).astype(np.float64) for part, x in got.items()} for case, got in outputs.items()}


def vectors_of(calls, *, dtype="float32", model=None, seed=0, dlse=False):
    """Return the Vectors of {family: [Call]}, in order."""
    found = []
    for family, some in calls.items():
        for i, call in enumerate(some):
            if call.values.startswith(("nan in", "inf in")) or call.alibi or not call.nq * call.nk:
                continue
            problem = problem_of(call, dtype, (seed << 32) + len(found))
            found.append(Vector(f"{family.replace(' ', '-')}-{i}", call, problem, expected(problem, model, dlse), dlse))
    return found


def expected(problem, model=None, dlse=False):
    """The right results of a problem; gradients where its inputs are finite."""
    back = {"do": problem.do, "dlse": problem.dlse if dlse else None} if problem.finite else {}
    return expect(problem.q, problem.k, problem.v, model=model, **problem.options(), **back)
