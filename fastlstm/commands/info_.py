"""`fastlstm info`: what a run or a model file holds."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click


@click.command("info")
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Everything that is stored, as JSON.")
def command(run: str, as_json: bool) -> None:
    """Say what RUN holds: a run's folder or a model file.

    \b
    fastlstm info runs/names-1
    fastlstm info names.safetensors --json
    """
    from fastlstm.training.folders import CHECKPOINT, MODEL
    from fastlstm.training.model_file import load_facts

    path = Path(run)
    files = [path / MODEL, path / CHECKPOINT] if path.is_dir() else [path]
    facts = {file.name: load_facts(file) for file in files if file.exists() or not path.is_dir()}
    if not facts:
        from fastlstm.errors import FastLSTMError

        raise FastLSTMError(f"{run} is no run: it holds neither {MODEL} nor {CHECKPOINT}")
    if as_json:
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False, sort_keys=True))
        return
    first = next(iter(facts))
    for label, value in [*_model(first, facts[first]), *_progress(run, facts)]:
        click.echo(f"{label + ':':<12} {value}")


def _model(file: str, facts: dict[str, Any]) -> list[tuple[str, str]]:
    from fastlstm.training.model_file import described

    a, vocabulary = described(file, facts)
    parameters = sum(math.prod(shape) for shape in a.shapes().values())
    known = "".join(c if c.isprintable() else repr(c)[1:-1] for c in vocabulary.characters)
    lines = [
        ("kind", facts["kind"] + (", lower case" if facts["preprocessing"].get("lowercase") else "")),
        ("characters", f"{len(vocabulary.characters)}: {known[:200]}{'…' if len(known) > 200 else ''}"),
        (
            "network",
            f"{a.layers} × {a.hidden} units, embedding {a.embedding}, {parameters:,} parameters, {a.dtype}",
        ),
        ("dropout", f"{a.dropout:g} on layers, {a.embedding_dropout:g} on the embedding"),
    ]
    extras = [
        name for name, on in (("tied output", a.tied), ("learned initial state", a.learned_state)) if on
    ]
    return lines + ([("with", ", ".join(extras))] if extras else [])


def _progress(run: str, facts: dict[str, Any]) -> list[tuple[str, str]]:
    """What is known of the training: the model's step and scores, and how far the run has come."""
    from fastlstm.commands.progress import sentence
    from fastlstm.training.evaluation import Scores

    lines = []
    for stored in facts.values():
        extra = stored.get("extra", {})
        if extra.get("step"):
            lines.append(("model", f"of step {extra['step']:,}"))
        if extra.get("validation"):
            lines.append(("held out", sentence(Scores(**extra["validation"]))))
        if "position" in stored:
            position, total = stored["position"], stored["total_steps"]
            done = position["stopped"] or position["step"] >= total
            lines.append(("data", stored["data"]["source"] or "embedded names"))
            lines.append(
                ("trained", f"{position['step']:,} of {total:,} steps in {position['seconds']:,.0f} s")
            )
            if not done:
                lines.append(("go on with", f"fastlstm train --resume {run}"))
    return lines
