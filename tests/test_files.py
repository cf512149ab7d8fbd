"""Several files: which are read, how tables, JSON and texts are joined, and what is said of those that do not fit."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from networks import close, randomize
from small_runs import some_text

import fastlstm as fl
from fastlstm.commands.cli import main
from fastlstm.data import encoded, texts
from fastlstm.data.batching import Part
from fastlstm.data.paths import find
from fastlstm.data.streams import TextStreams
from fastlstm.network.architecture import Architecture
from fastlstm.network.model import Network
from fastlstm.training import evaluation
from fastlstm.training.carrying import after, before
from fastlstm.training.evaluation import evaluate_text

SIZES = ("--hidden", "8", "--embedding", "4", "--steps", "6", "--checkpoint-every", "3")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == code, result.output
    return result.output


def refusal(function: Any, *arguments: Any, **keywords: Any) -> str:
    with pytest.raises(fl.FastLSTMError) as caught:
        function(*arguments, **keywords)
    assert str(caught.value).isprintable()
    return str(caught.value)


# Which files


def test_folders_and_patterns_stand_for_their_files_by_name():
    write({"d/b.txt": "b", "d/a/x.txt": "x", "d/a.txt": "a", "d/.git/c": "c", "d/p.png": b"\x89PNG\r\n\0", "d/n.npy2": b"ab\0c",
           "d/empty.txt": "", "d/runs/r-1/metrics.csv": "step", "d/runs/r-1/model.safetensors": b"x"})  # fmt: skip
    found = find("d")
    assert found.files == ("d/a.txt", "d/a/x.txt", "d/b.txt")
    assert dict(found.left_out) == {
        "d/.git": "hidden", "d/p.png": "a picture", "d/n.npy2": "no text", "d/empty.txt": "empty", "d/runs/r-1": "a run",
    }  # fmt: skip
    assert find(["d/b.txt", "d", "d/a.txt", "./d/../d/b.txt"]).files == (
        "./d/../d/b.txt",
        "d/a.txt",
        "d/a/x.txt",
    )
    if hasattr(os, "mkfifo"):
        os.mkfifo("d/pipe")
        assert dict(find("d").left_out)["d/pipe"] == "no file"
    assert find("d/*.txt").files == ("d/a.txt", "d/b.txt", "d/empty.txt")
    assert find(["d/**/*.txt"]).files == ("d/a.txt", "d/a/x.txt", "d/b.txt", "d/empty.txt")
    Path("[1].txt").write_text("one")
    assert find("[1].txt").files == ("[1].txt",)
    many = find(["d/a.txt", "d/b.txt"]).notes([1, 2000], "row")
    assert many == ["read d/a.txt (1 row), d/b.txt (2,000 rows)"]


def test_a_folder_of_two_sorts_is_read_as_is_said():
    write({"d/a.csv": "Name\nanna\nbo\n", "d/b.txt": "to be or not", "d/c.json": '["cy"]'})
    message = refusal(fl.CharLM().fit, Path("d"))
    assert "d holds tables (d/a.csv, d/c.json) and other files (d/b.txt): say what to read" in message
    names = fl.read_names("d")
    assert list(names) == ["anna", "bo", "cy"]
    assert names.files == ("d/a.csv", "d/c.json")
    assert "left out d/b.txt (no table)" in names.notes
    text = fl.read_text("d")
    assert (text.files, len(text)) == (("d/b.txt",), 12)
    assert "left out d/a.csv (a table), d/c.json (a table)" in text.notes


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        ("none*.csv", "there is no file like none*.csv"),
        ("void", "void is a folder without a file to read; name a file"),
        (["a.txt", "-"], "standard input (-) is read alone"),
        ([], "there is no file to read; name one"),
        (["a.txt", "no.txt"], "no.txt: there is no such file"),
        (["a.txt", "p.png"], "p.png is a picture, not text: give a text or a table"),
        (["a.txt", "empty.txt"], "empty.txt: is empty"),
    ],
)
def test_paths_that_are_none(paths, says):
    write({"a.txt": "to be", "p.png": b"\x89PNG\r\n", "empty.txt": ""})
    Path("void").mkdir()
    assert says in refusal(fl.read_text, paths)


# Tables and JSON


def test_tables_are_joined_by_the_same_column():
    write({"b.csv": "Sex;Name;Year\nm;Bo;1991\n;;\n", "a.csv": "Name,Sex\nAnna,f\nAnna,f\n",
           "c.jsonl": '{"Sex": "f", "Name": "Cy"}\n\n{"Sex": null, "Name": "Di"}\n'})  # fmt: skip
    names = fl.read_names(["c.jsonl", "b.csv", "a.csv"], given=["Sex"])
    assert list(names) == ["anna", "anna", "bo", "cy", "di"]
    assert names.source == "a.csv and 2 other files"
    assert names.given is not None
    assert names.given.numbers[:, 0].tolist() == [1, 1, 2, 1, 3]
    assert names.given.conditions[0].values == ("f", "m", "unknown")
    assert names.notes[:2] == [
        "read a.csv (2 rows), b.csv (2 rows), c.jsonl (2 rows)",
        "the names are in column 'Name'",
    ] or (names.notes[0] == "read a.csv (2 rows), b.csv (2 rows), c.jsonl (2 rows)")
    assert "b.csv: fields are separated by ';'" in names.notes
    assert fl.read_names(["b.csv", "a.csv"], limit=2, least=1).files == ("a.csv",)
    assert "the limit leaves out 1 further file" in fl.read_names(["b.csv", "a.csv"], limit=2, least=1).notes


def test_a_column_that_one_file_lacks_is_named_with_the_file():
    write({"a.csv": "Id,Name\n1,anna\n2,bo\n", "b.csv": "Id,City\n1,Rome\n", "c.txt": "cy\n"})
    message = refusal(fl.read_names, ["a.csv", "b.csv"])
    assert message == "b.csv, line 1: there is no column 'Name', which a.csv has; the columns are Id, City"
    assert "b.csv, line 1: there is no column 'Name'; the columns are" in refusal(
        fl.read_names, ["a.csv", "b.csv"], "Name"
    )
    write({"e.csv": "Name\ncy\n"})
    assert "e.csv, line 1: there is no weight 'Id'" in refusal(fl.read_names, ["a.csv", "e.csv"], weight="Id")
    assert "a.csv is a table and c.txt is not: say what they are" in refusal(
        fl.CharLM().fit, [Path("a.csv"), Path("c.txt")]
    )
    assert list(fl.read_names(["a.csv", "c.txt"])) == ["anna", "bo", "cy"]


def test_without_titles_it_is_the_same_place():
    write({"a.csv": "f,Anna,x1\nf,Eva,x2\nm,Bo,x3\n", "b.csv": "Cy,m,x1\nDi,f,x2\nEd,m,x3\n"})
    assert list(fl.read_names(["a.csv", "b.csv"], header=False)) == ["anna", "eva", "bo", "m", "f", "m"]
    write({"a.csv": "Sex,Name\nf,Anna\nm,Bo\n", "b.csv": "m,Cy\nf,Di\nm,Ed\n"})  # as `split` leaves them
    assert list(fl.read_names(["a.csv", "b.csv"])) == ["anna", "bo", "cy", "di", "ed"]


def test_several_columns_are_joined_by_a_blank():
    write(
        {
            "t.csv": "First,Last,N\nAnna, Bell ,1\n,Cole,2\nDi,,3\n,,4\n",
            "t.json": '[{"First": "Eve", "Last": "Fox"}]',
        }
    )
    names = fl.read_names(["t.csv", "t.json"], column=["First", "Last"])
    assert list(names) == ["anna bell", "cole", "di", "eve fox"]
    assert names.blanks == 1
    assert list(fl.read_names("t.csv", column=["Last", 1], lowercase=False)) == ["Bell Anna", "Cole", "Di"]
    said = run(
        "train", "t.csv", "--column", "First", "--column", "Last", "--validation", "0", *SIZES, "--out", "r"
    )
    assert "3 names" in said
    assert json.loads(Path("r/config.json").read_text())["options"]["column"] == ["First", "Last"]
    assert "6 of 6" in run("train", "--resume", "r")
    assert "there is no column 'Nom'" in run("train", "t.csv", "--column", "First", "--column", "Nom", code=1)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ('["Anna", "Bo", null, ""]', ["anna", "bo"]),
        ('\ufeff [ "Anna" ,\r\n"B\\u00f6" ]\n', ["anna", "bö"]),
        ('"Anna"\n"Bo"\n', ["anna", "bo"]),
        ('{"name": "Anna"}\n\n{"n": 1, "name": "Bo"}\n{"n": 2}\n', ["anna", "bo"]),
        ('[{"name": "Anna", "tags": ["x"]}, {"name": "Bo"}]', ["anna", "bo"]),
        ('[\n{"id": 1,\n "city": "Rome"},\n{"id": 2, "city": "Oslo"}\n]', ["rome", "oslo"]),
        ('{"id": 1,\n"city": "Rome"}\n{"id": 2,\n"city": "Oslo"}', ["rome", "oslo"]),
        ('[{"name": 1984}, {"name": 3.0}, {"name": "Bo"}, {"name": true}, {"name": "Cy"}]', ["1984", "3", "bo", "true", "cy"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_json_of_every_shape(content, names, ending):
    write({f"t.{ending}": content})
    assert list(fl.read_names(f"t.{ending}")) == names


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ('["anna",\n5]', {}, "t.json, line 2: the number 5 where a string is expected; give a list of strings or of objects"),
        ('["anna",\n{"name": "bo"}]', {}, "line 2: an object where a string is expected"),
        ('[["anna"], ["bo"]]', {}, "line 1: a list where a string is expected"),
        ('[{"name": "anna"},\n\n"bo"]', {}, "line 3: a string where an object is expected"),
        ('[{"name": "anna"},\n{"name": ["bo"]}]', {}, "line 2: 'name' is a list; give a key of strings or numbers"),
        ('[{"name": {"first": "anna"}}, {"name": {}}]', {"column": "name"}, "line 1: 'name' is an object"),
        ('{"data": [{"name": "anna"}]}', {}, "line 1: one object ('data' a list); give a list of strings or of objects"),
        ('["anna",\n"bo"', {}, "line 2: no sound JSON (Expecting ',' or ']', column 5)"),
        ('["anna"\n"bo"]', {}, "line 2: no sound JSON (Expecting ',' delimiter, column 1)"),
        ('["anna"]\n["bo"]', {}, "line 2: no sound JSON (Extra data, column 1)"),
        ('{"name": "anna"}\n{"name": "bo"\n', {}, "line 2: no sound JSON (Expecting ',' delimiter"),
        ('{"name": "anna"}\nnonsense\n', {}, "line 2: no sound JSON (Expecting value, column 1)"),
        ("[" * 100_000, {}, "no sound JSON: a number too long, or lists too deep in one another"),
        ("[]", {}, "t.json: there is nothing in it"),
        ("", {}, "t.json: there is nothing in it"),
        ("[null]", {}, "there is nothing in it"),
        ('["anna", "a\\nb"]', {}, "line 1: a line break inside the name 'a\\nb', take it out, or read lines"),
        ('["anna", "a\\u0000b"]', {}, "line 1: a NUL inside the name"),
        ('[{"name": "anna"}, {"name": "bo"}]', {"column": "nom"}, "there is no column 'nom'; the columns are name"),
        ('[{"name": "anna", "n": "x"}, {"name": "bo"}]', {"weight": "n"}, "line 1: the weight 'x' is not a number"),
        ('["anna", "bo"]', {"delimiter": ";"}, "t.json is JSON, for which there is no delimiter to give"),
        ('["anna", "bo"]', {"header": True}, "t.json is JSON, for which there is no header to give"),
    ],
)  # fmt: skip
def test_json_that_is_none_is_refused_with_file_and_line(content, options, says):
    write({"t.json": content})
    assert says in refusal(fl.read_names, "t.json", **options)


def test_json_lines_keep_line_breaks():
    write({"t.jsonl": '{"t": "Two\\r\\nEggs", "s": 1}\n{"t": "Salt", "s": 2.0}\n'})
    lines = fl.read_lines("t.jsonl", "t", given=["s"], weight="s")
    assert lines.distinct == ("Two\nEggs", "Salt")
    assert lines.given is not None
    assert lines.given.conditions[0].values == ("1", "2")


def test_python_takes_paths():
    write({"a.csv": "Name\nanna\nbo\n", "b.csv": "Name\ncy\n", "t/1.txt": "to be", "t/2.txt": "or not"})
    small = {"hidden": 8, "embedding": 4, "steps": 3, "validation": 0}
    for data, kind in (
        (Path("a.csv"), "names"),
        ("a.csv", "names"),
        ([Path("b.csv"), Path("a.csv")], "names"),
        ("t", "text"),
    ):
        lm = fl.CharLM(**small)
        lm.fit(data)
        assert lm.kind == kind
        assert lm.evaluate(data).characters > 4
    lm = fl.CharLM(**small, kind="lines")
    lm.fit("t")
    assert (lm.kind, lm.preprocessing["longest"]) == ("lines", 6)


# Texts


def test_texts_follow_one_another_with_a_newline_between():
    write({"t/b.txt": "or not\n", "t/a.txt": "To be", "t/c.txt": "that"})
    text = fl.read_text("t", lowercase=True)
    vocabulary = text.vocabulary()
    assert vocabulary.decode(np.asarray(text.ids(vocabulary))) == "to be\nor not\n\nthat"
    assert text.begins.tolist() == [5, 13]
    assert text.notes == ["read t/a.txt (5 characters), t/b.txt (7 characters), t/c.txt (4 characters)"]
    write({"one.txt": "to be\nor not\n\nthat"})
    one = fl.read_text("one.txt")
    assert (one.begins.tolist(), one.notes, one.files) == ([], [], ("one.txt",))
    assert one.digest() != text.digest()


def test_texts_larger_than_memory_are_kept_with_where_they_begin(monkeypatch):
    write({f"t/{number}.txt": some_text(9 + number) for number in range(3)})
    inside = fl.read_text("t")
    monkeypatch.setattr(encoded, "IN_MEMORY", 10)
    first = fl.read_text("t", keep="ids")
    with monkeypatch.context() as patch:
        patch.setattr(texts, "encode", None)
        again = fl.read_text(["t/2.txt", "t/1.txt", "t/0.txt"], keep="ids")
    for text in (first, again):
        assert (text.digest(), text.begins.tolist()) == (inside.digest(), inside.begins.tolist())
    assert again.notes == inside.notes
    write({"t/1.txt": "another"})
    assert fl.read_text("t", keep="ids").digest() != inside.digest()


@pytest.mark.parametrize("of", [1, 3])
@pytest.mark.parametrize("begins", [[], [7], [10, 11, 12], [20, 40, 60], [1, 39, 41, 79], [85]])
def test_windows_end_where_files_do(begins, of):
    """Each stream is read once and in order, in windows within a file; states go on but where a file begins."""
    ids = np.arange(81)
    parts = [TextStreams(ids, 4, 6, Part(number, of), begins) for number in range(of)]
    seen: dict[int, list[int]] = {}
    for index in range(parts[0].windows):
        positions = 0
        batches = [part.window(index) for part in parts]
        for part, batch in zip(parts, batches, strict=True):
            rows = range(batch.ids.shape[1])
            lengths = [len(batch.ids)] * len(rows) if batch.lengths is None else batch.lengths.tolist()
            assert lengths == sorted(lengths, reverse=True)
            for row in rows:
                stream = part.mine.start + (row if batch.streams is None else int(batch.streams[row]))
                read = batch.ids[: lengths[row], row].tolist()
                assert batch.targets[: lengths[row], row].tolist() == [n + 1 for n in read]
                assert not set(read[1:]) & set(begins)
                assert (batch.fresh is not None and bool(batch.fresh[row])) == (read[0] in begins)
                seen.setdefault(stream, []).extend(read)
            positions += sum(lengths)
        if of > 1:
            assert {batch.share.whole for batch in batches} == {positions}
            every = np.concatenate([batch.share.rows for batch in batches])
            assert sorted(every.tolist()) == list(range(len(every)))
    assert seen == {stream: list(range(20 * stream, 20 * stream + 20)) for stream in range(4)}


def test_a_text_of_files_is_evaluated_as_each_by_itself(monkeypatch):
    """Also where streams begin in the middle of files; and training's states are those of each file alone."""
    files = [some_text(words) for words in (90, 20, 3, 60, 25)]
    for number, text in enumerate(files):
        write({f"t/{number}.txt": text})
    text = fl.read_text("t")
    vocabulary = text.vocabulary()
    a = Architecture(vocabulary.size, 6, 4, 2, learned_state=True, dtype="float64")
    network = randomize(Network(a), np.random.default_rng(2))
    loss = count = 0.0
    ids_of = [vocabulary.encode(("\n" if number else "") + part) for number, part in enumerate(files)]
    for number, ids in enumerate(ids_of):
        after_it = vocabulary.encode("\n") if number + 1 < len(ids_of) else ids[-1:]
        inputs = ids if number + 1 < len(ids_of) else ids[:-1]
        targets = np.append(ids[1:], after_it)[: len(inputs)]
        found, _ = network.evaluate(inputs[:, None], targets[:, None])
        loss, count = loss + found.loss * found.count, count + found.count
    every = np.asarray(text.ids(vocabulary))
    one = evaluate_text(network, every, begins=text.begins)
    assert (one.loss, one.characters) == (pytest.approx(loss / count, rel=1e-12), count)
    monkeypatch.setattr(evaluation, "STREAM_CHARACTERS", 150)
    monkeypatch.setattr(evaluation, "WINDOW", 400)  # contexts reach back to where a file begins
    many = evaluate_text(network, every, begins=text.begins)
    assert many.loss == pytest.approx(one.loss, rel=2e-2)


