"""How well a network predicts: scores over names and texts, without dropout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from fastlstm.data.batching import NameBatches
from fastlstm.data.encoded import Ids
from fastlstm.data.feeds import Feed, NameFeed
from fastlstm.data.streams import TextStreams
from fastlstm.network.architecture import State
from fastlstm.network.model import Metrics, Network
from fastlstm.training.carrying import after, before
from fastlstm.training.ranks import ALONE, Ranks

# Evaluating a text: streams of at least so many characters, at most so many, in windows of so many steps.
STREAM_CHARACTERS, MOST_STREAMS, WINDOW = 4096, 32, 128


class Scores(NamedTuple):
    """Means over so many real targets: `loss` in nats a character, `accuracy` of the argmax."""

    loss: float
    accuracy: float
    characters: int

    @property
    def perplexity(self) -> float:
        """exp(loss): the number of equally likely characters that would be as hard to guess."""
        return math.exp(self.loss) if self.loss < 700 else math.inf

    @property
    def bits_per_character(self) -> float:
        """The loss in bits."""
        return self.loss / math.log(2)


@dataclass
class Tally:
    """Sums over batches, from which their `Scores` follow."""

    loss: float = 0.0
    correct: int = 0
    count: int = 0

    def add(self, metrics: Metrics) -> None:
        self.loss += metrics.loss * metrics.count
        self.correct += metrics.correct
        self.count += metrics.count

    def over(self, ranks: Ranks) -> Scores:
        """The scores of all ranks' sums."""
        loss, correct, count = ranks.sums(self.loss, self.correct, self.count)
        return Tally(loss, int(correct), int(count)).scores

    @property
    def scores(self) -> Scores:
        count = max(self.count, 1)
        return Scores(self.loss / count, self.correct / count, self.count)


def evaluate_names(
    network: Network, batches: NameBatches, most: int | None = None, ranks: Ranks = ALONE
) -> Scores:
    """The scores of names (of the first `most` batches), without dropout."""
    tally = Tally()
    for batch in islice(batches.ordered(), most):
        state, goes_on = None, bool(batch.rest)
        for ids, targets, lengths, *_ in [batch, *batch.rest] if batch.ids.size else ():
            if state is not None:
                state = State(*(array[:, : ids.shape[1]] for array in state))
            given = batch.given if state is None else None
            metrics, state = network.evaluate(ids, targets, lengths, state, goes_on, given)
            tally.add(metrics)
    return tally.over(ranks)


def evaluate_text(
    network: Network,
    ids: np.ndarray | Ids,
    most: int | None = None,
    ranks: Ranks = ALONE,
    begins: Sequence[int] | np.ndarray = (),
) -> Scores:
    """The scores of a text (of its first `most` windows), without dropout, the state carried through it.

    The text is cut into streams that run side by side. Each but the first starts from the state after the
    last window of the one before, so that no stream begins without context; where a file `begins`, the state starts anew.
    Of the streams, each rank runs its part.
    """
    B = min(max(len(ids) // STREAM_CHARACTERS, 1), MOST_STREAMS)
    streams = TextStreams(ids, B, WINDOW, ranks.part, begins)
    first, end = streams.mine.start, streams.mine.stop
    tally = Tally()
    if first == end:
        return tally.over(ranks)
    state = network.initial_state(end - first)
    length, files = (len(ids) - 1) // B, np.concatenate([[0], np.asarray(begins, np.int64)])
    starts = np.arange(first, end) * length
    sizes = np.minimum(starts - files[np.searchsorted(files, starts, "right") - 1], min(WINDOW, length))
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] > 0]  # the streams that have something before them, in their file
    if len(order):
        tails = np.zeros((sizes.max(), len(order)), np.int32)
        for row, stream in enumerate(order):
            tails[: sizes[stream], row] = ids[starts[stream] - sizes[stream] : starts[stream]]
        _, ends = network.evaluate(tails, tails, sizes[order])
        assert ends is not None
        for mine, known in zip(state, ends, strict=True):
            mine[:, order] = known
    for index in range(streams.windows if most is None else min(most, streams.windows)):
        batch = streams.window(index)
        begun = before(batch, state)
        metrics, ends = network.evaluate(batch.ids, batch.targets, batch.lengths, begun, fresh=batch.fresh)
        state = after(batch, state, ends)
        tally.add(metrics)
    return tally.over(ranks)


def evaluate_held_out(
    network: Network, feed: Feed, most: int | None = None, ranks: Ranks = ALONE
) -> Scores | None:
    """The scores of what the ranks' feeds hold out, or of its first `most` batches; None if nothing is."""
    if not feed.held_out_characters:
        return None
    if isinstance(feed, NameFeed):
        return evaluate_names(network, feed.held_out_batches, most, ranks)
    return evaluate_text(network, feed.held_out, most, ranks, feed.held_out_begins)
