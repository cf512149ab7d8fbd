"""Other values that a model learns to tell a name's own from: which they are, and a training with them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from small_runs import SIZES, some_names

import fastlstm as fl
from fastlstm.data.batching import NameBatches, Part
from fastlstm.data.contrast import contrasted
from fastlstm.data.given import OPEN, Condition
from fastlstm.data.names import Names
from fastlstm.network.architecture import Architecture
from fastlstm.network.model import Network
from fastlstm.training.options import Options
from fastlstm.training.session import Session, train

LAND = Condition("Land", ("A", "B", "C", "D"), (5.0, 3.0, 2.0, 0.0))
SEX = Condition("Sex", ("F", "M"), (1.0, 3.0))


def data() -> Names:
    """Names whose first letter says their sex."""
    names = some_names()
    return Names(
        names, given={"Sex": ["F" if name < "l" else "M" for name in names], "Land": list("ABC" * 22)}
    )


def test_another_value_is_drawn_as_often_as_it_occurs():
    own = np.tile([[1, 1], [2, 2], [3, 1], [OPEN, 1], [1, OPEN], [OPEN, OPEN]], (4000, 1))
    other, terms = contrasted(own, (LAND, SEX), 2.5, np.random.default_rng(0))
    differs = other != own
    everywhere_open = (own == OPEN).all(1)
    assert (differs.sum(1) == ~everywhere_open).all()
    assert not (differs & (own == OPEN)).any()
    assert (terms[:, 0] == np.where(everywhere_open, 0, 2.5)).all()
    shares = np.array(LAND.counts) / 10
    for v in (1, 2, 3):
        rows = differs[:, 0] & (own[:, 0] == v)
        found = np.bincount(other[rows, 0], minlength=5)[1:] / rows.sum()
        expected = np.where(np.arange(4) == v - 1, 0, shares) / (1 - shares[v - 1])
        assert found == pytest.approx(expected, abs=0.03)
        # By Bayes' rule: P(v is true, w drawn) / P(w is true, v drawn) before the name is read.
        odds = shares[v - 1] * expected[other[rows, 0] - 1]
        turned = shares[other[rows, 0] - 1] * shares[v - 1] / (1 - shares[other[rows, 0] - 1])
        assert terms[rows, 1] == pytest.approx(np.log(odds / turned))
    rows = differs[:, 1]
    assert terms[rows, 1] == pytest.approx(np.where(own[rows, 1] == 1, np.log(1 / 3), np.log(3)))


def test_a_column_of_one_value_has_no_other():
    terms = contrasted(
        np.ones((9, 1), int), (Condition("X", ("a",), (9.0,)),), 1.0, np.random.default_rng(0)
    )[1]
    assert not terms.any()


def test_batches_are_the_same_names_in_the_same_order():
    names = data()
    plain, with_others = (
        NameBatches(names, names.vocabulary(), 7, names.given.conditions, 0.2, contrast=weight)
        for weight in (0.0, 1.0)
    )
    for one, two in zip(
        plain.epoch(np.random.default_rng(3)), with_others.epoch(np.random.default_rng(3)), strict=True
    ):
        assert one.contrast is None
        assert (one.ids.tolist(), one.given.tolist()) == (two.ids.tolist(), two.given.tolist())
        assert ((two.contrast.given != two.given).sum(1) == (two.contrast.terms[:, 0] > 0)).all()
    assert all(batch.contrast is None for batch in with_others.ordered())


@pytest.mark.parametrize("key", [None, 5])
def test_shares_of_the_gradients_add_up(key: int | None):
    names = data()
    a = Architecture(names.vocabulary().size, 6, 4, 1, 0.4, conditions=(3, 4), dtype="float64")
    network, parts = Network(a, seed=1), []
    for part in (Part(), Part(0, 3), Part(1, 3), Part(2, 3)):
        batches = NameBatches(names, names.vocabulary(), 30, names.given.conditions, 0.1, part, 2.0)
        batch = next(batches.epoch(np.random.default_rng(1)))
        mine, _ = network.backward(batch.ids, batch.targets, batch.lengths, None, key, batch.given, batch.share,
                                   contrast=batch.contrast)  # fmt: skip
        parts.append(np.concatenate([mine[:3], network.gradients.flat]))
    np.testing.assert_allclose(sum(parts[1:]), parts[0], rtol=1e-11, atol=1e-15)


def after(steps: int, session: Session) -> Session:
    for record in train(session):
        if record.step == steps:
            break
    return session


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_threads_and_an_interruption_change_nothing(precision: str):
    options: dict[str, Any] = {
        **SIZES,
        "contrast": 1.5,
        "dropout": 0.3,
        "steps": 40,
        "precision": precision,
        "batch_size": 9,
    }
    whole = after(40, Session(data(), Options(**options, threads=1)))
    first = after(17, Session(data(), Options(**options, threads=2)))
    arrays = {name: array.copy() for name, array in first.snapshot()[0].items()}
    second = Session(data(), Options(**options))
    second.restore("memory", arrays, copy.deepcopy(first.position))
    after(40, second)
    for name, array in whole.snapshot()[0].items():
        assert array.tobytes() == second.snapshot()[0][name].tobytes(), name


def test_values_are_told_better_with_it():
    """Of names whose first letter is their sex's, with a model too small and too briefly trained to know it well."""
    losses, names = [], data()
    given = {"Sex": [names.given.conditions[0].values[n - 1] for n in names.given.numbers[:, 0]]}
    for contrast in (0.0, 2.0):
        lm = fl.CharLM(hidden=6, embedding=4, seed=1)
        lm.fit(fl.Names(list(names), given=given), steps=150, contrast=contrast, lr=1e-2, validation=0)
        sexes = lm.classify(list(names), "Sex")[:, 0]
        losses.append(
            -np.log([p if name < "l" else 1 - p for p, name in zip(sexes, data(), strict=True)]).mean()
        )
    assert losses[1] < losses[0] - 0.05


@pytest.mark.parametrize("rows", [2, 64])
def test_a_batch_in_several_windows_goes_without(rows: int):
    """64 names of 300 characters are cut, two are not."""
    names = Names([f"{'a' * 300}{chr(0x4E00 + k)}" for k in range(64)], given={"X": ["u", "v"] * 32})
    batches = NameBatches(names, names.vocabulary(), rows, names.given.conditions, contrast=1.0)
    for batch in batches.epoch(np.random.default_rng(1)):
        assert (batch.contrast is None) == bool(batch.rest) == (rows == 64)
    lm = fl.CharLM(hidden=4)
    lm.fit(names, steps=2, batch_size=rows, validation=0)
    assert np.isfinite(lm.classify(list(names)[:2], "X")).all()
