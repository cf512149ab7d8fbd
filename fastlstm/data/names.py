"""Names: a list with its duplicates, read from a table or from a file of one name a line.

A list of millions is held as its distinct names and a number for each row.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib import resources
from itertools import islice
from typing import Any

import numpy as np

from fastlstm.data.reading import Source, preprocess
from fastlstm.data.tables import Table, is_table, weight_of
from fastlstm.errors import FastLSTMError

LONGEST_NAME = 256  # characters


class _Index(dict[str, int]):
    """Raw spelling -> the number of its name among `names`, -1 for a blank; ValueError if it is no name."""

    def __init__(self, lowercase: bool) -> None:
        super().__init__()
        self.names: dict[str, int] = {}
        self._lowercase = lowercase

    def __missing__(self, raw: str) -> int:
        name = preprocess(raw.strip(), self._lowercase)
        if len(name) > LONGEST_NAME:
            raise ValueError(
                f"a name of {len(name):,} characters ({name[:20]!r}…), and {LONGEST_NAME} are the most; "
                "is this a text rather than names?"
            )
        if "\n" in name or "\r" in name or "\0" in name:
            raise ValueError(f"a line break or NUL inside the name {name[:40]!r}, take it out")
        self[raw] = number = self.names.setdefault(name, len(self.names)) if name else -1
        return number


class Names:
    """Names with their duplicates, cleaned: no blanks around them, normal form C, lower case if asked for.

    `distinct` holds each name once, in the order of first occurrence; `rows` (N,) int32 is each row's place
    in it; `weights` (N,) float64 or None says in what proportion rows are drawn; `blanks` counts the rows
    left out because they held no name; `notes` are remarks on the reading that its user should see.
    Raises FastLSTMError for a name longer than 256 characters or with a line break, and for weights that are
    not one finite number from 0 up for each name.

    >>> names = Names(["Anna", "Åsa", " anna "])
    >>> list(names), names.distinct, names.rows.tolist()
    (['anna', 'åsa', 'anna'], ('anna', 'åsa'), [0, 1, 0])
    """

    def __init__(
        self,
        names: Iterable[str],
        source: str = "names",
        notes: Sequence[str] = (),
        lowercase: bool = True,
        weights: Sequence[float] | np.ndarray | None = None,
    ) -> None:
        index, rows = _Index(lowercase), array("i")
        for place, name in enumerate(names, 1):
            if not isinstance(name, str):
                raise FastLSTMError(f"{source}, name {place}: {name!r} is not a string")
            try:
                rows.append(index[name])
            except ValueError as error:
                raise FastLSTMError(f"{source}, name {place}: {error}") from None
        self._fill(index.names, rows, weights, source, notes, lowercase)

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
    ) -> None:
        self.source = source
        self.notes = list(notes)
        self.lowercase = lowercase
        self.distinct = tuple(distinct)
        every = np.asarray(rows, np.int32)
        kept = every >= 0
        self.rows = every[kept]
        self.blanks = len(every) - len(self.rows)
        self.weights: np.ndarray | None = None
        if weights is not None:
            given = np.asarray(weights, np.float64)
            if given.shape != every.shape or not (np.isfinite(given) & (given >= 0)).all():
                raise FastLSTMError(f"{source}: weights must be a finite number from 0 up for each name")
            self.weights = given[kept]
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
        facts = [f"{len(self):,} names", f"{len(self.distinct):,} distinct"]
        if self.duplicates:
            facts.append(f"{self.duplicates:,} duplicates kept")
        if self.blanks:
            facts.append(f"{self.blanks:,} blank rows left out")
        if self.weights is not None:
            facts.append("drawn by weight")
        return f"{self.source}: {', '.join(facts)}"

    def digest(self) -> str:
        """A fingerprint of the names, their order and weights, to tell whether data are still the same."""
        summary = hashlib.blake2b("\n".join(self.distinct).encode("utf-8", "surrogatepass"), digest_size=16)
        summary.update(self.rows.data)
        if self.weights is not None:
            summary.update(self.weights.data)
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
        )

    def __repr__(self) -> str:
        return f"<Names {self.describe()}>"


def read_names(
    path: str | os.PathLike[str],
    column: str | int | None = None,
    header: bool = True,
    lowercase: bool = True,
    encoding: str = "utf-8",
    limit: int | None = None,
    weight: str | int | None = None,
    delimiter: str | None = None,
    least: int = 2,
) -> Names:
    """Names from a table (`.csv`, `.tsv`) or a file of one name a line, also gzipped; `-` is standard input.

    A file of another kind is a table if `column`, `weight` or `delimiter` is given. `column` is a header's
    name or a number from 1, by default the one called name, else the first that holds text. `header` says
    whether a table's first row names its columns. `limit` takes only the first rows. `weight` is the column
    that says in what proportion names are drawn. Raises FastLSTMError, with file and line, for bad input and
    for fewer than `least` different names.
    """
    if limit is not None and limit < 1:
        raise FastLSTMError(f"the limit is {limit}, and 1 row is the least")
    source = Source(path, encoding)
    table = Table(source, delimiter, not is_table(path) and column is weight is delimiter is None)
    index, rows, weights = _Index(lowercase), array("i"), array("d")
    weigh = lru_cache(1 << 16)(weight_of)  # the same few numbers come again and again
    with table.located():
        place, weighing = table.choose(column, weight, header)
        width = table.width
        for row in islice(table.rows, limit):
            if len(row) == width:
                rows.append(index[row[place]])
                if weighing is not None:
                    weights.append(weigh(row[weighing]))
            elif row:
                raise table.ragged(row)
            else:
                rows.append(-1)
                weights.append(0)
    weighted = None if weight is None else weights
    names = Names._of(index.names, rows, weighted, source.name, table.notes, lowercase)
    if len(names.distinct) < least:
        found = f"the only name is {names.distinct[0]!r}" if names.distinct else "there is no name"
        raise FastLSTMError(f"{source.name}: {found}, and {least} different names are the least")
    return names


def embedded_names(**options: Any) -> Names:
    """The names that come with fastlstm: US first names with their counts. Options as for `read_names`.

    >>> embedded_names(limit=3).distinct
    ('james', 'john', 'robert')
    """
    with resources.as_file(resources.files("fastlstm.data") / "assets" / "names.csv") as path:
        names = read_names(path, **{"column": "Name", **options})
    names.source = "the embedded names"
    return names
