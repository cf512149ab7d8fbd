"""The state API: a batch of sequences that is fed one character a row at a time.

For people who build their own decoding, streaming input or typing aids; `fastlstm.generation.sampling` and beam search
stand on it too. Letters: B sequences in a batch, V characters, H hidden size, L layers, T time steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from fastlstm.engine.arena import Arena, Uncopied, row_stride, whole_lines
from fastlstm.engine.kernels.generate import ROWS, SLOTS, pack_program, read_program, same
from fastlstm.engine.kernels.records import HEAD, LAYER, Row, address
from fastlstm.engine.layout import LayerMemory, fused_weights
from fastlstm.engine.memory import aligned
from fastlstm.engine.parameters import Parameters
from fastlstm.errors import FastLSTMError, quoted
from fastlstm.network.architecture import initial_state
from fastlstm.network.model import Network

STEPS = 4096  # characters of a prefix that are read in one call


class FrozenNetwork(Uncopied):
    """A network's weights as they were, packed for reading characters; any number of states share them."""

    def __init__(self, network: Network) -> None:
        a, p = network.architecture, network.parameters
        self.architecture, self.parameters = a, p.copy()
        self.arena = Arena(a.dtype)
        self.records, self.head = np.zeros(a.layers, LAYER), np.zeros(1, HEAD)
        layers = [self._layer(l, p) for l in range(a.layers)]
        layers[0].table(a.vocabulary, a.embedding > 0, backward=False)
        layers[0].record["e"] = p["embedding"] if a.embedding else None
        dtype = self.arena.dtype
        line, padded = whole_lines(1, dtype), whole_lines(a.vocabulary, dtype)
        # Elements from row to row of states, logits and gates.
        self.strides = (layers[0].row, row_stride(a.vocabulary, dtype), layers[0].gates_row)
        Row(self.head).fill(vocabulary=a.vocabulary, padded=padded, w_row=a.hidden, b=p["head.b"],
             w=p["embedding" if a.tied else "head.W"], logits_row=self.strides[1],
             forward=self.arena.address("forward", padded // line, a.hidden, line),
             bias=self.arena.address("bias", padded))  # fmt: skip
        self.like = aligned(1, a.dtype)
        pack_program(self.records, self.head, self.like)

    def _layer(self, l: int, parameters: Parameters) -> LayerMemory:
        a = self.architecture
        width = a.hidden if l else (a.embedding or a.vocabulary)
        memory = LayerMemory(self.arena, f"lstm.{l}", Row(self.records, l), a.hidden, width)
        memory.weights(fused_weights(parameters[f"lstm.{l}.W"], parameters[f"lstm.{l}.b"]))
        return memory


# Packing takes as long as drawing several names.
_frozen: WeakKeyDictionary[Network, FrozenNetwork] = WeakKeyDictionary()


def freeze(network: Network) -> FrozenNetwork:
    """The network's present weights; they are packed anew if they have changed since the last call."""
    frozen = _frozen.get(network)
    if frozen is None or not same(frozen.parameters.flat, network.parameters.flat):
        frozen = _frozen[network] = FrozenNetwork(network)
    return frozen


class Rows(Uncopied):
    """Memory of the states, logits and scratch of some rows, and the record of it that the programs read."""

    def __init__(self, frozen: FrozenNetwork, rows: int) -> None:
        a, dtype = frozen.architecture, frozen.like.dtype
        row, logits_row, gates_row = frozen.strides
        c, logits = a.layers * rows * row, 2 * a.layers * rows * row
        before, gates = logits + rows * logits_row, logits + rows * logits_row + row
        memory = aligned(gates + min(rows, SLOTS) * gates_row, dtype)
        self.choice = np.empty((3, a.vocabulary))
        self.h = memory[:c].reshape(a.layers, rows, row)
        self.c = memory[c:logits].reshape(a.layers, rows, row)
        self.logits = memory[logits:before].reshape(rows, logits_row)
        self.record = np.zeros(1, ROWS)
        first, size, z, apart = address(memory), dtype.itemsize, address(self.choice), 8 * a.vocabulary
        Row(self.record).fill(h=first, c=first + size * c, apart=rows * row, logits=first + size * logits,
             gates=first + size * gates, before=first + size * before,
             z=z, weights=z + apart, heap=z + 2 * apart)  # fmt: skip


class StreamState:
    """The states of B independent sequences; `h` and `c` (L, B, H) are views that may be written to."""

    def __init__(self, frozen: FrozenNetwork, given: np.ndarray) -> None:
        """`given` (B, columns) has the conditions under which each sequence starts."""
        self.frozen, self.batch, self.given = frozen, len(given), given
        self.rows = Rows(frozen, self.batch)
        self._all = np.array([self.batch])

    @property
    def h(self) -> np.ndarray:
        """The hidden states (L, B, H)."""
        return self.rows.h[:, :, : self.frozen.architecture.hidden]

    @property
    def c(self) -> np.ndarray:
        """The cell states (L, B, H)."""
        return self.rows.c[:, :, : self.frozen.architecture.hidden]

    def copy(self) -> StreamState:
        """A state that goes on alone from here: a branch."""
        return self.take(range(self.batch))

    def __deepcopy__(self, memo: dict[int, Any]) -> StreamState:
        return self.copy()

    def take(self, rows: Sequence[int] | np.ndarray) -> StreamState:
        """A state of the given rows, in their order; a row may be repeated."""
        index = self._index(rows)
        other = StreamState(self.frozen, self.given[index])
        other.rows.h[...], other.rows.c[...] = self.rows.h[:, index], self.rows.c[:, index]
        other.rows.logits[...] = self.rows.logits[index]
        return other

    def reset(self, rows: Sequence[int] | np.ndarray | None = None) -> None:
        """Put the given rows (all, by default) back to where `start` began."""
        index = np.arange(self.batch) if rows is None else self._index(rows)
        first = initial_state(self.frozen.architecture, self.frozen.parameters, len(index), self.given[index])
        self.h[:, index], self.c[:, index] = first

    def _index(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        index = np.asarray(rows)
        if index.size == 0:
            index = index.astype(np.int64)
        if index.ndim != 1 or index.dtype.kind not in "iu" or ((index < 0) | (index >= self.batch)).any():
            raise FastLSTMError(
                f"rows are {quoted(rows)}: give a list of whole numbers from 0 to {self.batch - 1}"
            )
        return index

    def read(self, ids: np.ndarray, active: np.ndarray | None = None) -> np.ndarray:
        """Feed ids (T, B), at step t to the first active[t] rows or to all; each row's last logits (B, V)."""
        active = self._all if active is None else active
        V, frozen = self.frozen.architecture.vocabulary, self.frozen
        logits = np.empty((self.batch, V), self.frozen.like.dtype)
        if not read_program(frozen.records, frozen.head, self.rows.record, ids, active, logits, frozen.like):
            raise FastLSTMError(f"ids are from {ids.min()} to {ids.max()}: this model's are 0 to {V - 1}")
        return logits


def start(model: Any, batch: int = 1, given: np.ndarray | Sequence[int] = ()) -> StreamState:
    """A state of `batch` sequences that have seen nothing, under a copy of the model's present weights.

    `given`, (B, columns) or (columns,) for all of them, has the numbers of their conditions' values; without it all are 0:
    open. A names model expects the boundary mark, id 0, as a name's first character.
    """
    if not isinstance(batch, int | np.integer) or batch < 1:
        raise FastLSTMError(f"batch is {quoted(batch)}: give a whole number of at least 1")
    frozen = freeze(model.network)
    columns = len(frozen.architecture.conditions)
    numbers = np.asarray(given if len(given) else [0] * columns, np.int32)
    state = StreamState(frozen, np.broadcast_to(numbers, (int(batch), columns)))
    state.reset()
    return state


def step(state: StreamState, ids: Sequence[int] | np.ndarray) -> np.ndarray:
    """Feed one id to each row, ids (B,), and return the logits (B, V) of what follows; moves `state` on."""
    x = np.asarray(ids)
    if x.shape != (state.batch,) or x.dtype.kind not in "iu":
        raise FastLSTMError(f"ids are {x.dtype} {x.shape}: give {state.batch} whole numbers, one a row")
    return state.read(x.astype(np.int64).reshape(1, -1))


def begin(model: Any, sequences: Sequence[np.ndarray], given: np.ndarray) -> tuple[StreamState, np.ndarray]:
    """The state and the logits (B, V) after each of B id sequences of any length, none of them empty.

    `given` (B, columns) as in `start`.
    """
    sizes = np.array([len(ids) for ids in sequences])
    # The longest first, so that the rows still read at a step are the first ones.
    order = np.argsort(-sizes, kind="stable")
    state = start(model, len(sequences), given[order])
    logits = np.empty(0)
    for t in range(0, sizes.max(), STEPS):
        ids = np.zeros((min(STEPS, sizes.max() - t), len(sizes)), np.int64)
        for row, b in enumerate(order):
            part = sequences[b][t : t + STEPS]
            ids[: len(part), row] = part
        logits = state.read(ids, (sizes - t > np.arange(len(ids))[:, None]).sum(1))
    if (order[1:] < order[:-1]).any():
        back = np.argsort(order)
        state, logits = state.take(back), logits[back]
    return state, logits
