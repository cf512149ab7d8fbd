"""The network: embedding → LSTM layers → linear → softmax cross-entropy, and its gradients.

Letters: T time steps, B sequences in a batch, V characters, E embedding size, H hidden size, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastlstm.engine.layout import Contrast, Plan, Share, Window
from fastlstm.engine.parameters import Parameters
from fastlstm.engine.positions import real_positions
from fastlstm.errors import FastLSTMError
from fastlstm.network.architecture import Architecture, State, begin, initial_state, places
from fastlstm.network.optim import Optimizer
from fastlstm.network.program import Program
from fastlstm.network.windows import go_on

BFLOAT16 = "bf16"
"""The precision whose operands are bfloat16, whose sums and everything else float32."""

Exchange = Callable[[np.ndarray], None]  # adds to a buffer (n,), in place, what others have in theirs


class Metrics(NamedTuple):
    """Of one call: mean loss in nats a target, correct argmaxes, targets, and the gradients' global norm."""

    loss: float
    correct: int
    count: int  # pyright: ignore[reportIncompatibleMethodOverride] - of targets, not of the tuple's
    norm: float = 0.0


class Network:
    """Parameters, gradients and the compiled passes over them.

    Initial weights, drawn in the buffer's order from `numpy.random.default_rng(seed)`: embeddings from a standard normal
    (1/√E when tied), matrices uniformly from ±1/√H, biases zero but for the forget gate's, states zero but for the
    conditions', from normals of 1/3 (h) and 1 (c).
    A network is not for two threads at once; several networks are.
    """

    def __init__(
        self,
        architecture: Architecture,
        seed: int = 0,
        threads: int | None = None,
        precision: str | None = None,
    ) -> None:
        self.architecture = architecture
        self.threads = threads
        self.parameters = Parameters(architecture.shapes(), architecture.dtype)
        self.gradients = self.parameters.like()
        self._initialize(np.random.default_rng(seed))
        self._set_precision(precision or architecture.dtype)

    def __getstate__(self) -> tuple[Any, ...]:
        """For copies: the program holds addresses, so each network has one of its own."""
        return self.architecture, self.threads, self.parameters, self.gradients, self.precision

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.architecture, self.threads, self.parameters, self.gradients, precision = state
        self._set_precision(precision)

    @property
    def precision(self) -> str:
        """What operands of the large products are rounded to: the parameters' dtype, or "bf16"; it may be changed.

        States, sums, activations, losses, gradients and parameters stay in that dtype, for bf16 float32.

        >>> Network(Architecture(5, 4, 3), precision="bf16").parameters.flat.dtype
        dtype('float32')
        """
        return self._precision

    @precision.setter
    def precision(self, precision: str) -> None:
        if precision != self._precision:
            frozen = self.frozen
            self._set_precision(precision)
            self._program.freeze(frozen)

    def _set_precision(self, precision: str) -> None:
        dtype = self.architecture.dtype
        if precision not in (dtype, BFLOAT16) or (precision == BFLOAT16 and dtype != "float32"):
            other = " or bf16" if dtype == "float32" else ""
            raise FastLSTMError(f"precision is {precision!r}; of {dtype} weights it must be {dtype}{other}")
        self._precision = precision
        self._program = Program(self.architecture, self.parameters, self.gradients, precision == BFLOAT16)

    def _initialize(self, rng: np.random.Generator) -> None:
        H = self.architecture.hidden
        for name, view in self.parameters.items():
            if name == "embedding":
                view[:] = rng.normal(0, H**-0.5 if self.architecture.tied else 1, view.shape)
            elif name.endswith(".W"):
                view[:] = rng.uniform(-1, 1, view.shape) / np.sqrt(H)
            elif name.startswith("lstm") and name.endswith(".b"):
                view[H : 2 * H] = self.architecture.forget_bias
            elif name.startswith("given"):
                view[:] = rng.normal(0, 1 if name == "given.c" else 1 / 3, view.shape)

    def initial_state(self, batch: int, given: Any = None) -> State:
        """The states that sequences start from, as `architecture.initial_state` says."""
        return initial_state(self.architecture, self.parameters, batch, given)

    @property
    def frozen(self) -> bool:
        """Whether the parameters are to stay as they are: packed once and not at each call, read-only, not trained.

        >>> network = Network(Architecture(5, 4, 3))
        >>> network.frozen = True
        >>> network.parameters["head.b"][0] = 1
        Traceback (most recent call last):
        ValueError: assignment destination is read-only
        """
        return self._program.frozen

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        self.parameters.protect(frozen)
        self._program.freeze(frozen)

    def forward(
        self, ids: Any, lengths: Any = None, state: State | None = None, given: Any = None
    ) -> tuple[np.ndarray, State]:
        """Logits (T, B, V), zero past a row's length, and the final state; without dropout.

        Sequences go on from `state`, or start as `initial_state` says for `given`; so they do in all of these calls.
        """
        plan, (real_ids,) = self._real(lengths, ids)
        final = self._states(plan)
        begun = begin(self.architecture, self.parameters, plan.rows, state, given)
        self._program.run(plan, real_ids, None, begun, final, self.threads)
        logits = np.zeros((plan.steps, plan.rows, self.architecture.vocabulary), self.architecture.dtype)
        real = self._program.logits[: plan.positions, : self.architecture.vocabulary]
        if plan.positions == plan.steps * plan.rows:
            logits[...] = real.reshape(logits.shape)
        else:
            logits[plan.active()] = real
        return logits, final

    def evaluate(
        self,
        ids: Any,
        targets: Any,
        lengths: Any = None,
        state: State | None = None,
        final: bool = True,
        given: Any = None,
        fresh: np.ndarray | None = None,
    ) -> tuple[Metrics, State | None]:
        """The loss over all real targets, without dropout, and the final state if `final`; `fresh` as for `step`."""
        plan, (ids, targets) = self._real(lengths, ids, targets)
        after = self._states(plan) if final else None
        begun = begin(self.architecture, self.parameters, plan.rows, state, given, fresh)
        self._program.run(plan, ids, targets, begun, after, self.threads)
        return self._metrics(plan.positions), after

    def backward(
        self,
        ids: Any,
        targets: Any,
        lengths: Any = None,
        state: State | None = None,
        dropout_key: int | None = None,
        given: Any = None,
        share: Share | None = None,
        fresh: np.ndarray | None = None,
        contrast: Contrast | None = None,
    ) -> tuple[Metrics, State]:
        """Fill `gradients` with those of the mean loss; nothing flows into a `state` that is given; `fresh` as for `step`.

        `dropout_key`, an integer that differs from step to step, switches dropout on. With a `share` these are some rows
        of a larger batch, and the loss and gradients their part of its. With a `contrast` the gradients are those of the loss
        and its terms, divided alike, and the loss is without them.
        """
        if share is not None and not len(share.rows):
            self.gradients.flat[:] = 0
            return Metrics(0.0, 0, 0), self.initial_state(0)
        divisor = None if share is None else share.whole
        mine, after = self._run_back(
            ids, targets, lengths, state, dropout_key, given, fresh, contrast, divisor, share
        )
        assert after is not None
        return mine._replace(loss=mine.loss * mine.count / (divisor or mine.count)), after

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
        given: Any = None,
        divisor: int | None = None,
        share: Share | None = None,
        exchange: Exchange | None = None,
        rest: Sequence[Window] = (),
        fresh: np.ndarray | None = None,
        contrast: Contrast | None = None,
    ) -> tuple[Metrics, State | None]:
        """One training step: gradients, clipping, update at learning rate `rate`; without `final` no final state.

        `fresh` (B,) says which sequences do not go on from `state`, but start anew. The gradients are those of the mean
        loss, or of the summed losses divided by `divisor`. With a `share` these are some rows, or none, and steps of a
        batch, of which `rest` are the later steps, and the sums that `exchange` makes are over the other rows too. `contrast` is
        as for `backward`.
        Parameters and moments stay as they were if the loss or the norm is not finite.
        """
        if optimizer.parameters is not self.parameters:
            raise FastLSTMError(
                "the optimizer was made for other parameters: make it with Optimizer(network.parameters)"
            )
        if share is not None and (exchange is not None or rest):
            mine, after = self.backward(
                ids, targets, lengths, state, dropout_key, given, share, fresh, contrast
            )
            mine, after = go_on(self, mine, after, rest, dropout_key)
            return self._update(mine, share.whole, optimizer, rate, exchange), after if final else None
        metrics, after = self._run_back(ids, targets, lengths, state, dropout_key, given, fresh, contrast, divisor,
                                        final=final, optimizer=optimizer, rate=rate)  # fmt: skip
        if not (math.isfinite(metrics.loss) and math.isfinite(metrics.norm)):
            optimizer.steps -= 1
        return metrics, after

    def _run_back(
        self, ids: Any, targets: Any, lengths: Any, state: State | None, dropout_key: int | None, given: Any,
        fresh: np.ndarray | None, contrast: Contrast | None, divisor: int | None, share: Share | None = None,
        final: bool = True, optimizer: Optimizer | None = None, rate: float = 0.0,
    ) -> tuple[Metrics, State | None]:  # fmt: skip
        """The gradients, and with an optimiser the update; the mean loss of these rows, and their final states if `final`."""
        plan, (ids, targets) = self._real(lengths, ids, targets)
        if share is not None and dropout_key is not None:
            plan = share.plan(plan)
        count, terms = plan.positions, None
        if contrast is not None:
            plan, ids, targets, terms = plan.paired(), ids.repeat(2), targets.repeat(2), contrast.terms
            given = np.stack([given, contrast.given], 1).reshape(plan.rows, -1)
        after = self._states(plan) if final else None
        begun = begin(self.architecture, self.parameters, plan.rows, state, given, fresh)
        self._program.run(plan, ids, targets, begun, after, self.threads, backward=True, dropout_key=dropout_key,
                          fresh=self._fresh(plan, state, fresh), optimizer=optimizer, rate=rate,
                          given=self._learned(plan, state, given), divisor=divisor or count, pairs=terms)  # fmt: skip
        if contrast is not None and after is not None:
            after = State(*(array[:, ::2] for array in after))
        return self._metrics(count, updated=optimizer is not None), after

    def _update(
        self, mine: Metrics, whole: int, optimizer: Optimizer, rate: float, exchange: Exchange | None
    ) -> Metrics:
        """Sum gradients, loss and hits over all shares of a batch, then clip and update as everybody does."""
        sums = self.gradients.spare
        sums[:2] = mine.loss, mine.correct
        if exchange is not None:
            exchange(self.gradients.whole)
        loss, norm = float(sums[0]), math.nan
        if math.isfinite(loss):
            norm = optimizer.update(self.gradients, rate, self.threads)
        return Metrics(loss, round(float(sums[1])), whole, norm)

    def per_target(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the last `backward` or `step`: each target's loss (N,) and the gradients of its logits (N, V), step by step.

        Both are views of memory that the next call writes to.
        """
        logits, N = self._program.logits, self._program.positions
        return self._program.losses[:N], logits[:N, : self.architecture.vocabulary]

    def _real(self, lengths: Any, *arrays: Any) -> tuple[Plan, list[np.ndarray]]:
        return real_positions(self.architecture.vocabulary, lengths, *arrays)

    def _learned(self, plan: Plan, state: State | None, given: Any) -> np.ndarray | None:
        """Which of the conditions' initial states take part, for their gradients."""
        takes_part = state is None and self.architecture.conditions
        return places(self.architecture, plan.rows, given) if takes_part else None

    def _fresh(self, plan: Plan, state: State | None, fresh: np.ndarray | None) -> np.ndarray | None:
        """Which rows start from learned states, for their gradients; None: all of them."""
        if state is None or not self.architecture.learns_states:
            return None
        return np.zeros(plan.rows, np.int32) if fresh is None else np.ascontiguousarray(fresh, np.int32)

    def _metrics(self, count: int, updated: bool = False) -> Metrics:
        loss, correct, norm = self._program.results.tolist()
        return Metrics(loss, int(correct), count, norm if updated else 0.0)

    def _states(self, plan: Plan) -> State:
        """Room for the states after a batch."""
        a = self.architecture
        return State(*(np.empty((a.layers, plan.rows, a.hidden), a.dtype) for _ in "hc"))