def test_learned_states_learn_where_files_begin():
    """A window's gradients are those of its rows by themselves: those that go on, and those in which a file begins."""
    ids = np.random.default_rng(1).integers(0, 5, 41)
    network = randomize(
        Network(Architecture(5, 6, 4, learned_state=True, dtype="float64")), np.random.default_rng(2)
    )
    streams = TextStreams(ids, 4, 6, begins=[3, 16])
    first, second = streams.window(0), streams.window(1)
    _, state = network.backward(first.ids, first.targets, first.lengths)
    carried = after(first, None, state)
    expected = np.zeros_like(network.gradients.flat)
    rows = before(second, carried)
    assert rows is not None
    assert second.fresh is not None
    assert 0 < second.fresh.sum() < len(second.fresh)
    total = int(second.lengths.sum())
    for row, length in enumerate(second.lengths):
        own = (
            None
            if second.fresh[row]
            else type(rows)(*(np.ascontiguousarray(a[:, row : row + 1]) for a in rows))
        )
        network.backward(
            second.ids[:length, row : row + 1], second.targets[:length, row : row + 1], None, own
        )
        expected += network.gradients.flat * length / total
    network.backward(second.ids, second.targets, second.lengths, rows, fresh=second.fresh)
    close(network.gradients.flat, expected, "float64")


