"""A kernel is asked one call: in its dialect, with its arrays, twice; and what it did besides answering is looked at."""

from dataclasses import dataclass, field

import numpy as np

from sparsevis.golden.arrays import Library, NotSaid
from sparsevis.golden.call import MEMORY, Problem

__all__ = ["Answer", "Asker", "shape_of"]


@dataclass(frozen=True, eq=False)
class Answer:
    """Results in float64 with our axes by name; or why there are none: `status` is "got", "unsupported" or "fail"."""

    status: str
    reason: str = ""
    got: dict = field(default_factory=dict)


class Asker:
    """Asks the functions `fn` and `backward`.

    What a kernel may do is an outcome: it may refuse (NotImplementedError), raise anything, write into its inputs, return the same memory
    twice or two different results.
    """

    def __init__(self, fn, backward, dialect, dtype, deterministic=True):
        self.fn, self.backward, self.dialect, self.dtype, self.deterministic = fn, backward, dialect, dtype, deterministic
        self.library = Library.of(dialect.arrays)
        self.parameters = dialect.parameters(fn)
        self.back_parameters = {} if backward is None else dialect.parameters(backward)

    def __call__(self, call, problem=None):
        """Return the Answer to a call."""
        problem = problem or Problem.of(call, self.dtype)
        try:
            said = self.dialect.keywords(call, problem, self.parameters)
            if self.backward is not None:
                self.dialect.keywords(call, problem, self.back_parameters)
                if self.dialect.empty is None and not problem.mask.any(-1).all():
                    raise NotSaid("gradients of queries without keys, which are left open")
            return self._run(call, problem, said)
        except NotSaid as missing:
            return Answer("unsupported", str(missing))
        except NotImplementedError as refused:
            return Answer("unsupported", str(refused)[:200] or "the function refuses")
        except Exception as error:  # whatever a kernel may do is an outcome
            return Answer("fail", f"raised {type(error).__name__}: {str(error)[:200]}")

    def close(self):
        """Nothing is held."""

    def _run(self, call, problem, said):
        """The call is made twice, on fresh inputs."""
        take, share = self.library.take, self.library.share
        raw, inputs = self._once(call, problem, said)
        kept = {name: np.array(take(x)) for name, x in raw.items()}
        got = {name: self.dialect.take(x, shape_of(problem, name), name) for name, x in kept.items()}
        broken = next((f"wrote into its input {name}" for name, (x, before) in inputs.items() if take(x).tobytes() != before), "")
        shared = [(a, b) for a, x in raw.items() for b, (y, _) in inputs.items() if share(x, y)]
        again, _ = self._once(call, problem, said)
        if any(share(raw[name], again[name]) for name in raw):
            broken = broken or "two calls returned the same memory: the second overwrites the result of the first"
        elif self.deterministic and any(take(again[name]).tobytes() != x.tobytes() for name, x in kept.items()):
            broken = broken or "the same call twice gave two results"
        if shared:
            broken = broken or f"the result {shared[0][0]} shares memory with the input {shared[0][1]}"
        return Answer("fail", broken, got) if broken else Answer("got", "", got)

    def _margins(self, problem):
        """The arrays that the function fills itself."""
        like = {"out": self.dialect.give(problem.do), "lse_out": self.dialect.give_lse(problem.dlse)}
        return {name: Margin(x.shape, x.dtype) for name, x in like.items() if name in self.parameters}

    def _once(self, call, problem, said):
        """Raw results, and each array that was given with its bytes before the call."""
        lie, give = MEMORY[call.memory], self.library.give
        host = {x: lie(self.dialect.give(getattr(problem, x))) for x in "qkv"}
        more = {name: x for name, x in said.items() if isinstance(x, np.ndarray)}
        given = {name: give(x) for name, x in (host | more).items()}
        inputs = {name: (given[name], x.tobytes()) for name, x in (host | more).items()}
        qkv, said = [given[x] for x in "qkv"], {name: given.get(name, x) for name, x in said.items()}
        margins = self._margins(problem)
        filled = {name: give(margin.inside) for name, margin in margins.items()}
        said |= self.dialect.renamed(filled)
        with np.errstate(all="ignore"):
            out = self.fn(*qkv, **said)
            raw = dict(zip(("o", "lse"), out if isinstance(out, tuple | list) else (out,), strict=False))
            raw |= {name: filled[x] for name, x in (("o", "out"), ("lse", "lse_out")) if x in filled}
            for name, margin in margins.items():
                margin.look(name)
            if self.backward is not None and problem.finite:
                do = lie(self.dialect.give(problem.do))
                inputs["do"] = give(do), do.tobytes()
                extra = {name: raw[name] for name in ("o", "lse") if name in self.back_parameters}
                if "dlse" in self.back_parameters:
                    extra["dlse"] = give(self.dialect.give_lse(problem.dlse))
                again = self.dialect.keywords(call, problem, self.back_parameters)
                again = {name: give(x) if isinstance(x, np.ndarray) else x for name, x in again.items()}
                grads = self.backward(inputs["do"][0], *qkv, **self.dialect.renamed(extra), **again)
                raw |= zip(("dq", "dk", "dv"), grads, strict=True)
        return raw, inputs


class Margin:
    """An array to be filled, in the middle of a larger one: all NaN, and what lies around it has to stay so."""

    def __init__(self, shape, dtype, width=64):
        size = int(np.prod(shape))
        self.whole, self.at = np.full(size + 2 * width, np.nan, dtype), slice(width, width + size)
        self.inside = self.whole[self.at].reshape(shape)

    def look(self, name):
        """Raise IndexError if the margin was written to."""
        if not all(np.isnan(x.astype(float)).all() for x in (self.whole[: self.at.start], self.whole[self.at.stop :])):
            raise IndexError(f"it wrote beyond the ends of {name}")


def shape_of(problem, name):
    """The shape of a result with our axes."""
    like = {"dq": problem.q, "dk": problem.k, "dv": problem.v, "o": problem.do}
    return like[name].shape if name in like else problem.q.shape[:-1]
