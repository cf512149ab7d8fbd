"""From a trained model: what a run takes over, what new data add, and what does not go together."""

from __future__ import annotations

import copy
import json
import re
import shlex
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import pytest
from small_runs import SIZES, some_names, some_text
from test_cli_train import fails, run

import fastlstm as fl
from fastlstm.data.given import Condition, merged
from fastlstm.network.architecture import Architecture
from fastlstm.network.growing import grown
from fastlstm.network.model import Network
from fastlstm.training import runs
from fastlstm.training.defaults import FURTHER, FURTHER_FEW
from fastlstm.training.model_file import load_arrays, load_model
from fastlstm.training.options import Options
from fastlstm.training.session import Session
from fastlstm.training.starting import begin, keywords

CITIES = ["Ulm", "Köln", "Bad Ems", "Aalen", "Rheda", "Trier", "Worms", "Lahr", "Soest", "Bonn"]
SMALL = "--hidden 8 --embedding 4 --batch-size 4 --window 8 --threads 1".split()  # noqa: SIM905


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "find_spec", lambda name: None)
    Path("cities.csv").write_text(
        "City,Land\n" + "".join(f"{c},{'AB'[len(c) % 2]}\n" for c in CITIES), "utf-8"
    )
    return tmp_path


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of runs: names, names with conditions, and a text."""
    folder = tmp_path_factory.mktemp("models")
    given = {"Sex": ["F", "M"] * 33, "Year:10": [1980 + k % 30 for k in range(66)]}
    for kind, data in (
        ("names", some_names()),
        ("given", fl.Names(some_names(), given=given)),
        ("text", some_text()),
    ):
        fl.CharLM(**SIZES, window=8, steps=12, seed=1).fit(data, out=folder / kind)
    return folder


@pytest.mark.parametrize(
    "options",
    [{}, {"embedding": 0}, {"tied": True, "embedding": 6}, {"layers": 2, "learned_state": True}],
    ids=["plain", "one-hot", "tied", "deep"],
)
def test_a_larger_network_computes_what_the_old_one_did(options):
    small = Architecture(5, 6, **{"embedding": 3, "dtype": "float64", "conditions": (3, 2), **options})
    old = Network(small, seed=1)
    larger = Architecture(**{**small.as_dict(), "vocabulary": 7, "conditions": (4, 2, 3)})
    new = grown(old, larger, first=1)
    ids = np.array([[0, 0], [3, 1], [4, 2]])
    given = np.array([[2, 1], [0, 0]])
    before, _ = old.forward(ids, given=given)
    after, _ = new.forward(ids, given=np.column_stack([given, [2, 1]]))
    assert after[..., :5] == pytest.approx(before, abs=1e-12)
    assert after[..., 5:] == pytest.approx(before[..., 1:].mean(-1)[..., None].repeat(2, -1), abs=1e-12)
    p = new.parameters
    columns = p["embedding"] if larger.embedding else p["lstm.0.W"][:, 6:].T
    assert columns[5:] == pytest.approx(columns[1:5].mean(0)[None].repeat(2, 0), abs=1e-12)
    assert p["given.h"][3] == pytest.approx(old.parameters["given.h"][1:3].mean(0), abs=1e-12)
    assert not p["given.c"][6:].any()


def test_conditions_of_a_model_and_of_other_data_together():
    sex, year = Condition("Sex", ("F", "M"), (5, 5)), Condition("Year", ("1980–1989",), (9,), 10)
    names = fl.Names(
        ["a", "b", "c"], given={"sex": ["M", "X", "M"], "Year:10": [1994, 1985, None], "Land": "DEF"}
    )
    both = merged([sex, year], names.given, None)
    assert [(c.title, c.values, c.counts) for c in both] == [
        ("Sex", ("F", "M", "X"), (0, 2, 1)),
        ("Year", ("1980–1989", "1990–1999", "unknown"), (1, 1, 1)),
        ("Land", ("D", "E", "F"), (1, 1, 1)),
    ]
    assert merged([sex], None, None) == (sex,)
    plain = merged([year], fl.Names(["a", "b"], given={"Year": [1999, "1981"]}).given, None)
    assert plain[0].values == ("1980–1989", "1990–1999")
    for given, says in (
        ({"Year:5": [1999]}, "'Year' comes in bins of 5, and the model has bins of 10"),
        ({"Sex:5": [1]}, "'Sex' comes in bins of 5, and the model has its values as they are"),
        ({"Year": ["long ago"]}, "'long ago' in 'Year' is no number, and the model has bins of 10"),
    ):
        with pytest.raises(fl.FastLSTMError, match=re.escape(says)):
            merged([sex, year], fl.Names(["a"], given=given).given, None)


def test_values_that_are_rare_in_all_of_the_data_may_be_a_models():
    """25 countries, each in one row of a small table: a new model learns nothing from them, and one that knows them does."""
    lands = [f"L{k}" for k in range(25)]
    known = Condition("Land", tuple(lands), (10.0,) * 25)
    small = fl.Names(["a", "b"] * 12 + ["a"], given={"Land": lands})
    assert small.given is not None
    with pytest.raises(fl.FastLSTMError, match="'Land' hardly ever occur twice"):
        merged([], small.given, None)
    assert merged([known], small.given, None) == (replace(known, counts=(1.0,) * 25),)
    assert small.given.under([known])[:, 0].tolist() == list(range(1, 26))
    more = fl.Names(["a"] * 25, given={"Land": [*lands[1:], "new"]}).given
    assert merged([known], more, None)[0].values == (*lands, "other")


def test_rows_of_other_data_under_a_models_conditions():
    """A blank, a value never met, and one that was too rare by itself, in data large and small."""
    land, plain = (
        Condition("Land", ("DE", "FR", "other", "unknown"), (1,) * 4),
        Condition("Land", ("DE",), (1,)),
    )
    cells = ["DE", "FR", "", "XK", "other"]
    few = fl.Names(["a"] * 5, given={"Land": cells}).given
    assert few.under([land])[:, 0].tolist() == [1, 2, 4, 3, 3]
    assert fl.Names(["a"] * 2, given={"Land": ["DE", ""]}).given.under([plain])[:, 0].tolist() == [1, 0]
    with pytest.raises(fl.FastLSTMError, match="'Land' has no value 'FR'"):
        few.under([plain])
    many = [*cells, *(f"{k}" for k in range(30) for _ in range(12))]
    folded = fl.Names(["a"] * len(many), given={"Land": many}).given
    assert "FR" not in folded.conditions[0].values
    assert folded.under([land])[:5, 0].tolist() == [1, 2, 4, 3, 3]
    assert folded.of_rows(np.array([1, 0])).under([land])[:, 0].tolist() == [2, 1]


def test_fit_goes_on_with_characters_and_conditions_that_are_new(models):
    lm = fl.CharLM.load(models / "names")
    before = {name: view.copy() for name, view in lm.network.parameters.items()}
    history = lm.fit(fl.Names(CITIES, given={"Land": "AB" * 5}), steps=1, lr=1e-9, validation=0)
    known = load_model(models / "names").vocabulary.characters
    assert lm.vocabulary.characters[: len(known)] == known
    assert set(lm.vocabulary.characters[len(known) :]) == set("".join(CITIES).lower()) - set(known)
    assert lm.network.parameters["embedding"][: len(known) + 1] == pytest.approx(
        before["embedding"], abs=1e-6
    )
    first, second = history.notes
    new = len(lm.vocabulary.characters) - len(known)
    assert re.match(rf"{new} new characters \(' ', 'd', .*\), which begin as the mean of the others", first)
    assert second == "given Land (A, B) too"
    assert second in repr(history)
    assert lm.sample(3, given={"Land": "A"}, prefix="Kö", seed=1)


def test_fit_takes_over_what_the_model_is(models):
    lm = fl.CharLM.load(models / "given")
    seen = []
    lm.fit(some_names(), steps=5, dropout=0.3, on_record=seen.append)
    assert max(record.rate for record in seen) <= FURTHER_FEW * 3e-3
    assert lm.network.architecture.dropout == 0.3
    assert [c.title for c in lm.conditions] == ["Sex", "Year"]
    lm.fit(some_names(), steps=1, dtype="float64")
    assert lm.network.parameters.flat.dtype == np.float64
    network = lm.network
    lm.fit(some_names(), steps=1, hidden=None, dropout=None, kind=None)
    assert lm.network is network
    for changes, says in (
        ({"hidden": 16}, "hidden is 8 in this model and cannot become 16: leave it out"),
        ({"tied": True}, "tied is False in this model and cannot become True"),
        ({"characters": 50}, "characters limits a new model's vocabulary, and this model has its own"),
        ({"kind": "text"}, "this model is a model of names and cannot go on with text"),
    ):
        with pytest.raises(fl.FastLSTMError, match=re.escape(says)):
            lm.fit(some_names(), **changes)
    with pytest.raises(fl.FastLSTMError, match="cannot go on with text"):
        lm.fit("a text")


def test_a_text_keeps_the_character_that_stands_for_the_rest():
    lm = fl.CharLM(**SIZES, window=8, steps=3, characters=6)
    lm.fit(some_text())
    history = lm.fit(some_text() + " with others 123", validation=0)
    assert lm.vocabulary.size == 6
    (note,) = history.notes
    assert re.fullmatch(r"\d+ characters that it does not know, read as '�'", note)


def test_lines_go_on_with_lines(tmp_path):
    lm = fl.CharLM(**SIZES, kind="lines", steps=3)
    lm.fit(["Two eggs", "Salt,\nwater"], out=tmp_path / "lines", validation=0)
    assert fl.CharLM.load(tmp_path / "lines").fit(["Zest"], steps=2, validation=0).notes
    Path("more.txt").write_text("Zest\nOil\n", "utf-8")
    out = run("train", "more.txt", "--from", "lines", "--steps", 2, "--validation", 0).stdout
    assert "lines, a model of lines: 3 new characters ('O', 'Z', 'i'), " in out
    with pytest.raises(fl.FastLSTMError, match="cannot go on with names"):
        fl.CharLM.load(tmp_path / "lines").fit(fl.Names(["anna"], lowercase=False))


@pytest.mark.parametrize(
    ("names", "embedding", "given", "expected"),
    [
        (60, 4, {}, (0.5, 0.3, FURTHER_FEW * 3e-3)),
        (60, 0, {}, (0.5, 0.0, FURTHER_FEW * 3e-3)),
        (60, 4, {"dropout": 0.0, "lr": 1e-2}, (0.0, 0.3, 1e-2)),
        (1000, 4, {}, (0.5, 0.1, FURTHER * 3e-3)),
        (4000, 4, {}, (0.25, 0.1, FURTHER * 3e-3)),
    ],
)
def test_the_noise_and_the_rate_are_those_for_so_many_names(names, embedding, given, expected):
    """A model's own noise where there are many, more where there are few; what is given stays."""
    words = [a + b + c for a in ascii_lowercase for b in ascii_lowercase for c in ascii_lowercase[:9]]
    model = fl.CharLM(hidden=8, embedding=embedding, dropout=0.25, embedding_dropout=0.1 if embedding else 0)
    model.fit(words[:50], steps=1, validation=0)
    options = Options(**keywords(model, {"steps": 1, **given}, "m"))
    session = Session(fl.Names(words[:names]), options, begin(model, fl.Names(words[:names]), options))
    o, a = session.options, session.network.architecture
    assert (o.dropout, o.embedding_dropout, o.lr) == expected
    assert (a.dropout, a.embedding_dropout) == expected[:2]


