"""`fastlstm notebook`: the five notebooks' jobs at their own sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

FILE = click.Path(dir_okay=False)
PICTURE = "notebook-names.png"


def common(function: Any) -> Any:
    """The options of every notebook."""
    for option in (
        click.option("--plot", metavar="FILE", type=FILE, help="Draw the curves into this picture."),
        click.option(
            "--dtype", type=click.Choice(["float64", "float32"]), default="float64", show_default=True
        ),
        click.option("--seed", metavar="N", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True,
                     help="Of the weights and draws."),
    ):  # fmt: skip
        function = option(function)
    return function


@click.group("notebook")
def command() -> None:
    """Run the job of one of the five notebooks that fastlstm replaces.

    Each runs at its notebook's own sizes, prints what it prints, and closes with its time beside the
    notebook's. To run your own cells, import its names: `from fastlstm.notebooks.zoo_a import LSTM`.
    """


def soliloquy(notebook: str, help: str) -> None:
    """Add one of the three notebooks that learn Hamlet's soliloquy."""

    @command.command(notebook, help=help)
    @click.option("--epochs", metavar="N", type=click.IntRange(1), default=1000, show_default=True)
    @common
    def run(plot: str | None, **options: Any) -> None:
        from fastlstm.notebooks import recipes

        draw(recipes.soliloquy(notebook, **options), plot)


soliloquy("zoo-a", "Learn Hamlet's soliloquy by heart: hidden 25, 1,000 epochs.")
soliloquy("zoo-b", "The same from a file that holds it as a Python literal.")
soliloquy("walkthrough", "The soliloquy with hidden 10, read back greedily.")


@command.command("kaggle")
@click.argument("text", type=FILE)
@click.option(
    "--iterations", metavar="N", type=click.IntRange(1), help="Stop after so many.  [smooth loss 46]"
)
@common
def kaggle(text: str, plot: str | None, **options: Any) -> None:
    """Learn TEXT, a Shakespeare text say: hidden 1000, windows of 28, AdamW, until the smooth loss is 46.

    That takes long, and --dtype float32 halves it; Ctrl-C stops and predicts.
    """
    from fastlstm.notebooks import recipes

    draw(recipes.shakespeare(text, **options), plot)


@command.command("names")
@click.argument("table", type=FILE)
@click.option("--column", default="Name", show_default=True, help="Header of the names' column.")
@click.option("--limit", metavar="N", type=click.IntRange(20), default=10000, show_default=True,
              help="Take the first so many names.")  # fmt: skip
@click.option("--steps", metavar="N", type=click.IntRange(1), default=8001, show_default=True)
@common
def names(table: str, plot: str | None, **options: Any) -> None:
    """Learn the names of TABLE, such as NationalNames.csv: embedding 100, hidden 256, batches of 20.

    Where matplotlib is installed, the curves of loss, perplexity and accuracy go to notebook-names.png or
    to --plot.
    """
    from importlib.util import find_spec

    from fastlstm.notebooks import recipes

    draw(recipes.name_generator(table, **options), plot or (PICTURE if find_spec("matplotlib") else None))


def draw(curves: Sequence[Any], path: str | None) -> None:
    """Draw the curves where a picture is wanted."""
    from fastlstm.notebooks import recipes

    if path:
        recipes.plot(curves, path)
        click.echo(f"Curves: {path}")
