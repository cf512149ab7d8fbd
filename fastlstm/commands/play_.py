"""`fastlstm play`: a model's web page, opened in the browser."""

from __future__ import annotations

import tempfile
import webbrowser
from pathlib import Path
from typing import Any

import click

from fastlstm.commands.export_ import with_page_options


@click.command("play")
@click.argument("run")
@with_page_options
def command(run: str, **page: Any) -> None:
    """Open the model of RUN, a run's folder or a model file, in the browser: draw, read, and look inside.

    The page is a temporary file; `fastlstm export RUN page.html` makes one to keep or to send.

    \b
    fastlstm play runs/names-1
    fastlstm play runs/names-1 --with-index
    """
    from fastlstm.interop.page.assemble import of_run
    from fastlstm.training.model_file import load_model

    made = of_run(run, load_model(run), **page)
    file = Path(tempfile.mkdtemp(prefix="fastlstm-"), "page.html")
    made.write(file)
    opened = webbrowser.open(file.as_uri())
    click.echo(f"{file}" if opened else f"no browser was found here: open {file} in one")
