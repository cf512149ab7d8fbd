"""A run's folder on disk: its files' names, where a new one goes, and the lock against a second process.

model.safetensors       the best model so far, by validation loss
checkpoint.safetensors  the last state: parameters, moments, streams, position
metrics.csv             a row for each validation, and between them every `log_every` steps
config.json             a readable copy of what the run is
text.ids                a text larger than memory, as numbers (unless `cache` names another folder for them)
names.index             the training names (unless `index` is off)
curves.png              where matplotlib is installed
.lock                   held by the process that trains
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, NamedTuple

from fastlstm.data.files import write_atomically
from fastlstm.data.novelty import FILE_NAME as INDEX
from fastlstm.data.novelty import MODEL_OF_RUN as MODEL
from fastlstm.errors import FastLSTMError, typed
from fastlstm.training.options import Options, Origin

CHECKPOINT = "checkpoint.safetensors"
METRICS, CONFIG, CURVES = "metrics.csv", "config.json", "curves.png"
IDS = "text.ids"
LOCK = ".lock"
FILES = (MODEL, CHECKPOINT, METRICS, CONFIG, CURVES, IDS, INDEX, LOCK)
COLUMNS = (
    "step", "epoch", "learning_rate",
    "train_loss", "train_perplexity", "train_accuracy",
    "validation_loss", "validation_perplexity", "validation_accuracy",
    "characters_per_second", "seconds",
)  # fmt: skip


def lock(folder: Path) -> IO[str]:
    """Hold `folder` against other processes until the file returned is closed or this process ends."""
    file = open(folder / LOCK, "a+", encoding="utf-8")  # noqa: SIM115, held open by the run
    try:
        try:
            import fcntl
        except ImportError:
            msvcrt: Any = importlib.import_module("msvcrt")
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.close()
        raise FastLSTMError(
            f"{folder} is in use by another training process; wait for it or stop it"
        ) from None
    except (OSError, ImportError):
        pass  # a system or a file system without locks: better to train than to refuse
    return file


def check_out(out: str | os.PathLike[str] | None) -> None:
    """Raise FastLSTMError unless a run may be written to `out`: not there yet, or a folder without files."""
    if out is None:
        return
    if os.path.exists(out) and not os.path.isdir(out):
        raise FastLSTMError(f"{out} is a file; a run needs a folder")
    if os.path.isdir(out) and any(not name.startswith(".") for name in os.listdir(out)):
        raise FastLSTMError(
            f"{out} holds files already; name another folder, or resume the run that is there"
        )


def new_folder(out: str | os.PathLike[str] | None, source: Origin) -> Path:
    """Make the folder of a run: `out`, else the next runs/<data>-<n>; none that is there is overwritten."""
    if out is not None:
        check_out(out)
        Path(out).mkdir(parents=True, exist_ok=True)
        return Path(out)
    first = source if isinstance(source, str) else source[0] if source else "names"
    name = re.sub(r"[*?\[\]]", "", Path(os.path.abspath(first)).name.split(".")[0]).strip("-") or "data"
    Path("runs").mkdir(exist_ok=True)
    number = 1
    while True:
        folder = Path("runs", f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


class Place(NamedTuple):
    """A new run's folder and the lock on it."""

    folder: Path
    held: IO[str]


@contextmanager
def claimed(out: str | os.PathLike[str] | None, source: Origin) -> Iterator[Place]:
    """A place for a new run, in `out` or the next runs/<data>-<n>; nothing is left of it if the block fails."""
    folder = new_folder(out, source)
    held = lock(folder)
    try:
        check_out(folder)
    except FastLSTMError:
        held.close()
        raise
    try:
        sweep(folder)
        yield Place(folder, held)
    except BaseException:
        held.close()
        for begun in FILES:
            (folder / begun).unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()
            if out is None:
                folder.parent.rmdir()
        raise


def ids_file(path: Origin, options: Options, folder: Path) -> Path | None:
    """Where the ids of a text are kept if they are too large for memory: in the cache or, where it is, the run's folder."""
    if options.cache is None or path is None:
        return folder / IDS if folder.is_dir() else None
    paths = list(path) if isinstance(path, tuple) else [path]
    words = [*map(os.path.abspath, paths), options.encoding, str(options.lowercase)]
    which = blake2b(" ".join(words).encode(errors="surrogatepass"), digest_size=4)
    try:
        os.makedirs(options.cache, exist_ok=True)
    except OSError as error:
        raise FastLSTMError(
            f"the cache {options.cache} cannot be made ({error.strerror}); name another folder"
        ) from None
    return Path(options.cache, f"{Path(paths[0]).stem}-{which.hexdigest()}.ids")


def sweep(folder: Path) -> None:
    """Take away what a killed process had begun to write to a run that is now locked."""
    for left in folder.glob(".*.tmp"):
        left.unlink()


def resuming(folder: str | os.PathLike[str]) -> str:
    """The command that goes on with a run."""
    return typed("fastlstm", "train", "--resume", os.fspath(folder))


def starting(path: str | os.PathLike[str]) -> str:
    """The end of a message to somebody who resumes what cannot be: how a model goes on with other data."""
    return f"to begin a new run with its weights: {typed('fastlstm', 'train', 'DATA', '--from', os.fspath(path))}"


def cut(metrics: Path, step: int) -> None:
    """Take the rows after `step`, and an unfinished last one, out of a run's metrics.csv."""
    lines = metrics.read_bytes().splitlines(keepends=True) if metrics.is_file() else []
    whole = [line for line in lines if re.match(rb"\d{1,18},.*\n", line)]
    kept = [line for line in whole if int(line.split(b",")[0]) <= step]
    write_atomically(metrics, b"".join([",".join(COLUMNS).encode() + b"\n", *kept]))
