"""Which files are meant: by one path or several, by folders and by patterns; read in the order of their names."""

from __future__ import annotations

import glob
import gzip
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from fastlstm.data.encodings import format_of, marked
from fastlstm.errors import FastLSTMError, counted, printable

TABLES = (".csv", ".tsv")
JSON = (".json", ".jsonl", ".ndjson")
RUN = ("model.safetensors", "checkpoint.safetensors")  # a folder with one of these is a run
HEAD = 1 << 16  # bytes that say whether a file is text
SHOWN = 20  # files in a note

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class Found(NamedTuple):
    """The files that are to be read, and what lies beside them in folders, with why it is left out."""

    files: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    name: str = ""  # of all together

    @property
    def several(self) -> bool:
        """Whether there is more to say than that the one file that was named is read."""
        return len(self.files) > 1 or bool(self.left_out)

    def notes(self, counts: Sequence[int], thing: str) -> list[str]:
        """What was read, with how many things of each file, and what was left out."""
        if not self.several:
            return []
        read = [
            f"{printable(file)} ({counted(count, thing)})"
            for file, count in zip(self.files, counts, strict=True)
        ]
        out = [f"{printable(path)} ({why})" for path, why in self.left_out]
        return [f"read {_listed(read)}"] + ([f"left out {_listed(out)}"] if out else [])


