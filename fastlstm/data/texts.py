"""Texts: one long string to train on, which may be larger than memory."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from fastlstm.data.encoded import Encoded, Ids, Kept, encode, reopen
from fastlstm.data.reading import Source, preprocess
from fastlstm.data.utf8 import clean
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.errors import FastLSTMError, counted


class Text:
    """A text as numbers, with the counts of its characters; read from a file, it is never one string.

    `codes` are the code points that occur, ascending, and `counts` says how often each does; `notes` are remarks that
    the text's user should see. Raises FastLSTMError for a text of fewer than two characters.
    """

    kind = "text"

    def __init__(self, encoded: Encoded, source: str = "text", lowercase: bool = False) -> None:
        self._encoded = encoded
        order = np.argsort(encoded.codes)
        self.codes, self.counts = encoded.codes[order], encoded.counts[order]
        self.source = source
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
        return cls(encode([whole.encode("utf-8", "surrogatepass")]), source, lowercase)

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

    def __repr__(self) -> str:
        return f"<Text {'; '.join([self.describe(), *self.notes])}>"


def read_text(
    path: str | os.PathLike[str],
    encoding: str = "utf-8",
    lowercase: bool = False,
    keep: str | os.PathLike[str] | None = None,
) -> Text:
    """A text from a file, plain or gzipped; `-` is standard input.

    Line ends become single newline characters. `keep` is a file for the numbers of a text that is too large for memory:
    while the text stays as it is they are not made again. Raises FastLSTMError for a file that is missing, empty or
    damaged, and with the line's number for bytes that the encoding doesn't allow and for a NUL.
    """
    source = Source(path, encoding)
    kept = None
    if keep is not None and os.path.isfile(path):
        status = os.stat(path)
        origin = {
            "bytes": status.st_size,
            "changed": status.st_mtime_ns,
            "encoding": encoding,
            "lowercase": lowercase,
        }
        kept = Kept(Path(keep), origin)
    encoded = (kept and reopen(kept)) or encode(clean(source, lowercase), kept)
    text = Text(encoded, source.name, lowercase)
    text.notes += source.notes
    return text
