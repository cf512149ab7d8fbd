"""Command-line options made from the fields of `Options`: one name, help and default for both."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import Field, fields
from typing import Any

import click

from fastlstm.training.keywords import shown
from fastlstm.training.options import Options, flag
from fastlstm.training.values import one_or_several, several, whole_or_share

PARTIAL = 3  # the exit code of a request that was met only in part
SECTIONS = ("Data", "Model", "Training", "Run")


class WholeOrShare(click.ParamType):
    """0.1 or 1000."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | float:
        try:
            return whole_or_share(value)
        except ValueError:
            self.fail(f"{value!r} is no number", param, ctx)


class SectionedCommand(click.Command):
    """A command whose --help groups the options of `Options` by their sections."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in SECTIONS}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if isinstance(option, click.Option) and record is not None:
                sections[getattr(option, "section", SECTIONS[-1])].append(record)
        for section, records in sections.items():
            with formatter.section(section):
                formatter.write_dl(records)


class SectionOption(click.Option):
    """An option that knows its section of the help."""

    def __init__(self, *args: Any, section: str, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.section = section


def with_fields(
    sections: Collection[str], without: Collection[str] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that gives a command the options of some sections, in the order of the fields."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        wanted = [f for f in fields(Options) if f.metadata["section"] in sections and f.name not in without]
        for field in reversed(wanted):
            function = _option(field)(function)
        return function

    return decorate


def _option(field: Field[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option of one field; None where it is not given, so that what is given can be told."""
    rules, spelled = field.metadata, flag(field.name)
    convert = rules["convert"]
    if convert is bool:
        spelled = f"{spelled}/{flag(field.name, False)}"
    kind: Any = {whole_or_share: WholeOrShare(), several: str, one_or_several: str}.get(convert, convert)
    metavar = {int: "N", float: "X", whole_or_share: "N|X", several: "COLUMN", one_or_several: "COLUMN"}.get(
        convert
    )
    return click.option(
        spelled,
        field.name,
        cls=SectionOption,
        section=rules["section"],
        type=click.Choice(rules["choices"]) if "choices" in rules else kind,
        default=None,
        multiple=convert in (several, one_or_several),
        callback=(lambda _ctx, _option, value: value or None)
        if convert in (several, one_or_several)
        else None,
        metavar=metavar,
        help=shown(field),
    )
