"""The `fastlstm` command: one module of `commands/` for each subcommand, imported when it is called."""

from __future__ import annotations

import importlib

import click

COMMANDS = {
    "train": "Train a model on names or text.",
    "sample": "Draw names or text from a trained model.",
    "eval": "Score data or single names under a trained model.",
    "info": "Say what a run or a model file holds.",
    "plot": "Draw the curves of one run or compare several.",
    "bench": "Measure fastlstm against its peers on this machine.",
    "export": "Write a model's weights for PyTorch or ONNX.",
    "import": "Make a run from exported PyTorch weights.",
    "notebook": "Run one of the five notebooks' jobs.",
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and one-line helps without importing their modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"fastlstm.commands.{cmd_name}_")
        return module.command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fastlstm")
def main() -> None:
    """Character-level LSTMs on a CPU: train on names or text, sample, measure.

    Begin with `fastlstm train`, which trains a names generator on the embedded data set.
    """
