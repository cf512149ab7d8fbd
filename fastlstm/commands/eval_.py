"""`fastlstm eval`: the scores of data, or of single names, under a trained model."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from fastlstm.commands.fields import PARTIAL, with_fields
from fastlstm.commands.pictures import draw
from fastlstm.commands.streams import utf8
from fastlstm.errors import FastLSTMError, printable

SHOWN = 8  # values of a name


@click.command("eval")
@click.argument("run")
@click.argument("data", nargs=-1)
@click.option(
    "--name", "names", metavar="TEXT", multiple=True, help="Score this name or text; may be repeated."
)
@click.option("--by", metavar="TITLE", help="Classify instead: how probable each value of this condition is.")
@click.option(
    "--picture", type=click.Path(dir_okay=False), help="With --by and DATA: draw the confusion table."
)
@with_fields(["Data"], without=["kind", "lowercase", "characters", "validation"])
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Threads.  [all cores]")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "csv", "json"]),
    default="text",
    help="Form of the output.  [text]",
)
def command(
    run: str,
    data: tuple[str, ...],
    names: tuple[str, ...],
    by: str | None,
    picture: str | None,
    threads: int | None,
    form: str,
    **given: Any,
) -> None:
    """Score DATA, or single names, under RUN: a run's folder or a model file.

    \b
    fastlstm eval runs/names-1 others.csv
    fastlstm eval runs/names-1 --name anna --name xqz
    fastlstm eval runs/names-2 --name robin --by Sex
    fastlstm eval runs/names-2 others.csv --by Sex --picture confusion.png
    fastlstm eval runs/shakespeare-1 sonnets.txt --format json

    DATA are files, folders or patterns, read as what the model was trained on, names, lines or text, and prepared in the
    same way. The loss is
    the mean over characters, ends of names included, in nats. For single names: log-probability in nats, and
    bits a character; where one cannot be read, the others are scored and the exit code is 3. With --by, for models
    that were trained with --given: how probable each value of that column is for a name; of DATA, how often the most
    probable one is the column's own.
    """
    if bool(data) == bool(names):
        raise click.UsageError("give either DATA or at least one --name")
    from fastlstm.training.model_file import load_model

    model = load_model(run)
    model.network.threads = threads
    if names:
        _judge(names, *(_scorer(model) if by is None else _classifier(model, by)), form)
        return
    if by is not None:
        from fastlstm.generation.classification import condition_called

        condition = condition_called(model, by)
        width = f":{condition.width:g}" if condition.width else ""
        given["given"] = given["given"] or (condition.title + width,)
    from fastlstm.charlm import evaluate_model
    from fastlstm.commands.progress import sentence
    from fastlstm.data.opening import open_data
    from fastlstm.training.options import Options

    given = {name: value for name, value in given.items() if value is not None}
    options = Options(kind=model.kind, lowercase=model.preprocessing.get("lowercase"), **given)
    read = open_data(data, **options.reading)
    for note in read.notes:
        click.echo(note, err=True)
    if by is not None:
        _assess(model, read, by, form, picture)
        return
    scores = evaluate_model(model, read)
    facts = {
        "loss": scores.loss,
        "perplexity": scores.perplexity,
        "bits_per_character": scores.bits_per_character,
        "accuracy": scores.accuracy,
        "characters": scores.characters,
    }
    _show([facts], f"{sentence(scores)}, over {scores.characters:,} characters", form)


def _judge(names: Iterable[str], fields: Sequence[str], judge: Any, line: Any, form: str) -> None:
    """Show what `judge` says of each name: its fields, and a line of text made of them.

    One that the model cannot read has None in all of them, and a word on standard error; then the exit code is 3.
    """
    found: list[dict[str, Any]] = []
    lines = []
    for name in names:
        try:
            row = dict(zip(fields, judge(name), strict=True))
            lines.append(f"{printable(name)}  {line(row)}")
        except FastLSTMError as error:
            click.echo(f"fastlstm: {error}", err=True)
            row = dict.fromkeys(fields)
        found.append({"name": name, **row})
    if lines:
        _show(found, "\n".join(lines), form)
    if len(lines) < len(found):
        raise SystemExit(PARTIAL if lines else 1)


def _scorer(model: Any) -> tuple[Sequence[str], Any, Any]:
    """For `_judge`: how probable a name is."""
    from fastlstm.generation.scoring import Score, score

    return (
        Score._fields,
        lambda name: score(model, [name])[0],
        lambda row: f"log p {row['logprob']:.4f}, {row['bits_per_character']:.3f} bits a character",
    )


def _classifier(model: Any, by: str) -> tuple[Sequence[str], Any, Any]:
    """For `_judge`: how probable each value is for a name, the most probable first in the line."""
    from fastlstm.generation.classification import classify, condition_called

    def line(row: dict[str, float]) -> str:
        ranked = sorted(row.items(), key=lambda pair: -pair[1])[:SHOWN]
        return ", ".join(f"{printable(value, 40)} {share:.1%}" for value, share in ranked)

    return condition_called(model, by).values, lambda name: classify(model, [name], by)[0].tolist(), line


def _assess(model: Any, read: Any, by: str, form: str, picture: str | None) -> None:
    """How well values are told from the names of a table."""
    from fastlstm.generation import classification

    found = classification.assess(model, read, by)
    if picture:
        draw(classification.picture, found, picture)
    facts = {"accuracy": found.accuracy, "log_loss": found.log_loss, "rows_without_value": found.unknown}
    if form == "json":
        facts |= {"values": found.values, "confusion": found.confusion.tolist()}
    _show([facts], classification.table(found), form)


def _show(rows: list[dict[str, Any]], text: str, form: str) -> None:
    if form == "text":
        click.echo(text)
    elif form == "json":
        utf8(sys.stdout).write(json.dumps(rows if len(rows) > 1 else rows[0], ensure_ascii=False) + "\n")
    else:
        table = csv.DictWriter(utf8(sys.stdout), rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
