"""The network: embedding → LSTM layers → linear → softmax cross-entropy, and its gradients.

Letters: T time steps, B sequences in a batch, V characters, E embedding size, H hidden size, L layers.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from fastlstm.errors import FastLSTMError
from fastlstm.lstm import lstm_backward, lstm_forward
from fastlstm.optim import Optimizer
from fastlstm.parameters import Parameters


@dataclass(frozen=True)
class Architecture:
    """The sizes and options that decide a network's parameters; embedding 0 means one-hot input."""

    vocabulary: int
    hidden: int = 256
    embedding: int = 64
    layers: int = 1
    dropout: float = 0.0
    embedding_dropout: float = 0.0
    tied: bool = False
    learned_state: bool = False
    forget_bias: float = 1.0
    dtype: str = "float32"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        V, H, E = self.vocabulary, self.hidden, self.embedding
        shapes: dict[str, tuple[int, ...]] = {}
        if E:
            shapes["embedding"] = (V, E)
        for layer in range(self.layers):
            width = H if layer else (E or V)
            shapes[f"lstm.{layer}.W"] = (4 * H, H + width)
            shapes[f"lstm.{layer}.b"] = (4 * H,)
        if not self.tied:
            shapes["head.W"] = (V, H)
        shapes["head.b"] = (V,)
        if self.learned_state:
            shapes["h0"] = shapes["c0"] = (self.layers, H)
        return shapes

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class State(NamedTuple):
    """The hidden and cell states between two calls, each (L, B, H)."""

    h: np.ndarray
    c: np.ndarray


class Metrics(NamedTuple):
    """Of one call: mean loss in nats a target, correct argmaxes, targets, and the gradients' global norm."""

    loss: float
    correct: int
    count: int
    norm: float = 0.0


class Network:
    """Parameters, gradients and the compiled passes over them.

    Initial weights: embedding normal(0, 1)·0.1… see `reset`.
    """

    def __init__(self, architecture: Architecture, seed: int = 0, threads: int | None = None) -> None:
        self.architecture = architecture
        self.threads = threads
        self.parameters = Parameters(architecture.shapes(), architecture.dtype)
        self.gradients = self.parameters.like()
        rng = np.random.default_rng(seed)
        H = architecture.hidden
        for name, view in self.parameters.items():
            if name == "embedding":
                view[:] = rng.normal(0, 1, view.shape)
            elif name.endswith(".W"):
                view[:] = rng.uniform(-1, 1, view.shape) / np.sqrt(H)
            elif name.startswith("lstm") and name.endswith(".b"):
                view[H : 2 * H] = architecture.forget_bias

    def initial_state(self, batch: int) -> State:
        a = self.architecture
        if a.learned_state:
            return State(*(np.repeat(self.parameters[n][:, None], batch, 1) for n in ("h0", "c0")))
        zero = np.zeros((a.layers, batch, a.hidden), a.dtype)
        return State(zero, zero.copy())

    def _head(self):
        return self.parameters["embedding" if self.architecture.tied else "head.W"]

    def _forward(self, ids, lengths, state):
        a, p = self.architecture, self.parameters
        x = p["embedding"][ids] if a.embedding else np.asarray(ids)
        state = state or self.initial_state(np.shape(ids)[1])
        caches, hs, cs = [], [], []
        for layer in range(a.layers):
            x, (h, c), cache = lstm_forward(
                x, p[f"lstm.{layer}.W"], p[f"lstm.{layer}.b"], state.h[layer], state.c[layer], lengths
            )
            caches.append(cache)
            hs.append(h)
            cs.append(c)
        return x, x @ self._head().T + p["head.b"], caches, State(np.stack(hs), np.stack(cs))

    def forward(self, ids, lengths=None, state=None) -> tuple[np.ndarray, State]:
        """Logits (T, B, V) and the final state; no dropout. `lengths` (B,) in non-increasing order."""
        _, logits, _, state = self._forward(ids, lengths, state)
        return logits, state

    def _loss(self, ids, targets, lengths, logits):
        T, B = np.shape(ids)
        real = np.arange(T)[:, None] < (np.full(B, T) if lengths is None else np.asarray(lengths))
        z = logits - logits.max(-1, keepdims=True)
        logp = z - np.log(np.exp(z).sum(-1, keepdims=True))
        count = int(real.sum())
        picked = np.take_along_axis(logp, np.asarray(targets)[..., None], -1)[..., 0]
        loss = float(-picked[real].sum(dtype=np.float64)) / count
        correct = int((logits.argmax(-1) == targets)[real].sum())
        return logp, real, Metrics(loss, correct, count)

    def evaluate(self, ids, targets, lengths=None, state=None) -> tuple[Metrics, State]:
        """The loss without dropout, and the final state."""
        _, logits, _, state = self._forward(ids, lengths, state)
        return self._loss(ids, targets, lengths, logits)[2], state

    def backward(self, ids, targets, lengths=None, state=None, dropout_key: int | None = None) -> tuple[Metrics, State]:
        """Fill `self.gradients` with the gradients of the mean loss.

        `dropout_key` (an integer, different at every step) switches dropout on.
        """
        a, p, g = self.architecture, self.parameters, self.gradients
        g.flat[:] = 0
        carried = state is not None
        out, logits, caches, state = self._forward(ids, lengths, state)
        logp, real, metrics = self._loss(ids, targets, lengths, logits)
        d = np.exp(logp)
        np.put_along_axis(d, np.asarray(targets)[..., None], np.take_along_axis(d, np.asarray(targets)[..., None], -1) - 1, -1)
        d *= real[..., None] / metrics.count
        d = d.astype(a.dtype)
        g["embedding" if a.tied else "head.W"][...] += np.einsum("tbv,tbh->vh", d, out)
        g["head.b"][:] = d.sum((0, 1))
        dx = d @ self._head()
        for layer in reversed(range(a.layers)):
            grads = lstm_backward(dx, caches[layer])
            g[f"lstm.{layer}.W"][:], g[f"lstm.{layer}.b"][:] = grads.W, grads.b
            if a.learned_state and not carried:
                g["h0"][layer], g["c0"][layer] = grads.h0.sum(0), grads.c0.sum(0)
            dx = grads.x
        if a.embedding:
            np.add.at(g["embedding"], np.asarray(ids)[real], dx[real])
        return metrics, state

    def step(
        self, ids, targets, optimizer: Optimizer, rate: float, lengths=None, state=None, dropout_key: int | None = None
    ) -> tuple[Metrics, State]:
        """One training step: gradients, clipping, update. Parameters stay as they were if the loss is not finite."""
        metrics, state = self.backward(ids, targets, lengths, state, dropout_key)
        norm = float("nan")
        if np.isfinite(metrics.loss):
            norm = optimizer.update(self.gradients, rate)
        return metrics._replace(norm=norm), state
