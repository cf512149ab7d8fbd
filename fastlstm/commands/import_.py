"""`fastlstm import`: a run from the weights of a PyTorch model."""

from __future__ import annotations

from pathlib import Path

import click

from fastlstm.errors import FastLSTMError


@click.command("import")
@click.argument("file", metavar="FILE")
@click.option(
    "--out", required=True, metavar="RUN", help="The run to make: a new folder, or a new .safetensors file."
)
@click.option(
    "--characters", metavar="TEXT", help="The characters in the order of their ids, if FILE doesn't say."
)
@click.option(
    "--as", "kind", type=click.Choice(["names", "text"]), help="What the model is of, if FILE doesn't say."
)
def command(file: str, out: str, characters: str | None, kind: str | None) -> None:
    """Make a run from FILE, a PyTorch state dict as safetensors.

    FILE is what `fastlstm export` writes, trained further in PyTorch or not, or the state dict of any module
    with the same names. Where it lacks our metadata, say --characters and --as: the ids of names begin at 1,
    and 0 begins and ends a name; those of text begin at 0.
    """
    from fastlstm.checkpoint import save_model
    from fastlstm.interop.weights import read_torch

    run = Path(out)
    if run.exists():
        raise FastLSTMError(f"{out} exists already, and no run is overwritten: give another name")
    network, vocabulary, kind, preprocessing, extra = read_torch(file, characters, kind)
    target = run if run.suffix == ".safetensors" else run / "model.safetensors"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        save_model(target, network, vocabulary, kind, preprocessing, extra)
    except OSError as error:
        raise FastLSTMError(f"{out} cannot be written: {error.strerror or error}") from None
    click.echo(f"{out}: {network.parameters.flat.size:,} parameters, {vocabulary.size} ids, {kind}")