def is_json(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name says that it holds JSON.

    >>> is_json("a.jsonl.gz"), is_json("a.csv")
    (True, False)
    """
    return os.fspath(path).lower().removesuffix(".gz").endswith(JSON)


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name says that it holds rows: a table, or JSON.

    >>> is_table("names.csv.gz"), is_table("names.json"), is_table("names.txt")
    (True, True, False)
    """
    return is_json(path) or os.fspath(path).lower().removesuffix(".gz").endswith(TABLES)


def find(paths: Paths, kind: str | None = None) -> Found:
    """The files that paths, folders and patterns (`*`, `?`, `[…]`, `**`) stand for, each once, by name.

    Of a folder, hidden files, runs and what is no text are left out. If there are tables in it, names and lines are read
    from these alone, and a text from the other files; without a `kind` there must be tables or others only.
    Raises FastLSTMError where nothing is there to be read, and for standard input beside files.
    """
    asked = [os.fspath(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    if "-" in asked and len(asked) > 1:
        raise FastLSTMError("standard input (-) is read alone; give it, or files")
    files: set[str] = set()
    left_out: dict[str, str] = {}
    for path in asked:
        if os.path.isdir(path):
            files |= _inside(path, kind, left_out)
        elif glob.has_magic(path) and not os.path.exists(path):
            files |= _matching(path)
        else:
            files.add(path)
    if not files:
        raise FastLSTMError("there is no file to read; name one")
    once = {os.path.realpath(file): file for file in sorted(files, reverse=True)}
    in_order = tuple(sorted(once.values()))
    return Found(in_order, tuple(sorted(left_out.items())), _name(asked, in_order))


def one_or_all(values: Sequence[Any]) -> Any:
    """A single value by itself, several as they are."""
    return values[0] if len(values) == 1 else values


def absolute(source: Any) -> Any:
    """Where data came from, whatever the working folder is: a path or several; None and "-" are no paths."""
    if isinstance(source, tuple):
        return tuple(map(os.path.abspath, source))
    return source if source in (None, "-") else os.path.abspath(source)


def fingerprint(path: str) -> str:
    """The size and the CRC-32 of a file's bytes, to tell which of several files has changed; FastLSTMError without it."""
    size = checksum = 0
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                size, checksum = size + len(block), zlib.crc32(block, checksum)
    except OSError as error:
        raise FastLSTMError(f"{printable(path)}: {error.strerror or error}") from None
    return f"{size}-{checksum:08x}"


def fingerprints(source: Any) -> dict[str, dict[str, str]]:
    """What a checkpoint keeps of several files, from which `differing` tells them; nothing of one."""
    return {"files": {path: fingerprint(path) for path in source}} if isinstance(source, tuple) else {}


def differing(before: Mapping[str, str], files: Sequence[str]) -> str:
    """The end of a message: which of the files that had these fingerprints are gone or changed, and which are new."""
    if not (before and files):
        return ""
    now = {file: fingerprint(file) for file in files}
    gone = [printable(file) for file, mark in before.items() if mark not in now.values()]
    new = [
        printable(file) for file, mark in now.items() if mark not in before.values() and file not in before
    ]
    said = [
        (f"{what}: {_listed(which, 5)}")
        for what, which in (("changed or missing", gone), ("new", new))
        if which
    ]
    return f" ({'; '.join(said)})" if said else ""


def _matching(pattern: str) -> set[str]:
    """The files that a pattern matches, as a shell would find them."""
    found = {path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)}
    if not found:
        raise FastLSTMError(f"there is no file like {printable(pattern)}")
    return found


def _inside(folder: str, kind: str | None, left_out: dict[str, str]) -> set[str]:
    """The files of a folder and of those in it that are of one sort; what is not goes to `left_out`."""
    sound = {path for path in _walk(folder, left_out) if not _unfit(path, left_out)}
    tables = set(filter(is_table, sound))
    others = sound - tables
    if not sound:
        raise FastLSTMError(f"{printable(folder)} is a folder without a file to read; name a file")
    if tables and others:
        if kind is None:
            raise FastLSTMError(
                f"{printable(folder)} holds tables ({_listed(sorted(tables), 3)}) and other files "
                f"({_listed(sorted(others), 3)}): say what to read, with --as names, lines or text, or with a pattern "
                f"such as '{printable(os.path.join(folder, '*.csv'))}'"
            )
        chosen, rest, why = (others, tables, "a table") if kind == "text" else (tables, others, "no table")
        left_out.update(dict.fromkeys(rest, why))
        return chosen
    return sound


def _walk(folder: str, left_out: dict[str, str]) -> Iterator[str]:
    """All files below a folder but the hidden ones and those of runs."""

    def unreadable(error: OSError) -> None:
        raise FastLSTMError(f"{printable(error.filename)}: cannot be read ({error.strerror})")

    for root, folders, names in os.walk(folder, onerror=unreadable):
        if root != folder and not set(names).isdisjoint(RUN):
            left_out[root] = "a run"
            folders.clear()
            continue
        hidden = [name for name in [*folders, *names] if name.startswith(".")]
        left_out.update({os.path.join(root, name): "hidden" for name in hidden})
        folders[:] = sorted(set(folders).difference(hidden))
        yield from (os.path.join(root, name) for name in names if name not in hidden)


def _unfit(path: str, left_out: dict[str, str]) -> bool:
    """Whether something in a folder is none to be read, which goes to `left_out`."""
    why = _first_bytes(path) if os.path.isfile(path) else "no file"
    if why:
        left_out[path] = why
    return bool(why)


def _first_bytes(path: str) -> str:
    """What the first bytes of a file speak against reading it; nothing if it may be text."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
        if head[:2] == b"\x1f\x8b":
            with suppress(OSError, EOFError, zlib.error), gzip.open(path) as unpacked:
                head = unpacked.read(HEAD)
    except OSError as error:
        return error.strerror or "cannot be read"
    if known := format_of(head):
        return known[0]
    if b"\0" in head and not marked(head):
        return "no text"
    return "" if head else "empty"


def _name(asked: Sequence[str], files: Sequence[str]) -> str:
    """What all files together are called."""
    if len(files) == 1:
        return "standard input" if files[0] == "-" else printable(files[0])
    if len(asked) == 1:
        return printable(asked[0])
    return f"{printable(files[0])} and {counted(len(files) - 1, 'other file')}"


def _listed(words: Iterable[str], most: int = SHOWN) -> str:
    words = list(words)
    more = f" and {len(words) - most:,} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
