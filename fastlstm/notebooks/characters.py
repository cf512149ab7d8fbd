"""Which character has which one-hot row: the vocabulary that the notebooks keep in a global `char_to_idx`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from types import FrameType

import numpy as np

from fastlstm.errors import FastLSTMError


def checked(char_to_idx: Mapping[str, int], size: int, where: str) -> dict[str, int]:
    """A copy of a vocabulary, once it is known to number exactly `size` characters from 0."""
    if sorted(char_to_idx.values()) != list(range(size)):
        raise FastLSTMError(
            f"{where} has {len(char_to_idx)} characters, but the network's one-hot columns have {size}: "
            f"pass a char_to_idx= that numbers {size} characters from 0 to {size - 1}"
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


def notebook_vocabulary() -> Mapping[str, int] | None:
    """The global `char_to_idx` of whoever called this package, or of the running notebook or script."""
    frame: FrameType | None = sys._getframe()
    while frame and frame.f_globals.get("__name__", "").startswith("fastlstm."):
        frame = frame.f_back
    for names in (frame.f_globals if frame else {}, vars(sys.modules["__main__"])):
        if isinstance(found := names.get("char_to_idx"), Mapping):
            return found
    return None


def one_hot_character(text: str, char_to_idx: Mapping[str, int] | None = None) -> np.ndarray:
    """A character's one-hot column (V, 1) by `char_to_idx`, else by the notebook's own."""
    known = notebook_vocabulary() if char_to_idx is None else char_to_idx
    if known is None:
        raise FastLSTMError("there is no char_to_idx to encode with: define it or pass it")
    return one_hot_columns(encode([text], known, "text"), len(known))[0]


class CharacterIndex:
    """A network's vocabulary: the caller's, else the notebook's global, else the sorted text's; then fixed.

    A network must never learn with one numbering and be read with another, so whatever would change the
    numbering after the first use is an error.
    """

    def __init__(self, size: int, given: Mapping[str, int] | None = None, reads_global: bool = True) -> None:
        self.size, self._reads_global = size, reads_global and given is None
        self._fixed = None if given is None else checked(given, size, "char_to_idx")
        self._learnt_from_columns = False

    def get(self) -> dict[str, int]:
        """The vocabulary in use, or the one that would be used now."""
        known = self._known() or self._fixed
        if known is None:
            raise FastLSTMError(
                "no vocabulary yet: pass char_to_idx=, define char_to_idx, or train on a text"
            )
        return checked(known, self.size, "char_to_idx") if self._fixed is None else self.use(known)

    def use(self, vocabulary: Mapping[str, int]) -> dict[str, int]:
        """Fix the vocabulary, or make sure that it is the one already in use."""
        if self._fixed is None:
            self._fixed = checked(vocabulary, self.size, "char_to_idx")
        elif vocabulary != self._fixed:
            raise FastLSTMError(
                "char_to_idx is not the one that this LSTM was first used with: make a new LSTM"
            )
        return self._fixed

    def use_text(self, text: Iterable[str]) -> dict[str, int]:
        """Fix the vocabulary for `text`: the known one, else the text's characters in sorted order."""
        return self.use(self._known() or self._fixed or self._sorted(text))

    def use_columns(self) -> None:
        """Note that the weights follow one-hot columns, made by the known vocabulary or by an unseen one."""
        known = self._known()
        if self._fixed is None and known is not None and len(known) == self.size:
            self.use(known)
        self._learnt_from_columns = True

    def _known(self) -> Mapping[str, int] | None:
        return notebook_vocabulary() if self._reads_global else None

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
