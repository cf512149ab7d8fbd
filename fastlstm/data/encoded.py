"""A text as numbers, made in one pass: each character's is its place in the order of first occurrence.

What a vocabulary makes of them is looked up when it is wanted, so the numbers depend on the text alone. Small ones stay
in memory, more are mapped from a file: the numbers; a line of JSON that says what they mean and what they were made
from; that line's length and the checksum of both.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from fastlstm.data.files import replacing
from fastlstm.data.utf8 import first_character
from fastlstm.data.vocabulary import CODE_POINTS
from fastlstm.engine.kernels.utf8 import count_numbers, number_utf8
from fastlstm.errors import FastLSTMError

IN_MEMORY = 1 << 26  # bytes of numbers that are kept in memory
BLOCK = 1 << 24  # bytes of a file that are checked or widened at once
AHEAD = b"\n"  # stands before a text behind another: what a sample without a prefix goes on from
TAIL = np.dtype([("length", "<u8"), ("checksum", "<u8")])


class Kept(NamedTuple):
    """Where numbers that don't fit into memory are kept, and what identifies the text that they were made from."""

    path: Path
    origin: Mapping[str, Any]


class Encoded(NamedTuple):
    """The numbers (N,); the code points that they stand for, how often each occurs; the text's fingerprint; where parts begin."""

    numbers: np.ndarray
    codes: np.ndarray
    counts: np.ndarray
    digest: str
    parts: Sequence[int] = (0,)


class Ids:
    """Ids of a text under a vocabulary: sliced and reshaped like an array, looked up when it becomes one.

    >>> ids = Ids(np.array([0, 1, 0, 2], np.uint8), np.array([5, 3, 4], np.int32))
    >>> len(ids), np.asarray(ids[1:].reshape(3, 1).T).tolist()
    (4, [[3, 5, 4]])
    """

    def __init__(self, numbers: np.ndarray, table: np.ndarray) -> None:
        self._numbers, self._table = numbers, table

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, part: Any) -> Ids:
        return Ids(self._numbers[part], self._table)

    def reshape(self, *shape: int) -> Ids:
        """As of an array."""
        return Ids(self._numbers.reshape(*shape), self._table)

    @property
    def T(self) -> Ids:
        """As of an array."""
        return Ids(self._numbers.T, self._table)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._table.take(self._numbers).astype(dtype or self._table.dtype, copy=False)


def encode(texts: Iterable[Iterable[bytes]], kept: Kept | None = None) -> Encoded:
    """Read texts once, each in pieces of whole characters of UTF-8; surrogates are taken for characters.

    `AHEAD` stands before each text but the first. Beyond `IN_MEMORY` numbers go to `kept`, or to a temporary file. Raises
    FastLSTMError where there is no room for them.
    """
    numbering, summary = Numbering(), hashlib.blake2b(digest_size=16)
    parts, size = list[int](), 0
    with _Sink(kept) as sink, ThreadPoolExecutor(1) as beside:

        def take(piece: bytes, numbers: np.ndarray) -> None:
            summary.update(piece)
            sink.write(numbers)

        # The fingerprint takes as long as all the rest: it has a thread of its own, one piece behind.
        behind = beside.submit(int)
        for text in texts:
            begin = size
            for piece in filter(None, text):
                if size == begin:
                    parts.append(begin)
                    piece = AHEAD * bool(begin) + piece
                numbers = numbering.number(piece)
                size += len(numbers)
                behind.result()
                behind = beside.submit(take, piece, numbers)
        behind.result()
        if len(parts) > 1:
            summary.update(repr(parts).encode())
        found = numbering.codes, numbering.counts, summary.hexdigest(), parts
        numbers = sink.finish(*found)
    if numbers is None and kept is not None:
        numbers = np.memmap(kept.path, sink.dtype, "r", shape=(int(found[1].sum()),))
    assert numbers is not None
    return Encoded(numbers, *found)


class Numbering:
    """Numbers characters in the order of their first occurrence, and counts them."""

    def __init__(self) -> None:
        self._table, self._codes = np.full(CODE_POINTS, -1, np.int32), []
        self._counts, self._dtype = np.zeros((4, 256), np.int64), np.dtype(np.uint8)

    @property
    def codes(self) -> np.ndarray:
        """The code points that have numbers, in their order."""
        return np.array(self._codes, np.uint32)

    @property
    def counts(self) -> np.ndarray:
        """How often each number occurred."""
        return self._counts.sum(0)[: len(self._codes)]

    def number(self, piece: bytes) -> np.ndarray:
        """The numbers of a piece's characters, of the smallest unsigned type that holds all there have been."""
        data, numbers = np.frombuffer(piece, np.uint8), np.empty(len(piece), self._dtype)
        place, count = 0, 0
        while True:
            place, count = number_utf8(data, place, self._table, numbers, count)
            if place == len(piece):
                break
            self._add(first_character(piece, place))
            numbers = numbers.astype(self._dtype, copy=False)
        count_numbers(numbers[:count], self._counts)
        return numbers[:count]

    def _add(self, character: str) -> None:
        """Give a character the next number."""
        self._table[ord(character)] = len(self._codes)
        self._codes.append(ord(character))
        self._dtype = np.min_scalar_type(len(self._codes) - 1)
        if len(self._codes) > self._counts.shape[1]:
            self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)], axis=1)


