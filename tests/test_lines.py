"""Lines: short texts with case and line breaks, long ones among them cut into windows, from a file to what is drawn."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from networks import close, randomize

import fastlstm as fl
from fastlstm.commands.cli import main
from fastlstm.data import batching
from fastlstm.data.batching import NameBatches, Part, windows
from fastlstm.data.names import Lines, Names
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.network import reference
from fastlstm.network.architecture import Architecture, State
from fastlstm.network.model import Network
from fastlstm.network.optim import Optimizer, OptimizerConfig
from fastlstm.network.windows import go_on
from fastlstm.training.evaluation import evaluate_names

SMALL = {"hidden": 8, "embedding": 4, "validation": 0, "steps": 5}
LONG = Lines(["Hi\nyou", "a longer line, cut", "b", "the longest of them all,\nby far: yes", "Hi\nyou", "cd"])
VOCABULARY = Vocabulary.from_texts(LONG, boundary=True)


def network(conditions: tuple[int, ...] = (), **sizes: Any) -> Network:
    a = Architecture(VOCABULARY.size, 6, 4, 2, conditions=conditions, dtype="float64", **sizes)
    return randomize(Network(a), np.random.default_rng(3))


@pytest.fixture
def short_windows(monkeypatch):
    """As if memory were for 20 characters of a batch, and windows were of 5 steps at least."""
    monkeypatch.setattr(batching, "CHARACTERS", 20)
    monkeypatch.setattr(batching, "STEPS", 5)


# What a line is


def test_lines_keep_case_and_inner_line_breaks():
    lines = fl.Lines(["Two\r\nEggs ", "\n", " two\neggs", "Two\rEggs"], weights=[1, 2, 3, 4])
    assert lines.distinct == ("Two\nEggs", "two\neggs")
    assert (len(lines), lines.blanks, lines.duplicates, lines.kind) == (3, 1, 1, "lines")
    assert lines.describe().startswith("lines: 3 lines, 2 distinct, 1 duplicate kept, 1 blank row left out")
    assert fl.Lines(["Ab", "c"], lowercase=True).distinct == ("ab", "c")
    assert fl.Lines(["a\nb", "c"]).digest() != fl.Lines(["a", "b\nc"]).digest()


@pytest.mark.parametrize(
    ("lines", "options", "says"),
    [
        (["a", "x" * 5001], {}, "lines, line 2: a line of 5,001 characters ('xxxxxxxxxxxxxxxxxxxx'…), and 5,000 are the most; "
                               "--longest 5001 takes it, if this is no text (--as text)"),
        (["a", "xyz"], {"longest": 2}, "a line of 3 characters ('xyz'), and 2 are the most"),
        (["a\0b"], {}, "lines, line 1: a NUL inside the line"),
        (["a", 3], {}, "lines, line 2: 3 is not a string"),
    ],
)  # fmt: skip
def test_what_is_no_line_is_refused(lines, options, says):
    with pytest.raises(fl.FastLSTMError) as caught:
        fl.Lines(lines, **options)
    assert says in str(caught.value)


def test_a_plain_file_has_a_text_on_each_line_whatever_it_looks_like(tmp_path):
    raw = '"Yes," she said; "no".\n{"a": 1}\n\nAnna\t1\n  one, two\n'
    (tmp_path / "t.txt").write_text(raw)
    lines = fl.read_lines(tmp_path / "t.txt")
    assert lines.distinct == ('"Yes," she said; "no".', '{"a": 1}', "Anna\t1", "one, two")
    assert (lines.blanks, lines.notes) == (1, [])
    assert fl.read_lines(tmp_path / "t.txt", longest=22, limit=2).distinct == lines.distinct[:2]
    with pytest.raises(fl.FastLSTMError, match=r"t.txt, line 1: a line of 22 characters .*--longest 22"):
        fl.read_lines(tmp_path / "t.txt", longest=21)


def test_fields_of_tables_keep_their_line_breaks(tmp_path):
    (tmp_path / "t.csv").write_text('Title,Text\na,"Two\n\nEggs"\nb,"Say ""hi"""\n', newline="\r\n")
    assert fl.read_lines(tmp_path / "t.csv", "Text").distinct == ("Two\n\nEggs", 'Say "hi"')


# Long ones among short ones


@pytest.mark.parametrize("name", ["poems.csv", "poems.jsonl"])
def test_lines_are_in_the_column_that_has_the_most_text(tmp_path, name):
    rows = [{"title": f"poem {n}", "text": f"So much depends\nupon number {n}", "by": "W"} for n in range(4)]
    path = tmp_path / name
    with path.open("w", newline="") as file:
        if path.suffix == ".csv":
            table = csv.DictWriter(file, rows[0])
            table.writeheader()
            table.writerows(rows)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    lines = fl.read_lines(path, delimiter="," if path.suffix == ".csv" else None)
    assert lines.distinct == tuple(row["text"] for row in rows)
    assert "the lines are in column 'text', which has the most text" in lines.notes


