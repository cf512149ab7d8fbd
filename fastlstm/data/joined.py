"""Names and lines from files: the rows of tables, of JSON and of plain files, one after the other."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from typing import TypeVar

import numpy as np

from fastlstm.data import columns
from fastlstm.data.dialects import quotes_around
from fastlstm.data.gathering import Column, finish
from fastlstm.data.lists import LONGEST
from fastlstm.data.names import Index, Lines, Names
from fastlstm.data.paths import Paths, find, is_json, is_table
from fastlstm.data.reading import Source
from fastlstm.data.records import Records
from fastlstm.data.tables import Rows, Table
from fastlstm.errors import FastLSTMError, counted, quoted

Kind = TypeVar("Kind", bound=Names)
Columns = str | int | Sequence[str | int] | None


def read_names(
    path: Paths,
    column: Columns = None,
    header: bool | None = None,
    lowercase: bool = True,
    encoding: str = "utf-8",
    limit: int | None = None,
    weight: str | int | None = None,
    delimiter: str | None = None,
    given: Sequence[str] = (),
    least: int = 2,
    longest: int = LONGEST,
) -> Names:
    """Names from tables (`.csv`, `.tsv`), JSON, or files of one name a line, also gzipped; `-` is standard input.

    `path` is a file, a folder, a pattern such as `names/*.csv`, or a list of these; files are joined in the order of their
    names. `column` is a header's name, a JSON object's key, or a number from 1, by default one called name or the like,
    else the first that holds text; of several columns the names are what they hold, joined by blanks. A file of another
    kind is a table if `column`, `weight` or `delimiter` is given, or if all its lines have the same number of fields.
    `header` says whether a table's first row names its columns, by default that is guessed. `limit` takes only the first
    rows. `weight` is the column that says in what proportion names are drawn, `given` are columns that steer what is
    drawn later: COLUMN, or COLUMN:WIDTH for bins of a column of numbers. What was guessed is in the `notes` of the
    result, and `files` are those that were read. Raises FastLSTMError, with file and line, for bad input, for a name of
    more than `longest` characters, and for fewer than `least` different names.
    """
    how = _How(column, header, encoding, limit, weight, delimiter, given)
    return _read(Names, path, how, lowercase, least, longest)


def read_lines(
    path: Paths,
    column: Columns = None,
    header: bool | None = None,
    lowercase: bool = False,
    encoding: str = "utf-8",
    limit: int | None = None,
    weight: str | int | None = None,
    delimiter: str | None = None,
    given: Sequence[str] = (),
    least: int = 2,
    longest: int = LONGEST,
) -> Lines:
    """Short texts with a beginning and an end, as `read_names`, but case and line breaks inside them are kept.

    A plain file has one on each line, whatever it looks like: it is a table only if `column`, `weight`, `delimiter` or
    `given` says so. Blank lines are left out. A quoted field of a table and a string in JSON may have line breaks.
    """
    how = _How(column, header, encoding, limit, weight, delimiter, given)
    return _read(Lines, path, how, lowercase, least, longest)


class _How:
    """How rows are read, and what of them is; the columns that were found in the first file are those of all."""

    def __init__(
        self,
        column: Columns,
        header: bool | None,
        encoding: str,
        limit: int | None,
        weight: str | int | None,
        delimiter: str | None,
        given: Sequence[str],
    ) -> None:
        if limit is not None and limit < 1:
            raise FastLSTMError(f"the limit is {limit}, and 1 row is the least")
        self.wanted = [column] if isinstance(column, str | int) else list(column or ())
        self.header, self.encoding, self.limit = header, encoding, limit
        self.weight, self.delimiter, self.given = weight, delimiter, list(given)
        self.rows, self.weights = array("i"), array("d")
        self.gathered: list[Column] = []
        # Of the file that decides: the column, its title, how many there are, and the file.
        self.first: tuple[int, str | None, int, str] | None = None
        self.titles = columns.known(weight, *self.wanted, *self.given)

    def open(self, file: str, kind: str) -> Rows:
        """A file's rows, of names or lines."""
        source = Source(file, self.encoding)
        if is_json(file):
            for name in ("header", "delimiter"):
                if getattr(self, name) is not None:
                    raise FastLSTMError(f"{source.name} is JSON, for which there is no {name} to give")
            return Records(source)
        plain = (
            not is_table(file) and not (self.wanted or self.given) and self.weight is self.delimiter is None
        )
        verbatim = plain and kind == "lines"
        return Table(source, self.delimiter, self.header, plain, self.titles, verbatim)

    def take(self, table: Rows, index: Index, most: int | None) -> None:
        """Take a table's rows, at most so many, behind those there are."""
        places, giving = self.places(table, index.kind), self.conditions(table)
        weighing = None if self.weight is None else columns.find(table, self.weight, "weight")
        index.begin(self.quotes(table, places, index))
        used = {*places, *(giver for giver, _ in giving), *(() if weighing is None else (weighing,))}
        place, several = places[0], len(places) > 1
        rows, weights, weigh = self.rows, self.weights, lru_cache(1 << 16)(columns.weight_of)
        with table.located():
            for row in islice(table.rows(used), most):
                cell = row[place] if row else ""
                if several and row:
                    cell = " ".join(filter(None, (row[each].strip() for each in places)))
                rows.append(index[cell])
                if weighing is not None:
                    weights.append(weigh(row[weighing]) if row else 0)
                for giver, gathered in giving:
                    gathered.add(row[giver] if row else "")

    def quotes(self, table: Rows, places: list[int], index: Index) -> str | None:
        """The quotes around every one of a table's names, with a note."""
        if index.kind != "names" or len(places) > 1:
            return None
        quotes = quotes_around([row[places[0]] for row in table.head if places[0] < len(row)])
        if quotes:
            table.notes.append(f"every name stands in quotes ({quotes[0]}…{quotes[-1]}), which are taken off")
        return quotes

    def places(self, table: Rows, kind: str) -> list[int]:
        """Where in a table the names or lines are."""
        if self.wanted:
            return [columns.find(table, title, "column") for title in self.wanted]
        if self.first is not None:
            place, title, width, file = self.first
            if title is not None and table.titles is not None:
                return [columns.find(table, title, "column", f", which {file} has")]
            if table.width == width and not (title is None and table.titles):
                return [place]
        place = columns.choose(table, kind)
        title = None if table.titles is None else table.titles[place]
        if self.first is None or title is not None:
            self.first = place, title, table.width, table.source.name
            self.titles = {*self.titles, *columns.known(title)}
        return [place]

    def conditions(self, table: Rows) -> list[tuple[int, Column]]:
        """Where in a table the columns are that are given, and what gathers their cells."""
        found = columns.given(table, self.given)
        self.gathered = self.gathered or [column for _, column in found]
        return [(place, column) for (place, _), column in zip(found, self.gathered, strict=True)]


