"""Which character has which one-hot row: the vocabulary that the notebooks keep in a global `char_to_idx`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from fastlstm.errors import FastLSTMError


def checked(char_to_idx: Mapping[str, int], size: int, where: str) -> dict[str, int]:
    """A copy of a vocabulary, once it is known to number exactly `size` characters from 0."""
    if sorted(char_to_idx.values()) != list(range(size)):
        raise FastLSTMError(
            f"{where} has {len(char_to_idx)} characters, but the network's one-hot columns have {size}: "
            f"it must number {size} characters from 0 to {size - 1}"
        )
    return dict(char_to_idx)


def encode(characters: Iterable[str], char_to_idx: Mapping[str, int], where: str) -> np.ndarray:
    """The ids (T,) int32 of characters."""
    characters = list(characters)
    unknown = sorted({c for c in characters if c not in char_to_idx})
    if unknown:
        raise FastLSTMError(
            f"{where}: {' '.join(map(repr, unknown))} not in the vocabulary; it must be rebuilt with it"
        )
    return np.array([char_to_idx[c] for c in characters], np.int32)


def one_hot_columns(ids: Iterable[int], size: int) -> list[np.ndarray]:
    """A list of one-hot columns (size, 1)."""
    return list(np.eye(size)[np.asarray(ids, np.intp)][:, :, None])


def column_rows(columns: Sequence[np.ndarray] | np.ndarray, size: int, where: str) -> np.ndarray:
    """A list of T columns (size, 1) as rows (T, size)."""
    shapes = {np.shape(column) for column in columns}
    if shapes != {(size, 1)}:
        found = ", ".join(map(str, sorted(shapes))) or "nothing"
        raise FastLSTMError(f"{where}: expected a list of columns ({size}, 1), found {found}")
    return np.asarray(columns)[:, :, 0]


def one_hot_ids(rows: np.ndarray, where: str) -> np.ndarray:
    """The ids (T,) int32 of one-hot rows (T, V)."""
    ids = rows.argmax(axis=1)
    if not np.array_equal(rows, np.eye(rows.shape[1])[ids]):
        raise FastLSTMError(f"{where} must be one-hot: one 1 and otherwise 0 in each")
    return ids.astype(np.int32)


def main_vocabulary() -> Mapping[str, int] | None:
    """`char_to_idx` of the running notebook or script, where the notebooks' own code read it."""
    found = getattr(sys.modules.get("__main__"), "char_to_idx", None)
    return found if isinstance(found, Mapping) else None


def one_hot_character(text: str, char_to_idx: Mapping[str, int] | None) -> np.ndarray:
    """A character's one-hot column (V, 1), by the notebook's global vocabulary where none is passed."""
    known = main_vocabulary() if char_to_idx is None else char_to_idx
    if known is None:
        raise FastLSTMError("there is no char_to_idx to encode with: define it or pass it")
    return one_hot_columns(encode([text], known, "text"), len(known))[0]


class CharacterIndex:
    """A network's vocabulary: the caller's, else the notebook's global, else the sorted text's; then fixed.

    A network must never learn with one numbering and be read with another, so whatever would change the
    numbering after the first use is an error.
    """

    def __init__(self, size: int, given: Mapping[str, int] | None = None, read_main: bool = True) -> None:
        self.size, self._read_main = size, read_main
        self._given = None if given is None else checked(given, size, "char_to_idx")
        self._fixed: dict[str, int] | None = None
        self._learnt_from_columns = False

    def get(self) -> dict[str, int]:
        """The vocabulary in use, or the one that would be used now."""
        known = self._known()
        if self._fixed is None:
            if known is None:
                raise FastLSTMError(
                    "no vocabulary yet: pass char_to_idx=, define char_to_idx, or train on a text"
                )
            return checked(known, self.size, "char_to_idx")
        if known is not None and known != self._fixed:
            raise FastLSTMError(
                "char_to_idx is not the one that this LSTM was first used with: make a new LSTM"
            )
        return self._fixed

    def use(self, given: Mapping[str, int]) -> dict[str, int]:
        """Fix the vocabulary as one that is passed with a call."""
        if self._fixed is None:
            self._fixed = checked(given, self.size, "char_to_idx")
        elif dict(given) != self._fixed:
            raise FastLSTMError(
                "char_to_idx is not the one that this LSTM was first used with: make a new LSTM"
            )
        return self._fixed

    def use_text(self, text: Iterable[str]) -> dict[str, int]:
        """Fix the vocabulary for `text`: the known one, else the text's characters in sorted order."""
        if self._fixed is None:
            known = self._known()
            self._fixed = self._sorted(text) if known is None else checked(known, self.size, "char_to_idx")
        return self.get()

    def use_columns(self) -> None:
        """Note that the weights follow one-hot columns, made by the known vocabulary or by an unseen one."""
        known = self._known()
        if self._fixed is None and known is not None and len(known) == self.size:
            self._fixed = checked(known, self.size, "char_to_idx")
        self._learnt_from_columns = True

    def _known(self) -> Mapping[str, int] | None:
        return main_vocabulary() if self._given is None and self._read_main else self._given

    def _sorted(self, text: Iterable[str]) -> dict[str, int]:
        if self._learnt_from_columns:
            raise FastLSTMError(
                "this LSTM has learnt from one-hot columns: pass the char_to_idx= that made them"
            )
        vocabulary = checked({c: n for n, c in enumerate(sorted(set(text)))}, self.size, "the text")
        notice = (
            "No char_to_idx was passed or defined: characters are numbered in sorted order, see .char_to_idx."
        )
        print(notice, file=sys.stderr)
        return vocabulary
