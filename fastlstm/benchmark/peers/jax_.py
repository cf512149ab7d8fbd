"""`jax`: lax.scan over the steps, the input products before it, one jitted function for a training step."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fastlstm.benchmark.peers.base import LanguageModel
from fastlstm.benchmark.shapes import RATE, real_mask
from fastlstm.data.batching import Batch


def logits_of(p: Any, ids: Any, unroll: int) -> Any:
    """Logits (T, B, V) from zero states."""
    H = p["head.W"].shape[1]
    Wh_T, Wx_T = p["lstm.0.W"][:, :H].T, p["lstm.0.W"][:, H:].T
    inputs = (p["embedding"][ids] @ Wx_T if "embedding" in p else Wx_T[ids]) + p["lstm.0.b"]

    def step(state: Any, x: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(x + h @ Wh_T, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zero = jnp.zeros((ids.shape[1], H))
    _, h = jax.lax.scan(step, (zero, zero), inputs, unroll=unroll)
    return h @ p["head.W"].T + p["head.b"]


def mean_loss(p: Any, ids: Any, targets: Any, real: Any, unroll: int) -> Any:
    log_p = jax.nn.log_softmax(logits_of(p, ids, unroll))
    picked = jnp.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return -(picked * real).sum() / real.sum()


def training_step(state: Any, ids: Any, targets: Any, real: Any, unroll: int) -> Any:
    """Adam with torch.optim's defaults: (parameters, m, v, steps) → the same, and the loss."""
    p, m, v, steps = state
    loss, g = jax.value_and_grad(mean_loss)(p, ids, targets, real, unroll)
    steps = steps + 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
    rate, scale = RATE / (1 - 0.9**steps), 1 / (1 - 0.999**steps)
    p = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v * scale) + 1e-8), p, m, v)
    return (p, m, v, steps), loss


class Peer(LanguageModel):
    def build(self, parameters: dict[str, np.ndarray]) -> None:
        unroll = 4 if "unroll" in self.variant.mode else 1
        p = {name: jnp.asarray(value) for name, value in parameters.items()}
        zeros = [jax.tree.map(jnp.zeros_like, p) for _ in "mv"]
        self.state: Any = (p, *zeros, jnp.zeros(()))
        self.step = jax.jit(partial(training_step, unroll=unroll), donate_argnums=0)
        self.run_model = jax.jit(partial(logits_of, unroll=unroll))

    def load(self, batch: Batch) -> Any:
        return tuple(jnp.asarray(a) for a in (batch.ids, batch.targets, real_mask(batch).astype(np.float32)))

    def train(self, batch: Any) -> float:
        self.state, loss = self.step(self.state, *batch)
        return float(loss)

    def forward(self, batch: Any) -> Any:
        return self.run_model(self.state[0], batch[0]).block_until_ready()

    def logits(self, batch: Batch) -> np.ndarray:
        return np.asarray(self.forward(self.load(batch)))[real_mask(batch)]

    def gradients(self, batch: Any) -> dict[str, np.ndarray]:
        # The timed function gives them too: from zero, Adam's first moment becomes a tenth of the gradient.
        (_, m, _, _), _ = self.step(jax.tree.map(jnp.copy, self.state), *batch)
        return {name: np.asarray(value) / 0.1 for name, value in m.items()}

    def parameters(self) -> dict[str, np.ndarray]:
        return {name: np.asarray(value) for name, value in self.state[0].items()}
