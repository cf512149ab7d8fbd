"""Characters to ids and back. A character is one code point of a string in normal form C."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np

from fastlstm.errors import FastLSTMError, quoted

REPLACEMENT = "\ufffd"  # '�' stands for every character that a limited vocabulary leaves out
CODE_POINTS = 0x110000
_SURROGATES = range(0xD800, 0xE000)


def code_points(string: str) -> np.ndarray:
    """The string's characters as numbers, uint32.

    >>> code_points("aß子").tolist()
    [97, 223, 23376]
    """
    return np.frombuffer(string.encode("utf-32-le", "surrogatepass"), "<u4")


class Counter:
    """How often each character occurs in all that was added."""

    def __init__(self) -> None:
        self._counts = np.zeros(CODE_POINTS, np.int64)

    def add(self, string: str) -> None:
        """Count the string's characters."""
        counts = np.bincount(code_points(string))
        self._counts[: len(counts)] += counts

    def items(self) -> tuple[np.ndarray, np.ndarray]:
        """The code points that occur, ascending, and how often each does."""
        codes = np.flatnonzero(self._counts)
        return codes, self._counts[codes]


class Vocabulary:
    """The characters a model knows; a character's id is its place, after the boundary's id 0 if there is one.

    `boundary` is True for names: id 0 begins and ends each. `replacement`, one of the characters, is read in
    place of any character that isn't there; without it such a character is an error. `start` is the character
    that a text without a prefix goes on from: the newline, or the most frequent one where there is none.
    Raises FastLSTMError if there are no characters, or they aren't different single code points.

    >>> v = Vocabulary("an", boundary=True)
    >>> v.size, v.encode("anna").tolist(), v.decode([1, 2, 2, 1, 0])
    (3, [1, 2, 2, 1], 'anna')
    """

    def __init__(
        self,
        characters: Sequence[str],
        boundary: bool,
        replacement: str | None = None,
        start: str | None = None,
    ) -> None:
        self.characters = tuple(characters)
        self.boundary = boundary
        self.replacement = replacement
        newline = "\n" if "\n" in self.characters else None
        self.start = None if boundary else newline or start or "".join(self.characters[:1])
        if not self.characters:
            raise FastLSTMError("a vocabulary needs at least one character, and there is none")
        if any(len(c) != 1 or ord(c) in _SURROGATES for c in self.characters):
            raise FastLSTMError("a vocabulary's characters must be single code points, and no surrogates")
        if len(set(self.characters)) < len(self.characters):
            raise FastLSTMError("a vocabulary's characters must differ, and one occurs twice")
        if replacement is not None and replacement not in self.characters:
            raise FastLSTMError(
                f"the replacement {quoted(replacement)} is not among the vocabulary's characters"
            )
        if not boundary and self.start not in self.characters:
            raise FastLSTMError(f"the start {quoted(start)} is not among the vocabulary's characters")
        codes = code_points("".join(self.characters))
        self._codes = np.concatenate([[0], codes]).astype("<u4") if boundary else codes
        # By code point, the last entry for all beyond; -1 where there is no such character.
        unknown = -1 if replacement is None else int(boundary) + self.characters.index(replacement)
        self._ids = np.full(int(codes.max()) + 2, unknown, np.int32)
        self._ids[codes] = np.arange(len(codes)) + int(boundary)

    @classmethod
    def from_texts(cls, texts: Iterable[str], boundary: bool, limit: int | None = None) -> Vocabulary:
        """The vocabulary of some strings' characters by code point; `limit` as in `from_counts`.

        >>> Vocabulary.from_texts(["banana"], boundary=False).characters
        ('a', 'b', 'n')
        """
        counter = Counter()
        remaining = iter(texts)
        while block := list(islice(remaining, 1 << 16)):
            counter.add("".join(block))
        return cls.from_counts(*counter.items(), boundary, limit)

    @classmethod
    def from_counts(
        cls, codes: np.ndarray, counts: np.ndarray, boundary: bool, limit: int | None = None
    ) -> Vocabulary:
        """The vocabulary of some code points in ascending order, each occurring `counts` times.

        Of more than `limit`, the `limit` - 1 most frequent are kept, and '�' in place of all the others.
        Raises FastLSTMError for a limit under 2.
        """
        if limit is not None and limit < 2:
            raise FastLSTMError(f"a vocabulary's limit is {limit}, and 2 is the least: a character and '�'")
        by_frequency = [chr(code) for code in codes[np.argsort(-counts, kind="stable")]]
        start = by_frequency[0] if by_frequency else None
        if limit is None or len(codes) <= limit:
            return cls(sorted(by_frequency), boundary, start=start)
        return cls(sorted({*by_frequency[: limit - 1], REPLACEMENT}), boundary, REPLACEMENT, start)

    def extended(self, characters: Iterable[str]) -> Vocabulary:
        """This vocabulary with those of some characters that it lacks behind its own; itself if it can read them all.

        >>> Vocabulary("an", boundary=True).extended("banana").characters
        ('a', 'n', 'b')
        """
        new = () if self.replacement else sorted(set(characters).difference(self.characters))
        if not new:
            return self
        return Vocabulary([*self.characters, *new], self.boundary, start=self.start)

    @property
    def size(self) -> int:
        """How many ids there are, the boundary's included: V."""
        return len(self._codes)

    def encode(self, string: str, where: str = "") -> np.ndarray:
        """The ids of a string's characters, int32, without the boundary.

        Raises FastLSTMError naming all characters that are unknown, and `where` they are.
        """
        codes = code_points(string)
        ids = self._ids.take(codes, mode="clip")
        if ids.size and ids.min() < 0:
            self.require(map(chr, np.unique(codes[ids < 0])), where)
        return ids

    def require(self, characters: Iterable[str], where: str = "") -> None:
        """Raise FastLSTMError naming those of the characters that can't be read, and `where` they are."""
        if self.replacement is not None:
            return
        unknown = [repr(c) for c in characters if c not in self.characters]
        if unknown:
            named = ", ".join(unknown[:20]) + (f" and {len(unknown) - 20} more" if len(unknown) > 20 else "")
            place = f"{where}: " if where else ""
            raise FastLSTMError(
                f"{place}{named} did not occur in training, take out or replace what the model does not know"
            )

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """The string of some ids; the boundary becomes nothing. Raises FastLSTMError for ids out of range."""
        ids = np.asarray(ids if hasattr(ids, "__array__") else list(ids), np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= self.size):
            raise FastLSTMError(
                f"ids go from 0 to {self.size - 1}, and these from {ids.min()} to {ids.max()}"
            )
        if self.boundary:
            ids = ids[ids > 0]
        return self._codes[ids].tobytes().decode("utf-32-le")

    def as_dict(self) -> dict[str, Any]:
        """What `from_dict` needs, fit for JSON."""
        return {
            "characters": "".join(self.characters),
            "boundary": self.boundary,
            "replacement": self.replacement,
            "start": self.start,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Vocabulary:
        """The vocabulary that `as_dict` described. Raises FastLSTMError if it described none."""
        try:
            return cls(
                stored["characters"], bool(stored["boundary"]), stored["replacement"], stored.get("start")
            )
        except (KeyError, TypeError) as error:
            raise FastLSTMError(f"a stored vocabulary lacks a part or has a wrong one ({error})") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash((self.characters, self.boundary, self.replacement))

    def __repr__(self) -> str:
        characters = "".join(self.characters)
        return f"Vocabulary({characters!r}, boundary={self.boundary}, replacement={self.replacement!r})"