def test_windows_hold_so_many_characters_or_so_few_steps():
    start = np.cumsum([0, *[100] * 3, *[10] * 2000, *[1] * 50000])
    cuts = windows(start)
    assert [begin for begin, _ in cuts[1:]] == [end for _, end in cuts[:-1]]
    assert (cuts[0][0], cuts[-1][1]) == (0, len(start) - 1)
    for begin, end in cuts:
        assert end - begin <= batching.STEPS or start[end] - start[begin] <= batching.CHARACTERS
    assert len(cuts) == 5


@pytest.mark.usefixtures("short_windows")
def test_a_batch_in_windows_is_the_batch_without():
    """The pieces of each row are its name, and the losses with the states carried are the reference's of whole rows."""
    net = network()
    (batch,) = NameBatches(LONG, VOCABULARY, 9).ordered()
    assert len(batch.rest) == 3
    rows: dict[int, list[int]] = {}
    for ids, targets, lengths, *rest in [batch, *batch.rest]:
        share = batch.share if len(rest) > 1 else rest[0]
        assert ids.shape[0] == lengths.max()
        assert share.whole == sum(len(line) + 1 for line in LONG)
        for row, length in enumerate(lengths):
            rows.setdefault(row, []).extend(targets[:length, row])
    assert sorted(VOCABULARY.decode(row) for row in rows.values()) == sorted(LONG)
    found = evaluate_names(net, NameBatches(LONG, VOCABULARY, 9))
    total = 0.0
    for line in LONG:
        marked = np.array([[0, *VOCABULARY.encode(line), 0]]).T
        result = reference.loss_and_gradients(dict(net.parameters.items()), marked[:-1], marked[1:])
        total += result.loss * (len(line) + 1)
    assert found.characters == sum(len(line) + 1 for line in LONG)
    assert found.loss == pytest.approx(total / found.characters, rel=1e-12)


@pytest.mark.parametrize("key", [None, 7])
def test_a_step_in_windows_has_the_whole_batchs_loss_and_the_windows_gradients(key, monkeypatch):
    """With dropout too: it falls on the same elements. The gradients are each window's by itself, summed."""
    net = network((3,), dropout=0.3, embedding_dropout=0.2, learned_state=True)
    conditions = fl.Names([*"ab"], given={"Sex": ["f", "m"]}).given
    assert conditions is not None
    (whole,) = NameBatches(LONG, VOCABULARY, 9, conditions.conditions).ordered()
    given = np.array([[1], [0], [2], [1], [0], [2]])
    expected, _ = net.backward(whole.ids, whole.targets, whole.lengths, dropout_key=key, given=given)
    monkeypatch.setattr(batching, "CHARACTERS", 20)
    monkeypatch.setattr(batching, "STEPS", 5)
    (batch,) = NameBatches(LONG, VOCABULARY, 9, conditions.conditions).ordered()
    metrics, state = net.backward(batch.ids, batch.targets, batch.lengths, None, key, given, batch.share)
    sums = net.gradients.flat.copy()
    loss = metrics.loss
    for ids, targets, lengths, share in batch.rest:
        assert state is not None
        state = State(*(array[:, : len(lengths)] for array in state))
        metrics, state = net.backward(ids, targets, lengths, state, key, None, share)
        loss, sums = loss + metrics.loss, sums + net.gradients.flat
    assert loss == pytest.approx(expected.loss, rel=1e-13)
    optimizer = Optimizer(net.parameters, OptimizerConfig("sgd"))
    step, _ = net.step(batch.ids, batch.targets, optimizer, 1e-9, batch.lengths, None, key, False, given,
                       share=batch.share, rest=batch.rest)  # fmt: skip
    assert (step.loss, step.correct, step.count) == pytest.approx(
        (expected.loss, expected.correct, expected.count), rel=1e-12
    )
    close(net.gradients.flat, sums, "float64")


@pytest.mark.usefixtures("short_windows")
@pytest.mark.parametrize("of", [2, 3])
def test_parts_of_a_batch_in_windows_add_up(of):
    """Several ranks cut at the same steps: loss, hits and gradients of their parts are together those of one."""
    net = network(dropout=0.3)
    found, gradients = np.zeros(3), []
    for parts in (1, of):
        total, sums = np.zeros(3), np.zeros_like(net.gradients.flat)
        for number in range(parts):
            (batch,) = NameBatches(LONG, VOCABULARY, 9, part=Part(number, parts)).ordered()
            assert batch.share is not None
            mine, state = net.backward(batch.ids, batch.targets, batch.lengths, None, 5, None, batch.share)
            mine, _ = go_on(net, mine, state, batch.rest, 5)
            total += np.array([mine.loss, mine.correct, mine.count])
            sums += net.gradients.flat
        found = total if parts == 1 else found - total
        gradients.append(sums)
    np.testing.assert_allclose(found, 0, atol=1e-12)
    close(gradients[1], gradients[0], "float64")


