"""`fastlstm sample`: names or text from a trained model, and nothing else on standard output."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import click

from fastlstm.commands.fields import PARTIAL
from fastlstm.commands.pictures import draw
from fastlstm.commands.streams import utf8
from fastlstm.errors import FastLSTMError

FILE = click.Path(dir_okay=False)

SHARE = click.FloatRange(0, 1, min_open=True)


def option(flag: str, metavar: str, text: str, type: Any = None) -> Any:
    """An option without a default: what is not given is not passed on, and `Request` has the defaults."""
    return click.option(flag, metavar=metavar, type=type or click.IntRange(1), help=text)


CONTROLS = [
    option("-n", "N", "Names for each prefix, or texts.  [20 names, 1 text]"),
    option("--prefix", "TEXT", "What they begin with.", str),
    option("--prefixes", "FILE", "File of prefixes, one a line: n names for each.", FILE),
    click.option("--given", metavar="TITLE=VALUE[,VALUE]", multiple=True,
                 help="Value of a condition; n names for each of several. Others stay open."),
    option("--temperature", "X", "Below 1 more usual, above 1 stranger, 0 the most probable.  [1]",
           click.FloatRange(0)),
    option("--top-k", "K", "Draw from the K most probable characters only."),
    option("--top-p", "P", "Draw from the fewest characters that hold this share of the probability.", SHARE),
    option("--min-length", "N", "Least characters of a name, its prefix included.  [1]", click.IntRange(0)),
    option("--max-length", "N", "Most; a name is cut there.  [100 past its prefix; lines as long as the data's]"),
    option("--length", "N", "Characters of a text, past its prefix.  [1000]"),
    option("--stop", "TEXT", "End where this text is drawn, and leave it out.", str),
    click.option("--novel", is_flag=True, help="Only names that are not in the training data."),
    option("--avoid", "FILE", "File of further names that must not come, a table or one a line.", FILE),
    click.option("--unique", is_flag=True, help="No name twice."),
    option("--tries", "N", "Give up after so many draws for each name.  [100]"),
    option("--seed", "N", "The same seed draws the same names.  [a new one]", click.IntRange(0, 2**64 - 1)),
    option("--threads", "N", "The names do not depend on them.  [all cores]"),
]  # fmt: skip


def with_controls(function: Any) -> Any:
    """Add the controls to a command, in their order."""
    for control in reversed(CONTROLS):
        function = control(function)
    return function


@click.command("sample")
@click.argument("run", type=click.Path())
@with_controls
@click.option("--beam", is_flag=True, help="Not random: the n most probable names, best first.")
@click.option(
    "--format", "form", type=click.Choice(["text", "csv", "json"]), default="text",
    help="One name a line, a table with a header, or a list of objects.  [text]",
)  # fmt: skip
@click.option("--scores", is_flag=True, help="With csv or json: log-probability in nats, bits per character.")
@click.option("--report", is_flag=True, help="Instead of names: how many are new, lengths, first letters.")
@click.option("--picture", type=FILE, help="Where to draw the report.  [report.png in the run]")
def command(
    run: str, beam: bool, form: str, scores: bool, report: bool, picture: str | None, **given: Any
) -> None:
    """Draw names, lines or text from RUN, a run's folder or a model file.

    \b
    fastlstm sample runs/names-1 --prefix an --temperature 0.8
    fastlstm sample runs/names-1 -n 1000 --novel --unique --format csv --scores
    fastlstm sample runs/shakespeare-1 --prefix ROMEO: --length 2000

    The controls act in this order: min-length, temperature, top-k, top-p. A request that cannot be met within
    --tries prints what was found and exits with 3.
    """
    controls = {
        name: value for name, value in given.items() if value not in (None, ()) and value is not False
    }
    if scores and (form == "text" or report):
        raise click.UsageError("--scores needs --format csv or json, and no --report")
    if picture and not report:
        raise click.UsageError("--picture needs --report")
    if beam and (report or controls.keys() - {"n", "prefix", "max_length", "given"}):
        raise click.UsageError(
            "--beam goes with -n, --prefix, --given, --max-length, --format and --scores only"
        )
    from fastlstm.training.model_file import load_model

    model = load_model(run)
    whole = model.vocabulary.boundary  # names and lines, which end by themselves
    if report and not whole:
        raise FastLSTMError(f"{run} is a model of {model.kind}: --report is for names and lines")
    controls.setdefault("n", 20 if whole else 1)
    out = utf8(sys.stdout)
    controls["given"] = parse_given(model, controls.get("given", ()))
    combinations = given_by(model, controls["given"])
    if beam:
        entries = _most_probable(model, controls)
    else:
        _read_files(run, model, controls)
        if (
            not whole
            and form == "text"
            and controls["n"] * len(combinations) == 1
            and "prefixes" not in controls
        ):
            _stream(model, controls, out)
            return
        entries = _drawn(model, controls, scores)
    wanted = controls["n"] * len(controls.get("prefixes", "1")) * len(combinations)
    if report:
        count = _report(run, [name for name, _, _ in entries], combinations, form, picture, out)
    else:
        fields = [model.kind.removesuffix("s"), *combinations[0]]
        apart = not whole or "\n" in model.vocabulary.characters
        count = _write(entries, fields, form, scores, apart, out)
    out.flush()
    if count < wanted:
        more = "there are no more" if beam else "raise --tries or --temperature, or ask for fewer"
        click.echo(f"fastlstm: found {count:,} of {wanted:,}: {more}", err=True)
        raise SystemExit(PARTIAL)


def _read_files(run: str, model: Any, controls: dict[str, Any]) -> None:
    """Replace files' names by what is in them, and --novel by the run's index."""
    from fastlstm.data import novelty

    if "prefixes" in controls:
        controls["prefixes"] = novelty.read_prefixes(controls["prefixes"])
    if "avoid" in controls:
        lowercase = bool(model.preprocessing.get("lowercase"))
        controls["avoid"] = novelty.read_avoided(controls["avoid"], model.kind, lowercase)
    if "novel" in controls and model.vocabulary.boundary:
        controls["novel"] = _index(run)


def _index(run: str) -> Any:
    from fastlstm.data.novelty import index_file, read_index

    index = read_index(run)
    if index is None:
        missing = index_file(run).name
        raise FastLSTMError(f"{run} has no {missing}, its training names; --avoid FILE takes another list")
    return index


def _stream(model: Any, controls: dict[str, Any], out: IO[str]) -> None:
    """One text, shown as it is drawn."""
    from fastlstm.generation.sampling import stream

    for piece in stream(model, **{name: value for name, value in controls.items() if name != "n"}):
        out.write(piece)
        out.flush()
    out.write("\n")


def parse_given(model: Any, words: Iterable[str]) -> dict[str, list[str]]:
    """TITLE=VALUE,VALUE as title → values; a value of the model's may hold a comma itself."""
    from fastlstm.data.given import conditions_of, place_of

    conditions, given = conditions_of(model), dict[str, list[str]]()
    titles = [condition.title for condition in conditions]
    for word in words:
        title, equals, values = word.partition("=")
        if not equals:
            raise click.UsageError(f"--given {word}: give TITLE=VALUE, as in --given Sex=F")
        condition = conditions[place_of(titles, title.strip())]
        listed = [values] if values.strip() in condition.values else values.split(",")
        given.setdefault(condition.title, []).extend(listed)
    return given


