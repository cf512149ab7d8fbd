"""The training loop: `train` yields a record of every step, and never prints or writes.

Whoever consumes the records may stop at any of them: between two records a `Session` is whole, and what its
`snapshot` holds is enough to go on and end with the same bytes as if there had been no interruption.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from fastlstm.data.feeds import NameFeed, TextFeed, make_feed
from fastlstm.data.names import Names
from fastlstm.data.texts import Text
from fastlstm.errors import FastLSTMError
from fastlstm.network.architecture import State
from fastlstm.network.model import Metrics
from fastlstm.training.budget import dropout_key, patience, planned
from fastlstm.training.building import make_network, make_optimizer, make_schedule
from fastlstm.training.carrying import after, before
from fastlstm.training.evaluation import Scores, Tally, evaluate_held_out
from fastlstm.training.model_file import check_arrays
from fastlstm.training.options import Options
from fastlstm.training.ranks import ALONE, Agreed, Ranks
from fastlstm.training.starting import NOISE, Start

PARAMETERS = "parameters."  # how the names of a snapshot's parameters begin
AVERAGE = "average."  # and those of their running mean
SMOOTHING = 0.02  # weight of the newest batch in the smoothed loss


class Diverged(Agreed):
    """The loss or the gradients are no longer finite, or the loss has exploded."""


class Record(NamedTuple):
    """One training step; at a validation, or where a row of metrics.csv is due, also what it has led to."""

    step: int  # updates done, of `total`
    total: int
    epoch: float  # passes over the data done
    loss: float  # of this batch, nats a character
    smoothed: float  # its running mean
    norm: float  # of all gradients, before clipping
    rate: float
    characters: int  # in this batch
    seconds: float  # of training so far, validations included
    train: Scores | None = None  # means since the last validation
    validation: Scores | None = None
    best: bool = False  # the parameters are the best so far and are to be kept
    characters_per_second: float = 0.0  # of training, since the last validation


@dataclass
class Position:
    """Where a run is: all of its memory beside parameters, moments and the streams' state."""

    step: int = 0
    epoch: int = 0
    batch: int = 0  # of the epoch, the next one
    smoothed: float = 0.0
    ceiling: float = 0.0  # a smoothed loss above this has exploded
    steps: int = 0  # and sums since the last validation
    loss: float = 0.0
    correct: int = 0
    count: int = 0
    training_seconds: float = 0.0
    seconds: float = 0.0
    best_step: int = 0
    best: Scores | None = None
    worse: int = 0  # validations since the best one
    stopped: bool = False


