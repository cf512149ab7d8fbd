"""Every option of a training run, once: its name, default, range and help, for Python and the command line.

`fastlstm train --hidden 128` and `CharLM(hidden=128)` both end up here. Where the default depends on the data
it is None here and `Options.resolve` fills it in from `defaults`, so that a run's stored options are complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from fastlstm.data.lists import LONGEST
from fastlstm.engine.cores import MOST_THREADS
from fastlstm.errors import FastLSTMError, check_keywords, printable, typed
from fastlstm.network.limits import DEEPEST, LARGEST_BIAS, WIDEST
from fastlstm.training.defaults import LENGTHS, defaults_for
from fastlstm.training.schedules import KINDS
from fastlstm.training.values import checked, one_or_several, several, whole_or_share

PRECISIONS = ("float32", "float64", "bf16")
Origin = str | tuple[str, ...] | None  # where data came from: a path, several, None for the embedded names
READING = ("kind", "column", "header", "delimiter", "encoding", "lowercase", "limit", "longest", "weight",
           "given")  # fmt: skip


def _option(default: Any, section: str, convert: Callable[[Any], Any], text: str, **limits: Any) -> Any:
    """A field with what the command line and the checks need: `low`, `high`, `above`, `below`, `choices`, `late`.

    `late` marks what may be changed when a run is resumed, `before` is the value of runs older than the option.
    """
    return field(default=default, metadata={"section": section, "convert": convert, "help": text, **limits})


@dataclass(frozen=True)
class Options:
    """What to read, which network, how to train it; each field's metadata holds its help and its range."""

    kind: str | None = _option(
        None,
        "Data",
        str,
        "What DATA is: names, other short texts (lines), or one long text.",
        choices=("names", "lines", "text"),
    )
    column: str | tuple[str, ...] | None = _option(
        None,
        "Data",
        one_or_several,
        "Column of the names: header, JSON key or number from 1; several are joined.",
    )
    header: bool | None = _option(None, "Data", bool, "Whether a table's first row is its header.  [guessed]")
    delimiter: str | None = _option(None, "Data", str, "What separates the columns.  [guessed]")
    encoding: str = _option("utf-8", "Data", str, "Encoding of the file.")
    lowercase: bool | None = _option(None, "Data", bool, "Turn the data, and every prefix, to lower case.")
    limit: int | None = _option(None, "Data", int, "Read only the first so many rows.", low=1)
    longest: int | None = _option(
        None, "Data", int, f"Most characters of a name or line; a longer one is refused.  [{LONGEST}]", low=1
    )
    weight: str | None = _option(None, "Data", str, "Column of counts: names are drawn in proportion.")
    given: tuple[str, ...] | None = _option(
        None,
        "Data",
        several,
        "Column that steers what is drawn later, NUMBERS:WIDTH in bins; may be repeated.",
    )
    characters: int | None = _option(
        None, "Data", int, "Text: keep the most frequent so many characters, one stands for the rest.", low=2
    )
    validation: int | float = _option(
        0.1,
        "Data",
        whole_or_share,
        "Held out: a share, or a whole number of distinct names or of a text's last characters.",
        low=0,
    )

    hidden: int | None = _option(None, "Model", int, "Hidden units of a layer.", low=1, high=WIDEST)
    embedding: int | None = _option(
        None, "Model", int, "Size of a character's embedding; 0 for one-hot input.", low=0, high=WIDEST
    )
    layers: int = _option(1, "Model", int, "LSTM layers, one upon the other.", low=1, high=DEEPEST)
    dropout: float | None = _option(
        None, "Model", float, "Share of each layer's outputs dropped.", low=0, below=1
    )
    embedding_dropout: float | None = _option(
        None, "Model", float, "Share of the embedding dropped.", low=0, below=1, before=0.0
    )
    tied: bool = _option(
        False, "Model", bool, "Use the embedding as the output matrix too (embedding = hidden)."
    )
    learned_state: bool = _option(
        False, "Model", bool, "Learn the initial state instead of starting from zero."
    )
    forget_bias: float = _option(
        1.0, "Model", float, "What the forget gates' biases start from.", low=-LARGEST_BIAS, high=LARGEST_BIAS
    )
    dtype: str = _option("float32", "Model", str, "Of the weights.", choices=("float32", "float64"))

    open_share: float = _option(
        0.1, "Training", float, "Share of the given values left open, so that this is learnt.", low=0, below=1
    )
    contrast: float | None = _option(
        None, "Training", float, "Weight of telling given values from others.", low=0, before=0.0
    )
    epochs: int | None = _option(
        None, "Training", int, "Train for so many passes over the data.", low=1, late=True
    )
    steps: int | None = _option(None, "Training", int, "Or for so many updates.", low=1, late=True)
    minutes: float | None = _option(
        None,
        "Training",
        float,
        "Or for so long; it becomes a number of steps once, and sizes fit for the time.",
        above=0,
        high=10**7,
    )
    batch_size: int | None = _option(
        None, "Training", int, "Names or lines in a batch, or streams of a text.", low=1
    )
    window: int = _option(
        48, "Training", int, "Text: characters of a stream in a step (truncated BPTT).", low=1
    )
    restarts: float = _option(
        0.1,
        "Training",
        float,
        "Text: share of a stream's windows before which it forgets, as every reading begins.",
        low=0,
        high=1,
        before=0.0,
    )
    optimizer: str = _option("adamw", "Training", str, "Optimiser.", choices=("sgd", "adam", "adamw"))
    lr: float | None = _option(
        None, "Training", float, "Highest learning rate; less beyond 256 units.", above=0, late=True
    )
    schedule: str = _option("onecycle", "Training", str, "How the learning rate changes.", choices=KINDS)
    warmup: float | None = _option(
        None, "Training", float, "Share of the run of rising rates.  [onecycle 0.3, others 0]", low=0, below=1
    )
    final: float | None = _option(
        None,
        "Training",
        float,
        "Last rate, as a share of the highest.  [onecycle 4e-6, exponential 0.01, others 0]",
        low=0,
    )
    decay: float = _option(0.5, "Training", float, "Schedule step: the factor of each drop.", above=0)
    decay_every: int = _option(5, "Training", int, "Schedule step: epochs between drops.", low=1)
    momentum: float = _option(0.0, "Training", float, "Momentum of sgd.", low=0, below=1)
    beta1: float = _option(0.9, "Training", float, "Adam's memory of gradients.", low=0, below=1)
    beta2: float = _option(0.999, "Training", float, "Adam's memory of their squares.", low=0, below=1)
    weight_decay: float | None = _option(
        None, "Training", float, "Decoupled decay of weight matrices; of adamw alone.", low=0
    )
    average: float = _option(
        0.05,
        "Training",
        float,
        "Share of the steps so far whose mean weights are the model; 0: the last ones.",
        low=0,
        below=1,
        before=0.0,
    )
    clip_norm: float = _option(
        1.0, "Training", float, "Largest norm of all gradients; 0: any.", low=0, late=True
    )
    clip_value: float = _option(0.0, "Training", float, "Largest single gradient; 0: any.", low=0, late=True)
    validate_every: int | None = _option(
        None, "Training", int, "Steps between validations.  [an epoch]", low=1
    )
    patience: int | None = _option(
        None,
        "Training",
        int,
        "Stop after so many validations without a better one; 0: never.  [a quarter of the run's]",
        low=0,
        late=True,
        before=0,
    )
    seed: int = _option(
        0, "Training", int, "Seed of weights, split, order and dropout.", low=0, high=2**64 - 1
    )
    precision: str | None = _option(
        None, "Training", str, "Of large products; bf16 is fast.  [as dtype]", choices=PRECISIONS, late=True
    )
    threads: int | None = _option(
        None,
        "Training",
        int,
        "The results do not depend on them.  [all cores]",
        low=1,
        high=MOST_THREADS,
        late=True,
    )

    index: bool = _option(True, "Run", bool, "Keep the training names in the run, for `sample --novel`.")
    samples: int = _option(0, "Run", int, "Show so many samples after each validation.", low=0, late=True)
    log_every: int = _option(
        1000,
        "Run",
        int,
        "Steps between rows of metrics.csv where validations are further apart.",
        low=1,
        late=True,
    )
    cache: str | None = _option(
        None, "Run", str, "Folder for the ids of a text larger than memory.  [the run's]", late=True
    )
    checkpoint_every: int = _option(
        0, "Run", int, "Steps between checkpoints, beside those by time.", low=0, late=True
    )
    checkpoint_seconds: float = _option(
        60.0, "Run", float, "Most seconds between checkpoints.", above=0, late=True
    )

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            object.__setattr__(
                self, option.name, checked(option.name, value, option.default, option.metadata)
            )
        lengths = [name for name in LENGTHS if getattr(self, name) is not None]
        if len(lengths) > 1:
            raise FastLSTMError(f"{' and '.join(lengths)} are given together; choose one")

    @classmethod
    def of(cls, keywords: Mapping[str, Any]) -> Options:
        """The options of some keywords; TypeError for an unknown one, with what may have been meant."""
        check_keywords(keywords, [option.name for option in fields(cls)])
        return cls(**keywords)

    @property
    def reading(self) -> dict[str, Any]:
        """The options that say how a file is read."""
        return {name: getattr(self, name) for name in READING}

    def resolve(
        self, kind: str, size: int, typical: float = 1.0, further: bool = False, rows: int | None = None
    ) -> Options:
        """These options with every default that depends on data, optimiser or time filled in: see `defaults_for`."""
        defaults = defaults_for(kind, size, typical, self.as_dict(), further, rows)
        unset = {name: value for name, value in defaults.items() if getattr(self, name) is None}
        return replace(self, kind=kind, **unset)

    def changed(self, given: Mapping[str, Any]) -> Options:
        """These options, stored in a run, with those `given` when it is resumed.

        Raises FastLSTMError naming the first one that a resumed run cannot honour.
        """
        late = {option.name for option in fields(self) if option.metadata.get("late")}
        changes = {name: value for name, value in given.items() if value != getattr(self, name)}
        for name, value in changes.items():
            if name not in late:
                mine = getattr(self, name)
                raise FastLSTMError(
                    f"{name} is {'not set' if mine is None else mine} in this run and cannot become {printable(value, 40)} now; "
                    f"a resumed run may change {', '.join(sorted(late))}"
                )
        if "epochs" in changes or "steps" in changes:
            changes = {**dict.fromkeys(LENGTHS), **changes}
        return replace(self, **changes)

    def command(
        self, source: Origin, size: int, total: int, typical: float = 1.0, start: str | None = None
    ) -> str:
        """The command line that repeats a run of `total` steps on data from `source`, begun with the model `start`."""
        assert self.kind
        mine = replace(self, epochs=None, minutes=None, steps=total)
        plain = Options(steps=total).resolve(self.kind, size, typical, start is not None).as_dict()
        plain |= {"steps": None, "kind": None}
        files = [source] if isinstance(source, str) else source or ()
        words = ["fastlstm", "train", *files, *(["--as", self.kind] if files else [])]
        words += ["--from", start] if start else []
        for name, value in mine.as_dict().items():
            if value == plain[name] or name == "kind":
                continue
            for one in value if isinstance(value, tuple) else [value]:
                words += [flag(name, one), *([] if isinstance(one, bool) else [str(one)])]
        return typed(*words)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Options:
        """The options of a stored run; what it does not name is as it was before there was such an option."""
        before = {option.name: option.metadata.get("before", option.default) for option in fields(cls)}
        return cls(**{name: stored.get(name, value) for name, value in before.items()})


def flag(name: str, value: Any = True) -> str:
    """An option as the command line spells it: dashes, and --no- where a switch is off."""
    spelled = "as" if name == "kind" else name.replace("_", "-")
    return f"--no-{spelled}" if value is False else f"--{spelled}"
