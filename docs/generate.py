"""Pages that are derived: one for each family of patterns, and the list of all public names.

A pattern's page is its docstring, its picture, what it costs and how far it sees, so it cannot disagree with the code.
"""

import inspect
import re

import matplotlib as mpl

mpl.use("Agg")

import sparsevis as sv
from sparsevis import patterns, plots, spoken

# an instance of each, small enough to see every pair
SHOWN = {
    "Dense": sv.Dense(), "Causal": sv.Causal(), "PrefixLM": sv.PrefixLM(6), "SlidingWindow": sv.SlidingWindow(4),
    "BlockWindow": sv.BlockWindow(4), "Chunked": sv.Chunked(6), "Dilated": sv.Dilated(2, 2, dilation=3), "Strided": sv.Strided(5),
    "Fixed": sv.Causal() & sv.Fixed(6, 2), "Global": sv.Global([0, 12]), "Sink": sv.Sink(3), "RandomKeys": sv.RandomKeys(3),
    "RandomBlocks": sv.RandomBlocks(4, 2), "Documents": sv.Documents([7, 11, 6]),
    "Chosen": sv.Chosen.from_indices([[i, 23 - i] for i in range(24)]),
    "mistral": sv.mistral(6), "longformer": sv.longformer(4, [0, 12]), "bigbird": sv.bigbird(block=2, window_blocks=3, random_blocks=2),
    "streaming_llm": sv.streaming_llm(2, 6), "sparse_transformer_strided": sv.sparse_transformer_strided(5),
    "sparse_transformer_fixed": sv.sparse_transformer_fixed(6, 2),
}  # fmt: skip
N = 24


def pages(folder):
    """Write everything into a folder that nobody edits."""
    folder.mkdir(exist_ok=True)
    names = [*spoken.vocabulary(), "Chosen"]
    missing = [name for name in names if name not in SHOWN]
    if missing:
        raise ValueError(f"docs/generate.py shows no instance of {', '.join(missing)}")
    files, said = {}, []
    for name in names:
        files.setdefault(getattr(patterns, name).__module__.rpartition(".")[2], []).append(name)
    for file, names in files.items():
        opening = inspect.getdoc(inspect.getmodule(getattr(patterns, names[0])))
        said.append(f"- [{opening.partition(chr(10))[0].rstrip('.')}](patterns_{file}.md): {', '.join(f'`{name}`' for name in names)}")
        (folder / f"patterns_{file}.md").write_text(_family(file, opening, names, folder), encoding="utf-8")
    listed = "\n".join(f"patterns_{file}" for file in files)
    text = "# Patterns\n\nA page a family; a pattern's rule, picture, cost and receptive field are read off its code.\n\n" + "\n".join(said)
    (folder / "patterns.md").write_text(f"{text}\n\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n", encoding="utf-8")


def _family(file, opening, names, folder):
    sentence, _, rest = opening.partition("\n")
    title = re.split(r"[:(]|, (?:which|as|or) ", sentence.rstrip("."))[0].strip()
    parts = [f"# {title}", sentence, f"```text\n{rest.strip()}\n```" if rest.strip() else "", *(_pattern(name, folder) for name in names)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _pattern(name, folder):
    shown = SHOWN[name]
    one = isinstance(shown, sv.Pattern)
    picture = plots.mask(shown, N, size=4) if one else plots.heads_grid(shown, N, size=8)
    plots.save(picture, folder / f"{name}.svg")
    mpl.pyplot.close("all")
    field = sv.receptive_field(shown, N, query=-1, layers=3)
    lines = [
        f"## {name}",
        f"```{{eval-rst}}\n.. autofunction:: sparsevis.{name}\n   :no-index:\n```" if inspect.isfunction(getattr(sv, name))
        else f"```{{eval-rst}}\n.. autoclass:: sparsevis.{name}\n   :no-members:\n   :no-index:\n```",
        f"![{name}]({name}.svg)",
        f"`{shown!r}` over {N} positions" + (f", whose rule is `{shown.formula()}`." if one else "."),
        f"```text\n{sv.cost(shown, N, block=8)}\n\n{field}\n```",
    ]
    return "\n\n".join(lines)
