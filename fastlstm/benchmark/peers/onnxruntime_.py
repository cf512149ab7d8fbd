"""`onnxruntime`: the standard LSTM operator, forward only, with and without spinning threads."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from fastlstm.benchmark.peers.base import LanguageModel
from fastlstm.benchmark.shapes import real_mask
from fastlstm.data.batching import Batch


def graph(parameters: dict[str, np.ndarray]) -> bytes:
    """The model: ids (T, B) → logits (T, B, V)."""
    H = parameters["head.W"].shape[1]
    W = parameters["lstm.0.W"]
    # ONNX orders the gates i, o, f, c.
    order = np.concatenate([np.arange(gate * H, (gate + 1) * H) for gate in (0, 3, 1, 2)])
    b = parameters["lstm.0.b"][order]
    constants = {
        "rows": parameters.get("embedding", np.eye(W.shape[1] - H, dtype=np.float32)),
        "W": W[order, H:][None],
        "R": W[order, :H][None],
        "B": np.concatenate([b, np.zeros_like(b)])[None],
        "directions": np.array([1]),
        "head": parameters["head.W"].T,
        "bias": parameters["head.b"],
    }
    nodes = [
        helper.make_node("Gather", ["rows", "ids"], ["x"]),
        helper.make_node("LSTM", ["x", "W", "R", "B"], ["out"], hidden_size=H),
        helper.make_node("Squeeze", ["out", "directions"], ["h"]),
        helper.make_node("MatMul", ["h", "head"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
    ]
    made = helper.make_graph(
        nodes,
        "lstm",
        [helper.make_tensor_value_info("ids", TensorProto.INT32, ["T", "B"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["T", "B", "V"])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


class Peer(LanguageModel):
    def build(self, parameters: dict[str, np.ndarray]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.variant.threads
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        spinning = "0" if "no spinning" in self.variant.mode else "1"
        options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
        self.session = onnxruntime.InferenceSession(graph(parameters), options, ["CPUExecutionProvider"])

    def load(self, batch: Batch) -> dict[str, np.ndarray]:
        return {"ids": batch.ids}

    def forward(self, batch: Any) -> np.ndarray:
        return np.asarray(self.session.run(["logits"], batch)[0])

    def logits(self, batch: Batch) -> np.ndarray:
        return self.forward(self.load(batch))[real_mask(batch)]

    def train(self, batch: Any) -> NoReturn:
        raise RuntimeError("ONNX Runtime is measured forward only")

    def gradients(self, batch: Any) -> NoReturn:
        self.train(batch)

    def parameters(self) -> NoReturn:
        self.train(None)
