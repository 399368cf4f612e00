"""The conformance check: a kernel is asked many calls in its own dialect, and every element it returns is judged.

For each call: make the arrays, say it in the dialect (or count it as not supported), run the kernel twice, look that the inputs are as
they were and the results new, and compare with the reference within the error budget. Then name the mistake and make the case small.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from sparsevis.golden import cases
from sparsevis.golden.ask import Asker
from sparsevis.golden.budget import Expected, expect
from sparsevis.golden.call import Call, Problem
from sparsevis.golden.compare import Deviation, compare, ratios
from sparsevis.golden.diagnose import diagnose
from sparsevis.golden.dialect import Dialect
from sparsevis.golden.model import Model, dtype_of
from sparsevis.golden.named import named
from sparsevis.golden.report import Report
from sparsevis.golden.shrink import smallest
from sparsevis.golden.tightest import tightest

__all__ = ["Judge", "Outcome", "check", "judge_of", "report_of"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of one call: `status` is "pass", "fail" or "unsupported"; `reason` says why in a sentence."""

    call: Call
    family: str
    status: str
    reason: str = ""
    deviations: tuple[Deviation, ...] = ()
    got: dict = field(default_factory=dict, repr=False)
    over: dict = field(default_factory=dict, repr=False)
    earlier: tuple[Call, ...] = field(default=(), repr=False)  # what was asked before it

    @property
    def ratio(self):
        """The largest error over its budget; infinite for failures that no number measures."""
        return max([d.ratio for d in self.deviations], default=np.inf if self.status == "fail" else 0.0)

    @property
    def beyond(self):
        """(by query, by key): the largest error over its budget, (heads, nq) and (key/value heads, nk), of the worst batch entry."""
        c = self.call
        rows, columns = np.zeros((c.batch, c.kv_heads * c.group, c.nq)), np.zeros((c.batch, c.kv_heads, c.nk))
        for name, x in self.over.items():
            by_position = x if name == "lse" else x.max(-1, initial=0.0)
            if name in ("dk", "dv"):
                columns = np.maximum(columns, by_position)
            else:
                rows = np.maximum(rows, by_position)
        entry = np.argmax(np.maximum(rows.max((1, 2), initial=0.0), columns.max((1, 2), initial=0.0)))
        return rows[entry], columns[entry]

    @property
    def pairs(self):
        """The mask (nq, nk) of the batch entry and head that are furthest beyond their budget."""
        mask, c = self.call.mask, self.call
        if mask.ndim == 2:
            return mask
        worst = np.zeros((c.batch, c.kv_heads * c.group))
        for name, x in self.over.items():
            by_head = x.reshape(*x.shape[:2], -1).max(-1, initial=0.0)
            worst = np.maximum(worst, np.repeat(by_head, c.group, 1) if name in ("dk", "dv") else by_head)
        return np.broadcast_to(mask, (*worst.shape, c.nq, c.nk))[np.unravel_index(np.argmax(worst), worst.shape)]


