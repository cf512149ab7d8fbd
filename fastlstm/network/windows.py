"""Truncated backpropagation through time: a batch in windows of steps, with the states carried over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastlstm.engine.layout import Window
from fastlstm.network.architecture import State


def go_on(
    network: Any, found: Any, state: State, windows: Sequence[Window], dropout_key: int | None
) -> tuple[Any, State]:
    """Add to a network's gradients, and to the loss and hits `found`, those of a batch's later windows; their final states.

    `state` is what the window before them has come to. No gradient flows from one window to the one before.
    """
    sums = network.gradients.flat.copy() if windows else network.gradients.flat
    for ids, targets, lengths, share in windows:
        state = State(*(array[:, : len(lengths)] for array in state))
        mine, state = network.backward(ids, targets, lengths, state, dropout_key, None, share)
        found = found._replace(
            loss=found.loss + mine.loss, correct=found.correct + mine.correct, count=found.count + mine.count
        )
        sums += network.gradients.flat
    network.gradients.flat[:] = sums
    return found, state
