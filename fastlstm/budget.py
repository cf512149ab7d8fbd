"""From minutes to steps: a few steps and a part of a validation are timed, once, before a run begins."""

from __future__ import annotations

from itertools import chain, count
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastlstm.training import Session

WARM_UP = 3  # steps that compile and fill caches, not counted
TRIAL = 0.025  # of the time given is spent on timing
LONGEST_TRIAL = 5.0  # seconds
MARGIN = 0.98  # of what is left is planned for
SCRAP = 0.02  # of all steps


def steps_within(session: Session, minutes: float) -> int:
    """How many steps, with their validations, `session` can do in `minutes`; its own network is not touched.

    The minutes begin after compilation and include the timing done here.
    """
    feed, options = session.feed, session.options
    network = session.new_network()
    optimizer = session.new_optimizer(network)
    batches = chain.from_iterable(feed.batches(epoch, 0) for epoch in count())

    def step() -> None:
        batch = next(batches)
        network.step(batch.ids, batch.targets, optimizer, 1e-6, batch.lengths, None, session.dropout_key)

    for _ in range(WARM_UP):
        step()
    feed.evaluate(network, 1)

    started = perf_counter()
    trial = min(TRIAL * 60 * minutes, LONGEST_TRIAL)
    steps = 0
    while perf_counter() - started < trial or steps < WARM_UP:
        step()
        steps += 1
    per_step = (perf_counter() - started) / steps

    part = feed.evaluate(network, max(1, int(trial / 2 / per_step)))
    per_validation = 0.0
    if part is not None:
        per_validation = (
            (perf_counter() - started - per_step * steps) * feed.held_out_characters / part.characters
        )

    left = 60 * minutes * MARGIN - (perf_counter() - started)
    interval = options.validate_every or feed.steps_per_epoch
    total = max(1, int((left - per_validation) / (per_step + per_validation / interval)))
    beyond = total % interval  # a few steps after a validation are not worth another one
    return total - beyond if beyond < SCRAP * total else total
