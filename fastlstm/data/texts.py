"""Texts: one long string to train on, which may be larger than memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fastlstm.data.encoded import Encoded, Ids, Kept, encode, reopen
from fastlstm.data.paths import Paths, find, one_or_all
from fastlstm.data.reading import Source, preprocess
from fastlstm.data.utf8 import clean
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.errors import FastLSTMError, counted


class Text:
    """A text as numbers, with the counts of its characters; read from a file, it is never one string.

    `codes` are the code points that occur, ascending, and `counts` says how often each does; `begins` are the places of
    the newline characters before each file but the first, where a state starts anew; `notes` are remarks that the text's
    user should see, `files` those that were read. Raises FastLSTMError for a text of fewer than two characters.
    """

    kind, typical = "text", 1.0

    def __init__(self, encoded: Encoded, source: str = "text", lowercase: bool = False) -> None:
        self._encoded = encoded
        order = np.argsort(encoded.codes)
        self.codes, self.counts = encoded.codes[order], encoded.counts[order]
        self.begins = np.array(encoded.parts[1:], np.int64)
        self.source = source
        self.files: tuple[str, ...] = ()
        self.notes: list[str] = []
        self.lowercase = lowercase
        if len(self) < 2:
            found = "has only one character, and two are the least" if len(self) else "is empty, give a text"
            raise FastLSTMError(f"{source}: {found}")

    @classmethod
    def from_string(cls, string: str, source: str = "text", lowercase: bool = False) -> Text:
        """The text of a Python string, preprocessed, each line ending in a single newline character.

        >>> text = Text.from_string("A rose is a rose")
        >>> np.asarray(text.ids(text.vocabulary())[:6]).tolist()
        [1, 0, 6, 5, 7, 3]
        """
        whole = preprocess(string.replace("\r\n", "\n").replace("\r", "\n"), lowercase)
        return cls(encode([[whole.encode("utf-8", "surrogatepass")]]), source, lowercase)

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
                f"{counted(lost.sum(), 'rare character')}, {share:.2g} of the text, become {vocabulary.replacement!r}"
            )
        return vocabulary

    def ids(self, vocabulary: Vocabulary) -> Ids:
        """The text as ids (N,). Raises FastLSTMError naming the characters that the vocabulary lacks."""
        return Ids(
            self._encoded.numbers, vocabulary.encode("".join(map(chr, self._encoded.codes)), self.source)
        )

    def describe(self) -> str:
        """The facts in a line: characters, distinct characters."""
        return f"{self.source}: {counted(len(self), 'character')}, {len(self.codes):,} distinct"

    def digest(self) -> str:
        """A fingerprint of the text, to tell whether data are still the same."""
        return self._encoded.digest

    def is_of(self, digest: str) -> bool:
        """Whether a fingerprint, be it of a run of an earlier version, is this text's."""
        return digest == self.digest() or ("-" not in digest and digest == self._encoded.former_digest())

    def __repr__(self) -> str:
        return f"<Text {'; '.join([self.describe(), *self.notes])}>"


def read_text(
    path: Paths,
    encoding: str = "utf-8",
    lowercase: bool = False,
    keep: str | os.PathLike[str] | None = None,
) -> Text:
    """A text from files, plain or gzipped; `-` is standard input.

    `path` is a file, a folder, a pattern such as `poems/*.txt`, or a list of these. Files are read in the order of their
    names; a model's state starts anew where one begins. Line ends become single newline characters. `keep` is a file for
    the numbers of a text that is too large for memory: while the files stay as they are they are not made again. Raises
    FastLSTMError for a file that is missing, empty or damaged, and with the line's number for bytes that the encoding
    doesn't allow and for a NUL.
    """
    found = find(path, "text")
    sources = [Source(file, encoding) for file in found.files]
    kept = None
    if keep is not None and all(map(os.path.isfile, found.files)):
        status = [os.stat(file) for file in found.files]
        origin = {
            "bytes": one_or_all([each.st_size for each in status]),
            "changed": one_or_all([each.st_mtime_ns for each in status]),
            "encoding": encoding,
            "lowercase": lowercase,
        }
        kept = Kept(Path(keep), origin)
    encoded = (kept and reopen(kept)) or encode((_pieces(source, lowercase) for source in sources), kept)
    text = Text(encoded, found.name, lowercase)
    text.files = found.files
    sizes = np.diff([*encoded.parts, len(text)]) - (np.array(encoded.parts) > 0)
    text.notes += found.notes(sizes.tolist(), "character") if found.several else []
    for source in sources:
        text.notes += [f"{source.name}: {note}" if found.several else note for note in source.notes]
    return text


def _pieces(source: Source, lowercase: bool) -> Iterator[bytes]:
    """A file's text in pieces that are not empty."""
    empty = True
    for piece in filter(None, clean(source, lowercase)):
        empty = False
        yield piece
    if empty:
        raise FastLSTMError(f"{source.name}: is empty, give a text")
