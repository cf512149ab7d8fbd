"""Random networks and batches, their dropout masks in NumPy, and how closely two arrays must agree."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlstm.network import reference
from fastlstm.network.architecture import Architecture, State
from fastlstm.network.model import Network
from fastlstm.network.program import dropout_threshold, layer_keys

# Relative to an array's largest entry.
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


def close(computed: Any, expected: Any, dtype: Any, what: str = "") -> None:
    """Fail unless the largest difference is small beside the largest expected entry."""
    computed, expected = np.asarray(computed), np.asarray(expected)
    assert computed.shape == expected.shape, what
    scale = np.abs(expected).max(initial=0) or 1.0
    error = np.abs(computed - expected).max(initial=0) / scale
    assert error <= TOLERANCE[np.dtype(dtype).name], f"{what}: {error:.2e} of the largest entry"


def randomize(network: Network, rng: np.random.Generator) -> Network:
    """Give every parameter, biases and states too, a value that matters."""
    for name, view in network.parameters.items():
        size = 1 if name == "embedding" else network.architecture.hidden**-0.5
        view[...] = rng.normal(0, size, view.shape)
    return network


class Sample:
    """A batch of random ids and targets; `lengths` fall, or are None."""

    def __init__(self, rng: np.random.Generator, T: int, B: int, V: int, ragged: bool = False) -> None:
        self.ids, self.targets = rng.integers(0, V, (2, T, B), dtype=np.int32)
        self.lengths = np.sort(rng.integers(1, T + 1, B, dtype=np.int32))[::-1] if ragged else None
        if ragged:
            real = np.arange(T)[:, None] < self.lengths
            # What lies in the padding is nobody's business.
            self.ids[~real], self.targets[~real] = 2**30, -(2**30)

    def given(self, rng: np.random.Generator, a: Architecture) -> np.ndarray | None:
        """A value of each condition for each row."""
        return rng.integers(0, a.conditions, (self.ids.shape[1], len(a.conditions))) if a.conditions else None

    def state(self, rng: np.random.Generator, a: Architecture) -> State:
        """A state to go on from."""
        shape = (a.layers, self.ids.shape[1], a.hidden)
        return State(*(rng.normal(0, 0.7, shape).astype(a.dtype) for _ in "hc"))


def random_bits(counter: np.ndarray, key: np.ndarray | int) -> np.ndarray:
    """The twin of `kernels.dropout.random_bits`, in 64 bits cut to 32."""
    x = (counter ^ key) & 0xFFFFFFFF
    x = ((x ^ x >> 16) * 0x7FEB352D) & 0xFFFFFFFF
    x = ((x ^ x >> 15) * 0x846CA68B) & 0xFFFFFFFF
    return x ^ x >> 16


def mask(sample: Sample, width: int, probability: float, key: int) -> np.ndarray | None:
    """(T, B, width): 0, or 1 / (1 − p), for real positions, which are numbered row after row within a step."""
    if not probability:
        return None
    T, B = sample.ids.shape
    lengths = np.full(B, T) if sample.lengths is None else sample.lengths
    real = np.arange(T)[:, None] < lengths
    keep = dropout_threshold(probability)
    result = np.zeros((T, B, width))
    own = random_bits(np.arange(real.sum()), key)
    kept = random_bits(np.arange(width), own[:, None]) < keep
    result[real] = kept * (2**32 / keep)
    return result


def masks(sample: Sample, a: Architecture, dropout_key: int | None) -> list[np.ndarray | None] | None:
    """What dropout does at a step of this key, as the reference takes it."""
    if dropout_key is None:
        return None
    *layers, embedding = layer_keys(dropout_key, a.layers + 1)
    below = mask(sample, a.embedding, a.embedding_dropout, embedding)
    return [below, *(mask(sample, a.hidden, a.dropout, key) for key in layers)]


def expect(
    network: Network,
    sample: Sample,
    state: State | None = None,
    dropout_key: int | None = None,
    given: np.ndarray | None = None,
) -> reference.Result:
    """What the reference computes for the network's parameters."""
    a, p = network.architecture, network.parameters
    x, targets = sample.ids, sample.targets
    if a.conditions:
        values = np.zeros((x.shape[1], len(a.conditions)), int) if given is None else given
        given = values + np.cumsum((0, *a.conditions[:-1]))
    return reference.loss_and_gradients(
        dict(p.items()), x, targets, sample.lengths, state, masks(sample, a, dropout_key), given
    )
