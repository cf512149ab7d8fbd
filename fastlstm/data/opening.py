"""The door of the data: names, lines or text, from files or from what Python hands over."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from fastlstm.data.embedded import embedded_names
from fastlstm.data.joined import read_lines, read_names
from fastlstm.data.lists import no_list
from fastlstm.data.names import Lines, Names
from fastlstm.data.paths import Paths, find, is_table
from fastlstm.data.texts import Text, read_text
from fastlstm.errors import FastLSTMError, quoted

# What models are trained on and judged by: names or lines, or a list of strings; a text, or a string; or paths.
Data = Names | Text | str | os.PathLike[str] | Iterable[str] | Iterable[os.PathLike[str]]
KINDS = ("names", "lines", "text")
SUFFIXES = (".csv", ".tsv", ".txt", ".gz", ".json", ".jsonl", ".xlsx", ".xls", ".md")


def decide_kind(path: Paths, as_: str | None = None) -> str:
    """Whether files are read as names, lines or text: as `as_` says, else tables and JSON are names, all others text.

    Raises FastLSTMError for another `as_`, and without one for standard input (`-`) and for files of both sorts.

    >>> decide_kind("names.csv.gz"), decide_kind("names.txt"), decide_kind("names.txt", "lines")
    ('names', 'text', 'lines')
    """
    if as_ in KINDS:
        return as_
    if as_ is not None:
        raise FastLSTMError(f"data are read as names, as lines or as text, not as {quoted(as_)}")
    if path == "-":
        raise FastLSTMError(
            "standard input has no file name to go by, say whether it is names, lines or text (--as)"
        )
    files = find(path).files
    tables = [file for file in files if is_table(file)]
    if tables and len(tables) < len(files):
        other = next(file for file in files if file not in tables)
        raise FastLSTMError(
            f"{tables[0]} is a table and {other} is not: say what they are (--as names, lines or text)"
        )
    return "names" if tables else "text"


def open_data(
    path: Paths | None,
    kind: str | None = None,
    lowercase: bool | None = None,
    encoding: str = "utf-8",
    keep: str | os.PathLike[str] | None = None,
    **how: Any,
) -> Names | Text:
    """Read files (None: the names that come with fastlstm, "-": standard input) as names, lines or text.

    `kind` decides which, or else the files' names; names are lower-cased unless that is switched off, all else only where
    it is asked for. `keep` is that of `read_text`; `how` are the other keywords of `read_names`, None for what is not
    given. Raises FastLSTMError for files that cannot be read so, and for keywords that don't go with their kind.
    """
    if path is None and kind not in (None, "names"):
        raise FastLSTMError(f"the data that come with fastlstm are names; give a file to train on {kind}")
    how = {name: value for name, value in how.items() if value is not None}
    if path is None:
        return embedded_names(lowercase=lowercase is not False, **how)
    kind = decide_kind(path, kind)
    if kind == "names":
        return read_names(path, lowercase=lowercase is not False, encoding=encoding, **how)
    if kind == "lines":
        return read_lines(path, lowercase=bool(lowercase), encoding=encoding, **how)
    for name in how.keys() - {"header"}:
        raise FastLSTMError(
            f"{name} is for names and lines, and {find(path, kind).name} is read as text; say what it holds (--as names, lines)"
        )
    return read_text(path, encoding, bool(lowercase), keep)


def as_data(data: Any, lowercase: bool | None, kind: str | None = None) -> Names | Text:
    """Python data as names, lines or text: a string is a text, a list of strings is names, or lines if `kind` says so.

    A path, or a list of them, is read by `open_data`. Raises FastLSTMError, saying what to pass, for
    whatever else there may be: a table, a set, …; for an empty list, and for names or a text that were made with another
    `lowercase`.
    """
    if _are_paths(data):
        return open_data(data, kind, lowercase)
    if isinstance(data, Names | Text):
        if lowercase not in (None, data.lowercase):
            raise FastLSTMError(
                f"lowercase is {lowercase}, and {data.source} was read with {data.lowercase}: read it anew"
            )
        read = data
    elif isinstance(data, str):
        return Text.from_string(data, lowercase=bool(lowercase))
    elif what := no_list(data):
        raise FastLSTMError(f"the data are {what}; a text is one string")
    elif kind == "lines":
        read = Lines(data, lowercase=bool(lowercase))
    else:
        read = Names(data, lowercase=lowercase is not False)
    if not len(read):
        raise FastLSTMError(f"{read.source}: there is no name, give a list with some")
    return read


def _are_paths(data: Any) -> bool:
    """Whether something is a path rather than a text, be it as a string, or a list of path objects."""
    if isinstance(data, list | tuple):
        return bool(data) and all(isinstance(each, os.PathLike) for each in data)
    if not isinstance(data, str):
        return isinstance(data, os.PathLike)
    if len(data) > 1000 or not data.isprintable() or not data:
        return False
    return data.lower().endswith(SUFFIXES) or os.path.exists(data)
