"""The comparator: every element of a result against what is expected, in units of the error it may have."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Deviation", "compare", "ratios"]


@dataclass(frozen=True)
class Deviation:
    """The worst element of one result: `ratio` is its error over its budget, infinite where only equality is right."""

    part: str
    ratio: float
    at: tuple
    got: float
    want: float
    error: float

    def __str__(self):
        place = f"{self.part}[{', '.join(map(str, self.at))}]"
        if np.isfinite(self.ratio):
            return f"{place} is {self.got:.7g}, not {self.want:.7g} +- {self.error:.2g}: {self.ratio:.3g} times its budget"
        return f"{place} is {self.got:.7g}, and has to be {self.want:.7g}"


def ratios(got, want, error):
    """Return |got - want| / error, element by element; NaN, infinities and exact zeros must agree, else the ratio is infinite.

    >>> ratios(np.array([1.0, np.nan, np.nan, 0.5]), np.array([1.1, np.nan, 1.0, 0.5]), np.array([0.2, 0.1, 0.1, 0.0])).round(3)
    array([0.5, 0. , inf, 0. ])
    """
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    with np.errstate(all="ignore"):
        found = np.abs(got - want) / error
    found = np.where(np.isfinite(got) & np.isfinite(want) & (np.asarray(error) > 0), found, np.inf)
    return np.where((got == want) | (np.isnan(got) & np.isnan(want)), 0.0, found)


def compare(got, expected):
    """Return the worst element of every result in `got`, worst first: a list of Deviation; right results have none above 1.

    Parameters
    ----------
    got : dict
        Results by the names o, lse, dq, dk, dv, or some of them.
    expected : Expected
        What `expect` returned.

    Examples
    --------
    >>> from sparsevis.golden import expect
    >>> x = np.eye(4, dtype=np.float32)
    >>> want = expect(x, x, x)
    >>> compare({"o": want.values["o"].astype(np.float32)}, want)[0].ratio < 1
    True
    >>> wrong = compare({"o": want.values["o"] + np.eye(4)}, want)[0]
    >>> wrong.part, wrong.at, wrong.ratio > 1e5
    ('o', (0, 0), True)
    """
    found = []
    for part, x in got.items():
        want, error = expected.values[part], expected.errors[part]
        over = ratios(x, want, error)
        if over.size:
            at = np.unravel_index(np.argmax(over), over.shape)
            place = tuple(int(i) for i in at)
            found.append(Deviation(part, float(over[at]), place, float(np.asarray(x)[at]), float(want[at]), float(error[at])))
    return sorted(found, key=lambda d: -d.ratio)
