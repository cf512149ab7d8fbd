"""What a run goes on from: all that its checkpoint says, checked as far as that can be done without its data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastlstm.data.given import Condition
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.errors import FastLSTMError
from fastlstm.network.architecture import Architecture
from fastlstm.training.model_file import fitting
from fastlstm.training.options import Options, Origin
from fastlstm.training.session import PARAMETERS, Position
from fastlstm.training.starting import Start
from fastlstm.training.stored import checked, fields_of, scores_of, section


class Checkpoint(NamedTuple):
    """A run between two steps."""

    path: Path
    arrays: dict[str, np.ndarray]
    model: tuple[Architecture, Vocabulary]
    options: Options
    digest: str  # of the data
    source: Origin  # where they came from, "-" for nowhere
    files: dict[str, str]  # of several, each with its fingerprint
    total: int  # steps
    position: Position
    start: Start  # its vocabulary and conditions, and where its weights came from


def checkpoint_of(path: Path, arrays: dict[str, np.ndarray], facts: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint with these arrays and facts, from the file `path`."""
    try:
        data = section(facts, "data")
        options = Options.from_dict(section(facts, "options"))
        digest = checked("digest", data.get("digest"), "str")
        source = checked("source", data.get("source"), "str | list | None")
        source = tuple(source) if isinstance(source, list) else source
        files = checked("files", data.get("files", {}), "object")
        total = checked("total_steps", facts.get("total_steps"), "int")
        where = checked("from", facts.get("from"), "str | None")
        position = Position(**fields_of(Position, section(facts, "position")))
        position.best = scores_of(position.best)
    except FastLSTMError as error:
        raise FastLSTMError(f"{path} is no checkpoint, or a damaged one: {error}") from None
    own = {name.removeprefix(PARAMETERS): a for name, a in arrays.items() if name.startswith(PARAMETERS)}
    model = fitting(path, own, facts)
    conditions = tuple(Condition(**stored) for stored in facts["preprocessing"].get("given", ()))
    start = Start(model[1], conditions, None, where)
    return Checkpoint(path, arrays, model, options, digest, source, files, total, position, start)
