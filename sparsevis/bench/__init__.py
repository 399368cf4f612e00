"""Benchmarks: sparsevis beside PyTorch, JAX, SciPy and NumPy, in one process, on the same inputs, in interleaved rounds.

    for each case (`cases.py`):
        for each peer (`peers.py`):
            prepare what it needs; let it compile; call it: is the result right, and how much memory did it take?
        for each round:
            call every peer in turn

Reported are medians, and the median of each round's ratio to `cpu`: a machine that is busy for a while slows both. A peer that is slow
takes part in fewer rounds; one that would need more memory than the limit, or is not installed, is skipped and says why.

`measure` returns plain data, ready for JSON: `table` prints it and `sparsevis.plots.bench` draws it.
"""

from sparsevis.bench.cases import CASES as CASES
from sparsevis.bench.cases import Case as Case
from sparsevis.bench.cases import Goal as Goal
from sparsevis.bench.cases import chosen as chosen
from sparsevis.bench.command import add_arguments as add_arguments
from sparsevis.bench.command import run as run
from sparsevis.bench.measure import measure as measure
from sparsevis.bench.peers import PEERS as PEERS
from sparsevis.bench.peers import Peer as Peer
from sparsevis.bench.problem import Problem as Problem
from sparsevis.bench.problem import Work as Work
from sparsevis.bench.report import goals_table as goals_table
from sparsevis.bench.report import listing as listing
from sparsevis.bench.report import table as table
