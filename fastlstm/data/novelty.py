"""Which names are new: an exact index of the names of a run's data, and lists of names to avoid.

A run keeps it as `names.index`, a model that is saved as x.safetensors as `x.index`: gzip around one JSON object of two,
"train" and "validation", each name -> how often it counts, in the order of code points; `zcat` shows it. Where there are
conditions, "given" has their values by title, and for each name rows of values' numbers and a count. A file of
fastlstm 0.1 has one object, of the training names alone. It discloses the names, which is why a run can be trained
without it.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from fastlstm.data.files import write_atomically
from fastlstm.data.given import Condition
from fastlstm.data.joined import read_lines, read_names
from fastlstm.data.names import Names
from fastlstm.data.reading import Source, preprocess
from fastlstm.errors import FastLSTMError

FILE_NAME = "names.index"  # in a run's folder
MODEL_OF_RUN = "model.safetensors"


class NameIndex(Mapping[str, float]):
    """Name -> how often it counts: its rows or, where names are drawn by weight, their weight.

    It holds all names of the data; `train` are those that a model learned from, `held_out` the others.

    >>> index = NameIndex.of(Names(["Anna", "anna", "Bob"]), Names(["Eve"]))
    >>> index["anna"], "eve" in index, index.part("eve"), index.part("cy")
    (2.0, True, 'validation', None)
    """

    def __init__(
        self,
        train: Mapping[str, float],
        held_out: Mapping[str, float] | None = None,
        titles: Mapping[str, Sequence[str]] | None = None,
        rows: Mapping[str, Sequence[Sequence[float]]] | None = None,
    ) -> None:
        """`titles` has the values of each condition, `rows` a name's: the numbers of its values, and a count."""
        self.train, self.held_out = dict(train), dict(held_out or {})
        self.titles, self.rows = dict(titles or {}), dict(rows or {})

    @classmethod
    def of(
        cls, train: Names, held_out: Names | None = None, conditions: Sequence[Condition] = ()
    ) -> NameIndex:
        """The index of names that a feed has split, under a model's conditions."""
        rows: dict[str, Sequence[Sequence[float]]] = {}
        for part in (train, held_out) if conditions else ():
            rows |= _rows(part, conditions) if part and part.given else {}
        values = {condition.title: condition.values for condition in conditions}
        return cls(_counts(train), _counts(held_out) if held_out else None, values, rows)

    def within(self, given: Sequence[Mapping[str, str]]) -> NameIndex:
        """The index of what stands under any of some combinations of values, title -> value.

        Raises FastLSTMError where the index does not have such values.
        """
        titles = list(self.titles)
        try:
            wanted = [
                {
                    titles.index(title): 1 + list(self.titles[title]).index(value)
                    for title, value in each.items()
                }
                for each in given
            ]
        except (ValueError, KeyError):
            raise FastLSTMError("the index of names was made without these values: train again") from None

        def counts(part: Iterable[str]) -> dict[str, float]:
            found = {
                name: sum(
                    row[-1]
                    for row in self.rows.get(name, ())
                    if any(all(row[place] == number for place, number in each.items()) for each in wanted)
                )
                for name in part
            }
            return {name: count for name, count in found.items() if count}

        return NameIndex(counts(self.train), counts(self.held_out))

    def part(self, name: str) -> str | None:
        """The part of the data that a name is in: "train", "validation" or none."""
        return "train" if name in self.train else "validation" if name in self.held_out else None

    def __getitem__(self, name: str) -> float:
        return self.train[name] if name in self.train else self.held_out[name]

    def __iter__(self) -> Iterator[str]:
        return chain(self.train, self.held_out)

    def __len__(self) -> int:
        return len(self.train) + len(self.held_out)


def _counts(names: Names) -> dict[str, float]:
    counts = np.bincount(names.rows, names.weights, len(names.distinct)).astype(float)
    return dict(sorted(zip(names.distinct, counts.tolist(), strict=True)))


