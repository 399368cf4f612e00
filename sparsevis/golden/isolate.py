"""A kernel asked in a process of its own: what kills or stops it there is the outcome of one call.

    here                              there, python -m sparsevis.golden.worker
    what to import ----------------->
                   <----------------- ready
    a call         ----------------->
                   <----------------- what came of it, as JSON; results as plain float64

Nothing that comes back is unpickled. A process that was lost is started anew for the next call.
"""

import json
import pickle
import queue
import signal
import subprocess
import sys
import threading

import numpy as np

from sparsevis.golden.ask import Answer, shape_of
from sparsevis.golden.target import address

__all__ = ["Isolated"]

START = 120.0  # seconds to import what has to be imported
LOST = 10  # processes lost in a row, after which the kernel is not asked again


class Isolated:
    """Asks what `asker` would ask, in another process."""

    def __init__(self, asker, timeout=60.0, memory=None):
        if not timeout > 0:
            raise ValueError(f"timeout={timeout!r}: needs a number of seconds above 0")
        where = [None if f is None else address(f) for f in (asker.fn, asker.backward)]
        self.config = pickle.dumps((where, asker.dialect, asker.dtype.name, asker.deterministic, memory, sys.path))
        self.timeout, self.process, self.lost = timeout, None, 0

    def __call__(self, call, problem):
        """Return the Answer to a call."""
        if self.lost >= LOST:
            return Answer("fail", f"not asked: its process was lost {LOST} times in a row")
        if self.process is None:
            self._start()
        try:
            self._say(pickle.dumps(call))
            head = self.answers.get(timeout=self.timeout)
        except queue.Empty:
            return self._over(f"no answer within {self.timeout:g} s")
        except OSError:
            head = None
        if head is None:
            return self._over("")
        self.lost = 0
        said, arrays = head
        got = {}
        for name, data in zip(said["names"], arrays, strict=True):
            shape = shape_of(problem, name)
            if len(data) != 8 * np.prod(shape, dtype=int):
                return self._over(f"{name} came back in {len(data)} bytes, not as {shape}")
            got[name] = np.frombuffer(data).reshape(shape)
        return Answer(said["status"], said["reason"], got)

    def close(self):
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.reader.join()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None

    def _start(self):
        command = [sys.executable, "-m", "sparsevis.golden.worker"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.answers = queue.SimpleQueue()
        self.reader = threading.Thread(target=_read, args=(self.process.stdout, self.answers), daemon=True)
        self.reader.start()
        self._say(self.config)
        try:
            ready = self.answers.get(timeout=START)
        except queue.Empty:
            ready = None
        if ready is None or ready[0]["status"] != "ready":
            self.close()
            raise ImportError("the process for the kernel did not start" if ready is None else ready[0]["reason"])

    def _say(self, data):
        self.process.stdin.write(len(data).to_bytes(8, "little") + data)

    def _over(self, reason):
        """The process is gone or of no more use."""
        if not reason:
            code = self.process.wait()
            reason = f"its process ended with code {code}" if code >= 0 else f"its process died of {signal.Signals(-code).name}"
        self.close()
        self.lost += 1
        return Answer("fail", reason)


def _read(stream, answers):
    """Put (head, arrays) of each answer in the queue, and None at the end."""
    while True:
        try:
            head = json.loads(_exactly(stream, int.from_bytes(_exactly(stream, 8), "little")))
            arrays = [_exactly(stream, size) for size in head["sizes"]]
        except (EOFError, ValueError, OSError):
            answers.put(None)
            return
        answers.put((head, arrays))


def _exactly(stream, size):
    data = bytearray()
    while len(data) < size:
        more = stream.read(min(size - len(data), 1 << 20))
        if not more:
            raise EOFError
        data += more
    return bytes(data)
