"""Splits, and ragged batches of names.

Letters: T time steps, B sequences in a batch. All arrays are time-major, ids and targets int32 (T, B).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np

from fastlstm.data.contrast import contrasted
from fastlstm.data.encoded import Ids
from fastlstm.data.given import OPEN, Condition
from fastlstm.data.names import Names
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.engine.kernels.batch import deal, fill_names
from fastlstm.engine.layout import Contrast, Share, Window
from fastlstm.errors import FastLSTMError

Sliced = TypeVar("Sliced", np.ndarray, Ids)

# Longer names are cut where so many characters of a batch have been read, but not into windows of fewer steps than these.
CHARACTERS, STEPS = 1 << 14, 257


class Batch(NamedTuple):
    """Inputs and targets (T, B), and the sequences' lengths (B,), never increasing; None: all are T long.

    Past a sequence's length, ids and targets are 0. `given` (B, columns) has the conditions' values, where there are.
    With a `share` it is some rows, or none, of a larger batch; `rest` are its later steps, before which the states are
    carried over and through which no gradient flows back. `fresh` (B,) says which rows of a text begin anew here, `streams`
    (B,) which streams they are, if not all in their order.
    """

    ids: np.ndarray
    targets: np.ndarray
    lengths: np.ndarray | None
    given: np.ndarray | None = None
    share: Share | None = None
    rest: tuple[Window, ...] = ()
    streams: np.ndarray | None = None
    fresh: np.ndarray | None = None
    contrast: Contrast | None = None


class Part(NamedTuple):
    """Which of how many parts each batch is dealt into."""

    number: int = 0
    of: int = 1

    def streams(self, count: int) -> slice:
        """Its share of so many streams of equal length."""
        return slice(self.number * count // self.of, (self.number + 1) * count // self.of)


WHOLE = Part()


def _held_out(validation: float, total: int, what: str) -> int:
    """How many of `total` a fraction (a float) or a number (an int) holds out: at least one, not all."""
    whole = isinstance(validation, (int, np.integer))
    if not (validation >= 0 and (whole or validation < 1)):
        raise FastLSTMError(f"validation is {validation}, and must be a fraction under 1 or a whole number")
    if validation == 0:
        return 0
    count = int(validation) if whole else max(1, round(validation * total))
    if count >= total:
        raise FastLSTMError(
            f"validation of {validation} takes {count:,} of {total:,} {what} and leaves none to train on"
        )
    return count


def split_names(names: Names, validation: float, seed: int) -> tuple[Names, Names]:
    """Training and validation names; all rows of a name are on one side.

    `validation` is the fraction (a float) or the number (an int) of distinct names to hold out, 0 for none.
    The choice depends on the seed and on which names there are, not on their order.
    Raises FastLSTMError if no name would be left to train on.

    >>> train, validation = split_names(Names(["ada", "bo", "ada", "cy"]), 1, seed=0)
    >>> len(validation.distinct), len(train) + len(validation)
    (1, 4)
    """
    total = len(names.distinct)
    count = _held_out(validation, total, "distinct names")
    in_order = np.array(sorted(range(total), key=names.distinct.__getitem__), np.int64)
    held_out = np.zeros(total, bool)
    held_out[np.random.default_rng(seed).permutation(in_order)[:count]] = True
    return names.select(~held_out), names.select(held_out)


def split_text(ids: Sliced, validation: float) -> tuple[Sliced, Sliced]:
    """Training ids and, from the text's end, validation ids.

    `validation` is the fraction (a float) or the number (an int) of characters to hold out, 0 for none.
    Raises FastLSTMError if no character would be left to train on.

    >>> [part.tolist() for part in split_text(np.arange(5), 0.4)]
    [[0, 1, 2], [3, 4]]
    """
    cut = len(ids) - _held_out(validation, len(ids), "characters")
    return ids[:cut], ids[cut:]


class NameBatches:
    """Names as ragged batches: inputs of "anna" are [0 a n n a], targets [a n n a 0]; of each batch, one `part`.

    With a model's `conditions` a batch has each row's values; `open_share` of them are left open in training, and with a
    `contrast` of that weight the others are to be told from other values, in batches without a name of several windows.
    Raises FastLSTMError without names, and for characters that the vocabulary lacks.

    >>> names = Names(["bo", "anna"])
    >>> batch, = NameBatches(names, Vocabulary.from_texts(names, boundary=True), 2).ordered()
    >>> batch.lengths.tolist(), batch.ids.T.tolist(), batch.targets.T.tolist()
    ([5, 3], [[0, 1, 3, 3, 1], [0, 2, 4, 0, 0]], [[1, 3, 3, 1, 0], [2, 4, 0, 0, 0]])
    """

    def __init__(
        self,
        names: Names,
        vocabulary: Vocabulary,
        batch_size: int,
        conditions: Sequence[Condition] = (),
        open_share: float = 0.0,
        part: Part = WHOLE,
        contrast: float = 0.0,
    ) -> None:
        if batch_size < 1:
            raise FastLSTMError(f"the batch size is {batch_size}, and 1 is the least")
        if not len(names):
            raise FastLSTMError(f"{names.source}: there is no name to make a batch of")
        if not vocabulary.boundary:
            raise FastLSTMError("names need a vocabulary with a boundary, and this one is for text")
        self.batch_size, self.open_share, self.part = batch_size, open_share, part
        self.contrast, self._conditions = contrast if conditions else 0.0, conditions
        count = len(names.distinct)
        letters = np.fromiter(map(len, names.distinct), np.int32, count)
        lengths = letters + 1
        # One array 0 a n n a 0 b o 0 …: a name's end is the next one's beginning.
        starts = np.cumsum(lengths, dtype=np.int64) - lengths
        self._flat = np.zeros(int(lengths.sum()) + 1, np.int32)
        places = np.arange(int(letters.sum())) + np.repeat(np.arange(1, count + 1), letters)
        self._flat[places] = vocabulary.encode("".join(names.distinct), names.source)
        # What is picked, a distinct name under distinct conditions, is an item.
        self._rows, self._given = names.rows, None
        if conditions:
            own = (
                names.given.under(conditions)
                if names.given
                else np.zeros((len(names), len(conditions)), np.int32)
            )
            items, self._rows = np.unique(np.column_stack([names.rows, own]), axis=0, return_inverse=True)
            self._rows, self._given = self._rows.ravel(), items[:, 1:]
            starts, lengths = starts[items[:, 0]], lengths[items[:, 0]]
        self._starts, self._lengths = starts, lengths
        self._mass = None if names.weights is None else np.bincount(self._rows, names.weights, len(starts))

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return -(-len(self._rows) // self.batch_size)

    def epoch(self, rng: np.random.Generator, start: int = 0) -> Iterator[Batch]:
        """An epoch's batches from number `start` on; the same state of `rng` gives the same epoch.

        All rows in random order; with weights, as many draws with replacement.
        """
        if self._mass is None:
            picked = rng.permutation(self._rows)
        else:
            picked = self._drawn(rng.random(len(self._rows)))
        given = None
        if self._given is not None:
            given = self._given[picked]
            given[rng.random(given.shape) < self.open_share] = OPEN
        others = None
        if self.contrast and given is not None:
            others = contrasted(given, self._conditions, self.contrast, rng)
        return self._batches(picked, given, start, others)

    def ordered(self) -> Iterator[Batch]:
        """The batches for evaluation, the longest names first so that hardly a step is padding.

        All rows; with weights, as many, each name as often as its share says, rounded up or down.
        """
        picked = self._rows
        if self._mass is not None:
            picked = self._drawn((np.arange(len(picked)) + 0.5) / len(picked))
        picked = picked[np.argsort(-self._lengths[picked], kind="stable")]
        return self._batches(picked, None if self._given is None else self._given[picked], 0)

    def _drawn(self, uniforms: np.ndarray) -> np.ndarray:
        """The items at some places (N,), from 0 to 1, of their weights laid end to end."""
        assert self._mass is not None
        possible = np.flatnonzero(self._mass)
        ends = np.cumsum(self._mass[possible])
        return possible[np.searchsorted(ends[:-1], uniforms * ends[-1], side="right")]

    def _batches(
        self, picked: np.ndarray, given: np.ndarray | None, start: int, others: Contrast | None = None
    ) -> Iterator[Batch]:
        for first in range(start * self.batch_size, len(picked), self.batch_size):
            part = slice(first, first + self.batch_size)
            yield self._batch(
                picked[part], None if given is None else given[part], others and others.of_rows(part)
            )

    def _batch(self, picked: np.ndarray, given: np.ndarray | None, others: Contrast | None) -> Batch:
        longest = int(self._lengths[picked].max())
        if given is None and self.part.of == 1 and longest <= STEPS:
            return Batch(*self._filled(picked, self._starts, self._lengths))
        order = np.argsort(-self._lengths[picked], kind="stable")
        lengths = self._lengths[picked[order]]
        active = len(lengths) - np.searchsorted(lengths[::-1], np.arange(longest), "right")
        whole = np.concatenate([[0], np.cumsum(active)])
        rows = np.arange(len(lengths))
        if self.part.of > 1:
            owners = np.empty(len(lengths), np.int32)
            deal(lengths, np.zeros(self.part.of, np.int64), owners)
            rows = np.flatnonzero(owners == self.part.number)
        mine = order[rows]
        first, *rest = [self._window(picked[mine], rows, whole, *cut) for cut in windows(whole)]
        share = first.share if self.part.of > 1 or rest else None
        later = tuple(window for window in rest if window.ids.size)
        given = None if given is None else given[mine]
        # A name in several windows is read to its end only after the gradients of the first of them.
        others = others.of_rows(mine) if others and not rest else None
        return Batch(*first[:3], given, share, later, contrast=others)

    def _window(
        self, picked: np.ndarray, rows: np.ndarray, whole: np.ndarray, begin: int, end: int
    ) -> Window:
        """Some steps of the names picked, the longest first, which are these rows of a batch that is `whole`."""
        left = np.minimum(self._lengths[picked], end) - begin
        left = left[left > 0]
        active = np.arange(len(left), dtype=picked.dtype)
        ids, targets, lengths = self._filled(active, self._starts[picked[active]] + begin, left)
        share = Share(rows[active].astype(np.int32), whole[begin : end + 1], int(whole[-1]))
        return Window(ids, targets, lengths, share)

    def _filled(
        self, picked: np.ndarray, starts: np.ndarray, lengths: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ids and targets (T, B) and lengths (B,) of the names picked from those that start there and are so long."""
        longest = int(lengths[picked].max()) if len(picked) else 0
        ids, targets = np.zeros((2, longest, len(picked)), np.int32)
        filled = np.empty(len(picked), np.int32)
        fill_names(self._flat, starts, lengths, picked, ids, targets, filled)
        return ids, targets, filled


def windows(start: np.ndarray) -> list[tuple[int, int]]:
    """From which step to which the windows go of a batch whose steps begin at these positions (T + 1).

    >>> windows(np.arange(300) * 2), windows(np.arange(300) * 1000)
    ([(0, 299)], [(0, 257), (257, 299)])
    """
    cuts, steps = [0], len(start) - 1
    while cuts[-1] < steps:
        full = int(np.searchsorted(start, start[cuts[-1]] + CHARACTERS, "right")) - 1
        cuts.append(min(max(full, cuts[-1] + STEPS), steps))
    return list(pairwise(cuts))
