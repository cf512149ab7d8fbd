"""Names, and lines: a list of short texts with its duplicates.

A list of millions is held as its distinct names and a number for each row.
"""

from __future__ import annotations

import hashlib
import warnings
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from fastlstm.data.dialects import unquoted
from fastlstm.data.gathering import finish, gather
from fastlstm.data.given import Given
from fastlstm.data.lists import LONGEST, is_missing, left_out, no_list
from fastlstm.data.reading import preprocess
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.errors import FastLSTMError, counted, quoted


class Index(dict[str, int]):
    """Raw spelling -> the number of its name among `names`, -1 for a blank; ValueError if it is no name.

    `kind` says whether they are names or lines; `lowered` whether any had capitals. `begin` says which pair of quotes is
    taken off from there on.
    """

    def __init__(self, kind: str, lowercase: bool, longest: int = LONGEST) -> None:
        super().__init__()
        self.names: dict[str, int] = {}
        self.lowered = False
        self.kind, self._lowercase, self._longest = kind, lowercase, longest
        self._quotes: str | None = None

    def begin(self, quotes: str | None) -> None:
        """Another file begins."""
        self.clear()
        self._quotes = quotes

    def __missing__(self, raw: str) -> int:
        cell = (unquoted(raw, self._quotes) if self._quotes else raw).strip()
        if self.kind == "lines" and "\r" in cell:
            cell = cell.replace("\r\n", "\n").replace("\r", "\n")
        name, thing = preprocess(cell, self._lowercase), self.kind.removesuffix("s")
        if len(name) > self._longest:
            raise ValueError(
                f"a {thing} of {len(name):,} characters ({quoted(name, 20)}), and {self._longest:,} are the most; "
                f"--longest {len(name)} takes it, if this is no text (--as text)"
            )
        if "\0" in name:
            raise ValueError(f"a NUL inside the {thing} {quoted(name)}, take it out")
        if self.kind == "names" and ("\n" in name or "\r" in name):
            raise ValueError(
                f"a line break inside the name {quoted(name)}, take it out, or read lines, which keep it (--as lines)"
            )
        self.lowered |= self._lowercase and cell != cell.lower()
        self[raw] = number = self.names.setdefault(name, len(self.names)) if name else -1
        return number


