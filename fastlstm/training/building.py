"""From options to what they describe: the network, its optimiser and its schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from fastlstm.data.given import Condition
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.engine.parameters import Parameters
from fastlstm.network.architecture import Architecture
from fastlstm.network.model import Network
from fastlstm.network.optim import Optimizer, OptimizerConfig
from fastlstm.training.options import Options
from fastlstm.training.schedules import Schedule


def make_network(
    options: Options,
    vocabulary: Vocabulary,
    conditions: Sequence[Condition] = (),
    threads: int | None = None,
) -> Network:
    """A network of these options with its initial weights; a condition's value 0 is that it is not given.

    `threads` are for those that the options leave open.
    """
    sizes = {option.name for option in fields(Architecture)} - {"vocabulary", "conditions"}
    architecture = Architecture(
        vocabulary.size,
        conditions=tuple(1 + len(condition.values) for condition in conditions),
        **{name: getattr(options, name) for name in sizes},
    )
    return Network(architecture, options.seed, options.threads or threads, options.precision)


def make_optimizer(options: Options, network: Network, average: Parameters | None = None) -> Optimizer:
    """An optimiser for the parameters of `network`, with a buffer for their running mean."""
    names = {option.name for option in fields(OptimizerConfig)} - {"kind", "epsilon", "bias_correction"}
    config: dict[str, Any] = {name: getattr(options, name) for name in names}
    config["kind"] = options.optimizer
    return Optimizer(network.parameters, OptimizerConfig(**config), average=average)


def make_schedule(options: Options, steps_per_epoch: int, total: int) -> Schedule:
    """The learning rates, spread over `total` steps."""
    o = options
    every = o.decay_every * steps_per_epoch
    return Schedule(o.schedule, o.lr or 0.0, total, o.warmup, o.final, o.decay, every)
