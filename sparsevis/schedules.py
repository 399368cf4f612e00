"""Which pattern each layer of a published model has: tuples of patterns, one a layer, the first nearest the input.

    S sliding window, C chunks, F everything before

    Mistral 7B   SSSSSSSS...     Gemma 2, gpt-oss   SFSFSFSF...     Gemma 3   SSSSSFSSSSSF...     Llama 4   CCCFCCCF...

Give them to `receptive_field`. A window counts the query itself, as in the released code of all of them.
"""

from operator import index

from sparsevis.patterns import Causal, Chunked
from sparsevis.patterns import longformer as _longformer
from sparsevis.patterns import mistral as _mistral
from sparsevis.per_head import PerHead

__all__ = ["gemma2", "gemma3", "gpt_oss", "llama4", "longformer", "mistral"]


def mistral(n_layers=32, window=4096):
    """Mistral 7B v0.1 (Jiang et al. 2023, arXiv 2310.06825): the same window in all layers. Later versions have none.

    >>> len(mistral()), mistral()[0]
    (32, SlidingWindow(left=4095))
    """
    return _cycle([_mistral(window)], n_layers)


def gemma2(n_layers=46, window=4096):
    """Gemma 2 (Gemma Team 2024, arXiv 2408.00118): a window and full layers in turn; 26 layers for 2B, 42 for 9B, 46 for 27B.

    >>> gemma2(n_layers=3)
    (SlidingWindow(left=4095), Causal(), SlidingWindow(left=4095))
    """
    return _cycle([_mistral(window), Causal()], n_layers)


def gemma3(n_layers=62, window=1024):
    """Gemma 3 (Gemma Team 2025, arXiv 2503.19786): five layers with a window, then a full one.

    26 layers and a window of 512 for 1B; 34, 48 and 62 layers and a window of 1024 for 4B, 12B and 27B. Of text: image tokens see one
    another on both sides.

    >>> [type(p).__name__ for p in gemma3(n_layers=7)]
    ['SlidingWindow', 'SlidingWindow', 'SlidingWindow', 'SlidingWindow', 'SlidingWindow', 'Causal', 'SlidingWindow']
    """
    return _cycle([_mistral(window)] * 5 + [Causal()], n_layers)


def gpt_oss(n_layers=36, window=128):
    """gpt-oss-120b (OpenAI 2025, github.com/openai/gpt-oss): a window and full layers in turn, with learned sinks, which hide no key.

    >>> gpt_oss(n_layers=2)
    (SlidingWindow(left=127), Causal())
    """
    return _cycle([_mistral(window), Causal()], n_layers)


def llama4(n_layers=48, chunk=8192):
    """Llama 4 (Meta 2025, github.com/meta-llama/llama-models): three layers in causal chunks, then a full one without rotary positions.

    >>> llama4(n_layers=4)[2:]
    (Causal() & Chunked(size=8192), Causal())
    """
    return _cycle([Causal() & Chunked(chunk)] * 3 + [Causal()], n_layers)


def longformer(windows=(32, 64, 128, 256, 512), dilations=1, heads=8, dilated_heads=2, global_tokens=()):
    """Longformer for characters (Beltagy et al. 2020, arXiv 2004.05150): windows that grow with depth, two heads dilated in upper layers.

    The paper has windows from 32 at the bottom to 512 at the top and a dilation on two heads of the upper layers; the windows between
    are doubled here, one layer each, and dilations are for you to say. Windows are two-sided, as everywhere in the paper; for a language
    model take `[p & Causal() for p in longformer()]`.

    Parameters
    ----------
    windows : sequence of int
        Keys around the query on both sides together, one number a layer.
    dilations : int or sequence of int
        Gap between the window's keys in the dilated heads, one for all layers or one a layer; 1 is a plain window.
    heads, dilated_heads : int
        Numbers of heads, and of those that are dilated, the last ones.
    global_tokens : int or iterable of int
        Positions of global tokens.

    Examples
    --------
    >>> longformer(windows=(2, 4), dilations=(1, 3), heads=2, dilated_heads=1)
    (SlidingWindow(left=1, right=1), PerHead(SlidingWindow(left=2, right=2), Dilated(left=2, right=2, dilation=3)))
    """
    windows = tuple(windows)
    dilations = (dilations,) * len(windows) if hasattr(dilations, "__index__") else tuple(dilations)
    if len(dilations) != len(windows):
        raise ValueError(f"longformer: {len(dilations)} dilations for {len(windows)} windows: say one for all layers, or one a layer")
    if not 0 <= index(dilated_heads) <= index(heads) or heads < 1:
        raise ValueError(f"longformer: dilated_heads is {dilated_heads} of {heads} heads, and needs to lie from 0 to their number")
    return tuple(
        PerHead(*[_longformer(w, global_tokens)] * (heads - dilated_heads), *[_longformer(w, global_tokens, d)] * dilated_heads)
        if d > 1 and dilated_heads else _longformer(w, global_tokens)
        for w, d in zip(windows, dilations, strict=True)
    )  # fmt: skip


def _cycle(patterns, n_layers):
    if index(n_layers) < 1:
        raise ValueError(f"n_layers is {n_layers}, and needs to be 1 or more")
    return tuple(patterns[l % len(patterns)] for l in range(n_layers))