def _read(kind: type[Kind], path: Paths, how: _How, lowercase: bool, least: int, longest: int) -> Kind:
    found = find(path, kind.kind)
    index, rows = Index(kind.kind, lowercase, longest), how.rows
    notes: list[tuple[str, str]] = []
    counts: list[int] = []
    for file in found.files:
        begin = len(rows)
        left = None if how.limit is None else how.limit - begin
        if left == 0:
            break
        table = how.open(file, kind.kind)
        how.take(table, index, left)
        counts.append(len(rows) - begin)
        notes += [(note, table.source.name) for note in table.notes]
    said = found._replace(files=found.files[: len(counts)]).notes(counts, "row")
    if unread := found.files[len(counts) :]:
        said.append(f"the limit leaves out {counted(len(unread), 'further file')}")
    said += _merged(notes, len(counts))
    weights = None if how.weight is None else how.weights
    names = kind.of(index.names, rows, weights, found.name, said, lowercase, index.lowered)
    names.files = found.files[: len(counts)]
    names.given = finish(how.gathered, np.asarray(rows) >= 0, names.weights, names.notes)
    if len(names.distinct) < least:
        only = quoted(names.distinct[0]) if names.distinct else ""
        there = f"the only {kind.thing} is {only}" if only else f"there is no {kind.thing}"
        raise FastLSTMError(f"{found.name}: {there}, and {least} different {kind.kind} are the least")
    return names


def _merged(notes: Sequence[tuple[str, str]], files: int) -> list[str]:
    """Remarks on files, each once: with the first of its files, unless it is true of all of them."""
    by_note: dict[str, list[str]] = {}
    for note, file in notes:
        by_note.setdefault(note, []).append(file)
    merged = []
    for note, where in by_note.items():
        more = f" and {counted(len(where) - 1, 'other file')}" if len(where) > 1 else ""
        merged.append(note if len(where) == files else f"{where[0]}{more}: {note}")
    return merged
