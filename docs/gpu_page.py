"""Put what was measured on a GPU into docs/kernels/gpu.md, and draw its pictures: python docs/gpu_page.py [--check].

    python benchmarks/gpu.py --json docs/kernels/gpu.json        on the GPU
    python docs/gpu_page.py                                      anywhere: tables between marks, bench, roofline and rung pictures

A table of the page stands between `<!-- measured: NAME -->` and `<!-- end -->`; nobody edits it. `--check` writes nothing and ends with 1
if the page says other than the measurements and the kernels' tiles.
"""

import argparse
import json
import re
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import gpu_charts
import gpu_rungs

import sparsevis as sv
from sparsevis.plots import save

__all__ = ["FOLDER", "PEERS", "blocks", "losses", "main", "written"]

FOLDER = Path(__file__).parent / "kernels"
PEERS = {"flex": "FlexAttention", "flash": "SDPA flash", "cudnn": "SDPA cuDNN", "efficient": "SDPA efficient"}
MARK = re.compile(r"(<!-- measured: ([\w-]+) -->\n).*?(<!-- end -->)", re.S)
ABSENT = "*Not measured yet: `python benchmarks/gpu.py --json docs/kernels/gpu.json`, then `python docs/gpu_page.py`.*"


def written(page, result):
    """Return the page with every marked place filled anew; without a result they say how to get one."""
    made = blocks(result) if result else {"needs": _needs()}
    missing = {name for _, name, _ in MARK.findall(page)} - set(made) if result else set()
    if missing:
        raise ValueError(f"gpu.md asks for {', '.join(sorted(missing))}, and docs/gpu_page.py makes {', '.join(made)}")
    return MARK.sub(lambda found: f"{found[1]}\n{made.get(found[2], ABSENT)}\n\n{found[3]}", page)


def blocks(result):
    """Return the marked places' texts by name."""
    rungs = gpu_rungs.rungs()
    found = {
        "machine": _machine(result), "ladder": _ladder(result, rungs), "bench": "![Our rate beside others'](gpu_bench.png)",
        "roofline": "![The ladder under the roofs, and what patterns need](gpu_roofline.png)", "forward": _forward(result),
        "backward": _backward(result), "around": _around(result), "losses": _losses(result), "needs": _needs(),
    }  # fmt: skip
    return found | {name: _sentence(result, rung) for name, rung in rungs.items()}


# ---------------------------------------------------------------- reading the result


def label(case, dtype=True):
    """A case in words."""
    kind = {"bfloat16": "", "float16": ", float16", "float32": ", float32"}[case["dtype"]] if dtype else ""
    return f"{case['name']}, n = {case['n']:,}, d = {case['d']}{kind}" + ", backward" * case["backward"]


def timed(case):
    """Rows of a case that were timed, ours first."""
    return {name: row for name, row in case["rows"].items() if "ms" in row}


def one(result, **asked):
    """The case with these properties, or None."""
    return next((case for case in result["cases"] if all(case[name] == x for name, x in asked.items())), None)


def rate(result, rung, d=64):
    """TFLOP/s of a rung on causal attention over 8,192 tokens, or None."""
    case = one(result, name="causal", n=8192, d=d, dtype=rung.dtype, backward=False)
    rows = timed(case) if case else {}
    row = rows.get(rung.name) or (rows.get("sparsevis") if case and case.get("impl") == rung.name else None)
    return row and row["tflops"]


def goal_of(case):
    """(peer, least ratio, ratio), or None where there is no goal or nothing to compare with."""
    if not case["goal"]:
        return None
    peer, least = case["goal"].split()
    ratio = timed(case).get(peer, {}).get("ratio")
    return None if ratio is None else (peer, float(least), ratio)


# ---------------------------------------------------------------- tables


