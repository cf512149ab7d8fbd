"""JSON as a table: a list of strings or of objects, or one of either after the other, as in JSON Lines."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

from fastlstm.data.reading import Source, preprocess
from fastlstm.data.tables import HEAD, Rows
from fastlstm.errors import FastLSTMError, quoted

BLANK = re.compile(r"[ \t\n\r]*")
KINDS = {str: "a string", dict: "an object", list: "a list", bool: "true or false"}
NEEDED = "give a list of strings or of objects"


class Records(Rows):
    """The values of a JSON file as rows: strings are a column without a title, objects have a column for each key.

    Null, and a key that an object lacks, are blank; numbers are text; what is nested is refused where it is wanted.
    Raises FastLSTMError for JSON that is not sound, and for values of another kind, with the line.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._values = self._parsed()
        self._ahead = list(islice(self._values, HEAD))
        first = next((value for _, value in self._ahead if value is not None), None)
        if first is None:
            raise FastLSTMError(f"{source.name}: there is nothing in it, {NEEDED}")
        self._kind = dict if isinstance(first, dict) else str
        objects = [value for _, value in self._ahead if isinstance(value, dict)]
        self._keys = list(dict.fromkeys(key for value in objects for key in value))
        if self._kind is dict:
            self.titles = [preprocess(key.strip(), False) for key in self._keys]
            self.width = len(self._keys)
            if len(self._ahead) == 1 and not any(isinstance(value, str) for value in first.values()):
                inside = ", ".join(
                    f"{quoted(key)} {_shown(value)}" for key, value in islice(first.items(), 3)
                )
                raise self.refusal(f"one object ({inside}); {NEEDED}")
        self.head = [row for row in (self._fields(value) for _, value in self._ahead) if row]

    def rows(self, used: Collection[int] = ()) -> Iterator[list[str]]:
        """The rows, once, an empty list for null; FastLSTMError for another kind of value, or one nested in fields `used`."""
        for line, value in chain(self._ahead, self._values):
            self.line = line
            if value is not None and not isinstance(value, self._kind):
                raise self.refusal(f"{_shown(value)} where {KINDS[self._kind]} is expected; {NEEDED}")
            if isinstance(value, dict):
                for key in (self._keys[place] for place in used):
                    if isinstance(value.get(key), dict | list):
                        raise self.refusal(
                            f"{quoted(key)} is {_shown(value[key])}; give a key of strings or numbers"
                        )
            yield self._fields(value)

    def _fields(self, value: Any) -> list[str]:
        if value is None:
            return []
        return [_text(value.get(key)) for key in self._keys] if isinstance(value, dict) else [_text(value)]

    def _parsed(self) -> Iterator[tuple[int, Any]]:
        """Each value with its line: line by line if the first line is a value by itself, else from the whole text."""
        begin = next((piece for piece in self.source.pieces() if piece.strip()), "").lstrip()
        first = "[" if begin.startswith("[") else next((s for s in self.source.lines() if s.strip()), "")
        try:
            json.loads(first)
        except (ValueError, RecursionError):
            text = "".join(self.source.pieces())
            with self._located():
                yield from _values(text)
            return
        for number, text in enumerate(self.source.lines()):
            if text.strip():
                self.line = number + 1
                with self._located(number):
                    value = json.loads(text.rstrip())
                yield self.line, value

    @contextmanager
    def _located(self, above: int = 0) -> Iterator[None]:
        """Say in a FastLSTMError, with the line, what is wrong with JSON that has so many lines `above`."""
        try:
            yield
        except json.JSONDecodeError as error:
            self.line = above + error.lineno
            raise self.refusal(f"no sound JSON ({error.msg}, column {error.colno})") from None
        except (ValueError, RecursionError):
            raise self.refusal("no sound JSON: a number too long, or lists too deep in one another") from None


def _values(text: str) -> Iterator[tuple[int, Any]]:
    """The values of a list, or those that follow one another, each with its line; JSONDecodeError if they are not sound."""
    decode = json.JSONDecoder().raw_decode
    place = _past(text, 0)
    listed = text.startswith("[", place)
    place, line, counted, first = place + listed, 1, 0, True
    while (place := _past(text, place)) < len(text) and not (listed and text[place] == "]"):
        if listed and not first:
            if text[place] != ",":
                raise json.JSONDecodeError("Expecting ',' delimiter", text, place)
            place = _past(text, place + 1)
        value, end = decode(text, place)
        line, counted, first = line + text.count("\n", counted, place), place, False
        yield line, value
        place = end
    if listed and (place == len(text) or (place := _past(text, place + 1)) < len(text)):
        raise json.JSONDecodeError(
            "Expecting ',' or ']'" if place == len(text) else "Extra data", text, place
        )


def _past(text: str, place: int) -> int:
    """Where the blanks at a place end."""
    found = BLANK.match(text, place)
    return found.end() if found else place


def _text(value: Any) -> str:
    """A value as a table's cell; nothing for what is nested."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None or isinstance(value, dict | list) else str(value)


def _shown(value: Any) -> str:
    """What a value is, for a message."""
    return KINDS.get(type(value)) or f"the number {value}"
