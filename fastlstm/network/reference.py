"""The obvious LSTM language model: NumPy float64, one sequence, one step, one gate at a time.

Every faster path is compared with this one, and the benchmark times it as the `loop` a notebook would write.
No batching, no padding, no tricks: a batch is a Python loop over its sequences.

Letters: T time steps, B sequences, V characters, E embedding size, H hidden size, L layers, I input width.
Weights: W (4H, H+I) with gate rows i, f, g, o and columns [h | x]; b (4H,).

    i, f, o = sigmoid(W_i z + b_i), …   g = tanh(W_g z + b_g)   with z = [h ; x]
    c' = f c + i g                      h' = o tanh(c')
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Step(NamedTuple):
    """What the backward pass of one step needs: its input, the cell state before and after, and the gates."""

    z: np.ndarray
    c: np.ndarray
    i: np.ndarray
    f: np.ndarray
    g: np.ndarray
    o: np.ndarray
    c_next: np.ndarray


class LayerGradients(NamedTuple):
    """Gradients of a scalar by each input of `lstm_sequence_forward`; x is (T, I) even for ids."""

    x: np.ndarray
    W: np.ndarray
    b: np.ndarray
    h0: np.ndarray
    c0: np.ndarray


State = tuple[np.ndarray, np.ndarray]  # h and c


class Result(NamedTuple):
    """A batch's mean loss in nats a target, logits (T, B, V), gradients by name, final states (L, B, H)."""

    loss: float
    logits: np.ndarray
    gradients: dict[str, np.ndarray]
    h: np.ndarray
    c: np.ndarray


def sigmoid(a: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-a)), written with tanh because that never overflows."""
    return 0.5 + 0.5 * np.tanh(0.5 * a)


def one_hot(ids: np.ndarray, width: int) -> np.ndarray:
    """Rows (T, width) with a single 1 each."""
    return np.eye(width)[ids]


def step_forward(
    x: np.ndarray, h: np.ndarray, c: np.ndarray, W: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, Step]:
    """One step: x (I,), h and c (H,) → the new h, and what the backward pass needs (the new c among it)."""
    H = len(h)
    z = np.concatenate([h, x])
    i = sigmoid(W[:H] @ z + b[:H])
    f = sigmoid(W[H : 2 * H] @ z + b[H : 2 * H])
    g = np.tanh(W[2 * H : 3 * H] @ z + b[2 * H : 3 * H])
    o = sigmoid(W[3 * H :] @ z + b[3 * H :])
    c_next = f * c + i * g
    return o * np.tanh(c_next), Step(z, c, i, f, g, o, c_next)


def step_backward(
    dh: np.ndarray, dc: np.ndarray, step: Step, W: np.ndarray, dW: np.ndarray, db: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From the gradients of a step's h' and c' to those of its x, h and c; adds to dW and db."""
    H = len(dh)
    z, c, i, f, g, o, c_next = step
    tanh_c = np.tanh(c_next)
    dc = dc + dh * o * (1 - tanh_c**2)
    # Gradients by the gates, taken back through their activations to what went in.
    da_i = dc * g * i * (1 - i)
    da_f = dc * c * f * (1 - f)
    da_g = dc * i * (1 - g**2)
    da_o = dh * tanh_c * o * (1 - o)
    dz = np.zeros_like(z)
    for gate, da in enumerate((da_i, da_f, da_g, da_o)):
        rows = slice(gate * H, (gate + 1) * H)
        dW[rows] += np.outer(da, z)
        db[rows] += da
        dz += W[rows].T @ da
    return dz[H:], dz[:H], dc * f


def lstm_sequence_forward(
    x: np.ndarray, W: np.ndarray, b: np.ndarray, h0: np.ndarray, c0: np.ndarray, reverse: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Step]]:
    """One layer over one sequence: x (T, I) floats or (T,) ids, h0 and c0 (H,) → out (T, H), h_n, c_n, cache.

    `reverse` runs from the last step to the first; `out[t]` still belongs to `x[t]`.
    """
    H = len(h0)
    x = one_hot(x, W.shape[1] - H) if x.ndim == 1 else x
    out = np.zeros((len(x), H))
    cache: list[Step] = []
    h, c = h0, c0
    for t in time_order(len(x), reverse):
        h, step = step_forward(x[t], h, c, W, b)
        c = step.c_next
        out[t] = h
        cache.append(step)
    return out, h, c, cache


def lstm_sequence_backward(
    dout: np.ndarray,
    cache: list[Step],
    W: np.ndarray,
    dh_n: np.ndarray | None = None,
    dc_n: np.ndarray | None = None,
    reverse: bool = False,
) -> LayerGradients:
    """The gradients of `lstm_sequence_forward` from those of its out (T, H), h_n and c_n (H,)."""
    T, H = dout.shape
    dx, dW, db = np.zeros((T, W.shape[1] - H)), np.zeros(W.shape), np.zeros(4 * H)
    dh = np.zeros(H) if dh_n is None else dh_n
    dc = np.zeros(H) if dc_n is None else dc_n
    for t, step in zip(reversed(time_order(T, reverse)), reversed(cache), strict=True):
        dx[t], dh, dc = step_backward(dh + dout[t], dc, step, W, dW, db)
    return LayerGradients(dx, dW, db, dh, dc)


