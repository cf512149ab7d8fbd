"""The sizes and options that decide a network's parameters, and the states it carries.

Letters: V characters, E embedding size, H hidden size, L layers, B sequences in a batch, K values of conditions.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from fastlstm.engine.parameters import Parameters
from fastlstm.errors import FastLSTMError, quoted
from fastlstm.network.limits import DEEPEST, LARGEST_BIAS, WIDEST

# The least and the most of each size; a vocabulary has at most every code point and a boundary.
LIMITS = {
    "vocabulary": (1, 0x110001),
    "hidden": (1, WIDEST),
    "embedding": (0, WIDEST),
    "layers": (1, DEEPEST),
    "forget_bias": (-LARGEST_BIAS, LARGEST_BIAS),
}


@dataclass(frozen=True)
class Architecture:
    """The sizes and options that decide a network's parameters.

    `embedding` 0 means one-hot inputs. `dropout` acts on every layer's outputs, the last one's too,
    `embedding_dropout` on the embeddings. `tied` uses the embeddings as output matrix (then E = H).
    `learned_state` makes the initial states parameters. `conditions` has the number of values of each column that
    steers the network: each value adds initial states of its own. `forget_bias` is the forget gate's first bias.
    """

    vocabulary: int
    hidden: int = 256
    embedding: int = 64
    layers: int = 1
    dropout: float = 0.0
    embedding_dropout: float = 0.0
    tied: bool = False
    learned_state: bool = False
    conditions: tuple[int, ...] = ()
    forget_bias: float = 1.0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for name, (low, high) in LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise FastLSTMError(f"{name} is {getattr(self, name)}; it must be from {low:,} to {high:,}")
        for name in ("dropout", "embedding_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise FastLSTMError(f"{name} is {getattr(self, name)}; it must be at least 0 and below 1")
        if self.dtype not in ("float32", "float64"):
            raise FastLSTMError(f"dtype is {quoted(self.dtype)}; it must be float32 or float64")
        if self.tied and self.embedding != self.hidden:
            raise FastLSTMError(
                f"a tied output matrix needs embedding = hidden; they are {self.embedding} and {self.hidden}"
            )
        if self.embedding_dropout and not self.embedding:
            raise FastLSTMError(
                "embedding_dropout with embedding 0: one-hot inputs have no embedding to drop"
            )
        object.__setattr__(self, "conditions", tuple(self.conditions))
        if not all(isinstance(count, int) and 1 <= count <= WIDEST for count in self.conditions):
            raise FastLSTMError(f"conditions are {self.conditions}; each column needs at least 1 value")

    @property
    def learns_states(self) -> bool:
        """Whether there are parameters among the initial states."""
        return self.learned_state or bool(self.conditions)

    @property
    def values(self) -> int:
        """K, the number of values of all conditions."""
        return sum(self.conditions)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Parameter names and shapes in the order of the flat buffer."""
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
        if self.conditions:
            shapes["given.h"] = shapes["given.c"] = (self.values, self.layers, H)
        return shapes

    def as_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON; `conditions` only where there are some, as before they existed."""
        fields = asdict(self)
        return fields if self.conditions else {name: fields[name] for name in fields if name != "conditions"}


class State(NamedTuple):
    """The hidden and cell states between two calls, each (L, B, H)."""

    h: np.ndarray
    c: np.ndarray


def initial_state(architecture: Architecture, parameters: Parameters, batch: int, given: Any = None) -> State:
    """The states (L, B, H) that sequences start from: zero or the learned ones, and what each condition's value adds.

    `given` (B, columns) has each sequence's value of each condition, from 0; without it all are 0. Raises FastLSTMError
    for values that there are not.
    """
    a, states = architecture, []
    for name in "hc":
        state = np.zeros((a.layers, batch, a.hidden), a.dtype)
        if a.learned_state:
            state += parameters[f"{name}0"][:, None]
        if a.conditions:
            state += parameters[f"given.{name}"][places(a, batch, given)].sum(1).transpose(1, 0, 2)
        states.append(state)
    return State(*states)


def begin(
    architecture: Architecture,
    parameters: Parameters,
    rows: int,
    state: State | None,
    given: Any = None,
    fresh: np.ndarray | None = None,
) -> State | None:
    """What so many rows start from: the `state` to go on from, but where they are `fresh`; else the initial one, None if zero.

    Raises FastLSTMError for a state of another shape.
    """
    a = architecture
    if state is None:
        return initial_state(a, parameters, rows, given) if a.learns_states else None
    want = (a.layers, rows, a.hidden)
    for name, array in zip("hc", state, strict=True):
        if np.shape(array) != want:
            raise FastLSTMError(f"state.{name} has shape {np.shape(array)}; it must be (L, B, H) = {want}")
    if fresh is None:
        return State(*(np.ascontiguousarray(array, a.dtype) for array in state))
    anew = initial_state(a, parameters, rows, given)
    mixed = (np.where(fresh[:, None], new, old) for new, old in zip(anew, state, strict=True))
    return State(*(array.astype(a.dtype) for array in mixed))


def places(architecture: Architecture, batch: int, given: Any) -> np.ndarray:
    """Each sequence's values (B, columns) among the values of all conditions, int32."""
    counts = architecture.conditions
    shape = batch, len(counts)
    values = np.zeros(shape, np.int32) if given is None else np.asarray(given)
    if values.shape != shape or values.dtype.kind not in "iu":
        raise FastLSTMError(
            f"given is {values.dtype} {values.shape}; it must be whole numbers {shape}: "
            "a row for each sequence, a column for each condition"
        )
    if (values < 0).any() or (values >= np.array(counts)).any():
        raise FastLSTMError(f"given holds values that there are not; the conditions have {counts}")
    return np.ascontiguousarray(values + np.cumsum((0, *counts[:-1])), np.int32)
