"""What the notebooks' classes share: named views of fused weights, and looking into a forward pass by step.

Letters: T time steps, B sequences, V characters, H hidden size. The engine's rows are the gates i, f, g, o;
the notebooks call g the candidate, c. Both put the hidden state before the input: columns [h | x].
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from fastlstm.engine.parameters import Parameters
from fastlstm.errors import FastLSTMError
from fastlstm.network.architecture import Architecture
from fastlstm.network.lstm import lstm_backward, lstm_forward
from fastlstm.network.model import Network

GATES = {"i": 0, "f": 1, "c": 2, "o": 3}
STATES = ("hidden", "cells")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis; shifted by the maximum, so that nothing overflows."""
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    return p


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def draw(probabilities: np.ndarray, rng: Any) -> np.ndarray:
    """An id for each row of (T, V), the very ids that T calls of `rng.choice(V, p=row)` would give."""
    if not np.isfinite(probabilities).all():
        raise FastLSTMError(
            "the network's probabilities are not finite: it has diverged, and nothing can be drawn"
        )
    cumulative = probabilities.astype(np.float64).cumsum(axis=-1)
    cumulative /= cumulative[:, -1:]
    return (cumulative <= rng.random(len(cumulative))[:, None]).sum(axis=-1)


class Weight:
    """An attribute that is a view of one gate's matrix (H, H+V) in a flat buffer of the LSTM's; y is the output's (V, H).

    Assigning to the attribute copies into the buffer: `lstm.wf = a` does what `lstm.wf[...] = a` does.
    """

    def __init__(self, gate: str, buffer: str = "parameters") -> None:
        self.gate, self.buffer = gate, buffer

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, lstm: Any, owner: type | None = None) -> Any:
        return self if lstm is None else self.part(getattr(lstm, self.buffer))

    def __set__(self, lstm: Any, value: Any) -> None:
        view = self.part(getattr(lstm, self.buffer))
        if np.shape(value) != view.shape:
            raise FastLSTMError(
                f"{self.name} is {view.shape}: an array of {np.shape(value)} cannot be assigned to it"
            )
        view[...] = value

    def part(self, buffer: Parameters) -> np.ndarray:
        """The view itself."""
        if self.gate == "y":
            return buffer["head.W"]
        W = buffer["lstm.0.W"]
        return W.reshape(4, -1, W.shape[1])[GATES[self.gate]]


class Bias(Weight):
    """The same for one gate's bias as a column (H, 1), or the output's (V, 1)."""

    def part(self, buffer: Parameters) -> np.ndarray:
        if self.gate == "y":
            return buffer["head.b"][:, None]
        return buffer["lstm.0.b"].reshape(4, -1, 1)[GATES[self.gate]]


class Steps(Mapping):
    """A read-only dictionary of one value a step, each made when it is asked for."""

    def __init__(
        self, keys: Iterable[Hashable], value: Callable[[int], Any], trace: Trace | None = None
    ) -> None:
        self._positions = {key: position for position, key in enumerate(keys)}
        self._value = value
        self.trace = trace

    def __getitem__(self, key: Hashable) -> Any:
        return self._value(self._positions[key])

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._positions)

    def __len__(self) -> int:
        return len(self._positions)

    def __repr__(self) -> str:
        return repr(dict(self))


