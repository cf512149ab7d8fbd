"""The states of a text's streams, from one batch to the next."""

from __future__ import annotations

from fastlstm.data.batching import Batch
from fastlstm.network.architecture import State


def before(batch: Batch, carried: State | None) -> State | None:
    """What the rows of a batch go on from, of the `carried` states of all streams; None at the beginning."""
    if carried is None or batch.streams is None:
        return carried
    return State(*(array[:, batch.streams] for array in carried))


def after(batch: Batch, carried: State | None, rows: State | None) -> State | None:
    """The states of all streams after a batch whose rows have come to theirs; a stream without a row keeps its own."""
    if batch.streams is None or rows is None:
        return rows
    every = State(*(array.copy() for array in carried or rows))  # at the beginning each stream has a row
    for mine, all_of_them in zip(rows, every, strict=True):
        all_of_them[:, batch.streams] = mine
    return every
