"""Ours: the network as people call it."""

from __future__ import annotations

import numpy as np

from fastlstm.benchmark.peers.base import LanguageModel
from fastlstm.benchmark.shapes import RATE, real_mask
from fastlstm.data.batching import Batch
from fastlstm.network.architecture import Architecture
from fastlstm.network.model import Network
from fastlstm.network.optim import Optimizer


class Peer(LanguageModel):
    def build(self, parameters: dict[str, np.ndarray]) -> None:
        shape = self.shape
        architecture = Architecture(vocabulary=shape.V, hidden=shape.H, embedding=shape.E)
        precision = self.variant.mode or None
        self.network = Network(architecture, threads=self.variant.threads, precision=precision)
        for name, view in self.network.parameters.items():
            view[...] = parameters[name]
        self.optimizer = Optimizer(self.network.parameters)
        # As the graph of ONNX Runtime, which packs its weights once.
        self.network.frozen = not self.training

    def load(self, batch: Batch) -> Batch:
        return batch

    def train(self, batch: Batch) -> float:
        metrics, _ = self.network.step(
            batch.ids, batch.targets, self.optimizer, RATE, batch.lengths, final=False
        )
        return metrics.loss

    def forward(self, batch: Batch) -> np.ndarray:
        return self.network.forward(batch.ids, batch.lengths)[0]

    def logits(self, batch: Batch) -> np.ndarray:
        return self.forward(batch)[real_mask(batch)]

    def gradients(self, batch: Batch) -> dict[str, np.ndarray]:
        self.network.backward(batch.ids, batch.targets, batch.lengths)
        return dict(self.network.gradients.items())

    def parameters(self) -> dict[str, np.ndarray]:
        return dict(self.network.parameters.items())
