"""Tables of comma- or tab-separated fields: their rows, header and columns.

A file of one name a line is a table of one column without a header.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any

from fastlstm.data.reading import Source, preprocess
from fastlstm.errors import FastLSTMError


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
        self.width = 1  # fields in a row
        text = source.lines()
        first = next(text, None)
        if first is None:
            raise FastLSTMError(f"{source.name}: is empty, give a file with a name in each row")
        self._single = lines
        self._options: dict[str, Any]
        if lines:
            if "," in first or "\t" in first:
                self.notes.append("each whole line is taken for a name; to read a table, name its column")
            # A line is one field: `Source` lets no NUL pass.
            self._options = {"delimiter": "\0", "quoting": csv.QUOTE_NONE}
        else:
            if delimiter is not None and (len(delimiter) != 1 or delimiter in '\0\r\n "'):
                raise FastLSTMError(
                    f"the delimiter {delimiter!r} must be one character, no blank and no quote"
                )
            self._options = {"delimiter": delimiter or self._separator(first), "strict": True}
        self._reader = csv.reader(chain([first], text), **self._options)
        # Once `choose` is done, the rows of data, an empty list for a blank line.
        self.rows: Iterator[list[str]] = self._reader

    def _separator(self, first: str) -> str:
        usual = "\t" if ".tsv" in self.source.path.lower() else ","
        found = next((d for d in (usual, "\t", ",", ";") if d in first), usual)
        if found != usual:
            self.notes.append(f"fields are separated by {found!r}")
        return found

    @contextmanager
    def located(self) -> Iterator[None]:
        """Turn a ValueError about the last row into a FastLSTMError with the file and the line."""
        try:
            yield
        except FastLSTMError:
            raise
        except csv.Error as error:
            line = self._broken_line()
            raise FastLSTMError(f"{self.source.name}, line {line}: no sound row ({error})") from None
        except ValueError as error:
            line = max(1, self._reader.line_num)
            raise FastLSTMError(f"{self.source.name}, line {line}: {error}") from None

    def _broken_line(self) -> int:
        """Where the unreadable row begins: an open quote is noticed only at the file's end."""
        line, reader = 1, csv.reader(self.source.lines(), **self._options)
        with suppress(csv.Error):
            for _ in reader:
                line = reader.line_num + 1
        return line

    def ragged(self, row: list[str]) -> ValueError:
        """What is to be raised for a row that has not `width` fields."""
        return ValueError(f"{len(row)} fields where the first row has {self.width}; quote or repair them")

    def choose(
        self, column: str | int | None, weight: str | int | None, header: bool
    ) -> tuple[int, int | None]:
        """Read the header, decide which columns hold names and weights; ValueError if that can't be."""
        if self._single:
            return 0, None
        titles: list[str] | None = None
        if header:
            titles = [preprocess(title.strip(), False) for title in next(filter(None, self._reader), [])]
        first = next(filter(None, self._reader), None)
        if first is None:
            raise ValueError("there is a header and no row of data" if titles else "there is no row of data")
        self.rows = chain([first], self._reader)
        self.width = len(first if titles is None else titles)
        return (
            self._guess(titles, first) if column is None else _place(column, titles, self.width, "column"),
            None if weight is None else _place(weight, titles, self.width, "weight"),
        )

    def _guess(self, titles: list[str] | None, first: list[str]) -> int:
        for place, title in enumerate(titles or ()):
            if title.casefold() == "name":
                if self.width > 1:
                    self.notes.append(f"the names are in column {title!r}")
                return place
        if any(map(_is_number, titles or ())):
            raise ValueError(
                "the first row holds a number, so it may be no header: then say header=False (--no-header), "
                "otherwise name the column (--column)"
            )
        cells = enumerate(first[: self.width])
        place = next((i for i, cell in cells if cell.strip() and not _is_number(cell)), None)
        if place is None:
            raise ValueError("no column holds text, name the one to read (--column)")
        if titles is not None:
            self.notes.append(
                f"the names are in column {place + 1}, the first with text; its header {titles[place]!r} is "
                "not taken for a name unless you say header=False (--no-header)"
            )
        elif self.width > 1:
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
