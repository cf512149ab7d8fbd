"""How a table is written: what separates its fields and whether its first row is a header, by its first rows."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from typing import Any

SEPARATORS = "\t;|,"  # where two fit alike, the earlier one: commas are also in numbers and in prose
MARKUP = {"<!doctype": "HTML", "<html": "HTML", "<?xml": "XML", "{": "JSON", "[{": "JSON", '["': "JSON"}
QUOTES = ('""', "''", "“”", "„“", "”“", "‘’", "«»", "»«", "``")
LONGEST_FIELD = 1 << 24  # characters; without a limit a quote that is never closed would take in a whole file
Rows = Sequence[list[str]]


def reader(lines: Iterable[str], **options: Any) -> Any:
    """csv's reader, for longer fields than it takes by itself (131,072 characters, a limit that the process has, not it)."""
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_FIELD))
    return csv.reader(lines, **options)


def is_number(cell: str) -> bool:
    """Whether a cell holds a number, a date or an amount; "nan" and "infinity" are text here.

    >>> is_number("1e3"), is_number("1,5 %"), is_number("nan")
    (True, True, False)
    """
    if not any(map(str.isdigit, cell)):
        return False
    try:
        return not any(map(str.isalpha, cell)) or float(cell) is not None
    except ValueError:
        return False


def markup(line: str) -> str | None:
    """The language that a file's first line shows it to be in, if that is no table's."""
    begin = line.lstrip().lower()
    return next((language for sign, language in MARKUP.items() if begin.startswith(sign)), None)


def declared(line: str) -> str | None:
    """The separator in the line `sep=;` that Excel writes above a table.

    >>> declared("sep=;\\n"), declared("Name;Sex\\n")
    (';', None)
    """
    found = re.match(r'"?sep=([^\w\s"]|\t)"?[;,\t]*$', line.rstrip("\n"), re.IGNORECASE)
    return found[1] if found else None


def fields(lines: Sequence[str], separator: str) -> tuple[float, int]:
    """The share of rows that have as many fields as the first, and how many it has, if that is what separates."""
    try:
        counts = [len(row) for row in reader(lines, delimiter=separator) if row]
    except csv.Error:
        return 0.0, 0
    return (counts.count(counts[0]) / len(counts), counts[0]) if counts else (0.0, 0)


def separator(lines: Sequence[str], usual: str) -> str:
    """What separates the fields of some lines: what gives most rows the same number, 2 at least, else `usual`.

    >>> separator(["Name;Share, %\\n", "Anna;1,5\\n"], usual=",")
    ';'
    """
    found = {mark: fields(lines, mark) for mark in SEPARATORS}
    possible = [mark for mark in SEPARATORS if found[mark][1] > 1]
    return max(possible, key=lambda mark: found[mark], default=usual)


def columns_in(lines: Sequence[str]) -> str | None:
    """What separates the fields of lines that are a table, though nobody said so; None if they are names.

    All must have the same number of fields. A comma is in many a name ("Smith, John"), so that with it there
    must be a column of numbers.
    """
    mark = separator(lines, "\0")
    share, width = fields(lines, mark)
    rows = [row for row in reader(lines, delimiter=mark) if row] if share == 1.0 and width > 1 else []
    if len(rows) < 2 or (mark == "," and not any(map(is_number, rows[-1]))):
        return None
    return mark


def has_header(rows: Rows) -> bool:
    """Whether the first of some rows names the columns: it holds no number and nothing that occurs below it."""
    first, below = rows[0], rows[1:]
    return not any(
        is_number(cell) or any(cell == row[place] for row in below if place < len(row))
        for place, cell in enumerate(first)
        if cell.strip()
    )


def quotes_around(cells: Sequence[str]) -> str | None:
    """The pair of quotes around every one of several cells that are not blank."""
    cells = [cell.strip() for cell in cells if cell.strip()]
    for pair in QUOTES if len(cells) > 1 else ():
        if all(len(cell) > 1 and cell[0] == pair[0] and cell[-1] == pair[1] for cell in cells):
            return pair
    return None


def unquoted(cell: str, pair: str) -> str:
    """A cell without the quotes around it; a doubled straight one inside stands for one.

    >>> unquoted('"Anna ""Ann"" B."', '""'), unquoted("Bo", '""')
    ('Anna "Ann" B.', 'Bo')
    """
    cell = cell.strip()
    if len(cell) < 2 or cell[0] != pair[0] or cell[-1] != pair[1]:
        return cell
    return cell[1:-1].replace('""', '"') if pair == '""' else cell[1:-1]
