"""`fastlstm train`: read, train with a view of it, and say where the run is."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import Any

import click

from fastlstm.commands.fields import SECTIONS, SectionedCommand, with_fields
from fastlstm.errors import FastLSTMError, counted, typed
from fastlstm.training.options import Options, flag

BROKEN_PIPE = 13  # SIGPIPE, which not every system has


@click.command("train", cls=SectionedCommand, context_settings={"max_content_width": 100})
@click.argument("data", nargs=-1, metavar="[DATA]...")
@with_fields(SECTIONS)
@click.option("--out", metavar="DIR", help="Folder for the run.  [runs/<data>-<n>]")
@click.option(
    "--from",
    "start",
    metavar="RUN",
    help="Begin with the weights of a model: a run's folder or a model file.",
)
@click.option("--resume", metavar="RUN", help="Go on with a run from its last checkpoint, to the same end.")
def command(
    data: tuple[str, ...], out: str | None, start: str | None, resume: str | None, **given: Any
) -> None:
    """Train a model on names, lines or text: DATA, or the US first names that come with fastlstm.

    \b
    fastlstm train                                    names, without a file
    fastlstm train names.csv --column Name            a column of a table
    fastlstm train names.txt --as names               a name a line
    fastlstm train tweets.jsonl --as lines            short texts: case and line breaks stay
    fastlstm train poems/ more.txt 'old/*.txt'        folders and several files, read by name
    fastlstm train shakespeare.txt --minutes 3        a text, in three minutes
    fastlstm train cities.csv --from runs/names-1     a new run, with the weights of a model
    fastlstm train --resume runs/shakespeare-1        the same run, after an interruption

    .csv, .tsv, .json and .jsonl files (also .gz) are names, others text; - is standard input. Of a folder, what is
    read and what is left out is listed. The defaults suit most data;
    with --minutes the network and its schedule suit the time there is. Ctrl-C saves a checkpoint and says how
    to go on. The best model on what is held out is kept. With --from, sizes, vocabulary and conditions are the
    model's; characters and conditions that DATA have and it lacks are added, and the rate is lower.
    """
    given = {name: value for name, value in given.items() if value is not None}
    try:
        Options(**given)
    except FastLSTMError as error:
        raise click.UsageError(str(error)) from None
    for other, value in (("--out names a new run's folder", out), ("--from begins a new run", start)):
        if resume is not None and value is not None:
            raise click.UsageError(f"{other}, and --resume goes on in the old one to its end; choose one")
    from fastlstm.commands.together import together
    from fastlstm.data.paths import one_or_all
    from fastlstm.training.runs import Run

    with together() as ranks:
        if resume is not None:
            run = Run.resume(resume, given, one_or_all(data) or None, ranks=ranks)
            position = run.session.position
            click.echo(f"going on with {run.folder} at step {position.step:,} of {run.session.total:,}")
        else:
            run = _new_run(data, given, out, start, ranks)
        if ranks.part.of > 1:
            click.echo(ranks.describe())
        with run:
            _follow(run)


def _new_run(
    data: tuple[str, ...], given: dict[str, Any], out: str | None, start: str | None, ranks: Any
) -> Any:
    """Read the data, say what they are and what will be trained, and make the run."""
    from fastlstm.data.opening import KINDS
    from fastlstm.data.paths import one_or_all
    from fastlstm.training.attendance import Attendance
    from fastlstm.training.defaults import chosen_for
    from fastlstm.training.folders import claimed, ids_file
    from fastlstm.training.runs import Run
    from fastlstm.training.session import Session
    from fastlstm.training.starting import begin, keywords, read_model

    with ExitStack() as begun:
        path = one_or_all(data) or None
        place = ranks.on_first(begun.enter_context, claimed(out, path))
        folder = ranks.tell(place and place.folder)
        model = None if start is None else read_model(start, ranks)
        options = Options(**(given if start is None else keywords(model, given, start)))
        read = ranks.open(path, keep=ids_file(path, options, folder), **options.reading)
        click.echo(read.describe())
        if data and options.kind is None:
            others = " or ".join(kind for kind in KINDS if kind != read.kind)
            click.echo(f"read as {read.kind} (--as {others} if it is not)")
        told = len(read.notes)
        for note in read.notes:
            click.echo(note)
        if options.minutes is not None:
            click.echo(f"measuring how much can be done in {options.minutes:g} minutes …")
        beginning = None if start is None else begin(model, read, options, start)
        if beginning is not None and start is not None:
            click.echo(beginning.describe(start))
        session = Session(read, options, beginning, ranks=ranks)
        if chosen := chosen_for(read.kind, len(read), options.as_dict(), start is not None):
            words = " ".join(f"{flag(name)} {getattr(session.options, name)}" for name in chosen)
            click.echo(f"chosen for so much {'time and data' if options.minutes else 'data'}: {words}")
        for note in read.notes[told:]:
            click.echo(note)
        source = path if path in (None, "-") else one_or_all(read.files)
        run = Run.begin(session, source, place) if place else Attendance(session, folder)
        o = session.options
        click.echo(
            f"{session.size:,} parameters: {o.layers} × {counted(o.hidden or 0, 'unit')}, "
            f"embedding {o.embedding}, {counted(len(session.vocabulary.characters), 'character')}"
        )
        epochs = f"{session.total / session.feed.steps_per_epoch:.3g}"
        click.echo(
            f"{counted(session.total, 'step')}, {epochs} epoch{'s' * (epochs != '1')}; "
            f"{o.optimizer}, {o.schedule}, lr {o.lr:g}{', bf16' if o.precision == 'bf16' else ''}; run {run.folder}"
        )
    return run


def _follow(run: Any) -> None:
    """Train to the end or to a signal, showing it, and close with what there is now."""
    from fastlstm.commands.progress import Progress, sentence
    from fastlstm.engine.signals import Signals
    from fastlstm.training.folders import resuming

    session = run.session
    # Noted, so that no step is cut.
    with Signals(signal.SIGINT, signal.SIGTERM) as signals, Progress(session) as progress:
        for record in run.follow(lambda: signals.received is not None):
            try:
                progress.show(record)
            except BrokenPipeError:
                signals.received = BROKEN_PIPE
    position = session.position
    if not session.finished:
        click.echo(
            f"stopped at step {position.step:,} of {session.total:,}, all saved; "
            f"go on with: {resuming(run.folder)}",
            err=True,
        )
        raise SystemExit(128 + (signals.received or signal.SIGINT))
    if position.stopped:
        click.echo(
            f"stopped at step {position.step:,} of {session.total:,}: {counted(position.worse, 'validation')} without a "
            "better one; --patience 0 trains to the end"
        )
    if position.best is not None:
        click.echo(f"best at step {position.best_step:,}, on what was held out: {sentence(position.best)}")
    if run.curves:
        click.echo(f"curves: {run.curves}")
    else:
        click.echo("curves: pip install 'fastlstm[plot]' brings matplotlib, which draws them into the run")
    click.echo(f"run: {run.folder}")
    click.echo(f"sample from it: {typed('fastlstm', 'sample', run.folder)}")
