"""What a person sees while a model trains: a bar on a terminal, lines of scores, samples on request."""

from __future__ import annotations

import sys
from typing import Any

import click

from fastlstm.data.feeds import TextFeed
from fastlstm.data.novelty import NameIndex
from fastlstm.errors import printable
from fastlstm.generation.sampling import generate
from fastlstm.training.bars import Bar
from fastlstm.training.evaluation import Scores
from fastlstm.training.session import Record, Session

MOST_ROWS = 100  # shown of a run, about; metrics.csv has them all
SAMPLE_LENGTH = 200  # characters of a text's sample


def sentence(scores: Scores) -> str:
    """Scores in all their units."""
    return (
        f"{scores.loss:.4f} nats a character, perplexity {scores.perplexity:.3f}, "
        f"{scores.bits_per_character:.3f} bits, accuracy {scores.accuracy:.1%}"
    )


class Progress:
    """Shows a session's records; a context manager."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._rows = 0
        interval = session.options.validate_every or session.feed.steps_per_epoch
        expected = session.total // min(interval, session.options.log_every)
        self._stride = max(1, expected // MOST_ROWS)  # rows of which only the last is shown
        self._known: NameIndex | None = None
        self._bar = Bar(session) if sys.stderr.isatty() else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.__exit__()

    def show(self, record: Record) -> None:
        """Take in one step; called after each, so it does next to nothing unless something is due."""
        if self._bar is not None:
            self._bar.show(record)
        if record.train is None:
            return
        validated = record.best or record.validation is not None
        self._row(record)
        if validated and self.session.options.samples:
            self._samples(self.session.options.samples)

    def say(self, line: str) -> None:
        """A line on standard output, above the bar."""
        if self._bar is None:
            click.echo(line)
        else:
            with self._bar.tqdm.external_write_mode():
                click.echo(line)

    def _row(self, record: Record) -> None:
        self._rows += 1
        if self._rows % self._stride and not self.session.finished:
            return
        if self._rows == self._stride:
            self.say(
                "  epoch      step   train: loss  perplexity  accuracy   held out: loss  perplexity  accuracy"
            )
        cells = f"{record.epoch:7.2f} {record.step:9,}"
        for width, scores in ((13, record.train), (17, record.validation)):
            cells += (
                f"{scores.loss:{width}.4f} {scores.perplexity:11.3f} {scores.accuracy:9.2%}" if scores else ""
            )
        self.say(cells + ("  best" if record.best and record.validation else ""))

    def _samples(self, count: int) -> None:
        """Show what the model draws now; names with whether they are in the data."""
        session = self.session
        controls: dict[str, Any] = {"seed": session.position.step, "threads": session.options.threads}
        feed = session.feed
        if isinstance(feed, TextFeed):
            for text in generate(session, count, length=SAMPLE_LENGTH, **controls):
                self.say("\n" + text + "\n")
            return
        if self._known is None:
            self._known = NameIndex.of(feed.train, feed.held_out)
        names = generate(session, count, max_length=SAMPLE_LENGTH, **controls)
        width = max(20, *map(len, names))
        for name in names:
            part = self._known.part(name)
            self.say(f"    {printable(name):<{width}}  {f'in {part}' if part else 'new'}")
