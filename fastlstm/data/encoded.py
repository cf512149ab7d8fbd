"""A text as numbers, made in one pass: each character's is its place in the order of first occurrence.

What a vocabulary makes of them is looked up when it is wanted, so the numbers depend on the text alone. Small ones stay
in memory, more are mapped from a file: the numbers; a line of JSON that says what they mean and what they were made
from, with their checksums; that line's length and its own.
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
BLOCK = 1 << 24  # bytes of numbers that have a checksum of their own, on which fingerprints depend
AHEAD = b"\n"  # stands before a text behind another: what a sample without a prefix goes on from
TAIL = np.dtype([("length", "<u8"), ("checksum", "<u8")])


class Kept(NamedTuple):
    """Where numbers that don't fit into memory are kept, and what identifies the text that they were made from."""

    path: Path
    origin: Mapping[str, Any]


class Encoded(NamedTuple):
    """The numbers (N,); the code points that they stand for, how often each occurs; where parts begin; checksums (CRC-32)."""

    numbers: np.ndarray
    codes: np.ndarray
    counts: np.ndarray
    parts: Sequence[int]
    checksums: Sequence[int]

    @property
    def digest(self) -> str:
        """The text's fingerprint: of all that is said of the numbers."""
        facts = [self.codes.tolist(), self.counts.tolist(), list(self.parts), list(self.checksums)]
        return "crc32-" + hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()

    def former_digest(self) -> str:
        """The fingerprint that runs have of before there were checksums: of the text as UTF-8."""
        summary, characters = hashlib.blake2b(digest_size=16), self.codes.astype("<u4")
        for start in range(0, len(self.numbers), BLOCK):
            text = (
                characters[self.numbers[start : start + BLOCK]].tobytes().decode("utf-32-le", "surrogatepass")
            )
            summary.update(text.encode("utf-8", "surrogatepass"))
        if len(self.parts) > 1:
            summary.update(repr(list(self.parts)).encode())
        return summary.hexdigest()


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
    numbering, parts, size = Numbering(), list[int](), 0
    with _Sink(kept) as sink, ThreadPoolExecutor(1) as before, ThreadPoolExecutor(1) as behind:

        def take(numbers: np.ndarray) -> None:
            numbering.count(numbers)
            sink.write(numbers)

        # Reading, numbering and keeping take much the same time: each has a thread, and is a piece ahead of the next.
        taken = behind.submit(int)
        for text in texts:
            begin = size
            for piece in _ahead(text, before):
                if size == begin:
                    parts.append(begin)
                    piece = AHEAD * bool(begin) + piece
                numbers = numbering.number(piece)
                size += len(numbers)
                taken.result()
                taken = behind.submit(take, numbers)
        taken.result()
        found = numbering.codes, numbering.counts, parts
        numbers, checksums = sink.finish(*found)
    if numbers is None and kept is not None:
        numbers = np.memmap(kept.path, sink.dtype, "r", shape=(int(found[1].sum()),))
    assert numbers is not None
    return Encoded(numbers, *found, checksums)


def _ahead(pieces: Iterable[bytes], thread: ThreadPoolExecutor) -> Iterator[bytes]:
    """The pieces that are not empty; while one is worked on, the next is made by a thread."""
    waiting = filter(None, pieces)
    following = thread.submit(next, waiting, b"")
    while piece := following.result():
        following = thread.submit(next, waiting, b"")
        yield piece


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
        return numbers[:count]

    def count(self, numbers: np.ndarray) -> None:
        """Count the numbers of a piece."""
        more = min(np.iinfo(numbers.dtype).max + 1, CODE_POINTS) - self._counts.shape[1]
        if more > 0:
            self._counts = np.pad(self._counts, [(0, 0), (0, more)])
        count_numbers(numbers, self._counts)

    def _add(self, character: str) -> None:
        """Give a character the next number."""
        self._table[ord(character)] = len(self._codes)
        self._codes.append(ord(character))
        self._dtype = np.min_scalar_type(len(self._codes) - 1)


class _Sink:
    """Takes numbers, of the smallest unsigned type that holds them: in memory and, when they are many, in a file."""

    def __init__(self, kept: Kept | None) -> None:
        self.kept, self.dtype, self.checksums = kept, np.dtype(np.uint8), list[int]()
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
            self.check(numbers.data.cast("B"), self.file.tell())
            self.file.write(numbers.data)
            if self.file.tell() > IN_MEMORY and isinstance(self.file, io.BytesIO):
                self.spill(self.file)

    def check(self, data: memoryview, place: int) -> None:
        """Go on with the checksums of blocks; `place` is where the data will stand."""
        while data:
            before = self.checksums.pop() if place % BLOCK else 0
            part = data[: BLOCK - place % BLOCK]
            self.checksums.append(zlib.crc32(part, before))
            data, place = data[len(part) :], place + len(part)

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
        self.dtype, self.checksums = dtype, _checksums(file, end // old * dtype.itemsize)

    def finish(
        self, codes: np.ndarray, counts: np.ndarray, parts: Sequence[int]
    ) -> tuple[np.ndarray | None, list[int]]:
        """All the numbers, None if they are in the file that will have its name as the sink is left; their checksums."""
        if isinstance(self.file, io.BytesIO):
            return np.frombuffer(self.file.getvalue(), self.dtype), self.checksums
        with self.explained():
            if self.kept is None:
                self.file.flush()
                return np.memmap(self.file, self.dtype, "r"), self.checksums
            facts = {
                "codes": codes.tolist(),
                "counts": counts.tolist(),
                "parts": parts,
                "checksums": self.checksums,
                "origin": self.kept.origin,
            }
            line = json.dumps(facts).encode()
            tail = np.array([(len(line), zlib.crc32(line))], TAIL)
            self.file.write(line + tail.tobytes())
            return None, self.checksums

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
            if zlib.crc32(line) != checksum:
                return None
            facts = json.loads(line)
            codes, counts = np.array(facts["codes"], np.uint32), np.array(facts["counts"], np.int64)
            dtype = np.min_scalar_type(len(codes) - 1)
            fits = facts["origin"] == kept.origin and size == counts.sum() * dtype.itemsize
            if not fits or _checksums(file, size) != facts["checksums"]:
                return None
            numbers = np.memmap(file, dtype, "r", shape=(int(counts.sum()),))
            return Encoded(numbers, codes, counts, facts["parts"], facts["checksums"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None


def _checksums(file: IO[bytes], size: int) -> list[int]:
    """Of each block of so many bytes."""
    return [zlib.crc32(file.read(min(BLOCK, size - start))) for start in range(0, size, BLOCK)]
