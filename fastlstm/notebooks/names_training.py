"""The names notebook in the engine's layout: its weights, where each name ends, and the step that learns.

Letters: T steps, B names in a batch, V characters, E embedding size, H hidden size, N real targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fastlstm.errors import FastLSTMError
from fastlstm.network.architecture import Architecture
from fastlstm.network.model import Network
from fastlstm.network.optim import Optimizer, OptimizerConfig

Arrays = dict[str, np.ndarray]

ROWS = ("igw", "fgw", "ggw", "ogw")  # the notebook's names in the order of the engine's rows
EPSILON = 1e-6


def fuse(parameters: Mapping[str, np.ndarray]) -> np.ndarray:
    """The engine's W (4H, H+E), columns [h | x], from the notebook's four matrices (E+H, H), rows [x ; h]."""
    H = parameters["fgw"].shape[1]
    return np.concatenate([np.roll(parameters[name], H, axis=0).T for name in ROWS])


def split(W: np.ndarray) -> Arrays:
    """The notebook's four matrices from the engine's W."""
    H = len(W) // 4
    parts = dict(zip(ROWS, W.reshape(4, H, -1), strict=True))
    return {name: np.roll(parts[name], -H, axis=1).T.copy() for name in ("fgw", "igw", "ogw", "ggw")}


def ids_of(batch: Sequence[np.ndarray]) -> np.ndarray:
    """Ids (T+1, B) int32 of a batch's one-hot matrices."""
    if len(batch) < 2:
        raise FastLSTMError(f"a batch of {len(batch)} characters a name; there must be one to predict")
    return np.stack([matrix.argmax(axis=1) for matrix in batch]).astype(np.int32)


def end_mark(ids: np.ndarray) -> int:
    """The character that pads names, ids (T+1, B) in columns; -1 where none does.

    Nothing but itself follows it. By chance that may be so of a letter which some unpadded names end in: the mark
    is the one that is repeated most often.
    """
    repeated = ids[:-1] == ids[1:]
    marks = np.setdiff1d(ids[-1], ids[:-1][~repeated])
    if len(marks):
        return int(max(marks, key=lambda n: ((ids[:-1][repeated] == n).sum(), (ids[-1] == n).sum())))
    if (ids[-2:] == ids[-1, 0]).all():
        raise FastLSTMError("the character that pads the names also stands within them: pad with another")
    return -1


def lengths_of(ids: np.ndarray, mark: int) -> np.ndarray:
    """Each name's number of real targets (B,): to its first end mark, or all if it fills its column."""
    ends = ids[1:] == mark
    return np.where(ends.any(axis=0), 1 + ends.argmax(axis=0), len(ends))


class Real(NamedTuple):
    """The real targets of a batch, step by step: which of (T, B) they are, and each one's name and id (N,)."""

    mask: np.ndarray
    names: np.ndarray
    targets: np.ndarray


def real(ids: np.ndarray, mark: int) -> Real:
    """The real targets of ids (T+1, B)."""
    mask = np.arange(len(ids) - 1)[:, None] < lengths_of(ids, mark)
    return Real(mask, np.nonzero(mask)[1], ids[1:][mask])


def scores(
    losses: np.ndarray, others: np.ndarray, hits: int, names: np.ndarray
) -> tuple[float, float, float]:
    """Perplexity, loss and accuracy, from each real target's cross-entropy (N,), the other characters' probabilities
    (N, V), how many targets are the likeliest character, and the targets' names (N,)."""
    lengths = np.bincount(names)
    # A network may be quite sure of a wrong character: then both are infinite.
    with np.errstate(divide="ignore", over="ignore"):
        loss = (losses.sum() - np.log1p(-others).sum()) / len(lengths)
        perplexity = np.exp(np.bincount(names, losses) / lengths).mean()
    return float(perplexity), float(loss), hits / len(names)


class Trainer:
    """The network that learns, and the step that moves it."""

    def __init__(
        self, parameters: Mapping[str, np.ndarray], embeddings: np.ndarray, beta1: float, beta2: float
    ) -> None:
        H, V = parameters["how"].shape
        dtype = parameters["how"].dtype.name
        self.network = Network(Architecture(V, H, embeddings.shape[1], forget_bias=0.0, dtype=dtype))
        mine = self.network.parameters
        mine["lstm.0.W"][...], mine["head.W"][...] = fuse(parameters), parameters["how"].T
        mine["embedding"][...] = embeddings
        config = OptimizerConfig("adam", beta1=beta1, beta2=beta2, epsilon=EPSILON, bias_correction=False)
        # The notebook's embeddings know no moments, and biases it has none.
        apart = {"embedding": OptimizerConfig("sgd"), "lstm.0.b": None, "head.b": None}
        self.optimizer = Optimizer(mine, config, apart=apart)

    def parameters(self) -> Arrays:
        """The notebook's dictionary."""
        mine = self.network.parameters
        return split(mine["lstm.0.W"]) | {"how": mine["head.W"].T.copy()}

    def step(self, ids: np.ndarray, mark: int, learning_rate: float) -> tuple[float, float, float]:
        """One update from ids (T+1, B); perplexity, loss and accuracy before it."""
        lengths = lengths_of(ids, mark)
        order = np.argsort(-lengths, kind="stable")
        ids, lengths = ids[: lengths.max() + 1, order], lengths[order]
        B = len(lengths)
        metrics, _ = self.network.step(
            ids[:-1], ids[1:], self.optimizer, learning_rate, lengths, final=False, divisor=B
        )
        if not np.isfinite(metrics.loss):
            raise FastLSTMError(
                f"training diverged at step {self.optimizer.steps}: try a smaller learning_rate"
            )
        # What the program leaves of a target's logits is (probabilities − one-hot) / B.
        losses, others = self.network.per_target()
        _, names, targets = real(ids, mark)
        others = others * float(B)
        others[np.arange(len(others)), targets] = 0
        return scores(losses, others, metrics.correct, names)
