"""`fastlstm bench`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

SHAPES = ("notebook", "kaggle", "names-small", "names", "names-ragged", "charrnn", "charrnn-large")
PEERS = ("loop", "numpy", "torch", "jax", "onnxruntime")


@click.command()
@click.option("--shape", "shapes", multiple=True, type=click.Choice(SHAPES), help="Only this; repeatable.")
@click.option("--peer", "peers", multiple=True, type=click.Choice(PEERS), help="Only this; repeatable.")
@click.option("--training", is_flag=True, help="Training steps [with --forward the default].")
@click.option("--forward", is_flag=True, help="Forward passes.")
@click.option("--sample", is_flag=True, help="Names drawn, against the usual PyTorch samplers.")
@click.option("--module", is_flag=True, help="fastlstm.interop.torch.LSTM against torch.nn.LSTM.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "bf16"]),
    default="float32",
    help="Of ours and PyTorch; beside bf16 stands ours in float32.  [float32]",
)
@click.option("--threads", type=click.IntRange(min=1), help="Most threads for everybody [all cores].")
@click.option("--quick", is_flag=True, help="Under a minute: training steps of small shapes, short blocks.")
@click.option("--names", "names_file", metavar="FILE", help="Names for names-ragged [the embedded ones].")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write everything measured here.")
@click.option("--plot", "plot_file", type=click.Path(path_type=Path), help="Draw a bar chart here.")
def command(
    shapes: tuple[str, ...],
    peers: tuple[str, ...],
    precision: str,
    threads: int | None,
    quick: bool,
    names_file: str | None,
    json_file: Path | None,
    plot_file: Path | None,
    **jobs: bool,
) -> None:
    """Measure fastlstm against its peers on this machine.

    Every installed peer runs in a process of its own. Before it is timed, its losses, gradients and updated
    parameters are compared with a float64 truth; then blocks of half a second of ours and of the peer's take
    turns, and the medians of the blocks' ratios are shown. Let the machine be idle meanwhile.

    \b
    fastlstm bench --quick
    fastlstm bench --peer torch --peer jax --json bench.json --plot bench.png
    fastlstm bench --shape names --training
    fastlstm bench --precision bf16
    """
    from fastlstm.benchmark import report
    from fastlstm.benchmark.machine import cores
    from fastlstm.benchmark.peers import JOBS
    from fastlstm.benchmark.plot import check, plot
    from fastlstm.benchmark.run import Bench, Settings
    from fastlstm.data.embedded import embedded_names
    from fastlstm.data.joined import read_names
    from fastlstm.errors import FastLSTMError

    for file in filter(None, (json_file, plot_file)):
        if not file.parent.is_dir():
            raise FastLSTMError(f"{file}: there is no folder {file.parent}, make it first")
    if plot_file:
        check(plot_file)
    chosen = tuple(job for job in JOBS if jobs[job]) or (("training",) if quick else ("training", "forward"))
    settings = Settings(chosen, threads or cores(), shapes, peers, quick, precision)
    names = read_names(names_file) if names_file else embedded_names()
    with Bench(settings, names, progress) as bench:
        found = report.hardware(settings.threads)
        show(report.heading(found))
        measurements = []
        for measurement in bench.measurements():
            measurements.append(measurement)
            show(report.table(measurement))
        fresh: list[dict[str, Any]] = []
        if "training" in chosen and not quick and precision == "float32":
            fresh = list(bench.starts())
            show(report.starts(fresh))
        show(report.summary(measurements))
    document = report.document(settings, found, measurements, fresh)
    if json_file:
        json_file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if plot_file:
        plot(document, plot_file)


def progress(text: str) -> None:
    """Show what is being done in one line of the terminal, if there is one."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{text}", nl=False, err=True)


def show(text: str) -> None:
    """Print a paragraph in place of the progress line."""
    progress("")
    click.echo(text + "\n")
