"""SGD, Adam and AdamW on one flat buffer, with clipping by value and by global norm."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from fastlstm.errors import FastLSTMError
from fastlstm.parameters import Parameters


@dataclass(frozen=True)
class OptimizerConfig:
    """How gradients become updates; the defaults are torch.optim's, and 0 switches a clip off."""

    kind: Literal["sgd", "adam", "adamw"] = "adam"
    momentum: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip_value: float = 0.0
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("sgd", "adam", "adamw"):
            raise FastLSTMError(f"optimizer is {self.kind!r}; it must be sgd, adam or adamw")
        if self.weight_decay and self.kind == "adam":
            raise FastLSTMError("weight decay with adam: choose adamw, where it is decoupled")

    def as_dict(self) -> dict[str, float | str]:
        return asdict(self)


class Optimizer:
    """An optimiser's configuration, moments and step count for one set of parameters.

    `moments` holds "m" and "v" (Adam, AdamW), "m" (SGD with momentum) or nothing.
    """

    def __init__(self, parameters: Parameters, config: OptimizerConfig | None = None) -> None:
        self.config = config or OptimizerConfig()
        self.parameters = parameters
        self.steps = 0
        kind = self.config.kind
        names = ("m", "v") if kind != "sgd" else (("m",) if self.config.momentum else ())
        self.moments = {name: parameters.like() for name in names}
        # Decoupled decay pulls on weight matrices alone: not on biases, embeddings or initial states.
        self.decays = [name for name in parameters if name.endswith(".W")]

    def update(self, gradients: Parameters, rate: float) -> float:
        """Clip `gradients` in place, move the parameters at learning rate `rate`, return the norm before clipping."""
        c, g = self.config, gradients.flat
        norm = float(np.sqrt(np.square(g, dtype=np.float64).sum()))
        if c.clip_value:
            np.clip(g, -c.clip_value, c.clip_value, out=g)
            clipped = float(np.sqrt(np.square(g, dtype=np.float64).sum()))
        else:
            clipped = norm
        if c.clip_norm and clipped > c.clip_norm:
            g *= c.clip_norm / (clipped + 1e-6)
        self.steps += 1
        p = self.parameters.flat
        if c.weight_decay:
            for name in self.decays:
                self.parameters[name][...] *= 1 - rate * c.weight_decay
        if c.kind == "sgd":
            if c.momentum:
                m = self.moments["m"].flat
                m *= c.momentum
                m += g
                g = m
            p -= rate * g
            return norm
        m, v = self.moments["m"].flat, self.moments["v"].flat
        m += (1 - c.beta1) * (g - m)
        v += (1 - c.beta2) * (g * g - v)
        correction1, correction2 = 1 - c.beta1**self.steps, 1 - c.beta2**self.steps
        p -= (rate / correction1) * m / (np.sqrt(v / correction2) + c.epsilon)
        return norm
