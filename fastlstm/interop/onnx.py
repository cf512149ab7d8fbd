"""A trained network as an ONNX file: the standard LSTM operator, states in and out, any batch and time.

Inputs: `ids` (T, B) int64, `lengths` (B,) int32, `h0` and `c0` (L, B, H). Outputs: `logits` (T, B, V), `h_n`
and `c_n` (L, B, H), which are `h0` and `c0` of the next call. A sequence begins with zero states, or with
the `initial_state` in the metadata `fastlstm`: JSON that has the vocabulary, kind and architecture too. Where a model
has conditions, `given_state` (K, L, H) there is what each of their values adds, the values of the columns in a row.

Letters: T time steps, B sequences, V characters, E embedding size, H hidden size, L layers.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

try:
    import onnx
except ModuleNotFoundError as error:
    if error.name != "onnx":
        raise
    raise ImportError("ONNX export needs the onnx package: pip install 'fastlstm[onnx]'") from None

from onnx import TensorProto, helper, numpy_helper

from fastlstm.data.files import write_atomically
from fastlstm.errors import FastLSTMError
from fastlstm.network.model import Network
from fastlstm.training.model_file import METADATA_KEY, model_facts

OPSET = 17
IR_VERSION = 8  # what came with opset 17
GATES = [0, 3, 1, 2]  # ONNX has the gates i, o, f, c
LIMIT = 2**31  # bytes in a file of protocol buffers


def write_onnx(path: str | os.PathLike[str], model: Any) -> None:
    """Write the model as a float32 ONNX file that has passed the checker.

    `model` has a network, vocabulary, kind and preprocessing: a `CharLM`, or what `load_model` returns.
    Raises FastLSTMError for a model of 2 GB.
    """
    network = model.network
    if 4 * sum(array.size for _, array in network.parameters.items()) >= LIMIT:
        raise FastLSTMError(
            f"{path}: the weights take 2 GB or more, which an ONNX file cannot hold; export to torch"
        )
    proto = helper.make_model(
        graph(network),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="fastlstm",
    )
    facts = model_facts(network, model.vocabulary, model.kind, model.preprocessing)
    if network.architecture.learned_state:
        facts["initial_state"] = {name: network.parameters[name].tolist() for name in ("h0", "c0")}
    if network.architecture.conditions:
        facts["given_state"] = {name: network.parameters[f"given.{name}"].tolist() for name in ("h", "c")}
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False)
    helper.set_model_props(proto, {METADATA_KEY: text})
    onnx.checker.check_model(proto, full_check=True)
    write_atomically(path, proto.SerializeToString())


def graph(network: Network) -> onnx.GraphProto:
    """The network as ONNX nodes, one LSTM operator a layer; dropout has no part in it."""
    a, p = network.architecture, network.parameters
    V, L, H = a.vocabulary, a.layers, a.hidden
    weights = {"each": np.ones(L, np.int64), "direction": np.array([1])}
    nodes = []

    def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> None:
        nodes.append(helper.make_node(operator, inputs.split(), outputs.split(), **attributes))

    if a.embedding:
        weights["embedding"] = p["embedding"]
        node("Gather", "embedding ids", "x0")
    else:
        weights |= {"V": np.array(V), "off_on": np.array([0.0, 1.0])}
        node("OneHot", "ids V off_on", "x0")
    for state in ("h", "c"):
        node("Split", f"{state}0 each", " ".join(f"{state}0.{layer}" for layer in range(L)), axis=0)
    for layer in range(L):
        name = f"lstm.{layer}"
        W = p[f"{name}.W"].reshape(4, H, -1)[GATES].reshape(1, 4 * H, -1)
        b = p[f"{name}.b"].reshape(4, H)[GATES].reshape(1, 4 * H)
        weights |= {f"{name}.W": W[:, :, H:], f"{name}.R": W[:, :, :H], f"{name}.B": np.hstack([b, 0 * b])}
        inputs = f"x{layer} {name}.W {name}.R {name}.B lengths h0.{layer} c0.{layer}"
        node("LSTM", inputs, f"y{layer} h_n.{layer} c_n.{layer}", hidden_size=H)
        node("Squeeze", f"y{layer} direction", f"x{layer + 1}")
    for state in ("h_n", "c_n"):
        node("Concat", " ".join(f"{state}.{layer}" for layer in range(L)), state, axis=0)
    head = "embedding" if a.tied else "head.W"
    weights |= {head: p[head], "head.b": p["head.b"]}
    node("Transpose", head, "head.T")
    node("MatMul", f"x{L} head.T", "scores")
    node("Add", "scores head.b", "logits")
    states = [L, "B", H]
    return helper.make_graph(
        nodes,
        "fastlstm",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["T", "B"]),
            helper.make_tensor_value_info("lengths", TensorProto.INT32, ["B"]),
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, states) for name in ("h0", "c0")),
        ],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["T", "B", V]),
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, states) for name in ("h_n", "c_n")),
        ],
        [numpy_helper.from_array(_float32(array), name) for name, array in weights.items()],
    )


def _float32(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, None if array.dtype == np.int64 else np.float32)
