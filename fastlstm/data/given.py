"""Conditions: columns beside the names that steer what is drawn.

Each column is a `Condition` with numbered values; value 0 stands for "not given". `gathering` makes them of cells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from fastlstm.data.reading import preprocess
from fastlstm.errors import FastLSTMError, printable, quoted

OPEN = 0  # the number of what is not given
UNKNOWN, OTHER = "unknown", "other"  # values of blank cells, and of rare ones
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
        if (found := self.find(wanted)) is not None:
            return found
        shown = ", ".join(quoted(there) for there in self.values[:12])
        more = f" and {len(self.values) - 12} more" if len(self.values) > 12 else ""
        raise FastLSTMError(
            f"{quoted(self.title)} has no value {quoted(wanted)} in what the model was trained on; there are {shown}{more}"
        )

    def find(self, text: str) -> int | None:
        """The number of a value's text, be it a bin or a number in one; None where there is no such value."""
        label = text.replace("-", "–") if self.width else text
        for same in (str, str.casefold):
            for number, there in enumerate(self.values, 1):
                if same(there) in (same(text), same(label)):
                    return number
        if self.width and (of := bin_label(text, self.width)) in self.values:
            return self.values.index(of) + 1
        return None

    def number_in_data(self, text: str) -> int:
        """The number of what a row of other data says: a blank may be open here, a value never seen "other".

        Raises FastLSTMError where it is neither.
        """
        found = self.find(text)
        if found is None:
            found = OPEN if text == UNKNOWN else self.find(OTHER)
        return self.number(text) if found is None else found

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


class Cells(NamedTuple):
    """A column before its rare values became one: its labels, and the place of each row's among them (N,)."""

    labels: tuple[str, ...]
    rows: np.ndarray


class Given(NamedTuple):
    """The conditions of some names, and each row's values (N, columns), int32, from 1.

    `cells` has what a column said where values of it were put together, None where all are as they were.
    """

    conditions: tuple[Condition, ...]
    numbers: np.ndarray
    cells: tuple[Cells | None, ...]

    def of_rows(self, rows: np.ndarray) -> Given:
        """The same of some rows, chosen by their places or a boolean array; conditions and counts stay."""
        cells = tuple(each and each._replace(rows=each.rows[rows]) for each in self.cells)
        return Given(self.conditions, self.numbers[rows], cells)

    def under(self, conditions: Sequence[Condition]) -> np.ndarray:
        """The rows' numbers (N, columns) under a model's conditions.

        A column that the rows do not have is open, and so is a blank where the model has met none; a value that it has not
        met counts as one of its rare ones, if it has those. Raises FastLSTMError for any other, and for a column that the
        model does not have.
        """
        titles = [condition.title for condition in conditions]
        numbers = np.zeros((len(self.numbers), len(titles)), np.int32)
        for column, own in enumerate(self.conditions):
            place = place_of(titles, own.title)
            cells = self.cells[column] or Cells(("", *own.values), self.numbers[:, column])
            used = np.unique(cells.rows)
            table = np.zeros(len(cells.labels), np.int32)
            labels = [cells.labels[place] for place in used]
            table[used] = [conditions[place].number_in_data(label) if label else OPEN for label in labels]
            numbers[:, place] = table[cells.rows]
        return numbers

    def brings(self, column: int, known: Condition | None = None) -> list[str]:
        """The values of a column that a model with the condition `known` has not met, "other" only where it stands for some.

        Raises FastLSTMError where a column is new and has rare values only.
        """
        own, cells = self.conditions[column], self.cells[column]
        met = known.find if known else lambda text: None
        values = [value for value in own.values if met(value) is None]
        if cells and OTHER in values:
            used = (cells.labels[place] for place in np.unique(cells.rows))
            if all(label in own.values or met(label) is not None for label in used):
                values.remove(OTHER)
        if not known and cells and {OTHER, UNKNOWN}.issuperset(values):
            raise FastLSTMError(
                f"the values of {quoted(own.title)} hardly ever occur twice: there is nothing to learn from them"
            )
        return values

    def as_new(self) -> tuple[Condition, ...]:
        """The conditions as a new model has them; FastLSTMError where one has rare values only."""
        for column, _ in enumerate(self.conditions):
            self.brings(column)
        return self.conditions

    def describe(self) -> str:
        """The columns and their values."""
        return "given " + ", ".join(condition.describe() for condition in self.conditions)


def text_of(cell: Any) -> str:
    """A cell as text: trimmed, normal form C; nothing for what is missing, whole numbers without a point."""
    if isinstance(cell, str):
        return preprocess(cell.strip(), False)
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return preprocess(str(cell).strip(), False)


def conditions_of(model: Any) -> tuple[Condition, ...]:
    """The conditions of anything that has a model's `preprocessing`."""
    return tuple(Condition(**stored) for stored in model.preprocessing.get("given", ()))


def merged(
    known: Sequence[Condition], given: Given | None, weights: np.ndarray | None
) -> tuple[Condition, ...]:
    """A model's conditions with those that some rows have: columns and values that it lacks come behind its own.

    The counts are those of the rows, of a column that these do not have the model's. Raises FastLSTMError for bins of
    another width.

    >>> sex = Condition("Sex", ("F", "M"), (1, 1))
    >>> rows = Given((Condition("sex", ("X", "F"), (1, 2)),), np.array([[1], [2], [2]]), (None,))
    >>> merged([sex], rows, None)
    (Condition(title='Sex', values=('F', 'M', 'X'), counts=(2.0, 0.0, 1.0), width=0.0),)
    """
    if given is None:
        return tuple(known)
    all_of = {condition.title.casefold(): condition for condition in known}
    for column, own in enumerate(given.conditions):
        theirs = all_of.get(own.title.casefold())
        all_of[own.title.casefold()] = _joined(theirs or own, own, given.brings(column, theirs))
    conditions = list(all_of.values())
    numbers = given.under(conditions)
    for own in given.conditions:
        place = place_of([condition.title for condition in conditions], own.title)
        mass = np.bincount(numbers[:, place], weights, len(conditions[place].values) + 1)[1:]
        conditions[place] = replace(conditions[place], counts=tuple(mass.tolist()))
    return tuple(conditions)


def _joined(known: Condition, own: Condition, brought: Sequence[str]) -> Condition:
    """A condition with the values `brought` by another one behind its own."""
    if own.width not in (0, known.width):
        raise FastLSTMError(
            f"{quoted(own.title)} comes in bins of {own.width:g}, and the model has "
            f"{f'bins of {known.width:g}' if known.width else 'its values as they are'}: give the column in the same way"
        )
    values = list(known.values)
    for value in brought:
        label = bin_label(value, known.width) if known.width and not own.width else value
        if label is None and value not in (OTHER, UNKNOWN):
            raise FastLSTMError(
                f"{quoted(value)} in {quoted(own.title)} is no number, and the model has bins of {known.width:g}"
            )
        label = label or value
        values += [label] * (label not in values)
    if len(values) > MOST:
        raise FastLSTMError(f"{quoted(own.title)} comes to {len(values):,} values, and {MOST:,} are the most")
    return replace(known, values=tuple(values), counts=(0.0,) * len(values))


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


def bin_label(text: str, width: float) -> str | None:
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
