"""The two roofs of this machine: the most it can compute, and the most it can move, in a second.

    flops a second <= min(peak, bandwidth * flops a byte)

Williams, Waterman and Patterson 2009, "Roofline: an insightful visual performance model", doi 10.1145/1498765.1498785. Left of the ridge a
kernel waits for memory, right of it for arithmetic; tiles move attention to the right.
"""

import threading
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from sparsevis.bench.machine import available, fma_rate

__all__ = ["Roofline", "roofline"]


@dataclass(frozen=True)
class Roofline:
    """The most this machine can do: `flops` and `bandwidth` (bytes) a second, with so many threads.

    >>> Roofline(2e11, 2e10, 2, "float32").ridge
    10.0
    """

    flops: float
    bandwidth: float
    threads: int
    dtype: str

    @property
    def ridge(self):
        """Flops a byte from which on arithmetic, not memory, is the limit."""
        return self.flops / self.bandwidth

    def at(self, intensity):
        """Return the most flops a second at so many flops a byte."""
        return np.minimum(self.flops, np.multiply(intensity, self.bandwidth))

    def seconds(self, flops, moved):
        """Return the least time that so many flops and bytes can take."""
        return max(flops / self.flops, moved / self.bandwidth)


def roofline(dtype=np.float32, threads=None, megabytes=256):
    """Measure the most multiply-adds, and the most bytes, that this machine can do in a second.

    Multiply-adds in registers; and copies between arrays of so many megabytes together, larger than the caches should be: what is read
    and what is written both count. The best of several tries, since neither can be too fast.

    Parameters
    ----------
    dtype : dtype
        Numbers of 16 bits are computed with as float32.
    threads : int, optional
        As many as the kernels use, if left out.
    megabytes : int
        More makes the bandwidth more honest on machines with large caches.
    """
    import numba

    threads = threads or min(numba.get_num_threads(), available())
    parts = [np.ones((2, max(1, megabytes * 1_000_000 // (16 * threads)))) for _ in range(threads)]
    flops = max(fma_rate(dtype, threads) for _ in range(9))
    return Roofline(flops, max(_copied(parts) for _ in range(9)), threads, np.dtype(dtype).name)


def _copied(parts):
    """Bytes a second that copies move, a thread an array."""
    workers = [threading.Thread(target=np.copyto, args=(there, here)) for here, there in parts[1:]]
    start = perf_counter()
    for worker in workers:
        worker.start()
    np.copyto(parts[0][1], parts[0][0])
    for worker in workers:
        worker.join()
    return sum(part.nbytes for part in parts) / (perf_counter() - start)