def _rows(names: Names, conditions: Sequence[Condition]) -> dict[str, Sequence[Sequence[float]]]:
    """Each name's different values and how often they count."""
    assert names.given is not None
    items, places = np.unique(
        np.column_stack([names.rows, names.given.under(conditions)]), axis=0, return_inverse=True
    )
    counts = np.bincount(places.ravel(), names.weights)
    rows: dict[str, Any] = {}
    for (place, *numbers), count in zip(items.tolist(), counts.tolist(), strict=True):
        rows.setdefault(names.distinct[place], []).append([*numbers, count])
    return rows


def write_index(path: str | os.PathLike[str], index: NameIndex) -> None:
    """Write an index to a file, or into a run's folder; the same names give the same bytes."""
    parts = {"train": index.train, "validation": index.held_out}
    shown: dict[str, Any] = {
        part: {name: _short(count) for name, count in counts.items()} for part, counts in parts.items()
    }
    if index.titles:
        rows = {
            name: [[*row[:-1], _short(row[-1])] for row in index.rows[name]] for name in sorted(index.rows)
        }
        shown["given"] = {"values": index.titles, "rows": rows}
    text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    write_atomically(index_file(path), gzip.compress(text.encode("utf-8", "surrogatepass"), mtime=0))


def _short(count: float) -> float:
    return int(count) if float(count).is_integer() else count


def read_index(path: str | os.PathLike[str]) -> NameIndex | None:
    """The index in a file, or in a run given by its folder or a model in it; None if there is none.

    Raises FastLSTMError for a file that is no such index.
    """
    file = index_file(path)
    if not file.is_file():
        return None
    try:
        stored = json.loads(gzip.decompress(file.read_bytes()))
        old = not isinstance(stored.get("train"), dict)
        parts = [stored] if old else [stored["train"], stored["validation"]]
        counts = [{str(name): float(count) for name, count in part.items()} for part in parts]
        given = {} if old else stored.get("given", {})
        values = {
            str(title): [str(value) for value in each] for title, each in given.get("values", {}).items()
        }
        rows = {
            str(name): [[float(n) for n in row] for row in each]
            for name, each in given.get("rows", {}).items()
        }
        if any(len(row) != len(values) + 1 for each in rows.values() for row in each):
            raise ValueError("a row of values has another length")
        return NameIndex(*counts, titles=values, rows=rows)
    except (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError, AttributeError, ArithmeticError,
            RecursionError) as error:  # fmt: skip
        raise FastLSTMError(f"{file} is damaged or no index of names ({error}); train again") from None


def keep_index(model: str | os.PathLike[str], index: NameIndex | None) -> None:
    """Put an index beside a model file, or take an older one of it away."""
    if index is None:
        index_file(model).unlink(missing_ok=True)
    else:
        write_index(model, index)


def index_file(path: str | os.PathLike[str]) -> Path:
    """The index of a run's folder or of a model in one, of a model file, or itself."""
    path = Path(path)
    if path.is_dir():
        return path / FILE_NAME
    if path.suffix != ".safetensors":
        return path
    return path.with_name(FILE_NAME) if path.name == MODEL_OF_RUN else path.with_suffix(".index")


def read_prefixes(path: str | os.PathLike[str]) -> list[str]:
    """The lines of a text file (`-` is standard input) that are not blank, for lists of prefixes."""
    return [line for line in (line.rstrip("\n") for line in Source(path).lines()) if line.strip()]


def read_avoided(path: str | os.PathLike[str], kind: str, lowercase: bool) -> set[str]:
    """The names (or lines) in a table or a file of one a line, as they would have been read for training."""
    read = read_lines if kind == "lines" else read_names
    return set(read(path, lowercase=lowercase, least=0, longest=sys.maxsize).distinct)


def comparable(name: str, lowercase: bool = False) -> str:
    """The spelling under which a name is compared: blanks around it off, normal form C.

    >>> comparable("A\\u030asa ", lowercase=True)
    'åsa'
    """
    return preprocess(name.strip(), lowercase)
