"""What every driver has in common: it is built from a workload, checked once, then called in blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from fastlstm.benchmark.peers import Variant
from fastlstm.benchmark.shapes import Workload, positions
from fastlstm.data.batching import Batch

UPDATES = 3
"""Training steps after which the parameters are compared."""
CHECKED_NAMES, SEED = 1000, 0
"""How many names are compared, and the seed of the uniform numbers that they are drawn with."""
NAMES_A_CALL = 50
"""Names of a timed call where they are drawn one at a time."""


class Driver(ABC):
    """One variant of one peer on one workload."""

    cycle = 1
    """Calls after which all batches have had their turn, where they differ in size."""

    @abstractmethod
    def quantities(self) -> dict[str, np.ndarray]:
        """What must agree with the truth before anything is timed: `group name` → values."""

    @abstractmethod
    def call(self, i: int) -> int:
        """The i-th timed call; the number of characters it dealt with."""


class LanguageModel(Driver):
    """Training steps or forward passes of the whole network over rotating batches."""

    def __init__(self, workload: Workload, job: str, variant: Variant) -> None:
        self.shape, self.variant, self.initial = workload.shape, variant, workload.parameters
        self.training = job == "training"
        self.build(workload.parameters)
        source = workload.bucketed() if "bucketed" in variant.mode else workload.batches
        self.batches = [self.load(batch) for batch in source]
        self.positions = [positions(batch) for batch in source]
        self.checked = workload.batches[:UPDATES]
        self.cycle = len(source) if workload.shape.ragged else 1
        self.run: Callable[[Any], Any] = self.train if self.training else self.forward

    @abstractmethod
    def build(self, parameters: dict[str, np.ndarray]) -> None:
        """Take over the initial weights."""

    @abstractmethod
    def load(self, batch: Batch) -> Any:
        """The batch as the peer likes it best; not timed."""

    @abstractmethod
    def train(self, batch: Any) -> float:
        """One training step: forward, loss, backward, Adam. Returns the loss."""

    @abstractmethod
    def forward(self, batch: Any) -> Any:
        """The logits of all positions, computed when this returns."""

    @abstractmethod
    def logits(self, batch: Batch) -> np.ndarray:
        """The logits (N, V) of the real positions."""

    @abstractmethod
    def gradients(self, batch: Any) -> dict[str, np.ndarray]:
        """The loss's gradients by the parameters, named and shaped as the workload's."""

    @abstractmethod
    def parameters(self) -> dict[str, np.ndarray]:
        """The present parameters, likewise."""

    def quantities(self) -> dict[str, np.ndarray]:
        if not self.training:
            return {"logits": self.logits(self.checked[0])}
        batches = [self.load(batch) for batch in self.checked]
        gradients = self.gradients(batches[0])
        found = {f"gradient {name}": np.array(value) for name, value in gradients.items()}
        found["loss"] = np.array([self.train(batch) for batch in batches])
        for name, value in self.parameters().items():
            found[f"update {name}"] = np.asarray(value, np.float64) - self.initial[name]
        return found

    def call(self, i: int) -> int:
        turn = i % len(self.batches)
        self.run(self.batches[turn])
        return self.positions[turn]
