"""`fastlstm export`: a model's weights for PyTorch or ONNX, or the model itself as a web page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fastlstm.errors import FastLSTMError

ENDINGS = {".safetensors": "torch", ".onnx": "onnx", ".html": "page"}
PAGE = [
    click.option("--title", metavar="TEXT", help="The page's heading.  [the run's name]"),
    click.option("--half", is_flag=True, help="Weights in half precision: half the size."),
    click.option(
        "--with-index", is_flag=True,
        help="The page can tell which names are new. It then contains, and so discloses, the training names.",
    ),
]  # fmt: skip


def with_page_options(function: Any) -> Any:
    """Add what can be said of a page to a command."""
    for option in reversed(PAGE):
        function = option(function)
    return function


@click.command("export")
@click.argument("run")
@click.argument("file")
@click.option("--to", type=click.Choice(list(ENDINGS.values())), help="The format  [what FILE's ending says]")
@with_page_options
def command(run: str, file: str, to: str | None, **page: Any) -> None:
    """Write the model of RUN, a run's folder or a model file, to FILE.

    torch: the state dict of a module with an Embedding `embedding`, an LSTM `lstm` and a Linear `head`, as
    safetensors. onnx: a float32 graph from ids and states to logits and states. page: one file that draws names or
    text in any browser, without a connection, and lets people look into the model.

    \b
    fastlstm export runs/names-1 names.onnx
    fastlstm export runs/names-1 names.safetensors
    fastlstm export runs/names-1 names.html --title "Names like ours"
    """
    to = to or ENDINGS.get(Path(file).suffix.lower())
    if to is None:
        raise click.UsageError(
            f"{file} ends neither in .safetensors nor in .onnx or .html: say --to torch, --to onnx or --to page"
        )
    if to != "page" and any(page.values()):
        raise click.UsageError("--title, --half and --with-index are for pages")
    from fastlstm.training.folders import MODEL
    from fastlstm.training.model_file import load_model

    model = load_model(run)
    source = Path(run, MODEL) if Path(run).is_dir() else Path(run)
    if Path(file).exists() and source.samefile(file):
        raise FastLSTMError(f"{file} is the model itself: give the export another name")
    if not Path(file).absolute().parent.is_dir():
        raise FastLSTMError(f"{file}: there is no folder {Path(file).parent}; make it first")
    if to == "page":
        from fastlstm.interop.page.assemble import of_run

        of_run(run, model, **page).write(file)
    elif to == "torch":
        from fastlstm.interop.weights import write_torch

        write_torch(file, model)
    else:
        try:
            from fastlstm.interop.onnx import write_onnx
        except ImportError as error:
            raise FastLSTMError(str(error)) from None
        write_onnx(file, model)
    count = sum(array.size for _, array in model.network.parameters.items())
    click.echo(f"{file}: {to}, {count:,} parameters, {model.vocabulary.size} ids, {model.kind}")
