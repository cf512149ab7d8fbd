"""A run that was interrupted, however often and however rudely, ends with the bytes of one that was not."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from small_runs import write_data

from fastlstm.data.opening import open_data
from fastlstm.training import runs
from fastlstm.training.options import Options
from fastlstm.training.runs import Run
from fastlstm.training.session import Session

TIMES = ("characters_per_second", "seconds")  # columns that two equal runs need not share

VARIANTS = {
    "names": {"kind": "names"},
    "weighted, tied, two layers": {
        "kind": "names",
        "tied": True,
        "layers": 2,
        "embedding": 8,
        "learned_state": True,
    },
    "text": {
        "kind": "text",
        "embedding_dropout": 0.1,
        "restarts": 0.3,
        "learned_state": True,
        "average": 0.3,
    },
    "sgd with momentum": {
        "kind": "text",
        "optimizer": "sgd",
        "momentum": 0.9,
        "lr": 0.1,
        "schedule": "cosine",
    },
    "validation by steps, f64": {"kind": "text", "validate_every": 9, "dtype": "float64", "patience": 50},
    "adam, no validation": {"kind": "names", "optimizer": "adam", "validation": 0, "schedule": "exponential"},
}


def start(folder, out, **options):
    data = write_data(folder, options["kind"])
    small = {
        "hidden": 8,
        "embedding": 4,
        "batch_size": 4,
        "window": 8,
        "steps": 75,
        "log_every": 3,
        "dropout": 0.3,
    }
    given = Options(**{**small, "checkpoint_seconds": 1e9, **options})
    read = open_data(data, **given.reading)
    return Run.create(Session(read, given), str(data), out)


def left(folder):
    """What a run leaves that must not differ: the model, the arrays of the checkpoint, the figures."""
    lines = (folder / "metrics.csv").read_text().splitlines()
    skipped = [lines[0].split(",").index(column) for column in TIMES]
    rows = [[cell for i, cell in enumerate(line.split(",")) if i not in skipped] for line in lines]
    return (folder / "model.safetensors").read_bytes(), arrays(folder), rows


def arrays(folder):
    from fastlstm.training.model_file import load_arrays

    found, facts = load_arrays(folder / "checkpoint.safetensors")
    position = {k: v for k, v in facts["position"].items() if "seconds" not in k}
    return {name: array.tobytes() for name, array in found.items()}, position


def reached(session, step):
    return session.position.step == step


@pytest.mark.parametrize("variant", VARIANTS)
def test_interrupted_anywhere_and_resumed_is_the_same_run(tmp_path, monkeypatch, variant):
    monkeypatch.setattr(runs, "find_spec", lambda name: None)
    with start(tmp_path, tmp_path / "whole", **VARIANTS[variant]) as whole:
        list(whole.follow())

    rng = random.Random(variant)
    broken = start(tmp_path, tmp_path / "broken", checkpoint_every=5, **VARIANTS[variant])
    for mode in ("dropped", "stopped", "dropped", "stopped", "to the end"):
        steps = rng.randint(2, 20)
        with broken:
            end = broken.session.position.step + steps
            stop = partial(reached, broken.session, end if mode == "stopped" else None)
            for record in broken.follow(stop):
                if mode == "dropped" and record.step == end:
                    break  # as if killed: nothing since the last checkpoint is kept
        if mode != "to the end":
            broken = Run.resume(tmp_path / "broken")
            assert 0 < broken.session.position.step < 75
    assert left(tmp_path / "whole") == left(tmp_path / "broken")


COMMAND = [sys.executable, "-c", "from fastlstm.commands.cli import main; main()"]


def command(folder, *words):
    return subprocess.Popen(
        [*COMMAND, "train", *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def training(folder, out, kind):
    """The words of a command that trains for two seconds or more."""
    data = write_data(folder, kind)
    words = f"--as {kind} --out {out} --checkpoint-every 40 --log-every 1 --steps 3000 --threads 1"
    sizes = "--hidden 24 --embedding 8 --batch-size 4 --window 8"
    return [str(data), *words.split(), *sizes.split()]


def wait_for_rows(process, metrics, rows, limit=240.0):
    """Until metrics.csv has so many rows, or the process has ended."""
    until = time.monotonic() + limit
    while process.poll() is None and time.monotonic() < until:
        if metrics.exists() and metrics.read_bytes().count(b"\n") > rows:
            return
        time.sleep(0.001)
    assert process.poll() is not None, f"{metrics} did not reach {rows} rows"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("kind", ["names", "text"])
def test_killed_at_random_moments_and_resumed(tmp_path, kind):
    whole = command(tmp_path, *training(tmp_path, "whole", kind))
    broken = command(tmp_path, *training(tmp_path, "broken", kind))
    rng, killed = random.Random(), 0
    for rows in sorted(rng.sample(range(1, 1500), 3)):
        wait_for_rows(broken, tmp_path / "broken" / "metrics.csv", rows)
        killed += broken.poll() is None
        broken.send_signal(signal.SIGKILL)
        broken.communicate()
        broken = command(tmp_path, "--resume", "broken")
    for process in (whole, broken):
        _, errors = process.communicate(timeout=240)
        assert (process.returncode, errors) == (0, "")
    assert killed >= 2
    assert left(tmp_path / "whole") == left(tmp_path / "broken")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, number):
    words = training(tmp_path, "run", "names")
    process = command(tmp_path, *words, "--checkpoint-every", "0")
    wait_for_rows(process, tmp_path / "run" / "metrics.csv", 30)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert errors.count("\n") == 1
    assert "go on with: fastlstm train --resume run" in errors
    step = int(errors.split("at step ")[1].split(" of")[0].replace(",", ""))
    assert arrays(Path(tmp_path / "run"))[1]["step"] == step >= 30
    assert (tmp_path / "run" / "model.safetensors").exists()
