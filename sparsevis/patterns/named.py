"""The published systems, as compositions of the vocabulary and nothing else, with the defaults of their papers."""

from operator import index

from sparsevis.patterns.causal import Causal
from sparsevis.patterns.global_ import Global, Sink, tokens_of
from sparsevis.patterns.local import BlockWindow, Chunked, SlidingWindow
from sparsevis.patterns.random import RandomBlocks
from sparsevis.patterns.strided import Dilated, Fixed, Strided
from sparsevis.per_head import PerHead

__all__ = ["bigbird", "longformer", "mistral", "sparse_transformer_fixed", "sparse_transformer_strided", "streaming_llm"]


def mistral(window=4096):
    """Return Mistral 7B's sliding window: exactly `window` keys, the query included (arXiv 2310.06825).

    The paper's text says positions i - W to i, which are W + 1 keys; the released code keeps W.

    >>> mistral(3)
    SlidingWindow(left=2)
    """
    window = _at_least("mistral", "window", window, 1)
    return SlidingWindow(window - 1)


def longformer(window=512, global_tokens=(0,), dilation=1):
    """Return Longformer's pattern: a two-sided window and a few global tokens (arXiv 2004.05150).

    Parameters
    ----------
    window : int
        Keys around the query on both sides together, the query excluded; even, as in the released configurations.
    global_tokens : int or iterable of int
        Positions of the global tokens; empty for none.
    dilation : int
        Gap between the window's keys.

    See Also
    --------
    sparsevis.longformer_attention : the published layer, with separate projections for global tokens.

    Examples
    --------
    >>> longformer(4)
    SlidingWindow(left=2, right=2) | Global(tokens=(0,))
    """
    window, tokens = _at_least("longformer", "window", window, 0), tokens_of(global_tokens)
    if window % 2:
        raise ValueError(f"longformer: window is {window}, and needs to be even: it counts the keys of both sides together")
    side = window // 2
    local = SlidingWindow(side, side) if dilation == 1 else Dilated(side, side, dilation)
    return local | Global(tokens) if tokens else local


def bigbird(block=64, global_blocks=(0, -1), window_blocks=3, random_blocks=3, seed=0, plan="uniform", heads=None):
    """Return BigBird's pattern, ITC form: block window, global blocks and random blocks, as a set of pairs (arXiv 2007.14062).

    The released code counts a key once for every ingredient that lists it; this set counts it once.

    Parameters
    ----------
    block : int
        Positions in a block.
    global_blocks : iterable of int
        Numbers of the global blocks; negative ones count from the end.
    window_blocks : int
        Blocks in the window, the query's own included; odd.
    random_blocks : int
        Random blocks a row.
    seed : int
        The draw.
    plan : {"uniform", "published"}
        See `RandomBlocks`.
    heads : int, optional
        Give each of so many heads its own draw: the result is a `PerHead`.

    Examples
    --------
    >>> bigbird(block=2, random_blocks=1)
    BlockWindow(block=2) | Global(tokens=(-1, 0), block=2) | RandomBlocks(block=2, blocks_per_row=1)
    """
    window_blocks, blocks = _at_least("bigbird", "window_blocks", window_blocks, 1), tokens_of(global_blocks)
    if window_blocks % 2 == 0:
        raise ValueError(f"bigbird: window_blocks is {window_blocks}, and needs to be odd: the query's own block and as many on each side")
    side = window_blocks // 2
    fixed = BlockWindow(block, side, side)
    fixed = fixed | Global(blocks, block=block) if blocks else fixed
    if random_blocks == 0:
        return fixed if heads is None else PerHead(fixed).cycled(heads)
    if heads is None:
        return fixed | RandomBlocks(block, random_blocks, seed, plan)
    if plan == "uniform":
        return PerHead(*(fixed | RandomBlocks(block, random_blocks, seed + h) for h in range(heads)))
    return PerHead(*(fixed | RandomBlocks(block, random_blocks, seed, plan, h, heads) for h in range(heads)))


def sparse_transformer_strided(stride=128, heads=2, merged=False):
    """Return the Sparse Transformer's strided factors: a causal window of `stride` keys, and every stride-th key (arXiv 1904.10509).

    Heads take the two factors in turn. Two layers reach every earlier position, because the window is as long as the stride.

    Parameters
    ----------
    stride : int
        The paper uses 128 or 256, near the square root of n.
    heads : int
        Number of query heads.
    merged : bool
        Return the union of both factors, one pattern for all heads.

    Examples
    --------
    >>> print(sparse_transformer_strided(2, merged=True).mask(5).astype(int))
    [[1 0 0 0 0]
     [1 1 0 0 0]
     [1 1 1 0 0]
     [0 1 1 1 0]
     [1 0 1 1 1]]
    """
    stride = _at_least("sparse_transformer_strided", "stride", stride, 1)
    local, far = SlidingWindow(stride - 1), Strided(stride)
    return Causal() & (local | far) if merged else PerHead(local, Causal() & far).cycled(heads)


def sparse_transformer_fixed(stride=128, summary=8, heads=2, merged=False):
    """Return the Sparse Transformer's fixed factors: one's own group, and the last `summary` keys of every group (arXiv 1904.10509).

    In the second head the first stride - summary queries see no key yet, and their output is 0.

    Parameters
    ----------
    stride : int
        Positions in a group; the paper uses 128 or 256.
    summary : int
        Keys that speak for a group; the paper uses 8, 16 or 32.
    heads : int
        Number of query heads, which take the two factors in turn.
    merged : bool
        Return the union of both factors, one pattern for all heads.

    Examples
    --------
    >>> sparse_transformer_fixed(4, 1, merged=True)
    Causal() & Fixed(stride=4)
    """
    both, told = Causal() & Fixed(stride, summary), Causal() & Fixed(stride, summary, group=False)
    return both if merged else PerHead(Causal() & Chunked(stride), told).cycled(heads)


def streaming_llm(sinks=4, window=1024):
    """Return StreamingLLM's pattern: the first `sinks` keys and the `window` most recent, the query included (arXiv 2309.17453).

    The released cache keeps R recent keys besides the query, which is window = R + 1 here.

    >>> streaming_llm(2, 3)
    Causal() & (Sink(count=2) | SlidingWindow(left=2))
    """
    window = _at_least("streaming_llm", "window", window, 1)
    return Causal() & (Sink(sinks) | SlidingWindow(window - 1))


def _at_least(system, field, value, low):
    if not hasattr(value, "__index__") or isinstance(value, bool) or value < low:
        raise ValueError(f"{system}: {field} is {value!r}, and needs a whole number >= {low}")
    return index(value)
