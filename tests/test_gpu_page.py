"""The page of the CUDA kernels: tables, charts and pictures follow from a result and from the kernels' tiles."""

import copy
import sys
from importlib import import_module
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")

import sparsevis as sv

DOCS = Path(__file__).parent.parent / "docs"
pytestmark = pytest.mark.skipif(not (DOCS / "gpu_page.py").exists(), reason="the documentation is not in the source archive")


@pytest.fixture(scope="module")
def page():
    pytest.importorskip("sparsevis.kernels.cuda_wgmma", reason="numba.cuda does not load here", exc_type=ImportError)
    sys.path.insert(0, str(DOCS))
    try:
        yield import_module("gpu_page")
    finally:
        sys.path.remove(str(DOCS))
        mpl.pyplot.close("all")


@pytest.fixture(scope="module")
def charts(page):
    return sys.modules["gpu_charts"]


@pytest.fixture(scope="module")
def rungs(page):
    return sys.modules["gpu_rungs"].rungs()


def case(name, n, d, rates, dtype="bfloat16", backward=False, goal="", impl="cuda_wgmma"):
    """A case as benchmarks/gpu.py writes it: rates in TFLOP/s, made from times in whole milliseconds."""
    flops = 1e12                                         # whatever it is: ms and tflops only have to fit
    rows = {peer: {"ms": flops / x / 1e9, "tflops": x, "ratio": rates["sparsevis"] / x, "megabytes": 80.0, "first_seconds": 2.0}
            for peer, x in rates.items()}
    return {"name": name, "n": n, "d": d, "dtype": dtype, "backward": backward, "goal": goal, "rows": rows, "impl": impl,
            "host_microseconds": 15.0, "layout_seconds": 0.002, "mask_seconds": 0.005}


RESULT = {
    "gpu": "NVIDIA H200", "versions": {"torch": "2.11", "numpy": "2.4"}, "heads": 16, "rounds": 9, "float32_matmul_tflops": 50.0,
    "bfloat16_matmul_tflops": 700.0,
    "cases": [
        case("window 256", 32768, 64, {"sparsevis": 200.0, "flex": 100.0}, goal="flex 1.3"),
        case("causal", 8192, 64, {"sparsevis": 400.0, "flex": 300.0, "cudnn": 500.0, "cuda_mma": 250.0}, goal="cudnn 1.0"),
        case("causal", 8192, 128, {"sparsevis": 600.0, "flex": 300.0, "cudnn": 500.0, "cuda_mma": 300.0}, goal="cudnn 1.0"),
        case("causal", 8192, 64, {"sparsevis": 40.0, "flex": 8.0, "cuda_rows": 2.0}, "float32", impl="cuda_tiled", goal="flex 5"),
        case("causal", 8192, 64, {"sparsevis": 250.0, "flex": 300.0}, backward=True, goal="flex 0.8"),
    ],
}
RESULT["cases"][0]["rows"]["flash"] = {"failed": "RuntimeError: no mask"}


def test_the_page_says_what_was_measured(page):
    assert page.main(["--check"]) == 0


def test_marks_are_filled_and_nothing_else_changes(page):
    text = "# A\n\n<!-- measured: ladder -->\nold\n<!-- end -->\n\nB\n\n<!-- measured: needs -->\n<!-- end -->\n"
    made = page.written(text, RESULT)
    assert made.startswith("# A\n\n<!-- measured: ladder -->\n\n| rung | numbers |")
    assert "\nold\n" not in made
    assert "\n<!-- end -->\n\nB\n\n<!-- measured: needs -->\n\n| rung |" in made
    assert page.written(made, RESULT) == made
    without = page.written(made, None)
    assert "Not measured yet" in without
    assert "| `cuda_rows` | float32, float64 |" in without
    with pytest.raises(ValueError, match="asks for speed"):
        page.written("<!-- measured: speed -->\n<!-- end -->", RESULT)


def test_tables(page):
    made = page.blocks(RESULT)
    forward, backward = (made[x].replace("\u00a0", " ") for x in ("forward", "backward"))
    assert "| window 256 | 32,768 | 5 | 200 | 2.00x |  | 1.3x reached |" in forward
    assert "| causal | 8,192 | 2.5 | 400 | 1.33x | 0.80x cuDNN | 1x missed |" in forward
    assert "| causal, float32 | 8,192 | 25 | 40 | 5.00x |  | 5x reached |" in forward
    assert [x for x in forward.splitlines() if x.startswith("**")] == ["**Head dimension 64**", "**Head dimension 128**"]
    assert forward.endswith("Computed by `cuda_wgmma` (bfloat16), `cuda_tiled` (float32).")
    assert backward.count("| causal") == 1
    assert "| causal | 8,192 | 4 | 250 | 0.83x |  | 0.8x reached |" in backward
    assert "| `cuda_rows` | float32 | 64 | 2 | 3 % | 4 % |  |" in made["ladder"]
    assert "| `cuda_tiled` | float32 | 64 | 40 | 60 % | 80 % | 20x |" in made["ladder"]
    assert "| `cuda_mma` | bfloat16 | 64 | 250 | 25 % | 36 % | 6.25x |" in made["ladder"]
    assert "|  |  | 128 | 600 | 61 % | 86 % | 2x |" in made["ladder"]
    assert "| causal, n = 8,192 | 2 | 2.5x | 15 | 80, 80 | 2.0, 2.0 |" in made["around"]
    assert made["cuda_tiled"].startswith("**Measured**: 40 TFLOP/s at head dimension 64 (causal")
    assert "One NVIDIA H200; torch 2.11, numpy 2.4; batch 1, 16 heads" in made["machine"]


