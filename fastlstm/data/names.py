"""Names: a list with its duplicates, read from a table or from a file of one name a line.

A list of millions is held as its distinct names and a number for each row.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

from fastlstm.data import columns
from fastlstm.data.dialects import quotes_around, unquoted
from fastlstm.data.gathering import finish, gather
from fastlstm.data.given import Given
from fastlstm.data.lists import is_missing, left_out, no_list
from fastlstm.data.reading import Source, preprocess
from fastlstm.data.tables import Table, is_table
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.errors import FastLSTMError, counted, quoted

LONGEST_NAME = 256  # characters


class _Index(dict[str, int]):
    """Raw spelling -> the number of its name among `names`, -1 for a blank; ValueError if it is no name.

    `quotes` are a pair to be taken off; `lowered` says whether any name had capitals.
    """

    def __init__(self, lowercase: bool, quotes: str | None = None) -> None:
        super().__init__()
        self.names: dict[str, int] = {}
        self.lowered = False
        self._lowercase, self._quotes = lowercase, quotes

    def __missing__(self, raw: str) -> int:
        cell = (unquoted(raw, self._quotes) if self._quotes else raw).strip()
        name = preprocess(cell, self._lowercase)
        if len(name) > LONGEST_NAME:
            raise ValueError(
                f"a name of {len(name):,} characters ({quoted(name, 20)}), and {LONGEST_NAME} are the most; "
                "is this a text rather than names?"
            )
        if "\n" in name or "\r" in name or "\0" in name:
            raise ValueError(f"a line break or NUL inside the name {quoted(name)}, take it out")
        self.lowered |= self._lowercase and cell != cell.lower()
        self[raw] = number = self.names.setdefault(name, len(self.names)) if name else -1
        return number


class Names:
    """Names with their duplicates, cleaned: no blanks around them, normal form C, lower case if asked for.

    `distinct` holds each name once, in the order of first occurrence; `rows` (N,) int32 is each row's place
    in it; `weights` (N,) float64 or None says in what proportion rows are drawn; `given`, from lists of a value for
    each name by title, or None has the rows' conditions (`fastlstm.data.given`); `blanks` counts the rows
    left out because they held no name; `notes` are remarks on the reading that its user should see.
    What is missing in a column (None, NaN) counts as blank, and a warning and `notes` say where.
    Raises FastLSTMError for what is no list of strings, for a name longer than 256 characters or with a line
    break, and for weights that are not one finite number from 0 up for each name.

    >>> names = Names(["Anna", "Åsa", " anna "])
    >>> list(names), names.distinct, names.rows.tolist()
    (['anna', 'åsa', 'anna'], ('anna', 'åsa'), [0, 1, 0])
    """

    kind = "names"

    def __init__(
        self,
        names: Iterable[str],
        source: str = "names",
        notes: Sequence[str] = (),
        lowercase: bool = True,
        weights: Sequence[float] | np.ndarray | None = None,
        given: Mapping[str, Iterable[Any]] | None = None,
    ) -> None:
        if what := no_list(names):
            raise FastLSTMError(f"{source}: this is {what}")
        index, rows = _Index(lowercase), array("i")
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
                raise FastLSTMError(f"{source}, name {place}: {error}") from None
        if missing:
            warnings.warn(f"{source}: {left_out(missing)}", stacklevel=2)
            notes = [*notes, left_out(missing)]
        notes = list(notes)
        self._fill(index.names, rows, weights, source, notes, lowercase, index.lowered)
        self.given = finish(
            gather(given or {}, len(rows), source), np.asarray(rows) >= 0, self.weights, self.notes
        )

    @classmethod
    def _of(cls, *contents: Any) -> Names:
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
        self.source = source
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
    def duplicates(self) -> int:
        """How many rows repeat an earlier row's name."""
        return len(self.rows) - len(self.distinct)

    def describe(self) -> str:
        """The facts in a line: rows, distinct names, duplicates, blanks."""
        facts = [counted(len(self), "name"), f"{len(self.distinct):,} distinct"]
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
            raise FastLSTMError("characters limits a text's vocabulary; these data are names")
        return Vocabulary.from_texts(self.distinct, boundary=True)

    def digest(self) -> str:
        """A fingerprint of the names, their order and weights, to tell whether data are still the same."""
        summary = hashlib.blake2b("\n".join(self.distinct).encode("utf-8", "surrogatepass"), digest_size=16)
        summary.update(self.rows.data)
        if self.weights is not None:
            summary.update(self.weights.data)
        if self.given is not None:
            summary.update(repr(self.given.conditions).encode("utf-8", "surrogatepass"))
            summary.update(np.ascontiguousarray(self.given.numbers).data)
        return summary.hexdigest()

    def select(self, chosen: np.ndarray) -> Names:
        """The rows of some distinct names: `chosen` is a boolean array over `distinct`."""
        kept = chosen[self.rows]
        return Names._of(
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
        return f"<Names {'; '.join([self.describe(), *self.notes])}>"


def read_names(
    path: str | os.PathLike[str],
    column: str | int | None = None,
    header: bool | None = None,
    lowercase: bool = True,
    encoding: str = "utf-8",
    limit: int | None = None,
    weight: str | int | None = None,
    delimiter: str | None = None,
    given: Sequence[str] = (),
    least: int = 2,
) -> Names:
    """Names from a table (`.csv`, `.tsv`) or a file of one name a line, also gzipped; `-` is standard input.

    A file of another kind is a table if `column`, `weight` or `delimiter` is given, or if all its lines have
    the same number of fields. `column` is a header's name or a number from 1, by default one called name or
    the like, else the first that holds text. `header` says whether a table's first row names its columns, by
    default that is guessed. `limit` takes only the first rows. `weight` is the column that says in what
    proportion names are drawn, `given` are columns that steer what is drawn later: COLUMN, or COLUMN:WIDTH for bins
    of a column of numbers. What was guessed is in the `notes` of the result. Raises FastLSTMError, with
    file and line, for bad input and for fewer than `least` different names.
    """
    if limit is not None and limit < 1:
        raise FastLSTMError(f"the limit is {limit}, and 1 row is the least")
    source = Source(path, encoding)
    lines = not is_table(path) and column is weight is delimiter is None and not given
    table = Table(source, delimiter, header, lines, columns.known(column, weight, *given))
    place = columns.choose(table, column)
    weighing = None if weight is None else columns.find(table, weight, "weight")
    giving = columns.given(table, given)
    quotes = quotes_around([row[place] for row in table.head if place < len(row)])
    if quotes:
        table.notes.append(f"every name stands in quotes ({quotes[0]}…{quotes[-1]}), which are taken off")
    index, rows, weights = _Index(lowercase, quotes), array("i"), array("d")
    weigh = lru_cache(1 << 16)(columns.weight_of)  # the same few numbers come again and again
    with table.located():
        for row in islice(table.rows(), limit):
            rows.append(index[row[place]] if row else -1)
            if weighing is not None:
                weights.append(weigh(row[weighing]) if row else 0)
            for giver, gathered in giving:
                gathered.add(row[giver] if row else "")
    weighted = None if weight is None else weights
    names = Names._of(index.names, rows, weighted, source.name, table.notes, lowercase, index.lowered)
    names.given = finish([column for _, column in giving], np.asarray(rows) >= 0, names.weights, names.notes)
    if len(names.distinct) < least:
        found = f"the only name is {quoted(names.distinct[0])}" if names.distinct else "there is no name"
        raise FastLSTMError(f"{source.name}: {found}, and {least} different names are the least")
    return names