def test_a_run_from_a_run(models):
    out = run(
        "train", "cities.csv", "--from", models / "given", "--given", "Land", "--steps", 6, "--out", "cities"
    ).stdout
    assert f"from {models / 'given'}, a model of names: " in out
    assert re.search(r"\d+ new characters \(' ', .*given Land \(A, B\) too$", out, re.MULTILINE)
    assert "1 × 8 units, embedding 4" in out
    assert f"lr {FURTHER_FEW * 3e-3:g}" in out
    assert (
        "chosen for so much data: --batch-size 32 --dropout 0.5 --weight-decay 0.1 --embedding-dropout 0.3"
        in out
    )
    model = load_model("cities")
    assert [given["title"] for given in model.preprocessing["given"]] == ["Sex", "Year", "Land"]
    config = json.loads(Path("cities/config.json").read_text("utf-8"))
    again = [*shlex.split(config["command"])[1:], "--out", "again"]
    assert again[again.index("--from") + 1] == str(models / "given")
    run(*again)
    for name, array in load_arrays("again/model.safetensors")[0].items():
        assert array.tolist() == load_arrays("cities/model.safetensors")[0][name].tolist()


def test_a_run_from_a_model_that_is_interrupted_ends_as_if_it_were_not(models, monkeypatch):
    words = ["train", "cities.csv", "--from", models / "given" / "model.safetensors", "--given", "Land"]
    run(*words, "--steps", 12, "--checkpoint-every", 4, "--out", "whole")
    session_end = load_arrays("whole/checkpoint.safetensors")[0]

    whole = runs.Run._steps

    def until(self, stop):
        return takewhile(lambda record: record.step < 8, whole(self, stop))

    with monkeypatch.context() as cut:
        cut.setattr(runs.Run, "_steps", until)
        run(*words, "--steps", 12, "--checkpoint-every", 4, "--out", "cut", code=130)
    assert "going on with cut at step 8 of 12" in run("train", "--resume", "cut").stdout
    for name, array in load_arrays("cut/checkpoint.safetensors")[0].items():
        assert array.tolist() == session_end[name].tolist(), name


