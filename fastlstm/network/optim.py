"""SGD, Adam and AdamW on one flat buffer, with clipping by value and by global norm."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from fastlstm.engine import workers
from fastlstm.engine.kernels.optimizer import (
    ADAM,
    AVERAGE,
    BETA1,
    BETA2,
    CLIP_NORM,
    CLIP_VALUE,
    COEFFICIENTS,
    CORRECTION1,
    CORRECTION2,
    DECAY,
    EPSILON,
    KIND,
    MOMENTUM,
    NUMBERS,
    PIECE,
    RATE,
    SGD,
    update_program,
)
from fastlstm.engine.kernels.records import NETWORK, Row
from fastlstm.engine.memory import LINE, aligned
from fastlstm.engine.parameters import Parameters
from fastlstm.errors import FastLSTMError, quoted


@dataclass(frozen=True)
class OptimizerConfig:
    """How gradients become updates; the defaults are torch.optim's, and 0 switches a clip off.

    Clipping by value comes before clipping by global norm. `weight_decay` is AdamW's, decoupled from the gradients
    (Loshchilov and Hutter, 2019). Without `bias_correction` Adam's means are used as they are, which begin at zero.
    `average` is the share of all steps so far over which a running mean of the parameters forgets: after step t it goes
    1 / (average · t) of the way to them, at most the whole way (after Karras et al., 2024, "post-hoc EMA", whose means keep
    their shape however long the run); 0 is no mean.
    """

    kind: Literal["sgd", "adam", "adamw"] = "adam"
    momentum: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip_value: float = 0.0
    clip_norm: float = 0.0
    bias_correction: bool = True
    average: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("sgd", "adam", "adamw"):
            raise FastLSTMError(f"optimizer is {quoted(self.kind)}; it must be sgd, adam or adamw")
        if self.weight_decay and self.kind != "adamw":
            raise FastLSTMError(f"weight decay with {self.kind}: choose adamw, where it is decoupled")
        if self.momentum and self.kind != "sgd":
            raise FastLSTMError(f"momentum with {self.kind}: it is an option of sgd")
        for name in ("weight_decay", "clip_value", "clip_norm"):
            if not getattr(self, name) >= 0:
                raise FastLSTMError(f"{name} is {getattr(self, name)}; it must not be negative")
        if not self.epsilon > 0:
            raise FastLSTMError(
                f"epsilon is {self.epsilon}; it must be positive, or zero gradients give 0 / 0"
            )
        for name in ("momentum", "beta1", "beta2", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise FastLSTMError(f"{name} is {getattr(self, name)}; it must be at least 0 and below 1")

    def as_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)


class Optimizer:
    """An optimiser's configuration, moments and step count for one set of parameters.

    `moments` holds "m" and, for Adam and AdamW, "v". `decays` names the parameters that weight decay pulls on: by default
    the matrices, not biases, embeddings or initial states. `apart` gives parameters a configuration of their own, which
    decays all of them; those with None stay as they are and do not count in the norm. `average` is the buffer of the
    running mean, where the configuration asks for one: the one given, or a copy of the parameters.
    """

    def __init__(
        self,
        parameters: Parameters,
        config: OptimizerConfig | None = None,
        decays: Iterable[str] | None = None,
        apart: Mapping[str, OptimizerConfig | None] | None = None,
        average: Parameters | None = None,
    ) -> None:
        self.config = config or OptimizerConfig()
        self.parameters = parameters
        self.steps = 0
        self.decays = [name for name in parameters if name.endswith(".W")] if decays is None else list(decays)
        self.apart = dict(apart or {})
        kinds = {c.kind for c in (self.config, *self.apart.values()) if c}
        self.moments = {name: parameters.like() for name in (("m",) if kinds == {"sgd"} else ("m", "v"))}
        self.average = (average or parameters.copy()) if self.config.average else None
        self.pieces = self._pieces()
        self.numbers = np.zeros((2 + len(self.apart), NUMBERS))

    @property
    def buffers(self) -> list[Parameters]:
        """All that an update writes to beside the parameters."""
        return [*self.moments.values(), *([self.average] if self.average else [])]

    def _pieces(self) -> np.ndarray:
        """Offset, length and rule of each piece of the flat buffer that is updated as one atom.

        Rule 0 is the configuration, 1 the same without decay; then come those that are apart.
        """
        line = LINE // self.parameters.flat.dtype.itemsize
        pieces = []
        for name, shape in self.parameters.shapes.items():
            rule = 0 if name in self.decays else 1
            if name in self.apart:
                if self.apart[name] is None:
                    continue
                rule = 2 + list(self.apart).index(name)
            start, whole = self.parameters.offsets[name], -(-math.prod(shape) // line) * line
            for offset in range(0, whole, PIECE):
                pieces.append((start + offset, min(PIECE, whole - offset), rule))
        return np.array(pieces, np.int64)

    def begin(self, rate: float) -> None:
        """Count a step, and set the numbers that the kernels need for it."""
        if not self.parameters.flat.flags.writeable:
            raise FastLSTMError("the network is frozen: set its frozen to False to train it")
        self.steps += 1
        for c, numbers in zip((self.config, self.config, *self.apart.values()), self.numbers, strict=True):
            if c is not None:
                self._set(numbers, c, rate)
        self.numbers[1, DECAY] = 0
        self.numbers[:, AVERAGE] = 1 / max(1.0, self.config.average * self.steps)

    def _set(self, numbers: np.ndarray, c: OptimizerConfig, rate: float) -> None:
        """The numbers of one rule."""
        numbers[KIND] = SGD if c.kind == "sgd" else ADAM
        numbers[CLIP_VALUE] = c.clip_value or np.inf
        numbers[CLIP_NORM] = c.clip_norm
        numbers[RATE] = rate
        numbers[MOMENTUM] = c.momentum
        numbers[BETA1], numbers[BETA2], numbers[EPSILON] = c.beta1, c.beta2, c.epsilon
        numbers[DECAY] = c.weight_decay
        numbers[CORRECTION1] = 1 - c.beta1**self.steps if c.bias_correction else 1
        numbers[CORRECTION2] = 1 - c.beta2**self.steps if c.bias_correction else 1

    def update(self, gradients: Parameters, rate: float, threads: int | None = None) -> float:
        """Clip `gradients`, move the parameters at learning rate `rate`, return the norm before clipping by norm.

        Clipping by value is done in `gradients` itself. A norm that is not finite changes nothing.
        """
        if gradients.shapes != self.parameters.shapes or gradients.flat.dtype != self.parameters.flat.dtype:
            raise FastLSTMError("the gradients are not like the parameters: make them with parameters.like()")
        self.begin(rate)
        record = np.zeros(1, NETWORK)
        partial, results = np.zeros(len(self.pieces)), np.zeros(3)
        scratch = aligned(len(self.pieces) * COEFFICIENTS, gradients.flat.dtype)
        v, average = self.moments.get("v"), self.average and self.average.flat
        Row(record).fill(p=self.parameters.flat, g=gradients.flat, m=self.moments["m"].flat, v=v and v.flat,
             average=average, pieces=len(self.pieces), piece=self.pieces, numbers=self.numbers, partial=partial,
             coefficients=scratch, results=results)  # fmt: skip
        workers.run(
            update_program, record, self.parameters.flat, threads=threads, work=10.0 * gradients.flat.size
        )
        if not np.isfinite(results[2]):
            self.steps -= 1
        return float(results[2])
