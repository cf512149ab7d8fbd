"""The network: embedding → LSTM layers → linear → softmax cross-entropy, and its gradients.

Letters: T time steps, B sequences in a batch, V characters, E embedding size, H hidden size, L layers.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from fastlstm.engine import Engine
from fastlstm.errors import FastLSTMError
from fastlstm.layout import Plan
from fastlstm.optim import Optimizer
from fastlstm.parameters import Parameters
from fastlstm.positions import real_positions


@dataclass(frozen=True)
class Architecture:
    """The sizes and options that decide a network's parameters.

    `embedding` 0 means one-hot inputs. `dropout` acts on every layer's outputs, the last one's too,
    `embedding_dropout` on the embeddings. `tied` uses the embeddings as output matrix (then E = H).
    `learned_state` makes the initial states parameters. `forget_bias` is the forget gate's first bias.
    """

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

    def __post_init__(self) -> None:
        least = {"vocabulary": 1, "hidden": 1, "embedding": 0, "layers": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise FastLSTMError(f"{name} is {getattr(self, name)}; it must be at least {low}")
        for name in ("dropout", "embedding_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise FastLSTMError(f"{name} is {getattr(self, name)}; it must be at least 0 and below 1")
        if self.dtype not in ("float32", "float64"):
            raise FastLSTMError(f"dtype is {self.dtype!r}; it must be float32 or float64")
        if self.tied and self.embedding != self.hidden:
            raise FastLSTMError(
                f"a tied output matrix needs embedding = hidden; they are {self.embedding} and {self.hidden}"
            )
        if self.embedding_dropout and not self.embedding:
            raise FastLSTMError(
                "embedding_dropout with embedding 0: one-hot inputs have no embedding to drop"
            )

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
        return shapes

    def as_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)


class State(NamedTuple):
    """The hidden and cell states between two calls, each (L, B, H)."""

    h: np.ndarray
    c: np.ndarray


class Metrics(NamedTuple):
    """Of one call: mean loss in nats a target, correct argmaxes, targets, and the gradients' global norm."""

    loss: float
    correct: int
    count: int  # pyright: ignore[reportIncompatibleMethodOverride] - of targets, not of the tuple's
    norm: float = 0.0