def test_a_file_is_read_as_what_the_model_was_trained_on(models):
    Path("list.txt").write_text("\n".join(CITIES), "utf-8")
    out = run("train", "list.txt", "--from", models / "names", "--steps", 2).stdout
    assert "list.txt: 10 names" in out
    assert "--as" not in out
    fails(
        "is a model of names and cannot go on with text",
        "train",
        "list.txt",
        "--as",
        "text",
        "--from",
        models / "names",
    )
    fails("the data that come with fastlstm are names", "train", "--from", models / "text")


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        (["--from", "{names}", "--hidden", 16], "hidden is 8 in {names} and cannot become 16: leave it out", 1),
        (["--from", "{names}", "--resume", "{names}"], "--from begins a new run, and --resume goes on in the old one", 2),
        (["--from", "nowhere"], "nowhere: there is no such file", 1),
        (["--from", "."], "holds no model.safetensors; it is no run", 1),
        (["--from", "{names}/checkpoint.safetensors"], "is where a run goes on, not a model: give the run's folder", 1),
        (["--resume", "{names}/model.safetensors"], "--from {names}/model.safetensors", 1),
        (["--resume", "{names}"], "other data; to begin a new run with its weights: fastlstm train DATA --from {names}", 1),
        (["--from", "{given}", "--given", "Land:5"], "'B' in column 'Land' is no number", 1),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_one_line(models, words, says, code):
    at = {"names": models / "names", "given": models / "given"}
    fails(says.format(**at), "train", "cities.csv", *(str(word).format(**at) for word in words), code=code)
    assert not Path("runs").exists()


def test_the_model_that_is_taken_is_left_as_it_was(models):
    before = (models / "names" / "model.safetensors").read_bytes()
    lm = fl.CharLM.load(models / "names")
    twin = copy.deepcopy(lm)
    lm.fit(CITIES, steps=5, validation=0)
    assert (models / "names" / "model.safetensors").read_bytes() == before
    assert twin.sample(3, seed=1) == fl.CharLM.load(models / "names").sample(3, seed=1)
