"""Which numbers the threads of a CUDA kernel read: the kernel itself runs, in Numba's simulator, on arrays that remember.

    k[b, head, j, c]      is answered as ever, and noted: this block, this thread, row j, once more

Nothing about a kernel is assumed: what it reads is what it asked for. A GPU has caches, and gives one answer to the threads of a warp that
ask for the same number at the same time; so this is what a kernel demands, and what its arrangement has to hope for.
"""

import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from sparsevis.inputs import check_inputs, layout_for
from sparsevis.layout import block_of
from sparsevis.tabular import Tabular

__all__ = ["Reads", "reads"]

LARGEST = 1 << 16  # pairs that can be watched: every number read is an event in Python


@dataclass(frozen=True, eq=False, repr=False)
class Reads(Tabular):
    """What every thread read of every row of q, k, v and o; prints as a table.

    Attributes
    ----------
    impl : str
        The kernel.
    blocks, threads : int
        Blocks of threads, and threads in each.
    pairs : int
        Allowed pairs of a query and a key.
    counts : dict of str to ndarray (blocks, threads, rows)
        Numbers that a thread read of a row of "q", "k", "v" and "o".
    widths : dict of str to int
        Numbers in a row.
    itemsize : int
        Bytes of a number.
    o, lse : ndarray
        What the kernel computed.

    Examples
    --------
    >>> counts = {"k": np.array([[[2, 2], [2, 2]]])}
    >>> print(Reads("mine", 1, 2, 4, counts, {"k": 2}, 4, None, None))
    mine: 4 pairs, 1 block of 2 threads
    array  numbers  read  each  once a block
    -----  -------  ----  ----  ------------
    k            4     8    2x             4
    """

    impl: str
    blocks: int
    threads: int
    pairs: int
    counts: dict
    widths: dict
    itemsize: int
    o: np.ndarray
    lse: np.ndarray

    def read(self, array):
        """Return how many numbers of an array all threads read together."""
        return int(self.counts[array].sum())

    def once(self, array):
        """Return how many that would be if each block of threads read the rows it touches once."""
        return int((self.counts[array].sum(axis=1) > 0).sum()) * self.widths[array]

    def holds(self, array):
        """Return how many numbers an array has."""
        return self.counts[array].shape[2] * self.widths[array]

    @property
    def bytes(self):
        """Bytes that all threads read together."""
        return self.itemsize * sum(map(self.read, self.counts))

    def to_dicts(self):
        """Return plain rows, one an array."""
        return [{"array": x, "numbers": self.holds(x), "read": self.read(x), "once": self.once(x)} for x in self.counts]

    def _heading(self):
        blocks = f"{self.blocks:,} block{'s' * (self.blocks > 1)} of {self.threads} threads"
        return f"{self.impl}: {self.pairs:,} pairs, {blocks}"

    def _cells(self):
        rows = [[r["array"], *(f"{r[x]:,}" for x in ("numbers", "read")), f"{r['read'] / r['numbers']:.3g}x", f"{r['once']:,}"]
                for r in self.to_dicts()]  # fmt: skip
        return ["array", "numbers", "read", "each", "once a block"], rows