def time_order(T: int, reverse: bool) -> range:
    """The steps 0 … T-1 in the order in which they are run."""
    return range(T - 1, -1, -1) if reverse else range(T)


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """The sum over a sequence of −log softmax(logits)[target], and its gradient by the logits (T, V)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    steps = np.arange(len(targets))
    dlogits = np.exp(log_p)
    dlogits[steps, targets] -= 1
    return float(-log_p[steps, targets].sum()), dlogits


def sequence_loss(
    parameters: Mapping[str, np.ndarray],
    gradients: dict[str, np.ndarray],
    x: np.ndarray,
    targets: np.ndarray,
    states: list[State],
    masks: Sequence[np.ndarray | None],
) -> tuple[float, np.ndarray, list[State], list[LayerGradients]]:
    """One sequence through the network: summed loss, logits (T, V), the layers' final states and gradients.

    The parameters' gradients are added to `gradients`, except those of the initial states.
    """
    head = "embedding" if "head.W" not in parameters else "head.W"
    ids = x
    x = parameters["embedding"][ids] if "embedding" in parameters else x
    finals, caches = [], []
    for layer, (h0, c0) in enumerate(states):
        x = masked(x, masks[layer])
        W, b = parameters[f"lstm.{layer}.W"], parameters[f"lstm.{layer}.b"]
        x, h, c, cache = lstm_sequence_forward(x, W, b, h0, c0)
        finals.append((h, c))
        caches.append(cache)
    out = masked(x, masks[-1])
    logits = out @ parameters[head].T + parameters["head.b"]

    loss, dlogits = cross_entropy(logits, targets)
    gradients[head] += dlogits.T @ out
    gradients["head.b"] += dlogits.sum(axis=0)
    dx = masked(dlogits @ parameters[head], masks[-1])
    layers = []
    for layer in reversed(range(len(states))):
        d = lstm_sequence_backward(dx, caches[layer], parameters[f"lstm.{layer}.W"])
        gradients[f"lstm.{layer}.W"] += d.W
        gradients[f"lstm.{layer}.b"] += d.b
        dx = masked(d.x, masks[layer])
        layers.insert(0, d)
    if "embedding" in parameters:
        for t, character in enumerate(ids):
            gradients["embedding"][character] += dx[t]
    return loss, logits, finals, layers


def masked(x: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """x times a dropout mask (0, or 1 / (1 − p)), or x itself where there is none."""
    return x if mask is None else x * mask


def loss_and_gradients(
    parameters: Mapping[str, np.ndarray],
    x: np.ndarray,
    targets: np.ndarray,
    lengths: Sequence[int] | np.ndarray | None = None,
    state: tuple[np.ndarray, np.ndarray] | None = None,
    masks: Sequence[np.ndarray | None] | None = None,
    given: np.ndarray | None = None,
) -> Result:
    """The network on a ragged batch: the mean cross-entropy over all real targets, and its gradients.

    `parameters` have a `Network`'s names: `embedding` (V, E) or absent, `lstm.{l}.W`, `lstm.{l}.b`, `head.W`
    (V, H) or absent where the embedding is used for it, `head.b` (V,), `h0`, `c0` (L, H) if learned, and `given.h`,
    `given.c` (K, L, H), of which those rows add to a sequence's initial states that `given` (B, columns) names.
    x: ids (T, B), or floats (T, B, I) where there is no embedding; targets (T, B); lengths (B,) in any order.
    `state`: h and c (L, B, H) carried from before, which replace the learned or zero ones.
    `masks`: fixed dropout, L+1 arrays (T, B, width) or None: on each layer's input, then on the head's.
    """
    parameters = {name: np.array(parameters[name], np.float64) for name in parameters}
    gradients = {name: np.zeros_like(value) for name, value in parameters.items()}
    L = sum(name.startswith("lstm.") for name in parameters) // 2
    H = len(parameters["lstm.0.b"]) // 4
    T, B = targets.shape
    own_lengths = [T] * B if lengths is None else [int(length) for length in lengths]
    masks = masks or [None] * (L + 1)
    learned = state is None and "h0" in parameters
    rows = np.zeros((B, 0), int) if state is not None or given is None else given
    logits = np.zeros((T, B, len(parameters["head.b"])))
    h_n, c_n = np.zeros((L, B, H)), np.zeros((L, B, H))
    total, count = 0.0, sum(own_lengths)
    for n, length in enumerate(own_lengths):
        real = (slice(0, length), n)
        if state is not None:
            h0, c0 = np.asarray(state[0], np.float64)[:, n], np.asarray(state[1], np.float64)[:, n]
        else:
            h0, c0 = (parameters[name] if learned else np.zeros((L, H)) for name in ("h0", "c0"))
        for row in rows[n]:
            h0, c0 = h0 + parameters["given.h"][row], c0 + parameters["given.c"][row]
        states = list(zip(h0, c0, strict=True))
        own_masks = [None if mask is None else mask[real] for mask in masks]
        loss, logits[real], finals, layers = sequence_loss(
            parameters, gradients, x[real], targets[real], states, own_masks
        )
        total += loss
        for layer, (h, c) in enumerate(finals):
            h_n[layer, n], c_n[layer, n] = h, c
            if learned:
                gradients["h0"][layer] += layers[layer].h0
                gradients["c0"][layer] += layers[layer].c0
            for row in rows[n]:
                gradients["given.h"][row, layer] += layers[layer].h0
                gradients["given.c"][row, layer] += layers[layer].c0
    for gradient in gradients.values():
        gradient /= count
    return Result(total / count, logits, gradients, h_n, c_n)
