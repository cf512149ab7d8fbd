"""train, eval, info and plot as a person types them: output, exit codes, and one line for every mistake."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from small_runs import some_names, write_data

from fastlstm.commands import cli
from fastlstm.training import runs
from fastlstm.training.options import Options

SMALL = "--hidden 8 --embedding 4 --batch-size 4 --window 8 --threads 1".split()  # noqa: SIM905


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "find_spec", lambda name: None)
    return tmp_path


def run(*words, code=0, stdin=None):
    result = CliRunner().invoke(cli.main, [str(word) for word in words], input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def fails(says, *words, code=1, stdin=None):
    """The command ends with `code` and exactly one line on standard error."""
    result = run(*words, code=code, stdin=stdin)
    assert result.stderr.count("\n") == 1
    assert says in result.stderr
    return result


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    data = write_data(folder)
    before = Path.cwd()
    os.chdir(folder)
    try:
        run("train", data, "--as", "names", "--epochs", 3, "--samples", 3, "--out", "run", *SMALL)
    finally:
        os.chdir(before)
    return folder / "run"


@pytest.mark.parametrize("command", ["train", "eval", "info", "plot"])
def test_help_teaches(command):
    text = run(command, "--help").output
    assert f"fastlstm {command}" in text
    assert "\n  fastlstm " in text


def test_without_a_command_the_help_is_shown_as_it_is():
    lines = run().stdout.splitlines()
    assert lines == run("--help").stdout.splitlines()
    assert any(line.startswith("  train ") for line in lines)


@pytest.mark.parametrize(
    ("word", "says"),
    [("trian", "did you mean train?"), ("names.csv", "there are train, sample"), ("a\nb", r"'a\nb'")],
)
def test_a_command_that_is_none_is_told_what_was_meant(word, says):
    fails(says, word, code=2)


def test_help_of_train_has_every_option_with_its_default():
    text = " ".join(run("train", "--help").output.split())
    for field in Options.__dataclass_fields__.values():
        spelled = "--as" if field.name == "kind" else "--" + field.name.replace("_", "-")
        assert spelled in text
    for shown in (
        "[256]",
        "[names 128, lines by length, text 24]",
        "[adamw]",
        "[names on, lines off, text off]",
        "[0.1]",
        "[an epoch]",
    ):
        assert shown in text


def test_train_shows_epochs_and_ends_with_the_run_and_how_to_sample(here):
    data = write_data(here)
    out = run("train", data, "--as", "names", "--epochs", 3, "--samples", 2, *SMALL).stdout
    lines = out.splitlines()
    assert "66 names" in out
    epochs = [line.split() for line in lines if line[:7].strip().replace(".", "").isdigit()]
    assert [line[0] for line in epochs] == ["1.00", "2.00", "3.00"]
    assert [float(line[2]) for line in epochs] == sorted((float(line[2]) for line in epochs), reverse=True)
    marks = [line for line in lines if line.endswith(("new", "in train", "in validation"))]
    assert len(marks) == 6
    assert "best at step" in out
    assert lines[-3].startswith("curves: pip install 'fastlstm[plot]'")
    assert lines[-2:] == ["run: runs/names-1", "sample from it: fastlstm sample runs/names-1"]
    assert run("sample", "runs/names-1", "-n", 3, "--seed", 1).stdout.count("\n") == 3


def test_many_short_epochs_do_not_flood_the_screen(here):
    data = write_data(here)
    out = run("train", data, "--as", "names", "--epochs", 250, "--hidden", 2, "--batch-size", 60).stdout
    shown = [line.split()[0] for line in out.splitlines() if line[:7].strip().replace(".", "").isdigit()]
    assert shown == [f"{epoch}.00" for epoch in range(2, 251, 2)]
    assert Path("runs/names-1/metrics.csv").read_text().count("\n") == 251


def test_the_end_names_the_curves_where_they_were_drawn(here, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(runs, "find_spec", lambda name: name)
    out = run("train", write_data(here), "--as", "names", "--epochs", 1, *SMALL).stdout
    assert "15 steps, 1 epoch; adamw" in out
    assert "curves: runs/names-1/curves.png" in out
    assert Path("runs/names-1/curves.png").is_file()


def test_what_was_guessed_is_said_before_training(here):
    (here / "t.csv").write_bytes("Sex;Vorname\nf;Anna\nm;Bö\nf;Cy\n".encode("utf-16"))
    out = run("train", "t.csv", "--steps", 1, *SMALL).stdout
    for said in (
        "t.csv: 3 names, 3 distinct, turned to lower case (--no-lowercase keeps capitals)",
        "read as names (--as lines or text if it is not)",
        "read as utf-16-le, as its byte order mark says",
        "fields are separated by ';'",
        "the names are in column 'Vorname'",
    ):
        assert said in out.splitlines()


def test_no_novel_name_stands_in_the_file_that_was_given(here):
    (here / "few.txt").write_text("aa\nab\nba\nbb\n")
    run("train", "few.txt", "--as", "names", "--steps", 40, "--validation", 2, "--lr", 0.05, *SMALL)
    words = ["-n", 30, "--novel", "--unique", "--max-length", 3, "--seed", 1]
    drawn = run("sample", "runs/few-1", *words, code=3).stdout.split()
    assert len(drawn) == 2 + 8, "of all strings of at most 3 letters those in the file are missing"
    assert not {"aa", "ab", "ba", "bb"} & set(drawn)
    report = run("sample", "runs/few-1", "-n", 300, "--report", "--seed", 1).stdout
    counts = {line[:8].strip(): int(line[8:18].replace(",", "")) for line in report.splitlines()[1:5]}
    assert counts["in train"] > 0
    assert counts["held out"] > 0
    assert counts["new"] + counts["in train"] + counts["held out"] == 300


def test_samples_are_marked_by_where_they_occur(here):
    (here / "few.txt").write_text("aa\nab\nba\nbb\n")
    words = ["--epochs", 40, "--validation", 2, "--lr", 0.05, "--samples", 4]
    out = run("train", "few.txt", "--as", "names", *words, *SMALL).stdout
    drawn = dict(line.split(maxsplit=1) for line in out.splitlines() if line.startswith("    a"))
    index = json.loads(gzip.decompress(Path("runs/few-1/names.index").read_bytes()))
    for name in ("aa", "ab", "ba", "bb"):
        if name in drawn:
            assert drawn[name] == ("in train" if name in index["train"] else "in validation")
    assert any(mark == "new" for mark in drawn.values())
    assert {"in train", "in validation"} & set(drawn.values())


def test_train_on_text_and_standard_input(here):
    data = write_data(here, "text")
    out = run("train", data, "--epochs", 2, "--samples", 1, *SMALL).stdout
    assert "read as text (--as names or lines if it is not)" in out
    assert "runs/text-1" in out
    out = run("train", "-", "--as", "names", "--steps", 3, *SMALL, stdin="\n".join(some_names())).stdout
    assert "run: runs/data-1" in out
    fails("give them again", "train", "--resume", "runs/data-1", "--epochs", 5)
    fails("--as", "train", "-", stdin="x")


def test_train_without_data_uses_the_names_that_come_with_it(here):
    out = run("train", "--limit", 300, "--steps", 3, *SMALL).stdout
    assert "embedded names: 300 names" in out
    assert "run: runs/names-1" in out


def test_a_table_with_a_column_and_weights(here):
    with open("people.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerows([("Id", "Name", "Count"), *((i, n, i + 1) for i, n in enumerate(some_names()))])
    run("train", "people.csv", "--column", "Name", "--weight", "Count", "--limit", 50, "--steps", 3, *SMALL)
    config = json.loads(Path("runs/people-1/config.json").read_text())
    assert config["options"]["column"] == "Name"
    assert config["steps_per_epoch"] < 14


def test_minutes_are_turned_into_steps_that_repeat_the_run(here):
    data = write_data(here)
    run("train", data, "--as", "names", "--minutes", 0.005, *SMALL)
    config = json.loads(Path("runs/names-1/config.json").read_text())
    words = config["command"].split()
    assert words[:2] == ["fastlstm", "train"]
    assert str(config["total_steps"]) in words
    run(*words[1:], "--out", "again")
    first, second = (Path(name, "model.safetensors").read_bytes() for name in ("runs/names-1", "again"))
    assert first == second


def test_resume_goes_on_and_refuses_what_it_cannot_change(here):
    data = write_data(here)
    run("train", data, "--as", "names", "--epochs", 1, "--out", "r", *SMALL)
    out = run("train", "--resume", "r", "--epochs", 2).stdout
    assert "going on with r at step 15 of 30" in out
    assert "run: r" in out
    assert "already" not in run("train", "--resume", "r").stdout
    fails("hidden is 8 in this run", "train", "--resume", "r", "--hidden", 9)
    fails("minutes is not set in this run", "train", "--resume", "r", "--minutes", 9)
    fails("choose one", "train", "--resume", "r", "--out", "s", code=2)
    fails("holds no checkpoint", "train", "--resume", "nowhere")
    assert not Path("nowhere").exists()


@pytest.mark.parametrize(
    ("says", "words", "code"),
    [
        ("no such file", ["absent.csv"], 1),
        ("hidden is 0", ["--hidden", "0"], 2),
        ("'lion'", ["--optimizer", "lion"], 2),
        ("No such option", ["--hiden", "3"], 2),
        ("given together", ["--steps", "3", "--epochs", "3"], 2),
        ("is empty", ["empty.txt", "--as", "names"], 1),
        ("the only name is", ["one.txt", "--as", "names"], 1),
        ("there is no column 'Nome'", ["table.csv", "--column", "Nome"], 1),
        ("line 3", ["ragged.csv"], 1),
        ("line 2", ["latin.txt"], 1),
        ("validation of 5", ["table.csv", "--validation", "5"], 1),
        ("too short for", ["one.txt", "--batch-size", "99", "--validation", "0"], 1),
        ("holds files already", ["table.csv", "--out", "full"], 1),
        ("cannot be read", ["closed/names.txt"], 1),
        ("tied", ["table.csv", "--tied", "--hidden", "8", "--embedding", "4"], 1),
    ],
)
def test_every_mistake_is_one_line_and_leaves_nothing(here, says, words, code):
    (here / "empty.txt").write_text("")
    (here / "one.txt").write_text("anna\n")
    (here / "table.csv").write_text("Name\nanna\nbob\n")
    (here / "ragged.csv").write_text("Name,Count\nanna,1\nbob,2,3\n")
    (here / "latin.txt").write_bytes(b"anna\n\xe5sa\n")
    (here / "full").mkdir()
    (here / "full" / "x").write_text("")
    (here / "closed").write_text("not a folder")
    before = sorted(p for p in here.rglob("*"))
    fails(says, "train", *words, code=code)
    assert sorted(p for p in here.rglob("*")) == before


def test_a_full_disk_is_one_line(here, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "checkpoint.safetensors")

    monkeypatch.setattr(runs, "save_arrays", full)
    fails("checkpoint.safetensors: No space left", "train", write_data(here), "--as", "names", *SMALL)


def test_a_diverging_run_is_one_line_with_advice(here):
    data = write_data(here)
    words = ["--optimizer", "sgd", "--lr", 1e30, "--clip-norm", 0, "--schedule", "constant", "--epochs", 5]
    result = fails(
        "train again with a lower lr", "train", data, "--as", "names", "--out", "r", *words, *SMALL
    )
    assert "has no model and a checkpoint of step 0" in result.stderr


def test_eval_of_data_and_of_names(trained, here):
    (here / "more.txt").write_text("Anna\nbela\n")
    assert "over 10 characters" in run("eval", trained, "more.txt").stdout
    facts = json.loads(run("eval", trained, "more.txt", "--format", "json").stdout)
    assert facts["characters"] == 10
    assert facts["perplexity"] > facts["loss"]
    rows = list(
        csv.DictReader(
            io.StringIO(run("eval", trained, "--name", "Anna", "--name", "b", "--format", "csv").stdout)
        )
    )
    assert [row["name"] for row in rows] == ["Anna", "b"]
    assert float(rows[0]["logprob"]) < 0
    assert "log p" in run("eval", trained, "--name", "anna").stdout
    fails("'q', 'z'", "eval", trained, "--name", "qaz")
    words = ["eval", trained, "--name", "qaz", "--name", "anna", "--name", "x"]
    result = run(*words, code=3)
    assert result.stdout.startswith("anna  log p")
    assert [line[:15] for line in result.stderr.splitlines()] == ["fastlstm: 'qaz'", "fastlstm: 'x': "]
    facts = json.loads(run(*words, "--format", "json", code=3).stdout)
    assert [row["name"] for row in facts] == ["qaz", "anna", "x"]
    assert [row["logprob"] is None for row in facts] == [True, False, True]
    fails("either DATA or", "eval", trained, code=2)
    fails("no such file", "eval", trained, "absent.txt")
    (here / "bad.txt").write_text("anna\nqq\n")
    fails("'q'", "eval", trained, "bad.txt")


def test_eval_agrees_with_the_score_at_the_end_of_training(trained, here):
    index = json.loads(gzip.decompress((trained / "names.index").read_bytes()))
    held_out = [name for name in some_names() if name in index["validation"]]
    (here / "held.txt").write_text("\n".join(held_out))
    config = json.loads((trained / "config.json").read_text())
    facts = json.loads(run("eval", trained, "held.txt", "--format", "json").stdout)
    assert facts["loss"] == pytest.approx(config["best_validation"]["loss"], rel=1e-5)


def test_info_of_a_run_of_a_file_and_of_what_is_neither(trained, here):
    out = run("info", trained).stdout
    for said in ("names, lower case", "1 × 8 units", "perplexity", "of 45 steps", "held out", "names.txt"):
        assert said in out
    assert "1 × 8 units" in run("info", trained / "model.safetensors").stdout
    facts = json.loads(run("info", trained, "--json").stdout)
    assert facts["checkpoint.safetensors"]["options"]["hidden"] == 8
    fails("is no run", "info", here)
    fails("no such file", "info", here / "m.safetensors")


def test_plot_of_one_and_of_several(trained, here):
    pytest.importorskip("matplotlib")
    assert run("plot", trained, "--out", "one.png").stdout == "one.png\n"
    assert run("plot", trained, trained, "--against", "seconds").stdout == "comparison.png\n"
    assert Path("comparison.png").read_bytes().startswith(b"\x89PNG")
    fails("is no run", "plot", here)
    fails("Missing argument", "plot", code=2)


def test_without_matplotlib_plot_says_what_to_install(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    fails("pip install 'fastlstm[plot]'", "plot", trained)


def test_a_closed_pipe_ends_quietly(trained):
    script = "from fastlstm.commands.cli import main; main()"
    words = [sys.executable, "-c", script, "info", str(trained), "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_interrupts_outside_of_training_are_one_line(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastlstm.training.ranks.open_data", interrupted)
    result = run("train", "x.csv", code=130)
    assert result.stderr.strip() == "fastlstm: interrupted"


def test_help_is_quick_because_nothing_heavy_is_imported():
    script = (
        "import sys; from fastlstm.commands.cli import main; main(['train', '--help'], standalone_mode=False);"
        "print(sorted({'numpy', 'numba', 'matplotlib', 'torch', 'tqdm'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).splitlines()[-1] == "[]"
