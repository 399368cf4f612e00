"""What the ONNX operator Attention gives: by the reference of the standard, and by onnxruntime's CPU provider."""

import warnings

import numpy as np

from .cases import CASES, SCORED

__all__ = ["NATIVE", "RUNNERS", "attention", "compute"]

OPSET = 25
NATIVE = {  # cases that the operator has words for; windows are those of opset 25
    "causal": {"is_causal": 1},
    "causal top-left wide": {"is_causal": 1},
    "causal top-left tall": {"is_causal": 1},
    "window two-sided": {"left_window_size": 3, "right_window_size": 3},
    "window uneven": {"left_window_size": 1, "right_window_size": 3},
    "window unbounded": {"right_window_size": 2},
    "mistral": {"left_window_size": 3, "right_window_size": 0},
    "grouped heads": {"left_window_size": 2, "is_causal": 1, "right_window_size": 0},
}
DOUBLE = 11  # TensorProto.DOUBLE, for softmax_precision


def compute():
    """Outputs of both runners: "onnx" in float64, "onnxruntime" in float32."""
    values = {}
    for name, dtype in (("onnx", "float64"), ("onnxruntime", "float32")):
        for case in CASES:
            values[f"{name}/{case.name}/o"] = attention(name, case, dtype, native=NATIVE.get(case.name))
        for scored in SCORED:
            if scored.sinks is None:
                words = {"scale": scored.scale, "softcap": scored.softcap}
                native = {word: x for word, x in words.items() if x is not None}
                values[f"{name} scored/{scored.name}/o"] = attention(name, scored.case, dtype, native=native, bias=scored.bias, masked=True)
        for past in ("causal bottom-right wide", "decode step"):
            case = next(case for case in CASES if case.name == past)
            values[f"{name} past/{past}/o"] = attention(name, case, dtype, native=PAST[past], past=case.shift)
    return values


PAST = {"causal bottom-right wide": {"is_causal": 1}, "decode step": {"left_window_size": 3, "right_window_size": 0}}


def attention(runner, case, dtype, *, native=None, bias=None, masked=False, past=None, opset=OPSET):
    """The operator's output: through its own words if `native`, else through a boolean mask; `past` keys come as a cache."""
    q, k, v = (x[None].astype(dtype) for x in case.inputs)
    given = {"Q": q, "K": k, "V": v}
    if bias is not None:
        given["attn_mask"] = np.where(case.mask, bias, -np.inf)[None].astype(dtype)
    elif native is None or masked:
        given["attn_mask"] = case.mask[None].copy()
    if past is not None:
        given |= {"K": k[:, :, past:], "V": v[:, :, past:], "past_key": k[:, :, :past], "past_value": v[:, :, :past]}
    attributes = dict(native or {}) | ({"softmax_precision": DOUBLE} if dtype == "float64" else {})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=RuntimeWarning)  # the standard's reference divides by what it then replaces
        return RUNNERS[runner](model(given, attributes, opset), given)[0]


def model(given, attributes, opset):
    from onnx import TensorProto, helper

    inputs = ("Q", "K", "V", "attn_mask", "past_key", "past_value")
    last = max(i for i, name in enumerate(inputs) if name in given)
    names = [name if name in given else "" for name in inputs[: last + 1]]
    outputs = ["Y", "present_key", "present_value"] if "past_key" in given else ["Y"]
    node = helper.make_node("Attention", names, outputs, **attributes)
    kind = {"bool": TensorProto.BOOL, "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
    declared = [helper.make_tensor_value_info(name, kind[x.dtype.name], x.shape) for name, x in given.items()]
    results = [helper.make_tensor_value_info(name, kind[given["Q"].dtype.name], None) for name in outputs]
    graph = helper.make_graph([node], "attention", declared, results)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=11)


def by_the_standard(made, given):
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(made).run(None, given)[0]


def by_onnxruntime(made, given):
    import onnxruntime

    return onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, given)[0]


RUNNERS = {"onnx": by_the_standard, "onnxruntime": by_onnxruntime}
