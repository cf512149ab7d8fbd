"""The `fastlstm` command: one module of `commands/` for each subcommand, imported when it is called."""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from typing import Any, NoReturn

import click

from fastlstm.commands import streams
from fastlstm.errors import FastLSTMError, meant, printable, quoted
from fastlstm.training.launchers import launched

COMMANDS = {
    "train": "Train a model on names, lines or text.",
    "sample": "Draw names, lines or text from a trained model.",
    "eval": "Score data or single names under a trained model.",
    "info": "Say what a run or a model file holds.",
    "plot": "Draw the curves of one run or compare several.",
    "bench": "Measure fastlstm against its peers on this machine.",
    "export": "Write a model for PyTorch or ONNX, or as a web page.",
    "play": "Open a model's web page in the browser.",
    "import": "Make a run from exported PyTorch weights.",
    "notebook": "Run one of the five notebooks' jobs.",
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and one-line helps without importing their modules.

    Whatever goes wrong is one line on standard error: exit code 2 for a wrong command line, 1 for all else,
    130 after Ctrl-C. A reader that closes the pipe ends a command as if all had been read.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"fastlstm.commands.{cmd_name}_")
        return module.command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS:
            likely = meant(args[0], COMMANDS) or f"; there are {', '.join(COMMANDS)}"
            raise click.UsageError(f"there is no command {quoted(args[0])}{likely}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **extra)
        streams.prepare()
        try:
            code = self._code(*args, **extra)
            _flush()
        except (
            click.ClickException,
            FastLSTMError,
            click.Abort,
            UnicodeEncodeError,
            MemoryError,
            OSError,
        ) as error:
            _fail(error)
        sys.exit(code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            streams.silence(sys.stdout, sys.stderr)

    def _code(self, *args: Any, **extra: Any) -> int:
        """Run a command; its exit code."""
        try:
            code = super().main(*args, standalone_mode=False, **extra)
        except SystemExit as end:
            code = end.code
        return code if isinstance(code, int) else 0


def _flush() -> None:
    """Write what standard output holds; a reader that has gone is no error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        streams.silence(sys.stdout)
    except OSError:
        streams.silence(sys.stdout)
        raise


def explained(error: BaseException) -> tuple[str, int] | None:
    """An error in one line, what cannot be seen escaped, and its exit code; None for one that nobody should meet."""
    code = 1
    if isinstance(error, click.UsageError):
        command, code = error.ctx.command_path if error.ctx else "fastlstm", 2
        found = f"{command}: {error.format_message()} ({command} --help shows how)"
    elif isinstance(error, click.ClickException):
        found = f"fastlstm: {error.format_message()}"
    elif isinstance(error, FastLSTMError):
        found = f"fastlstm: {error}"
    elif isinstance(error, click.Abort | KeyboardInterrupt):
        found, code = "fastlstm: interrupted", 130
    elif isinstance(error, UnicodeEncodeError):
        found = f"fastlstm: {quoted(error.object)} cannot be the name of a file or a word on this system"
    elif isinstance(error, MemoryError):
        found = "fastlstm: not enough memory; take a smaller model, batch or window"
    elif isinstance(error, OSError):
        found = f"fastlstm: {error.filename or 'standard output'}: {error.strerror or error}"
    else:
        return None
    return printable(" ".join(found.split()), 2000), code


def _fail(error: BaseException) -> NoReturn:
    """End with a line."""
    with suppress(OSError):
        _flush()
    message, code = explained(error) or (str(error), 1)
    # Of several processes with the same command line, the first says what is wrong with it.
    if launched()[0] == 0 or not isinstance(error, click.UsageError):
        click.echo(message, err=True)
    sys.exit(code)


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="fastlstm")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Character-level LSTMs on a CPU: train on names, lines or text, sample, measure.

    Begin with `fastlstm train`, which trains a names generator on the embedded data set.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
