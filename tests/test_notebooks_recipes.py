"""`fastlstm notebook`: each job runs, prints what its notebook prints, draws, and compares its time."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fastlstm.commands.cli import main
from fastlstm.notebooks.soliloquy import SOLILOQUY


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["notebook", *map(str, arguments)])


def drawn(result: Result) -> str:
    """What a run printed before its times; whether it had to compile first depends on earlier ones."""
    return re.sub("Compiled in .*\n", "", result.stdout).partition(" nats a")[0]


def png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("notebook", "size"), [("zoo-a", (866, 32)), ("zoo-b", (901, 35)), ("walkthrough", (866, 32))]
)
def test_soliloquy(notebook: str, size: tuple[int, int], tmp_path: Path) -> None:
    result = run(notebook, "--epochs", 3, "--plot", tmp_path / "curve.png")
    assert result.exit_code == 0, result.output
    assert "Data size: {}, Char Size: {}".format(*size) in result.output
    assert "3 epochs in" in result.output
    assert "times as fast" in result.output
    assert ("Accuracy: " in result.output) == (notebook != "walkthrough")
    assert png(tmp_path / "curve.png")
    again = run(notebook, "--epochs", 3)
    assert drawn(again) == drawn(result)


def test_kaggle(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(SOLILOQUY, encoding="utf-8")
    result = run("kaggle", text, "--iterations", 2, "--dtype", "float32", "--plot", tmp_path / "curve.png")
    assert result.exit_code == 0, result.output
    assert "iter :0, loss:97.0" in result.output
    assert "2 iterations of" in result.output
    assert png(tmp_path / "curve.png")


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "names.csv"
    rows = [f"{n},{name}" for n, name in enumerate(["Mary", "Anna", "Emma", "Elizabeth"] * 11)]
    table.write_text("\n".join(["Id,Name", *rows]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    result = run("names", table, "--steps", 3, "--limit", 41, "--dtype", "float32")
    assert result.exit_code == 0, result.output
    assert "'anna......'" in result.output
    assert "Vocab size = 14" not in result.output
    assert "Vocab size = 13" in result.output
    assert "Step       = 0" in result.output
    assert "3 steps in" in result.output
    assert png(tmp_path / "notebook-names.png")


def test_what_is_wrong_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = tmp_path / "few.csv"
    few.write_text("Name\nmary\nanna\n", encoding="utf-8")
    dots = tmp_path / "dots.csv"
    dots.write_text("Name\n" + "j.r.\n" * 30, encoding="utf-8")
    for arguments, message in (
        (("kaggle", tmp_path / "none.txt"), "cannot be read"),
        (("kaggle", few), "too few"),
        (("names", few), "a batch is 20"),
        (("names", dots), "dot"),
        (("zoo-a", "--epochs", 1, "--plot", tmp_path / "curve.docx"), "png"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert message in result.stderr.rpartition("fastlstm: ")[2]
        assert "Traceback" not in result.stderr
    assert run("zoo-a", "--epochs", 0).exit_code == 2
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "pip install" in run("zoo-a", "--epochs", 1, "--plot", tmp_path / "a.png").stderr


def test_every_help_says_what_it_does() -> None:
    for notebook in ((), ("zoo-a",), ("zoo-b",), ("kaggle",), ("names",), ("walkthrough",)):
        result = run(*notebook, "--help")
        assert result.exit_code == 0
        assert "Usage: main notebook" in result.output
