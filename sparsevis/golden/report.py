"""What a conformance check found: prints as text, shows as HTML, leaves as JSON."""

import json
from collections import Counter
from dataclasses import dataclass

import numpy as np

from sparsevis.golden.model import Model
from sparsevis.golden.page import page
from sparsevis.golden.picture import written
from sparsevis.tabular import Tabular

__all__ = ["Report"]


@dataclass(frozen=True, eq=False, repr=False)
class Report(Tabular):
    """The result of `golden.check`.

    Attributes
    ----------
    name, level, dtype : str
        The function, how much was asked, and the dtype of the inputs.
    model : Model
        The roundings it was judged by.
    outcomes : tuple of Outcome
        One for each call.
    diagnosis : tuple of (str, int)
        What explains the failures, and how many of the failing calls looked at it explains; best first.
    smallest : Outcome or None
        The simplest call that was found to fail; `smallest.call` is code.
    tightest : (str, Model, int) or None
        The least rounding that explains the calls nearest to their budget, and how many of them were looked at.
    """

    name: str
    level: str
    dtype: str
    model: Model
    outcomes: tuple
    diagnosis: tuple
    smallest: object = None
    tightest: tuple | None = None

    @property
    def counts(self):
        """How many calls passed, failed, and were not supported."""
        found = Counter(o.status for o in self.outcomes)
        return {status: found[status] for status in ("pass", "fail", "unsupported")}

    @property
    def ok(self):
        """Whether nothing failed; and something was tested, without which nothing is known."""
        return not self.counts["fail"] and self.counts["pass"] > 0

    @property
    def exit_code(self):
        """0 conforms, 1 fails, 3 nothing was tested."""
        return 1 if self.counts["fail"] else 0 if self.ok else 3

    def __bool__(self):
        return self.ok

    def worst(self, most=5):
        """Return the failing outcomes, those furthest beyond their budget first."""
        return sorted((o for o in self.outcomes if o.status == "fail"), key=lambda o: -o.ratio)[:most]

    def worst_of_families(self, most=5):
        """Return the failing outcome furthest beyond its budget of each family, those furthest first."""
        found = {}
        for o in self.worst(len(self.outcomes)):
            found.setdefault(o.family, o)
        return list(found.values())[:most]

    @property
    def telling(self):
        """The failing outcome whose picture says most: of those up to 64 x 64 with finite numbers, the largest; None if nothing failed."""
        some = [o for o in self.outcomes if o.status == "fail" and o.deviations and o.call.nq * o.call.nk]
        small = [o for o in some if max(o.call.nq, o.call.nk) <= 64] or some
        return max(small, key=lambda o: (np.isfinite(o.ratio), o.call.nq * o.call.nk, o.ratio), default=None)

    def where(self, outcome=None):
        """Return {"mask", "rows", "columns"}: how far each query (heads, nq) and, for dk and dv, each key is beyond its budget.

        Of `telling` where `outcome` is left out; the mask is that of the worst head. What a picture of the failure needs.
        """
        outcome = outcome or self.telling
        if outcome is None:
            raise ValueError("nothing failed, so there is no place to show")
        rows, columns = outcome.beyond
        return {"mask": outcome.pairs, "rows": rows, "columns": columns}

    def to_dicts(self):
        """Return a row for each family of calls."""
        found = {}
        for o in self.outcomes:
            row = found.setdefault(o.family, {"family": o.family, "pass": 0, "fail": 0, "unsupported": 0, "worst": 0.0})
            row[o.status] += 1
            row["worst"] = max(row["worst"], o.ratio)
        return list(found.values())

    def to_dict(self):
        """Return the whole report as plain JSON values; infinities and NaN are text."""
        failing = [{"family": o.family, "call": repr(o.call), "reason": o.reason, "ratio": _plain(o.ratio),
                    "worst": [{x: _plain(y) for x, y in vars(d).items()} for d in o.deviations]} for o in self.worst(100)]  # fmt: skip
        return {
            "function": self.name, "ok": self.ok, "exit_code": self.exit_code, "level": self.level, "dtype": self.dtype,
            "model": repr(self.model), "counts": self.counts, "unsupported": dict(self._unsupported()),
            "families": [{x: _plain(y) for x, y in r.items()} for r in self.to_dicts()],
            "diagnosis": [{"words": words, "calls": calls} for words, calls in self.diagnosis], "failing": failing,
            "smallest": None if self.smallest is None else {"call": repr(self.smallest.call), "reason": self.smallest.reason},
            "tightest": None if self.tightest is None else dict(zip(("words", "model", "calls"), map(_said, self.tightest), strict=True)),
        }  # fmt: skip

    def to_json(self):
        """Return `to_dict` as JSON text."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def _unsupported(self):
        return Counter(o.reason[:80] for o in self.outcomes if o.status == "unsupported").most_common()

    @property
    def summary(self):
        """How many calls apply, failed, and were not supported, in words."""
        n, all_ = self.counts, len(self.outcomes)
        missing = f", {n['unsupported']} not supported" if n["unsupported"] else ""
        failed = f", {n['fail']} failed" if n["fail"] else ""
        return f"{n['pass'] + n['fail']} of {all_} calls apply ({self.level}, {self.dtype}){failed}{missing}"

    def _heading(self):
        verdict = "conforms" if self.ok else "FAILS" if self.counts["fail"] else "NOTHING WAS TESTED"
        return f"{self.name}: {verdict}. {self.summary}"

    def _cells(self):
        def line(row):
            tested = row["pass"] + row["fail"]
            return [row["family"], *(str(row[x]) for x in ("pass", "fail", "unsupported")), f"{row['worst']:.2g}" if tested else "-"]

        return ["family", "pass", "fail", "not supported", "worst error / budget"], [line(row) for row in self.to_dicts()]

    def _notes(self):
        notes = [f"not supported: {', '.join(f'{why} ({n})' for why, n in self._unsupported())}"] if self.counts["unsupported"] else []
        if self.diagnosis:
            notes += ["diagnosis: " + "\n  or also: ".join(f"{words} (explains {n})" for words, n in self.diagnosis[:4])]
        some = [f"{o.family}: {o.call!r}\n    {o.reason}" for o in self.worst_of_families(3)]
        notes += ["furthest beyond their budget:\n  " + "\n  ".join(some)] if some else []
        if self.smallest is not None:
            notes += [f"smallest failing call: {self.smallest.call!r}\n  {self.smallest.reason}", *written(self.smallest)]
        if self.tightest is not None:
            words, model, calls = self.tightest
            notes += [f"tightest model that passes ({calls} calls): {words}, {model!r}"]
        return notes

    def _repr_html_(self):
        return super()._repr_html_().replace("<p>", '<p style="white-space:pre-wrap;font-family:monospace">')

    def to_html(self):
        """Return a page of its own; every text from outside is escaped, and the page may load nothing.

        >>> report = Report("<b>", "quick", "float32", Model(), (), ())
        >>> "<b>" in report.to_html(), report.exit_code
        (False, 3)
        """
        return page(self)


def _said(x):
    return repr(x) if isinstance(x, Model) else x


def _plain(x):
    if isinstance(x, tuple):
        return list(x)
    return repr(float(x)) if isinstance(x, float) and not np.isfinite(x) else x