def test_one_long_line_does_not_multiply_the_memory():
    """Room for activations is for a batch's characters: 200,000 in one of 64 lines take hardly more."""

    def room(lines: list[str]) -> int:
        data = Names(lines, longest=10**6)
        net = Network(Architecture(3, 16, 4, dtype="float32"))
        for batch in NameBatches(data, Vocabulary("ab", boundary=True), 64).ordered():
            optimizer = Optimizer(net.parameters, OptimizerConfig())
            net.step(
                batch.ids, batch.targets, optimizer, 1e-3, batch.lengths, share=batch.share, rest=batch.rest
            )
        return net._program._room.positions

    short = ["ab" * 100 + "a" * n for n in range(64)]
    alone, among = room(short), room([*short[:-1], "ab" * 100_000])
    assert alone == sum(len(name) + 1 for name in short)
    assert alone < among <= batching.CHARACTERS


# From a file to what is drawn


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on lines of JSON that have line breaks, and how its commands are called."""
    folder = tmp_path_factory.mktemp("lines")
    rows = [
        {"text": f"Mix {a}\n and {b}.", "sort": b}
        for a in ("Eggs", "Milk", "rice", "Oil")
        for b in ("salt", "sugar")
    ] * 4
    (folder / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def command(*words: str, code: int = 0) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            result = CliRunner().invoke(main, words)
        assert result.exit_code == code, result.output
        return result.output

    said = command("train", "r.jsonl", "--as", "lines", "--column", "text", "--given", "sort", "--out", "run",
                   "--hidden", "8", "--embedding", "4", "--steps", "60", "--checkpoint-every", "30")  # fmt: skip
    assert "r.jsonl: 32 lines, 8 distinct, 24 duplicates kept, given sort (salt, sugar)" in said
    return folder, command


def test_drawn_lines_are_as_long_as_those_that_were_trained_on(run):
    folder, command = run
    longest = max(len(line) for line in fl.read_lines(folder / "r.jsonl", "text").distinct)
    lm = fl.CharLM.load(folder / "run")
    assert (lm.kind, lm.preprocessing["longest"]) == ("lines", longest)
    lm._network.parameters["head.b"][0] = -1e3  # never ends by itself
    assert {len(line) for line in lm.sample(3, seed=1)} == {101}
    lm.preprocessing["longest"] = 150
    assert {len(line) for line in lm.sample(3, prefix="Mix", seed=1)} == {150}
    assert {len(line) for line in lm.sample(3, max_length=7, seed=1)} == {7}
    assert len(command("sample", "run", "-n", "1", "--max-length", "9", "--seed", "1").rstrip("\n")) <= 9


def test_commands_take_lines(run):
    folder, command = run
    apart = command("sample", "run", "-n", "3", "--prefix", "Mix E", "--given", "sort=salt", "--seed", "2")
    assert apart.count("---\n") == 2
    table = command("sample", "run", "-n", "4", "--format", "csv", "--scores", "--novel", "--given", "sort=salt,sugar",
                    "--seed", "2")  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [*rows[0]] == ["line", "sort", "logprob", "bits_per_character"]
    assert len(rows) == 8
    assert "\n" in "".join(row["line"] for row in rows)
    beam = json.loads(command("sample", "run", "-n", "2", "--beam", "--max-length", "3", "--format", "json"))
    assert len(beam) == 2
    assert "in train" in command("sample", "run", "--report")
    assert "over" in command("eval", "run", "r.jsonl", "--column", "text")
    assert "%" in command("eval", "run", "--name", "Mix Eggs\n and salt.", "--by", "sort")
    assert "accuracy" in command("eval", "run", "r.jsonl", "--column", "text", "--by", "sort")
    assert "kind:        lines" in command("info", "run")
    assert "lines" in command("export", "run", "m.safetensors")
    command("import", "m.safetensors", "--out", "back")
    assert command("sample", "back", "--seed", "3") == command("sample", "run", "--seed", "3")
    assert "page" in command("export", "run", "p.html", "--with-index")
    (folder / "avoid.txt").write_text("Mix\n")
    command("sample", "run", "-n", "2", "--avoid", "avoid.txt")
    assert "60 of 60" in command("train", "--resume", "run")


def test_python_takes_lines():
    lm = fl.CharLM(**SMALL, kind="lines")
    lm.fit(["One\ntwo", "Three"])
    assert (lm.kind, "\n" in lm.vocabulary.characters) == ("lines", True)
    assert lm.evaluate(["One\ntwo"]).characters == 8
    with pytest.raises(fl.FastLSTMError, match="this model is one of lines, and names is names"):
        lm.evaluate(fl.Names(["one"], lowercase=False))
    with pytest.raises(fl.FastLSTMError, match="length is for models of text, and this one is of lines"):
        lm.sample(1, length=3)
