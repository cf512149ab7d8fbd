"""Names or text as the training loop takes them: an epoch's batches from any position on, a part held out.

A feed owns the split. Its batches depend on (seed, epoch) alone: a position is an epoch and a batch's number.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from fastlstm.batching import Batch, NameBatches, TextStreams, split_names, split_text
from fastlstm.corpus import Names, Text, decide_kind, embedded_names, read_names, read_text
from fastlstm.errors import FastLSTMError
from fastlstm.model import Metrics, Network, State
from fastlstm.options import Options
from fastlstm.vocabulary import Vocabulary

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

    @property
    def scores(self) -> Scores:
        count = max(self.count, 1)
        return Scores(self.loss / count, self.correct / count, self.count)


def evaluate_names(network: Network, batches: NameBatches, most: int | None = None) -> Scores:
    """The scores of names (of the first `most` batches), without dropout."""
    tally = Tally()
    for batch in islice(batches.ordered(), most):
        tally.add(network.evaluate(batch.ids, batch.targets, batch.lengths, final=False)[0])
    return tally.scores


def evaluate_text(network: Network, ids: np.ndarray, most: int | None = None) -> Scores:
    """The scores of a text (of its first `most` windows), without dropout, the state carried through it.

    The text is cut into streams that run side by side. Each but the first starts from the state after the
    last window of the one before, so that no stream begins without context.
    """
    B = min(max(len(ids) // STREAM_CHARACTERS, 1), MOST_STREAMS)
    streams = TextStreams(ids, B, WINDOW)
    state = network.initial_state(B)
    if B > 1:
        length = (len(ids) - 1) // B
        tails = np.ascontiguousarray(ids[: B * length].reshape(B, length)[:-1, -WINDOW:].T, np.int32)
        _, ends = network.evaluate(tails, tails)
        assert ends is not None
        state = State(*(np.concatenate([a[:, :1], b], axis=1) for a, b in zip(state, ends, strict=True)))
    tally = Tally()
    for index in range(streams.windows if most is None else min(most, streams.windows)):
        batch = streams.window(index)
        metrics, state = network.evaluate(batch.ids, batch.targets, None, state)
        tally.add(metrics)
    return tally.scores


class NameFeed:
    """Names in random order, split by distinct name."""

    kind = "names"
    carried = False

    def __init__(self, names: Names, options: Options, vocabulary: Vocabulary | None = None) -> None:
        assert options.batch_size
        self.data = names
        self.seed = options.seed
        self.vocabulary = vocabulary or Vocabulary.from_texts(names.distinct, boundary=True)
        self.train, self.held_out = split_names(names, options.validation, options.seed)
        self._batches = NameBatches(self.train, self.vocabulary, options.batch_size)
        self._held_out = (
            NameBatches(self.held_out, self.vocabulary, options.batch_size) if self.held_out else None
        )
        self.steps_per_epoch = len(self._batches)
        lengths = [len(name) + 1 for name in self.held_out.distinct]
        self.held_out_characters = sum(lengths[row] for row in self.held_out.rows)

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The batches of epoch number `epoch`, from number `start` on."""
        return self._batches.epoch(np.random.default_rng([self.seed, epoch]), start)

    def evaluate(self, network: Network, most: int | None = None) -> Scores | None:
        """The scores of what is held out, or of its first `most` batches; None if nothing is."""
        return evaluate_names(network, self._held_out, most) if self._held_out else None


class TextFeed:
    """A text as contiguous streams, states carried from window to window; its last part is held out."""

    kind = "text"
    carried = True

    def __init__(self, text: Text, options: Options, vocabulary: Vocabulary | None = None) -> None:
        assert options.batch_size
        self.data = text
        self.vocabulary = vocabulary or text.vocabulary(options.characters)
        train, self._held_out = split_text(text.ids(self.vocabulary), options.validation)
        if len(self._held_out) == 1:
            raise FastLSTMError(
                f"validation of {options.validation} holds out one character; hold out more, or 0"
            )
        self._streams = TextStreams(train, options.batch_size, options.window)
        self.steps_per_epoch = self._streams.windows
        self.held_out_characters = len(self._held_out)

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The windows of an epoch, in the order of the text, from number `start` on."""
        return map(self._streams.window, range(start, self.steps_per_epoch))

    def evaluate(self, network: Network, most: int | None = None) -> Scores | None:
        """The scores of what is held out, or of its first `most` windows; None if nothing is."""
        return evaluate_text(network, self._held_out, most) if len(self._held_out) else None


Feed = NameFeed | TextFeed


def open_data(path: str | os.PathLike[str] | None, options: Options) -> Names | Text:
    """Read a file (None: the embedded names, "-": standard input) as `options` say."""
    if path is None and options.kind == "text":
        raise FastLSTMError("the data that come with fastlstm are names; give a file to train on text")
    kind = "names" if path is None else decide_kind(path, options.kind)
    lowercase = (kind == "names") if options.lowercase is None else options.lowercase
    if path is not None and kind == "text":
        for name in ("column", "weight", "limit", "delimiter"):
            if getattr(options, name) is not None:
                raise FastLSTMError(
                    f"{name} is for names, and {path} is read as text; say that it holds names (--as names)"
                )
        return read_text(path, options.encoding, lowercase)
    if options.characters is not None:
        raise FastLSTMError("characters limits a text's vocabulary; these data are names")
    if path is None:
        return embedded_names(lowercase=lowercase, limit=options.limit, weight=options.weight)
    return read_names(
        path,
        options.column,
        options.header,
        lowercase,
        options.encoding,
        options.limit,
        options.weight,
        options.delimiter,
    )


def as_data(data: Names | Text | str | Iterable[str], lowercase: bool | None) -> Names | Text:
    """Python data as what a feed takes: a string is a text, a list of strings is names."""
    if isinstance(data, Names | Text):
        return data
    if isinstance(data, str):
        return Text.from_string(data, lowercase=bool(lowercase))
    return Names(data, lowercase=lowercase is not False)


def feed(data: Names | Text, options: Options, vocabulary: Vocabulary | None = None) -> Feed:
    """The feed for data of either kind; a given `vocabulary` is kept, and what it lacks is an error."""
    return (
        NameFeed(data, options, vocabulary)
        if isinstance(data, Names)
        else TextFeed(data, options, vocabulary)
    )
