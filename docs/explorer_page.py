"""The explorer that the documentation embeds: six systems to choose from, written by `Explorer.export_html`."""

import sparsevis as sv

N = 256
SHOWN = {
    "Longformer: window and a global token": sv.longformer(32),
    "BigBird: window, global and random blocks": sv.bigbird(block=16),
    "Mistral: a causal window": sv.mistral(48),
    "StreamingLLM: sinks and recent keys": sv.streaming_llm(4, 40),
    "Sparse Transformer: strided, both factors": sv.sparse_transformer_strided(16, merged=True),
    "Longformer against BigBird": {"pattern": sv.longformer(32), "other": sv.bigbird(block=16)},
}


def write(folder):
    """Write the page into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    explorer = sv.explore(sv.longformer(32), N, block=16, layers=4)
    explorer.export_html(folder / "explorer-page.html", SHOWN, title="sparsevis explorer")
    explorer.close()
