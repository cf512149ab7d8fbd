"""Conditions: from cells to numbered values, and back from what people write."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import fastlstm as fl
from fastlstm.commands.cli import main
from fastlstm.data.batching import NameBatches, split_names
from fastlstm.data.gathering import Column, gather, spec
from fastlstm.data.given import Condition, numbers_of
from fastlstm.errors import FastLSTMError
from fastlstm.generation.classification import assess, table
from fastlstm.generation.sampling import generate
from fastlstm.generation.scoring import beam, score
from fastlstm.interop.weights import read_torch, write_torch


def finished(cells, width=0.0, weights=None, title="T"):
    notes: list[str] = []
    column = Column(title, width)
    for cell in cells:
        column.add(cell)
    condition, numbers, _ = column.finish(np.ones(len(cells), bool), weights, notes)
    return condition, [condition.values[number - 1] for number in numbers], notes


def test_values_are_text_trimmed_and_blanks_are_unknown():
    condition, values, notes = finished([" F", "M", "F ", "", None, float("nan"), "A\u030a"])
    assert condition.values == ("F", "M", "Å", "unknown")
    assert values == ["F", "M", "F", "unknown", "unknown", "unknown", "Å"]
    assert condition.counts == (2, 1, 1, 3)
    assert notes == []


def test_bins_of_numbers():
    condition, values, _ = finished(["1994", 1990, 1989.0, "", "-1"], width=10)
    assert condition.values == ("-10–-1", "1980–1989", "1990–1999", "unknown")
    assert values == ["1990–1999", "1990–1999", "1980–1989", "unknown", "-10–-1"]
    assert [condition.number(x) for x in (1994, "1994", "1990-1999", "1990–1999", 1985.5)] == [3, 3, 3, 3, 2]
    assert finished(["0.3", "0.7"], width=0.5)[0].values == ("0 to 0.5", "0.5 to 1")
    assert finished(["3", "4"], width=1)[0].values == ("3", "4")


def test_numbers_are_sorted_by_size():
    assert finished(["10", "9", "x", "100"])[0].values == ("9", "10", "100", "x")


def test_rare_values_become_one_and_are_said_to_be():
    cells = [f"common {k}" for k in range(22) for _ in range(10)] + ["once", "twice", "twice"]
    condition, values, notes = finished(cells)
    assert len(condition.values) == 23
    assert values[-3:] == ["other"] * 3
    assert notes == ["2 values of 'T' in fewer than 10 rows each are one, 'other'"]
    assert finished(["a", "b", "c"])[0].values == ("a", "b", "c")  # of few values each is kept


def test_a_column_of_keys_teaches_nothing():
    keys = fl.Names(["ab", "cd"] * 50, given={"T": [f"id{k}" for k in range(100)]})
    with pytest.raises(FastLSTMError, match="'T' hardly ever occur twice"):
        fl.CharLM().fit(keys, steps=1)
    with pytest.raises(FastLSTMError, match=r"1,200 values, and 1,000 are the most.*T:10"):
        finished([str(k) for k in range(1200) for _ in range(10)])


def test_weights_count():
    condition, _, _ = finished(["a", "b", "a"], weights=np.array([5.0, 2.0, 0.5]))
    assert condition.counts == (5.5, 2.0)


def test_rows_that_hold_no_name_do_not_count():
    column = Column("T")
    for cell in ("a", "b", "a"):
        column.add(cell)
    condition, numbers, _ = column.finish(np.array([True, False, True]), None, [])
    assert (condition.values, condition.counts, numbers.tolist()) == (("a",), (2.0,), [1, 1])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"Year:10": ["1990", "soon"]},
            "given 'Year:10', number 2: 'soon' in column 'Year' is no number; leave out :10",
        ),
        ({"Sex": ["F"]}, "given 'Sex' has 1 value for 2 names"),
        ({"Sex": 3}, "given 'Sex', number 1"),
        ({"Year:0": [1, 2]}, "the width of bins must be a number above 0"),
    ],
)
def test_columns_that_do_not_fit(given, says):
    with pytest.raises(FastLSTMError, match=re.escape(says)):
        gather(given, 2, "names")


def test_specs():
    assert spec("Year:10") == ("Year", 10.0)
    assert spec("Name: first") == ("Name: first", 0.0)
    assert spec("Year:10", ["Year:10"]) == ("Year:10", 0.0)


def test_what_people_give():
    sex, year = Condition("Sex", ("F", "M"), (1, 1)), Condition("Year", ("1980–1989",), (1,), 10)
    assert numbers_of([sex, year], {}) == [0, 0]
    assert numbers_of([sex, year], {"sex": "m", "Year": 1981}) == [2, 1]
    for given, says in (
        ({"Sex": "X"}, "'Sex' has no value 'X' in what the model was trained on; there are 'F', 'M'"),
        ({"Year": 2001}, "no value '2001'"),
        ({"Country": "DE"}, "the model has no condition 'Country'; it has 'Sex', 'Year'"),
    ):
        with pytest.raises(FastLSTMError, match=re.escape(says)):
            numbers_of([sex, year], given)
    with pytest.raises(FastLSTMError, match="trained without conditions, so 'Sex' cannot be given"):
        numbers_of([], {"Sex": "F"})


def some_given(count=60):
    """Names whose first letter says what was given."""
    rng = np.random.default_rng(0)
    sexes = ["F" if k % 2 else "M" for k in range(count)]
    years = [1980 + k % 20 for k in range(count)]
    names = [("a" if sex == "F" else "b") + "".join(rng.choice(list("lmno"), 4)) for sex in sexes]
    return names, {"Sex": sexes, "Year:10": years}


@pytest.fixture(scope="module")
def lm():
    names, given = some_given()
    model = fl.CharLM(hidden=24, embedding=8, seed=0, dropout=0.0, batch_size=16, lr=0.02)
    model.fit(fl.Names(names, given=given), steps=400, validation=0.1)
    return model


def test_what_is_given_steers_what_is_drawn(lm):
    assert [c.title for c in lm.conditions] == ["Sex", "Year"]
    assert all(name.startswith("a") for name in lm.sample(10, given={"Sex": "F"}, seed=1, temperature=0.5))
    both = lm.sample(10, given={"sex": ["F", "M"], "Year": 1994}, seed=1, temperature=0.5)
    assert [name[0] for name in both] == ["a"] * 10 + ["b"] * 10
    assert {name[0] for name in lm.sample(60, seed=1, temperature=0.5)} == {"a", "b"}


def test_what_is_drawn_does_not_depend_on_the_batch(lm):
    whole = lm.sample(30, given={"Sex": ["F", "M"]}, seed=3)
    assert lm.sample(30, given={"Sex": ["F", "M"]}, seed=3, batch_size=7, threads=1) == whole
    assert lm.sample(5, given={"Sex": ["F", "M"]}, seed=3) == whole[:5] + whole[30:35]


def test_scores_and_beams_are_under_what_is_given(lm):
    for given in ({"Sex": "F"}, {"Sex": "M", "Year": 1985}, {}):
        (name, best), *_ = beam(lm, 3, given=given).names
        assert score(lm, [name], given=given)[0] == pytest.approx(best)
        numbers = np.array([numbers_of(lm.conditions, given)])
        ids = np.concatenate([[0], lm.vocabulary.encode(name)])
        logits, _ = lm.network.forward(ids[:, None], given=numbers)
        z = logits[:, 0].astype(float)
        logp = z - np.log(np.exp(z).sum(-1, keepdims=True))
        expected = logp[np.arange(len(ids)), [*ids[1:], 0]].sum()
        assert best.logprob == pytest.approx(expected, abs=1e-4)
    each = score(lm, ["alma", "alma"], given=[{"Sex": "F"}, {"Sex": "M"}])
    assert each[0].logprob > each[1].logprob + 2


def test_bayes_rule(lm):
    shares = lm.classify(["alma", "bono"], "Sex")
    assert shares.shape == (2, 2)
    assert shares.sum(1) == pytest.approx([1, 1])
    assert shares[0, 0] > 0.9
    assert shares[1, 1] > 0.9
    joint = [
        s.logprob + np.log(c)
        for s, c in zip(
            [score(lm, ["alma"], given={"Sex": v})[0] for v in ("F", "M")],
            lm.conditions[0].counts,
            strict=True,
        )
    ]
    assert shares[0, 0] == pytest.approx(1 / (1 + np.exp(joint[1] - joint[0])))
    with pytest.raises(FastLSTMError, match="no condition 'Country'"):
        lm.classify(["alma"], "Country")


def test_names_that_are_known_are_judged(lm):
    found = assess(
        lm, fl.Names(["alma", "bono", "bob", "anna"][:2] * 3, given={"Sex": ["F", "M", "M"] * 2}), "Sex"
    )
    assert found.values == ("F", "M")
    assert found.confusion.tolist() == [[1, 1], [2, 2]]
    assert found.accuracy == 0.5
    with pytest.raises(FastLSTMError, match="come without 'Sex', which they are judged by"):
        assess(lm, fl.Names(["alma"]), "Sex")


def test_a_state_of_ones_own_starts_as_given(lm):
    state = lm.start(2, given={"Sex": "F"})
    first = lm.step(state, [0, 0])
    expected, _ = lm.network.forward(np.zeros((1, 1), int), given=np.array([[1, 0]]))
    assert first[0] == pytest.approx(expected[0, 0], abs=1e-5)
    state.reset([1])
    again = lm.step(state.take([1]), [0])
    assert again[0].tolist() == first[1].tolist()


def test_models_keep_their_conditions(lm, tmp_path):
    lm.save(tmp_path / "m.safetensors")
    loaded = fl.CharLM.load(tmp_path / "m.safetensors")
    assert loaded.conditions == lm.conditions
    assert loaded.sample(5, given={"Year": 1994}, seed=2) == lm.sample(5, given={"Year": 1994}, seed=2)
    write_torch(tmp_path / "t.safetensors", lm)
    back = read_torch(tmp_path / "t.safetensors")
    assert back.network.architecture == lm.network.architecture
    assert generate(back, 5, given={"Sex": "M"}, seed=2) == lm.sample(5, given={"Sex": "M"}, seed=2)


def test_an_open_share_is_left_out_in_training_and_never_in_validation():
    names = fl.Names(["anna", "bob"] * 500, given={"S": ["F", "M"] * 500})
    vocabulary = names.vocabulary()
    batches = NameBatches(names, vocabulary, 100, names.given.conditions, 0.1)
    drawn = np.concatenate([batch.given for batch in batches.epoch(np.random.default_rng(1))])
    assert 60 < (drawn == 0).sum() < 140
    for batch in batches.ordered():
        firsts = batch.ids[1] == vocabulary.encode("a")[0]
        assert (batch.given[:, 0] == np.where(firsts, 1, 2)).all()
    again = np.concatenate([batch.given for batch in batches.epoch(np.random.default_rng(1))])
    assert again.tolist() == drawn.tolist()


def test_a_split_keeps_a_name_on_one_side_with_all_its_values():
    names = fl.Names(["kim", "kim", "ann", "bob", "cy"], given={"S": list("FMFMM")})
    for seed in range(6):
        train, held_out = split_names(names, 2, seed)
        assert not set(train.distinct) & set(held_out.distinct)
        for part in (train, held_out):
            values = [part.given.conditions[0].values[number - 1] for number in part.given.numbers[:, 0]]
            assert sorted(v for name, v in zip(part, values, strict=True) if name == "kim") in (
                [],
                ["F", "M"],
            )
    assert names.digest() != fl.Names(list(names), given={"S": list("FMFMF")}).digest()


def test_from_a_table_to_drawn_and_classified_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, given = some_given()
    lines = [
        f"{name},{sex},{year}" for name, sex, year in zip(names, given["Sex"], given["Year:10"], strict=True)
    ]
    Path("t.csv").write_text("\n".join(["Name,Sex,Year", *lines]))

    def run(*words):
        done = CliRunner().invoke(main, words, prog_name="fastlstm")
        assert done.exit_code == 0, done.output
        return done.stdout

    said = run(
        "train",
        "t.csv",
        "--given",
        "Sex",
        "--given",
        "Year:10",
        "--hidden",
        "16",
        "--steps",
        "200",
        "--out",
        "r",
    )
    assert "given Sex (F, M), Year (1980–1989, 1990–1999)" in said
    drawn = run("sample", "r", "--given", "sex=F,M", "--given", "Year=1994", "-n", "2", "--format", "csv")
    rows = list(csv.reader(drawn.splitlines()))
    assert rows[0] == ["name", "Sex", "Year"]
    assert [row[1:] for row in rows[1:]] == [["F", "1990–1999"]] * 2 + [["M", "1990–1999"]] * 2
    assert "given:" in run("info", "r")
    shares = json.loads(run("eval", "r", "--name", names[0], "--by", "Sex", "--format", "json"))
    assert shares["F"] + shares["M"] == pytest.approx(1)
    judged = run("eval", "r", "t.csv", "--by", "Sex", "--picture", "confusion.png")
    assert judged.startswith("accuracy ")
    assert Path("confusion.png").stat().st_size > 1000
    wrong = CliRunner().invoke(main, ["sample", "r", "--given", "Sex"], prog_name="fastlstm")
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (2, 1)


def test_one_name_that_cannot_be_read_hides_no_other(lm, tmp_path):
    lm.save(tmp_path / "m.safetensors")
    words = [
        "eval",
        str(tmp_path / "m.safetensors"),
        "--name",
        "xñ",
        "--name",
        names_known(lm),
        "--by",
        "Sex",
    ]
    done = CliRunner().invoke(main, words, prog_name="fastlstm")
    assert done.exit_code == 3
    assert "ñ" in done.stderr
    assert done.stdout.startswith(names_known(lm) + "  ")


def names_known(lm):
    return "".join(lm.vocabulary.characters[:3])


def test_rows_without_a_value_are_not_judged(lm):
    names = fl.Names(["alma", "bono", "alma"], given={"Sex": ["F", "", None]})
    found = assess(lm, names, "Sex")
    assert (found.unknown, found.accuracy) == (2, 1.0)
    assert "2 rows without a value left out" in table(found)
    assert lm.evaluate(names).loss > 0
    with pytest.raises(FastLSTMError, match="'Sex' is blank in every row that counts"):
        assess(lm, fl.Names(["alma", "bono"], given={"Sex": ["", None]}), "Sex")
    weighted = fl.Names(["alma", "bono"], given={"Sex": ["F", ""]}, weights=[0, 1])
    with pytest.raises(FastLSTMError, match="blank in every row that counts"):
        assess(lm, weighted, "Sex")
    with_blanks = fl.CharLM(hidden=4, embedding=4)
    with_blanks.fit(fl.Names(["a", "b", "ab"], given={"Sex": ["F", "", "M"]}), steps=2, validation=0)
    assert assess(with_blanks, fl.Names(["a"], given={"Sex": [""]}), "Sex").confusion.sum(1).tolist() == [
        0,
        0,
        1,
    ]


def test_a_value_without_weight_is_never_the_most_probable():
    names = fl.Names(
        ["anna", "otto", "bob"] * 5, weights=[1.0, 0.0, 2.0] * 5, given={"S": ["F", "N", "M"] * 5}
    )
    model = fl.CharLM(hidden=8, embedding=4, seed=0)
    model.fit(names, steps=5, validation=0)
    shares = model.classify(["otto"], "S")
    assert shares[0, model.conditions[0].values.index("N")] == 0
    assert shares.sum() == pytest.approx(1)


@pytest.mark.parametrize("batch", [0, -1, 2.5, "2"])
def test_a_state_needs_a_whole_number_of_rows(lm, batch):
    with pytest.raises(FastLSTMError, match="batch is"):
        lm.start(batch)
