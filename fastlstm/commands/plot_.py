"""`fastlstm plot`: the curves of one run, or of several in one picture."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("plot")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--out", metavar="FILE", help=".png, .pdf or .svg  [RUN/curves.png, for several comparison.png]"
)
@click.option(
    "--against",
    type=click.Choice(["epoch", "step", "seconds"]),
    default="epoch",
    help="What runs along x.  [epoch]",
)
def command(runs: tuple[str, ...], out: str | None, against: str) -> None:
    """Draw loss, perplexity and accuracy, in training and on what was held out.

    \b
    fastlstm plot runs/names-1
    fastlstm plot runs/names-1 runs/names-2 --against seconds --out names.svg

    Needs matplotlib: pip install 'fastlstm[plot]'.
    """
    from fastlstm.training.folders import CURVES
    from fastlstm.training.plots import draw_runs

    file = out or (str(Path(runs[0]) / CURVES) if len(runs) == 1 else "comparison.png")
    draw_runs(runs, file, against)
    click.echo(file)
