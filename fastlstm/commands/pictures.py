"""Pictures beside what a command prints, where matplotlib is installed."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import click


def draw(
    picture: Callable[[Any, str | os.PathLike[str]], None], facts: Any, file: str | os.PathLike[str]
) -> None:
    """Draw the facts into a file and name it, or say what would bring the picture, on standard error."""
    if find_spec("matplotlib"):
        picture(facts, file)
        click.echo(f"picture: {file}", err=True)
    else:
        click.echo("no picture: pip install 'fastlstm[plot]' brings matplotlib", err=True)
