"""Systems that say a window by one number: the same integer means a dozen different things.

    keys a query     W          mistral, Hugging Face's causal masks, vLLM, xformers, gpt-oss, Gemma
                     W + 1      Mistral's paper, the FlexAttention blog, axlearn, older Hugging Face
                     2 W + 1    allenai's Longformer, Hugging Face's two-sided masks, LongT5
                     2 W - 1    Keras and vLLM's encoders without causality
                     W + 1      both sides together: Longformer in Hugging Face, ModernBERT

Each is one line of the table below.
"""

from dataclasses import dataclass
from functools import partial
from operator import index

from sparsevis.dialects.dialect import Dialect
from sparsevis.dialects.rule import Unsayable, band_pattern

__all__ = ["WINDOWS"]


@dataclass(frozen=True)
class _Number:
    """What one number means: each side has `W // part - minus` keys; the right one only if `two_sided`."""

    parameter: str
    minus: int = 0
    part: int = 1
    two_sided: bool = False
    odd: bool = False  # the total counts the query too, and must be odd

    def reads(self, **arguments):
        if set(arguments) != {self.parameter}:
            raise TypeError(f"needs {self.parameter}= and nothing else, and was given {', '.join(arguments) or 'nothing'}")
        window = arguments[self.parameter]
        if window is None:
            return band_pattern(None, None if self.two_sided else 0)
        window = index(window)
        if window < max(self.minus, int(self.odd)) or (self.part == 2 and window % 2 != self.odd):
            kind = "" if self.part == 1 else "an odd " if self.odd else "an even "
            raise ValueError(f"{self.parameter} is {window}, and needs {kind or 'a whole '}number >= {max(self.minus, int(self.odd))}")
        side = window // self.part - self.minus
        return band_pattern(side, side if self.two_sided else 0)

    def writes(self, rule, place):
        left, right = rule.band()
        if right != (left if self.two_sided else 0):
            sides = "as many keys after the query as before it" if self.two_sided else "no key after the query"
            raise Unsayable(f"it has {sides}, and here the sides are (left={left}, right={right})")
        return {self.parameter: None if left is None else (left + self.minus) * self.part + self.odd}


def _row(name, version, source, number, align="square", call="{}", note=""):
    return Dialect(name, version, source, align, number.reads, number.writes, call, note)


_causal, _both = _Number, partial(_Number, two_sided=True)
_hf, _hf_call = "src/transformers/masking_utils.py", "AutoConfig.from_pretrained(name, {})"
_one = "sliding_window"

WINDOWS = [
    # causal, W keys with the query
    _row("mistral", "mistral-src since 2024-03-18", "one_file_ref.py, triu(-W + 1)", _causal(_one, 1), "top-left", "ModelArgs({})"),
    _row("huggingface", "transformers 5.23.0", f"{_hf}::sliding_window_causal_mask_function", _causal(_one, 1), "any", _hf_call,
         note="queries stand at the cache's position; the same number is 2 W + 1 keys in a two-sided mask"),
    _row("vllm", "vllm 0084b783", "vllm/v1/attention/backends/flash_attn.py", _causal(_one, 1), "bottom-right",
         "LLM(model, hf_overrides=dict({}))", note="passes (W - 1, 0) to the kernel"),
    _row("gpt-oss", "gpt-oss 7b58334", "gpt_oss/torch/model.py::sdpa, tril(-W)", _causal(_one, 1), "top-left", "ModelConfig({})"),
    _row("gpt-neo", "transformers 5.23.0", "GPTNeoSelfAttention, tril xor tril(-W)", _causal("window_size", 1), "any", "GPTNeoConfig({})"),
    _row("gemma", "gemma 7691fd4", "create_sliding_mask", _causal("sliding_window_size", 1), "any", "TransformerConfig({})"),
    _row("keras-causal", "Keras PR 22814", "abs(i - j) <= W - 1, and causal", _causal(_one, 1), "square"),
    _row("openai-local", "sparse_attention c53f3bd", "attention.py, band_part(L - 1, 0)", _causal("local_attn_ctx", 1), "square"),
    # causal, W keys and the query
    _row("mistral-paper", "arXiv 2310.06825, and mistral-src to cad0f61", "positions i - W to i", _causal(_one), "top-left",
         note="the released model keeps one key less"),
    _row("huggingface-4.51-eager", "transformers 4.51.3", "AttentionMaskConverter, and its FlashAttention path", _causal(_one), "any",
         note="the Mistral mask of the same release has W keys"),
    _row("attention-gym", "attention-gym 7fdb85d", "generate_sliding_window", _causal("window_size"), "top-left",
         "create_block_mask(generate_sliding_window({}), B, H, nq, nk)"),
    _row("axlearn", "axlearn PR 1009", "sliding_window_size looks back", _causal("sliding_window_size"), "square"),
    _row("sparse-transformer-paper", "arXiv 1904.10509", "A1: j from max(0, i - l) to i", _causal("l"), "square"),
    _row("mimo-v2-flash", "released config", "sliding_window=129 is 128 before and the query", _causal(_one, 1), "any"),
    # two-sided, W a side
    _row("huggingface-two-sided", "transformers 5.23.0", f"{_hf}::sliding_window_bidirectional_mask_function", _both(_one), "any", _hf_call,
         note="the same number is W keys in a causal mask; its FlashAttention path passes (W - 1, W - 1)"),
    _row("longformer-allenai", "allenai/longformer caefee6", "LongformerSelfAttention", _both("attention_window"), "square",
         "LongformerConfig({})", note="one side; Hugging Face counts both"),
    _row("longt5", "arXiv 2112.07916", "abs(i - j) <= r", _both("local_radius"), "square", "LongT5Config({})"),
    _row("keras", "Keras PR 22814", "abs(i - j) <= W - 1", _both(_one, 1), "square"),
    _row("vllm-encoder", "vllm 0084b783", "vllm/v1/attention/backends/flash_attn.py", _both(_one, 1), "bottom-right",
         note="passes (W - 1, W - 1) to the kernel"),
    # two-sided, both sides together
    _row("modernbert", "transformers 5.23.0", "local_attention=128: abs(i - j) <= 64", _both("local_attention", part=2), "square",
         "ModernBertConfig({})"),
    _row("gemma-3-two-sided", "transformers 5.23.0", "abs(i - j) < S // 2 + 1", _both(_one, part=2), "square"),
    _row("xformers-local-1d", "xformers bed3978b", "local_1d_pattern (since removed)", _both("window_size", part=2, odd=True), "square",
         "local_1d_pattern(n, {})"),
]  # fmt: skip
