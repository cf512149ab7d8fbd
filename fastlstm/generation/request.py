"""What can be asked of the sampler: every control with its default, its meaning and its range."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastlstm.engine.cores import MOST_THREADS
from fastlstm.errors import FastLSTMError, quoted

DEFAULT_LENGTH = 1000  # characters of a text
MOST = 2**40  # sequences of a prefix, and characters of a text
LONGEST = 2**20  # characters of a name
DEFAULT_ROOM = (
    100  # characters of a name past its prefix and its least length, where it was not trained on longer lines
)


@dataclass(frozen=True)
class Request:
    """What to draw: the keywords of `generate`, checked.

    n: names (or texts) for each prefix.
    prefix, prefixes: what they begin with, echoed; `prefixes` asks for n of each.
    given: values of the model's conditions by title; a list of values asks for n of each, what is left out is open.
    temperature: divides the logits; 0 always takes the most probable character.
    top_k: draw from the k most probable characters only.
    top_p: draw from the fewest characters that hold this share of the probability (after top_k).
    min_length, max_length: characters of a name, its prefix included; a longer one is cut, not ended. Without
        max_length a name has 100 past its prefix, a line as many as the longest that was trained on, if these are more.
    length: characters of a text, its prefix not included (1,000 by default).
    stop: end where this text is drawn, and leave it out.
    novel: only names that are not in the training data: True if the model has an `index`, or such an index.
    avoid: further names never to be returned.
    unique: no name twice.
    tries: give up on a prefix after this many draws for each name asked for.
    seed: a whole number below 2**64; none draws something else every time.
    threads: workers, by default the model's, or all cores.
    batch_size: sequences held at once.
    """

    n: int = 20
    prefix: str = ""
    prefixes: Sequence[str] | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    length: int | None = None
    stop: str = ""
    novel: bool | Collection[str] = False
    avoid: Iterable[str] = ()
    unique: bool = False
    tries: int = 100
    seed: int | None = None
    threads: int | None = None
    batch_size: int = 16384

    def __post_init__(self) -> None:
        for name in ("n", "tries", "batch_size"):
            whole(name, getattr(self, name), 1, MOST)
        limits = {"top_k": (1, MOST), "min_length": (0, LONGEST), "max_length": (1, LONGEST), "length": (1, MOST),
                  "threads": (1, MOST_THREADS), "seed": (0, 2**64 - 1)}  # fmt: skip
        for name, (low, high) in limits.items():
            if getattr(self, name) is not None:
                whole(name, getattr(self, name), low, high)
        if not (is_number(self.temperature) and self.temperature >= 0):
            raise FastLSTMError(
                f"temperature is {quoted(self.temperature)}: give a number of at least 0 (0: greedy)"
            )
        if self.top_p is not None and not (is_number(self.top_p) and 0 < self.top_p <= 1):
            raise FastLSTMError(f"top_p is {quoted(self.top_p)}: give a share above 0 and at most 1")
        for name in ("prefix", "stop"):
            if not isinstance(getattr(self, name), str):
                raise FastLSTMError(f"{name} is {quoted(getattr(self, name))}: give a string")
        if self.prefixes is not None:
            object.__setattr__(self, "prefixes", texts("prefixes", self.prefixes))
            if self.prefix or not self.prefixes:
                raise FastLSTMError("prefixes: give a list of at least one text, and no prefix beside it")
        object.__setattr__(self, "avoid", texts("avoid", self.avoid))
        if not isinstance(self.novel, bool | Collection) or isinstance(self.novel, str):
            raise FastLSTMError(f"novel is {quoted(self.novel)}: give True, or the names that are not new")
        if self.max_length is not None and (self.min_length or 0) > self.max_length:
            raise FastLSTMError(f"min_length {self.min_length} is more than max_length {self.max_length}")

    @property
    def selective(self) -> bool:
        """Whether a name that was drawn may be turned down."""
        return bool(self.novel or self.unique or self.avoid)

    @property
    def limit(self) -> int:
        """The most sequences drawn for one prefix."""
        if not self.selective:
            return self.n
        return 1 if self.temperature == 0 or self.top_k == 1 else min(self.tries * self.n, MOST)


def texts(name: str, value: Any) -> list[str]:
    """The value, if it is a list or another collection of strings, as a list; FastLSTMError if not."""
    listed: list[Any] = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [None]
    if not all(isinstance(text, str) for text in listed):
        raise FastLSTMError(f"{name} is {quoted(value)}: give a list of strings")
    return listed


def is_number(value: Any) -> bool:
    """Whether the value is a finite number."""
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    try:
        return number and math.isfinite(value)
    except OverflowError:  # of a whole number beyond the range of floats
        return False


def whole(name: str, value: Any, low: int, high: int = MOST) -> int:
    """The value, if it is a whole number within its limits; FastLSTMError if not."""
    number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        raise FastLSTMError(f"{name} is {quoted(value)}: give a whole number from {low} to {high:,}")
    return int(value)
