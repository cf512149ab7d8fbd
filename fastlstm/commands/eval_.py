"""`fastlstm eval`: the scores of data, or of single names, under a trained model."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from typing import Any

import click

from fastlstm.commands.fields import PARTIAL, with_fields
from fastlstm.commands.streams import utf8
from fastlstm.errors import FastLSTMError, printable


@click.command("eval")
@click.argument("run")
@click.argument("data", required=False)
@click.option(
    "--name", "names", metavar="TEXT", multiple=True, help="Score this name or text; may be repeated."
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
    run: str, data: str | None, names: tuple[str, ...], threads: int | None, form: str, **given: Any
) -> None:
    """Score DATA, or single names, under RUN: a run's folder or a model file.

    \b
    fastlstm eval runs/names-1 others.csv
    fastlstm eval runs/names-1 --name anna --name xqz
    fastlstm eval runs/shakespeare-1 sonnets.txt --format json

    DATA are read as what the model was trained on, names or text, and prepared in the same way. The loss is
    the mean over characters, ends of names included, in nats. For single names: log-probability in nats, and
    bits a character; where one cannot be read, the others are scored and the exit code is 3.
    """
    if (data is None) == (not names):
        raise click.UsageError("give either DATA or at least one --name")
    from fastlstm.training.model_file import load_model

    model = load_model(run)
    model.network.threads = threads
    if names:
        found = _scored(model, names)
        known = [row for row in found if row["logprob"] is not None]
        lines = [
            f"{printable(row['name'])}  log p {row['logprob']:.4f}, {row['bits_per_character']:.3f} bits a character"
            for row in known
        ]
        if known:
            _show(found, "\n".join(lines), form)
        if len(known) < len(names):
            raise SystemExit(PARTIAL if known else 1)
        return
    from fastlstm.charlm import evaluate_model
    from fastlstm.commands.progress import sentence
    from fastlstm.data.opening import open_data
    from fastlstm.training.options import Options

    given = {name: value for name, value in given.items() if value is not None}
    options = Options(kind=model.kind, lowercase=model.preprocessing.get("lowercase"), **given)
    read = open_data(data, **options.reading)
    for note in read.notes:
        click.echo(note, err=True)
    scores = evaluate_model(model, read)
    facts = {
        "loss": scores.loss,
        "perplexity": scores.perplexity,
        "bits_per_character": scores.bits_per_character,
        "accuracy": scores.accuracy,
        "characters": scores.characters,
    }
    _show([facts], f"{sentence(scores)}, over {scores.characters:,} characters", form)


def _scored(model: Any, names: Iterable[str]) -> list[dict[str, Any]]:
    """The names with their scores, or with None and a word on standard error where the model cannot read one."""
    from fastlstm.generation.scoring import score

    found = []
    for name in names:
        try:
            logprob, bits = score(model, [name])[0]
        except FastLSTMError as error:
            click.echo(f"fastlstm: {error}", err=True)
            logprob = bits = None
        found.append({"name": name, "logprob": logprob, "bits_per_character": bits})
    return found


def _show(rows: list[dict[str, Any]], text: str, form: str) -> None:
    if form == "text":
        click.echo(text)
    elif form == "json":
        utf8(sys.stdout).write(json.dumps(rows if len(rows) > 1 else rows[0], ensure_ascii=False) + "\n")
    else:
        table = csv.DictWriter(utf8(sys.stdout), rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
