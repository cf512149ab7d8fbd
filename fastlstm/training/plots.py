"""Curves of runs, drawn from their metrics.csv; needs matplotlib, the extra `plot`."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastlstm.data.files import replacing
from fastlstm.errors import FastLSTMError, quoted
from fastlstm.training.folders import METRICS

PANELS = {"loss": "loss (nats a character)", "perplexity": "perplexity", "accuracy": "accuracy"}
AXES = {"epoch": "epoch", "step": "step", "seconds": "seconds of training"}


def read_metrics(folder: str | os.PathLike[str]) -> dict[str, list[float | None]]:
    """The columns of a run's metrics.csv; None where a row has no value.

    Raises FastLSTMError where there is no such file, no row in it, or a row that cannot be read.
    """
    path = Path(folder) / METRICS
    if not path.is_file():
        raise FastLSTMError(f"{folder} is no run: it holds no {METRICS}")
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        columns = {name: [float(row[name]) if row[name] else None for row in rows] for name in rows[0]}
    except IndexError:
        raise FastLSTMError(
            f"{path} has no row yet: there is nothing to draw before the first validation"
        ) from None
    except (TypeError, ValueError, csv.Error) as error:
        raise FastLSTMError(f"{path} has a row that cannot be read ({error})") from None
    missing = {*AXES, *(f"{part}_{panel}" for part in ("train", "validation") for panel in PANELS)} - set(
        columns
    )
    if missing:
        raise FastLSTMError(f"{path} has no column {sorted(missing)[0]}: it is not one of fastlstm's")
    return columns


@contextmanager
def picture(
    out: str | os.PathLike[str] | None, panels: int, width: float, height: float = 4
) -> Iterator[list[Any]]:
    """The axes of so many panels side by side, to draw into; then the picture is written to `out`.

    The format follows the file's ending (png, pdf, svg). None makes a figure of pyplot's, for its user to show.
    """
    size: dict[str, Any] = {"figsize": (width, height), "layout": "constrained"}
    try:
        if out is None:
            from matplotlib import pyplot

            yield list(pyplot.figure(**size).subplots(1, panels, squeeze=False)[0])
            return
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise FastLSTMError("pictures need matplotlib: pip install 'fastlstm[plot]'") from None
    figure = Figure(**size)
    FigureCanvasAgg(figure)
    yield list(figure.subplots(1, panels, squeeze=False)[0])
    ending = Path(out).suffix.lstrip(".").lower() or "png"
    if ending not in figure.canvas.get_supported_filetypes():
        raise FastLSTMError(f"{out}: pictures are not written as .{ending}; use .png, .pdf or .svg")
    with replacing(out) as temporary:
        figure.savefig(temporary, format=ending, dpi=110)


def draw_runs(
    folders: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], against: str = "epoch"
) -> None:
    """Draw loss, perplexity and accuracy of one run or several into the picture `out`.

    `against` is "epoch", "step" or "seconds".
    """
    draw({str(folder): read_metrics(folder) for folder in folders}, out, against)


def draw(
    runs: Mapping[str, Mapping[str, Sequence[float | None]]], out: str | os.PathLike[str] | None, against: str
) -> Any:
    """As `draw_runs`, of metrics by the name of their run; the axes. Without `out` the figure is pyplot's."""
    if against not in AXES:
        raise FastLSTMError(f"curves are drawn against {', '.join(AXES)}, not {quoted(against)}")
    if not any(columns["step"] for columns in runs.values()):
        raise FastLSTMError("there is nothing to draw: no row of scores has been made")
    with picture(out, len(PANELS), 13) as panels:
        for axes, (panel, title) in zip(panels, PANELS.items(), strict=True):
            for number, (folder, columns) in enumerate(runs.items()):
                for part, style in (("train", "--"), ("validation", "-")):
                    x, y = _points(columns[against], columns[f"{part}_{panel}"])
                    color = f"C{number}" if len(runs) > 1 else ("C0" if part == "train" else "C1")
                    label = part if len(runs) == 1 else f"{Path(folder).name or folder}, {part}"
                    axes.plot(x, y, style, color=color, label=label, marker="." if len(x) < 30 else "")
            axes.set(title=title, xlabel=AXES[against])
            axes.grid(alpha=0.3)
            axes.legend(fontsize="small", loc="lower right" if panel == "accuracy" else "upper right")
    return panels


def _points(x: Sequence[float | None], y: Sequence[float | None]) -> tuple[list[float], list[float]]:
    """The points that have both coordinates."""
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if a is not None and b is not None]
    return [a for a, _ in pairs], [b for _, b in pairs]
