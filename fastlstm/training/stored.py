"""What a file says of a model or a run, checked in type and range before anything is built from it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from fastlstm.data.given import Condition
from fastlstm.data.opening import KINDS
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.errors import FastLSTMError, quoted
from fastlstm.network.architecture import Architecture
from fastlstm.training.evaluation import Scores

LARGEST = 2**53  # beyond it JSON's readers differ on whole numbers


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def is_number(value: Any) -> bool:
    return is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def is_scores(value: Any) -> bool:
    """A model's are an object, a position's a list."""
    if isinstance(value, dict):
        return value.keys() == set(Scores._fields) and all(map(is_number, value.values()))
    return isinstance(value, list) and len(value) == len(Scores._fields) and all(map(is_number, value))


# By the annotation of a field, as JSON holds it.
TYPES = {
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "int": (is_whole, "a whole number"),
    "float": (is_number, "a number"),
    "str": (lambda value: isinstance(value, str), "a string"),
    "str | None": (lambda value: value is None or isinstance(value, str), "a string or null"),
    "str | list | None": (
        lambda value: value is None or isinstance(value, str) or is_strings(value),
        "a string, strings or null",
    ),
    "Scores | None": (lambda value: value is None or is_scores(value), "scores or null"),
    "object": (lambda value: isinstance(value, dict), "an object"),
    "tuple[str, ...]": (is_strings, "strings"),
    "tuple[float, ...]": (lambda value: isinstance(value, list) and all(map(is_number, value)), "numbers"),
    "tuple[int, ...]": (lambda value: isinstance(value, list) and all(map(is_whole, value)), "whole numbers"),
}


def checked(name: str, value: Any, kind: str) -> Any:
    """`value`, if it is of this kind; FastLSTMError if not."""
    sound, described_as = TYPES[kind]
    if not sound(value):
        raise FastLSTMError(f"{name} is {quoted(value)}, and not {described_as}")
    return value


def scores_of(value: Any) -> Scores | None:
    """Stored scores; FastLSTMError where they are none."""
    checked("validation", value, "Scores | None")
    return value and (Scores(**value) if isinstance(value, dict) else Scores(*value))


def section(facts: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A part of the facts that is an object itself; FastLSTMError if it is none."""
    return checked(name, facts.get(name), "object")


def fields_of(cls: Any, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for the dataclass `cls`, each of its field's kind; FastLSTMError where one is missing or unknown."""
    known: dict[str, Field[Any]] = {field.name: field for field in fields(cls)}
    for name in stored:
        if name not in known:
            raise FastLSTMError(f"{quoted(name)} is no part of it")
    for name, field in known.items():
        if name in stored:
            checked(name, stored[name], str(field.type))
        elif field.default is MISSING:
            raise FastLSTMError(f"{name} is missing")
    return dict(stored)


def described(path: str | os.PathLike[str], facts: Mapping[str, Any]) -> tuple[Architecture, Vocabulary]:
    """The architecture and the vocabulary in a model's facts, whose other parts are sound too; FastLSTMError if not."""
    try:
        architecture = Architecture(**fields_of(Architecture, section(facts, "architecture")))
        parts = section(facts, "vocabulary")
        kinds = {"characters": "str", "boundary": "bool", "replacement": "str | None", "start": "str | None"}
        for name, kind in kinds.items():
            checked(f"vocabulary {name}", parts.get(name), kind)
        vocabulary = Vocabulary.from_dict(parts)
        kind = facts.get("kind")
        if kind not in KINDS or vocabulary.boundary != (kind != "text"):
            raise FastLSTMError(f"kind is {quoted(kind)}, with a boundary: {vocabulary.boundary}")
        if section(facts, "preprocessing").get("lowercase") not in (True, False, None):
            raise FastLSTMError("preprocessing is unknown")
        checked("longest", facts["preprocessing"].get("longest", 0), "int")
        given = facts["preprocessing"].get("given", [])
        if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
            raise FastLSTMError(f"given is {quoted(given)}, and no conditions")
        values = tuple(1 + len(Condition(**fields_of(Condition, each)).values) for each in given)
        if values != architecture.conditions:
            raise FastLSTMError(f"the conditions have {values} values, the network {architecture.conditions}")
        extra = facts.get("extra", {})
        checked("extra", extra, "object")
        checked("step", extra.get("step") or 0, "int")
        scores_of(extra.get("validation"))
        if vocabulary.size != architecture.vocabulary:
            raise FastLSTMError(
                f"the vocabulary has {vocabulary.size} entries, the network {architecture.vocabulary}"
            )
    except FastLSTMError as error:
        raise FastLSTMError(f"{path}: its description of the model is damaged: {error}") from None
    return architecture, vocabulary