def table(head, rows):
    """Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def _machine(result):
    peaks, versions = gpu_charts.peaks_of(result), ", ".join(f"{name} {x}" for name, x in result["versions"].items())
    return (
        f"One {result['gpu']}; {versions}; batch 1, {result['heads']} heads, medians of {result['rounds']} rounds in turn. Data sheet: "
        f"{peaks['bfloat16']:g} TFLOP/s with 16-bit numbers on tensor cores, {peaks['float32']:g} in float32, {peaks['memory']:g} TB/s. "
        f"A product of matrices of 8,192 x 8,192 reaches {result['bfloat16_matmul_tflops']:.0f} and "
        f"{result['float32_matmul_tflops']:.1f} TFLOP/s here."
    )


def _ladder(result, rungs):
    peaks, before, rows = gpu_charts.peaks_of(result), None, []
    for rung in rungs.values():
        for d in (64, 128):
            tflops, peak = rate(result, rung, d), peaks[rung.dtype]
            product = result[f"{rung.dtype}_matmul_tflops"]
            gain = "" if tflops is None or before is None or before[d] is None else f"{tflops / before[d]:.3g}x"
            cells = ["-"] * 3 if tflops is None else [f"{tflops:.3g}", f"{100 * tflops / peak:.2g} %", f"{100 * tflops / product:.2g} %"]
            rows.append([f"`{rung.name}`" if d == 64 else "", rung.dtype if d == 64 else "", str(d), *cells, gain])
        before = {d: rate(result, rung, d) for d in (64, 128)}
    head = ["rung", "numbers", "d", "TFLOP/s", "of the data sheet", "of a product", "to the rung below"]
    return table(head, rows)


def _sentence(result, rung):
    """What a rung reaches and which roof stands above it."""
    peaks, asked = gpu_charts.peaks_of(result), rung.intensity(sv.Causal(), 8192)
    reached = " and ".join(f"{x:.3g} TFLOP/s at head dimension {d}" for d in (64, 128) if (x := rate(result, rung, d)) is not None)
    roof = min(peaks[rung.dtype], peaks["memory"] * asked)
    said = f"**Measured**: {reached}" if reached else "**Not measured**"
    bound = "arithmetic" if roof == peaks[rung.dtype] else "memory"
    return (
        f"{said} (causal, 8,192 tokens, {rung.dtype}). At head dimension 64 its threads ask for a byte every {asked:.3g} operations; if "
        f"no cache helped, {bound} would be the roof, at {roof:.3g} TFLOP/s."
    )


def _needs():
    """What each rung can serve, from what the kernels say of themselves."""
    rows = []
    for name in gpu_rungs.RUNGS:
        needs = import_module(f"sparsevis.kernels.{name}").NEEDS
        gpu = f"{'.'.join(map(str, needs.capability))}{'' if needs.only else ' and newer'}"
        dims = "any" if needs.multiple == 1 else f"multiples of {needs.multiple} up to {needs.largest}"
        rows.append([f"`{name}`", ", ".join(needs.dtypes), gpu, dims, ", ".join(needs.features), "yes" if needs.gradients else "no"])
    return table(["rung", "numbers", "compute capability", "head dimensions", "features", "gradients"], rows)


def _forward(result):
    return _by_dimension(result, backward=False)


def _backward(result):
    return _by_dimension(result, backward=True)


def _by_dimension(result, backward):
    """A table for each head dimension, under the kernels' names."""
    cases = [case for case in result["cases"] if case["backward"] == backward and "sparsevis" in timed(case)]
    parts = []
    for d in sorted({case["d"] for case in cases}):
        rows = [_row(case) for case in cases if case["d"] == d]
        head = ["case", "n", "ms", "TFLOP/s", "Flex", "SDPA", "goal"]
        parts.append(f"**Head dimension {d}**\n\n{table(head, rows)}")
    if not backward:
        served = {case["impl"]: case["dtype"] for case in cases}
        parts.append("Computed by " + ", ".join(f"`{name}` ({dtype})" for name, dtype in served.items()) + ".")
    return "\n\n".join(parts)


def _row(case):
    rows, kind = timed(case), "" if case["dtype"] == "bfloat16" else f", {case['dtype']}"
    dense = ", ".join(f"{x} {PEERS[name].split()[1]}" for name in list(PEERS)[1:] if (x := _ratio(rows, name)))
    ours = rows["sparsevis"]
    numbers = [f"{case['n']:,}", _ms(ours["ms"]), f"{ours['tflops']:.3g}", _ratio(rows, "flex"), dense, _goal(case)]
    return [(case["name"] + kind).replace(" ", "\u00a0"), *numbers]