def test_losses_are_found_not_written(page):
    assert page.losses(RESULT) == [(0.8, "causal, n = 8,192, d = 64", "SDPA cuDNN"),
                                   (250 / 300, "causal, n = 8,192, d = 64, backward", "FlexAttention")]
    said = page.blocks(RESULT)["losses"]
    assert "Goals: 4 of 5 reached.\n\n- causal, n = 8,192, d = 64: 0.80x of SDPA cuDNN, 1x was the goal" in said
    assert "- SDPA flash (window 256, n = 32,768, d = 64): RuntimeError: no mask" in said
    better = copy.deepcopy(RESULT)
    better["cases"] = better["cases"][2:4]
    assert page.blocks(better)["losses"] == "No peer is faster in any case.\n\nGoals: 2 of 2 reached."


def test_bench_chart(charts):
    fig = charts.bench(RESULT)
    drawn = {(ax.get_title(loc="left"), dots.get_label(), *dots.get_offsets()[0].tolist()) for ax in fig.axes for dots in ax.collections}
    assert ("16-bit numbers, d = 64", "sparsevis", 200.0, 0.0) in drawn
    assert ("16-bit numbers, d = 64", "cudnn", 500.0, 1.0) in drawn
    assert ("float32, d = 64", "cuda_rows", 2.0, 0.0) in drawn
    assert ("16-bit numbers, backward, d = 64", "flex", 300.0, 0.0) in drawn
    assert len(drawn) == sum("ms" in row for x in RESULT["cases"] for row in x["rows"].values())
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["ours", "FlexAttention", "SDPA cuDNN", "our cuda_mma", "our cuda_rows"]


def test_roofline(charts, rungs):
    fig = charts.roofline(RESULT)
    left, right = ({dots.get_label(): dots.get_offsets()[0].tolist() for dots in ax.collections} for ax in fig.axes)
    assert {name: y for name, (_, y) in left.items()} == {"cuda_rows": 2.0, "cuda_tiled": 40.0, "cuda_mma": 250.0, "cuda_wgmma": 400.0}
    assert left["cuda_rows"][0] == pytest.approx(4 / 5 / 4)                                # 4 d operations, 5 d numbers of 4 bytes
    assert right == {"causal, 8,192": [pytest.approx(1e12 / (16 * 8192 * (4 * 128 * 2 + 4))), 600.0]}
    lines = {line.get_label(): line.get_xydata().tolist() for line in fig.axes[0].lines}
    assert lines["memory"][-1] == [pytest.approx(989 / 4.8), pytest.approx(989)]
    assert lines["float32 product"][0] == [pytest.approx(50 / 4.8), pytest.approx(50)]
    with pytest.raises(ValueError, match="knows the data sheets of H200, H100, A100, not of Some GPU"):
        charts.roofline(RESULT | {"gpu": "Some GPU"})


def test_what_a_rung_asks_for(rungs):
    n, d = 768, 64
    for name, size in (("cuda_tiled", 4), ("cuda_mma", 2), ("cuda_wgmma", 2)):
        rung = rungs[name]
        blocks = -(-n // rung.rows)
        assert rung.intensity(sv.Dense(), n) == pytest.approx(4 * d * n * n / (size * (2 * d * n * blocks + 2 * d * n)))


def test_threads_own_all_of_a_tile(rungs):
    for rung in list(rungs.values())[1:]:
        multiply = rung.threads - 128 * (rung.name == "cuda_wgmma")                         # a warpgroup only copies
        assert len(rung.cells) * multiply == rung.rows * rung.keys
        assert len(np.unique(rung.cells, axis=0)) == len(rung.cells)
        assert (rung.cells >= 0).all()
        assert (rung.cells < (rung.owners[0][1], rung.keys)).all()
        assert sum(rows for _, rows in rung.owners) == rung.rows
        assert sum(size for _, size, _ in rung.shared) <= 227 << 10
        assert sum(count for _, count, _ in rung.registers) <= rung.most


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_rung_pictures(rungs, theme):
    for rung in rungs.values():
        fig = sys.modules["gpu_rungs"].draw(rung, theme)
        words = [t.get_text() for ax in fig.axes for t in ax.texts]
        assert f"{rung.name}: one block of {rung.threads} threads" in words
        dark = [p for p in fig.axes[0].patches if p.get_width() == p.get_height() == 1]
        assert len(dark) == len(rung.cells)
