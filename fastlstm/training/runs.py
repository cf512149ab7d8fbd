"""A run: a session with the folder that it leaves behind, from which another process can go on."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import IO, Any

import numpy as np

from fastlstm import __version__
from fastlstm.data.feeds import NameFeed
from fastlstm.data.files import InUse, write_atomically
from fastlstm.data.names import Names
from fastlstm.data.novelty import NameIndex, write_index
from fastlstm.data.paths import absolute, differing, fingerprints, one_or_all
from fastlstm.data.texts import Text
from fastlstm.engine.parameters import Parameters
from fastlstm.errors import FastLSTMError
from fastlstm.training.attendance import Attendance
from fastlstm.training.checkpoint import checkpoint_of
from fastlstm.training.folders import (
    CHECKPOINT,
    CONFIG,
    CURVES,
    METRICS,
    MODEL,
    Place,
    claimed,
    cut,
    ids_file,
    lock,
    resuming,
    starting,
    sweep,
)
from fastlstm.training.history import row
from fastlstm.training.model_file import load_arrays, load_model, model_facts, save_arrays
from fastlstm.training.options import Origin
from fastlstm.training.ranks import ALONE, Ranks
from fastlstm.training.session import Diverged, Record, Session, train


class Run(Attendance):
    """The folder of a session, locked until `close`; a context manager.

    `source` is the path of the data or has several, None for the embedded names, "-" for data that cannot be read again.
    """

    def __init__(self, folder: Path, session: Session, source: Origin, held: IO[str]) -> None:
        super().__init__(session, folder)
        self.source = source
        self._files = fingerprints(source)
        self._lock = held
        self._best: tuple[Parameters, dict[str, Any]] | None = None
        self._saved, self._step = monotonic(), session.position.step  # when and where the last checkpoint was

    @classmethod
    def create(cls, session: Session, source: Origin, out: str | os.PathLike[str] | None = None) -> Run:
        """A new run in `out` or in the next runs/<data>-<n>, with its first checkpoint."""
        with claimed(out, source) as place:
            return cls.begin(session, source, place)

    @classmethod
    def begin(cls, session: Session, source: Origin, place: Place) -> Run:
        """A new run in a place that is `claimed`, with its first checkpoint."""
        run = cls(place.folder, session, absolute(source), place.held)
        run.checkpoint()
        run._furnish()
        return run

    @classmethod
    def resume(
        cls,
        path: str | os.PathLike[str],
        given: Mapping[str, Any] | None = None,
        source: Origin = None,
        data: Names | Text | None = None,
        ranks: Ranks = ALONE,
    ) -> Attendance:
        """The run in a folder at its last checkpoint, with the options `given` changed where that can be.

        The data are read again from where they came, or from `source`, or are `data`. Raises FastLSTMError,
        with nothing touched, if they are others than the run began with and for whatever else does not fit. Any
        number of ranks may go on with it, of which the first alone needs the folder and returns a Run.
        """
        folder = Path(path)
        taken = ranks.on_first(_taken, folder)
        stored = ranks.tell(taken and taken[1:]) or ({}, {})
        try:
            session, origin = _session(folder, stored, given or {}, source, data, ranks)
            if taken is None:
                return Attendance(session, folder)
            sweep(folder)
            run = cls(folder, session, origin, taken[0])
            run._furnish()
        except BaseException:
            if taken is not None:
                taken[0].close()
            raise
        return run

    def close(self) -> None:
        """Let go of the folder."""
        self._lock.close()

    def follow(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Record]:
        """Train, writing what is due before a record is handed on; `stop` is asked after every step.

        Raises Diverged, saying which model is left, with no file touched by the bad state; FastLSTMError, saying how to
        go on, where the disk takes nothing more.
        """
        session = self.session
        try:
            yield from self._steps(stop)
            if not session.position.best_step:
                self._keep()
            self.checkpoint()
            self.describe()
            self._draw()
        except Diverged as error:
            self._write_model()
            best = session.position.best_step
            kept = f"the model of step {best:,}" if best else "no model"
            raise Diverged(
                f"{error}; {self.folder} has {kept} and a checkpoint of step {self._step:,}"
            ) from None
        except OSError as error:
            raise FastLSTMError(
                f"{error.filename or self.folder}: {error.strerror or error}; {self.folder} is whole as of step "
                f"{self._step:,}: see to it, and go on with: {resuming(self.folder)}"
            ) from None

    @property
    def curves(self) -> Path | None:
        """The picture of how the training went, if it has been drawn."""
        return path if (path := self.folder / CURVES).is_file() else None

    def _draw(self) -> None:
        """Draw the curves where matplotlib is installed and there is a point to draw."""
        rows = (self.folder / METRICS).read_bytes().count(b"\n") - 1
        if rows and find_spec("matplotlib"):
            from fastlstm.training.plots import draw_runs

            draw_runs([self.folder], self.folder / CURVES)

    def _steps(self, stop: Callable[[], bool]) -> Iterator[Record]:
        path = self.folder / METRICS
        try:
            with open(path, "a", encoding="utf-8", newline="") as metrics:
                for record in train(self.session):
                    if record.best:
                        self._keep()
                    if record.train is not None:
                        metrics.write(_row(record))
                        metrics.flush()
                    if self.session.ranks.ask("save", self._due(record)):
                        self._checkpoint_in_between()
                    yield record
                    if self.session.ranks.ask("stop", stop()):
                        break
        except OSError as error:
            error.filename = error.filename or os.fspath(path)
            raise

    def _checkpoint_in_between(self) -> None:
        """One that may be left out: there will be another."""
        try:
            self.checkpoint()
        except InUse as error:
            warnings.warn(f"{error}; training goes on", stacklevel=2)
            self._saved = monotonic()

    def checkpoint(self) -> None:
        """Write the best model, if it is a newer one than on disk, and the state to go on from."""
        session, facts = self.session, self._facts()
        arrays, position = session.snapshot()  # first of all: the other ranks wait for it
        self._write_model()
        data = {"source": self.source, "digest": session.feed.data.digest(), **self._files}
        facts |= {**position, "data": data, "options": session.options.as_dict()}
        facts |= {"from": session.start} if session.start else {}
        save_arrays(self.folder / CHECKPOINT, arrays, facts)
        self._saved, self._step = monotonic(), session.position.step

    def describe(self) -> None:
        """Write config.json."""
        s, data, best = self.session, self.session.feed.data, self.session.position.best
        config = {
            "fastlstm": __version__,
            "data": self.source or "embedded names",
            "kind": s.kind,
            "vocabulary": "".join(s.vocabulary.characters),
            "parameters": s.size,
            "steps_per_epoch": s.feed.steps_per_epoch,
            "total_steps": s.total,
            "command": s.options.command(self.source, len(data), s.total, data.typical, s.start),
            "options": s.options.as_dict(),
            "steps_done": s.position.step,
            "best_step": s.position.best_step,
            "best_validation": best and {**best._asdict(), "perplexity": best.perplexity},
        }
        text = json.dumps(config, indent=1, ensure_ascii=False) + "\n"
        write_atomically(self.folder / CONFIG, text.encode("utf-8", "surrogatepass"))

    def _furnish(self) -> None:
        """Bring the files beside model and checkpoint in line with where the session is."""
        cut(self.folder / METRICS, self.session.position.step)
        feed = self.session.feed
        if isinstance(feed, NameFeed) and self.session.options.index:
            write_index(self.folder, NameIndex.of(feed.train, feed.held_out, feed.conditions))
        self.describe()

    def _keep(self) -> None:
        """Remember the present parameters as the model to be written, with what the file will say of them.

        Nothing is said that could differ between two runs of the same seed.
        """
        p = self.session.position
        extra = {"fastlstm": __version__, "step": p.step, "validation": p.best and p.best._asdict()}
        self._best = self.session.network.parameters.copy(), extra

    def _write_model(self) -> None:
        if self._best is not None:
            parameters, extra = self._best
            save_arrays(self.folder / MODEL, dict(parameters.items()), {**self._facts(), "extra": extra})
            self._best = None

    def _facts(self) -> dict[str, Any]:
        s = self.session
        return model_facts(s.network, s.vocabulary, s.kind, s.preprocessing)

    def _due(self, record: Record) -> bool:
        """Whether a checkpoint is: by steps, by time, and for the first model."""
        o = self.session.options
        if o.checkpoint_every and record.step % o.checkpoint_every == 0:
            return True
        if record.best and not (self.folder / MODEL).exists():
            return True
        return monotonic() - self._saved > o.checkpoint_seconds


def _taken(folder: Path) -> tuple[IO[str], dict[str, np.ndarray], dict[str, Any]]:
    """The lock on a run that there is, and its checkpoint's arrays and facts."""
    if not (folder / CHECKPOINT).is_file():
        raise FastLSTMError(f"{folder} holds no {CHECKPOINT}, so no run to go on with; {starting(folder)}")
    held = lock(folder)
    try:
        return held, *load_arrays(folder / CHECKPOINT)
    except BaseException:
        held.close()
        raise


