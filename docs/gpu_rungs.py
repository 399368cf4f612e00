"""The rungs of the CUDA ladder in numbers, from the kernels' own tiles, and a picture of what a block of threads touches on each.

Nothing is measured here and no GPU is needed; numba.cuda must load.
"""

from typing import NamedTuple

import matplotlib as mpl
import numpy as np

import sparsevis as sv
from sparsevis.palette import DARK, INGREDIENT, LIGHT
from sparsevis.plots.shade import mix, readable
from sparsevis.plots.style import context, figure
from sparsevis.plots.words import text_width

__all__ = ["RUNGS", "Rung", "draw", "rungs"]

ROOM = 227 << 10  # bytes of shared memory that a block may have on an H100 or H200
D = 64
RUNGS = ("cuda_rows", "cuda_tiled", "cuda_mma", "cuda_wgmma")
HUE = {"q": "sink", "k": "window", "v": "random", "o": "global", "s": "partial", "other": "dense"}


class Rung(NamedTuple):
    """What a block of threads owns and keeps, for head dimension 64.

    `owners` are bands of rows that a warp or a warpgroup has; `cells` the places (row, column) of one thread in the tile; `shared` and
    `registers` are (what, size, whose colour): bytes of the block, numbers of a thread.
    """

    name: str
    dtype: str
    rows: int
    keys: int
    threads: int
    owners: tuple
    cells: np.ndarray
    shared: tuple
    registers: tuple
    most: int  # registers a thread may have
    says: tuple

    def asked(self, layout):
        """Bytes that threads ask of memory for one head: q and o once, k and v once a tile; `cuda_rows` everything for every pair."""
        size = np.dtype(self.dtype if self.dtype == "float32" else "float16").itemsize
        if self.name == "cuda_rows":
            return 5 * D * size * layout.nnz  # q, k, v and the sum are read, the sum is written
        return size * 2 * D * (self.keys * layout.indices.size + layout.shape[0])

    def intensity(self, pattern, n):
        """Operations on allowed pairs for each byte asked for."""
        layout = sv.Layout.of(pattern, n, (self.rows, max(self.keys, 16)))
        return 4 * D * layout.nnz / self.asked(layout)


def rungs():
    """Return the rungs by name, read from the kernels."""
    return {name: make() for name, make in zip(RUNGS, (_rows, _tiled, _mma, _wgmma), strict=True)}


def _rows():
    from sparsevis.kernels.cuda_rows import THREADS

    says = ("q, k, v: each thread for itself, a key at a time", "o: the weighted sum grows in memory", "nothing is shared")
    registers = (("m, l, a score, a weight:", 4, "s"),)
    return Rung("cuda_rows", "float32", THREADS, 1, THREADS, (), np.array([[37, 0]]), (), registers, 255, says)


def _tiled():
    from sparsevis.kernels import cuda_tiled
    from sparsevis.kernels._cuda_lanes import column_of, row_of
    from sparsevis.kernels._cuda_tile import runs

    kind = np.dtype("float32")
    shape = cuda_tiled.shape_of(kind, D, D, ROOM)
    ends = cuda_tiled.places(kind, D, D, shape)
    sizes = np.diff([0, *ends])
    thread = 5
    row, column = _plain(row_of)(np.uint32(thread)), _plain(column_of)(np.uint32(thread))
    cells = np.array([(4 * i + int(row), 8 * n + int(column)) for i in range(shape.down) for n in range(shape.across)])
    registers = (
        ("scores", shape.down * shape.across, "s"), ("sums of o", shape.down * runs(D) * 4, "o"), ("operands", 4 * shape.down + 4, "q"),
    )  # fmt: skip
    shared = tuple((what, int(size), hue) for what, size, hue in zip(("q", "k", "v", "weights"), sizes, "qkvs", strict=True))
    says = (f"q once a block, k and v once a tile of {shape.rows} x {shape.columns}", f"{shape.blocks} blocks share a multiprocessor",
            "o leaves once")  # fmt: skip
    owners = tuple((f"warp {w}", 4 * shape.down) for w in range(shape.warps))
    return Rung("cuda_tiled", "float32", shape.rows, shape.columns, shape.threads, owners, cells, shared, registers, 255, says)


