"""Files replaced as a whole: whoever reads one finds the old contents or the new ones."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastlstm.errors import FastLSTMError

_numbers = itertools.count()
WINDOWS = os.name == "nt"
TRIES, PAUSE = 20, 0.1  # seconds


class InUse(FastLSTMError):
    """A file cannot be replaced while another program has it open."""


@contextmanager
def replacing(path: str | os.PathLike[str], durable: bool = True) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes `path`'s place if the block ends without an error.

    Unless it is to be `durable`, the machine's end may leave a damaged file, but not the writer's.

    Whoever reads `path` finds the old file or the new one, never a part of either. Raises FastLSTMError
    where `path` is a folder or a device, InUse where another program has it open and the system does not replace such
    files, OSError, with the name `path`, where it cannot be written.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise FastLSTMError(f"{path} is a folder or a device; give the name of a file")
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{next(_numbers)}.tmp")
    try:
        yield temporary
        if durable:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        _replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            error.filename, error.filename2 = os.fspath(path), None
        raise


def _replace(temporary: Path, target: Path) -> None:
    """On Windows a file that is open for reading cannot be replaced; whoever reads a model is soon done with it."""
    for _ in range(TRIES):
        try:
            os.replace(temporary, target)
            return
        except PermissionError:
            if not WINDOWS:
                raise
            time.sleep(PAUSE)
    raise InUse(
        f"{target} is open in another program, which keeps it from being replaced; close that program"
    )


def write_atomically(path: str | os.PathLike[str], contents: bytes) -> None:
    """Replace the file `path` by one with `contents`."""
    with replacing(path) as temporary:
        temporary.write_bytes(contents)