class _Sink:
    """Takes numbers, of the smallest unsigned type that holds them: in memory and, when they are many, in a file."""

    def __init__(self, kept: Kept | None) -> None:
        self.kept, self.dtype, self.checksum = kept, np.dtype(np.uint8), 0
        self.file: IO[bytes] = io.BytesIO()
        self.open = ExitStack()

    def __enter__(self) -> _Sink:
        return self

    def __exit__(self, *error: Any) -> None:
        self.open.__exit__(*error)

    def write(self, numbers: np.ndarray) -> None:
        """Take numbers, of the type before or of a larger one."""
        if numbers.dtype != self.dtype:
            self.widen(numbers.dtype)
        with self.explained():
            self.file.write(numbers.data)
            self.checksum = zlib.crc32(numbers.data, self.checksum)
            if self.file.tell() > IN_MEMORY and isinstance(self.file, io.BytesIO):
                self.spill(self.file)

    def spill(self, memory: io.BytesIO) -> None:
        if self.kept is None:
            file = tempfile.TemporaryFile()  # noqa: SIM115, closed as the sink is left
        else:
            path = self.open.enter_context(replacing(self.kept.path, durable=False))
            file = open(path, "w+b")  # noqa: SIM115, likewise
        self.file = self.open.enter_context(file)
        with memory.getbuffer() as held:
            file.write(held)

    def widen(self, dtype: np.dtype) -> None:
        """Give each number more bytes, from the last one backwards: none is written over before it is read."""
        file, old = self.file, self.dtype.itemsize
        end = file.tell()
        for start in reversed(range(0, end, BLOCK)):
            file.seek(start)
            block = np.frombuffer(file.read(min(BLOCK, end - start)), self.dtype)
            file.seek(start // old * dtype.itemsize)
            file.write(block.astype(dtype).data)
        file.seek(0)
        self.dtype, self.checksum = dtype, _checksum(file, end // old * dtype.itemsize)

    def finish(
        self, codes: np.ndarray, counts: np.ndarray, digest: str, parts: Sequence[int]
    ) -> np.ndarray | None:
        """All the numbers; None if they are in the file that is kept, which will have its name as the sink is left."""
        if isinstance(self.file, io.BytesIO):
            return np.frombuffer(self.file.getvalue(), self.dtype)
        with self.explained():
            if self.kept is None:
                self.file.flush()
                return np.memmap(self.file, self.dtype, "r")
            facts = {
                "codes": codes.tolist(),
                "counts": counts.tolist(),
                "digest": digest,
                "parts": parts,
                "origin": self.kept.origin,
            }
            line = json.dumps(facts).encode()
            tail = np.array([(len(line), zlib.crc32(line, self.checksum))], TAIL)
            self.file.write(line + tail.tobytes())
            return None

    @contextmanager
    def explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = tempfile.gettempdir() if self.kept is None else self.kept.path.parent
            raise FastLSTMError(
                f"{place}: no room for a text's ids, a byte or more for each character ({error.strerror}); "
                "name another folder with --cache"
            ) from None


def reopen(kept: Kept) -> Encoded | None:
    """What `encode` kept, read through once to see that it is sound; None if it is not, or is of another text."""
    try:
        with open(kept.path, "rb") as file:
            end = file.seek(-TAIL.itemsize, os.SEEK_END)
            ((length, checksum),) = np.frombuffer(file.read(), TAIL).tolist()
            size = file.seek(end - length)
            line = file.read(length)
            file.seek(0)
            if zlib.crc32(line, _checksum(file, size)) != checksum:
                return None
            facts = json.loads(line)
            codes, counts = np.array(facts["codes"], np.uint32), np.array(facts["counts"], np.int64)
            dtype = np.min_scalar_type(len(codes) - 1)
            if facts["origin"] != kept.origin or size != counts.sum() * dtype.itemsize:
                return None
            numbers = np.memmap(file, dtype, "r", shape=(int(counts.sum()),))
            return Encoded(numbers, codes, counts, facts["digest"], facts.get("parts", [0]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None


def _checksum(file: IO[bytes], size: int) -> int:
    """Of so many bytes."""
    checksum = 0
    for start in range(0, size, BLOCK):
        checksum = zlib.crc32(file.read(min(BLOCK, size - start)), checksum)
    return checksum
