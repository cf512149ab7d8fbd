"""From options to what they describe: the data, their feed, the network, its optimiser and its schedule."""

from __future__ import annotations

import os
from dataclasses import fields
from hashlib import blake2b
from pathlib import Path
from typing import Any

from fastlstm.data.feeds import Feed, NameFeed, TextFeed
from fastlstm.data.names import Names, embedded_names, read_names
from fastlstm.data.opening import decide_kind
from fastlstm.data.texts import Text, read_text
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.errors import FastLSTMError
from fastlstm.network.architecture import Architecture
from fastlstm.network.model import Network
from fastlstm.network.optim import Optimizer, OptimizerConfig
from fastlstm.training.folders import IDS
from fastlstm.training.options import Options
from fastlstm.training.schedules import Schedule


def open_data(
    path: str | os.PathLike[str] | None, options: Options, folder: Path | None = None
) -> Names | Text:
    """Read a file (None: the embedded names, "-": standard input) as `options` say; `folder` is the run's."""
    if path is None and options.kind == "text":
        raise FastLSTMError("the data that come with fastlstm are names; give a file to train on text")
    kind = "names" if path is None else decide_kind(path, options.kind)
    lowercase = (kind == "names") if options.lowercase is None else options.lowercase
    if path is not None and kind == "text":
        for name in ("column", "weight", "limit", "delimiter"):
            if getattr(options, name) is not None:
                raise FastLSTMError(
                    f"{name} is for names, and {path} is read as text; say that it holds names (--as names)"
                )
        return read_text(path, options.encoding, lowercase, _ids_file(path, options, folder))
    if options.characters is not None:
        raise FastLSTMError("characters limits a text's vocabulary; these data are names")
    if path is None:
        return embedded_names(lowercase=lowercase, limit=options.limit, weight=options.weight)
    return read_names(
        path,
        options.column,
        options.header,
        lowercase,
        options.encoding,
        options.limit,
        options.weight,
        options.delimiter,
    )


def _ids_file(path: str | os.PathLike[str], options: Options, folder: Path | None) -> Path | None:
    """Where a text's ids are kept if they are too large for memory."""
    if options.cache is None:
        return folder and folder / IDS
    which = blake2b(f"{os.path.abspath(path)} {options.encoding} {options.lowercase}".encode(), digest_size=4)
    try:
        os.makedirs(options.cache, exist_ok=True)
    except OSError as error:
        raise FastLSTMError(
            f"the cache {options.cache} cannot be made ({error.strerror}); name another folder"
        ) from None
    return Path(options.cache, f"{Path(path).stem}-{which.hexdigest()}.ids")


def make_feed(data: Names | Text, options: Options, vocabulary: Vocabulary | None = None) -> Feed:
    """The feed for data of either kind; a given `vocabulary` is kept, and what it lacks is an error."""
    o = options
    assert o.batch_size
    if isinstance(data, Names):
        return NameFeed(data, o.batch_size, o.validation, o.seed, vocabulary)
    return TextFeed(data, o.batch_size, o.window, o.validation, vocabulary or data.vocabulary(o.characters))


def make_network(options: Options, vocabulary: Vocabulary) -> Network:
    """A network of these options with its initial weights."""
    sizes = {option.name for option in fields(Architecture)} - {"vocabulary", "conditions"}
    architecture = Architecture(vocabulary.size, **{name: getattr(options, name) for name in sizes})
    return Network(architecture, options.seed, options.threads)


def make_optimizer(options: Options, network: Network) -> Optimizer:
    """An optimiser for the parameters of `network`."""
    names = {option.name for option in fields(OptimizerConfig)} - {"kind", "epsilon"}
    config: dict[str, Any] = {name: getattr(options, name) for name in names}
    config["kind"] = options.optimizer
    return Optimizer(network.parameters, OptimizerConfig(**config))


def make_schedule(options: Options, steps_per_epoch: int, total: int) -> Schedule:
    """The learning rates, spread over `total` steps."""
    o = options
    every = o.decay_every * steps_per_epoch
    return Schedule(o.schedule, o.lr or 0.0, total, o.warmup, o.final, o.decay, every)