class Session:
    """A run in memory: data, network, optimiser and position, all that it takes to go on.

    It can be sampled from while it trains: `network`, `vocabulary`, `kind` and `preprocessing` are a model's. Where the
    weights are averaged that network has their running mean, and `learner` those that are trained; else both are one.
    What `options` leave open is filled in by the kind and the size of the data. What there is to `start` with is kept.
    `total` is the number of updates; without it the options decide.
    Several `ranks` each have a session on their part of every batch, of which all that is said holds alike.
    """

    def __init__(
        self,
        data: Names | Text,
        options: Options,
        start: Start | None = None,
        total: int | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.ranks = ranks
        network, self.start = (start.network, start.where) if start else (None, None)
        if ranks.part.of > 1:  # their CPUs may differ
            options = replace(options, precision=options.precision or options.dtype)
        if network is not None:
            options = replace(options, **{name: getattr(network.architecture, name) for name in NOISE})
        resolve = partial(options.resolve, data.kind, len(data), data.typical, network is not None)
        o = resolve()
        self.feed = make_feed(
            data,
            start and start.vocabulary,
            o.batch_size or 1,
            o.validation,
            o.seed,
            o.window,
            o.restarts,
            o.characters,
            start and start.conditions,
            o.open_share,
            ranks.part,
            o.contrast or 0.0,
        )
        o, self.total = (o, total) if total else planned(self.feed, resolve, ranks)
        self.options = o
        self.kind, self.vocabulary = data.kind, self.feed.vocabulary
        self.preprocessing: dict[str, Any] = {"lowercase": data.lowercase}
        if isinstance(self.feed, NameFeed) and data.kind == "lines":
            self.preprocessing["longest"] = max(map(len, self.feed.train.distinct))
        if self.feed.conditions:
            self.preprocessing["given"] = [condition.as_dict() for condition in self.feed.conditions]
        self.network = network or make_network(o, self.vocabulary, self.feed.conditions, ranks.threads)
        self.network.precision = o.precision or o.dtype
        self.network.threads = o.threads or ranks.threads or self.network.threads
        self.learner = deepcopy(self.network) if o.average else self.network
        self.optimizer = make_optimizer(o, self.learner, self.network.parameters)
        self.position = Position()
        self.state: State | None = None
        self.schedule = make_schedule(o, self.feed.steps_per_epoch, self.total)

    @property
    def size(self) -> int:
        """The number of the network's parameters."""
        return sum(view.size for _, view in self.network.parameters.items())

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.position.stopped or self.position.step >= self.total

    @property
    def dropout_key(self) -> int | None:
        """A number of the next step's own, by seed and step; None where nothing is dropped."""
        return dropout_key(self.options, self.position.step)

    def advance(self, metrics: Metrics, state: State | None, rate: float) -> None:
        """Move the position past one step. Raises Diverged."""
        p = self.position
        p.step += 1
        p.batch += 1
        self.state = state
        if not (math.isfinite(metrics.loss) and math.isfinite(metrics.norm)):
            what = "the loss" if not math.isfinite(metrics.loss) else "the gradient's norm"
            value = metrics.loss if not math.isfinite(metrics.loss) else metrics.norm
            raise self.diverged(f"{what} became {value}", rate)
        if p.step == 1:
            p.smoothed = metrics.loss
            p.ceiling = 2 * max(metrics.loss, math.log(self.vocabulary.size)) + 1
        p.smoothed += SMOOTHING * (metrics.loss - p.smoothed)
        if p.smoothed > p.ceiling:
            raise self.diverged(f"the loss exploded to {metrics.loss:.3g} nats a character", rate)
        p.steps += 1
        p.loss += metrics.loss * metrics.count
        p.correct += metrics.correct
        p.count += metrics.count
        if p.batch == self.feed.steps_per_epoch:
            p.epoch, p.batch, self.state = p.epoch + 1, 0, None

    def diverged(self, found: str, rate: float) -> Diverged:
        """The error that says where it happened and what may help."""
        p, o = self.position, self.options
        return Diverged(
            f"{found} at step {p.step:,} of {self.total:,} (epoch {p.epoch + 1}, learning rate {rate:.3g}); "
            f"train again with a lower lr (it is {o.lr:g}) or clip_norm (it is {o.clip_norm:g}, 0 is none)"
        )

    def record(self, metrics: Metrics, rate: float) -> Record:
        """The record of the step just done, before what it may have led to."""
        p, m = self.position, metrics
        epoch = p.step / self.feed.steps_per_epoch
        return Record(p.step, self.total, epoch, m.loss, p.smoothed, m.norm, rate, m.count, p.seconds)

    def report(self, record: Record) -> Record:
        """`record` with the means since the last validation and, where one is due, the validation."""
        p, o = self.position, self.options
        due = p.step % o.validate_every == 0 if o.validate_every else p.batch == 0
        due = due or p.step == self.total
        if not due and p.steps % o.log_every:
            return record
        record = record._replace(
            train=Tally(p.loss, p.correct, p.count).scores,
            characters_per_second=p.count / max(p.training_seconds, 1e-9),
        )
        return self.validate(record) if due else record

    def validate(self, record: Record) -> Record:
        """`record` with the scores of what is held out. Raises Diverged if they are not finite."""
        p = self.position
        started = perf_counter()
        self.ranks.compare_arrays(f"the parameters after step {p.step:,}", self.network.parameters.flat)
        scores = evaluate_held_out(self.network, self.feed, None, self.ranks)
        if scores is not None and not math.isfinite(scores.loss):
            raise self.diverged(f"the validation loss became {scores.loss}", record.rate)
        best = scores is None or p.best is None or scores.loss < p.best.loss
        if best:
            p.best_step, p.best, p.worse = p.step, scores, 0
        else:
            p.worse += 1
            p.stopped = 0 < patience(self.feed, self.options, self.total) <= p.worse
        p.steps, p.loss, p.correct, p.count, p.training_seconds = 0, 0.0, 0, 0, 0.0
        p.seconds += perf_counter() - started
        return record._replace(validation=scores, best=best, seconds=p.seconds)

    def snapshot(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The arrays and the JSON-able facts from which `restore` goes on; the arrays are views.

        All ranks call it at the same step; the first one's is whole.
        """
        parts = {PARAMETERS: self.learner.parameters}
        parts |= {AVERAGE: average} if (average := self.optimizer.average) else {}
        parts |= {f"{name}.": moments for name, moments in self.optimizer.moments.items()}
        arrays = {part + name: view for part, buffer in parts.items() for name, view in buffer.items()}
        if self.state is not None:
            arrays |= {
                f"state.{name}": self.ranks.gather(array)
                for name, array in zip("hc", self.state, strict=True)
            }
        return arrays, {"position": asdict(self.position), "total_steps": self.total}

    def restore(self, path: Any, arrays: Mapping[str, np.ndarray], position: Position) -> None:
        """Take over a snapshot; FastLSTMError, with nothing changed, if it is another model's or damaged."""
        try:
            self._check(position)
        except FastLSTMError as error:
            raise FastLSTMError(f"{path}: its position is damaged: {error}") from None
        mine, _ = self.snapshot()
        shapes = {name: array.shape for name, array in mine.items()}
        if self.feed.carried and position.batch:
            a = self.network.architecture
            shapes["state.h"] = shapes["state.c"] = (a.layers, self.options.batch_size or 0, a.hidden)
        check_arrays(path, arrays, shapes, self.network.architecture.dtype)
        for name, view in mine.items():
            view[...] = arrays[name]
        self.state = None
        if isinstance(self.feed, TextFeed) and "state.h" in arrays:
            self.state = State(
                *(np.ascontiguousarray(arrays[f"state.{name}"][:, self.feed.streams]) for name in "hc")
            )
        self.position = position
        self.optimizer.steps = position.step

    def _check(self, position: Position) -> None:
        """Raise FastLSTMError for a position that this run cannot have come to."""
        p, an_epoch = position, self.feed.steps_per_epoch
        for name in ("step", "steps", "correct", "count", "best_step", "worse"):
            if not 0 <= getattr(p, name) <= max(p.step, p.count):
                raise FastLSTMError(f"{name} is {getattr(p, name)}")
        if (p.epoch, p.batch) != divmod(p.step, an_epoch):
            raise FastLSTMError(
                f"step {p.step} is not batch {p.batch} of epoch {p.epoch}, where epochs have {an_epoch} steps"
            )


def train(session: Session) -> Iterator[Record]:
    """Train until the session is finished, yielding a `Record` after every step.

    Raises Diverged when a loss or a gradient is not finite or the loss explodes; the weights may be bad then.
    """
    s, p = session, session.position
    while not s.finished:
        mark = perf_counter()
        for batch in s.feed.batches(p.epoch, p.batch):
            rate = s.schedule.rate(p.step)
            metrics, state = s.learner.step(
                batch.ids, batch.targets, s.optimizer, rate, batch.lengths, before(batch, s.state), s.dropout_key,
                s.feed.carried, batch.given, share=batch.share, exchange=s.ranks.exchange, rest=batch.rest,
                fresh=None if s.state is None else batch.fresh, contrast=batch.contrast,
            )  # fmt: skip
            s.advance(metrics, after(batch, s.state, state), rate)
            elapsed = perf_counter() - mark
            p.training_seconds += elapsed
            p.seconds += elapsed
            yield s.report(s.record(metrics, rate))
            if s.finished:
                return
            mark = perf_counter()
