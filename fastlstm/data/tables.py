"""Tables: their header and their rows. A file of one name a line is a table of one column without a header."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import Any

from fastlstm.data import dialects
from fastlstm.data.reading import Source, preprocess
from fastlstm.errors import FastLSTMError, counted, printable, quoted

HEAD = 200  # lines, and then rows, by which it is guessed how a table is written


class Rows:
    """What holds rows: `titles` of its columns, None without any; `head`, the first rows as they are; `width`, its columns.

    `notes` say what was guessed; `line` is that of the row that was read last.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.notes = source, source.notes
        self.titles: list[str] | None = None
        self.head: list[list[str]] = []
        self.width, self.line = 1, 1

    def rows(self, used: Collection[int] = ()) -> Iterator[list[str]]:
        """The rows of data, once, an empty list for a blank one. Raises FastLSTMError for one whose fields `used` are broken."""
        raise NotImplementedError

    def refusal(self, what: str) -> FastLSTMError:
        """What is to be raised for something in the row that was read last."""
        return FastLSTMError(f"{self.source.name}, line {self.line}: {what}")

    @contextmanager
    def located(self) -> Iterator[None]:
        """Turn a ValueError about the last row into a FastLSTMError with the file and the line."""
        try:
            yield
        except FastLSTMError:
            raise
        except ValueError as error:
            raise self.refusal(str(error)) from None


class Table(Rows):
    """The rows of a table, or where `lines` is true and nothing speaks against it, of one name a line.

    What is not given is guessed, and `notes` say what was; if `verbatim`, each line is a text, whatever it looks like.
    Raises FastLSTMError for an empty file, an impossible delimiter, and where there is no row of data.
    """

    def __init__(
        self,
        source: Source,
        delimiter: str | None = None,
        header: bool | None = None,
        lines: bool = False,
        titles: Collection[str] = (),
        verbatim: bool = False,
    ) -> None:
        super().__init__(source)
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '\0\r\n "'):
            raise FastLSTMError(
                f"the delimiter {quoted(delimiter)} must be one character, no blank and no quote"
            )
        text = source.lines()
        first = list(islice(text, HEAD))
        self._start = self._look_at(first[:1], verbatim)
        delimiter = delimiter or (None if verbatim else self._separator(first, lines))
        # A line is one field: `Source` lets no NUL pass.
        self._options: dict[str, Any] = {"delimiter": delimiter, "strict": True}
        if delimiter is None:
            self._options, header = {"delimiter": "\0", "quoting": csv.QUOTE_NONE}, False
        self._reader = dialects.reader(chain(first[self._start :], text), **self._options)
        self._broken: csv.Error | None = None
        self._ahead: list[tuple[int, list[str]]] = []
        self.head = self._read_ahead()
        self.width = len(self.head[0]) if self.head else 1
        if header is None and self.head:
            header = self._guess_header(titles, lines)
        if header and self.head:
            self._take_header()
        if delimiter is not None and not self.head and not self._broken:
            found = "there is a header and no row of data" if self.titles else "there is no row of data"
            raise self.refusal(found)

    def _look_at(self, first: list[str], verbatim: bool) -> int:
        """How many lines stand above the table, 1 for Excel's `sep=;`; FastLSTMError if it is none."""
        if not first:
            raise FastLSTMError(f"{self.source.name}: is empty, give a file with a name in each row")
        if verbatim:
            return 0
        if language := dialects.markup(first[0]):
            raise FastLSTMError(
                f"{self.source.name} is {language}, not a table or a list of names; make one of it"
                f"{', or let its name end in .jsonl or .json' * (language == 'JSON')}, or read it as text (--as text)"
            )
        return int(dialects.declared(first[0]) is not None)

    def _separator(self, first: list[str], lines: bool) -> str | None:
        """What separates the fields, with a note if that is not usual; None where a line is one field."""
        said, why = "fields are separated by", ""
        usual = "\t" if ".tsv" in self.source.path.lower() else ","
        found = dialects.declared(first[0])
        if found:
            why = ", as the first line says"
        elif not lines:
            found = dialects.separator(first, usual)
        else:
            said, usual = "read as a table: " + said, ""
            found = dialects.columns_in(first)
            if found is None:
                if dialects.fields(first, ",")[1] > 1:
                    self.notes.append("each whole line is taken for a name; to read a table, name its column")
                return None
        if found != usual:
            self.notes.append(f"{said} {found!r}{why}")
        return found

    def _read_ahead(self) -> list[list[str]]:
        """The first rows that are not blank; a broken one is found when it is its turn."""
        try:
            for row in islice(self._reader, HEAD):
                self._ahead.append((self._start + self._reader.line_num, row))
        except csv.Error as error:
            self._broken = error
        return [row for _, row in self._ahead if row]

    def _guess_header(self, titles: Collection[str], lines: bool) -> bool:
        """Whether the first row is a header, with a note if not: one of the known `titles` shows it.

        So do its looks, but in a file that might as well be one of `lines`, where a header is rare.
        """
        said = {preprocess(cell.strip(), False).casefold() for cell in self.head[0]}
        if said.intersection(titles) or (dialects.has_header(self.head) and not lines):
            return True
        shown = ", ".join(quoted(cell.strip(), 20) for cell in self.head[0][:4])
        self.notes.append(f"the first row ({shown}) is read as data; --header takes it for titles")
        return False

    def _take_header(self) -> None:
        blank = 0
        while not self._ahead[blank][1]:
            blank += 1
        self.line, row = self._ahead[blank]
        del self._ahead[: blank + 1]
        self.titles = [preprocess(title.strip(), False) for title in row]
        del self.head[0]

    def rows(self, used: Collection[int] = ()) -> Iterator[list[str]]:
        """The rows of data, once, an empty list for a blank line. Raises FastLSTMError for one that is broken."""
        start, reader, width = self._start, self._reader, self.width
        for line, row in self._ahead:
            self.line = line
            yield self._sound(row) if row else row
        self._ahead = []
        try:
            if self._broken:
                raise self._broken
            for row in reader:
                self.line = start + reader.line_num
                yield row if len(row) == width or not row else self._sound(row)
        except csv.Error as error:
            self.line = self._broken_line()
            raise self.refusal(f"no sound row ({printable(error)})") from None

    def _sound(self, row: list[str]) -> list[str]:
        if len(row) == self.width:
            return row
        found, needed = counted(len(row), "field"), counted(self.width, "field").split()[0]
        advice = "quote or repair them"
        if self.width == 1 and all(len(other) == len(row) for other in self.head[1:]):
            advice = "if the table begins below its first row, take out what is above"
        raise self.refusal(f"{found} where the first row has {needed}; {advice}")

    def _broken_line(self) -> int:
        """Where the unreadable row begins: an open quote is noticed only at the file's end."""
        line = 1 + self._start
        reader = dialects.reader(islice(self.source.lines(), self._start, None), **self._options)
        with suppress(csv.Error):
            for _ in reader:
                line = self._start + reader.line_num + 1
        return line
