"""How well a network predicts: scores over names and texts, without dropout."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from fastlstm.data.batching import NameBatches, TextStreams
from fastlstm.data.encoded import Ids
from fastlstm.data.feeds import Feed, NameFeed
from fastlstm.network.architecture import State
from fastlstm.network.model import Metrics, Network
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
        if batch.ids.size:
            tally.add(
                network.evaluate(batch.ids, batch.targets, batch.lengths, final=False, given=batch.given)[0]
            )
    return tally.over(ranks)


def evaluate_text(
    network: Network, ids: np.ndarray | Ids, most: int | None = None, ranks: Ranks = ALONE
) -> Scores:
    """The scores of a text (of its first `most` windows), without dropout, the state carried through it.

    The text is cut into streams that run side by side. Each but the first starts from the state after the
    last window of the one before, so that no stream begins without context. Of the streams, each rank runs its part.
    """
    B = min(max(len(ids) // STREAM_CHARACTERS, 1), MOST_STREAMS)
    streams = TextStreams(ids, B, WINDOW, ranks.part)
    first, end = streams.mine.start, streams.mine.stop
    tally = Tally()
    if first == end:
        return tally.over(ranks)
    state = network.initial_state(end - first)
    begun = max(first, 1)  # the streams from this one on have one before them
    if begun < end:
        length = (len(ids) - 1) // B
        before = ids[: B * length].reshape(B, length)[begun - 1 : end - 1, -WINDOW:]
        tails = np.ascontiguousarray(before.T, np.int32)
        _, ends = network.evaluate(tails, tails)
        assert ends is not None
        fresh = begun - first
        state = State(*(np.concatenate([a[:, :fresh], b], axis=1) for a, b in zip(state, ends, strict=True)))
    for index in range(streams.windows if most is None else min(most, streams.windows)):
        batch = streams.window(index)
        metrics, state = network.evaluate(batch.ids, batch.targets, None, state)
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
    return evaluate_text(network, feed.held_out, most, ranks)
