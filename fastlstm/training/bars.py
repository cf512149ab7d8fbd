"""A bar of a session's steps, on a terminal or in a notebook."""

from __future__ import annotations

import sys
from time import monotonic
from typing import Any

from fastlstm.training.evaluation import Scores
from fastlstm.training.session import Record, Session

REFRESH = 0.25  # seconds between two figures on the bar


def in_notebook() -> bool:
    """Whether this Python is a notebook's."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    return bool(shell) and "IPKernelApp" in shell.config


def wanted(progress: bool | None) -> bool:
    """Whether a bar is to be shown: as `progress` says, else where somebody looks, and never into a pipe or a file."""
    return (
        (in_notebook() or (sys.stderr is not None and sys.stderr.isatty())) if progress is None else progress
    )


class Bar:
    """A tqdm bar over a session's steps, with the loss and the speed; a context manager."""

    def __init__(self, session: Session, leave: bool = False) -> None:
        notebook = in_notebook()
        if notebook:
            from tqdm.auto import tqdm
        else:
            from tqdm import tqdm
        width = "" if notebook else ":24"
        form = f"{{percentage:3.0f}}%|{{bar{width}}}| {{n_fmt}}/{{total_fmt}} [{{elapsed}}<{{remaining}}{{postfix}}]"
        done = session.position.step
        self.tqdm: Any = tqdm(
            total=session.total, initial=done, bar_format=form, leave=leave, mininterval=0.1
        )
        self.tqdm.set_postfix_str("the first step may compile")
        self._refreshed, self._characters = monotonic(), 0

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.tqdm.close()

    def show(self, record: Record) -> None:
        """Take in one step."""
        if self.tqdm.n == self.tqdm.initial:
            self.tqdm.unpause()  # compilation is no measure of the time left
        self.tqdm.update()
        self._characters += record.characters
        now = monotonic()
        last = record.step == record.total
        if last or now - self._refreshed > REFRESH:
            speed = self._characters / max(now - self._refreshed, 1e-9)
            held_out = f", held out {record.validation.loss:.3f}" if record.validation else ""
            perplexity = Scores(record.smoothed, 0, 0).perplexity
            self.tqdm.set_postfix_str(
                f"loss {record.smoothed:.3f}, perplexity {perplexity:.2f}{held_out}, {speed:,.0f} characters/s",
                refresh=last,
            )
            self._refreshed, self._characters = now, 0