class Trace:
    """A forward pass over x, ids (T, B) or floats (T, B, I); what happened in it is made when asked for."""

    def __init__(
        self, x: np.ndarray, W: np.ndarray, b: np.ndarray | None, h0: np.ndarray, c0: np.ndarray
    ) -> None:
        self.out, _, self.cache = lstm_forward(x, W, b, h0, c0)
        # Copies: a look into the pass must not show weights or states that changed after it.
        self.x, self.W, self.h0, self.c0 = x, W.copy(), h0.copy(), c0.copy()
        self.b = 0.0 if b is None else b.copy()

    @cached_property
    def hidden(self) -> np.ndarray:
        """Hidden states (T+1, B, H), the initial one first."""
        return frozen(np.concatenate([self.h0[None], self.out]))

    @cached_property
    def concat(self) -> np.ndarray:
        """The products' inputs [h_{t-1} | x_t] (T, B, H+I)."""
        H = self.h0.shape[1]
        x = self.x if self.x.ndim == 3 else np.eye(self.W.shape[1] - H, dtype=self.W.dtype)[self.x]
        return frozen(np.concatenate([self.hidden[:-1], x], axis=2))

    @cached_property
    def gates(self) -> np.ndarray:
        """Gates after their activations (4, T, B, H), in the order i, f, g, o."""
        a = np.moveaxis((self.concat @ self.W.T + self.b).reshape(*self.out.shape[:2], 4, -1), 2, 0)
        return frozen(np.stack([sigmoid(a[0]), sigmoid(a[1]), np.tanh(a[2]), sigmoid(a[3])]))

    @cached_property
    def cells(self) -> np.ndarray:
        """Cell states (T+1, B, H), the initial one first."""
        i, f, g, _ = self.gates
        c = np.concatenate([self.c0[None], i * g])
        for t in range(len(f)):
            c[t + 1] += f[t] * c[t]
        return frozen(c)

    def quantity(self, name: str) -> np.ndarray:
        """A gate by its letter (i, f, c, o), or `concat`, `hidden` or `cells`."""
        return self.gates[GATES[name]] if name in GATES else getattr(self, name)

    def columns(self, name: str) -> Steps:
        """A quantity of the only sequence as columns (n, 1) by step; the states begin with step -1."""
        keys = range(-1 if name in STATES else 0, len(self.out))
        return Steps(keys, lambda n: self.quantity(name)[n, 0, :, None], self)


def frozen(array: np.ndarray) -> np.ndarray:
    """The array, read-only: writing to a record of what happened must not seem to change anything."""
    array.flags.writeable = False
    return array


class Cell:
    """An LSTM with an output layer and one-hot input, whose parameters live in one flat buffer."""

    _trace: Trace | None = None  # the last forward pass, where a notebook looks back at it

    def __init__(self, hidden: int, characters: int, dtype: str, rng: Any) -> None:
        self._network = Network(Architecture(characters, hidden, embedding=0, forget_bias=0.0, dtype=dtype))
        self._given_rng = rng

    def __getstate__(self) -> dict[str, Any]:
        """For `copy` and `pickle`: without the record of a forward pass."""
        return vars(self) | {"_trace": None}

    def __copy__(self) -> Cell:
        """A copy has memory of its own."""
        return copy.deepcopy(self)

    @property
    def rng(self) -> Any:
        """Where draws come from."""
        return np.random if self._given_rng is None else self._given_rng

    @property
    def parameters(self) -> Parameters:
        """All weights and biases, in the engine's layout, as one flat buffer."""
        return self._network.parameters

    @property
    def gradients(self) -> Parameters:
        """The last gradients, in the same layout."""
        return self._network.gradients

    def _draw(self, views: Sequence[type[Weight]], values: Callable[[tuple[int, ...]], np.ndarray]) -> None:
        """Initial `values(shape)` of the weights (and biases), gate by gate in the notebooks' order."""
        for gate in "ficoy":
            for view in views:
                part = view(gate).part(self.parameters)
                part[...] = values(part.shape)

    def _run(
        self,
        x: np.ndarray,
        h0: np.ndarray | None = None,
        c0: np.ndarray | None = None,
        parameters: Parameters | None = None,
    ) -> Trace:
        """A forward pass over one sequence: ids (T,) or rows (T, V), from states (1, H) or from zero."""
        parameters = parameters or self.parameters
        W, b = parameters["lstm.0.W"], parameters["lstm.0.b"]
        x = x[:, None] if x.dtype.kind == "i" else x[:, None].astype(W.dtype)
        zero = np.zeros((1, len(b) // 4), W.dtype)
        return Trace(
            x, W, b, zero if h0 is None else h0.astype(W.dtype), zero if c0 is None else c0.astype(W.dtype)
        )

    def _logits(self, trace: Trace) -> np.ndarray:
        """The output layer (T, V) over a forward pass."""
        return trace.out[:, 0] @ self.parameters["head.W"].T + self.parameters["head.b"]

    def _backpropagate(self, trace: Trace, dlogits: np.ndarray) -> None:
        """Fill `gradients` from those of the logits (T, V), summed over the steps."""
        dlogits = np.ascontiguousarray(dlogits, self.parameters.flat.dtype)
        g = self.gradients
        layer = lstm_backward((dlogits @ self.parameters["head.W"])[:, None], trace.cache)
        g["lstm.0.W"][...], g["lstm.0.b"][...] = layer.W, layer.b
        np.matmul(dlogits.T, trace.out[:, 0], out=g["head.W"])
        g["head.b"][...] = dlogits.sum(axis=0)
