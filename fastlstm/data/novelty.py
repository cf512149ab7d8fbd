"""Which names are new: an exact index of the names a model was trained on, and lists of names to avoid.

A run keeps it as `names.index`: gzip around one JSON object, name -> how often it counted, in the order of
code points; `zcat` shows it. It discloses the training names, which is why a run can be trained without it.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from fastlstm.data.files import write_atomically
from fastlstm.data.names import Names, read_names
from fastlstm.data.reading import Source, preprocess
from fastlstm.data.tables import is_table
from fastlstm.errors import FastLSTMError

FILE_NAME = "names.index"


class NameIndex(Mapping[str, float]):
    """Name -> how often it counted in training: its rows or, where names are drawn by weight, their weight.

    >>> index = NameIndex.of(Names(["Anna", "anna", "Bob"]))
    >>> index["anna"], "bob" in index, "eve" in index
    (2.0, True, False)
    """

    def __init__(self, counts: Mapping[str, float]) -> None:
        self._counts = dict(counts)

    @classmethod
    def of(cls, names: Names) -> NameIndex:
        """The index of a model's training names."""
        counts = np.bincount(names.rows, names.weights, len(names.distinct)).astype(float)
        return cls(dict(sorted(zip(names.distinct, counts.tolist(), strict=True))))

    def __getitem__(self, name: str) -> float:
        return self._counts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)


def write_index(path: str | os.PathLike[str], names: Names) -> None:
    """Write the index of `names` to a file, or into a run's folder; the same names give the same bytes."""
    index = NameIndex.of(names)
    counts = {name: int(count) if count.is_integer() else count for name, count in index.items()}
    text = json.dumps(counts, ensure_ascii=False, separators=(",", ":"))
    write_atomically(_file(path), gzip.compress(text.encode("utf-8", "surrogatepass"), mtime=0))


def read_index(path: str | os.PathLike[str]) -> NameIndex | None:
    """The index in a file, or in a run given by its folder or a model in it; None if there is none.

    Raises FastLSTMError for a file that is no such index.
    """
    file = _file(path)
    if not file.is_file():
        return None
    try:
        counts = json.loads(gzip.decompress(file.read_bytes()))
        return NameIndex({str(name): float(count) for name, count in counts.items()})
    except (OSError, EOFError, zlib.error, ValueError, TypeError, AttributeError) as error:
        raise FastLSTMError(f"{file} is damaged or no index of names ({error}); train again") from None


def _file(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if path.is_dir():
        return path / FILE_NAME
    return path.with_name(FILE_NAME) if path.suffix == ".safetensors" else path


def read_lines(path: str | os.PathLike[str]) -> list[str]:
    """The lines of a text file (`-` is standard input) that are not blank, for lists of prefixes."""
    return [line for line in (line.rstrip("\n") for line in Source(path).lines()) if line.strip()]


def read_avoided(path: str | os.PathLike[str], lowercase: bool) -> set[str]:
    """The names in a table or a file of one name a line, as they would have been read for training."""
    listed = read_names(path, lowercase=lowercase).distinct if is_table(path) else read_lines(path)
    return {comparable(name, lowercase) for name in listed}


def comparable(name: str, lowercase: bool = False) -> str:
    """The spelling under which a name is compared: blanks around it off, normal form C.

    >>> comparable("A\\u030asa ", lowercase=True)
    'åsa'
    """
    return preprocess(name.strip(), lowercase)
