"""kaggle: a Shakespeare text in windows of 28 characters, hidden 1000, AdamW, until the smooth loss is 46.

>>> from fastlstm.notebooks.kaggle import LSTM
>>> lstm = LSTM(hidden_size=3, vocab_size=2, sequence_length=4, learning_rate=1e-3)
>>> lstm.Wf.shape, lstm.dby.shape
((3, 5), (2, 1))
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from fastlstm.errors import FastLSTMError
from fastlstm.network.architecture import State
from fastlstm.network.lstm import lstm_step, pack
from fastlstm.network.optim import Optimizer, OptimizerConfig
from fastlstm.notebooks.cell import Bias, Cell, Steps, Trace, Weight, draw, sigmoid, softmax
from fastlstm.notebooks.characters import encode, one_hot_ids

L2_REG = 1e-4


class DataGenerator:
    """A text in windows of `sequence_length` characters; after the last whole one it starts again.

    Different from the notebook: characters are numbered in sorted order, not in `set()`'s.
    """

    def __init__(self, path: str | PathLike[str], sequence_length: int) -> None:
        try:
            self.data = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise FastLSTMError(f"{path} cannot be read as text: {error}") from None
        self.data_size = len(self.data)
        if not 0 < sequence_length < self.data_size:
            raise FastLSTMError(
                f"{path} has {self.data_size} characters: too few for windows of {sequence_length} + 1"
            )
        self.char_to_idx = {c: n for n, c in enumerate(sorted(set(self.data)))}
        self.idx_to_char = {n: c for c, n in self.char_to_idx.items()}
        self.vocab_size = len(self.char_to_idx)
        self.sequence_length = sequence_length
        self.pointer = 0

    def next_batch(self) -> tuple[np.ndarray, list[int]]:
        """One-hot inputs (T, V) and the list of the T ids that follow each; moves the pointer on."""
        window = self.data[self.pointer : self.pointer + self.sequence_length + 1]
        ids = [self.char_to_idx[c] for c in window]
        self.pointer += self.sequence_length
        if self.pointer + self.sequence_length + 1 >= self.data_size:
            self.pointer = 0
        return np.eye(self.vocab_size)[ids[:-1]], ids[1:]


class LSTM(Cell):
    """kaggle's class: truncated back-propagation with the state carried from window to window, and AdamW.

    `Wf bf Wi bi Wc bc Wo bo Wy by` are views of the fused weights, and so are the gradients `dWf …` and the
    moments `mWf vWf …`: (H, H+V) and (H, 1), (V, H) and (V, 1). `dtype` is float64 or float32; `rng` is where
    draws come from, else NumPy's global generator. `losses` holds the last training's loss of each window.

    Different from the notebook: the candidate gate's derivative is taken once (not tanh of a tanh); AdamW
    updates `Wo` and `bo` too, and its bias correction is 1 − β^t (not 1 − β, which made its steps a third of
    what they claim to be); `predict` feeds the start's characters one after the other. The per-step
    dictionaries are read-only.
    """

    Wf, Wi, Wc, Wo, Wy = (Weight(gate) for gate in "ficoy")
    bf, bi, bc, bo, by = (Bias(gate) for gate in "ficoy")
    dWf, dWi, dWc, dWo, dWy = (Weight(gate, "gradients") for gate in "ficoy")
    dbf, dbi, dbc, dbo, dby = (Bias(gate, "gradients") for gate in "ficoy")
    mWf, mWi, mWc, mWo, mWy = (Weight(gate, "_means") for gate in "ficoy")
    mbf, mbi, mbc, mbo, mby = (Bias(gate, "_means") for gate in "ficoy")
    vWf, vWi, vWc, vWo, vWy = (Weight(gate, "_squares") for gate in "ficoy")
    vbf, vbi, vbc, vbo, vby = (Bias(gate, "_squares") for gate in "ficoy")

    def __init__(
        self,
        hidden_size: int,
        vocab_size: int,
        sequence_length: int,
        learning_rate: float,
        *,
        dtype: str = "float64",
        rng: Any = None,
    ) -> None:
        super().__init__(hidden_size, vocab_size, dtype, rng)
        self.hidden_size, self.vocab_size = hidden_size, vocab_size
        self.sequence_length, self.learning_rate = sequence_length, learning_rate
        self.losses: list[float] = []
        limit = math.sqrt(1 / hidden_size)
        self._draw((Weight,), lambda shape: self.rng.uniform(-limit, limit, shape))
        # The notebook's decay pulls on biases too.
        self._optimizer = Optimizer(self.parameters, OptimizerConfig("adamw"), decays=list(self.parameters))
        self._means, self._squares = self._optimizer.moments["m"], self._optimizer.moments["v"]

    def sigmoid(self, x: np.ndarray) -> np.ndarray:
        """1 / (1 + exp(-x)), without overflow."""
        return sigmoid(x)

    def softmax(self, x: np.ndarray) -> np.ndarray:
        """Probabilities of a column (or a row) of logits."""
        return softmax(np.ravel(x)).reshape(np.shape(x))

    def forward(self, X: np.ndarray, c_prev: np.ndarray, a_prev: np.ndarray) -> tuple[Any, ...]:
        """`(X, y_pred, c, f, i, o, cc, a)` for X (T, V) and states (H, 1).

        All but X are dictionaries of columns (H, 1) by step, `y_pred` of probabilities (V, 1); c and a also
        hold the states before the first step, at step -1.
        """
        trace = self._forward(X, c_prev, a_prev)
        p = softmax(self._logits(trace))
        y_pred = Steps(range(len(p)), lambda t: p[t, :, None], trace)
        return X, y_pred, *(trace.columns(name) for name in ("cells", "f", "i", "o", "c", "hidden"))

    def backward(
        self,
        X: np.ndarray,
        targets: Sequence[int],
        y_pred: Mapping[int, np.ndarray],
        c_prev: np.ndarray,
        a_prev: np.ndarray,
        c: Mapping[int, np.ndarray],
        f: Mapping[int, np.ndarray],
        i: Mapping[int, np.ndarray],
        o: Mapping[int, np.ndarray],
        cc: Mapping[int, np.ndarray],
        a: Mapping[int, np.ndarray],
    ) -> None:
        """Fill the gradients, summed over the window and clipped to ±1, from what `forward` returned."""
        trace = a.trace if isinstance(a, Steps) and a.trace else self._forward(X, c_prev, a_prev)
        dlogits = np.concatenate([y_pred[t] for t in range(len(targets))], axis=1).T
        dlogits[np.arange(len(targets)), targets] -= 1
        self._backpropagate(trace, dlogits)
        np.clip(self.gradients.flat, -1, 1, out=self.gradients.flat)

    def loss(self, y_preds: Mapping[int, np.ndarray], targets: Sequence[int]) -> float:
        """The cross-entropy in nats, summed over the window."""
        return float(-sum(np.log(y_preds[t][target, 0]) for t, target in enumerate(targets)))

    def adamw(
        self, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, L2_reg: float = L2_REG
    ) -> None:
        """Move every parameter: W −= learning_rate · (m̂ / (√v̂ + ε) + L2_reg · W)."""
        self._optimizer.config = OptimizerConfig("adamw", 0.0, beta1, beta2, epsilon, weight_decay=L2_reg)
        self._optimizer.update(self.gradients, self.learning_rate)

    def train(
        self, data_generator: DataGenerator, *, threshold: float = 46, max_iterations: int | None = None
    ) -> None:
        """Windows of the text until the smooth loss is at most `threshold` (or for `max_iterations`).

        Smooth loss is 0.999 of itself and 0.001 of the window's loss, from −ln(1/V)·T. Every 1,000 windows,
        the first included, the learning rate shrinks by 1 % and 200 characters are sampled and printed.
        """
        V, T = data_generator.vocab_size, self.sequence_length
        if self.vocab_size != V:
            raise FastLSTMError(f"the text has {V} characters; this LSTM's vocab_size is {self.vocab_size}")
        self.losses = []
        smooth_loss = math.log(V) * T
        state, iteration = self._network.initial_state(1), 0
        self._optimizer.config = OptimizerConfig("adamw", weight_decay=L2_REG, clip_value=1.0)
        while smooth_loss > threshold and iteration != max_iterations:
            if data_generator.pointer == 0:
                state = self._network.initial_state(1)
            inputs, targets = data_generator.next_batch()
            loss, state = self._window(one_hot_ids(inputs, "next_batch's inputs"), targets, state)
            self.losses.append(loss)
            smooth_loss = smooth_loss * 0.999 + loss * 0.001
            if iteration % 1000 == 0:
                self.learning_rate *= 0.99
                sample = self.sample(state.c[0].T, state.h[0].T, inputs[0], 200)
                print("".join(data_generator.idx_to_char[n] for n in sample))
                print(f"\n\niter :{iteration}, loss:{smooth_loss:f}", flush=True)
            iteration += 1

    def sample(self, c_prev: np.ndarray, a_prev: np.ndarray, seed_idx: np.ndarray, n: int) -> list[int]:
        """Draw n ids from states (H, 1) and a one-hot row, the character before the first one drawn."""
        return self._generate([int(np.argmax(seed_idx))], c_prev, a_prev, n)

    def predict(self, data_generator: DataGenerator, start: str, n: int) -> str:
        """`start` and n characters drawn after it, from a zero state."""
        ids = encode(start, data_generator.char_to_idx, "start")
        if not len(ids):
            raise FastLSTMError("start is empty: give it the characters to begin with")
        zero = np.zeros((self.hidden_size, 1))
        drawn = self._generate(ids.tolist(), zero, zero, n)
        return start + "".join(data_generator.idx_to_char[n] for n in drawn)

    def _forward(self, X: np.ndarray, c_prev: np.ndarray, a_prev: np.ndarray) -> Trace:
        """A forward pass over a window, its shapes checked."""
        H, V = self.hidden_size, self.vocab_size
        if np.ndim(X) != 2 or np.shape(X)[1] != V or np.shape(c_prev) != (H, 1) or np.shape(a_prev) != (H, 1):
            raise FastLSTMError(
                f"X is {np.shape(X)}, c_prev {np.shape(c_prev)}, a_prev {np.shape(a_prev)}; "
                f"expected (T, {V}), ({H}, 1), ({H}, 1)"
            )
        return self._run(np.asarray(X, np.float64), a_prev.T, c_prev.T)

    def _window(self, ids: np.ndarray, targets: Sequence[int], state: State) -> tuple[float, State]:
        """One update on a window in compiled code: its summed loss and the state after it."""
        T = self.sequence_length
        if len(ids) != T or len(targets) != T:
            raise FastLSTMError(
                f"a batch has {len(ids)} inputs, {len(targets)} targets; sequence_length: {T}"
            )
        columns = ids[:, None], np.array(targets, np.int32)[:, None]
        metrics, final = self._network.step(
            *columns, self._optimizer, self.learning_rate, state=state, divisor=1
        )
        if not np.isfinite(metrics.loss):
            raise FastLSTMError(
                f"training diverged at window {len(self.losses)}: try a smaller learning_rate"
            )
        assert final is not None
        return metrics.loss * T, final

    def _generate(self, fed: list[int], c: np.ndarray, a: np.ndarray, n: int) -> list[int]:
        """Draw n ids after those `fed`."""
        dtype = self.parameters.flat.dtype
        weights = pack(self.parameters["lstm.0.W"], self.parameters["lstm.0.b"])
        h, c = a.T.astype(dtype), c.T.astype(dtype)
        drawn: list[int] = []
        for t in range(len(fed) + n - 1):
            token = fed[t] if t < len(fed) else drawn[-1]
            h, c = lstm_step(np.array([token], np.int32), h, c, weights)
            if t >= len(fed) - 1:
                logits = h @ self.parameters["head.W"].T + self.parameters["head.b"]
                drawn.append(int(draw(softmax(logits), self.rng)[0]))
        return drawn
