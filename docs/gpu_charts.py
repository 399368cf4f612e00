"""Charts of docs/kernels/gpu.json: the rate of every case beside others', and the roofs."""

import gpu_rungs
import matplotlib as mpl
import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

import sparsevis as sv
from sparsevis.palette import INGREDIENT
from sparsevis.plots.shade import readable
from sparsevis.plots.style import context, figure
from sparsevis.plots.words import apart

__all__ = ["bench", "least", "peaks_of", "roofline"]

# TFLOP/s and TB/s of NVIDIA's data sheets: dense 16-bit numbers on tensor cores, float32, memory
PEAKS = {
    "H200": {"bfloat16": 989, "float16": 989, "float32": 67, "memory": 4.8},
    "H100": {"bfloat16": 989, "float16": 989, "float32": 67, "memory": 3.35},
    "A100": {"bfloat16": 312, "float16": 312, "float32": 19.5, "memory": 2.0},
}
HUE = {"sparsevis": "window", "flex": "global", "flash": "sink", "cudnn": "random", "efficient": "dilated", "cuda_mma": "partial",
       "cuda_rows": "dense"}  # fmt: skip
NAME = {"sparsevis": "ours", "flex": "FlexAttention", "flash": "SDPA flash", "cudnn": "SDPA cuDNN", "efficient": "SDPA efficient",
        "cuda_mma": "our cuda_mma", "cuda_rows": "our cuda_rows"}  # fmt: skip


def peaks_of(result):
    """Return what the data sheet promises for the GPU of a result."""
    found = [peaks for name, peaks in PEAKS.items() if name in result["gpu"]]
    if not found:
        raise ValueError(f"docs/gpu_charts.py knows the data sheets of {', '.join(PEAKS)}, not of {result['gpu']}: add a line to PEAKS")
    return found[0]


def bench(result, theme="light"):
    """Return a figure: a line a case, as long as our rate; dots are the others."""
    groups = {}
    for case in result["cases"]:
        if "ms" in case["rows"].get("sparsevis", ()):
            kind = "float32" if case["dtype"] == "float32" else "16-bit numbers, backward" if case["backward"] else "16-bit numbers"
            groups.setdefault(kind, {64: [], 128: []}).setdefault(case["d"], []).append(case)
    heights = [max(map(len, found.values())) + 1.6 for found in groups.values()]
    fig = figure(len(groups), 2, width=12, height=0.34 * sum(heights) + 1.1, theme=theme)
    fig.axes[0].get_gridspec().set_height_ratios(heights)
    timed = {name for case in result["cases"] for name, row in case["rows"].items() if "ms" in row}
    with context(theme):
        for y, (kind, found) in enumerate(groups.items()):
            most = max(row["tflops"] for cases in found.values() for case in cases for row in case["rows"].values() if "ms" in row)
            for x, d in enumerate((64, 128)):
                _group(fig.axes[2 * y + x], found[d], f"{kind}, d = {d}", 1.15 * most)
        marks = [mpl.lines.Line2D([], [], marker="o", ls="", ms=7, color=INGREDIENT[HUE[x]], label=NAME[x]) for x in NAME if x in timed]
        fig.suptitle(f"TFLOP/s on allowed pairs, {result['gpu']}", x=0.01, ha="left", fontsize=13, fontweight="bold")
        fig.legend(handles=marks, loc="outside lower left", ncols=len(marks), frameon=False, fontsize=10, handletextpad=0.2)
    return fig


def _group(ax, cases, title, most):
    order = list(dict.fromkeys(case["name"] for case in cases))
    cases = sorted(cases, key=lambda case: (case["backward"], case["dtype"], order.index(case["name"]), case["n"]))
    ax.set_title(title, loc="left", fontsize=11, fontweight="bold")
    ax.set(xlim=(0, most), ylim=(max(1, len(cases)) - 0.4, -0.6))
    _quiet(ax, "x")
    ax.set_yticks(range(len(cases)), [_words(case) for case in cases], fontsize=9.5)
    blue = readable(INGREDIENT["window"], mpl.rcParams["axes.facecolor"], mpl.rcParams["text.color"])
    for place, case in enumerate(cases):
        rows = {name: row for name, row in case["rows"].items() if "ms" in row and name in NAME}
        ours = rows["sparsevis"]["tflops"]
        ax.plot([0, ours], [place, place], color=INGREDIENT["window"], lw=5, solid_capstyle="butt", alpha=0.35, zorder=2)
        for name, row in rows.items():
            size = 64 if name == "sparsevis" else 44
            ax.scatter(row["tflops"], place, s=size, color=INGREDIENT[HUE[name]], lw=0, zorder=3, label=name, clip_on=False)
        best = max(row["tflops"] for row in rows.values())
        told = {"textcoords": "offset points", "va": "center", "fontsize": 9, "fontweight": "bold", "color": blue}
        ax.annotate(f"{ours:.3g}", (best, place), (7, 0), **told)


def _words(case):
    kind = ", float16" if case["dtype"] == "float16" else ", backward" if case["backward"] and case["dtype"] == "float32" else ""
    return f"{case['name']}, {case['n']:,}{kind}"


def _quiet(ax, axis):
    """No frame and no tick marks; a light grid."""
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, labelsize=9)
    ax.grid(visible=True, axis=axis, color=mpl.rcParams["axes.edgecolor"], lw=0.8)
    ax.set_axisbelow(True)