# Runs


def test_a_run_of_several_files_goes_on_and_names_what_changed():
    write(
        {"d/a.txt": some_text(40), "d/b.txt": some_text(50), "d/c.txt": some_text(30), "d/x.png": b"\x89PNG"}
    )
    said = run("train", "d", *SIZES, "--batch-size", "3", "--out", "r", "--validate-every", "3")
    assert "read d/a.txt (" in said
    assert "left out d/x.png (a picture)" in said
    whole = Path("r/model.safetensors").read_bytes()
    run(
        "train",
        "d/c.txt",
        "d/a.txt",
        "d/b.txt",
        *SIZES,
        "--batch-size",
        "3",
        "--out",
        "s",
        "--validate-every",
        "3",
    )
    assert Path("s/model.safetensors").read_bytes() == whole
    config = json.loads(Path("r/config.json").read_text())
    assert [Path(path).name for path in config["data"]] == ["a.txt", "b.txt", "c.txt"]
    assert all(f"d/{name}.txt" in config["command"] for name in "abc")
    assert "3 files: " in run("info", "r")
    assert "over" in run("eval", "r", "d/a.txt", "d/b.txt")

    write({"d/d.txt": "new"})  # is none of those that the run began with
    assert "6 of 6" in run("train", "--resume", "r")
    message = run("train", "--resume", "r", "d", code=1)
    assert "changed since, or other data (new: d/d.txt)" in message.replace(str(Path.cwd()) + "/", "")
    Path("d/d.txt").unlink()
    text = Path("d/b.txt").read_text()
    write({"d/b.txt": text.replace("a", "e", 1)})
    message = run("train", "--resume", "r", code=1)
    assert f"(changed or missing: {Path.cwd() / 'd/b.txt'})" in message
    Path("d/b.txt").unlink()
    assert "d/b.txt: there is no such file" in run("train", "--resume", "r", code=1)
    write({"d/b.txt": text})
    Path("d").rename("moved")
    assert "6 of 6" in run("train", "--resume", "r", "moved")