class Network:
    """Parameters, gradients and the compiled passes over them.

    Initial weights, drawn in the buffer's order from `numpy.random.default_rng(seed)`: embeddings from a standard normal
    (1/√E when tied), matrices uniformly from ±1/√H, biases zero but for the forget gate's, states zero.
    A network is not for two threads at once; several networks are.
    """

    def __init__(self, architecture: Architecture, seed: int = 0, threads: int | None = None) -> None:
        self.architecture = architecture
        self.threads = threads
        self.parameters = Parameters(architecture.shapes(), architecture.dtype)
        self.gradients = self.parameters.like()
        self._initialize(np.random.default_rng(seed))
        self._engine = Engine(architecture, self.parameters, self.gradients)

    def __getstate__(self) -> tuple[Any, ...]:
        """For copies: the engine holds addresses, so each network has one of its own."""
        return self.architecture, self.threads, self.parameters, self.gradients

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.architecture, self.threads, self.parameters, self.gradients = state
        self._engine = Engine(self.architecture, self.parameters, self.gradients)

    def _initialize(self, rng: np.random.Generator) -> None:
        H = self.architecture.hidden
        for name, view in self.parameters.items():
            if name == "embedding":
                view[:] = rng.normal(0, H**-0.5 if self.architecture.tied else 1, view.shape)
            elif name.endswith(".W"):
                view[:] = rng.uniform(-1, 1, view.shape) / np.sqrt(H)
            elif name.startswith("lstm") and name.endswith(".b"):
                view[H : 2 * H] = self.architecture.forget_bias

    def initial_state(self, batch: int) -> State:
        """The states that a sequence starts from: zero, or the learned ones."""
        a = self.architecture
        if a.learned_state:
            return State(*(np.repeat(self.parameters[name][:, None], batch, 1) for name in ("h0", "c0")))
        return State(*(np.zeros((a.layers, batch, a.hidden), a.dtype) for _ in range(2)))

    @property
    def frozen(self) -> bool:
        """Whether the parameters are to stay as they are: packed once and not at each call, read-only, not trained.

        >>> network = Network(Architecture(5, 4, 3))
        >>> network.frozen = True
        >>> network.parameters["head.b"][0] = 1
        Traceback (most recent call last):
        ValueError: assignment destination is read-only
        """
        return self._engine.frozen

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        self.parameters.protect(frozen)
        self._engine.freeze(frozen)

    def forward(self, ids: Any, lengths: Any = None, state: State | None = None) -> tuple[np.ndarray, State]:
        """Logits (T, B, V), zero past a row's length, and the final state; without dropout."""
        plan, (real_ids,) = self._real(lengths, ids)
        final = self._states(plan)
        self._engine.run(plan, real_ids, None, self._start(plan, state), final, self.threads)
        logits = np.zeros((plan.steps, plan.rows, self.architecture.vocabulary), self.architecture.dtype)
        real = self._engine.logits[: plan.positions, : self.architecture.vocabulary]
        if plan.positions == plan.steps * plan.rows:
            logits[...] = real.reshape(logits.shape)
        else:
            logits[plan.active()] = real
        return logits, final

    def evaluate(
        self, ids: Any, targets: Any, lengths: Any = None, state: State | None = None, final: bool = True
    ) -> tuple[Metrics, State | None]:
        """The loss over all real targets, without dropout, and the final state if `final`."""
        plan, (ids, targets) = self._real(lengths, ids, targets)
        after = self._states(plan) if final else None
        self._engine.run(plan, ids, targets, self._start(plan, state), after, self.threads)
        return self._metrics(plan), after

    def backward(
        self,
        ids: Any,
        targets: Any,
        lengths: Any = None,
        state: State | None = None,
        dropout_key: int | None = None,
    ) -> tuple[Metrics, State]:
        """Fill `gradients` with those of the mean loss; nothing flows into a `state` that is given.

        `dropout_key`, an integer that differs from step to step, switches dropout on.
        """
        plan, (ids, targets) = self._real(lengths, ids, targets)
        after = self._states(plan)
        self._engine.run(plan, ids, targets, self._start(plan, state), after, self.threads, backward=True,
                         dropout_key=dropout_key, went_on=state is not None)  # fmt: skip
        return self._metrics(plan), after

    def step(
        self,
        ids: Any,
        targets: Any,
        optimizer: Optimizer,
        rate: float,
        lengths: Any = None,
        state: State | None = None,
        dropout_key: int | None = None,
        final: bool = True,
    ) -> tuple[Metrics, State | None]:
        """One training step: gradients, clipping, update at learning rate `rate`; without `final` no final state.

        Parameters and moments stay as they were if the loss or the norm is not finite.
        """
        if optimizer.parameters is not self.parameters:
            raise FastLSTMError(
                "the optimizer was made for other parameters: make it with Optimizer(network.parameters)"
            )
        plan, (ids, targets) = self._real(lengths, ids, targets)
        after = self._states(plan) if final else None
        self._engine.run(plan, ids, targets, self._start(plan, state), after, self.threads, backward=True,
                         dropout_key=dropout_key, went_on=state is not None, optimizer=optimizer, rate=rate)  # fmt: skip
        metrics = self._metrics(plan, updated=True)
        if not (math.isfinite(metrics.loss) and math.isfinite(metrics.norm)):
            optimizer.steps -= 1
        return metrics, after

    def _real(self, lengths: Any, *arrays: Any) -> tuple[Plan, list[np.ndarray]]:
        return real_positions(self.architecture.vocabulary, lengths, *arrays)

    def _start(self, plan: Plan, state: State | None) -> State | None:
        a = self.architecture
        if state is None:
            return self.initial_state(plan.rows) if a.learned_state else None
        want = (a.layers, plan.rows, a.hidden)
        for name, array in zip("hc", state, strict=True):
            if np.shape(array) != want:
                raise FastLSTMError(
                    f"state.{name} has shape {np.shape(array)}; it must be (L, B, H) = {want}"
                )
        return State(*(np.ascontiguousarray(array, a.dtype) for array in state))

    def _metrics(self, plan: Plan, updated: bool = False) -> Metrics:
        loss, correct, norm = self._engine.results.tolist()
        return Metrics(loss, int(correct), plan.positions, norm if updated else 0.0)

    def _states(self, plan: Plan) -> State:
        """Room for the states after a batch."""
        a = self.architecture
        return State(*(np.empty((a.layers, plan.rows, a.hidden), a.dtype) for _ in "hc"))
