"""The names that come with fastlstm, in `assets/names.csv`: US first names, how many bear each, how many are girls."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from fastlstm.data.joined import read_names
from fastlstm.data.lists import LONGEST
from fastlstm.data.names import Names
from fastlstm.errors import FastLSTMError

EMBEDDED = "the embedded names"
LEAST_SHARE = 0.1  # of a name's bearers are of a sex, for the name to have a row of it


def embedded_names(given: Sequence[str] = (), **options: Any) -> Names:
    """The names that come with fastlstm: US first names with their counts. Options as for `read_names`.

    They have one column to be given, Sex: a name has a row for each sex that at least a tenth of its bearers are of.

    >>> embedded_names(limit=3).distinct
    ('james', 'john', 'robert')
    """
    with resources.as_file(resources.files("fastlstm.data") / "assets" / "names.csv") as path:
        if given:
            for name in options.keys() & {"column", "header", "delimiter"}:
                raise FastLSTMError(f"{name} is for files; {EMBEDDED} have the column Sex to be given")
            return _by_sex(path, given, **options)
        names = read_names(path, **{"column": "Name", **options})
    names.source, names.files = EMBEDDED, ()
    return names


def _by_sex(
    path: Path,
    given: Sequence[str],
    lowercase: bool = True,
    limit: int | None = None,
    weight: str | None = None,
    longest: int = LONGEST,
) -> Names:
    """The embedded names with a row for each sex, weighted by how many bearers are of it if asked for."""
    if [title.casefold() for title in given] != ["sex"] or weight not in (None, "Count"):
        raise FastLSTMError(f"{EMBEDDED} have the column Sex to be given, and Count as weight")
    with open(path, encoding="utf-8", newline="") as file:
        counts = [(row["Name"], int(row["Count"]), int(row["Girls"])) for row in csv.DictReader(file)]
    rows = [
        (name, sex, bearers)
        for name, count, girls in counts
        for sex, bearers in (("F", girls), ("M", count - girls))
        if bearers >= LEAST_SHARE * count
    ]
    names, sexes, bearers = zip(*rows[:limit], strict=True)
    weights = bearers if weight else None
    return Names(names, EMBEDDED, (), lowercase, weights, {"Sex": sexes}, longest)