def _row(record: Record) -> str:
    """A line of metrics.csv."""
    exact = {"step": "d", "characters_per_second": ".0f", "seconds": ".2f"}
    cells = row(record).items()
    return ",".join("" if x is None else format(x, exact.get(name, ".6g")) for name, x in cells) + "\n"


def _session(
    folder: Path,
    taken: tuple[dict[str, np.ndarray], dict[str, Any]],
    given: Mapping[str, Any],
    source: Origin,
    data: Names | Text | None,
    ranks: Ranks,
) -> tuple[Session, Origin]:
    """The session of a run's checkpoint, and where its data come from."""
    stored = checkpoint_of(folder / CHECKPOINT, *taken)
    options, origin = stored.options.changed(given), stored.source
    if data is None:
        if origin == "-" and source is None:
            raise FastLSTMError(f"the data of {folder} did not come from a file; give them again to go on")
        origin = origin if source is None else absolute(source)
        data = ranks.open(origin, keep=ids_file(origin, options, folder), **options.reading)
        origin = origin if origin in (None, "-") else one_or_all(data.files)
    if not data.is_of(stored.digest):
        raise FastLSTMError(
            f"{data.source}: this is not what {folder} was trained on: changed since, or other data"
            f"{differing(stored.files, data.files)}; {starting(folder)}"
        )
    lengthened = (options.epochs, options.steps) != (stored.options.epochs, stored.options.steps)
    total, step = None if lengthened else stored.total, stored.position.step
    session = Session(data, options, stored.start, total, ranks)
    if session.total < step:
        raise FastLSTMError(f"{folder} has done {step:,} steps already, and {session.total:,} are asked for")
    session.restore(stored.path, stored.arrays, stored.position)
    if lengthened:
        session.position.stopped = False
    if (folder / MODEL).is_file():
        model = load_model(folder)
        if (model.network.architecture, model.vocabulary) != stored.model:
            raise FastLSTMError(f"{folder}: {MODEL} and {CHECKPOINT} are of different models; move one away")
    return session, origin
