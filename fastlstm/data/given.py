"""Conditions: columns beside the names that steer what is drawn.

Each column is a `Condition` with numbered values; value 0 stands for "not given". A spec is `COLUMN`, or
`COLUMN:WIDTH` for a column of numbers, whose values are then bins: `Year:10` makes 1990–1999 of 1994.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from fastlstm.data.reading import preprocess
from fastlstm.errors import FastLSTMError, counted, printable, quoted

OPEN = 0  # the number of what is not given
UNKNOWN, OTHER = "unknown", "other"  # values of blank cells, and of rare ones
MANY, RARE = 20, 10  # of more values than so many, those in fewer rows than so many become one
MOST = 1000  # values of a column


@dataclass(frozen=True)
class Condition:
    """A column's title and values, which are numbered from 1; `counts` say how often each occurs.

    `width` is that of its bins, 0 where values are what the cells say.
    """

    title: str
    values: tuple[str, ...]
    counts: tuple[float, ...]
    width: float = 0.0

    def __post_init__(self) -> None:
        values, counts = tuple(self.values), tuple(map(float, self.counts))
        sound = isinstance(self.title, str) and all(isinstance(value, str) for value in values)
        if not (
            sound and values and len(values) == len(counts) == len(set(values)) and 0 <= self.width < math.inf
        ):
            raise FastLSTMError("a condition needs a title, different values, and as many counts")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "counts", counts)

    def number(self, value: Any) -> int:
        """The number of a value as people write it: a cell's text, a bin or a number in one.

        >>> Condition("Year", ("1980–1989", "1990–1999"), (7, 9), 10).number(1994)
        2
        """
        wanted = text_of(value)
        label = wanted.replace("-", "–") if self.width else wanted
        for same in (str, str.casefold):
            for number, there in enumerate(self.values, 1):
                if same(there) in (same(wanted), same(label)):
                    return number
        if self.width and (bin_of := _bin(wanted, self.width)) in self.values:
            return self.values.index(bin_of) + 1
        shown = ", ".join(quoted(there) for there in self.values[:12])
        more = f" and {len(self.values) - 12} more" if len(self.values) > 12 else ""
        raise FastLSTMError(
            f"{quoted(self.title)} has no value {quoted(wanted)} in what the model was trained on; there are {shown}{more}"
        )

    def describe(self) -> str:
        """The title and, if they are few, the values; else how many, the first and the last.

        >>> Condition("Sex", ("F", "M"), (1, 1)).describe()
        'Sex (F, M)'
        """
        shown = [printable(value, 20) for value in self.values]
        if len(shown) > 6:
            return f"{printable(self.title, 40)} ({len(shown)} values, {shown[0]} … {shown[-1]})"
        return f"{printable(self.title, 40)} ({', '.join(shown)})"

    def as_dict(self) -> dict[str, Any]:
        """What `Condition(**…)` needs, fit for JSON."""
        return asdict(self)


class Given(NamedTuple):
    """The conditions of some names, and each row's values (N, columns), int32, from 1."""

    conditions: tuple[Condition, ...]
    numbers: np.ndarray

    def of_rows(self, rows: np.ndarray) -> Given:
        """The same of some rows, chosen by their places or a boolean array; conditions and counts stay."""
        return Given(self.conditions, self.numbers[rows])

    def under(self, conditions: Sequence[Condition]) -> np.ndarray:
        """The rows' numbers (N, columns) under a model's conditions; what the rows do not have is open.

        Raises FastLSTMError for a column or a value that the model does not have.
        """
        titles = [condition.title for condition in conditions]
        numbers = np.zeros((len(self.numbers), len(titles)), np.int32)
        for column, own in enumerate(self.conditions):
            place = place_of(titles, own.title)
            theirs = conditions[place]
            used = np.unique(self.numbers[:, column])
            table = np.zeros(len(own.values) + 1, np.int32)
            table[used] = [theirs.number(own.values[number - 1]) if number else OPEN for number in used]
            numbers[:, place] = table[self.numbers[:, column]]
        return numbers

    def describe(self) -> str:
        """The columns and their values."""
        return "given " + ", ".join(condition.describe() for condition in self.conditions)


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
            label = _bin(text, self.width) if self.width and text else text
            if label is None:
                raise ValueError(
                    f"{quoted(text)} in column {quoted(self.title)} is no number; leave out :{self.width:g} to take "
                    "its values as they are"
                )
            number = self._cells[cell] = self._labels.setdefault(label, len(self._labels))
        self.rows.append(number)

    def finish(
        self, kept: np.ndarray, weights: np.ndarray | None, notes: list[str]
    ) -> tuple[Condition, np.ndarray]:
        """The condition, and the number of each row's value (N,), of the rows `kept`; remarks go to `notes`."""
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
        if not own and (rare.any() or not len(rows)):
            raise FastLSTMError(
                f"the values of {quoted(self.title)} hardly ever occur twice: there is nothing to learn from them"
            )
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
        return Condition(self.title, tuple(values), tuple(mass.tolist()), self.width), numbers


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


