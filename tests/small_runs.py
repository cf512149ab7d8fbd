"""Runs that take a fraction of a second: few names or a short text, and a network of a few units."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from fastlstm.data.names import Names
from fastlstm.data.texts import Text
from fastlstm.training.options import Options
from fastlstm.training.session import Session

SIZES: dict[str, Any] = {"hidden": 8, "embedding": 4, "batch_size": 4}


def some_names(count: int = 60) -> list[str]:
    """Pronounceable made-up names, some of them twice."""
    rng = random.Random(1)
    syllables = ["an", "na", "be", "lo", "mi", "ra", "to", "el", "is", "u"]
    names = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(count)]
    return names + names[: count // 10]


def some_text(words: int = 200) -> str:
    """Made-up lines of made-up words."""
    rng = random.Random(2)
    return "".join(rng.choice(some_names()) + rng.choice("  \n") for _ in range(words))


def session(kind: str = "names", **options: Any) -> Session:
    """A small session on names or on text."""
    data = Names(some_names()) if kind == "names" else Text.from_string(some_text())
    defaults = {**SIZES, "window": 8, "epochs": 3, "checkpoint_seconds": 1e9}
    if "steps" in options or "minutes" in options:
        del defaults["epochs"]
    return Session(data, Options(**{**defaults, **options}))


def write_data(folder: Path, kind: str = "names") -> Path:
    """The same data as a file."""
    path = folder / f"{kind}.txt"
    path.write_text("\n".join(some_names()) + "\n" if kind == "names" else some_text(), "utf-8")
    return path
