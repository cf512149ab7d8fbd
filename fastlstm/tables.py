"""Tables of comma- or tab-separated fields: their rows, header and columns.

A file of one name a line is a table of one column without a header.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

from fastlstm.errors import FastLSTMError
from fastlstm.reading import Source, preprocess


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name says that it holds a table.

    >>> is_table("names.csv.gz"), is_table("names.txt")
    (True, False)
    """
    return os.fspath(path).lower().removesuffix(".gz").endswith((".csv", ".tsv"))


class Table:
    """The rows of a table, or with `lines` of a file of one name a line; `notes` say what was guessed.

    The delimiter is guessed from the file's name and first line if it is None.
    Raises FastLSTMError for an empty file and an impossible delimiter.
    """

    def __init__(self, source: Source, delimiter: str | None, lines: bool) -> None:
        self.source = source
        self.notes: list[str] = []
        self._begun = 1  # the line at which the row being read begins
        self._width = 1
        self._single = lines
        text = source.lines()
        first = next(text, None)
        if first is None:
            raise FastLSTMError(f"{source.name}: is empty, give a file with a name in each row")
        if lines:
            if "," in first or "\t" in first:
                self.notes.append("each whole line is taken for a name; to read a table, name its column")
            # A line is one field: `Source` lets no NUL pass.
            options: dict[str, Any] = {"delimiter": "\0", "quoting": csv.QUOTE_NONE}
        else:
            options = {"delimiter": delimiter or self._separator(first), "strict": True}
        try:
            self._reader = csv.reader(chain([first], text), **options)
        except (TypeError, ValueError):
            raise FastLSTMError(
                f"the delimiter {delimiter!r} must be one character and neither a blank nor a quote"
            ) from None
        self._rows: Iterator[list[str]] = self._reader

    def _separator(self, first: str) -> str:
        usual = "\t" if ".tsv" in self.source.path.lower() else ","
        found = next((d for d in (usual, "\t", ",", ";") if d in first), usual)
        if found != usual:
            self.notes.append(f"fields are separated by {found!r}")
        return found

    @contextmanager
    def located(self) -> Iterator[None]:
        """Turn a ValueError about a row into a FastLSTMError with the file and the line."""
        try:
            yield
        except FastLSTMError:
            raise
        except csv.Error as error:
            raise FastLSTMError(f"{self.source.name}, line {self._begun}: no sound row ({error})") from None
        except ValueError as error:
            line = max(1, self._reader.line_num)
            raise FastLSTMError(f"{self.source.name}, line {line}: {error}") from None

    def __iter__(self) -> Iterator[list[str]]:
        """The rows of data, all equally wide, an empty list for a blank line; ValueError for a ragged row."""
        width = self._width
        for row in self._rows:
            if len(row) != width and row:
                raise ValueError(f"{len(row)} fields where the first row has {width}; quote or repair them")
            yield row
            self._begun = self._reader.line_num + 1

    def choose(
        self, column: str | int | None, weight: str | int | None, header: bool
    ) -> tuple[int, int | None]:
        """Read the first rows and decide where names and weights are; ValueError if that can't be."""
        if self._single:
            return 0, None
        titles: list[str] | None = None
        if header:
            titles = [preprocess(title.strip(), False) for title in next(filter(None, self._reader), [])]
        first = next(filter(None, self._reader), None)
        if first is None:
            raise ValueError("there is a header and no row of data" if titles else "there is no row of data")
        self._rows = chain([first], self._reader)
        self._width = len(first if titles is None else titles)
        if column is None:
            place = self._guess(titles, first)
        else:
            place = _place(column, titles, self._width, "column")
        return place, None if weight is None else _place(weight, titles, self._width, "weight")

    def _guess(self, titles: list[str] | None, first: list[str]) -> int:
        for place, title in enumerate(titles or ()):
            if title.casefold() == "name":
                if self._width > 1:
                    self.notes.append(f"the names are in column {title!r}")
                return place
        if any(map(_is_number, titles or ())):
            raise ValueError(
                "the first row holds a number, so it may be no header: then say header=False (--no-header), "
                "otherwise name the column (--column)"
            )
        cells = enumerate(first[: self._width])
        place = next((i for i, cell in cells if cell.strip() and not _is_number(cell)), None)
        if place is None:
            raise ValueError("no column holds text, name the one to read (--column)")
        if titles is not None:
            self.notes.append(
                f"the names are in column {place + 1}, the first with text; its header {titles[place]!r} is "
                "not taken for a name unless you say header=False (--no-header)"
            )
        elif self._width > 1:
            self.notes.append(f"the names are in column {place + 1}, the first with text")
        return place


def _place(wanted: str | int, titles: list[str] | None, width: int, role: str) -> int:
    """The column of a given title or number from 1; ValueError saying which there are."""
    wanted = preprocess(str(wanted).strip(), False)
    for same in (str, str.casefold):
        places = [i for i, title in enumerate(titles or ()) if same(title) == same(wanted)]
        if len(places) > 1:
            raise ValueError(f"{len(places)} columns are called {wanted!r}, give the {role}'s number")
        if places:
            return places[0]
    if wanted.isdecimal() and 1 <= int(wanted) <= width:
        return int(wanted) - 1
    there = f"numbered 1 to {width}, without a header" if titles is None else ", ".join(titles[:20])
    raise ValueError(f"there is no {role} {wanted!r}; the columns are {there}")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return not cell.strip().isalpha()  # "nan" and "infinity" are text here


def weight_of(cell: str) -> float:
    """The number in a cell; ValueError if it is negative, infinite or none."""
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f"the weight {cell[:40]!r} is not a number from 0 up")
    return value
