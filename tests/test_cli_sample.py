from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sample_models import small_model

from fastlstm.commands.cli import main
from fastlstm.data.names import Names
from fastlstm.data.novelty import NameIndex, write_index
from fastlstm.generation.sampling import generate
from fastlstm.generation.scoring import beam, score
from fastlstm.training.model_file import save_model

TRAINING = ["a", "ab", "cab", "cab", "b"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    return saved(folder / "names-1", small_model())


@pytest.fixture(scope="module")
def text_run(folder: Path) -> Path:
    return saved(folder / "text-1", small_model(kind="text"))


def saved(path: Path, model: Any) -> Path:
    path.mkdir()
    save_model(path / "model.safetensors", model.network, model.vocabulary, model.kind, model.preprocessing)
    if model.kind == "names":
        write_index(path, NameIndex.of(Names(TRAINING)))
    return path


def sample(*arguments: Any, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["sample", *map(str, arguments)])
    assert result.exit_code == code, result.output
    if code:
        assert len(result.stderr.splitlines()) == 1 or code == 2
        assert "Traceback" not in result.output
    return result


def test_help_names_every_control() -> None:
    text = sample("--help").stdout
    for control in ("temperature", "top-k", "top-p", "prefix", "novel", "unique", "seed", "beam", "report"):
        assert f"--{control}" in text


def test_stdout_is_the_names_and_nothing_else(run: Path) -> None:
    names = generate(small_model(), 20, seed=3)
    assert sample(run, "--seed", 3).stdout == "".join(name + "\n" for name in names)
    assert sample(run / "model.safetensors", "--seed", 3).stdout.splitlines() == names
    assert sample(run, "--seed", 3).stderr == ""
    assert len(sample(run).stdout.splitlines()) == 20


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        (["-n", 7, "--temperature", 0], {"n": 7, "temperature": 0}),
        (["--seed", 0, "--temperature", 2, "--top-k", 2], {"seed": 0, "temperature": 2, "top_k": 2}),
        (["--seed", 1, "--top-p", 0.6, "--prefix", "Ca"], {"seed": 1, "top_p": 0.6, "prefix": "ca"}),
        (["--seed", 1, "--max-length", 2, "--unique"], {"seed": 1, "max_length": 2, "unique": True}),
        (["--seed", 1, "--stop", "b", "--threads", 1], {"seed": 1, "stop": "b"}),
        (["--seed", 5, "--min-length", 0, "--max-length", 3], {"seed": 5, "min_length": 0, "max_length": 3}),
    ],
    ids=str,
)
def test_options_are_the_python_keywords(run: Path, arguments: list[Any], keywords: dict[str, Any]) -> None:
    found = generate(small_model(), **keywords)
    code = 0 if len(found) == 20 or "n" in keywords else 3
    assert sample(run, *arguments, code=code).stdout.splitlines() == found


def test_csv_and_json_carry_scores(run: Path) -> None:
    names = generate(small_model(), 20, seed=3)
    expected = [[name, *result] for name, result in zip(names, score(small_model(), names), strict=True)]
    table = list(csv.reader(io.StringIO(sample(run, "--seed", 3, "--format", "csv", "--scores").stdout)))
    assert table[0] == ["name", "logprob", "bits_per_character"]
    assert [[name, float(a), float(b)] for name, a, b in table[1:]] == expected
    objects = json.loads(sample(run, "--seed", 3, "--format", "json", "--scores").stdout)
    assert [list(row.values()) for row in objects] == expected
    assert json.loads(sample(run, "--seed", 3, "--format", "json").stdout) == [
        {"name": name} for name in names
    ]
    assert sample(run, "--seed", 3, "--format", "csv").stdout.splitlines() == ["name", *names]


def test_names_of_any_script_and_with_separators_survive(folder: Path) -> None:
    model = small_model('子🙂",')
    path = saved(folder / "unicode", model)
    names = generate(model, 20, seed=1)
    for form, read in (
        ("text", str.splitlines),
        ("csv", lambda text: [row[0] for row in csv.reader(io.StringIO(text))][1:]),
        ("json", lambda text: [row["name"] for row in json.loads(text)]),
    ):
        assert read(sample(path, "--seed", 1, "--format", form).stdout) == names


def test_prefixes_and_avoided_names_come_from_files(run: Path, tmp_path: Path) -> None:
    (tmp_path / "prefixes.txt").write_text("a\nCb\n\n")
    (tmp_path / "avoid.txt").write_text("AC\nba\n")
    names = generate(small_model(), 5, prefixes=["a", "cb"], seed=2)
    assert (
        sample(run, "-n", 5, "--prefixes", tmp_path / "prefixes.txt", "--seed", 2).stdout.splitlines()
        == names
    )
    known = {*TRAINING, "ac", "ba"}
    novel = [name for name in generate(small_model(), 500, seed=2) if name not in known][:20]
    found = sample(run, "--novel", "--avoid", tmp_path / "avoid.txt", "--seed", 2)
    assert found.stdout.splitlines() == novel