def reads(q, k, v, pattern=None, *, impl="cuda_rows", offset=None, block=None):
    """Run a CUDA kernel in Numba's simulator, and keep which numbers each of its threads read.

    Parameters
    ----------
    q, k, v : array_like (nq, d), (nk, d), (nk, dv)
        One head; small: the simulator has a thread of the operating system for each thread of a kernel.
    pattern : Pattern or Layout, optional
        Who may attend whom; everyone everyone if left out.
    impl : {"cuda_rows", "cuda_tiled"}
        A kernel that the simulator can run.
    offset, block
        As for `attention`.

    Returns
    -------
    Reads
        Of q, k and v; and of o, where a kernel uses its place as memory.

    Raises
    ------
    RuntimeError
        If numba was imported without NUMBA_ENABLE_CUDASIM=1.
    ValueError
        If q, k and v are not of one head, or too large to watch.

    Examples
    --------
    >>> import sparsevis as sv
    >>> sv.reads(np.eye(4), np.eye(4), np.eye(4))
    Traceback (most recent call last):
    RuntimeError: reads watches a kernel in Numba's simulator: set the environment's NUMBA_ENABLE_CUDASIM to 1 before numba is imported
    """
    q, k, v = check_inputs(q, k, v)
    if not isinstance(q, np.ndarray) or q.ndim != 2 or len(q) * len(k) > LARGEST or 0 in (*q.shape, *k.shape, *v.shape):
        needed = f"NumPy arrays of one head, (n, d), of 1 to {LARGEST:,} pairs"
        raise ValueError(f"q, k, v are {q.shape}, {k.shape}, {v.shape}: reads needs {needed}")
    if impl not in ("cuda_rows", "cuda_tiled"):
        raise ValueError(f"impl is {impl!r}, and the simulator runs 'cuda_rows' and 'cuda_tiled'")
    kernel = _simulated(impl)
    layout = layout_for(pattern, 1, len(q), len(k), offset, block_of(kernel.BLOCK if block is None else block))
    notes = {}
    with _watched(notes):
        o, lse = kernel.forward(q, k, v, layout, scale=q.shape[1] ** -0.5)
    counts = dict(zip("qkvo", notes["counts"], strict=True))
    widths = {"q": q.shape[1], "k": k.shape[1], "v": v.shape[1], "o": v.shape[1]}
    return Reads(impl, notes["blocks"], notes["threads"], layout.nnz, counts, widths, q.itemsize, o.reshape(len(q), -1), lse.reshape(-1))


def _simulated(impl):
    config = sys.modules["numba"].config if "numba" in sys.modules else import_module("numba").config
    if not config.ENABLE_CUDASIM:
        raise RuntimeError("reads watches a kernel in Numba's simulator: set the environment's NUMBA_ENABLE_CUDASIM to 1 before numba is "
                           "imported")  # fmt: skip
    return import_module(f"sparsevis.kernels.{impl}")


@contextmanager
def _watched(notes):
    """Let everyone who starts kernels start them on arrays that remember."""
    start = import_module("sparsevis.kernels._cuda").launch
    rooms = [x for name, x in list(sys.modules.items()) if name.startswith("sparsevis.kernels.") and getattr(x, "launch", None) is start]

    def launch(name, function, blocks, threads, stream, *arguments, **options):
        counts = [np.zeros((blocks, threads, tuple(x.shape)[-2]), np.int64) for x in arguments[:4]]
        notes.update(blocks=blocks, threads=threads, counts=counts)
        watched = [_Remembers(x, c) for x, c in zip(arguments, counts, strict=False)]
        start(name, function, blocks, threads, stream, *watched, *arguments[4:], **options)

    try:
        for room in rooms:
            room.launch = launch
        yield
    finally:
        for room in rooms:
            room.launch = start


class _Remembers:
    """An array as kernels see it, or a part of it: what is read of a row is counted for the thread that reads."""

    def __init__(self, array, counts, axes=None, row=None):
        self.array, self.counts, self.row = array, counts, row
        self.axes = (*("head",) * (len(array.shape) - 2), "row", "column") if axes is None else axes
        self.shape, self.size, self.dtype = array.shape, array.size, array.dtype

    def __getitem__(self, index):
        index = index if isinstance(index, tuple) else (index,)
        part, axes = self.array[index], self.axes[len(index) :]
        row = index[self.axes.index("row")] if "row" in self.axes[: len(index)] else self.row
        if axes:
            return _Remembers(part, self.counts, axes, row)
        thread = threading.current_thread()
        self.counts[thread.blockIdx.x, thread.thread_id, row] += 1  # no other thread has this place
        return part

    def __setitem__(self, index, number):
        self.array[index] = number