def check(
    fn, *, backward=None, dialect=None, arrays=None, model=None, dtype="float32", level="quick", seed=0, calls=None, deterministic=True,
    shrink=True, isolate=False, timeout=60.0, memory=None,
):  # fmt: skip
    """Check an implementation of attention against the reference.

    Parameters
    ----------
    fn : callable
        fn(q, k, v, ...); returns o or (o, lse). The names of its further parameters say what it can be asked for; see `Dialect`. A
        function that raises NotImplementedError does not support the call.
    backward : callable, optional
        backward(do, q, k, v, ...), with the same keywords; returns (dq, dk, dv). Gets o, lse and dlse if it has parameters of these names.
        `golden.autograd(fn)` makes one through PyTorch or JAX.
    dialect : Dialect or str, optional
        Its conventions, where they are not those of sparsevis; or the name of known ones: "flash", "flash-3", "flash-varlen",
        "flashinfer", "sdpa", "jax". Found on functions that `golden.adapter` marked.
    arrays : str, optional
        "numpy", "torch", "torch:cuda", "jax" or "cupy": whose arrays the function takes; the dialect's where it is left out.
    model : Model, optional
        What it rounds; what is usual for `dtype` where it is left out.
    dtype : str
        Of the inputs: float32, float64, float16, or bfloat16 with ml_dtypes.
    level : {"quick", "full", "adversarial"}
        About 200, 300 or 400 calls.
    seed : int
        Of all numbers.
    calls : list of Call, optional
        These calls in the place of a level's; a failing call is printed so that it can be pasted here.
    deterministic : bool
        False if two equal calls may differ in rounding.
    shrink : bool
        Whether to look for the smallest call that fails.
    isolate : bool
        Whether the kernel runs in a process of its own, so that a crash or a hang is a failing call and no more. The functions have to be
        importable from there. A kernel that means harm is not held by it.
    timeout : float
        Seconds that a call may take there.
    memory : int, optional
        Bytes that the process may take.

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
    asked = cases.calls(level, seed) if calls is None else {"calls": list(calls)}
    judge = judge_of(
        fn, backward=backward, dialect=dialect, arrays=arrays, model=model, dtype=dtype, deterministic=deterministic, isolate=isolate,
        timeout=timeout, memory=memory,
    )  # fmt: skip
    try:
        outcomes = [judge(call, family) for family, some in asked.items() for call in some]
        failing = [o for o in outcomes if o.status == "fail"]
        small = smallest(failing, judge) if failing and shrink else None
        return report_of(fn, level if calls is None else "calls", judge, outcomes, small)
    finally:
        judge.ask.close()


def report_of(fn, level, judge, outcomes, small=None):
    """Return the Report of what came of some calls: what explains the failing ones, and how much rounding the others show."""
    failing = [o for o in outcomes if o.status == "fail"]
    found = tuple(diagnose(failing, judge)) if failing else ()
    name = getattr(fn, "__name__", type(fn).__name__)
    return Report(name, level, judge.dtype.name, judge.model, tuple(outcomes), found, small, tightest(outcomes, judge))


def judge_of(
    fn, *, backward=None, dialect=None, arrays=None, model=None, dtype="float32", deterministic=True, isolate=False, timeout=60.0,
    memory=None,
):  # fmt: skip
    """Return the Judge of a kernel; parameters as for `check`. Close its `ask` in the end."""
    dialect = dialect or getattr(fn, "dialect", None) or Dialect()
    dialect = named(dialect) if isinstance(dialect, str) else dialect
    dialect = dialect if arrays is None else replace(dialect, arrays=arrays)
    dtype = dtype_of(dtype)
    judge = Judge(fn, backward, dialect, model or Model.of(dtype), dtype, deterministic)
    if isolate:
        from sparsevis.golden.isolate import Isolated

        judge.ask = Isolated(judge.ask, timeout, memory)
    return judge


class Judge:
    """Asks one kernel one call, and judges the answer."""

    def __init__(self, fn, backward, dialect, model, dtype, deterministic=True):
        if not callable(fn):
            raise TypeError(f"golden.check needs a function fn(q, k, v, ...), not a {type(fn).__name__}")
        self.backward, self.dialect, self.model, self.dtype = backward, dialect, model, dtype
        self.ask = Asker(fn, backward, dialect, dtype, deterministic)
        self.parameters, self.back_parameters, self.earlier = self.ask.parameters, self.ask.back_parameters, ()

    def __call__(self, call, family=""):
        """Return the Outcome of a call."""
        problem = self.problem(call)
        earlier, self.earlier = self.earlier, (*self.earlier[-15:], call)
        answer = self.ask(call, problem)
        if answer.status != "got":
            return Outcome(call, family, answer.status, answer.reason, (), answer.got)
        want = self.expected(problem)
        got = answer.got
        if self.dialect.empty is None:  # whatever stands in a row without keys is right
            empty = np.broadcast_to(~problem.mask.any(-1), want.values["lse"].shape)
            got = got | {x: np.where(empty[..., None] if x == "o" else empty, want.values[x], got[x]) for x in ("o", "lse") if x in got}
        deviations = tuple(compare(got, want))
        if deviations and deviations[0].ratio > 1:
            over = {name: ratios(x, want.values[name], want.errors[name]) for name, x in got.items()}
            return Outcome(call, family, "fail", str(deviations[0]), deviations, got, over, earlier)
        return Outcome(call, family, "pass", "", deviations, got)

    def problem(self, call):
        """The arrays of a call."""
        return Problem.of(call, self.dtype)

    def expected(self, problem, model=None):
        """What is right, with what this kernel's dialect says of queries without keys."""
        back = {"do": problem.do, "dlse": self._dlse(problem)} if self.backward is not None and problem.finite else {}
        want = expect(problem.q, problem.k, problem.v, model=model or self.model, **problem.options(), **back)
        o, lse = want.values["o"], want.values["lse"]
        empty = np.broadcast_to(~problem.mask.any(-1), lse.shape)
        unit = np.log(2) if self.dialect.lse == "base 2" else 1.0
        values = want.values | {
            "o": np.where(empty[..., None], 0.0 if self.dialect.empty is None else self.dialect.empty, o),
            "lse": np.where(np.isneginf(lse) & empty, self.dialect.empty_lse * unit, lse),
        }
        return Expected(values, want.errors, want.top)

    def _dlse(self, problem):
        return problem.dlse if "dlse" in self.back_parameters else None
