"""Standard streams that take whatever there is to say, be they closed, broken or of an old encoding."""

from __future__ import annotations

import io
import os
import sys
import warnings
from contextlib import suppress
from typing import IO, Any

import click


def prepare() -> None:
    """Make a closed stream a silent one, and let characters that a stream's encoding lacks be written as escapes."""
    # In this order each gets its own number, which otherwise the next file to be opened would have.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, for the process's life
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _show


def _show(message: Warning | str, *_: Any) -> None:
    """A warning in one line, without the place in our code that it came from."""
    click.echo(f"fastlstm: {' '.join(str(message).split())}", err=True)


def utf8(stream: IO[str]) -> IO[str]:
    """For data: they are not confined to what the system's old code page can say."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    return stream


def silence(*broken: IO[str]) -> None:
    """Drop what broken streams still hold, or Python would complain when it ends."""
    for stream in broken:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