@pytest.mark.parametrize("stop", [1, 4])
def test_a_text_of_files_resumes_to_the_same_bytes(stop):
    for number in range(6):
        write({f"t/{number}.txt": some_text(5 + 7 * number)})
    options = (
        "--hidden",
        "8",
        "--embedding",
        "4",
        "--batch-size",
        "3",
        "--window",
        "9",
        "--checkpoint-every",
        "1",
        "--steps",
    )
    run(
        "train",
        "t",
        *options,
        "8",
        "--out",
        "whole",
        "--lr",
        "0.01",
        "--schedule",
        "constant",
        "--validation",
        "20",
    )
    run(
        "train",
        "t",
        *options,
        str(stop),
        "--out",
        "part",
        "--lr",
        "0.01",
        "--schedule",
        "constant",
        "--validation",
        "20",
    )
    run("train", "--resume", "part", "--steps", "8")
    from fastlstm.training.model_file import load_arrays

    whole, part = (load_arrays(f"{name}/checkpoint.safetensors")[0] for name in ("whole", "part"))
    for name, array in whole.items():
        assert np.array_equal(array, part[name]), name


def test_the_command_line_refuses_in_one_line():
    write({"a.csv": "Name\nanna\nbo\n", "b.txt": "cy\n"})
    for says, *words in (
        ("a.csv is a table and b.txt is not", "a.csv", "b.txt"),
        ("there is no file like *.tsv", "*.tsv"),
        ("standard input (-) is read alone", "-", "a.csv", "--as", "names"),
        ("the data that come with fastlstm are names; give a file to train on lines", "--as", "lines"),
        ("longest is for names and lines, and b.txt is read as text", "b.txt", "--longest", "9"),
        ("b.txt, line 1: a line of 2 characters", "b.txt", "--as", "lines", "--longest", "1"),
    ):
        message = run("train", *words, code=1)
        assert says in message
        assert message.count("\n") == 1
    assert not Path("runs").exists()
