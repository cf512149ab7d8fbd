"""CharLM: what a person does with it in Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from small_runs import SIZES, some_names, some_text

import fastlstm as fl
from fastlstm.training.runs import Run

NAMES = {**SIZES, "epochs": 4, "seed": 3}
TEXT = {**SIZES, "window": 8, "steps": 30, "seed": 3}


@pytest.fixture(scope="module")
def names_model():
    lm = fl.CharLM(**NAMES)
    lm.fit(some_names())
    return lm


def test_names_from_fit_to_sample(names_model):
    assert names_model.kind == "names"
    drawn = names_model.sample(5, seed=1)
    assert len(drawn) == 5
    assert all(name.startswith("an") for name in names_model.sample(5, prefix="An", seed=1))
    assert drawn == names_model.sample(5, seed=1)
    assert names_model.sample(3, novel=True, seed=1)


def test_the_history_tells_what_happened_and_the_best_weights_stay():
    lm = fl.CharLM(**{**NAMES, "epochs": 12}, lr=1.0, schedule="constant")
    seen = []
    history = lm.fit(some_names(), on_record=seen.append)
    assert [r.step for r in seen] == list(range(1, history.steps + 1))
    assert history.records == [r for r in seen if r.train]
    best = min(history.records, key=lambda r: r.validation.loss)
    assert (history.best_step, history.best) == (best.step, best.validation)
    last = history.records[-1]
    assert best.step < last.step
    held_out = [n for n in some_names() if n not in lm.index.train]
    assert lm.evaluate(held_out).loss == pytest.approx(best.validation.loss, rel=1e-5)


def test_a_text_from_fit_to_sample():
    lm = fl.CharLM(**TEXT)
    lm.fit(some_text())
    (text,) = lm.sample(1, length=40, seed=1)
    assert len(text) == 40
    assert lm.index is None
    assert lm.evaluate(some_text()).loss < math.log(lm.vocabulary.size)


def test_scores_of_names_and_their_units(names_model):
    scores = names_model.evaluate(["Anna", "bela"])
    assert scores.characters == 10
    assert scores.perplexity == pytest.approx(math.exp(scores.loss))
    assert scores.bits_per_character == pytest.approx(scores.loss / math.log(2))
    with pytest.raises(fl.FastLSTMError, match="'x'"):
        names_model.evaluate(["anna", "xerxes"])
    with pytest.raises(fl.FastLSTMError, match="this model is one of names"):
        names_model.evaluate("a text")


def test_save_and_load(tmp_path, names_model):
    path = tmp_path / "m.safetensors"
    names_model.save(path)
    lm = fl.CharLM.load(path, threads=1)
    assert lm.sample(4, seed=9) == names_model.sample(4, seed=9)
    lm.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_a_run_folder_from_python(tmp_path):
    lm = fl.CharLM(**NAMES)
    lm.fit(some_names(), out=tmp_path / "run")
    assert fl.CharLM.load(tmp_path / "run").sample(4, seed=2) == lm.sample(4, seed=2)
    assert set(fl.CharLM.load(tmp_path / "run").index) == set(lm.index)
    Run.resume(tmp_path / "run", data=fl.Names(some_names())).close()
    with pytest.raises(fl.FastLSTMError, match="holds files already"):
        lm.fit(some_names(), out=tmp_path / "run")


def test_fit_goes_on_from_where_it_is(names_model):
    lm = fl.CharLM(**NAMES)
    lm.fit(some_names())
    before = lm.network.parameters.flat.copy()
    network = lm.network
    lm.fit(["anna", "bela", "nina"], steps=1, lr=1e-6, validation=0, dropout=0.5, embedding_dropout=0)
    assert lm.network is network
    assert np.abs(lm.network.parameters.flat - before).max() < 1e-4
    with pytest.raises(fl.FastLSTMError, match="hidden is 8 in this model and cannot become 16"):
        lm.fit(some_names(), hidden=16)
    with pytest.raises(fl.FastLSTMError, match="cannot go on with text"):
        lm.fit("a text")


def test_a_model_that_has_learned_nothing_says_so():
    for use in (
        lambda lm: lm.sample(),
        lambda lm: lm.evaluate(["a"]),
        lambda lm: lm.start(),
        lambda lm: lm.save("x"),
    ):
        with pytest.raises(fl.FastLSTMError, match="call fit"):
            use(fl.CharLM())


def test_options_are_checked_at_once():
    with pytest.raises(fl.FastLSTMError, match="hidden is 0"):
        fl.CharLM(hidden=0)
    with pytest.raises(TypeError, match="hiden"):
        fl.CharLM(hiden=3)
    with pytest.raises(fl.FastLSTMError, match="too short for"):
        fl.CharLM(**TEXT).fit("abc", validation=0)


def test_upper_case_is_kept_on_request():
    lm = fl.CharLM(**NAMES, lowercase=False)
    lm.fit(["Anna", "Bela", "Nina", "Aron"], steps=2, validation=0)
    assert "A" in lm.vocabulary.characters
    assert lm.preprocessing == {"lowercase": False}
    with pytest.raises(fl.FastLSTMError, match="'b'"):
        lm.sample(1, prefix="b")


def test_step_by_step_gives_the_logits_of_the_whole(names_model):
    ids = np.concatenate([[0], names_model.vocabulary.encode("anna")]).astype(np.int32)
    state = names_model.start(2)
    stepwise = [names_model.step(state, [i, i])[1] for i in ids]
    whole, _ = names_model.network.forward(ids[:, None])
    assert np.allclose(np.stack(stepwise), whole[:, 0], atol=1e-5)


def test_float64_and_deep_models():
    lm = fl.CharLM(**NAMES, dtype="float64", layers=2)
    lm.fit(some_names(), steps=3, embedding=8, tied=True)
    assert lm.network.parameters.flat.dtype == np.float64
    assert lm.network.architecture.embedding == 8


def test_interruption_leaves_a_usable_model():
    lm = fl.CharLM(**NAMES)

    def stop(record):
        if record.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lm.fit(some_names(), on_record=stop)
    assert len(lm.sample(2, seed=0)) == 2
