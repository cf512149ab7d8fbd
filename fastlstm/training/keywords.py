"""The options that Python takes as keywords, for whoever completes or looks them up: editors, notebooks, `help`.

`Options` is where they live; a test holds `Keywords` to its fields.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from typing import Any, TypedDict, TypeVar

from fastlstm.errors import FastLSTMError, check_keywords
from fastlstm.training.defaults import BY_KIND
from fastlstm.training.options import READING, Options

Function = TypeVar("Function", bound=Callable[..., Any])
Documented = TypeVar("Documented")
OF_FILES = tuple(name for name in READING if name not in ("kind", "lowercase"))


class Keywords(TypedDict, total=False):
    """Those of `Options` that do not say how a file is read, with their types."""

    kind: str | None
    lowercase: bool | None
    characters: int | None
    validation: int | float
    hidden: int | None
    embedding: int | None
    layers: int
    dropout: float | None
    embedding_dropout: float | None
    tied: bool
    learned_state: bool
    forget_bias: float
    dtype: str
    open_share: float
    contrast: float | None
    epochs: int | None
    steps: int | None
    minutes: float | None
    batch_size: int | None
    window: int
    restarts: float
    optimizer: str
    lr: float | None
    schedule: str
    warmup: float | None
    final: float | None
    decay: float
    decay_every: int
    momentum: float
    beta1: float
    beta2: float
    weight_decay: float | None
    average: float
    clip_norm: float
    clip_value: float
    validate_every: int | None
    patience: int | None
    seed: int
    precision: str | None
    threads: int | None
    index: bool
    samples: int
    log_every: int
    cache: str | None
    checkpoint_every: int
    checkpoint_seconds: float


def taken() -> list[Field[Any]]:
    """The options that are keywords of `CharLM` and its `fit`."""
    return [option for option in fields(Options) if option.name not in OF_FILES]


def check(keywords: Mapping[str, Any]) -> None:
    """Raise TypeError for an unknown keyword, FastLSTMError for one that says how a file is read or a wrong value."""
    for name in OF_FILES:
        if name in keywords:
            raise FastLSTMError(f"{name} says how a file is read: give it to fl.read_names or fl.read_text")
    check_keywords(keywords, [option.name for option in taken()])
    Options(**keywords)


def shown(option: Field[Any]) -> str:
    """An option's help with its default in brackets, where the help does not say it and there is one."""
    by_kind = {kind: defaults.get(option.name) for kind, defaults in BY_KIND.items()}
    if option.default is not None:
        default = f"  [{_spelled(option.default)}]"
    elif set(by_kind.values()) == {None}:
        default = ""
    elif len(set(by_kind.values())) == 1:
        default = f"  [{_spelled(by_kind['names'])}]"
    else:
        default = "  [" + ", ".join(f"{kind} {_spelled(value)}" for kind, value in by_kind.items()) + "]"
    return option.metadata["help"] + default


def _spelled(value: Any) -> str:
    if value is None:
        return "by length"
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else f"{value}"


def explicit(defaults: bool) -> Callable[[Function], Function]:
    """A decorator that names each keyword in the signature that Python shows, with its default or `...`."""

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        for option in taken():
            default = option.default if defaults else ...
            own.append(
                inspect.Parameter(
                    option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option.type
                )
            )
        function.__signature__ = signature.replace(parameters=own)  # pyright: ignore[reportFunctionMemberAccess]
        return function

    return decorate


def documented(cls: type[Documented]) -> type[Documented]:
    """A decorator that ends a class's docstring with every keyword's help."""
    lines = [f"    {option.name}: {shown(option)}" for option in taken()]
    cls.__doc__ = inspect.cleandoc(cls.__doc__ or "") + "\n\n" + "\n".join(["The keywords:", *lines])
    return cls
