"""The state API: a batch of sequences that is fed one character a row at a time.

For people who build their own decoding, streaming input or typing aids; `fastlstm.sampling` and beam search
stand on it too. Letters: B sequences in a batch, V characters, H hidden size, L layers, T time steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastlstm.errors import FastLSTMError
from fastlstm.lstm import lstm_step, pack
from fastlstm.model import Network, State


class Frozen(NamedTuple):
    """A network's weights as they were when it was started, ready for single steps."""

    layers: list[Any]
    head_W: np.ndarray
    head_b: np.ndarray
    initial: State


def freeze(network: Network) -> Frozen:
    """Pack the weights; the first layer reads ids, an embedding being folded into its input columns."""
    a, p = network.architecture, network.parameters
    layers = []
    for layer in range(a.layers):
        W, b = p[f"lstm.{layer}.W"], p[f"lstm.{layer}.b"]
        if layer == 0 and a.embedding:
            W = np.hstack([W[:, : a.hidden], W[:, a.hidden :] @ p["embedding"].T])
        layers.append(pack(W, b))
    head = p["embedding" if a.tied else "head.W"]
    return Frozen(layers, head.copy(), p["head.b"].copy(), initial(network, 1))


def initial(network: Network, batch: int) -> State:
    """The state that B sequences begin in, as arrays (L, B, H) of one's own."""
    return State(*(np.array(array) for array in network.initial_state(batch)))


class StreamState:
    """The hidden and cell states `h` and `c` (L, B, H) of B independent sequences."""

    def __init__(self, frozen: Frozen, h: np.ndarray, c: np.ndarray) -> None:
        self.frozen, self.h, self.c = frozen, h, c

    @property
    def batch(self) -> int:
        """The number of sequences B."""
        return self.h.shape[1]

    def copy(self) -> StreamState:
        """A state that goes on alone from here: a branch."""
        return StreamState(self.frozen, self.h.copy(), self.c.copy())

    def take(self, rows: Sequence[int] | np.ndarray) -> StreamState:
        """A state of the given rows, in their order; a row may be repeated."""
        index = self._rows(rows)
        return StreamState(self.frozen, self.h[:, index], self.c[:, index])

    def reset(self, rows: Sequence[int] | np.ndarray | None = None) -> None:
        """Put the given rows (all, by default) back to where `start` began."""
        index = np.arange(self.batch) if rows is None else self._rows(rows)
        self.h[:, index], self.c[:, index] = self.frozen.initial

    def _rows(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        index = np.asarray(rows)
        if index.size == 0:
            index = index.astype(np.int64)
        if index.ndim != 1 or index.dtype.kind not in "iu" or ((index < 0) | (index >= self.batch)).any():
            raise FastLSTMError(f"rows are {rows!r}: give a list of whole numbers from 0 to {self.batch - 1}")
        return index


def start(model: Any, batch: int = 1) -> StreamState:
    """A state of `batch` sequences that have seen nothing, under a copy of the model's present weights.

    A names model expects the boundary mark, id 0, as a name's first character.
    """
    if not isinstance(batch, int | np.integer) or batch < 1:
        raise FastLSTMError(f"batch is {batch!r}: give a whole number of at least 1")
    return StreamState(freeze(model.network), *initial(model.network, batch))


def step(state: StreamState, ids: Sequence[int] | np.ndarray) -> np.ndarray:
    """Feed one id to each row, ids (B,), and return the logits (B, V) of what follows; moves `state` on."""
    head_W, head_b = state.frozen.head_W, state.frozen.head_b
    x = np.asarray(ids)
    if x.shape != (state.batch,) or x.dtype.kind not in "iu":
        raise FastLSTMError(f"ids are {x.dtype} {x.shape}: give {state.batch} whole numbers, one a row")
    if x.min() < 0 or x.max() >= len(head_b):
        raise FastLSTMError(f"ids are from {x.min()} to {x.max()}: this model's are 0 to {len(head_b) - 1}")
    for layer, weights in enumerate(state.frozen.layers):
        state.h[layer], state.c[layer] = lstm_step(x, state.h[layer], state.c[layer], weights)
        x = state.h[layer]
    return x @ head_W.T + head_b


def feed(
    network: Network, sequences: Sequence[np.ndarray], state: State, steps: int = 512
) -> Iterator[tuple[int, np.ndarray]]:
    """Run ragged id sequences, the longest first, from `state`, which ends as each one's last.

    Yields (t, logits) for `steps` characters at a time, in bounded memory whatever the lengths: logits
    (T', B', V) follow the ids at t, t + 1, … of the B' sequences longer than t; past an end is noise.
    """
    lengths = np.array([len(ids) for ids in sequences])
    for t in range(0, lengths[0], steps):
        active = int((lengths > t).sum())
        left = np.minimum(lengths[:active] - t, steps)
        ids = np.zeros((left[0], active), np.int32)
        for b, size in enumerate(left):
            ids[:size, b] = sequences[b][t : t + size]
        h, c = (np.ascontiguousarray(array[:, :active]) for array in state)
        logits, (state.h[:, :active], state.c[:, :active]) = network.forward(ids, left, State(h, c))
        yield t, logits


def begin(network: Network, sequences: Sequence[np.ndarray]) -> tuple[StreamState, np.ndarray]:
    """The state and the logits (B, V) after each of B id sequences of any length, none of them empty."""
    order = sorted(range(len(sequences)), key=lambda b: -len(sequences[b]))
    sizes = np.array([len(sequences[b]) for b in order])
    frozen, state = freeze(network), initial(network, len(order))
    last = np.empty((len(order), len(frozen.head_b)), frozen.head_b.dtype)
    for t, logits in feed(network, [sequences[b] for b in order], state):
        ended = np.flatnonzero((sizes > t) & (sizes <= t + len(logits)))
        last[ended] = logits[sizes[ended] - t - 1, ended]
    back = np.argsort(order)
    return StreamState(frozen, *state).take(back), last[back]
