"""`fastlstm import`: a run from the weights of a PyTorch model."""

from __future__ import annotations

from pathlib import Path

import click

from fastlstm.errors import FastLSTMError


@click.command("import")
@click.argument("file")
@click.option("--out", required=True, metavar="RUN", help="The run to make: a folder or a .safetensors file.")
@click.option(
    "--characters", metavar="TEXT", help="The characters in the order of their ids, if FILE does not say."
)
@click.option(
    "--as",
    "kind",
    type=click.Choice(["names", "lines", "text"]),
    help="What it is a model of, if FILE does not say.",
)
def command(file: str, out: str, characters: str | None, kind: str | None) -> None:
    """Make a run from FILE, a PyTorch state dict as safetensors.

    FILE comes from `fastlstm export`, trained further in PyTorch or not, or from any module with the same
    names. The ids of names and lines count from 1, and 0 begins and ends each; those of text count from 0.

    \b
    fastlstm import names.safetensors --out runs/back
    fastlstm import foreign.safetensors --out runs/new --characters abcdefghijklmnopqrstuvwxyz --as names
    """
    from fastlstm.interop.weights import read_torch
    from fastlstm.training.folders import MODEL, check_out, new_folder
    from fastlstm.training.model_file import save_model

    single = Path(out).suffix == ".safetensors"
    if single and Path(out).exists():
        raise FastLSTMError(f"{out} is there already: give the run another name")
    if not single:
        check_out(out)
    model = read_torch(file, characters, kind)
    save_model(out if single else new_folder(out, None) / MODEL, *model)
    count = sum(array.size for _, array in model.network.parameters.items())
    click.echo(f"{out}: {count:,} parameters, {model.vocabulary.size} ids, {model.kind}")
