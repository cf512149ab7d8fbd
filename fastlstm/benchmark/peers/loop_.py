"""`loop`: the obvious LSTM of `fastlstm.network.reference`, a Python loop over sequences, steps and gates."""

from __future__ import annotations

import numpy as np

from fastlstm.benchmark.peers.base import LanguageModel
from fastlstm.benchmark.peers.numpy_ import adam
from fastlstm.benchmark.shapes import real_mask
from fastlstm.data.batching import Batch
from fastlstm.network import reference


class Peer(LanguageModel):
    def build(self, parameters: dict[str, np.ndarray]) -> None:
        self.weights = {name: value.astype(np.float64) for name, value in parameters.items()}
        self.update = adam(self.weights)

    def load(self, batch: Batch) -> Batch:
        return batch

    def train(self, batch: Batch) -> float:
        result = reference.loss_and_gradients(self.weights, batch.ids, batch.targets, batch.lengths)
        self.update(result.gradients)
        return result.loss

    def forward(self, batch: Batch) -> list[np.ndarray]:
        w, zero = self.weights, np.zeros(self.shape.H)
        lengths = [len(batch.ids)] * batch.ids.shape[1] if batch.lengths is None else batch.lengths
        logits = []
        for b, length in enumerate(lengths):
            ids = batch.ids[:length, b]
            x = w["embedding"][ids] if "embedding" in w else ids
            out, _, _, _ = reference.lstm_sequence_forward(x, w["lstm.0.W"], w["lstm.0.b"], zero, zero)
            logits.append(out @ w["head.W"].T + w["head.b"])
        return logits

    def logits(self, batch: Batch) -> np.ndarray:
        padded = np.zeros((*batch.ids.shape, self.shape.V))
        for b, rows in enumerate(self.forward(batch)):
            padded[: len(rows), b] = rows
        return padded[real_mask(batch)]

    def gradients(self, batch: Batch) -> dict[str, np.ndarray]:
        return reference.loss_and_gradients(self.weights, batch.ids, batch.targets, batch.lengths).gradients

    def parameters(self) -> dict[str, np.ndarray]:
        return self.weights
