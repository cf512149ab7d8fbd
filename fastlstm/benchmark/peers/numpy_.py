"""`numpy`: an LSTM in vectorised NumPy, written with care; in float64 it is every peer's truth.

The real positions are stored compactly, step after step, so a ragged batch (sorted by length) has no padding:
the rows of step t are those of its sequences that are still running, a prefix of the step before's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastlstm.benchmark.peers import TRUTH
from fastlstm.benchmark.peers.base import LanguageModel
from fastlstm.benchmark.shapes import RATE, real_mask
from fastlstm.data.batching import Batch


class Rows(NamedTuple):
    """The real positions: ids and targets (N,), the rows of each step, and their predecessors' rows."""

    ids: np.ndarray
    targets: np.ndarray
    steps: list[slice]
    before: list[slice]


class Cache(NamedTuple):
    """What the backward pass needs, N rows each: layer input, gates i f g o, cells, their tanh, outputs."""

    x: np.ndarray
    gates: np.ndarray
    c: np.ndarray
    tanh_c: np.ndarray
    h: np.ndarray


def adam(weights: dict[str, np.ndarray]) -> Callable[[dict[str, np.ndarray]], None]:
    """An update of `weights` in place by Adam with torch.optim's defaults."""
    m, v = ({name: np.zeros_like(value) for name, value in weights.items()} for _ in "mv")
    steps = 0

    def update(gradients: dict[str, np.ndarray]) -> None:
        nonlocal steps
        steps += 1
        for name, g in gradients.items():
            m[name] += 0.1 * (g - m[name])
            v[name] += 0.001 * (g * g - v[name])
            scale = np.sqrt(v[name] / (1 - 0.999**steps))
            scale += 1e-8
            weights[name] -= RATE / (1 - 0.9**steps) * m[name] / scale

    return update


class Peer(LanguageModel):
    def build(self, parameters: dict[str, np.ndarray]) -> None:
        dtype = np.float64 if self.variant.mode == TRUTH else np.float32
        self.weights = {name: value.astype(dtype) for name, value in parameters.items()}
        self.update = adam(self.weights)

    def load(self, batch: Batch) -> Rows:
        real = real_mask(batch)
        active = real.sum(1)
        ends = active.cumsum()
        steps = [slice(end - n, end) for n, end in zip(active, ends, strict=True)]
        before = [slice(s.start, s.start + n) for s, n in zip(steps, active[1:], strict=False)]
        return Rows(batch.ids[real], batch.targets[real], steps, before)

    def run_forward(self, rows: Rows) -> tuple[np.ndarray, Cache]:
        """Logits (N, V) and the cache."""
        w, H = self.weights, self.shape.H
        Wh_T, Wx_T = w["lstm.0.W"][:, :H].T.copy(), w["lstm.0.W"][:, H:].T
        x = w["embedding"][rows.ids] if self.shape.E else rows.ids
        gates = w["embedding"][rows.ids] @ Wx_T if self.shape.E else Wx_T[rows.ids]
        gates += w["lstm.0.b"]
        by_gate = gates.reshape(-1, 4, H)
        slope: np.ndarray = np.repeat(np.array([0.5, 0.5, 1, 0.5], gates.dtype), H)
        offset = 1 - slope
        offset[2 * H : 3 * H] = 0
        c, tanh_c, h = np.empty((3, len(gates), H), gates.dtype)
        for t, now in enumerate(rows.steps):
            if t:
                gates[now] += h[rows.before[t - 1]] @ Wh_T
            # sigmoid(a) = tanh(a / 2) / 2 + 1 / 2: one tanh for all four gates.
            a = gates[now]
            a *= slope
            np.tanh(a, out=a)
            a *= slope
            a += offset
            i, f, g, o = by_gate[now].swapaxes(0, 1)
            np.multiply(i, g, out=c[now])
            if t:
                c[now] += f * c[rows.before[t - 1]]
            np.tanh(c[now], out=tanh_c[now])
            np.multiply(o, tanh_c[now], out=h[now])
        return h @ w["head.W"].T + w["head.b"], Cache(x, gates, c, tanh_c, h)

    def run_backward(self, rows: Rows) -> tuple[float, dict[str, np.ndarray]]:
        """The mean loss and its gradients."""
        w, H = self.weights, self.shape.H
        logits, (x, gates, c, tanh_c, h) = self.run_forward(rows)
        N = len(logits)
        every = np.arange(N)
        logits -= logits.max(1, keepdims=True)
        p = np.exp(logits)
        total = p.sum(1, keepdims=True)
        loss = float((np.log(total[:, 0]) - logits[every, rows.targets]).mean(dtype=np.float64))
        p /= total
        p[every, rows.targets] -= 1
        p /= N
        W = w["lstm.0.W"]
        Wh = W[:, :H].copy()
        dh_out = p @ w["head.W"]
        da, h_before = np.empty_like(gates), np.zeros_like(h)
        first = rows.steps[0].stop
        dh, dc = np.zeros((2, first, H), h.dtype)
        for t in reversed(range(len(rows.steps))):
            now = rows.steps[t]
            n = now.stop - now.start
            dh[:n] += dh_out[now]
            i, f, g, o = gates[now].reshape(n, 4, H).swapaxes(0, 1)
            da_i, da_f, da_g, da_o = da[now].reshape(n, 4, H).swapaxes(0, 1)
            dc[:n] += dh[:n] * o * (1 - tanh_c[now] ** 2)
            da_i[...] = dc[:n] * g * i * (1 - i)
            da_f[...] = dc[:n] * c[rows.before[t - 1]] * f * (1 - f) if t else 0
            da_g[...] = dc[:n] * i * (1 - g * g)
            da_o[...] = dh[:n] * tanh_c[now] * o * (1 - o)
            dc[:n] *= f
            if t:
                h_before[now] = h[rows.before[t - 1]]
                np.matmul(da[now], Wh, out=dh[:n])
        one_hot = np.eye(self.shape.V, dtype=h.dtype)[rows.ids]
        gradients = {"head.W": p.T @ h, "head.b": p.sum(0), "lstm.0.b": da.sum(0)}
        gradients["lstm.0.W"] = np.hstack([da.T @ h_before, da.T @ (x if self.shape.E else one_hot)])
        if self.shape.E:
            gradients["embedding"] = one_hot.T @ (da @ W[:, H:])
        return loss, gradients

    def train(self, batch: Rows) -> float:
        loss, gradients = self.run_backward(batch)
        self.update(gradients)
        return loss

    def forward(self, batch: Rows) -> np.ndarray:
        return self.run_forward(batch)[0]

    def logits(self, batch: Batch) -> np.ndarray:
        return self.forward(self.load(batch))

    def gradients(self, batch: Rows) -> dict[str, np.ndarray]:
        return self.run_backward(batch)[1]

    def parameters(self) -> dict[str, np.ndarray]:
        return self.weights
