"""Ours as a sampler: `fastlstm.generation.sampling.generate`."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from fastlstm.benchmark.peers import Variant
from fastlstm.benchmark.peers.base import CHECKED_NAMES, NAMES_A_CALL, SEED, Driver
from fastlstm.benchmark.shapes import Workload
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.generation.sampling import generate
from fastlstm.network.architecture import Architecture
from fastlstm.network.model import Network


class Peer(Driver):
    def __init__(self, workload: Workload, job: str, variant: Variant) -> None:
        shape = self.shape = workload.shape
        network = Network(Architecture(vocabulary=shape.V, hidden=shape.H, embedding=shape.E))
        for name, view in network.parameters.items():
            view[...] = workload.parameters[name]
        # Which characters the ids stand for does not matter here.
        vocabulary = Vocabulary([chr(ord("a") + i) for i in range(shape.V - 1)], boundary=True)
        self.model = SimpleNamespace(network=network, vocabulary=vocabulary, kind="names", preprocessing={})
        self.threads = variant.threads

    def draw(self, n: int, seed: int) -> list[str]:
        sizes = {"min_length": 0, "max_length": self.shape.T, "batch_size": min(n, self.shape.B)}
        return generate(self.model, n, seed=seed, threads=self.threads, **sizes)

    def quantities(self) -> dict[str, np.ndarray]:
        ids = np.zeros((CHECKED_NAMES, self.shape.T), np.int32)
        for row, name in zip(ids, self.draw(CHECKED_NAMES, SEED), strict=True):
            row[: len(name)] = self.model.vocabulary.encode(name)
        return {"names": ids}

    def call(self, i: int) -> int:
        names = self.draw(max(self.shape.B, NAMES_A_CALL), seed=i)
        return sum(min(len(name) + 1, self.shape.T) for name in names)
