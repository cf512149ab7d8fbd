"""`CharLM`: a character-level language model to train, sample, score and save from Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from fastlstm.data.batching import NameBatches
from fastlstm.data.feeds import NameFeed
from fastlstm.data.given import Condition, conditions_of, numbers_of
from fastlstm.data.names import Names
from fastlstm.data.novelty import NameIndex, keep_index, read_index
from fastlstm.data.opening import Data, as_data
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.errors import FastLSTMError, counted, printable
from fastlstm.generation import classification, sampling, stream
from fastlstm.interop.page.assemble import Page, build
from fastlstm.network.model import Network
from fastlstm.training.attendance import Attendance
from fastlstm.training.bars import Bar, wanted
from fastlstm.training.defaults import LENGTHS
from fastlstm.training.evaluation import Scores, evaluate_names, evaluate_text
from fastlstm.training.history import History
from fastlstm.training.keywords import Keywords, check, documented, explicit
from fastlstm.training.model_file import load_model, save_model
from fastlstm.training.options import Options
from fastlstm.training.ranks import Ranks
from fastlstm.training.runs import Run
from fastlstm.training.session import Record, Session, train
from fastlstm.training.starting import begin, keywords
from fastlstm.training.stored import scores_of

EVALUATION_BATCH = 256


@documented
class CharLM:
    """A names or text generator: embedding → LSTM layers → characters.

    The keywords are those that `fastlstm train --help` shows, and each of them may be given to `fit` too, which decides
    between names and text by what it is given. `network`, `vocabulary`, `kind` and `preprocessing` are there after `fit`
    or `load`; `index` holds the training names. Raises FastLSTMError for values out of range, TypeError for unknown
    keywords.

    >>> lm = CharLM(hidden=8, embedding=4, seed=1)
    >>> history = lm.fit(["anna", "hanna", "nan"], steps=20, validation=0)
    >>> len(lm.sample(3, seed=1)), history.steps
    (3, 20)
    """

    @explicit(defaults=True)
    def __init__(self, **options: Unpack[Keywords]) -> None:
        check(options)
        self._options: dict[str, Any] = {**options}
        self._network: Network | None = None
        self._vocabulary: Vocabulary | None = None
        self._trained: dict[str, Any] = {}  # as the `extra` of a model file has it
        self.kind = ""
        self.preprocessing: dict[str, Any] = {}
        self.index: NameIndex | None = None

    def __repr__(self) -> str:
        """The kind, the sizes, the vocabulary, how far it was trained and how well it did.

        >>> CharLM(hidden=8)
        <CharLM that has learned nothing yet: hidden=8>
        """
        if self._network is None:
            given = ", ".join(
                f"{name}={value!r}" for name, value in self._options.items() if value is not None
            )
            return f"<CharLM that has learned nothing yet{': ' if given else ''}{given}>"
        a, characters = self._network.architecture, printable("".join(self.vocabulary.characters), 40)
        facts = [f"CharLM of {self.kind}: {a.layers} × {counted(a.hidden, 'unit')}, embedding {a.embedding}"]
        facts += [f"{counted(len(self.vocabulary.characters), 'character')} ({characters})"]
        facts += [condition.describe() for condition in self.conditions]
        facts += [counted(self._trained["step"], "step")] if self._trained.get("step") else []
        scores = scores_of(self._trained.get("validation"))
        facts += [f"{scores.loss:.4f} nats a character on what was held out"] if scores else []
        return f"<{', '.join(facts)}>"

    @property
    def network(self) -> Network:
        """The network, its parameters under `network.parameters`."""
        if self._network is None:
            raise FastLSTMError("this CharLM has learned nothing yet: call fit, or CharLM.load")
        return self._network

    @property
    def vocabulary(self) -> Vocabulary:
        """The characters it knows."""
        if self._vocabulary is None:
            raise FastLSTMError("this CharLM has learned nothing yet: call fit, or CharLM.load")
        return self._vocabulary

    @explicit(defaults=False)
    def fit(
        self,
        data: Data,
        *,
        on_record: Callable[[Record], object] | None = None,
        out: str | os.PathLike[str] | None = None,
        comm: Any = None,
        progress: bool | None = None,
        **options: Unpack[Keywords],
    ) -> History:
        """Train on names (a list of strings or a `Names`), on lines, on a text (one string or a `Text`), or on files (paths).

        With kind="lines" a list of strings is lines. Files are read as by `fastlstm train`, where nothing else is to be said
        of them than their paths; `fl.read_names`, `fl.read_lines` and `fl.read_text` take the rest.

        The options are those of the constructor: epochs, steps or minutes; batch_size, lr, validation, …;
        given here they win. `on_record` sees the `Record` of every step, `progress` shows a bar of them, by default on a
        terminal and in a notebook. `out` names a folder for a run such as `fastlstm train` makes. `comm` is an mpi4py
        communicator, all of whose ranks call this with the same arguments; the first writes the run. It ends with the
        weights that were best on what was held out; after an error or Ctrl-C it has the last ones.

        A model that has been fitted or loaded goes on from its weights, as `fastlstm train --from` does: sizes are the
        model's, characters and conditions that the data have and it lacks are added, which the history's `notes` say, and
        the learning rate is lower by default. Raises FastLSTMError for unusable data, for what contradicts the model and
        for a loss that diverges.
        """
        check(options)
        ranks = Ranks(comm)
        session, notes = self._session(data, {**options}, ranks)
        self.kind, self.preprocessing = session.kind, session.preprocessing
        self._network, self._vocabulary = session.network, session.vocabulary
        feed = session.feed
        self.index = None
        if isinstance(feed, NameFeed) and session.options.index:
            self.index = NameIndex.of(feed.train, feed.held_out, feed.conditions)
        records: list[Record] = []
        best: np.ndarray | None = None
        run = None
        if out is not None:
            run = ranks.on_first(Run.create, session, "-", out) or Attendance(session, Path(out))
        with ExitStack() as held:
            if run:
                held.enter_context(run)
            bar = held.enter_context(Bar(session, leave=True)) if ranks.first and wanted(progress) else None
            held.callback(self._remember, session)
            for record in run.follow() if run else train(session):
                if record.best:
                    best = session.network.parameters.flat.copy()
                if record.train is not None:
                    records.append(record)
                if on_record is not None:
                    on_record(record)
                if bar is not None:
                    bar.show(record)
        p = session.position
        if best is not None:
            session.network.parameters.flat[:] = best
            self._remember(session, best=True)
        return History(records, p.step, p.best_step, p.best, notes)

    def _remember(self, session: Session, best: bool = False) -> None:
        """Of which step the weights are, the last or the best, and with it what they scored."""
        p = session.position
        scores = p.best and p.best._asdict() if best or p.step == p.best_step else None
        self._trained = {"step": p.best_step if best else p.step, "validation": scores}

    def _session(self, data: Data, given: dict[str, Any], ranks: Ranks) -> tuple[Session, tuple[str, ...]]:
        """A new session on `data`, with the present network if there is one, and what they brought that it lacked."""
        before = self._options
        if not given.keys().isdisjoint(LENGTHS):
            before = {name: value for name, value in before.items() if name not in LENGTHS}
        merged = {**before, **given}
        if self._network is not None:
            merged = {**before, **keywords(self, given, "this model")}
        options = Options.of(merged)
        read = as_data(data, options.lowercase, self.kind or options.kind)
        if read.kind != (self.kind or options.kind or read.kind):
            raise FastLSTMError(
                f"this model is one of {self.kind or options.kind} and cannot go on with {read.kind}"
            )
        ranks.compare("the data", read.digest())
        start = None if self._network is None else begin(self, read, options)
        return Session(read, options, start, ranks=ranks), start.notes if start else ()

    def evaluate(self, data: Data) -> Scores:
        """The loss (nats a character), perplexity, accuracy and bits_per_character of data of its kind.

        Names count as often as they occur; a text is read with the state carried through it. Raises
        FastLSTMError naming characters that the model does not know.
        """
        return evaluate_model(self, data)

    def sample(self, n: int = 20, **controls: Any) -> list[str]:
        """Draw `n` names or texts.

        The controls are those of `fastlstm.generation.sampling.generate`: prefix, given, temperature, top_k, top_p, novel,
        seed and others, for text also length.
        """
        return sampling.generate(self, n, **controls)

    def classify(self, names: Sequence[str], column: str) -> np.ndarray:
        """P(value | name), (N, values), of a condition by Bayes' rule; `conditions` has the values' order."""
        return classification.classify(self, names, column)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What can be given when sampling: each condition's title and values."""
        return conditions_of(self)

    def start(self, batch: int = 1, given: Mapping[str, Any] | None = None) -> stream.StreamState:
        """A state of `batch` sequences that have seen nothing, under `given` conditions, to be fed with `step`."""
        return stream.start(self, batch, numbers_of(self.conditions, given or {}))

    def step(self, state: stream.StreamState, ids: Any) -> np.ndarray:
        """Feed one character's id to each sequence; returns the logits (B, V) of the next."""
        return stream.step(state, ids)

    def page(
        self,
        title: str | None = None,
        history: History | None = None,
        half: bool = False,
        with_index: bool = False,
    ) -> Page:
        """The model as one web page, shown by a notebook; `.write("page.html")` makes a file to send.

        `history`, what `fit` returned, adds the curves; `half` halves the size; `with_index` lets the page tell new names
        from those of the training data, which it then contains. Raises FastLSTMError for what a page cannot hold.
        """
        if with_index and self.index is None:
            raise FastLSTMError("with_index needs the training names, and this model came without its index")
        metrics = history.to_dict() if history else None
        return build(self, title, metrics, self.index if with_index else None, half)

    def save(self, path: str | os.PathLike[str], index: bool = True) -> None:
        """Write the model as one safetensors file, replaced atomically.

        The training names, if it has them, go into a file beside it that ends in .index, for `load` and for
        `fastlstm sample --novel`; with `index=False` they stay out, and an older file of theirs is taken away.
        """
        save_model(path, self.network, self.vocabulary, self.kind, self.preprocessing, self._trained)
        keep_index(path, self.index if index else None)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], threads: int | None = None, precision: str | None = None
    ) -> CharLM:
        """A model from a `.safetensors` file or a run's folder, with the training names if they are there.

        The file does not say in which precision it was trained: it may be evaluated and trained further in any.
        """
        model = load_model(path)
        lm = cls(threads=threads, precision=precision)
        lm._network, lm._vocabulary = model.network, model.vocabulary
        lm._network.threads = threads
        lm._network.precision = precision or lm._network.precision
        lm.kind, lm.preprocessing = model.kind, model.preprocessing
        lm._trained = {name: model.extra[name] for name in ("step", "validation") if name in model.extra}
        lm.index = read_index(path)
        return lm


def evaluate_model(model: Any, data: Data) -> Scores:
    """The scores of data under anything with a network, vocabulary, kind and preprocessing."""
    network = model.network
    read = as_data(data, model.preprocessing.get("lowercase"), model.kind)
    if read.kind != model.kind:
        raise FastLSTMError(f"this model is one of {model.kind}, and {read.source} is {read.kind}")
    if isinstance(read, Names):
        return evaluate_names(
            network, NameBatches(read, model.vocabulary, EVALUATION_BATCH, conditions_of(model))
        )
    return evaluate_text(network, read.ids(model.vocabulary), begins=read.begins)
