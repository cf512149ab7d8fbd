"""What a session begins with instead of making it anew: a trained model's weights, vocabulary and conditions.

`--from RUN` and a second `CharLM.fit` come this way. The sizes of the layers are the model's; what new data have that it
lacks, characters and conditions, comes behind what it knows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from fastlstm.data.given import Condition, conditions_of, merged
from fastlstm.data.names import Names
from fastlstm.data.texts import Text
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.errors import FastLSTMError, counted, printable, quoted
from fastlstm.network.growing import grown
from fastlstm.network.model import Network
from fastlstm.training import model_file
from fastlstm.training.defaults import chosen_for
from fastlstm.training.options import Options
from fastlstm.training.ranks import Ranks

SIZES = ("hidden", "embedding", "layers", "tied", "learned_state", "forget_bias")  # that weights have decided
NOISE = (
    "dropout",
    "embedding_dropout",
)  # a model's own too, unless others are asked for or there are few data
SHOWN = 20  # characters in a line


class Start(NamedTuple):
    """A vocabulary and conditions to keep, and a network to go on with; `where` is the model that they come from."""

    vocabulary: Vocabulary
    conditions: tuple[Condition, ...]
    network: Network | None = None
    where: str | None = None
    notes: tuple[str, ...] = ()
    kind: str = ""

    def describe(self, called: str) -> str:
        """What the data have brought to the model, `called` so, in a line."""
        return f"from {called}, a model of {self.kind}: {', '.join(self.notes) or 'it knows all there is'}"


def read_model(path: str, ranks: Ranks) -> model_file.Model:
    """The model of a run's folder or a model file, on all ranks, of which the first alone needs it."""
    contents = ranks.tell(ranks.on_first(model_file.read_model, path))
    assert contents is not None
    return model_file.build_model(*contents)


def keywords(model: Any, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The options `given` for training a model further, with those that the model decides.

    Raises FastLSTMError, calling the model `where`, for one that contradicts it.
    """
    sizes = model.network.architecture.as_dict()
    own = {"kind": model.kind, "lowercase": model.preprocessing.get("lowercase")}
    own |= {name: sizes[name] for name in (*SIZES, "dtype")}
    given = {name: value for name, value in given.items() if value is not None or name not in own}
    if given.get("kind", model.kind) != model.kind:
        raise FastLSTMError(
            f"{where} is a model of {model.kind} and cannot go on with {given['kind']}: train a new one"
        )
    for name in SIZES:
        if given.get(name, own[name]) != own[name]:
            raise FastLSTMError(
                f"{name} is {own[name]} in {where} and cannot become {printable(given[name], 40)}: leave it out, or train "
                "a new model"
            )
    if given.get("characters") is not None:
        raise FastLSTMError(
            f"characters limits a new model's vocabulary, and {where} has its own: leave it out"
        )
    if given.get("given"):
        widths = {c.title.casefold(): f"{c.title}:{c.width:g}" for c in conditions_of(model) if c.width}
        given["given"] = tuple(widths.get(each.casefold(), each) for each in given["given"])
    return {**own, **given}


def begin(model: Any, data: Names | Text, options: Options, where: str | None = None) -> Start:
    """The beginning of a session on `data` with the weights of a model, whose network it takes over or makes larger.

    Raises FastLSTMError for conditions of the data that do not go with the model's.
    """
    known, notes = model.vocabulary, []
    characters = data.vocabulary().characters
    vocabulary = known.extended(characters)
    new = vocabulary.characters[len(known.characters) :]
    if new:
        shown = ", ".join(map(quoted, new[:SHOWN])) + (f" and {len(new) - SHOWN} more" if new[SHOWN:] else "")
        notes.append(f"{counted(len(new), 'new character')} ({shown}), which begin as the mean of the others")
    lost = set(characters).difference(vocabulary.characters)
    if lost:
        notes.append(
            f"{counted(len(lost), 'character')} that it does not know, read as {known.replacement!r}"
        )
    before, conditions = conditions_of(model), ()
    if isinstance(data, Names):
        conditions = merged(before, data.given, data.weights)
    for place, condition in enumerate(conditions):
        had = len(before[place].values) if place < len(before) else 0
        if more := condition.values[had:]:
            added = replace(condition, values=more, counts=(0.0,) * len(more)).describe()
            notes.append(f"{counted(len(more), 'new value')} of {added}" if had else f"given {added} too")
    network, given = model.network, options.as_dict()
    noise = {name: getattr(network.architecture, name) for name in NOISE}
    noise |= chosen_for(data.kind, len(data), given, further=True)
    noise |= {name: given[name] for name in NOISE if given[name] is not None}
    architecture = replace(
        network.architecture,
        vocabulary=vocabulary.size,
        conditions=tuple(1 + len(condition.values) for condition in conditions),
        dtype=options.dtype,
        **{name: noise[name] for name in NOISE},
    )
    if architecture != network.architecture:
        network = grown(network, architecture, int(vocabulary.boundary))
    return Start(vocabulary, conditions, network, where and os.path.abspath(where), tuple(notes), model.kind)
