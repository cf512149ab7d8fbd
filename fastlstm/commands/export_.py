"""`fastlstm export`: a model's weights for PyTorch or ONNX."""

from __future__ import annotations

from pathlib import Path

import click

from fastlstm.errors import FastLSTMError

ENDINGS = {".safetensors": "torch", ".onnx": "onnx"}


@click.command("export")
@click.argument("run")
@click.argument("file")
@click.option("--to", type=click.Choice(["torch", "onnx"]), help="The format  [what FILE's ending says]")
def command(run: str, file: str, to: str | None) -> None:
    """Write the model of RUN, a run's folder or a model file, to FILE.

    torch: the state dict of a module with an Embedding `embedding`, an LSTM `lstm` and a Linear `head`, as
    safetensors. onnx: a float32 graph from ids and states to logits and states.

    \b
    fastlstm export runs/names-1 names.onnx
    fastlstm export runs/names-1 names.safetensors
    """
    to = to or ENDINGS.get(Path(file).suffix.lower())
    if to is None:
        raise click.UsageError(
            f"{file} ends neither in .safetensors nor in .onnx: say --to torch or --to onnx"
        )
    from fastlstm.training.folders import MODEL
    from fastlstm.training.model_file import load_model

    model = load_model(run)
    source = Path(run, MODEL) if Path(run).is_dir() else Path(run)
    if Path(file).exists() and source.samefile(file):
        raise FastLSTMError(f"{file} is the model itself: give the export another name")
    if not Path(file).absolute().parent.is_dir():
        raise FastLSTMError(f"{file}: there is no folder {Path(file).parent}; make it first")
    if to == "torch":
        from fastlstm.interop.weights import write_torch as write
    else:
        try:
            from fastlstm.interop.onnx import write_onnx as write
        except ImportError as error:
            raise FastLSTMError(str(error)) from None
    write(file, model)
    count = sum(array.size for _, array in model.network.parameters.items())
    click.echo(f"{file}: {to}, {count:,} parameters, {model.vocabulary.size} ids, {model.kind}")
