"""Texts: one long string to train on, which may be larger than memory."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterable
from typing import IO

import numpy as np

from fastlstm.data.reading import Source, preprocess, preprocessed
from fastlstm.data.vocabulary import Counter, Vocabulary
from fastlstm.errors import FastLSTMError

IN_MEMORY = 1 << 28  # bytes of ids that are kept in memory; more are mapped from a temporary file


class Text:
    """A text as the counts of its characters, and on demand as ids; read from a file, it is never one string.

    `pieces()` gives the text from its beginning, preprocessed, each time it is called. `codes` are the code
    points that occur, ascending, and `counts` says how often each does; `notes` are remarks that the text's
    user should see. Raises FastLSTMError for a text of fewer than two characters.
    """

    def __init__(
        self, pieces: Callable[[], Iterable[str]], source: str = "text", lowercase: bool = False
    ) -> None:
        self._pieces = pieces
        self.source = source
        self.notes: list[str] = []
        self.lowercase = lowercase
        counter, summary = Counter(), hashlib.blake2b(digest_size=16)
        for piece in pieces():
            counter.add(piece)
            summary.update(piece.encode("utf-8", "surrogatepass"))
        self.codes, self.counts = counter.items()
        self._digest = summary.hexdigest()
        if len(self) < 2:
            found = "has only one character, and two are the least" if len(self) else "is empty, give a text"
            raise FastLSTMError(f"{source}: {found}")

    @classmethod
    def from_string(cls, string: str, source: str = "text", lowercase: bool = False) -> Text:
        """The text of a Python string, preprocessed, each line ending in a single newline character.

        >>> text = Text.from_string("A rose is a rose")
        >>> text.ids(text.vocabulary())[:6].tolist()
        [1, 0, 6, 5, 7, 3]
        """
        clean = preprocess(string.replace("\r\n", "\n").replace("\r", "\n"), lowercase)
        return cls(lambda: (clean,), source, lowercase)

    def __len__(self) -> int:
        return int(self.counts.sum())

    def vocabulary(self, limit: int | None = None) -> Vocabulary:
        """The vocabulary of the text's characters, or of the most frequent ones if there are over `limit`.

        '�' then stands for all the others, and `notes` say how much that is.
        """
        vocabulary = Vocabulary.from_counts(self.codes, self.counts, boundary=False, limit=limit)
        if vocabulary.replacement is not None:
            lost = ~np.isin(self.codes, [ord(c) for c in vocabulary.characters])
            share = self.counts[lost].sum() / len(self)
            self.notes.append(
                f"{lost.sum():,} rare characters, {share:.2g} of the text, become {vocabulary.replacement!r}"
            )
        return vocabulary

    def ids(self, vocabulary: Vocabulary) -> np.ndarray:
        """The text as ids (N,) of the smallest unsigned type, beyond 256 MB mapped from a temporary file.

        Raises FastLSTMError naming the characters that the vocabulary lacks, for a file that changed since it
        was first read, and if there is no room for the temporary one.
        """
        vocabulary.require(map(chr, self.codes), self.source)
        dtype = np.min_scalar_type(vocabulary.size - 1)
        if len(self) * dtype.itemsize <= IN_MEMORY:
            sink = io.BytesIO()
            self._write(sink, vocabulary, dtype)
            return np.frombuffer(sink.getbuffer(), dtype)
        with tempfile.TemporaryFile() as file:
            self._write(file, vocabulary, dtype)
            return np.memmap(file, dtype, "r", shape=(len(self),))

    def _write(self, sink: IO[bytes], vocabulary: Vocabulary, dtype: np.dtype) -> None:
        size = len(self) * dtype.itemsize
        try:
            for piece in self._pieces():
                sink.write(vocabulary.encode(piece, self.source).astype(dtype).data)
            sink.flush()
        except OSError as error:
            raise FastLSTMError(
                f"{self.source}: {size:,} bytes of ids do not fit into {tempfile.gettempdir()} "
                f"({error.strerror}); set TMPDIR to a folder with more room"
            ) from None
        if sink.tell() != size:
            raise FastLSTMError(f"{self.source}: changed while it was read, start again")

    def describe(self) -> str:
        """The facts in a line: characters, distinct characters."""
        return f"{self.source}: {len(self):,} characters, {len(self.codes):,} distinct"

    def digest(self) -> str:
        """A fingerprint of the text, to tell whether data are still the same."""
        return self._digest

    def __repr__(self) -> str:
        return f"<Text {self.describe()}>"


def read_text(path: str | os.PathLike[str], encoding: str = "utf-8", lowercase: bool = False) -> Text:
    """A text from a file, plain or gzipped; `-` is standard input.

    Line ends become single newline characters. Raises FastLSTMError for a file that is missing, empty or
    damaged, and with the line's number for bytes that the encoding doesn't allow and for a NUL.
    """
    source = Source(path, encoding)
    return Text(lambda: preprocessed(source.pieces(), lowercase), source.name, lowercase)