class Names:
    """Names with their duplicates, cleaned: no blanks around them, normal form C, lower case if asked for.

    `distinct` holds each name once, in the order of first occurrence; `rows` (N,) int32 is each row's place
    in it; `weights` (N,) float64 or None says in what proportion rows are drawn; `given`, from lists of a value for
    each name by title, or None has the rows' conditions (`fastlstm.data.given`); `blanks` counts the rows
    left out because they held no name; `notes` are remarks on the reading that its user should see, `files` those that were
    read.
    What is missing in a column (None, NaN) counts as blank, and a warning and `notes` say where.
    Raises FastLSTMError for what is no list of strings, for a name longer than `longest` characters or with a line
    break, and for weights that are not one finite number from 0 up for each name.

    >>> names = Names(["Anna", "Åsa", " anna "])
    >>> list(names), names.distinct, names.rows.tolist()
    (['anna', 'åsa', 'anna'], ('anna', 'åsa'), [0, 1, 0])
    """

    kind, thing = "names", "name"
    files: tuple[str, ...]

    def __init__(
        self,
        names: Iterable[str],
        source: str = "names",
        notes: Sequence[str] = (),
        lowercase: bool = True,
        weights: Sequence[float] | np.ndarray | None = None,
        given: Mapping[str, Iterable[Any]] | None = None,
        longest: int = LONGEST,
    ) -> None:
        if what := no_list(names):
            raise FastLSTMError(f"{source}: this is {what}")
        index, rows = Index(self.kind, lowercase, longest), array("i")
        missing: list[int] = []
        for place, name in enumerate(names, 1):
            try:
                if isinstance(name, str):
                    rows.append(index[name])
                elif is_missing(name):
                    missing.append(place)
                    rows.append(-1)
                else:
                    raise ValueError(f"{quoted(name)} is not a string")
            except ValueError as error:
                raise FastLSTMError(f"{source}, {self.thing} {place}: {error}") from None
        if missing:
            warnings.warn(f"{source}: {left_out(missing)}", stacklevel=2)
            notes = [*notes, left_out(missing)]
        notes = list(notes)
        self._fill(index.names, rows, weights, source, notes, lowercase, index.lowered)
        self.given = finish(
            gather(given or {}, len(rows), source), np.asarray(rows) >= 0, self.weights, self.notes
        )

    @classmethod
    def of(cls, *contents: Any) -> Self:
        """Names from what `_fill` takes."""
        names = cls.__new__(cls)
        names._fill(*contents)
        return names

    def _fill(
        self,
        distinct: Iterable[str],
        rows: array[int] | np.ndarray,
        weights: Sequence[float] | np.ndarray | None,
        source: str,
        notes: Sequence[str],
        lowercase: bool,
        lowered: bool,
        given: Given | None = None,
    ) -> None:
        self.source, self.files = source, ()
        self.given = given
        self.notes = list(notes)
        self.lowercase, self.lowered = lowercase, lowered
        self.distinct = tuple(distinct)
        every = np.asarray(rows, np.int32)
        kept = every >= 0
        self.rows = every[kept]
        self.blanks = len(every) - len(self.rows)
        self.weights: np.ndarray | None = None
        if weights is not None:
            mass = np.asarray(weights, np.float64)
            if mass.shape != every.shape or not (np.isfinite(mass) & (mass >= 0)).all():
                raise FastLSTMError(f"{source}: weights must be a finite number from 0 up for each name")
            self.weights = mass[kept]
            if len(self.rows) and not self.weights.any():
                raise FastLSTMError(f"{source}: all weights are 0, so that no name can be drawn")

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[str]:
        return map(self.distinct.__getitem__, self.rows)

    @property
    def typical(self) -> float:
        """The mean number of a row's characters."""
        lengths = np.fromiter(map(len, self.distinct), np.int64, len(self.distinct))
        return float(lengths[self.rows].mean()) if len(self.rows) else 0.0

    @property
    def duplicates(self) -> int:
        """How many rows repeat an earlier row's name."""
        return len(self.rows) - len(self.distinct)

    def describe(self) -> str:
        """The facts in a line: rows, distinct names, duplicates, blanks."""
        facts = [counted(len(self), self.thing), f"{len(self.distinct):,} distinct"]
        if self.duplicates:
            facts.append(f"{counted(self.duplicates, 'duplicate')} kept")
        if self.blanks:
            facts.append(f"{counted(self.blanks, 'blank row')} left out")
        if self.lowered:
            facts.append("turned to lower case (--no-lowercase keeps capitals)")
        if self.weights is not None:
            facts.append("drawn by weight")
        if self.given is not None:
            facts.append(self.given.describe())
        return f"{self.source}: {', '.join(facts)}"

    def vocabulary(self, limit: int | None = None) -> Vocabulary:
        """The vocabulary of the names' characters, which has no `limit`, and the mark of their ends."""
        if limit is not None:
            raise FastLSTMError(f"characters limits a text's vocabulary; these data are {self.kind}")
        return Vocabulary.from_texts(self.distinct, boundary=True)

    def digest(self) -> str:
        """A fingerprint of the names, their order and weights, to tell whether data are still the same."""
        between = "\n" if self.kind == "names" else "\0"  # what is in none of them
        summary = hashlib.blake2b(
            between.join(self.distinct).encode("utf-8", "surrogatepass"), digest_size=16
        )
        summary.update(self.rows.data)
        if self.weights is not None:
            summary.update(self.weights.data)
        if self.given is not None:
            summary.update(repr(self.given.conditions).encode("utf-8", "surrogatepass"))
            summary.update(np.ascontiguousarray(self.given.numbers).data)
        return summary.hexdigest()

    def is_of(self, digest: str) -> bool:
        """Whether a fingerprint is that of these names."""
        return digest == self.digest()

    def select(self, chosen: np.ndarray) -> Self:
        """The rows of some distinct names: `chosen` is a boolean array over `distinct`."""
        kept = chosen[self.rows]
        return self.of(
            [self.distinct[place] for place in np.flatnonzero(chosen)],
            (np.cumsum(chosen) - 1)[self.rows[kept]],
            None if self.weights is None else self.weights[kept],
            self.source,
            self.notes,
            self.lowercase,
            self.lowered,
            None if self.given is None else self.given.of_rows(kept),
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'; '.join([self.describe(), *self.notes])}>"


class Lines(Names):
    """Short texts of any kind, with their duplicates: as `Names`, but case and line breaks inside them are kept.

    >>> lines = Lines(["Two eggs,\\nbeaten ", "Salt"])
    >>> lines.distinct, lines.kind
    (('Two eggs,\\nbeaten', 'Salt'), 'lines')
    """

    kind, thing = "lines", "line"

    def __init__(
        self,
        lines: Iterable[str],
        source: str = "lines",
        notes: Sequence[str] = (),
        lowercase: bool = False,
        weights: Sequence[float] | np.ndarray | None = None,
        given: Mapping[str, Iterable[Any]] | None = None,
        longest: int = LONGEST,
    ) -> None:
        super().__init__(lines, source, notes, lowercase, weights, given, longest)
