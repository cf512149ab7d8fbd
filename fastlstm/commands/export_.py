"""`fastlstm export`: a model's weights for PyTorch or ONNX."""

from __future__ import annotations

from pathlib import Path

import click

from fastlstm.errors import FastLSTMError

SUFFIXES = {".safetensors": "torch", ".onnx": "onnx"}


@click.command("export")
@click.argument("run", metavar="RUN")
@click.argument("file", metavar="FILE")
@click.option(
    "--to", type=click.Choice(["torch", "onnx"]), help="The format; by default what FILE's ending says."
)
def command(run: str, file: str, to: str | None) -> None:
    """Write the model of RUN, a run's folder or a .safetensors file, to FILE.

    torch: a state dict as safetensors, with the names of a torch.nn.Module that has an Embedding `embedding`,
    an LSTM `lstm` and a Linear `head`. onnx: a graph from ids to logits, states in and out, in float32.
    """
    to = to or SUFFIXES.get(Path(file).suffix.lower())
    if to is None:
        raise click.UsageError(f"{file} does not end in .safetensors or .onnx: say --to torch or --to onnx")
    from fastlstm.checkpoint import load_model

    model = load_model(run)
    source = Path(run) / "model.safetensors" if Path(run).is_dir() else Path(run)
    if Path(file).exists() and Path(file).samefile(source):
        raise FastLSTMError(f"{file} is the model itself: give the export another name")
    try:
        if to == "torch":
            from fastlstm.interop.weights import write_torch

            write_torch(file, model)
        else:
            from fastlstm.interop.onnx import write_onnx

            write_onnx(file, model)
    except ImportError as error:
        raise FastLSTMError(str(error)) from None
    except OSError as error:
        raise FastLSTMError(f"{file} cannot be written: {error.strerror or error}") from None
    count = model.network.parameters.flat.size
    click.echo(f"{file}: {to}, {count:,} parameters, {model.vocabulary.size} ids, {model.kind}")