# ---------------------------------------------------------------- roofs


def roofline(result, theme="light"):
    """Return a figure of two: what the threads of each rung ask for, and what patterns need at least, under the roofs."""
    peaks, fig = peaks_of(result), figure(1, 2, width=13, height=5.4, theme=theme)
    rungs = gpu_rungs.rungs()
    asked = {name: (rung.intensity(sv.Causal(), 8192), found) for name, rung in rungs.items() if (found := _rate(result, rung))}
    with context(theme):
        hues = {"cuda_rows": "dense", "cuda_tiled": "random", "cuda_mma": "partial", "cuda_wgmma": "window"}
        _roofs(fig.axes[0], result, peaks, ("float32", "bfloat16"), 0.1, asked, hues)
        _titles(fig.axes[0], "What the threads of a rung ask for", "causal, 8,192 tokens, head dimension 64")
        needed = least(result)
        _roofs(fig.axes[1], result, peaks, ("bfloat16",), 4, needed, dict.fromkeys(needed, "window"))
        _titles(fig.axes[1], "What a pattern needs at least", "q, k, v and o moved once; bfloat16, head dimension 128")
    return fig


def least(result):
    """Return {case: (operations a byte if q, k, v, o and lse are moved once, TFLOP/s)} of the longest bfloat16 case of each pattern."""
    found = {}
    for case in sorted(result["cases"], key=lambda case: case["n"]):
        row, d = case["rows"].get("sparsevis", {}), 128
        if case["dtype"] == "bfloat16" and not case["backward"] and case["d"] == d and "ms" in row:
            moved = result["heads"] * case["n"] * (4 * d * 2 + 4)
            found[case["name"]] = case["n"], row["tflops"] * row["ms"] * 1e9 / moved, row["tflops"]
    return {f"{name}, {n:,}": tuple(xy) for name, (n, *xy) in found.items()}


def _rate(result, rung):
    for case in result["cases"]:
        if (case["name"], case["n"], case["d"], case["dtype"], case["backward"]) == ("causal", 8192, 64, rung.dtype, False):
            row = case["rows"].get(rung.name) or (case["rows"].get("sparsevis") if case.get("impl") == rung.name else None)
            return row and row.get("tflops")
    return None


def _roofs(ax, result, peaks, dtypes, left, points, hues):
    """The roofs from `left` on, the points under them, and the names of both on the right."""
    ink, soft, paper = (mpl.rcParams[name] for name in ("text.color", "axes.labelcolor", "axes.facecolor"))
    right, top, memory = 2e4, peaks[dtypes[-1]], peaks["memory"]
    ax.set(xscale="log", yscale="log", xlim=(left, right), ylim=(0.35 * memory * left, 1.6 * top))
    _quiet(ax, "both")
    ax.plot([left, top / memory], [memory * left, top], color=ink, lw=2, label="memory", solid_capstyle="round")
    at = top / memory / 2
    ax.annotate(f"memory: {memory:g} TB/s", (at, memory * at), (-10, 2), textcoords="offset points", ha="right", fontsize=9.5, color=soft)
    names = []
    for dtype in dtypes:
        product, said = result[f"{dtype}_matmul_tflops"], "tensor cores" if dtype == "bfloat16" else "float32"
        ax.plot([peaks[dtype] / memory, right], [peaks[dtype]] * 2, color=ink, lw=2, label=dtype)
        ax.plot([product / memory, right], [product] * 2, color=soft, lw=1.2, ls=(0, (3, 2)), label=f"{dtype} product")
        names += [(right, peaks[dtype], f"{said}: {peaks[dtype]:g}", soft), (right, product, f"a matrix product: {product:.3g}", soft)]
    for name, (x, y) in points.items():
        ax.scatter(x, y, s=60, color=INGREDIENT[hues[name]], zorder=4, lw=0, label=name)
        names.append((x, y, f"{name}: {y:.3g}", readable(INGREDIENT[hues[name]], paper, ink)))
    _names(ax, names, right)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(numticks=8))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    ax.set_xlabel("operations for each byte", fontsize=10)
    ax.set_ylabel("TFLOP/s", fontsize=10)


def _names(ax, names, right):
    """Names on the right, pushed apart where they would touch, with hairlines to their points."""
    low, high = np.log(ax.get_ylim())
    tall = 72 * 0.72 * ax.figure.get_figheight()  # about the height of the axes, in points
    heights = [(np.log(y) - low) / (high - low) for _, y, _, _ in names]
    for (x, y, text, colour), place in zip(names, apart(np.array(heights) * tall, 14, 0, tall) / tall, strict=True):
        level = np.exp(low + place * (high - low))
        if x < right:
            ax.plot([x, right], [y, level], color=colour, lw=0.7, alpha=0.5, zorder=3)
        ax.annotate(text, (1, place), (8, 0), xycoords="axes fraction", textcoords="offset points", va="center", fontsize=9.5,
                    color=colour, fontweight="bold" if x < right else "normal", annotation_clip=False)  # fmt: skip


def _titles(ax, title, numbers):
    ax.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=20)
    soft = mpl.rcParams["axes.labelcolor"]
    ax.annotate(numbers, (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points", fontsize=9.5, color=soft)