def _mma():
    from sparsevis.kernels import cuda_mma
    from sparsevis.kernels._cuda_mma_memory import pitch

    tile = cuda_mma.tile_of(D, D, ROOM)
    own, k = tile.rows // tile.warps, cuda_mma.KEYS * pitch(D)
    shared = (("q", tile.rows * pitch(D), "q"), *((f"{'next ' * x}k", k, "k") for x in range(tile.stages)), ("v", k, "v"))
    registers = (("scores, then weights", own * cuda_mma.KEYS // 32, "s"), ("sums of o", own * D // 32, "o"), ("fragments", own // 4, "q"))
    says = ("q once a block, k and v once a tile, by asynchronous copies", "the next k comes while this one is used",
            "scores become weights where they are")  # fmt: skip
    owners = tuple((f"warp {w}", own) for w in range(tile.warps))
    cells = _fragment(5, own, cuda_mma.KEYS)
    return Rung("cuda_mma", "bfloat16", tile.rows, cuda_mma.KEYS, 32 * tile.warps, owners, cells, shared, registers, 255, says)


def _wgmma():
    from sparsevis.kernels import cuda_wgmma
    from sparsevis.kernels._wgmma_pipeline import Shape, padded

    stages = 2
    (rows, keys), _ = cuda_wgmma.tile_of(D, D, 4096, 2.0)  # of dense causal attention over 8,192 tokens
    q, k, v = Shape(D, D, rows, keys, stages).bytes
    ring = [(f"{'next ' * i}{what}", size, what) for i in range(stages) for what, size in (("k", k), ("v", v))]
    consumers = rows // 64
    more = {1: 136, 2: 240, 3: 160}[consumers]
    registers = (("scores", keys // 2, "s"), ("sums of o", padded(D) // 2, "o"), ("weights, two a register:", keys // 4, "other"))
    says = ("one thread copies q, k, v: TMA, no registers", "tensor cores read shared memory themselves",
            f"the producer gives registers to the {consumers} consumers")  # fmt: skip
    owners = tuple((f"consumer {w}", 64) for w in range(consumers))
    cells = _fragment(5, 16, keys)
    return Rung("cuda_wgmma", "bfloat16", rows, keys, 128 * (consumers + 1), owners, cells, (("q", q, "q"), *ring), registers, more, says)


def _fragment(lane, own, keys):
    """Where the scores of a lane stand: sums of 16 x 8 hold two neighbours in row lane // 4 and two eight rows below."""
    return np.array([(8 * r + lane // 4, 8 * n + 2 * (lane % 4) + e) for r in range(own // 8) for n in range(keys // 8) for e in (0, 1)])


def _plain(function):
    return getattr(function, "py_func", function)


# ---------------------------------------------------------------- the picture

def draw(rung, theme="light"):
    """Return a figure: left what of q, k, v and o a block touches in one step, right where it keeps them."""
    fig = figure(1, 2, width=11, height=5.1, theme=theme)
    with context(theme):
        fig.axes[0].get_gridspec().set_width_ratios([1, 1.12])
        inks = DARK if theme == "dark" else LIGHT
        _matrix(fig.axes[0], rung, inks)
        _places(fig.axes[1], rung, inks)
    return fig


def _matrix(ax, rung, inks):
    """The scores around one tile, k and v above, q on the left, o on the right, in true proportions."""
    n = max(2 * rung.rows, 4 * rung.keys)
    gap, thick, pale = 0.05 * n, 0.065 * n, {name: mix(inks["paper"], INGREDIENT[hue], 0.22) for name, hue in HUE.items()}
    ax.set(xlim=(-5.6 * gap, n + 3.3 * gap), ylim=(n + 1.6 * gap, -6.8 * gap))
    ax.set_aspect("equal")
    ax.axis("off")
    box = lambda x, y, w, h, colour, **style: ax.add_patch(mpl.patches.Rectangle((x, y), w, h, facecolor=colour, lw=0, **style))  # noqa: E731
    first, keys = rung.rows, max(rung.keys, 1)
    at = (n // 2 // keys) * keys if rung.keys > 1 else int(0.6 * n)
    lane = int(first + rung.cells[0, 0]) if not rung.owners else None
    mine = (lane, 1) if lane else (first, rung.rows)
    box(0, 0, n, n, inks["ground"])
    box(0, mine[0], at, mine[1], pale["s"])
    box(at, mine[0], keys, mine[1], INGREDIENT["partial"])
    for name, y in (("v", -1.35 * gap - 2 * thick), ("k", -gap - thick + 0.1 * gap)):
        box(0, y, n, thick, pale[name])
        box(at, y, keys, thick, INGREDIENT[HUE[name]])
        ax.text(-0.4 * gap, y + thick / 2, name, ha="right", va="center", fontsize=12, fontweight="bold", color=INGREDIENT[HUE[name]])
    for name, x in (("q", -gap - thick), ("o", n + gap)):
        box(x, 0, thick, n, pale[name])
        box(x, mine[0], thick, mine[1], INGREDIENT[HUE[name]])
        ax.text(x + thick / 2, -0.4 * gap, name, ha="center", va="bottom", fontsize=12, fontweight="bold", color=INGREDIENT[HUE[name]])
    _owners(ax, rung, first, at, keys, gap, inks)
    told = f"{n} queries down, {n} keys across, true proportions"
    ax.text(n / 2, n + 0.5 * gap, told, ha="center", va="top", fontsize=8.5, color=inks["soft"])
    title = f"{rung.name}: one block of {rung.threads} threads"
    ax.text(-2.5 * gap, -6.6 * gap, title, ha="left", va="top", fontsize=13, fontweight="bold", color=inks["ink"])


def _owners(ax, rung, first, at, keys, gap, inks):
    """Bands of warps in the tile, and the cells of one thread."""
    y = first
    for x, (name, rows) in enumerate(rung.owners):
        if x:
            ax.plot([at, at + keys], [y, y], color=inks["paper"], lw=1.2)
        ax.text(at - 0.3 * gap, y + rows / 2, name, ha="right", va="center", fontsize=8.5, color=inks["ink"])
        y += rows
    if rung.owners:
        for r, c in rung.cells:
            ax.add_patch(mpl.patches.Rectangle((at + c, first + r), 1, 1, facecolor=inks["ink"], lw=0))
        told = "dots:\none thread's\nscores"
        ax.text(at + keys + 0.3 * gap, first + 0.5 * gap, told, ha="left", va="top", fontsize=8.5, color=inks["ink"], linespacing=1.3)
    else:
        for edge in (first, first + rung.rows):
            ax.plot([0, 2 * rung.rows], [edge, edge], color=inks["soft"], lw=0.8, ls=(0, (2, 2)))
        row = first + rung.cells[0, 0]
        ax.text(at + 0.6 * gap, row, "one thread, one key", ha="left", va="center", fontsize=8.5, color=inks["ink"])
        ax.text(0.2 * gap, first - 0.25 * gap, f"a block's {rung.rows} queries", ha="left", va="bottom", fontsize=8.5, color=inks["soft"])


def _places(ax, rung, inks):
    """Bars: shared memory of the block and registers of a thread, filled by what lies there."""
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.axis("off")
    used, held = sum(x[1] for x in rung.shared), sum(x[1] for x in rung.registers)
    ax.text(0, 1, "Memory of the GPU", fontsize=11, fontweight="bold", color=inks["ink"], va="top")
    ax.text(0, 0.925, "\n".join(rung.says), fontsize=9.5, color=inks["soft"], va="top", linespacing=1.5)
    title = f"Shared memory of the block: {used / 1024:.0f} of {ROOM >> 10} KiB" if used else "Shared memory of the block: none"
    _bar(ax, 0.5, title, [(what, size, hue, f"{size / 1024:.0f} KiB") for what, size, hue in rung.shared], ROOM, inks)
    title = f"Registers of a thread: {held} of {rung.most}, besides addresses"
    _bar(ax, 0.14, title, [(what, size, hue, f"{size}") for what, size, hue in rung.registers], rung.most, inks)


def _bar(ax, y, title, parts, whole, inks):
    """A bar as long as the whole, its parts in their colours, and below it what they are."""
    high, size, x, at = 0.1, 9, 0, 0
    points = 0.46 * 72 * ax.figure.get_figwidth()  # about the width of the axes
    ax.text(0, y + high + 0.025, title, fontsize=11, fontweight="bold", color=inks["ink"], va="bottom")
    ax.add_patch(mpl.patches.Rectangle((0, y), 1, high, facecolor=inks["grid"], lw=0))
    for what, length, hue, told in parts:
        ax.add_patch(mpl.patches.Rectangle((x, y), length / whole, high, facecolor=INGREDIENT[HUE[hue]], edgecolor=inks["paper"], lw=1.2))
        text = f"{what} {told}"
        ax.text(at, y - 0.025, text, ha="left", va="top", fontsize=size, color=readable(INGREDIENT[HUE[hue]], inks["paper"], inks["ink"]))
        at += (text_width(text, size) + 1.2 * size) / points
        x += length / whole
