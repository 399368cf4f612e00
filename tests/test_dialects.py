"""Dialects: arguments read as masks worked out by hand or from each source's own rule, and patterns written back as arguments."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import sparsevis as sv
from sparsevis.dialects import DIALECTS, Unsayable, explain, natten_rows
from sparsevis.dialects.rule import rule_of


def picture(text):
    return np.array([[c == "#" for c in line] for line in text.split()])


def rule(nq, nk, offset, allowed):
    i, j = np.ogrid[offset : offset + nq, :nk]
    return np.broadcast_to(allowed(i, j), (nq, nk))


# --- what the arguments mean: W is the one number, the rule as its source has it ----------------------------------------------------

NUMBERS = {  # name: (parameter, numbers, rule)
    "mistral": ("sliding_window", (1, 2, 5), lambda i, j, W: (j <= i) & ~(i - j >= W)),
    "huggingface": ("sliding_window", (1, 2, 5), lambda i, j, W: (j > i - W) & (j <= i)),
    "vllm": ("sliding_window", (1, 4), lambda i, j, W: (i - j <= W - 1) & (j <= i)),
    "gpt-oss": ("sliding_window", (1, 4), lambda i, j, W: (j <= i) & ~(j <= i - W)),
    "gpt-neo": ("window_size", (1, 4), lambda i, j, W: (j <= i) ^ (j <= i - W)),
    "gemma": ("sliding_window_size", (1, 4), lambda i, j, W: (j > i - W) & (j < i + W) & (j <= i)),
    "keras-causal": ("sliding_window", (1, 4), lambda i, j, W: (abs(i - j) <= W - 1) & (j <= i)),
    "openai-local": ("local_attn_ctx", (1, 4), lambda i, j, W: (i - j <= W - 1) & (j - i <= 0)),
    "mistral-paper": ("sliding_window", (0, 1, 4), lambda i, j, W: (i - W <= j) & (j <= i)),
    "huggingface-4.51-eager": ("sliding_window", (0, 4), lambda i, j, W: (j <= i) & ~(j <= i - W - 1)),
    "attention-gym": ("window_size", (0, 3), lambda i, j, W: (i - j <= W) & (i >= j)),
    "axlearn": ("sliding_window_size", (0, 3), lambda i, j, W: (i - W <= j) & (j <= i)),
    "sparse-transformer-paper": ("l", (0, 3), lambda i, j, W: (np.maximum(0, i - W) <= j) & (j <= i)),
    "mimo-v2-flash": ("sliding_window", (1, 3), lambda i, j, W: (j <= i) & (i - j < W)),
    "huggingface-two-sided": ("sliding_window", (0, 1, 3), lambda i, j, W: abs(i - j) <= W),
    "longformer-allenai": ("attention_window", (0, 3), lambda i, j, W: abs(i - j) <= W),
    "longt5": ("local_radius", (0, 3), lambda i, j, W: abs(i - j) <= W),
    "keras": ("sliding_window", (1, 3), lambda i, j, W: abs(i - j) <= W - 1),
    "vllm-encoder": ("sliding_window", (1, 3), lambda i, j, W: (i - j <= W - 1) & (j - i <= W - 1)),
    "modernbert": ("local_attention", (0, 2, 6), lambda i, j, W: abs(i - j) <= W // 2),
    "gemma-3-two-sided": ("sliding_window", (0, 2, 6), lambda i, j, W: abs(i - j) < W // 2 + 1),
    "xformers-local-1d": ("window_size", (1, 3, 7), lambda i, j, W: abs(i - j) <= W // 2),
    "longformer": ("attention_window", (0, 2, 6), lambda i, j, W: abs(i - j) <= W // 2),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_one_number(name):
    parameter, numbers, allowed = NUMBERS[name]
    for W in numbers:
        expected = rule(11, 11, 0, lambda i, j: allowed(i, j, W))  # noqa: B023
        np.testing.assert_array_equal(DIALECTS[name].mask(11, **{parameter: W}), expected)
        assert DIALECTS[name].arguments(DIALECTS[name].pattern(**{parameter: W}))[parameter] == W


def test_every_dialect_of_one_number_is_tested():
    from sparsevis.dialects.windows import WINDOWS

    assert {d.name for d in WINDOWS} <= set(NUMBERS)


TL, BR = "top-left", "bottom-right"
BAND = lambda l, r: lambda i, j: (i - j <= l) & (j - i <= r)
FAR = 99
SIDES = [  # dialect, arguments, where query 0 stands, rule
    ("flash-attn", {"causal": True}, BR, BAND(FAR, 0)),
    ("flash-attn", {"window_size": (2, 1)}, BR, BAND(2, 1)),
    ("flash-attn", {"window_size": (2, 1), "causal": True}, BR, BAND(2, 0)),
    ("flash-attn", {"window_size": (-1, 1)}, BR, BAND(FAR, 1)),
    ("flash-attn", {"window_size": (2, -1)}, BR, BAND(2, FAR)),
    ("flash-attn", {}, BR, BAND(FAR, FAR)),
    ("flash-attn-2.0", {"causal": True}, TL, BAND(FAR, 0)),
    ("flash-attn-2.0", {}, TL, BAND(FAR, FAR)),
    ("flash-attn-3", {"causal": True, "attention_chunk": 3}, BR, lambda i, j: (j <= i) & (i // 3 == j // 3)),
    ("flash-attn-4", {"window_size": (None, 1)}, BR, BAND(FAR, 1)),
    ("flash-attn-4", {"window_size": (2, 0), "causal": True}, BR, BAND(2, 0)),
    ("flashinfer", {"causal": True, "window_left": 2}, BR, BAND(2, 0)),
    ("flashinfer", {"window_left": 2}, BR, BAND(2, FAR)),
    ("flashinfer", {"causal": True, "window_left": -1}, BR, BAND(FAR, 0)),
    ("jax", {"is_causal": True}, TL, BAND(FAR, 0)),
    ("jax", {"local_window_size": 2}, TL, BAND(2, 2)),
    ("jax", {"local_window_size": (1, 3)}, TL, BAND(1, 3)),
    ("jax", {"local_window_size": (2, 3), "is_causal": True}, TL, BAND(2, 0)),
    ("jax-splash", {"window_size": (2, 1), "offset": 3}, 3, BAND(2, 1)),
    ("jax-splash", {"window_size": (None, 0), "offset": 0}, 0, BAND(FAR, 0)),
    ("jax-splash", {"chunk_size": 3}, 0, lambda i, j: (j <= i) & (i // 3 == j // 3)),
    ("cudnn", {"diagonal_band_left_bound": 3, "diagonal_band_right_bound": 0}, TL, lambda i, j: (j <= i) & ~(j <= i - 3)),
    ("cudnn", {"diagonal_band_right_bound": 1, "diagonal_alignment": "BOTTOM_RIGHT"}, BR, BAND(FAR, 1)),
    ("onnx", {"is_causal": 1}, 0, BAND(FAR, 0)),
    ("onnx", {"left_window_size": 2, "right_window_size": 1, "past_sequence_length": 4}, 4, BAND(2, 1)),
    ("onnx", {"left_window_size": -1, "right_window_size": 1}, 0, BAND(FAR, 1)),
    ("xformers", {"attn_bias": "LowerTriangularMask"}, TL, BAND(FAR, 0)),
    ("xformers", {"attn_bias": "LowerTriangularFromBottomRightMask"}, BR, BAND(FAR, 0)),
    ("xformers", {"attn_bias": "LowerTriangularFromBottomRightMask", "window_size": 3}, BR, lambda i, j: (i - 3 < j) & (j <= i)),
    ("xformers", {"attn_bias": "LocalAttentionFromBottomRightMask", "window_left": 1, "window_right": 2}, BR, BAND(1, 2)),
    ("torch-sdpa", {"is_causal": True}, TL, BAND(FAR, 0)),
    ("torch-sdpa", {}, TL, BAND(FAR, FAR)),
]


@pytest.mark.parametrize(("nq", "nk"), [(9, 9), (5, 9), (9, 5), (1, 7)])
@pytest.mark.parametrize(("name", "arguments", "stands", "allowed"), SIDES)
def test_sides_and_alignment(name, arguments, stands, allowed, nq, nk):
    offset = {TL: 0, BR: nk - nq}.get(stands, stands)
    np.testing.assert_array_equal(DIALECTS[name].mask(nq, nk, **arguments), rule(nq, nk, offset, allowed))


PICTURES = [
    ("xformers", {"attn_bias": "LowerTriangularMask"}, 3, 5, "#.... ##... ###.."),
    ("xformers", {"attn_bias": "LowerTriangularFromBottomRightMask"}, 3, 5, "###.. ####. #####"),
    ("xformers", {"attn_bias": "LocalAttentionFromBottomRightMask", "window_left": 1, "window_right": 2}, 4, 6,
     ".####. ..#### ...### ....##"),
    ("xformers", {"attn_bias": "BlockDiagonalCausalMask", "q_seqlen": [2, 3], "window_size": 2}, 5, 5, "#.... ##... ..#.. ..##. ...##"),
    ("xformers", {"attn_bias": "BlockDiagonalMask", "q_seqlen": [2, 3], "window_size": 2}, 5, 5, "#.... ##... ..#.. ..##. ...##"),
    ("flash-attn", {"causal": True, "cu_seqlens_q": [0, 2, 5], "cu_seqlens_k": [0, 2, 5]}, 5, 5, "#.... ##... ..#.. ..##. ..###"),
    ("flash-attn", {"causal": True}, 4, 2, ".. .. #. ##"),
    ("attention-gym", {"window_size": 3}, 8, 8, "#....... ##...... ###..... ####.... .####... ..####.. ...####. ....####"),
    ("huggingface", {"sliding_window": 3}, 8, 8, "#....... ##...... ###..... .###.... ..###... ...###.. ....###. .....###"),
    ("huggingface-chunked", {"attention_chunk_size": 3}, 8, 8, "#....... ##...... ###..... ...#.... ...##... ...###.. ......#. ......##"),
    ("natten", {"kernel_size": 3, "n": 5}, 5, 5, "###.. ###.. .###. ..### ..###"),
    ("natten", {"kernel_size": 4, "n": 6}, 6, 6, "####.. ####.. ####.. .####. ..#### ..####"),
    ("natten", {"kernel_size": 3, "stride": 3, "n": 6}, 6, 6, "###... ###... ###... ...### ...### ...###"),
    ("natten", {"kernel_size": 2, "dilation": 2, "n": 5}, 5, 5, "#.#.. .#.#. #.#.. .#.#. ..#.#"),
    ("natten", {"kernel_size": 3, "stride": 2, "is_causal": True, "n": 5}, 5, 5, "#.... ##... .##.. .###. ..###"),
    ("longformer", {"attention_window": 2, "global_tokens": (0,)}, 5, 5, "##### ###.. ####. #.### #..##"),
    ("deepspeed-sliding", {"block": 2, "num_sliding_window_blocks": 3}, 6, 6, "##.... ##.... ####.. ####.. ..#### ..####"),
    ("deepspeed-bslongformer", {"block": 1, "num_sliding_window_blocks": 3}, 5, 5, "##### ###.. ####. #.### #..##"),
    ("deepspeed-bslongformer", {"block": 1, "num_sliding_window_blocks": 3, "attention": "unidirectional"}, 4, 4, "#... ##.. ###. #.##"),
    ("deepspeed-fixed", {"block": 1, "num_local_blocks": 2}, 4, 4, "##.# ##.# .### .###"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "nq", "nk", "text"), PICTURES)
def test_literal_pictures(name, arguments, nq, nk, text):
    np.testing.assert_array_equal(DIALECTS[name].mask(nq, nk, **arguments), picture(text))


@pytest.mark.parametrize(("nq", "nk"), [(8, 8), (3, 8), (8, 3)])
@pytest.mark.parametrize(("name", "arguments"), [(n, a) for n, a, *_ in SIDES])
def test_written_and_read_back(name, arguments, nq, nk):
    """Whatever words a dialect chooses for its own mask, they mean that mask."""
    dialect = DIALECTS[name]
    offset = dialect.offset(nq, nk, **arguments)
    if name == "onnx" and offset not in (0, nk - nq):  # a past that is not all the keys before the queries
        with pytest.raises(Unsayable, match="after the past"):
            dialect.arguments(dialect.pattern(**arguments), nq, nk, offset)
        return
    words = dialect.arguments(dialect.pattern(**arguments), nq, nk, offset)
    np.testing.assert_array_equal(dialect.mask(nq, nk, **words), dialect.mask(nq, nk, **arguments))


LEAVES = st.one_of(
    st.builds(sv.Causal),
    st.builds(sv.Dense),
    st.builds(sv.SlidingWindow, st.none() | st.integers(0, 5), st.none() | st.integers(0, 5)),
    st.builds(sv.Chunked, st.integers(1, 4)),
    st.builds(sv.Dilated, st.integers(0, 3), st.integers(0, 2), st.integers(1, 3)),
    st.builds(sv.BlockWindow, st.integers(1, 3), st.integers(0, 2), st.integers(0, 2)),
    st.builds(sv.Global, st.sampled_from([(0,), (0, 3)]), block=st.integers(1, 2)),
    st.builds(sv.Fixed, st.sampled_from([2, 4]), st.integers(1, 2)),
    st.just(sv.Documents([3, 0, 4, 1])),
    st.just(sv.bigbird(1, random_blocks=1, plan="published")),
)
BOTH = (lambda a, b: a & b), (lambda a, b: a | b)
PATTERNS = st.recursive(LEAVES, lambda inner: st.one_of(*(st.builds(join, inner, inner) for join in BOTH)), max_leaves=3)


@given(pattern=PATTERNS, shape=st.sampled_from([(8, 0), (8, 2), (3, 0), (3, 5), (3, 2), (11, 0), (11, -3)]))
def test_no_dialect_says_anything_else(pattern, shape):
    """Random patterns and alignments: a dialect refuses, or its words mean the same mask."""
    (nq, offset), nk = shape, 8
    try:
        expected = pattern.mask(nq, nk, offset=offset)
    except ValueError:  # documents have no query beyond their end
        assume(False)
    for dialect in DIALECTS.values():
        try:
            words = dialect.arguments(pattern, nq, nk, offset)
        except Unsayable:
            continue
        means = dialect.pattern(**words)
        stands = offset if dialect.align == "any" else 0 if rule_of(pattern).everything else dialect.offset(nq, nk, **words)
        if dialect.name == "torch-sdpa" and "attn_mask" in words:
            stands = 0  # a table of the very rows
        np.testing.assert_array_equal(means.mask(nq, nk, offset=stands), expected, err_msg=f"{dialect.name}: {words}")


def test_patterns_that_each_dialect_can_say():
    """Refusing everything would pass the test above: one pattern each dialect must say, whatever form it is composed in."""
    say = {
        "huggingface-chunked": (sv.Chunked(3) & sv.Causal(), {"attention_chunk_size": 3}),
        "longformer": (sv.Global([0, 4]) | sv.SlidingWindow(3, 3), {"attention_window": 6, "global_tokens": (0, 4)}),
        "bigbird": (sv.bigbird(16, random_blocks=2, seed=5, plan="published"), {"block_size": 16, "num_random_blocks": 2, "seed": 5}),
        "deepspeed-sliding": (sv.BlockWindow(4, 2, 0), {"block": 4, "num_sliding_window_blocks": 5, "attention": "unidirectional"}),
        "deepspeed-bslongformer": (
            (sv.BlockWindow(4, 1, 1) | sv.Global([0, 2], block=4)) & sv.BlockWindow(4, None, 0),
            {"block": 4, "num_sliding_window_blocks": 3, "global_block_indices": [0, 2], "attention": "unidirectional"},
        ),
        "deepspeed-fixed": (sv.Fixed(12, 4), {"block": 4, "num_local_blocks": 3}),
        "natten": (sv.Causal() & sv.Dilated(3, 1, 2), None),
    }
    for name, (pattern, words) in say.items():
        if words is None:
            with pytest.raises(Unsayable):
                DIALECTS[name].arguments(pattern)
        else:
            assert DIALECTS[name].arguments(pattern) == words
            assert DIALECTS[name].pattern(**words).mask(192).tolist() == pattern.mask(192).tolist()
    assert DIALECTS["natten"].arguments(sv.Dilated(3, 0, 2)) == {"kernel_size": 4, "dilation": 2, "is_causal": True}
    assert DIALECTS["flash-attn"].arguments((sv.SlidingWindow(3, 9) | sv.SlidingWindow(1, 2)) & sv.Causal())["window_size"] == (3, 0)


@pytest.mark.parametrize(("n", "kernel", "stride", "dilation", "causal"), [
    (7, 3, 1, 1, False), (9, 4, 2, 1, False), (9, 4, 3, 2, False), (13, 3, 3, 2, False), (10, 5, 2, 2, True), (11, 3, 2, 3, True),
])  # fmt: skip
def test_natten_one_query_at_a_time(n, kernel, stride, dilation, causal):
    rows = natten_rows(n, kernel, stride, dilation, causal)
    for q in range(n):
        group = [x for x in range(n) if x % dilation == q % dilation]
        me, left, right = group.index(q), kernel // 2, kernel // 2 + kernel % 2 - 1
        if causal:
            leader = min(me // stride * stride + stride - 1, len(group) - 1)
            keys = group[max(leader - kernel + 1, 0) : me + 1]
        else:
            leader = min(me // stride * stride + stride // 2, len(group) - 1)
            centre = min(max(leader, left), len(group) - 1 - right)
            keys = group[centre - left : centre + right + 1]
            assert len(keys) == kernel
        assert [x for x in rows[q].tolist() if x >= 0] == keys


# --- calls and complaints -----------------------------------------------------------------------------------------------------------

CALLS = [
    ("flash-attn", sv.SlidingWindow(None, 2), "flash_attn_func(q, k, v, window_size=(-1, 2))"),
    ("flash-attn", sv.Dense(), "flash_attn_func(q, k, v)"),
    ("flash-attn-4", sv.SlidingWindow(2, None), "flash_attn_func(q, k, v, window_size=(2, None))"),
    ("flash-attn-3", sv.Causal() & sv.Chunked(8), "flash_attn_func(q, k, v, causal=True, attention_chunk=8)"),
    ("cudnn", sv.SlidingWindow(3), "graph.sdpa(q, k, v, diagonal_band_left_bound=4, diagonal_band_right_bound=0)"),
    ("xformers", sv.SlidingWindow(3),
     "memory_efficient_attention(q, k, v, attn_bias=LowerTriangularFromBottomRightMask().make_local_attention(4))"),
    ("xformers", sv.Documents([2, 1]), "memory_efficient_attention(q, k, v, attn_bias=BlockDiagonalMask.from_seqlens([2, 1]))"),
    ("jax-splash", sv.Causal(), "LocalMask((nq, nk), window_size=(None, 0), offset=0)"),
    ("longformer", sv.longformer(4, (0, 3)), "LongformerConfig(attention_window=4); global_attention_mask[:, [0, 3]] = 1"),
    ("torch-sdpa", sv.Causal(), "scaled_dot_product_attention(q, k, v, is_causal=True)"),
    ("natten", sv.SlidingWindow(3), "na1d(q, k, v, kernel_size=4, is_causal=True)"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "pattern", "call"), CALLS)
def test_calls(name, pattern, call):
    assert DIALECTS[name].code(pattern) == call


def test_packed_calls_give_the_longest_document():
    call = DIALECTS["flash-attn"].code(sv.Causal() & sv.Documents([2, 5]))
    assert "cu_seqlens_q=torch.tensor([0, 2, 7], dtype=torch.int32)" in call
    assert "max_seqlen_k=5" in call


@pytest.mark.parametrize(("name", "pattern", "sizes", "says"), [
    ("flash-attn", sv.SlidingWindow(3), (4, 9, 0), r"stands query 0 at position 5 \(bottom-right\), and it was asked to stand at 0"),
    ("jax", sv.Causal(), (4, 9, "bottom-right"), r"position 0 \(top-left\)"),
    ("jax", sv.SlidingWindow(3, None), (), "both sides of its window are numbers"),
    ("flash-attn", sv.Global([0]), (), r"this needs Global\(tokens=\(0,\)\)"),
    ("flashinfer", sv.SlidingWindow(3, 1), (), "bounds the left side only, and here right=1"),
    ("huggingface", sv.SlidingWindow(3, 3), (), "no key after the query"),
    ("natten", sv.SlidingWindow(3, 3), (), "shifted at the borders"),
    ("natten", sv.Causal(), (4, 9, 0), "as many queries as keys"),
    ("onnx", sv.Causal(), (4, 9, 2), "query 0 stands at 0"),
    ("xformers", sv.SlidingWindow(2), (4, 9, 0), "bottom-right"),
    ("torch-sdpa", sv.SlidingWindow(2), (), "say nq"),
    ("deepspeed-fixed", sv.Fixed(8, 2), (12,), "multiple of 8"),
])  # fmt: skip
def test_what_cannot_be_said_is_refused(name, pattern, sizes, says):
    with pytest.raises(Unsayable, match=says):
        DIALECTS[name].arguments(pattern, *sizes)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="-1 is a literal band"):
        DIALECTS["flash-attn-4"].pattern(window_size=(-1, -1))
    with pytest.raises(ValueError, match="even number"):
        DIALECTS["modernbert"].pattern(local_attention=5)
    with pytest.raises(ValueError, match="odd number"):
        DIALECTS["xformers-local-1d"].pattern(window_size=4)
    with pytest.raises(ValueError, match="whole number >= 1"):
        DIALECTS["huggingface"].pattern(sliding_window=0)
    with pytest.raises(TypeError, match="needs sliding_window="):
        DIALECTS["huggingface"].pattern(window=3)
    with pytest.raises(ValueError, match="below -1"):
        DIALECTS["onnx"].pattern(left_window_size=-2)
    with pytest.raises(ValueError, match="say n="):
        DIALECTS["natten"].pattern(kernel_size=3)
    with pytest.raises(ValueError, match="differ"):
        DIALECTS["flash-attn"].pattern(cu_seqlens_q=[0, 3], cu_seqlens_k=[0, 4])
    with pytest.raises(ValueError, match="leaks columns"):
        DIALECTS["deepspeed-fixed"].pattern(num_global_blocks=2, attention="unidirectional")
    with pytest.raises(TypeError, match="one by one"):
        DIALECTS["flash-attn"].arguments(sv.PerHead(sv.Causal()))
    with pytest.raises(ValueError, match="need nq"):
        DIALECTS["flash-attn"].arguments(sv.Causal(), nk=3)


def test_explain_says_every_dialect_once():
    said = explain(sv.SlidingWindow(3), 4, 9, offset="bottom-right")
    rows = {row["dialect"]: row for row in said.to_dicts()}
    assert set(rows) == set(DIALECTS)
    assert rows["flash-attn"]["call"] == "flash_attn_func(q, k, v, causal=True, window_size=(3, 0))"
    assert rows["jax"]["call"] is None
    assert "top-left" in rows["jax"]["remark"]
    assert rows["onnx"]["call"].endswith("# the first 5 keys as past_key, past_value")
    assert "    jax: mask= (True takes part)" in str(said)
    assert "AutoConfig.from_pretrained(name, sliding_window=4)" in str(said)
    assert "i, j = q_idx + 5, kv_idx" in str(said)
    with pytest.raises(TypeError, match="one head at a time"):
        explain(sv.PerHead(sv.Causal(), sv.Dense()))


def test_names_and_versions_are_said():
    assert all(d.name == name and d.version and d.source for name, d in DIALECTS.items())