def given_by(model: Any, given: dict[str, list[str]]) -> list[dict[str, str]]:
    """Each combination of values that is asked for."""
    from fastlstm.data.given import combinations, conditions_of

    return combinations(conditions_of(model), given)


Entry = tuple[str, dict[str, str], Any]


def _drawn(model: Any, controls: dict[str, Any], scores: bool) -> Iterator[Entry]:
    """The names as they are found, under which conditions, with None or, when all are there, their scores."""
    from fastlstm.generation.request import Request
    from fastlstm.generation.sampling import drawn

    names = drawn(model, Request(**controls))
    if not scores:
        return ((name, given, None) for name, given in names)
    from fastlstm.generation.scoring import score

    found = list(names)
    texts, given = [text for text, _ in found], [given for _, given in found]
    return zip(texts, given, score(model, texts, prepared=True, given=given), strict=True)


def _most_probable(model: Any, controls: dict[str, Any]) -> list[Entry]:
    from fastlstm.generation.scoring import beam

    limit, prefix = controls.get("max_length"), controls.get("prefix", "")
    entries: list[Entry] = []
    for given in given_by(model, controls["given"]):
        best = beam(model, controls["n"], prefix, max_length=limit, given=given)
        if not best.proven:
            click.echo("fastlstm: the search was cut, so some more probable name may be missing", err=True)
        entries += [(name, given, score) for name, score in best.names]
    return entries


def _write(
    entries: Iterable[Entry], fields: list[str], form: str, scores: bool, apart: bool, out: IO[str]
) -> int:
    """Write the names (or texts, a line `apart`) in a format, what was given beside them; returns how many there were."""
    fields = [*fields, "logprob", "bits_per_character"] if scores else fields
    table = csv.writer(out, lineterminator="\n")
    count = 0
    if form == "csv":
        table.writerow(fields)
    for count, (text, given, score) in enumerate(entries, 1):
        row = [text, *given.values(), *(score if scores else ())]
        if form == "csv":
            table.writerow(row)
        elif form == "json":
            out.write("[\n " if count == 1 else ",\n ")
            out.write(json.dumps(dict(zip(fields, row, strict=True)), ensure_ascii=False))
        else:
            out.write("---\n" if apart and count > 1 else "")
            out.write(text + "\n")
    if form == "json":
        out.write("\n]\n" if count else "[]\n")
    return count


def _report(
    run: str, names: list[str], given: list[dict[str, str]], form: str, picture: str | None, out: IO[str]
) -> int:
    """Write the comparison with the training names of what was given, and draw it where matplotlib is installed."""
    from fastlstm.generation import report

    facts = report.compare(names, _index(run), given if any(given) else None)
    if form == "csv":
        table = csv.writer(out, lineterminator="\n")
        table.writerows([("measure", "value", "drawn", "training"), *report.rows(facts)])
    elif form == "json":
        out.write(json.dumps(facts._asdict(), ensure_ascii=False) + "\n")
    else:
        out.write(report.table(facts) + "\n")
    folder = Path(run)
    file = picture or (folder / "report.png" if folder.is_dir() else None)
    if file:
        draw(report.picture, facts, file)
    return len(names)
