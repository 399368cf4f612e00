"""The tables of docs/choosing.md, computed when the documentation is built: no number there is typed."""

import numpy as np

import sparsevis as sv
from sparsevis.pattern import Pattern

N, BLOCK, LAYERS = 4096, 64, 32

# name, what makes it; both tables give every query some 256 keys where the pattern lets one choose
WRITING = {
    "everything before": "sv.Causal()",
    "window": "sv.mistral(256)",
    "sinks and window": "sv.streaming_llm(4, 252)",
    "global and window": "sv.Causal() & (sv.SlidingWindow(254) | sv.Global([0]))",
    "chunks": "sv.Causal() & sv.Chunked(256)",
    "dilated": "sv.Causal() & sv.Dilated(255, dilation=4)",
    "strided": "sv.sparse_transformer_strided(64, merged=True)",
    "fixed": "sv.sparse_transformer_fixed(64, 4, merged=True)",
    "documents": "sv.Causal() & sv.Documents([1024] * 4)",
}
READING = {
    "everything": "sv.Dense()",
    "window": "sv.SlidingWindow(128, 128)",
    "Longformer": "sv.longformer(256, [0])",
    "block window": "sv.BlockWindow(64, left=2, right=2)",
    "BigBird": "sv.bigbird(block=64, window_blocks=3, random_blocks=1)",
    "random keys": "sv.RandomKeys(256)",
    "chunks": "sv.Chunked(256)",
}
# an eighth of a trained model's pairs, near enough: 512 tokens, both ways
KEPT = {
    "window": "sv.SlidingWindow(32, 32)",
    "Longformer": "sv.longformer(60, [0, -1])",
    "BigBird": "sv.bigbird(block=8, window_blocks=3, random_blocks=3)",
    "dilated": "sv.Dilated(32, 32, dilation=4)",
    "chunks": "sv.Chunked(64)",
    "random keys": "sv.RandomKeys(64)",
}
TAXED = ["sv.mistral(256)", "sv.mistral(64)", "sv.BlockWindow(64, left=1, right=1)", "sv.sparse_transformer_strided(64, merged=True)",
         "sv.RandomKeys(64)", "sv.RandomBlocks(64, 1)"]  # fmt: skip
# Mistral 7B (arXiv 2310.06825, table 1): dim 4096, 32 heads of 128, 8 key heads, hidden dim 14336; weights of one layer
WIDTH, KEY_WIDTH, HIDDEN = 4096, 8 * 128, 14336
WEIGHTS = 2 * WIDTH * WIDTH + 2 * WIDTH * KEY_WIDTH + 3 * WIDTH * HIDDEN


def write(folder):
    """Write every table into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"share": share(), "cache": cache(), "kept": kept(), "same_pairs": same_pairs()}
    tables |= {"writing": patterns(WRITING, query=-1, cache=True), "reading": patterns(READING, query=N // 2)}
    for name, table in tables.items():
        (folder / f"choosing_{name}.md").write_text(table + "\n", encoding="utf-8")


def share():
    """How much of a layer's arithmetic is attention, dense and in a window."""
    rows = []
    for n in (1024, 4096, 16_384, 65_536, 262_144):
        dense, window = (sv.cost(p, n, heads=32, head_dim=128).flops for p in (sv.Causal(), sv.mistral(4096)))
        rest = 2 * WEIGHTS * n
        shares = [dense / (dense + rest), window / (window + rest)]
        rows.append([f"{n:,}", *(_share(x) for x in shares), _times((dense + rest) / (window + rest))])
    return _table(["tokens", "attention's share of the arithmetic", "with a window of 4,096", "whole layer, gained at most"], rows)


def patterns(shown, query, cache=False):
    """What patterns cost, and how far a query of theirs sees."""
    rows, dense = [], sv.cost(next(iter(_made(shown).values())), N, block=BLOCK)
    for name, pattern in _made(shown).items():
        cost = sv.cost(pattern, N, block=BLOCK)
        field = sv.receptive_field(pattern, N, query=query, layers=LAYERS)
        seen = int(field.sizes[-1])
        layers = f"{field.saturated_at} layer{'s' * (field.saturated_at > 1)}"
        reach = f"all after {layers}" if seen == N else f"{seen:,} of {N:,}, ever"
        gains = [_times(dense.nnz / cost.nnz), _times(dense.computed / cost.computed)]
        rows.append([_line(name, shown), f"{cost.keys_per_query:,.0f}", *gains, reach] + [_bytes(cost.kv_bytes)] * cache)
    head = ["pattern", "keys a query", "fewer pairs", "fewer tiles", f"query {query % N:,} has heard of"]
    return _table(head + ["KV cache"] * cache, rows)


def cache():
    """What models with mixed layers keep and compute at 131,072 tokens, beside the same models with causal layers alone."""
    n, rows = 131_072, []
    causal = sv.cost(sv.Causal(), n)
    models = {"Mistral 7B": sv.schedules.mistral(), "Gemma 3": sv.schedules.gemma3(), "gpt-oss": sv.schedules.gpt_oss()}
    for name, schedule in models.items():
        cost = sv.cost_schedule(schedule, n)
        full = sum(row.nnz == causal.nnz for row in cost.rows)
        pairs = causal.nnz * len(cost.rows) / sum(row.nnz for row in cost.rows)
        rows.append([name, f"{len(cost.rows)}", f"{full}", _times(cost.kv_bytes_dense / cost.kv_bytes), _times(pairs)])
    return _table(["model", "layers", "of them full", "smaller KV cache", "fewer pairs"], rows)


def kept():
    """What patterns keep of a model that was trained dense."""
    capture = sv.data.load("alice")
    layers = [capture.layer(i) for i in capture.layers]
    results = [sv.compare(*layer, _made(KEPT), repeats=0) for layer in layers]
    rows = []
    for name in KEPT:
        mass = np.concatenate([result[name].mass_by_head for result in results])
        error = np.mean([result[name].relative_error for result in results])
        shares = [results[0][name].cost.density, mass.mean(), mass.min(), mass.max(), error]
        rows.append([_line(name, KEPT), *map(_share, shares)])
    return _table(["pattern", "pairs", "mass kept", "worst head", "best head", "error of the outputs"], rows)


def same_pairs():
    """What tiles of three sizes compute beyond the pairs that are needed."""
    rows = []
    for line in TAXED:
        costs = [sv.cost(eval(line), N, block=block) for block in (16, 64, 128)]
        rows.append([f"`{line}`", f"{costs[0].nnz:,}", *(f"{cost.block_tax:,.1f}" for cost in costs)])
    return _table(["pattern", "pairs needed", "computed / needed: tiles of 16", "tiles of 64", "tiles of 128"], rows)


def _made(lines) -> dict[str, Pattern]:
    return {name: eval(line) for name, line in lines.items()}


def _line(name, shown):
    return f"**{name}**<br>`{shown[name]}`".replace("|", "\\|")


def _share(x):
    return f"{100 * x:.0f} %"


def _times(x):
    return f"{x:,.0f}x" if x >= 9.95 else f"{x:.1f}x"


def _bytes(x):
    return f"{x / 2**20:.1f} MiB" if x >= 2**20 else f"{x / 2**10:,.0f} KiB"


def _table(head, rows):
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
