"""The result of a benchmark in words: tables, goals, and what there is to run."""

from sparsevis.bench.cases import MEASURES

__all__ = ["goals_table", "listing", "table", "verdicts"]


def verdicts(case, goals):
    """Return, for each goal, the measured value (None where it was not) and whether it was met."""
    values = [(goal, _value(case, goal.measure)) for goal in goals]
    return [
        {"measure": goal.measure, "bound": goal.bound, "value": value, "met": None if value is None else goal.met(value)}
        for goal, value in values
    ]


def _value(case, measure):
    rows = [row for row in case["rows"] if "skipped" not in row]
    if measure in ("cold", "warm", "cold backward"):
        name = {"cold": "call_seconds", "warm": "seconds", "cold backward": "backward_seconds"}[measure]
        return next((row.get(name) for row in rows if row["state"] == measure.split()[0]), None)  # ours come first
    if measure in ("flex", "sdpa"):
        return min((row["ratio"] for row in rows if row["peer"].split()[0] == measure), default=None)
    ours = next((row for row in rows if row["peer"] == "cpu"), {})
    return ours.get({"peak": "of_peak", "seconds": "seconds", "memory": "of_inputs"}[measure])


# ---------------------------------------------------------------- tables


def _seconds(s):
    return f"{s:.2f} s" if s >= 1 else f"{1e3 * s:.1f} ms" if s >= 1e-3 else f"{1e6 * s:.0f} us"


def _bytes(b):
    return f"{b / 2**30:.1f} GiB" if b >= 2**30 else f"{b / 2**20:.1f} MiB"


_COLUMNS = {  # heading: (key, format)
    "import": ("import_seconds", _seconds),
    "call": ("call_seconds", _seconds),
    "backward": ("backward_seconds", _seconds),
    "time": ("seconds", _seconds),
    "ratio": ("ratio", "{:.2f}x".format),
    "GFLOP/s": ("flops", lambda f: f"{f / 1e9:.1f}"),
    "of peak": ("of_peak", "{:.0%}".format),
    "memory": ("call_bytes", _bytes),
    "prepared": ("prepare_bytes", _bytes),
    "of inputs": ("of_inputs", "{:.2f}x".format),  # both together
    "cores": ("cores", "{:.1f}".format),
    "rounds": ("rounds", str),
    "first call": ("first_seconds", _seconds),
    "prepare": ("prepare_seconds", _seconds),
    "error": ("error", "{:.1g}".format),
}


def table(case):
    """Return one case's result as text.

    >>> row = {"peer": "cpu", "seconds": 0.02, "ratio": 1.0, "rounds": 9}
    >>> case = {"name": "tiny", "what": "an example", "heads": 1, "n": 16, "d": 4, "dtype": "float32", "goals": []}
    >>> print(table({**case, "rows": [row, {"peer": "jax", "skipped": "jax is not installed: pip install jax"}]}))
    tiny: an example; 1 head x 16 x 4, float32
              time  ratio  rounds
      cpu  20.0 ms  1.00x       9
      jax: jax is not installed: pip install jax
    <BLANKLINE>
    """
    rows = [row for row in case["rows"] if "skipped" not in row]
    columns = {head: c for head, c in _COLUMNS.items() if any(row.get(c[0]) is not None for row in rows)}
    cells = [["", *columns], *([row["peer"], *(_cell(row, *c) for c in columns.values())] for row in rows)]
    skipped = [f"  {row['peer']}: {row['skipped']}" for row in case["rows"] if "skipped" in row]
    goals = [f"  goal {_goal(g)}: {_verdict(g)}" for g in case["goals"]]
    return "\n".join([_title(case), *_aligned(cells), *skipped, *goals, ""])


def goals_table(result):
    """Return every goal, what was measured and whether it was met, as text; nothing where no case has goals."""
    cells = [[case["name"], _goal(g), *_verdict(g).split(", ")] for case in result["cases"] for g in case["goals"]]
    if not cells:
        return ""
    m, peaks = result["machine"], {}
    for case in (case for case in result["cases"] if "peak" in case):
        peaks[case["dtype"]] = max(case["peak"], peaks.get(case["dtype"], 0))
    most = ", ".join(f"{rate / 1e9:.0f} GFLOP/s {dtype}" for dtype, rate in peaks.items())
    where = f"{m['processor']} ({m['compiled for']}), {m['threads']} of {m['cores']} cores" + (f"; multiply-adds: {most}" if most else "")
    return "\n".join([where, *_aligned([["case", "goal", "measured", "met"], *cells], left=4), ""])


def listing(cases, peers):
    """Return the cases, with their goals, and the peers, with what keeps them from running here, as text."""
    lines = ["cases (n, and n with --quick):"]
    for case in cases:
        goals = "; ".join(_goal({"measure": goal.measure, "bound": goal.bound}) for goal in case.goals)
        lines.append(f"  {case.name:20} {case.n:>9,} {f'{case.small:,}' if case.small else '-':>7}  {case.what}")
        lines += [f"  {'':38}  {goals}"] if goals else []
    lines += ["peers:", *(f"  {p.name:14} {p.what}{f' ({p.missing()})' if p.missing() else ''}" for p in peers)]
    return "\n".join(lines)


def _title(case):
    sizes = f"{case['heads']} head{'s' * (case['heads'] > 1)} x {case['n']:,} x {case['d']}, {case['dtype']}"
    if "pairs" not in case:
        return f"{case['name']}: {case['what']}; {sizes}"
    pairs = f"{case['pairs'] / 1e6:.3g} million pairs ({case['pairs'] / case['heads'] / case['n'] ** 2:.2%})"
    return f"{case['name']}: {case['what']}; {case['kind']}, {sizes}, {pairs}; processor {case['free']:.0%} free"


def _cell(row, name, write):
    return "" if row.get(name) is None else write(row[name])


def _goal(goal):
    more, words = MEASURES[goal["measure"]]
    return f"{'>=' if more else '<='} {words.format(goal['bound'])}"


def _verdict(goal):
    if goal["value"] is None:
        return "not measured, -"
    return f"{MEASURES[goal['measure']][1].format(goal['value']).split()[0]}, {'yes' if goal['met'] else 'no'}"


def _aligned(cells, left=1):
    width = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [[x.ljust(w) if c < left else x.rjust(w) for c, (x, w) in enumerate(zip(row, width, strict=True))] for row in cells]
    return ["  " + "  ".join(line).rstrip() for line in lines]
