"""Contiguous streams of a text, in windows.

Letters: T time steps, B streams. All arrays are time-major, ids and targets int32 (T, B).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastlstm.data.batching import WHOLE, Batch, Part
from fastlstm.data.encoded import Ids
from fastlstm.engine.layout import Share
from fastlstm.errors import FastLSTMError


class TextStreams:
    """A text as B contiguous streams of equal length, in windows of T steps for truncated backpropagation.

    Stream b's characters follow one another from window to window, so its state may be carried on. The last
    window is shorter if T doesn't divide the streams' length; up to B - 1 last characters remain unused. Of the streams,
    one `part` is read. Where a file begins, `begins` (in the text), a new window does: then they are of different lengths,
    and the rows of a batch are those streams that have one left, the longest window first.
    Raises FastLSTMError for a text shorter than B + 1 characters.

    >>> streams = TextStreams(np.arange(9), streams=2, steps=3)
    >>> [streams.window(i).ids.T.tolist() for i in range(streams.windows)]
    [[[0, 1, 2], [4, 5, 6]], [[3], [7]]]
    """

    def __init__(
        self,
        ids: np.ndarray | Ids,
        streams: int,
        steps: int,
        part: Part = WHOLE,
        begins: Sequence[int] | np.ndarray = (),
    ) -> None:
        if streams < 1 or steps < 1:
            raise FastLSTMError(f"there must be at least 1 stream and 1 step, not {streams} and {steps}")
        length = (len(ids) - 1) // streams
        if length < 1:
            raise FastLSTMError(
                f"a text of {len(ids):,} characters is too short for {streams} streams, take fewer"
            )
        self.streams = streams
        self.steps = steps
        self.windows = -(-length // steps)  # an epoch's
        self.mine = part.streams(streams)
        self._dealt = part.of > 1
        self._ids = ids[: streams * length].reshape(streams, length)[self.mine]
        self._targets = ids[1 : streams * length + 1].reshape(streams, length)[self.mine]
        self._pieces: list[_Pieces] | None = None
        own = np.asarray(begins, np.int64)
        if len(own := own[own < streams * length]):
            ends = np.arange(1, streams) * length
            inside = np.split(own, np.searchsorted(own, ends))
            self._pieces = [_Pieces(found - b * length, length, steps) for b, found in enumerate(inside)]
            self.windows = max(pieces.count for pieces in self._pieces)

    def window(self, index: int) -> Batch:
        """Window `index` (from 0) of an epoch."""
        if self._pieces is not None:
            return self._ragged([pieces.piece(index) for pieces in self._pieces])
        part = slice(index * self.steps, (index + 1) * self.steps)
        ids, targets = self._ids[:, part], self._targets[:, part]
        inputs = np.ascontiguousarray(ids.T, np.int32)
        share = None
        if self._dealt:
            start = np.arange(len(inputs) + 1) * self.streams
            share = Share(np.arange(self.mine.start, self.mine.stop), start, int(start[-1]))
        return Batch(inputs, np.ascontiguousarray(targets.T, np.int32), None, None, share)

    def _ragged(self, pieces: list[tuple[int, int, bool]]) -> Batch:
        """The batch of one piece of each stream, from where to where it goes and whether a file begins there."""
        sizes = np.array([end - begin for begin, end, _ in pieces])
        order = np.argsort(-sizes, kind="stable")
        order = order[sizes[order] > 0]
        rows = np.flatnonzero((order >= self.mine.start) & (order < self.mine.stop))
        mine = order[rows]
        lengths = sizes[mine].astype(np.int32)
        ids, targets = np.zeros((2, int(lengths.max(initial=0)), len(mine)), np.int32)
        for row, stream in enumerate(mine):
            begin, end, _ = pieces[stream]
            ids[: end - begin, row] = self._ids[stream - self.mine.start, begin:end]
            targets[: end - begin, row] = self._targets[stream - self.mine.start, begin:end]
        share = None
        if self._dealt:
            whole = sizes[order]
            active = len(whole) - np.searchsorted(whole[::-1], np.arange(whole[0]), "right")
            start = np.concatenate([[0], np.cumsum(active)])
            share = Share(rows.astype(np.int32), start, int(start[-1]))
        fresh = np.array([pieces[stream][2] for stream in mine], bool)
        return Batch(ids, targets, lengths, None, share, (), mine - self.mine.start, fresh)


class _Pieces:
    """One stream's windows: its parts, each of another file, in windows of so many steps."""

    def __init__(self, begins: np.ndarray, length: int, steps: int) -> None:
        first = not len(begins) or begins[0] > 0  # the stream begins within a file
        self.begins = np.concatenate([[0], begins]) if first else begins
        self.ends = np.append(self.begins[1:], length)
        self.fresh = np.arange(len(self.begins)) >= first
        self.steps = steps
        self.done = np.cumsum(-(-(self.ends - self.begins) // steps))  # windows up to each part's end
        self.count = int(self.done[-1])

    def piece(self, index: int) -> tuple[int, int, bool]:
        """From where to where window `index` goes, and whether a file begins there; nowhere past the last one."""
        if index >= self.count:
            return 0, 0, False
        part = int(np.searchsorted(self.done, index, "right"))
        within = index - (int(self.done[part - 1]) if part else 0)
        begin = int(self.begins[part]) + within * self.steps
        return begin, min(begin + self.steps, int(self.ends[part])), bool(self.fresh[part] and not within)
