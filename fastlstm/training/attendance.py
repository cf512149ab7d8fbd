"""A run as the ranks see it that do not own its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from fastlstm.training.session import Record, Session, train


class Attendance:
    """A run as all but the first of several ranks see it: its records, and nothing of its folder; a context manager."""

    def __init__(self, session: Session, folder: Path) -> None:
        self.session, self.folder = session, folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def curves(self) -> Path | None:
        """None are drawn."""
        return None

    def close(self) -> None:
        """Nothing is held."""

    def follow(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Record]:
        """As `Run.follow`: train, and hand over what the first rank's checkpoints need."""
        session = self.session
        for record in train(session):
            if session.ranks.ask("save", False):
                session.snapshot()
            yield record
            if session.ranks.ask("stop", stop()):
                break
        session.snapshot()
