"""The conformance check: a kernel is asked many calls in its own dialect, and every element it returns is judged.

For each call: make the arrays, say it in the dialect (or count it as not supported), run the kernel twice, look that the inputs are as
they were and the results new, and compare with the reference within the error budget. Then name the mistake and make the case small.
"""

from dataclasses import dataclass, field

import numpy as np

from sparsevis.golden import cases
from sparsevis.golden.budget import Expected, expect
from sparsevis.golden.compare import Deviation, compare, ratios
from sparsevis.golden.diagnose import diagnose
from sparsevis.golden.dialect import Dialect, NotSaid
from sparsevis.golden.model import Model
from sparsevis.golden.report import Report
from sparsevis.golden.shrink import smallest

__all__ = ["Judge", "Outcome", "check"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of one call: `status` is "pass", "fail" or "unsupported"; `reason` says why in a sentence."""

    call: cases.Call
    family: str
    status: str
    reason: str = ""
    deviations: tuple[Deviation, ...] = ()
    got: dict = field(default_factory=dict, repr=False)
    over: dict = field(default_factory=dict, repr=False)

    @property
    def ratio(self):
        """The largest error over its budget; infinite for failures that no number measures."""
        return max([d.ratio for d in self.deviations], default=np.inf if self.status == "fail" else 0.0)

    @property
    def beyond(self):
        """(by query, by key): the largest error over its budget, (heads, nq) and (key/value heads, nk)."""
        c = self.call
        rows, columns = np.zeros((c.batch, c.kv_heads * c.group, c.nq)), np.zeros((c.batch, c.kv_heads, c.nk))
        for name, x in self.over.items():
            by_position = x if name == "lse" else x.max(-1, initial=0.0)
            if name in ("dk", "dv"):
                columns = np.maximum(columns, by_position)
            else:
                rows = np.maximum(rows, by_position)
        return rows.max(0, initial=0.0), columns.max(0, initial=0.0)


def check(
    fn, *, backward=None, dialect=None, model=None, dtype="float32", level="quick", seed=0, calls=None, deterministic=True, shrink=True,
):  # fmt: skip
    """Check an implementation of attention against the reference.

    Parameters
    ----------
    fn : callable
        fn(q, k, v, ...) on NumPy arrays; returns o or (o, lse). The names of its further parameters say what it can be asked for; see
        `Dialect`. A function that raises NotImplementedError does not support the call.
    backward : callable, optional
        backward(do, q, k, v, ...), with the same keywords; returns (dq, dk, dv). Gets o, lse and dlse if it has parameters of these names.
    dialect : Dialect, optional
        Its conventions, where they are not those of sparsevis.
    model : Model, optional
        What it rounds; what is usual for `dtype` where it is left out.
    dtype : str
        Of the inputs: float32, float64, float16, or bfloat16 with ml_dtypes.
    level : {"quick", "full", "adversarial"}
        About 150, 250 or 300 calls.
    seed : int
        Of all numbers.
    calls : list of Call, optional
        These calls in the place of a level's; a failing call is printed so that it can be pasted here.
    deterministic : bool
        False if two equal calls may differ in rounding.
    shrink : bool
        Whether to look for the smallest call that fails.

    Returns
    -------
    Report
        `ok`, `diagnosis`, `smallest`, `worst()`; prints as text, shows as HTML, `to_json()`.

    Examples
    --------
    >>> import sparsevis as sv
    >>> report = sv.golden.check(lambda q, k, v, mask=None, scale=None: sv.reference.attention(q, k, v, mask, scale=scale)[0])
    >>> report.ok, report.exit_code
    (True, 0)
    """
    judge = Judge(fn, backward, dialect or Dialect(), model or Model.of(dtype), np.dtype(dtype), deterministic)
    asked = cases.calls(level, seed) if calls is None else {"calls": list(calls)}
    outcomes = [judge(call, family) for family, some in asked.items() for call in some]
    failing = [o for o in outcomes if o.status == "fail"]
    found = diagnose(failing, judge) if failing else ()
    small = smallest(failing, judge) if failing and shrink else None
    name = getattr(fn, "__name__", type(fn).__name__)
    return Report(name, level if calls is None else "calls", judge.dtype.name, judge.model, tuple(outcomes), tuple(found), small)


class Judge:
    """Asks one kernel one call, and judges the answer."""

    def __init__(self, fn, backward, dialect, model, dtype, deterministic=True):
        if not callable(fn):
            raise TypeError(f"golden.check needs a function fn(q, k, v, ...), not a {type(fn).__name__}")
        self.fn, self.backward, self.dialect = fn, backward, dialect
        self.model, self.dtype, self.deterministic = model, dtype, deterministic
        self.parameters = dialect.parameters(fn)
        self.back_parameters = {} if backward is None else dialect.parameters(backward)

    def __call__(self, call, family=""):
        """Return the Outcome of a call."""
        problem = cases.Problem.of(call, self.dtype)
        try:
            said = self.dialect.keywords(call, problem, self.parameters)
            self.dialect.keywords(call, problem, self.back_parameters) if self.backward else None
        except NotSaid as missing:
            return Outcome(call, family, "unsupported", str(missing))
        try:
            got, broken = self._run(call, problem, said)
        except NotImplementedError as refused:
            return Outcome(call, family, "unsupported", str(refused) or "the function refuses")
        except Exception as error:  # whatever a kernel may do is an outcome
            return Outcome(call, family, "fail", f"raised {type(error).__name__}: {str(error)[:200]}")
        want = self.expected(problem)
        deviations = tuple(compare(got, want))
        if broken:
            return Outcome(call, family, "fail", broken, (), got)
        if deviations and deviations[0].ratio > 1:
            over = {name: ratios(x, want.values[name], want.errors[name]) for name, x in got.items()}
            return Outcome(call, family, "fail", str(deviations[0]), deviations, got, over)
        return Outcome(call, family, "pass", "", deviations)

    def expected(self, problem, model=None):
        """What is right, with what this kernel's dialect says of queries without keys."""
        back = {"do": problem.do, "dlse": self._dlse(problem)} if self.backward is not None and problem.finite else {}
        want = expect(problem.q, problem.k, problem.v, model=model or self.model, **problem.options(), **back)
        o, lse = want.values["o"], want.values["lse"]
        empty = np.broadcast_to(~problem.mask.any(-1), lse.shape)
        unit = np.log(2) if self.dialect.lse == "base 2" else 1.0
        values = want.values | {
            "o": np.where(empty[..., None], self.dialect.empty, o),
            "lse": np.where(np.isneginf(lse) & empty, self.dialect.empty_lse * unit, lse),
        }
        return Expected(values, want.errors, want.top)

    def _dlse(self, problem):
        return problem.dlse if "dlse" in self.back_parameters else None

    def _run(self, call, problem, said):
        """(results in our axes, what is wrong with the manner in which they came): the call is made twice, on fresh inputs."""
        raw, inputs = self._once(call, problem, said)
        kept = {name: np.array(x) for name, x in raw.items()}
        got = {name: self.dialect.take(x, self._shape(problem, name), name) for name, x in kept.items()}
        broken = next((f"wrote into its input {name}" for name, (x, before) in inputs.items() if x.tobytes() != before), "")
        shared = [(a, b) for a, x in raw.items() for b, (y, _) in inputs.items() if np.shares_memory(np.asarray(x), y)]
        again, _ = self._once(call, problem, said)
        if any(np.shares_memory(np.asarray(raw[name]), np.asarray(again[name])) for name in raw):
            broken = broken or "two calls returned the same memory: the second overwrites the result of the first"
        elif self.deterministic and any(np.asarray(again[name]).tobytes() != x.tobytes() for name, x in kept.items()):
            broken = broken or "the same call twice gave two results"
        if shared:
            broken = broken or f"the result {shared[0][0]} shares memory with the input {shared[0][1]}"
        return got, broken

    def _once(self, call, problem, said):
        """Raw results, and each array that was given with its bytes before the call."""
        given = {x: cases.MEMORY[call.memory](self.dialect.give(getattr(problem, x))) for x in "qkv"}
        inputs = {name: (x, x.tobytes()) for name, x in (given | said).items() if isinstance(x, np.ndarray)}
        with np.errstate(all="ignore"):
            out = self.fn(*given.values(), **said)
            raw = dict(zip(("o", "lse"), out if isinstance(out, tuple | list) else (out,), strict=False))
            if self.backward is not None and problem.finite:
                do = cases.MEMORY[call.memory](self.dialect.give(problem.do))
                known = self.back_parameters
                extra = {name: raw[name] for name in ("o", "lse") if name in known}
                extra |= {"dlse": problem.dlse if "b" in self.dialect.axes else problem.dlse[0]} if "dlse" in known else {}
                inputs["do"] = do, do.tobytes()
                again = self.dialect.keywords(call, problem, known)
                raw |= zip(("dq", "dk", "dv"), self.backward(do, *given.values(), **extra, **again), strict=True)
        return raw, inputs

    def _shape(self, problem, name):
        like = {"dq": problem.q, "dk": problem.k, "dv": problem.v, "o": problem.do}
        return like[name].shape if name in like else problem.q.shape[:-1]
