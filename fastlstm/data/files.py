"""Files replaced as a whole: whoever reads one finds the old contents or the new ones."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastlstm.errors import FastLSTMError

_numbers = itertools.count()


@contextmanager
def replacing(path: str | os.PathLike[str], durable: bool = True) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes `path`'s place if the block ends without an error.

    Unless it is to be `durable`, the machine's end may leave a damaged file, but not the writer's.

    Whoever reads `path` finds the old file or the new one, never a part of either. Raises FastLSTMError
    where `path` is a folder or a device, OSError where it cannot be written.
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
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def write_atomically(path: str | os.PathLike[str], contents: bytes) -> None:
    """Replace the file `path` by one with `contents`."""
    with replacing(path) as temporary:
        temporary.write_bytes(contents)
