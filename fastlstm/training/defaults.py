"""What an option left open becomes: by the kind of the data, their size, the optimiser and the time there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What an option left at None becomes, by the kind of the data.
BY_KIND: dict[str, dict[str, Any]] = {
    "names": {
        "lowercase": True, "hidden": 256, "embedding": 64, "dropout": 0.2,
        "epochs": 12, "batch_size": 128, "lr": 3e-3, "weight_decay": 0.01, "contrast": 2.0, "embedding_dropout": 0.0,
    },
    "lines": {
        "lowercase": False, "hidden": 256, "embedding": 64, "dropout": 0.1,
        "epochs": 12, "batch_size": None, "lr": 3e-3, "weight_decay": 0.01, "contrast": 0.0, "embedding_dropout": 0.0,
    },
    "text": {
        "lowercase": False, "hidden": 256, "embedding": 64, "dropout": 0.1,
        "epochs": 12, "batch_size": 24, "lr": 1e-2, "weight_decay": 0.1, "contrast": 0.0, "embedding_dropout": 0.0,
    },
}  # fmt: skip
# And what it becomes where --minutes gives at least so much time for at least so many characters, and this machine makes at
# least so many steps of it; a row with bf16 holds where the CPU multiplies in bfloat16. Each goes on from those before it.
BY_MINUTES: dict[str, list[tuple[float, int, int, dict[str, Any]]]] = {
    "names": [],
    "lines": [],
    "text": [
        (3.0, 500_000, 0, {"precision": "bf16"}),
        (3.0, 500_000, 8000, {"hidden": 384, "dropout": 0.25, "precision": "bf16"}),
        (8.0, 0, 8000, {"hidden": 512, "dropout": 0.3, "precision": None}),
        (8.0, 4_000_000, 8000, {"precision": "bf16"}),
    ],
}
# And below so many of them: what overfits needs fewer updates of smaller batches, and more noise.
BY_SIZE: dict[str, list[tuple[int, dict[str, Any]]]] = {
    "names": [
        (8000, {"batch_size": 64}),
        (2000, {"batch_size": 32, "dropout": 0.5, "weight_decay": 0.1}),
        (500, {"hidden": 128}),
    ],
    "lines": [],
    "text": [(100_000, {"dropout": 0.5})],
}
# And below so many, for a model that has been trained already.
BY_SIZE_FURTHER: dict[str, list[tuple[int, dict[str, Any]]]] = {
    "names": [(500, {"embedding_dropout": 0.3})],
    "lines": [],
    "text": [],
}
LEAST_STEPS = {
    "names": 150,
    "lines": 1000,
    "text": 1000,
}  # little data is gone through more often, until there are so many
LEAST_STREAM = 256  # a short text has fewer streams, each at least so long
LINES, FEWEST, MOST = (
    3000,
    8,
    128,
)  # characters in a batch of lines, which has so many lines at least and at most
# With weights a few names are most of what is drawn: more is needed to tell values by all of them.
CONTRAST_WEIGHED = 10.0
SGD_RATE = 0.5
FURTHER, FURTHER_FEW = (
    0.1,
    2 / 3,
)  # of the rate, for a model that has been trained already, and for so few names
WIDE = 256  # more units take smaller steps (Yang et al., "Tensor Programs V", 2022)
LENGTHS = ("epochs", "steps", "minutes")  # the ways to say how long, one at a time


def chosen_for(
    kind: str, size: int, given: Mapping[str, Any], further: bool = False, rows: int | None = None
) -> dict[str, Any]:
    """What the time there is and the size of the data change of a kind's defaults, where `given` has None.

    `further` is whether a trained model goes on, `rows` how many of the choices by time hold, None: all.
    """
    minutes, chosen = given["minutes"] or 0.0, {}
    for least, characters, _, changes in BY_MINUTES[kind][:rows]:
        coarse = changes.get("precision") == "bf16"
        if minutes >= least and size >= characters and not (coarse and not _multiplies_bf16(given["dtype"])):
            chosen |= changes
    for most, changes in BY_SIZE[kind] + (BY_SIZE_FURTHER[kind] if further else []):
        if size < most:
            chosen |= changes
    if given["embedding"] == 0:
        chosen.pop("embedding_dropout", None)
    return {name: value for name, value in chosen.items() if value is not None and given[name] is None}


def _multiplies_bf16(dtype: str) -> bool:
    """Whether bf16 is faster than this dtype here."""
    from fastlstm.engine.simd.target import BF16, PORTABLE, target  # not for --help: it brings Numba

    return dtype == "float32" and target(BF16).product != PORTABLE


def defaults_for(
    kind: str,
    size: int,
    typical: float,
    given: Mapping[str, Any],
    further: bool = False,
    rows: int | None = None,
) -> dict[str, Any]:
    """Option -> its value where `given` has None, for so many names, lines or characters of text.

    `typical` is how many characters a line has, `further` and `rows` are as for `chosen_for`.
    """
    defaults = BY_KIND[kind] | {"precision": given["dtype"]} | chosen_for(kind, size, given, further, rows)
    if kind == "names" and given["weight"] is not None:
        defaults["contrast"] = CONTRAST_WEIGHED
    if kind == "lines":
        defaults["batch_size"] = min(max(round(LINES / max(typical, 1)), FEWEST), MOST)
    if kind == "text":
        defaults["batch_size"] = min(defaults["batch_size"], max(1, size // LEAST_STREAM))
    if given["steps"] is not None or given["minutes"] is not None:
        del defaults["epochs"]
    else:
        step = (given["batch_size"] or defaults["batch_size"]) * (given["window"] if kind == "text" else 1)
        defaults["epochs"] = max(defaults["epochs"], LEAST_STEPS[kind] * step // size)
    hidden = given["hidden"] or defaults["hidden"]
    defaults["lr"] *= min(1.0, WIDE / hidden)
    if given["optimizer"] == "sgd":
        defaults["lr"] = SGD_RATE
    if further:
        few = any(size < most for most, _ in BY_SIZE_FURTHER[kind])
        defaults["lr"] *= FURTHER_FEW if few else FURTHER
    if given["optimizer"] != "adamw":
        defaults["weight_decay"] = 0.0
    if given["tied"]:
        defaults["embedding"] = hidden
    return defaults