def test_partial_results_exit_with_3(run: Path) -> None:
    result = sample(run, "-n", 10, "--unique", "--max-length", 1, code=3)
    assert sorted(result.stdout.splitlines()) == ["a", "b", "c"]
    assert "found 3 of 10" in result.stderr
    result = sample(run, "--novel", "--max-length", 1, "--unique", "--format", "json", code=3)
    assert json.loads(result.stdout) == [{"name": "c"}]
    result = sample(run, "--novel", "--prefix", "ab", "--max-length", 2, "--format", "json", code=3)
    assert json.loads(result.stdout) == []


def test_beam_prints_the_most_probable(run: Path) -> None:
    best = beam(small_model(), 5).names
    assert sample(run, "--beam", "-n", 5).stdout.splitlines() == [name for name, _ in best]
    objects = json.loads(sample(run, "--beam", "-n", 5, "--format", "json", "--scores").stdout)
    assert [(row["name"], row["logprob"]) for row in objects] == [(name, s.logprob) for name, s in best]
    result = sample(run, "--beam", "-n", 9, "--max-length", 1, code=3)
    assert sorted(result.stdout.splitlines()) == ["a", "b", "c"]
    sample(run, "--beam", "--temperature", 1, code=2)


def test_text_is_streamed_and_several_are_separated(text_run: Path) -> None:
    first, second = generate(small_model(kind="text"), 2, seed=1, length=30, prefix="ab")
    assert sample(text_run, "--seed", 1, "--length", 30, "--prefix", "ab").stdout == first + "\n"
    two = sample(text_run, "--seed", 1, "--length", 30, "--prefix", "ab", "-n", 2).stdout
    assert two == f"{first}\n---\n{second}\n"
    rows = json.loads(sample(text_run, "--seed", 1, "--length", 30, "--format", "json", "--scores").stdout)
    assert list(rows[0]) == ["text", "logprob", "bits_per_character"]
    assert len(sample(text_run).stdout) == 1001


def test_report_compares_with_the_training_names(run: Path) -> None:
    result = sample(run, "-n", 300, "--report", "--seed", 1)
    assert "300 names drawn" in result.stdout
    assert "of its 4 distinct names" in result.stdout
    assert str(run / "report.png") in result.stderr
    assert (run / "report.png").stat().st_size > 1000
    facts = json.loads(sample(run, "-n", 300, "--report", "--seed", 1, "--format", "json").stdout)
    assert facts["drawn"] == facts["new"] + facts["known"] == 300
    table = list(csv.reader(io.StringIO(sample(run, "-n", 300, "--report", "--format", "csv").stdout)))
    assert table[0] == ["measure", "value", "drawn", "training"]
    assert ["training", "", "4", ""] in table
    other = run / "other.svg"
    sample(run, "-n", 5, "--report", "--picture", other)
    assert other.is_file()


@pytest.mark.parametrize(
    "arguments",
    [
        ["-n", 0],
        ["--temperature", -1],
        ["--top-k", 0],
        ["--top-p", 0],
        ["--top-p", 1.5],
        ["--seed", -1],
        ["--seed", 2**64],
        ["--format", "xml"],
        ["--scores"],
        ["--scores", "--format", "csv", "--report"],
        ["--picture", "x.png"],
        ["--beam", "--report"],
        ["--nonsense"],
    ],
    ids=str,
)
def test_wrong_usage_exits_with_2(run: Path, arguments: list[Any]) -> None:
    assert sample(run, *arguments, code=2).stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prefix", "axy"], "'x', 'y'"),
        (["--prefix", "abc", "--max-length", 2], "longer than max_length 2"),
        (["--length", 5], "length is for models of text"),
        (["--temperature", "nan"], "temperature is nan"),
        (["--avoid", "nowhere.txt"], "nowhere.txt"),
        (["--prefixes", "nowhere.txt"], "nowhere.txt"),
        (["--beam", "--prefix", "x"], "'x'"),
    ],
    ids=str,
)
def test_what_cannot_be_done_exits_with_1_and_a_line(run: Path, arguments: list[Any], message: str) -> None:
    for form in ("text", "csv", "json"):
        result = sample(run, *arguments, "--format", form, code=1)
        assert message in result.stderr
        assert result.stdout == ""


def test_missing_models_and_indexes_are_named(folder: Path, text_run: Path, tmp_path: Path) -> None:
    assert "nowhere" in sample(folder / "nowhere", code=1).stderr
    assert "novel is for models of names" in sample(text_run, "--novel", code=1).stderr
    assert "--report is for names" in sample(text_run, "--report", code=1).stderr
    model = small_model()
    path = tmp_path / "alone.safetensors"
    save_model(path, model.network, model.vocabulary, model.kind, model.preprocessing)
    for option in ("--novel", "--report"):
        assert "alone.index" in sample(path, option, code=1).stderr


def test_sampling_starts_without_the_heavy_packages(run: Path) -> None:
    heavy = ("matplotlib", "torch", "pandas", "tqdm")
    program = (
        "import sys; from fastlstm.commands.cli import main\n"
        f"main(['sample', {str(run)!r}, '--seed', '1', '-n', '1'], standalone_mode=False)\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert output.splitlines() == [*generate(small_model(), 1, seed=1), "[]"]
