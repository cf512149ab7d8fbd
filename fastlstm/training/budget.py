"""How many steps a run has; for minutes, a few steps and a part of a validation are timed, once, before it begins."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, count
from time import perf_counter

from fastlstm.data.feeds import Feed
from fastlstm.training.building import make_network, make_optimizer
from fastlstm.training.defaults import BY_MINUTES
from fastlstm.training.evaluation import evaluate_held_out
from fastlstm.training.options import Options
from fastlstm.training.ranks import ALONE, Ranks

WARM_UP = 3  # steps that compile and fill caches, not counted
TRIAL = 0.025  # of the time given is spent on timing
LONGEST_TRIAL = 5.0  # seconds
MARGIN = 0.98  # of what is left is planned for
SCRAP = 0.02  # of all steps
PATIENCE, LEAST_PATIENCE = 0.25, 5  # validations without a better one: a share of all, and the fewest


def planned(feed: Feed, resolve: Callable[[int], Options], ranks: Ranks = ALONE) -> tuple[Options, int]:
    """A run's options and the number of its updates, that steps, epochs or minutes come to on all ranks together.

    `resolve` gives the options with so many of the choices by time. With minutes, the last choice holds with which this
    machine makes enough steps in them.
    """
    choices = BY_MINUTES[feed.data.kind]
    rows, spent = len(choices), 0.0
    while True:
        options = resolve(rows)
        if not options.minutes:
            return options, options.steps or (options.epochs or 0) * feed.steps_per_epoch
        while rows and resolve(rows - 1) == options:
            rows -= 1
        total, measuring = _steps_within(feed, options, options.minutes, spent, ranks)
        if not rows or total >= choices[rows - 1][2]:
            return options, total
        rows, spent = rows - 1, spent + measuring


def patience(feed: Feed, options: Options, total: int) -> int:
    """After how many validations without a better one a run of so many steps stops; 0: never."""
    if options.patience is not None:
        return options.patience
    return max(LEAST_PATIENCE, round(PATIENCE * total / (options.validate_every or feed.steps_per_epoch)))


def dropout_key(options: Options, step: int) -> int | None:
    """A number of a step's own, by seed and step; None where nothing is dropped."""
    if not (options.dropout or options.embedding_dropout):
        return None
    return (options.seed % 2**31 << 32) + step


def _steps_within(
    feed: Feed, options: Options, minutes: float, spent: float, ranks: Ranks
) -> tuple[int, float]:
    """How many steps, with their validations, fit in `minutes` of which some seconds are `spent`; how long timing took.

    It is timed on a network that is thrown away. The minutes begin after compilation and include the timing done here; the
    slowest rank's count.
    """
    network = make_network(options, feed.vocabulary, feed.conditions, ranks.threads)
    optimizer = make_optimizer(options, network)
    batches = chain.from_iterable(feed.batches(epoch, 0) for epoch in count())

    def step() -> None:
        batch = next(batches)
        key = dropout_key(options, 0)
        network.step(batch.ids, batch.targets, optimizer, 1e-6, batch.lengths, None, key, given=batch.given,
                     share=batch.share, exchange=ranks.exchange, rest=batch.rest,
                     contrast=batch.contrast)  # fmt: skip

    def elapsed() -> float:
        return ranks.slowest(perf_counter() - started)

    for _ in range(WARM_UP):
        step()
    evaluate_held_out(network, feed, 1, ranks)

    started = perf_counter()
    trial = min(TRIAL * 60 * minutes, LONGEST_TRIAL)
    steps = 0
    while elapsed() < trial or steps < WARM_UP:
        step()
        steps += 1
    per_step = elapsed() / steps

    part = evaluate_held_out(network, feed, max(1, int(trial / 2 / per_step)), ranks)
    per_validation = 0.0
    if part is not None:
        per_validation = (elapsed() - per_step * steps) * feed.held_out_characters / part.characters

    measuring = elapsed()
    left = 60 * minutes * MARGIN - spent - measuring
    interval = options.validate_every or feed.steps_per_epoch
    total = max(1, int((left - per_validation) / (per_step + per_validation / interval)))
    beyond = total % interval  # a few steps after a validation are not worth another one
    return (total - beyond if beyond < SCRAP * total else total), measuring
