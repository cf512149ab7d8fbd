"""Conditions from cells: a column of a table, or a list, becomes a condition and each row's number in it.

A spec is `COLUMN`, or `COLUMN:WIDTH` for a column of numbers, whose values are then bins: `Year:10` makes 1990–1999 of
1994.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fastlstm.data.given import MOST, OPEN, OTHER, UNKNOWN, Cells, Condition, Given, bin_label, text_of
from fastlstm.errors import FastLSTMError, counted, quoted

MANY, RARE = 20, 10  # of more values than so many, those in fewer rows than so many become one


class Column:
    """Gathers one column's cells, row by row; `finish` makes a condition of them."""

    def __init__(self, title: str, width: float = 0.0) -> None:
        self.title, self.width = title, width
        self.rows = array("i")
        self._labels: dict[str, int] = {}
        self._cells: dict[Any, int] = {}

    def add(self, cell: Any) -> None:
        """Take in the next row's cell; ValueError where bins need a number and it is none."""
        number = self._cells.get(cell)
        if number is None:
            text = text_of(cell)
            label = bin_label(text, self.width) if self.width and text else text
            if label is None:
                raise ValueError(
                    f"{quoted(text)} in column {quoted(self.title)} is no number; leave out :{self.width:g} to take "
                    "its values as they are"
                )
            number = self._cells[cell] = self._labels.setdefault(label, len(self._labels))
        self.rows.append(number)

    def finish(
        self, kept: np.ndarray, weights: np.ndarray | None, notes: list[str]
    ) -> tuple[Condition, np.ndarray, Cells | None]:
        """The condition, the number of each row's value (N,) and what `Given.cells` has of it, of the rows `kept`.

        Remarks go to `notes`.
        """
        rows, labels = np.asarray(self.rows, np.int32)[kept], self._labels
        counts = np.bincount(rows, minlength=len(labels))
        named = np.array(list(map(bool, labels)), bool)
        rare = named & (counts < RARE) if (counts[named] > 0).sum() > MANY else np.zeros(len(labels), bool)
        if rare.any():
            notes.append(
                f"{counted(int(rare.sum()), 'value')} of {quoted(self.title)} in fewer than {RARE} rows each are one, "
                f"{quoted(OTHER)}"
            )
        own = [label for label, place in labels.items() if label and counts[place] and not rare[place]]
        if not own and not len(rows):
            raise FastLSTMError(f"there is no row with a value of {quoted(self.title)}")
        if len(own) > MOST:
            raise FastLSTMError(
                f"{quoted(self.title)} has {len(own):,} values, and {MOST:,} are the most; numbers can be put in bins "
                f"({self.title}:10)"
            )
        values = sorted(own, key=_natural)
        blank = "" in labels and counts[labels[""]] > 0
        values += [
            extra for extra, there in ((OTHER, rare.any()), (UNKNOWN, blank)) if there and extra not in values
        ]
        places = {value: number for number, value in enumerate(values, 1)}
        numbers = np.array(
            [places[UNKNOWN] if not label and blank else places[OTHER] if rare[place] else places.get(label, OPEN)
             for label, place in labels.items()], np.int32,
        )[rows]  # fmt: skip
        mass = np.bincount(numbers, weights, len(values) + 1)[1:]
        cells = Cells(tuple(label or UNKNOWN for label in labels), rows) if rare.any() else None
        return Condition(self.title, tuple(values), tuple(mass.tolist()), self.width), numbers, cells


def spec(text: str, titles: Sequence[str] | None = None) -> tuple[str, float]:
    """The column and the width of bins (0: none) that a spec `COLUMN[:WIDTH]` names; a whole title comes first.

    >>> spec("Year:10"), spec("Sex"), spec("a:b", ["a:b"])
    (('Year', 10.0), ('Sex', 0.0), ('a:b', 0.0))
    """
    column, colon, width = text.rpartition(":")
    if not colon or text in (titles or ()):
        return text, 0.0
    try:
        number = float(width)
    except ValueError:
        return text, 0.0
    if not (math.isfinite(number) and number > 0) or not column:
        raise FastLSTMError(f"{quoted(text)}: the width of bins must be a number above 0, as in Year:10")
    return column, number


def gather(given: Mapping[str, Iterable[Any]], count: int, source: str) -> list[Column]:
    """Columns from lists of `count` cells; FastLSTMError for one of another length or a number that is none."""
    columns = []
    for text, cells in given.items():
        column = Column(*spec(text))
        try:
            for cell in cells:
                column.add(cell)
        except (TypeError, ValueError) as error:
            raise FastLSTMError(
                f"{source}, given {quoted(text)}, number {len(column.rows) + 1}: {error}"
            ) from None
        if len(column.rows) != count:
            raise FastLSTMError(
                f"{source}: given {quoted(text)} has {counted(len(column.rows), 'value')} for {counted(count, 'name')}"
            )
        columns.append(column)
    return columns


def finish(
    columns: Sequence[Column], kept: np.ndarray, weights: np.ndarray | None, notes: list[str]
) -> Given | None:
    """What gathered columns say of the rows `kept`; None without columns."""
    if not columns:
        return None
    conditions, numbers, cells = zip(
        *(column.finish(kept, weights, notes) for column in columns), strict=True
    )
    return Given(conditions, np.stack(numbers, 1), cells)


def _natural(label: str) -> tuple[bool, float, str]:
    """Numbers and bins by size, before all else by code point."""
    try:
        return False, float(label.split("–")[0].split(" to ")[0]), label
    except ValueError:
        return True, 0.0, label
