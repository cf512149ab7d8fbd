"""What is measured: the shapes, and for each the weights and batches that ours and every peer get.

Letters: T time steps, B sequences in a batch, V characters, E embedding size, H hidden size, N positions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fastlstm.data.batching import Batch, NameBatches
from fastlstm.data.names import Names
from fastlstm.data.vocabulary import Vocabulary

RATE = 1e-3
"""Adam's learning rate in every training step."""


@dataclass(frozen=True)
class Shape:
    """One size of model and batch; E = 0 is one-hot input.

    `use` says how `--module` runs the layer: forward and backward, in "inference" mode, or in a training "loop".
    """

    name: str
    T: int
    B: int
    E: int
    H: int
    V: int
    about: str
    ragged: bool = False
    layers: int = 1
    directions: int = 1
    use: str = ""

    def flops(self, positions: float, training: bool) -> float:
        """Floating-point operations of one step over N real positions, counted alike for everybody.

        >>> round(SHAPES["charrnn"].flops(2500, training=True) / 1e9, 1)
        1.1
        """
        forward = positions * self.H * (8 * self.H + 2 * self.V)
        return 3 * forward if training else forward

    @property
    def sizes(self) -> str:
        T = f"T ≤ {self.T}" if self.ragged else f"T {self.T}"
        return f"{T}, B {self.B}, E {self.E or '–'}, H {self.H}, V {self.V}"


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("notebook", 865, 1, 0, 25, 32, "a whole text as one sequence"),
        Shape("kaggle", 28, 1, 0, 1000, 65, "one short sequence, a large model"),
        Shape("names-small", 12, 20, 100, 256, 27, "small batches of names"),
        Shape("names", 16, 128, 64, 256, 27, "a names model, all names equally long"),
        Shape("names-ragged", 16, 128, 64, 256, 27, "the same on real names", ragged=True),
        Shape("charrnn", 50, 50, 0, 128, 65, "char-rnn's defaults"),
        Shape("charrnn-large", 100, 64, 0, 512, 65, "a serious character model"),
    )
}
USES = (
    replace(
        SHAPES["charrnn"], name="charrnn stacked", layers=2, directions=2, about="two layers, both directions"
    ),
    replace(
        SHAPES["names"],
        name="names inference",
        use="inference",
        about="forward of embedded characters, under inference_mode",
    ),
    *(
        replace(
            SHAPES[name],
            name=f"{name} loop",
            use="loop",
            about="a training loop: embedding, LSTM, output layer, AdamW",
        )
        for name in ("notebook", "names-small", "names", "charrnn")
    ),
    replace(
        SHAPES["charrnn"],
        name="charrnn stacked loop",
        layers=2,
        directions=2,
        use="loop",
        about="the stack in a training loop",
    ),
)
"""What `--module` measures beside the shapes."""
SAMPLING = {
    shape.name: shape
    for shape in (
        Shape("sample-many", 30, 10_000, 64, 256, 27, "10,000 names a call", ragged=True),
        Shape("sample-one", 30, 1, 64, 256, 27, "one name a call", ragged=True),
    )
}


def real_mask(batch: Batch) -> np.ndarray:
    """Which of the (T, B) positions are real; in row-major order these are the N compact positions."""
    T, B = batch.ids.shape
    return np.ones((T, B), bool) if batch.lengths is None else np.arange(T)[:, None] < batch.lengths


def positions(batch: Batch) -> int:
    """The number of real positions N."""
    return batch.ids.size if batch.lengths is None else int(batch.lengths.sum())


@dataclass(frozen=True)
class Workload:
    """A shape with float32 weights, named as a `Network` names them, and batches to rotate."""

    shape: Shape
    parameters: dict[str, np.ndarray]
    batches: list[Batch]

    def bucketed(self) -> list[Batch]:
        """The same sequences sorted by length and batched anew, so that little is padding."""
        columns = [
            (batch.ids[:length, b], batch.targets[:length, b])
            for batch in self.batches
            if batch.lengths is not None
            for b, length in enumerate(batch.lengths)
        ]
        columns.sort(key=lambda column: -len(column[0]))
        return [ragged_batch(columns[i : i + self.shape.B]) for i in range(0, len(columns), self.shape.B)]

    def save(self, path: Path) -> None:
        arrays: dict[str, Any] = {f"parameter {name}": value for name, value in self.parameters.items()}
        for i, batch in enumerate(self.batches):
            arrays |= {f"batch {i} {k}": v for k, v in batch._asdict().items() if v is not None}
        np.savez(path, **arrays)

    @classmethod
    def load(cls, path: Path, shape: Shape) -> Workload:
        with np.load(path) as file:
            arrays: dict[str, Any] = dict(file)
        parameters = {key.split()[1]: value for key, value in arrays.items() if key.startswith("parameter ")}
        count = sum(key.endswith(" ids") for key in arrays)
        fields: list[dict[str, Any]] = [
            {k: arrays.get(f"batch {i} {k}") for k in Batch._fields} for i in range(count)
        ]
        batches = [Batch(**batch) for batch in fields]
        return cls(shape, parameters, batches)


def ragged_batch(columns: list[tuple[np.ndarray, np.ndarray]]) -> Batch:
    """Sequences of ids and targets, the longest first, padded with 0 to the first one's length."""
    lengths = np.array([len(ids) for ids, _ in columns], np.int32)
    ids, targets = np.zeros((2, lengths[0], len(columns)), np.int32)
    for b, (column_ids, column_targets) in enumerate(columns):
        ids[: lengths[b], b], targets[: lengths[b], b] = column_ids, column_targets
    return Batch(ids, targets, lengths)


def make_workload(shape: Shape, names: Names, seed: int = 0) -> Workload:
    """Random ids for a dense shape; for the ragged one full batches of the names, as training cuts them.

    A ragged shape takes the names' vocabulary, and its T is its batches'; a sampling shape has no batches.
    """
    from fastlstm.network.architecture import Architecture

    rng = np.random.default_rng(seed)
    batches: list[Batch] = []
    if shape.ragged:
        vocabulary = Vocabulary.from_texts(names, boundary=True)
        shape = replace(shape, V=vocabulary.size)
        if shape.name not in SAMPLING:
            drawn = NameBatches(names, vocabulary, shape.B).epoch(rng)
            batches = list(islice((batch for batch in drawn if batch.ids.shape[1] == shape.B), 16))
            shape = replace(shape, T=max(len(batch.ids) for batch in batches))
    else:
        ids = rng.integers(0, shape.V, (8, shape.T + 1, shape.B), dtype=np.int32)
        batches = [Batch(i[:-1].copy(), i[1:].copy(), None) for i in ids]
    architecture = Architecture(vocabulary=shape.V, hidden=shape.H, embedding=shape.E)
    parameters = {}
    for name, size in architecture.shapes().items():
        scale = 1.0 if name == "embedding" else shape.H**-0.5
        parameters[name] = (scale * rng.uniform(-1, 1, size)).astype(np.float32)
    return Workload(shape, parameters, batches)