def _around(result):
    """What a call needs besides its kernel."""
    rows = []
    for case in result["cases"]:
        if case["backward"] or case["dtype"] != "bfloat16" or case["d"] != 128 or "sparsevis" not in (found := timed(case)):
            continue
        ours, flex, masks = found["sparsevis"], found.get("flex"), case["mask_seconds"]
        megabytes = [f"{row['megabytes']:.0f}" if row else "-" for row in (ours, flex)]
        first = [f"{row['first_seconds']:.1f}" if row else "-" for row in (ours, flex)]
        built = f"{masks / case['layout_seconds']:.2g}x" if masks else "-"
        rows.append([f"{case['name']}, n = {case['n']:,}", _ms(1e3 * case["layout_seconds"]), built, f"{case['host_microseconds']:.0f}",
                     ", ".join(megabytes), ", ".join(first)])  # fmt: skip
    head = ["case, d = 128", "layout, ms", "block mask", "host, us", "MB: ours, Flex", "first call, s: ours, Flex"]
    return table(head, rows)


def losses(result):
    """Return [(ratio, case, peer)] of everything that is faster than we are, the worst first."""
    return sorted((row["ratio"], label(case), PEERS[name]) for case in result["cases"] for name, row in timed(case).items()
                  if name in PEERS and row.get("ratio", 1) < 1)  # fmt: skip


def _losses(result):
    lost = table(["case", "faster than we are", "their time to ours"], [[case, peer, f"{x:.2f}x"] for x, case, peer in losses(result)])
    goals = [(case, *found) for case in result["cases"] if (found := goal_of(case))]
    missed = [f"{label(case)}: {x:.2f}x of {PEERS[peer]}, {least:g}x was the goal" for case, peer, least, x in goals if x < least]
    failed = {}
    for case in result["cases"]:
        for name, row in case["rows"].items():
            if "failed" in row:
                failed.setdefault((PEERS.get(name, name), row["failed"]), []).append(label(case))
    reached = f"Goals: {len(goals) - len(missed)} of {len(goals)} reached." + "\n" * bool(missed) + "".join(f"\n- {x}" for x in missed)
    parts = [lost if losses(result) else "No peer is faster in any case.", reached]
    if failed:
        parts.append("Did not run:\n" + "".join(f"\n- {peer} ({'; '.join(cases)}): {why}" for (peer, why), cases in failed.items()))
    return "\n\n".join(parts)


def _ratio(rows, name):
    return f"{rows[name]['ratio']:.2f}x" if "ratio" in rows.get(name, ()) else ""


def _goal(case):
    found = goal_of(case)
    return "" if found is None else f"{found[1]:g}x " + ("reached" if found[2] >= found[1] else "missed")


def _ms(ms):
    return f"{ms:.3g}" if ms >= 0.1 else f"{ms:.3f}"


# ---------------------------------------------------------------- the command


def main(asked=None):
    """Write or check; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, end with 1 if the page is not as it would be written")
    check, file, measured = parser.parse_args(asked).check, FOLDER / "gpu.md", FOLDER / "gpu.json"
    result = json.loads(measured.read_text(encoding="utf-8")) if measured.exists() else None
    page = file.read_text(encoding="utf-8")
    made = written(page, result)
    if check:
        print("" if made == page else "docs/kernels/gpu.md is not what was measured: run python docs/gpu_page.py", end="")
        return int(made != page)
    file.write_text(made, encoding="utf-8")
    for name, rung in gpu_rungs.rungs().items():
        save(gpu_rungs.draw(rung), FOLDER / f"gpu_{name}.png", dpi=110)
    if result:
        save(gpu_charts.bench(result), FOLDER / "gpu_bench.png", dpi=110)
        save(gpu_charts.roofline(result), FOLDER / "gpu_roofline.png", dpi=110)
    return 0


if __name__ == "__main__":
    import matplotlib as mpl

    mpl.use("Agg")
    sys.exit(main())