def text_of(cell: Any) -> str:
    """A cell as text: trimmed, normal form C; nothing for what is missing, whole numbers without a point."""
    if isinstance(cell, str):
        return preprocess(cell.strip(), False)
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return preprocess(str(cell).strip(), False)


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


def conditions_of(model: Any) -> tuple[Condition, ...]:
    """The conditions of anything that has a model's `preprocessing`."""
    return tuple(Condition(**stored) for stored in model.preprocessing.get("given", ()))


def finish(
    columns: Sequence[Column], kept: np.ndarray, weights: np.ndarray | None, notes: list[str]
) -> Given | None:
    """What gathered columns say of the rows `kept`; None without columns."""
    if not columns:
        return None
    conditions, numbers = zip(*(column.finish(kept, weights, notes) for column in columns), strict=True)
    return Given(conditions, np.stack(numbers, 1))


def numbers_of(conditions: Sequence[Condition], given: Mapping[str, Any]) -> list[int]:
    """One value for each condition, OPEN where it is not given; FastLSTMError for a title or value there is not."""
    titles = [condition.title for condition in conditions]
    numbers = [OPEN] * len(titles)
    for title, value in given.items():
        place = place_of(titles, title)
        numbers[place] = conditions[place].number(value)
    return numbers


def combinations(conditions: Sequence[Condition], given: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a request asks for, title → value: one for each combination where a title is given a list of values.

    >>> sex = Condition("Sex", ("F", "M"), (1, 1))
    >>> combinations([sex], {"sex": ["M", "F"]}), combinations([sex], {})
    ([{'Sex': 'M'}, {'Sex': 'F'}], [{}])
    """
    titles = [condition.title for condition in conditions]
    lists: dict[str, list[str]] = {}
    for title, values in given.items():
        condition = conditions[place_of(titles, title)]
        several = values if isinstance(values, list | tuple) else [values]
        lists[condition.title] = [condition.values[condition.number(value) - 1] for value in several]
    return [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]


def place_of(titles: Sequence[str], title: str) -> int:
    """Which of the conditions is called so; FastLSTMError saying which there are."""
    for same in (str, str.casefold):
        for place, there in enumerate(titles):
            if same(there) == same(title):
                return place
    if not titles:
        raise FastLSTMError(f"this model was trained without conditions, so {quoted(title)} cannot be given")
    raise FastLSTMError(
        f"the model has no condition {quoted(title)}; it has {', '.join(map(quoted, titles))}"
    )


def _bin(text: str, width: float) -> str | None:
    """The label of the bin that a number lies in: the whole numbers in it, or its two ends; None if it is no number."""
    try:
        number = float(text)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    low = math.floor(number / width) * width
    if width == 1:
        return f"{low:.0f}"
    return f"{low:.0f}–{low + width - 1:.0f}" if float(width).is_integer() else f"{low:g} to {low + width:g}"


def _natural(label: str) -> tuple[bool, float, str]:
    """Numbers and bins by size, before all else by code point."""
    try:
        return False, float(label.split("–")[0].split(" to ")[0]), label
    except ValueError:
        return True, 0.0, label
