"""Names or text as the training loop takes them: an epoch's batches from any position on, a part held out.

A feed owns the split. Its batches depend on (seed, epoch) alone: a position is an epoch and a batch's number. Where
several processes train together, each has a feed of its part of every batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fastlstm.data.batching import WHOLE, Batch, NameBatches, Part, split_names, split_text
from fastlstm.data.given import Condition
from fastlstm.data.names import Names
from fastlstm.data.streams import TextStreams
from fastlstm.data.texts import Text
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.errors import FastLSTMError


class NameFeed:
    """Names in random order, split by distinct name: a number or share of them, `validation`, is held out."""

    kind = "names"
    carried = False

    def __init__(
        self,
        names: Names,
        vocabulary: Vocabulary,
        batch_size: int,
        validation: float,
        seed: int,
        conditions: Sequence[Condition] | None = None,
        open_share: float = 0.0,
        part: Part = WHOLE,
        contrast: float = 0.0,
    ) -> None:
        self.data, self.vocabulary, self.seed = names, vocabulary, seed
        self.train, self.held_out = split_names(names, validation, seed)
        if conditions is None:
            conditions = names.given.as_new() if names.given else ()
        self.conditions = tuple(conditions)
        self._batches = NameBatches(
            self.train, vocabulary, batch_size, conditions, open_share, part, contrast
        )
        self.steps_per_epoch = len(self._batches)
        lengths = [len(name) + 1 for name in self.held_out.distinct]
        self.held_out_characters = sum(lengths[row] for row in self.held_out.rows)
        if self.held_out_characters:
            self.held_out_batches = NameBatches(self.held_out, vocabulary, batch_size, conditions, part=part)

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The batches of epoch number `epoch`, from number `start` on."""
        return self._batches.epoch(np.random.default_rng([self.seed, epoch]), start)


class TextFeed:
    """A text as `batch_size` contiguous streams in windows, states carried on; its last part is held out.

    In a `restarts` share of its windows a stream begins anew, so that states near the one that every reading starts
    from are met throughout the text, and not once a stream.
    """

    kind = "text"
    carried = True
    conditions = ()

    def __init__(
        self,
        text: Text,
        vocabulary: Vocabulary,
        batch_size: int,
        validation: float,
        window: int,
        seed: int = 0,
        restarts: float = 0.0,
        part: Part = WHOLE,
    ) -> None:
        self.data, self.vocabulary, self.seed, self.restarts = text, vocabulary, seed, restarts
        train, self.held_out = split_text(text.ids(vocabulary), validation)
        if len(self.held_out) == 1:
            raise FastLSTMError(f"validation of {validation} holds out one character; hold out more, or 0")
        begins, cut = text.begins, len(train)
        self.held_out_begins = begins[begins >= cut] - cut
        self._streams = TextStreams(train, batch_size, window, part, begins[begins < cut])
        self.streams = self._streams.mine
        self.steps_per_epoch = self._streams.windows
        self.held_out_characters = len(self.held_out)

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The windows of an epoch, in the order of the text, from number `start` on."""
        return (self._window(epoch, index) for index in range(start, self.steps_per_epoch))

    def _window(self, epoch: int, index: int) -> Batch:
        """A window, with the streams that begin anew in it."""
        batch = self._streams.window(index)
        if not self.restarts:
            return batch
        chances = np.random.default_rng([self.seed, epoch, index]).random(self._streams.streams)
        fresh = chances[self.streams] < self.restarts
        if batch.streams is not None and batch.fresh is not None:
            fresh = fresh[batch.streams] | batch.fresh
        return batch._replace(fresh=fresh) if fresh.any() else batch


Feed = NameFeed | TextFeed


def make_feed(
    data: Names | Text,
    vocabulary: Vocabulary | None,
    batch_size: int,
    validation: float,
    seed: int,
    window: int,
    restarts: float = 0.0,
    characters: int | None = None,
    conditions: Sequence[Condition] | None = None,
    open_share: float = 0.0,
    part: Part = WHOLE,
    contrast: float = 0.0,
) -> Feed:
    """The feed of a part of data of either kind. A model's vocabulary and conditions are kept, and what they lack is an error.

    `characters` limits a new vocabulary, which only a text's can be; `window` and `restarts` are a text's, conditions and
    the share of them that is left open are those of names.
    """
    vocabulary = vocabulary or data.vocabulary(characters)
    if isinstance(data, Names):
        return NameFeed(
            data, vocabulary, batch_size, validation, seed, conditions, open_share, part, contrast
        )
    return TextFeed(data, vocabulary, batch_size, validation, window, seed, restarts, part)
