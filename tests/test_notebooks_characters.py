"""A vocabulary that differs from the caller's one-hot columns must be impossible without notice."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from fastlstm.errors import FastLSTMError
from fastlstm.notebooks.zoo_a import LSTM, oneHotEncode

TEXT = "abracadabra"
SORTED = {"a": 0, "b": 1, "c": 2, "d": 3, "r": 4}
OWN = {"r": 0, "d": 1, "c": 2, "b": 3, "a": 4}


def make(**keywords: Any) -> LSTM:
    return LSTM(5 + 3, 3, 5, 2, 0.05, rng=np.random.RandomState(0), **keywords)


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets `__main__.char_to_idx` as a notebook's cell does."""
    return lambda value: monkeypatch.setattr(sys.modules["__main__"], "char_to_idx", value, raising=False)


def train(lstm: LSTM) -> None:
    lstm.train(TEXT[:-1], TEXT[1:])


def learn_from_columns(lstm: LSTM, vocabulary: dict[str, int]) -> None:
    outputs = lstm.forward([oneHotEncode(c, vocabulary) for c in TEXT])
    lstm.backward(outputs, lstm.concat_inputs)


def test_the_keyword_comes_first(main: Any) -> None:
    main(SORTED)
    lstm = make(char_to_idx=OWN)
    train(lstm)
    assert lstm.char_to_idx == OWN
    assert lstm.idx_to_char == {n: c for c, n in OWN.items()}


def test_then_the_notebooks_global(main: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lstm = make()
    main(OWN)  # defined after the network, read when it is needed
    train(lstm)
    assert lstm.char_to_idx == OWN
    assert "sorted order" not in capsys.readouterr().err
    assert oneHotEncode("r").ravel().tolist() == [1, 0, 0, 0, 0]


def test_then_the_sorted_text_with_a_notice(capsys: pytest.CaptureFixture[str]) -> None:
    lstm = make()
    with pytest.raises(FastLSTMError, match="no vocabulary yet"):
        _ = lstm.char_to_idx
    train(lstm)
    assert lstm.char_to_idx == SORTED
    assert "sorted order" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [{"a": 0}, {**OWN, "z": 5}, {"a": 0, "b": 0, "c": 1, "d": 2, "r": 3}])
def test_another_size_is_refused(main: Any, wrong: dict[str, int]) -> None:
    with pytest.raises(FastLSTMError, match="5 characters"):
        make(char_to_idx=wrong)
    main(wrong)
    with pytest.raises(FastLSTMError, match="5 characters"):
        train(make())


def test_a_text_of_another_size_is_refused() -> None:
    with pytest.raises(FastLSTMError, match="the text has 3 characters"):
        make().train("ab", "bc")
    lstm = make(char_to_idx=OWN)
    with pytest.raises(FastLSTMError, match="'x' 'y'"):
        lstm.train("axby", "bcda")


def test_the_vocabulary_cannot_change_under_the_weights(main: Any) -> None:
    main(OWN)
    lstm = make()
    train(lstm)
    main(SORTED)
    for use in (lambda: train(lstm), lambda: lstm.test(TEXT, TEXT), lambda: lstm.char_to_idx):
        with pytest.raises(FastLSTMError, match="not the one"):
            use()


def test_columns_learnt_with_the_global_fix_it(main: Any) -> None:
    main(OWN)
    lstm = make()
    learn_from_columns(lstm, OWN)
    main(SORTED)
    with pytest.raises(FastLSTMError, match="not the one"):
        train(lstm)


def test_columns_of_an_unknown_vocabulary_and_a_text_do_not_mix() -> None:
    lstm = make()
    learn_from_columns(lstm, OWN)
    with pytest.raises(FastLSTMError, match="pass the char_to_idx="):
        train(lstm)


def test_a_changed_copy_changes_nothing() -> None:
    lstm = make(char_to_idx=OWN)
    lstm.char_to_idx["a"] = 0
    assert lstm.char_to_idx == OWN
