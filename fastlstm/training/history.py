"""What a training run went through, as rows: of a run's metrics.csv, and of the `History` that `CharLM.fit` returns."""

from __future__ import annotations

import html
import os
from dataclasses import dataclass, field
from typing import Any

from fastlstm.errors import counted
from fastlstm.training import plots
from fastlstm.training.evaluation import Scores
from fastlstm.training.folders import COLUMNS
from fastlstm.training.session import Record

MOST_ROWS = 30  # of a table that a notebook shows
FORMATS = {
    "step": ",d",
    "epoch": ".2f",
    "learning_rate": ".2e",
    "seconds": ".1f",
    "characters_per_second": ",.0f",
}


def row(record: Record) -> dict[str, Any]:
    """A record as a row of metrics.csv; None where it has no scores."""
    scores = [
        value
        for part in (record.train, record.validation)
        for value in ((part.loss, part.perplexity, part.accuracy) if part else (None, None, None))
    ]
    values = (record.step, record.epoch, record.rate, *scores, record.characters_per_second, record.seconds)
    return dict(zip(COLUMNS, values, strict=True))


@dataclass(repr=False)
class History:
    """What a training run went through: its records with scores, and where it was best.

    `best` are the scores of what was held out, None if nothing was; `notes` say what the data brought that a model which
    went on did not know.

    >>> History([], 20, 10, Scores(1.5, 0.4, 90))
    <History of 20 steps: best at step 10, 1.5000 nats a character on what was held out>
    """

    records: list[Record]
    steps: int
    best_step: int
    best: Scores | None
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, list[Any]]:
        """The columns of metrics.csv, step, epoch, train_loss, validation_loss, …: `pandas.DataFrame` takes them."""
        rows = [row(record) for record in self.records]
        return {name: [each[name] for each in rows] for name in COLUMNS}

    def plot(self, path: str | os.PathLike[str] | None = None, against: str = "epoch") -> Any:
        """Draw loss, perplexity and accuracy, against "epoch", "step" or "seconds"; needs matplotlib.

        Into the picture `path` (png, pdf, svg); without it as a figure of pyplot's, which a notebook shows. Returns the
        three axes. Raises FastLSTMError without matplotlib, and where there is nothing to draw yet.
        """
        return plots.draw({"": self.to_dict()}, path, against)

    def __repr__(self) -> str:
        held_out = f", {self.best.loss:.4f} nats a character on what was held out" if self.best else ""
        best = f": best at step {self.best_step:,}{held_out}" if self.best_step else ""
        return f"<History of {counted(self.steps, 'step')}{'; '.join([best, *self.notes])}>"

    def _repr_html_(self) -> str:
        """The rows as a table, of many every so many and the last."""
        stride = -(-len(self.records) // MOST_ROWS) or 1
        kept = [record for k, record in enumerate(reversed(self.records)) if k % stride == 0][::-1]
        titles = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in COLUMNS)
        body = ""
        for record in kept:
            cells = "".join(
                f"<td>{'' if value is None else format(value, FORMATS.get(name, '.4f'))}</td>"
                for name, value in row(record).items()
            )
            weight = " style='font-weight: bold'" if record.step == self.best_step else ""
            body += f"<tr{weight}>{cells}</tr>"
        table = f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>" if kept else ""
        return f"<p>{html.escape(repr(self)[1:-1])}</p>{table}"
