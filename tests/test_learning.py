"""What a default run comes to: below an n-gram on little data, and as good at a text's start as within it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fastlstm.data.names import Names
from fastlstm.data.opening import open_data
from fastlstm.data.texts import Text
from fastlstm.training.options import Options
from fastlstm.training.session import Session, train

SCRIPT = Path(__file__).parent.parent / "bench" / "ngram.py"


@pytest.fixture(scope="module")
def ngram() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ngram", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ngram"] = module
    spec.loader.exec_module(module)
    return module


def test_kneser_ney_by_hand(ngram: ModuleType) -> None:
    """The pairs of ababb are ^a, ab twice, ba and bb: three of them once, one twice; a and b each follow two."""
    model = ngram.KneserNey([[0, 1, 0, 1, 1]], size=2, order=2)
    assert model.discounts == pytest.approx([1 / 2, 3 / 5])
    follows = (2 - 1 / 2) / 4 + 1 / 2 * 2 / 4 * 1 / 2
    assert model.probability([], 1) == pytest.approx(follows)
    assert model.probability([0], 1) == pytest.approx((2 - 3 / 5) / 2 + 3 / 5 * 1 / 2 * follows)


def test_kneser_ney_sums_to_one(ngram: ModuleType) -> None:
    rng = np.random.default_rng(0)
    model = ngram.KneserNey([rng.integers(0, 5, 40).tolist() for _ in range(20)], size=6, order=4)
    for length in range(6):
        for _ in range(10):
            context = rng.integers(0, 6, length).tolist()
            assert sum(model.probability(context, c) for c in range(6)) == pytest.approx(1)


def test_two_hundred_names_end_below_the_ngram_and_are_not_memorised(ngram: ModuleType) -> None:
    """The defaults; 200 names to train on and 600 others."""
    every = open_data(None)
    assert isinstance(every, Names)
    names = Names(np.random.default_rng(0).permutation(every.distinct)[:800].tolist())
    options = Options().resolve("names", 200)
    session = Session(names, Options(**{**options.as_dict(), "kind": None, "epochs": 24, "validation": 600}))
    *_, last = train(session)
    assert session.position.best
    assert last.validation
    assert last.validation.loss < session.position.best.loss + 0.05
    assert last.validation.loss < ngram.held_out_loss(names, 600, 5, 0) - 0.1


def test_a_text_is_known_from_its_start_as_from_within() -> None:
    """Of independent draws nothing can be learnt but how frequent each character is, wherever a reading begins."""
    rng = np.random.default_rng(0)
    frequencies = 1 / (np.arange(600) + 10)
    frequencies /= frequencies.sum()
    text = Text.from_string("".join(map(chr, 0x4E00 + rng.choice(600, 60_000, p=frequencies))))
    session = Session(text, Options(hidden=128, batch_size=16, window=32, steps=150, seed=1))
    for _ in train(session):
        pass
    ids = np.asarray(session.feed.held_out[:6000], np.int32)
    known = np.array([ord(character) - 0x4E00 for character in session.vocabulary.characters])
    starts = ids.reshape(60, 100).T
    losses = []
    for n in range(starts.shape[1]):
        inputs = np.ascontiguousarray(starts[:, n : n + 1])
        metrics, _ = session.network.evaluate(inputs[:-1], inputs[1:], final=False)
        losses.append(metrics.loss + np.log(frequencies[known[inputs[1:]]]).mean())
    assert max(losses) < 0.3
    assert np.mean(losses) < 0.05
