"""Where other libraries differ from the reference, and why: each row is shown by a test, so that a row that became false is noticed."""

from dataclasses import dataclass

__all__ = ["DIFFERENCES", "Difference"]


@dataclass(frozen=True)
class Difference:
    """One disagreement: who, what they give, the cause, and `file.test` that shows it."""

    library: str
    what: str
    cause: str
    test: str


HERE = "test_differences.test_"
OWN = "test_transformers.test_"

DIFFERENCES = [
    Difference("PyTorch SDPA", "`is_causal=True` puts query 0 at key 0, `causal_lower_right` at key nk - nq",
               "two conventions of alignment; sparsevis asks for `offset=` when nq != nk", "test_torch.test_attention"),
    Difference("PyTorch SDPA, flash on CPU, `is_causal=True`", "a NaN in a query gives an output of 0",
               "lost within the kernel; the math backend, and the same call with a mask, propagate it", HERE + "sdpa_swallows_nan"),
    Difference("PyTorch SDPA and FlexAttention, JAX, ONNX", "a NaN in a forbidden value reaches every row",
               "probabilities of 0 are multiplied with it: 0 * NaN; sparsevis selects", HERE + "forbidden_nan_leaks"),
    Difference("PyTorch SDPA with a mask, ONNX", "a NaN or an infinity in a forbidden key reaches every row",
               "the mask is added (NaN - inf is NaN); where it is selected, in FlexAttention and JAX, the row is right",
               HERE + "forbidden_keys"),
    Difference("PyTorch FlexAttention", "query positions start at 0 in every call",
               "no notion of a past: add the offset in the `mask_mod`", "test_torch.test_attention"),
    Difference("JAX `dot_product_attention`", "a row without keys gives the mean of all values and an lse of -2.4e38",
               "forbidden scores are a large finite number, not -inf", HERE + "jax_rows_without_keys"),
    Difference("JAX `dot_product_attention`", "float64 is accurate to float32", "scores and softmax are taken in float32",
               HERE + "float64_that_is_float32"),
    Difference("JAX `dot_product_attention`", "the lse of bfloat16 inputs is bfloat16", "the residual is cast to the dtype of the inputs",
               HERE + "jax_lse_in_the_dtype_of_the_inputs"),
    Difference("JAX `dot_product_attention`", "values of another head dimension than keys are refused", "a check of shapes",
               HERE + "jax_wants_one_head_dimension"),
    Difference("JAX `dot_product_attention`", "`local_window_size=w` is w keys on either side, without the query",
               "an int is a symmetric window; a tuple is (left, right), as `SlidingWindow`", "test_jax.test_attention"),
    Difference("onnxruntime, CPU", "float64 is accurate to float32, whatever `softmax_precision` says",
               "results carry the rounding of float32", HERE + "float64_that_is_float32"),
    Difference("ONNX Attention", "a float64 call with `scale=` is accurate to float32", "the attribute is a float32",
               HERE + "onnx_scale_is_float32"),
    Difference("ONNX Attention", "`is_causal` without a cache puts query 0 at key 0, with `past_key` after the past",
               "the offset is the length of the past; sparsevis says `offset=`", "test_onnx.test_past_keys_shift_the_queries"),
    Difference("transformers, one name, two windows", "`sliding_window=W`: W keys in the causal mask, 2W + 1 in the two-sided one",
               "the query is counted in one; `SlidingWindow(W - 1)` and `SlidingWindow(W, W)`", OWN + "masking_utils"),
    Difference("transformers Longformer", "its softmax is in float32 even for float64 inputs", "a cast", OWN + "longformer_layer"),
    Difference("transformers BigBird", "a block that is listed twice counts twice",
               "a list, where a pattern is a set; a bias of ln 2 gives its output", OWN + "bigbird_counts_a_repeated_block_twice"),
]  # fmt: skip
