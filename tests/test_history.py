"""What people look at in Python: a model's and a history's faces, keywords that editors complete, bars, kept indexes."""

from __future__ import annotations

import csv
import sys
from types import SimpleNamespace

import pytest
from small_runs import SIZES, some_names, some_text
from test_cli_train import run

import fastlstm as fl
from fastlstm.training import bars
from fastlstm.training.evaluation import Scores
from fastlstm.training.folders import COLUMNS
from fastlstm.training.history import MOST_ROWS, History


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A model, its history, and the run of the same training."""
    folder = tmp_path_factory.mktemp("history") / "run"
    lm = fl.CharLM(**SIZES, epochs=4, seed=3)
    return lm, lm.fit(some_names(), out=folder), folder


def test_keywords_that_are_none_are_told_where_they_belong():
    for use in (fl.CharLM, lambda **keywords: fl.CharLM().fit(["a", "b"], **keywords)):
        with pytest.raises(
            fl.FastLSTMError, match=r"column says how a file is read: give it to fl\.read_names"
        ):
            use(column="Name")
        with pytest.raises(TypeError, match="there is no option 'epoch'; did you mean epochs"):
            use(epoch=3)
        with pytest.raises(fl.FastLSTMError, match="epochs is 0"):
            use(epochs=0)


def test_a_model_says_what_it_is(fitted, tmp_path):
    lm, history, folder = fitted
    said = repr(lm)
    characters = "".join(lm.vocabulary.characters)
    assert said == (
        f"<CharLM of names: 1 × 8 units, embedding 4, {len(characters)} characters ({characters}), {history.best_step} "
        f"steps, {history.best.loss:.4f} nats a character on what was held out>"
    )
    assert repr(fl.CharLM.load(folder)) == said
    lm.save(tmp_path / "m.safetensors")
    assert repr(fl.CharLM.load(tmp_path / "m.safetensors")) == said
    assert (
        repr(fl.CharLM(hidden=3, tied=True)) == "<CharLM that has learned nothing yet: hidden=3, tied=True>"
    )
    text = fl.CharLM(**SIZES, window=8, steps=2)
    text.fit(some_text(), validation=0)
    assert "of text: " in repr(text)
    assert "\\n" in repr(text)
    assert repr(text).endswith("2 steps>")


def test_after_an_interruption_it_says_how_far_it_came():
    lm = fl.CharLM(**SIZES, steps=20)

    def stop(record):
        if record.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lm.fit(some_names(), on_record=stop)
    assert repr(lm).endswith(", 3 steps>")


def test_a_history_is_a_table(fitted):
    pandas = pytest.importorskip("pandas")
    _, history, folder = fitted
    frame = pandas.DataFrame(history.to_dict())
    assert list(frame.columns) == list(COLUMNS)
    with open(folder / "metrics.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(frame) == 4
    for name in COLUMNS:
        shown = [float(row[name]) for row in rows]
        assert frame[name].tolist() == pytest.approx(shown, rel=1e-4, abs=1)


def test_a_history_in_a_line_and_in_a_notebook(fitted):
    _, history, _ = fitted
    assert repr(history) == (
        f"<History of 60 steps: best at step {history.best_step}, {history.best.loss:.4f} nats a character on what was "
        "held out>"
    )
    page = history._repr_html_()
    assert page.count("<tr") == 5
    assert f"<td>{history.best.loss:.4f}</td>" in page
    noted = History(history.records * 40, 60, 60, Scores(1.0, 0.5, 9), ("1 new character ('<')",))
    assert "&lt;" in noted._repr_html_()
    assert "('<')" not in noted._repr_html_()
    assert noted._repr_html_().count("<tr") <= MOST_ROWS + 1
    assert "<table>" not in History([], 3, 0, None)._repr_html_()
    assert repr(History([], 3, 0, None)) == "<History of 3 steps>"


def test_a_history_is_drawn(fitted, tmp_path, monkeypatch):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    _, history, _ = fitted
    history.plot(tmp_path / "curves.png", against="step")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not pyplot.get_fignums()
    pyplot.switch_backend("agg")
    loss, _, _ = history.plot()
    assert [line.get_label() for line in loss.lines] == ["train", "validation"]
    assert loss.lines[1].get_ydata().tolist() == history.to_dict()["validation_loss"]
    assert loss.figure.number in pyplot.get_fignums()
    pyplot.close("all")
    with pytest.raises(fl.FastLSTMError, match="against epoch, step, seconds, not 'time'"):
        history.plot(against="time")
    with pytest.raises(fl.FastLSTMError, match="nothing to draw"):
        History([], 3, 0, None).plot()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(fl.FastLSTMError, match=r"pip install 'fastlstm\[plot\]'"):
        history.plot()


def test_a_bar_where_somebody_looks(capsys, monkeypatch):
    def fit(**keywords):
        fl.CharLM(**SIZES, steps=4).fit(some_names(), validation=0, **keywords)
        return capsys.readouterr()

    assert fit() == ("", "")
    shown = fit(progress=True)
    assert shown.out == ""
    assert "4/4" in shown.err
    assert "loss " in shown.err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert "4/4" in fit().err
    assert fit(progress=False) == ("", "")


def test_a_notebook_is_known_by_its_kernel(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not bars.wanted(None)
    for config, answer in (({"IPKernelApp": {}}, True), ({"TerminalIPythonApp": {}}, False)):
        shell = SimpleNamespace(config=config)
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda shell=shell: shell))
        assert bars.wanted(None) is answer
        assert not bars.wanted(False)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert not bars.wanted(None)


def test_the_training_names_are_kept_beside_a_saved_model(fitted, tmp_path):
    lm, _, _ = fitted
    path = tmp_path / "m.safetensors"
    lm.save(path)
    loaded = fl.CharLM.load(path)
    assert (loaded.index.train, loaded.index.held_out) == (lm.index.train, lm.index.held_out)
    assert loaded.sample(3, novel=True, seed=1) == lm.sample(3, novel=True, seed=1)
    drawn = run("sample", path, "-n", 3, "--novel", "--seed", 1).stdout.split()
    assert drawn == lm.sample(3, novel=True, seed=1)
    lm.save(tmp_path / "other.safetensors", index=False)
    assert fl.CharLM.load(tmp_path / "other.safetensors").index is None
    lm.save(path, index=False)
    assert [each.name for each in sorted(tmp_path.iterdir())] == ["m.safetensors", "other.safetensors"]
    assert "m.safetensors has no m.index, its training names" in run("sample", path, "--novel", code=1).stderr


def test_names_that_are_not_to_be_kept_are_not():
    lm = fl.CharLM(**SIZES, steps=2, index=False)
    lm.fit(some_names())
    with pytest.raises(fl.FastLSTMError, match="without its index"):
        lm.sample(novel=True)
