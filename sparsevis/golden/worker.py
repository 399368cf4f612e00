"""The process in which an isolated kernel runs; see `isolate`. What it prints goes to standard error."""

import json
import os
import pickle
import sys

import numpy as np


def main():
    """Answer calls until there are no more."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    source = sys.stdin.buffer
    try:
        ask = _asker(*pickle.loads(_next(source)))
    except Exception as error:
        _answer(out, "failed", f"{type(error).__name__}: {error}")
        return
    _answer(out, "ready")
    while (data := _next(source)) is not None:
        answer = ask(pickle.loads(data))
        _answer(out, answer.status, answer.reason, answer.got)


def _asker(where, dialect, dtype, deterministic, memory, path):
    sys.path[:] = path
    from sparsevis.golden.ask import Asker
    from sparsevis.golden.model import dtype_of
    from sparsevis.golden.target import target

    fn, backward = (None if x is None else target(x) for x in where)
    if memory is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    return Asker(fn, backward, dialect, dtype_of(dtype), deterministic)


def _next(source):
    size = source.read(8)
    return source.read(int.from_bytes(size, "little")) if len(size) == 8 else None


def _answer(out, status, reason="", got=()):
    arrays = {name: np.ascontiguousarray(got[name], np.float64).tobytes() for name in got}
    head = {"status": status, "reason": reason, "names": list(arrays), "sizes": [len(x) for x in arrays.values()]}
    text = json.dumps(head).encode()
    out.write(len(text).to_bytes(8, "little") + text + b"".join(arrays.values()))
    out.flush()


if __name__ == "__main__":
    main()
