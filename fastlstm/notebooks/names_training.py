"""The names notebook's training step in the engine's layout, and what its functions share with it.

Letters: T steps, B names in a batch, V characters, E embedding size, H hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fastlstm.engine.parameters import Parameters
from fastlstm.errors import FastLSTMError
from fastlstm.network.lstm import lstm_backward, lstm_forward
from fastlstm.network.optim import Optimizer, OptimizerConfig
from fastlstm.notebooks.cell import softmax

EPSILON = 1e-6
ROWS = ("igw", "fgw", "ggw", "ogw")  # the notebook's names in the order of the engine's rows

Arrays = dict[str, np.ndarray]


def fuse(parameters: Mapping[str, np.ndarray]) -> np.ndarray:
    """The engine's W (4H, H+E), columns [h | x], from the notebook's four matrices (E+H, H), rows [x ; h]."""
    H = parameters["fgw"].shape[1]
    return np.concatenate([np.roll(parameters[name], H, axis=0).T for name in ROWS])


def split(W: np.ndarray) -> Arrays:
    """The notebook's four matrices from the engine's W."""
    H = len(W) // 4
    return {
        name: np.roll(part, -H, axis=1).T.copy() for name, part in zip(ROWS, W.reshape(4, H, -1), strict=True)
    }


def real_targets(batch: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Ids (T+1, B) int32 of a batch's one-hot matrices, and each name's number of real targets (B,).

    A name's last real target is its first end mark; that is the character of which the padding is made.
    """
    rows = np.stack(batch)
    ids = rows.argmax(axis=2).astype(np.int32)
    end = ids[-1, 0]
    if len(ids) < 2 or (ids[-1] != end).any():
        raise FastLSTMError("a batch must end with a column of end marks: pad names to the longest + 1")
    return ids, 1 + (ids[1:] == end).argmax(axis=0)


def real(lengths: np.ndarray, T: int) -> np.ndarray:
    """(T, B): which targets count."""
    return np.arange(T)[:, None] < lengths


def scores(p: np.ndarray, targets: np.ndarray, lengths: np.ndarray) -> tuple[float, float, float]:
    """Perplexity, loss and accuracy of probabilities (T, B, V) for targets (T, B)."""
    counted = real(lengths, len(p))
    right = np.take_along_axis(p, targets[..., None], axis=2)[..., 0]
    wrong = p.copy()
    np.put_along_axis(wrong, targets[..., None], 0, axis=2)
    log_p = np.log(right)
    loss = -((log_p + np.log1p(-wrong).sum(axis=2)) * counted).sum() / len(lengths)
    perplexity = np.exp(-(log_p * counted).sum(axis=0) / lengths).mean()
    accuracy = ((p.argmax(axis=2) == targets) & counted).sum() / lengths.sum()
    return float(perplexity), float(loss), float(accuracy)


def errors(p: np.ndarray, targets: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Gradients (T, B, V) of the summed cross-entropy by the logits, zero in the padding."""
    d = p.copy()
    d[np.arange(len(p))[:, None], np.arange(len(lengths)), targets] -= 1
    return d * real(lengths, len(p))[..., None]


class Trainer:
    """Weights, embeddings and moments in the engine's layout, and the step that moves them."""

    def __init__(
        self,
        parameters: Mapping[str, np.ndarray],
        embeddings: np.ndarray,
        learning_rate: float,
        beta1: float,
        beta2: float,
    ) -> None:
        W = fuse(parameters)
        self.weights = Parameters({"W": W.shape, "head": parameters["how"].T.shape}, W.dtype)
        self.weights["W"][...], self.weights["head"][...] = W, parameters["how"].T
        self.gradients = self.weights.like()
        self.embeddings, self.learning_rate = embeddings, learning_rate
        self.optimizer = Optimizer(self.weights, OptimizerConfig("adam", beta1=beta1, beta2=beta2))

    def parameters(self) -> Arrays:
        """The notebook's dictionary."""
        parts = split(self.weights["W"])
        return {name: parts[name] for name in ("fgw", "igw", "ogw", "ggw")} | {
            "how": self.weights["head"].T.copy()
        }

    def step(self, ids: np.ndarray, lengths: np.ndarray) -> tuple[float, float, float]:
        """One update from ids (T+1, B); perplexity, loss and accuracy before it."""
        W, head = self.weights["W"], self.weights["head"]
        H, B = len(W) // 4, len(lengths)
        ids, targets = ids[: lengths.max()], ids[1 : lengths.max() + 1]
        # Embedding and input weights in one product: a table with a column for each character.
        fused = np.concatenate([W[:, :H], W[:, H:] @ self.embeddings.T], axis=1)
        out, _, cache = lstm_forward(ids, fused, lengths=lengths)
        p = softmax(out @ head.T)
        d = errors(p, targets, lengths) / W.dtype.type(B)
        layer = lstm_backward(d @ head, cache).W
        g = self.gradients
        g["W"][:, :H] = layer[:, :H]
        g["W"][:, H:] = layer[:, H:] @ self.embeddings
        g["head"][...] = d.reshape(-1, len(head)).T @ out.reshape(-1, H)
        d_embeddings = layer[:, H:].T @ W[:, H:]
        self._update()
        self.embeddings = self.embeddings - self.learning_rate * d_embeddings
        return scores(p, targets, lengths)

    def _update(self) -> None:
        """Adam as the notebook has it: the optimiser's bias correction is undone in its rate and ε."""
        t, config = self.optimizer.steps + 1, self.optimizer.config
        correction = math.sqrt(1 - config.beta2**t)
        self.optimizer.config = replace(config, epsilon=EPSILON / correction)
        self.optimizer.update(self.gradients, self.learning_rate * (1 - config.beta1**t) / correction)
