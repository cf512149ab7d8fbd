"""`torch`: nn.LSTM at its best: fused Adam, inference mode, denormals flushed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import PackedSequence

from fastlstm.benchmark.peers.base import LanguageModel
from fastlstm.benchmark.shapes import RATE, Shape, real_mask
from fastlstm.data.batching import Batch

PADDING = -100
"""The target that torch's cross_entropy passes over."""


class Loaded(NamedTuple):
    """ids (T, B) and targets (T·B,), padded; or ids and targets (N,) and sizes (T,) of a PackedSequence."""

    ids: Tensor
    targets: Tensor
    sizes: Tensor | None


class Network(nn.Module):
    """Rows for the characters (a trained embedding, or one-hot), an LSTM, a linear layer."""

    def __init__(self, shape: Shape, parameters: dict[str, np.ndarray], threads: int) -> None:
        super().__init__()
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        p = {name: torch.from_numpy(value) for name, value in parameters.items()}
        self.rows = nn.Parameter(p["embedding"].clone()) if shape.E else torch.eye(shape.V)
        self.lstm = nn.LSTM(shape.E or shape.V, shape.H)
        self.head = nn.Linear(shape.H, shape.V)
        W_h, W_x = p["lstm.0.W"].split([shape.H, shape.E or shape.V], dim=1)
        weights = {"weight_hh_l0": W_h, "weight_ih_l0": W_x, "bias_ih_l0": p["lstm.0.b"]}
        self.lstm.load_state_dict(weights | {"bias_hh_l0": torch.zeros(4 * shape.H)})
        # The second bias has the first one's gradient: training both would move their sum twice as far.
        self.lstm.bias_hh_l0.requires_grad_(False)
        self.head.load_state_dict({"weight": p["head.W"], "bias": p["head.b"]})

    def forward(self, batch: Loaded) -> Tensor:
        """Logits (N or T·B, V)."""
        x: Any = self.rows[batch.ids]
        if batch.sizes is not None:
            return self.head(self.lstm(PackedSequence(x, batch.sizes))[0].data)
        return self.head(self.lstm(x)[0].flatten(0, 1))

    def named(self, of: Callable[[Any], Any]) -> dict[str, np.ndarray]:
        """Something of each parameter, such as its gradient, by the workload's names."""
        lstm, head = self.lstm, self.head
        tensors = {
            "lstm.0.W": torch.hstack([of(lstm.weight_hh_l0), of(lstm.weight_ih_l0)]),
            "lstm.0.b": of(lstm.bias_ih_l0),
            "head.W": of(head.weight),
            "head.b": of(head.bias),
        }
        if isinstance(self.rows, nn.Parameter):
            tensors["embedding"] = of(self.rows)
        return {name: tensor.numpy() for name, tensor in tensors.items()}


class Peer(LanguageModel):
    def build(self, parameters: dict[str, np.ndarray]) -> None:
        self.network = Network(self.shape, parameters, self.variant.threads)
        trained = [p for p in self.network.parameters() if p.requires_grad]
        self.adam = torch.optim.Adam(trained, lr=RATE, fused=True)
        self.autocast = torch.autocast("cpu", torch.bfloat16, enabled="bf16" in self.variant.mode)

    def load(self, batch: Batch) -> Loaded:
        ids, targets = batch.ids.astype(np.int64), batch.targets.astype(np.int64)
        if "packed" in self.variant.mode:
            real = real_mask(batch)
            ids, targets, sizes = (torch.from_numpy(a) for a in (ids[real], targets[real], real.sum(1)))
            return Loaded(ids, targets, sizes)
        targets[~real_mask(batch)] = PADDING
        return Loaded(torch.from_numpy(ids), torch.from_numpy(targets.reshape(-1)), None)

    def run_backward(self, batch: Loaded) -> Tensor:
        self.adam.zero_grad()
        with self.autocast:
            loss = cross_entropy(self.network(batch), batch.targets)
        loss.backward()
        return loss

    def train(self, batch: Loaded) -> float:
        loss = self.run_backward(batch)
        self.adam.step()
        return loss.item()

    def forward(self, batch: Loaded) -> Tensor:
        with torch.inference_mode(), self.autocast:
            return self.network(batch)

    def logits(self, batch: Batch) -> np.ndarray:
        logits = self.forward(self.load(batch)).float().numpy()
        return logits if "packed" in self.variant.mode else logits[real_mask(batch).reshape(-1)]

    def gradients(self, batch: Loaded) -> dict[str, np.ndarray]:
        self.run_backward(batch)
        return self.network.named(lambda p: p.grad)

    def parameters(self) -> dict[str, np.ndarray]:
        return self.network.named(lambda p: p.detach())
