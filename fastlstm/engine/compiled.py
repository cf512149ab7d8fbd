"""Compiled code kept on disk: a file is sound or as good as absent, and a folder that takes none costs time alone."""

from __future__ import annotations

import hashlib
import warnings
from functools import cache
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

SIZE = hashlib.sha256().digest_size


class Entry(NamedTuple):
    """One piece of code: what it is for, the `version` of all that it was made from, and its name among its like."""

    folder: Path
    family: str
    version: str
    name: str

    @property
    def path(self) -> Path:
        return self.folder / f"{self.family}-{self.version[:16]}-{self.name}.code"

    def read(self) -> bytes | None:
        """The code; None where there is none, or a damaged one."""
        try:
            contents = self.path.read_bytes()
        except OSError:
            return None
        digest, code = contents[:SIZE], contents[SIZE:]
        return code if hashlib.sha256(code).digest() == digest else None

    def write(self, code: bytes) -> None:
        """Keep the code, and nothing of its family that other versions have left."""
        # Readable by whoever may read the folder, so not by `tempfile`.
        temporary = self.path.with_suffix(f".{uuid4().hex}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(hashlib.sha256(code).digest() + code)
                temporary.replace(self.path)
            finally:
                temporary.unlink(missing_ok=True)
            for old in self.folder.glob(f"{self.family}-*"):
                if not old.name.startswith(f"{self.family}-{self.version[:16]}-"):
                    old.unlink(missing_ok=True)
        except OSError as error:
            # On Windows a file that another process reads cannot be replaced, and need not be.
            if self.read() is None:
                not_kept(f"in {self.folder} ({error.strerror})")


@cache
def not_kept(where: str) -> None:
    """Say, once, what it costs that compiled code cannot be kept."""
    warnings.warn(
        f"compiled code cannot be kept {where}: every start compiles anew, for ten seconds or more; "
        "NUMBA_CACHE_DIR names another folder",
        stacklevel=2,
    )
