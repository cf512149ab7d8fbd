"""`fastlstm info`: what a run or a model file holds."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastlstm.commands.streams import utf8
from fastlstm.errors import FastLSTMError, printable

if TYPE_CHECKING:
    from fastlstm.data.vocabulary import Vocabulary
    from fastlstm.network.architecture import Architecture
    from fastlstm.training.checkpoint import Checkpoint


@click.command("info")
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Everything that is stored, as JSON.")
def command(run: str, as_json: bool) -> None:
    """Say what RUN holds: a run's folder or a model file.

    \b
    fastlstm info runs/names-1
    fastlstm info names.safetensors --json
    """
    from fastlstm.training.checkpoint import checkpoint_of
    from fastlstm.training.folders import CHECKPOINT, MODEL
    from fastlstm.training.model_file import fitting, load_arrays

    path = Path(run)
    files = [path / MODEL, path / CHECKPOINT] if path.is_dir() else [path]
    contents = {file: load_arrays(file) for file in files if file.exists() or not path.is_dir()}
    if not contents:
        raise FastLSTMError(f"{run} is no run: it holds neither {MODEL} nor {CHECKPOINT}")
    lines: list[tuple[str, str]] = []
    for file, (arrays, facts) in contents.items():
        checkpoint = checkpoint_of(file, arrays, facts) if "position" in facts else None
        lines = lines or _model(*((checkpoint and checkpoint.model) or fitting(file, arrays, facts)), facts)
        lines += _trained(run, checkpoint) if checkpoint else _kept(facts.get("extra", {}))
    if as_json:
        everything = {file.name: facts for file, (_, facts) in contents.items()}
        utf8(sys.stdout).write(json.dumps(everything, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
        return
    for label, value in lines:
        click.echo(f"{label + ':':<12} {value}")


def _model(a: Architecture, vocabulary: Vocabulary, facts: dict[str, Any]) -> list[tuple[str, str]]:
    from fastlstm.data.given import Condition

    parameters = sum(math.prod(shape) for shape in a.shapes().values())
    known = printable("".join(vocabulary.characters))
    lines = [
        ("kind", facts["kind"] + (", lower case" if facts["preprocessing"].get("lowercase") else "")),
        ("characters", f"{len(vocabulary.characters)}: {known}"),
        (
            "network",
            f"{a.layers} × {a.hidden} units, embedding {a.embedding}, {parameters:,} parameters, {a.dtype}",
        ),
        ("dropout", f"{a.dropout:g} on layers, {a.embedding_dropout:g} on the embedding"),
    ]
    extras = [
        name for name, on in (("tied output", a.tied), ("learned initial state", a.learned_state)) if on
    ]
    given = [Condition(**stored).describe() for stored in facts["preprocessing"].get("given", ())]
    lines += [("given", ", ".join(given))] if given else []
    return lines + ([("with", ", ".join(extras))] if extras else [])


def _kept(extra: dict[str, Any]) -> list[tuple[str, str]]:
    """Where in its training a model is from, and what it scored there."""
    from fastlstm.commands.progress import sentence
    from fastlstm.training.stored import scores_of

    lines = [("model", f"of step {extra['step']:,}")] if extra.get("step") else []
    scores = scores_of(extra.get("validation"))
    return lines + ([("held out", sentence(scores))] if scores else [])


def _from(source: Any) -> str:
    """Where data came from."""
    if isinstance(source, tuple):
        return f"{len(source):,} files: {printable(', '.join(source))}"
    return printable(source or "embedded names")


def _trained(run: str, checkpoint: Checkpoint) -> list[tuple[str, str]]:
    """How far a run has come."""
    from fastlstm.training.folders import resuming

    position, total = checkpoint.position, checkpoint.total
    coarse = ", products in bf16" if checkpoint.options.precision == "bf16" else ""
    lines = [
        ("data", _from(checkpoint.source)),
        ("trained", f"{position.step:,} of {total:,} steps in {position.seconds:,.0f} s{coarse}"),
    ]
    done = position.stopped or position.step >= total
    return lines + ([] if done else [("go on with", resuming(run))])
