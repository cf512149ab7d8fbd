"""The door of the data: names or text, from a file or from what Python hands over."""

from __future__ import annotations

import os
from typing import Any, Literal

from fastlstm.data.embedded import embedded_names
from fastlstm.data.lists import no_list
from fastlstm.data.names import Names, read_names
from fastlstm.data.tables import is_table
from fastlstm.data.texts import Text, read_text
from fastlstm.errors import FastLSTMError, quoted

SUFFIXES = (".csv", ".tsv", ".txt", ".gz", ".json", ".jsonl", ".xlsx", ".xls", ".md")
JSON = (".json", ".jsonl", ".ndjson")


def decide_kind(path: str | os.PathLike[str], as_: str | None = None) -> Literal["names", "text"]:
    """Whether a file is read as names or text: as `as_` says, else `.csv` and `.tsv` (also `.gz`) are names.

    Raises FastLSTMError for another `as_`, and without one for standard input (`-`) and for JSON.

    >>> decide_kind("names.csv.gz"), decide_kind("names.txt"), decide_kind("names.txt", "names")
    ('names', 'text', 'names')
    """
    if as_ == "names" or as_ == "text":
        return as_
    if as_ is not None:
        raise FastLSTMError(f"data are read as names or as text, not as {quoted(as_)}")
    name = os.fspath(path)
    if name == "-":
        raise FastLSTMError(
            "standard input has no file name to go by, say whether it is names or text (--as)"
        )
    if name.lower().removesuffix(".gz").endswith(JSON):
        raise FastLSTMError(
            f"{name} is JSON, not names or text: write its names to a file, one a line, or say --as text to learn "
            "the JSON itself"
        )
    return "names" if is_table(path) else "text"


def open_data(
    path: str | os.PathLike[str] | None,
    kind: str | None = None,
    lowercase: bool | None = None,
    encoding: str = "utf-8",
    keep: str | os.PathLike[str] | None = None,
    **how: Any,
) -> Names | Text:
    """Read a file (None: the names that come with fastlstm, "-": standard input) as names or text.

    `kind` decides which, or else the file's name; names are lower-cased unless that is switched off, texts only where it
    is asked for. `keep` is that of `read_text`; `how` are the other keywords of `read_names`, None for what is not
    given. Raises FastLSTMError for a file that cannot be read so, and for keywords that don't go with its kind.
    """
    if path is None and kind == "text":
        raise FastLSTMError("the data that come with fastlstm are names; give a file to train on text")
    how = {name: value for name, value in how.items() if value is not None}
    if path is None:
        return embedded_names(lowercase=lowercase is not False, **how)
    if decide_kind(path, kind) == "names":
        return read_names(path, lowercase=lowercase is not False, encoding=encoding, **how)
    for name in how.keys() - {"header"}:
        raise FastLSTMError(
            f"{name} is for names, and {path} is read as text; say that it holds names (--as names)"
        )
    return read_text(path, encoding, bool(lowercase), keep)


def as_data(data: Any, lowercase: bool | None) -> Names | Text:
    """Python data as names or text: a string is a text, a list of strings is names.

    Raises FastLSTMError, saying what to pass, for whatever else there may be: a path, a table, a set, …; for
    an empty list, and for names or a text that were made with another `lowercase`.
    """
    if isinstance(data, Names | Text):
        if lowercase not in (None, data.lowercase):
            raise FastLSTMError(
                f"lowercase is {lowercase}, and {data.source} was read with {data.lowercase}: read it anew"
            )
        read = data
    elif _is_path(data):
        path = quoted(os.fspath(data))
        raise FastLSTMError(
            f"{path} is a path, not data: give fl.read_names({path}) for a list of names, fl.read_text({path}) for a text"
        )
    elif isinstance(data, str):
        return Text.from_string(data, lowercase=bool(lowercase))
    elif what := no_list(data):
        raise FastLSTMError(f"the data are {what}; a text is one string")
    else:
        read = Names(data, lowercase=lowercase is not False)
    if not len(read):
        raise FastLSTMError(f"{read.source}: there is no name, give a list with some")
    return read


def _is_path(data: Any) -> bool:
    """Whether something is a path rather than a text, be it as a string."""
    if not isinstance(data, str):
        return isinstance(data, os.PathLike)
    if len(data) > 1000 or not data.isprintable() or not data:
        return False
    return data.lower().endswith(SUFFIXES) or os.path.exists(data)
