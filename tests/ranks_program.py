"""What each rank of `test_ranks.py` runs: `mpiexec -n N python tests/ranks_program.py`; the first one prints JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from small_runs import SIZES, some_names, some_text

from fastlstm.data.names import Names
from fastlstm.data.texts import Text
from fastlstm.training.model_file import Model
from fastlstm.training.options import Options
from fastlstm.training.ranks import Ranks, world
from fastlstm.training.session import Session, train
from fastlstm.training.starting import Start, begin

COMMON: dict[str, Any] = {
    **SIZES,
    "dtype": "float64",
    "steps": 100,
    "window": 8,
    "log_every": 1,
    "lr": 0.01,
    "seed": 3,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "ragged names": {"kind": "names", "batch_size": 7},
    "names with dropout": {"kind": "names", "dropout": 0.3, "embedding_dropout": 0.2, "layers": 2, "learned_state": True},
    "fewer names than ranks": {"kind": "names", "batch_size": 2, "dropout": 0.2, "embedding": 0},
    "streams, carried": {"kind": "text", "batch_size": 5, "dropout": 0.2, "validation": 150, "restarts": 0.1},
    "fewer streams than ranks": {
        "kind": "text", "batch_size": 1, "hidden": 12, "learned_state": True, "restarts": 0.3, "average": 0.2,
    },
    "units shared by threads": {"kind": "names", "hidden": 256, "batch_size": 3, "steps": 5, "tied": True, "embedding": 256},
    "sgd, validation by steps": {"kind": "text", "optimizer": "sgd", "momentum": 0.9, "lr": 0.1, "validate_every": 9},
    "float32": {"kind": "names", "dtype": "float32"},
    "values told apart": {"kind": "names", "given": ("Sex",), "contrast": 2.0, "batch_size": 7},
    "from a model": {"kind": "names", "batch_size": 7, "embedding_dropout": 0.2},
}  # fmt: skip


def data_for(variant: str) -> Names | Text:
    """What a variant trains on."""
    if VARIANTS[variant]["kind"] == "text":
        return Text.from_string(some_text())
    names = some_names()
    sexes = {"Sex": ["F" if name < "l" else "M" for name in names]}
    return Names(names, given=sexes if "given" in VARIANTS[variant] else None)


def start_of(variant: str, data: Names | Text, options: Options) -> Start | None:
    """The model that a variant goes on with: one of other names, which lacks some of the characters."""
    if variant != "from a model":
        return None
    session = Session(Names(["anna", "hanna", "diana"]), replace(options, steps=5, validation=0))
    list(train(session))
    return begin(Model(session.network, session.vocabulary, "names", {}, {}), data, options)


def run(variant: str, ranks: Ranks) -> dict[str, Any]:
    """A variant's losses, validation losses and last parameters."""
    options, data = Options(**{**COMMON, **VARIANTS[variant]}), data_for(variant)
    session = Session(data, options, ranks=ranks, start=start_of(variant, data, options))
    records = list(train(session))
    return {
        "losses": [record.loss for record in records],
        "norms": [record.norm for record in records],
        "characters": [record.characters for record in records],
        "train": [record.train.accuracy for record in records if record.train],
        "validation": [record.validation for record in records if record.validation],
        "parameters": session.network.parameters.flat.tobytes().hex(),
    }


if __name__ == "__main__":
    mine = Ranks(world())
    found = {variant: run(variant, mine) for variant in VARIANTS}
    if mine.first:
        print(json.dumps(found))
