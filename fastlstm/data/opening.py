"""Names or text: what a file, or what Python hands over, is read as."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal

from fastlstm.data.names import Names
from fastlstm.data.tables import is_table
from fastlstm.data.texts import Text
from fastlstm.errors import FastLSTMError


def decide_kind(path: str | os.PathLike[str], as_: str | None = None) -> Literal["names", "text"]:
    """Whether a file is read as names or text: as `as_` says, else `.csv` and `.tsv` (also `.gz`) are names.

    Raises FastLSTMError for another `as_`, and for standard input (`-`) without one.

    >>> decide_kind("names.csv.gz"), decide_kind("names.txt"), decide_kind("names.txt", "names")
    ('names', 'text', 'names')
    """
    if as_ == "names" or as_ == "text":
        return as_
    if as_ is not None:
        raise FastLSTMError(f"data are read as names or as text, not as {as_!r}")
    if os.fspath(path) == "-":
        raise FastLSTMError(
            "standard input has no file name to go by, say whether it is names or text (--as)"
        )
    return "names" if is_table(path) else "text"


def as_data(data: Names | Text | str | Iterable[str], lowercase: bool | None) -> Names | Text:
    """Python data as what a feed takes: a string is a text, a list of strings is names."""
    if isinstance(data, Names | Text):
        return data
    if isinstance(data, str):
        return Text.from_string(data, lowercase=bool(lowercase))
    return Names(data, lowercase=lowercase is not False)
