"""The run's folder: what is in it, who may write to it, and what a resumed run accepts."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from small_runs import session, some_names, write_data

from fastlstm import __version__
from fastlstm.data import files
from fastlstm.data.names import Names
from fastlstm.data.novelty import read_index
from fastlstm.data.opening import open_data
from fastlstm.errors import FastLSTMError
from fastlstm.network.model import Metrics, Network
from fastlstm.training import runs
from fastlstm.training.evaluation import evaluate_held_out
from fastlstm.training.folders import COLUMNS, cut, new_folder
from fastlstm.training.model_file import METADATA_KEY, load_arrays, load_model
from fastlstm.training.options import Options
from fastlstm.training.plots import draw_runs, read_metrics
from fastlstm.training.runs import Run
from fastlstm.training.session import Diverged, Session


def finish(run):
    """Train to the end, silently, without curves."""
    with run:
        return list(run.follow())


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    monkeypatch.setattr(runs, "find_spec", lambda name: None)


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path)


def create(data, out, **options):
    """A run on a file, as the command makes it."""
    small = {
        "hidden": 8,
        "embedding": 4,
        "batch_size": 4,
        "epochs": 3,
        "checkpoint_seconds": 1e9,
        "kind": "names",
    }
    if "steps" in options:
        del small["epochs"]
    given = Options(**{**small, **options})
    read = open_data(data, **given.reading)
    return Run.create(Session(read, given), str(data), out)


def rows(folder):
    with open(Path(folder) / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_what_a_finished_run_holds(tmp_path, data):
    run = create(data, tmp_path / "run", log_every=10)
    records = finish(run)
    names = {p.name for p in run.folder.iterdir()}
    assert names == {
        "model.safetensors",
        "checkpoint.safetensors",
        "metrics.csv",
        "config.json",
        "names.index",
        ".lock",
    }
    reports = [r for r in records if r.train]
    table = rows(run.folder)
    assert [int(row["step"]) for row in table] == [r.step for r in reports]
    assert tuple(table[0]) == COLUMNS
    assert float(table[-1]["validation_loss"]) == pytest.approx(reports[-1].validation.loss, rel=1e-5)
    assert table[0]["validation_loss"] == ""
    model = load_model(run.folder)
    best = min((r for r in reports if r.validation), key=lambda r: r.validation.loss)
    assert model.extra["step"] == best.step
    assert model.extra["validation"]["loss"] == best.validation.loss
    assert evaluate_held_out(model.network, run.session.feed) == best.validation
    config = json.loads((run.folder / "config.json").read_text())
    assert config["steps_done"] == config["total_steps"] == run.session.total
    assert config["options"]["hidden"] == 8
    assert config["best_validation"]["perplexity"] == best.validation.perplexity
    assert set(read_index(run.folder).train) == set(run.session.feed.train.distinct)


def test_the_same_seed_gives_the_same_model_file(tmp_path, data):
    for name in ("a", "b"):
        finish(create(data, tmp_path / name))
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b"))
    assert first == second


def test_no_index_leaves_the_training_names_out(tmp_path, data):
    run = create(data, tmp_path / "run", index=False)
    finish(run)
    name = max(run.session.feed.train.distinct, key=len).encode()
    assert name in data.read_bytes()
    assert not any(name in path.read_bytes() for path in run.folder.iterdir())
    assert read_index(run.folder) is None


def test_new_runs_are_numbered_and_none_is_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [str(new_folder(None, "data/names.csv.gz")) for _ in range(3)] == [
        f"runs/names-{i}" for i in (1, 2, 3)
    ]
    assert str(new_folder(None, None)) == "runs/names-4"
    assert str(new_folder(None, "-")) == "runs/data-1"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    with pytest.raises(FastLSTMError, match="holds files already"):
        new_folder("full", None)
    with pytest.raises(FastLSTMError, match="is a file"):
        new_folder("full/thesis.tex", None)
    assert new_folder("new/deep", None).is_dir()


def test_a_run_that_cannot_be_made_leaves_nothing(tmp_path, data, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs, "save_arrays", full)
    with pytest.raises(OSError, match="No space"):
        create(data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_in_use_is_refused_and_free_again_after_close(tmp_path, data):
    run = create(data, tmp_path / "run")
    before = {p.name: p.read_bytes() for p in run.folder.iterdir()}
    with pytest.raises(FastLSTMError, match="in use by another training process"):
        Run.resume(run.folder)
    assert {p.name: p.read_bytes() for p in run.folder.iterdir()} == before
    run.close()
    Run.resume(run.folder).close()


def test_options_on_resume_are_honoured_or_refused_by_name(tmp_path, data):
    run = create(data, tmp_path / "run", epochs=2)
    finish(run)
    with pytest.raises(FastLSTMError, match="hidden is 8 in this run and cannot become 16"):
        Run.resume(run.folder, {"hidden": 16})
    with pytest.raises(FastLSTMError, match=r"has done \d+ steps already, and 3 are asked for"):
        Run.resume(run.folder, {"steps": 3})
    longer = Run.resume(run.folder, {"epochs": 3, "lr": 0.5})
    assert longer.session.total == 3 * longer.session.feed.steps_per_epoch
    assert longer.session.schedule.peak == 0.5
    records = finish(longer)
    assert records[0].step == 2 * longer.session.feed.steps_per_epoch + 1
    again = Run.resume(run.folder)
    assert (again.session.options.epochs, again.session.options.lr) == (3, 0.5)
    assert finish(again) == []


def test_more_epochs_wake_a_run_that_stopped_early(tmp_path, data):
    run = create(data, tmp_path / "run", epochs=40, patience=1, lr=0.3, schedule="constant")
    finish(run)
    assert run.session.position.stopped
    assert finish(Run.resume(run.folder)) == []
    assert (
        finish(Run.resume(run.folder, {"epochs": 41, "patience": 0}))[-1].step
        == 41 * run.session.feed.steps_per_epoch
    )


def test_changed_data_are_refused_and_moved_data_are_found(tmp_path, data):
    run = create(data, tmp_path / "run")
    run.close()
    moved = data.rename(tmp_path / "moved.txt")
    with pytest.raises(FastLSTMError, match="no such file"):
        Run.resume(run.folder)
    Run.resume(run.folder, source=str(moved)).close()
    moved.write_text("anna\nbanana\n")
    with pytest.raises(FastLSTMError, match=r"is not what .* was trained on"):
        Run.resume(run.folder, source=str(moved))


def test_data_from_memory_must_be_given_again(tmp_path):
    s = session()
    Run.create(s, "-", tmp_path / "run").close()
    with pytest.raises(FastLSTMError, match="give them again"):
        Run.resume(tmp_path / "run")
    Run.resume(tmp_path / "run", data=Names(some_names())).close()


def test_damaged_checkpoints_are_one_clear_line_and_touch_nothing(tmp_path, data):
    run = create(data, tmp_path / "run")
    finish(run)
    path = run.folder / "checkpoint.safetensors"
    whole, others = (
        path.read_bytes(),
        {p: p.read_bytes() for p in run.folder.iterdir() if p.name != path.name},
    )
    for bad in (whole[: len(whole) // 2], whole[:3], b"", (run.folder / "model.safetensors").read_bytes()):
        path.write_bytes(bad)
        with pytest.raises(FastLSTMError, match=r"checkpoint\.safetensors is") as caught:
            Run.resume(run.folder)
        assert "\n" not in str(caught.value)
        assert {p: p.read_bytes() for p in others} == others
    path.unlink()
    with pytest.raises(FastLSTMError, match=r"holds no checkpoint\.safetensors"):
        Run.resume(run.folder)


def test_a_checkpoint_of_another_model_shape_is_refused(tmp_path, data):
    small, large = (create(data, tmp_path / str(hidden), hidden=hidden) for hidden in (8, 12))
    for run in (small, large):
        finish(run)
    shutil.copy(large.folder / "checkpoint.safetensors", small.folder)
    before = (small.folder / "model.safetensors").read_bytes()
    with pytest.raises(FastLSTMError, match="are of different models"):
        Run.resume(small.folder)
    assert (small.folder / "model.safetensors").read_bytes() == before


def test_arrays_that_do_not_fit_the_checkpoints_own_options_are_refused(tmp_path, data):
    run = create(data, tmp_path / "run")
    run.close()
    path = run.folder / "checkpoint.safetensors"
    arrays, facts = load_arrays(path)
    arrays["m.head.b"] = arrays["m.head.b"][:-1]
    runs.save_arrays(path, arrays, facts)
    with pytest.raises(FastLSTMError, match=r"m\.head\.b is float32 \(\d+,\), but the model needs"):
        Run.resume(run.folder)


def test_a_diverging_run_keeps_its_best_model_and_its_last_checkpoint(tmp_path, data, monkeypatch):
    run = create(data, tmp_path / "run", checkpoint_every=1)
    records, real = run.follow(), Network.step
    steps = run.session.feed.steps_per_epoch + 2
    for _ in range(steps):
        next(records)
    kept = {
        name: (run.folder / name).read_bytes() for name in ("model.safetensors", "checkpoint.safetensors")
    }

    def poisoned(network, *args, **more):
        real(network, *args, **more)
        network.parameters.flat[:] = np.nan
        return Metrics(np.nan, 0, 1, np.nan), None

    monkeypatch.setattr(Network, "step", poisoned)
    with pytest.raises(Diverged, match=rf"at step {steps + 1} .*lower lr.* of step {steps}$") as caught:
        list(records)
    run.close()
    assert f"{run.folder} has the model of step {steps - 2} and a checkpoint" in str(caught.value)
    assert {name: (run.folder / name).read_bytes() for name in kept} == kept
    assert np.isfinite(load_model(run.folder).network.parameters.flat).all()


def test_a_diverging_run_writes_its_best_model_if_that_is_still_to_be_done(tmp_path, data, monkeypatch):
    run = create(data, tmp_path / "run", validate_every=5)
    records = run.follow()
    for _ in range(14):
        record = next(records)
    best = run.session.position.best_step
    monkeypatch.setattr(Network, "step", lambda *_, **__: (Metrics(np.nan, 0, 1, np.nan), None))
    with run, pytest.raises(Diverged, match=rf"model of step {best} and a checkpoint of step 5$"):
        next(records)
    assert record.step == 14
    assert load_model(run.folder).extra["step"] == best == 10


def test_a_run_that_diverges_at_once_says_that_there_is_no_model(tmp_path, data, monkeypatch):
    run = create(data, tmp_path / "run")
    monkeypatch.setattr(Network, "step", lambda *_, **__: (Metrics(np.nan, 0, 1, np.nan), None))
    with run, pytest.raises(Diverged, match="has no model and a checkpoint of step 0"):
        list(run.follow())
    assert not (run.folder / "model.safetensors").exists()


def test_weights_gone_bad_unnoticed_are_not_written(tmp_path, data):
    run = create(data, tmp_path / "run")
    before = (run.folder / "checkpoint.safetensors").read_bytes()
    run.session.network.parameters.flat[3] = np.inf
    with run, pytest.raises(FastLSTMError, match="NaN or infinite"):
        run.checkpoint()
    assert (run.folder / "checkpoint.safetensors").read_bytes() == before


def test_checkpoints_come_by_steps_and_by_time(tmp_path, data, monkeypatch):
    def saved(folder):
        return load_arrays(folder / "checkpoint.safetensors")[1]["position"]["step"]

    run = create(data, tmp_path / "steps", checkpoint_every=4, validation=0)
    with run:
        at = {record.step: saved(run.folder) for record in run.follow()}
    assert [at[step] for step in (1, 4, 7, 8)] == [0, 4, 4, 8]
    assert saved(run.folder) == run.session.total

    now = [0.0]
    monkeypatch.setattr(runs, "monotonic", lambda: now[0])
    run = create(data, tmp_path / "time", checkpoint_seconds=10, steps=8)
    at = []
    with run:
        for _ in run.follow():
            at.append(saved(run.folder))
            now[0] += 4.0
    assert at[:7] == [0, 0, 0, 4, 4, 4, 7]


def test_metrics_are_cut_back_to_a_step_and_to_whole_rows(tmp_path):
    path = tmp_path / "metrics.csv"
    header = ",".join(COLUMNS) + "\n"
    tail = "," * (len(COLUMNS) - 1)
    path.write_text(f"{header}5{tail}\n10{tail}\n15{tail}\n2")
    cut(path, 10)
    assert path.read_text() == f"{header}5{tail}\n10{tail}\n"
    path.unlink()
    cut(path, 10)
    assert path.read_text() == header


def test_stopped_after_one_step_there_is_a_model_and_nothing_to_draw(tmp_path, data, monkeypatch):
    monkeypatch.undo()
    run = create(data, tmp_path / "run")
    with run:
        assert len(list(run.follow(lambda: True))) == 1
    assert load_model(run.folder).extra == {"fastlstm": __version__, "step": 1, "validation": None}
    assert not (run.folder / "curves.png").exists()
    with Run.resume(run.folder) as again:
        assert next(again.follow()).step == 2


def test_left_over_temporary_files_are_cleared_on_resume(tmp_path, data):
    run = create(data, tmp_path / "run")
    run.close()
    (run.folder / ".checkpoint.safetensors.1-2.tmp").write_bytes(b"half")
    Run.resume(run.folder).close()
    assert not list(run.folder.glob(".*.tmp"))


def test_curves_of_one_run_and_of_several(tmp_path, data):
    pytest.importorskip("matplotlib")
    for name in ("a", "b"):
        finish(create(data, tmp_path / name, log_every=5))
    for name, folders in (("one.png", ["a"]), ("two.svg", ["a", "b"])):
        draw_runs([tmp_path / f for f in folders], tmp_path / name, against="step")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    picture = (tmp_path / "two.svg").read_text()
    assert picture.lstrip().startswith("<?xml")
    with pytest.raises(FastLSTMError, match=r"not written as \.txt"):
        draw_runs([tmp_path / "a"], tmp_path / "curves.txt")
    assert not (tmp_path / "curves.txt").exists()


def test_curves_without_rows_or_of_other_folders(tmp_path, data):
    run = create(data, tmp_path / "run")
    run.close()
    with pytest.raises(FastLSTMError, match="has no row yet"):
        read_metrics(run.folder)
    with pytest.raises(FastLSTMError, match="is no run"):
        read_metrics(tmp_path)
    (run.folder / "metrics.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FastLSTMError, match="no column"):
        read_metrics(run.folder)
    (run.folder / "metrics.csv").write_text("step\nnine\n")
    with pytest.raises(FastLSTMError, match="cannot be read"):
        read_metrics(run.folder)


@pytest.mark.parametrize("failing", ["checkpoint.safetensors", "metrics.csv", "config.json"])
def test_a_full_disk_says_which_file_and_how_to_go_on(tmp_path, data, monkeypatch, failing):
    whole = create(data, tmp_path / "whole", steps=30, log_every=5)
    finish(whole)
    run = create(data, tmp_path / "a run", steps=30, log_every=5, checkpoint_every=10)
    with run:
        steps = run.follow()
        while run.session.position.step < 15:
            next(steps)
        with monkeypatch.context() as patch:
            if failing == "metrics.csv":
                patch.setattr(runs, "_row", Full())
            else:
                patch.setattr(files.os, "fsync", Full())
                if failing == "config.json":
                    patch.setattr(run, "checkpoint", lambda: None)
            with pytest.raises(FastLSTMError) as caught:
                list(steps)
    step = load_arrays(run.folder / "checkpoint.safetensors")[1]["position"]["step"]
    said = f"{run.folder / failing}: No space left on device; {run.folder} is whole as of step {step}: see to it, and "
    assert str(caught.value) == f"{said}go on with: fastlstm train --resume '{run.folder}'"
    finish(Run.resume(run.folder))
    model = "model.safetensors"
    assert (run.folder / model).read_bytes() == (whole.folder / model).read_bytes()
    assert [row["step"] for row in rows(run.folder)] == [row["step"] for row in rows(whole.folder)]


class Full:
    """What a disk without room does."""

    def __call__(self, *_):
        raise OSError(28, "No space left on device")


def test_a_model_that_somebody_reads_does_not_end_the_training(tmp_path, data, monkeypatch):
    run = create(data, tmp_path / "run", steps=10, checkpoint_every=2)
    checkpoint, refused = run.checkpoint, []

    def in_use():
        if run.session.position.step in (2, 4) and len(refused) < 2:
            refused.append(run.session.position.step)
            raise files.InUse("model.safetensors is open in another program")
        checkpoint()

    monkeypatch.setattr(run, "checkpoint", in_use)
    with pytest.warns(UserWarning, match="open in another program; training goes on"):
        finish(run)
    assert refused == [2, 4]
    assert load_arrays(run.folder / "checkpoint.safetensors")[1]["position"]["step"] == 10


def test_what_a_killed_process_left_is_cleared_from_a_new_run_too(tmp_path, data):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".checkpoint.safetensors.123-0.tmp").write_bytes(b"begun")
    (tmp_path / "run" / ".gitignore").touch()
    finish(create(data, tmp_path / "run"))
    assert {path.name for path in (tmp_path / "run").glob(".*")} == {".lock", ".gitignore"}


def test_a_run_that_cannot_be_made_leaves_other_peoples_files(tmp_path, data, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".gitignore").touch()
    monkeypatch.setattr(files.os, "fsync", Full())
    with pytest.raises(OSError, match="No space left") as caught:
        create(data, tmp_path / "run")
    assert caught.value.filename == str(tmp_path / "run" / "checkpoint.safetensors")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".gitignore"]


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("batch", 10**6), ("batch", -1), ("step", 7.5), ("epoch", 3), ("best", [1]), ("stopped", "no"), ("loss", float("inf")),
        ("worse", -1), ("seconds", None), ("wings", 2),
    ],
)  # fmt: skip
def test_a_position_that_no_run_comes_to_is_refused(tmp_path, data, part, value):
    finish(create(data, tmp_path / "run", steps=10))
    path = tmp_path / "run" / "checkpoint.safetensors"
    arrays, facts = load_arrays(path)
    facts["position"][part] = value
    path.write_bytes(save(arrays, {METADATA_KEY: json.dumps(facts)}))
    with pytest.raises(FastLSTMError, match=r"checkpoint\.safetensors.* damaged"):
        Run.resume(tmp_path / "run")


def test_metrics_that_are_no_text_are_said(tmp_path):
    (tmp_path / "metrics.csv").write_bytes(b"step,epoch\n\xff\xfe,1\n")
    with pytest.raises(FastLSTMError, match="cannot be read"):
        read_metrics(tmp_path)
