from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sample_models import naive_logits, naive_names, naive_probabilities, small_model

from fastlstm.errors import FastLSTMError
from fastlstm.generation.scoring import beam, score


def naive_logprob(model: Any, name: str) -> float:
    ids = [0, *model.vocabulary.encode(name).tolist(), 0]
    steps = [naive_probabilities(naive_logits(model, ids[:t]))[ids[t]] for t in range(1, len(ids))]
    return float(np.log(steps).sum())


@pytest.mark.parametrize("options", [{}, {"layers": 2, "learned_state": True}, {"embedding": 0}], ids=str)
def test_scores_are_the_naive_ones(options: dict[str, Any]) -> None:
    model = small_model(**options)
    names = ["abc", "a", "", "ccccba", "a", "bbbbbbbbbbbbbbbbbbbb"]
    for name, result in zip(names, score(model, names), strict=True):
        assert result.logprob == pytest.approx(naive_logprob(model, name), rel=1e-9)
        assert result.bits_per_character == pytest.approx(-result.logprob / math.log(2) / (len(name) + 1))


def test_probabilities_of_all_names_sum_to_one() -> None:
    model = small_model("ab", scale=2)
    model.network.parameters["head.b"][0] += 2  # names end early
    names = [""]
    for name in names:
        if len(name) < 9:
            names += [name + character for character in "ab"]
    total = sum(math.exp(result.logprob) for result in score(model, names))
    assert 0.999 < total < 1


def test_batches_of_scores_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model(layers=2)
    names = ["abcabcabca", "a", "bc", "ccb", "abcab"]
    whole = score(model, names)
    monkeypatch.setattr("fastlstm.generation.scoring.BATCH", 2)
    assert score(model, names) == whole


def test_texts_are_scored_from_where_samples_begin() -> None:
    model = small_model("\nab", kind="text")
    (result,) = score(model, ["AB"])
    ids = [0, 1, 2]
    steps = [naive_probabilities(naive_logits(model, ids[:t]))[ids[t]] for t in (1, 2)]
    assert result.logprob == pytest.approx(float(np.log(steps).sum()))
    assert result.bits_per_character == pytest.approx(-result.logprob / math.log(2) / 2)
    with pytest.raises(FastLSTMError, match="empty text"):
        score(model, ["a", ""])


def test_scores_of_nothing_and_of_unknown_characters() -> None:
    model = small_model()
    assert score(model, []) == []
    assert score(model, ["ABC"]) == score(model, ["abc"])
    with pytest.raises(FastLSTMError, match=r"'axe'.*'e'.*'x'"):
        score(model, ["a", "axe"])
    with pytest.raises(FastLSTMError, match="'A'"):
        score(model, ["A"], prepared=True)


@pytest.mark.parametrize("prefix", ["", "b", "ca"])
@pytest.mark.parametrize("k", [1, 7, 50])
def test_beam_finds_the_most_probable_names(prefix: str, k: int) -> None:
    model = small_model()
    exact = {name: naive_logprob(model, name) for name in naive_names(model, 5) if name.startswith(prefix)}
    expected = sorted(exact, key=lambda name: -exact[name])[:k]
    found = beam(model, k, prefix, max_length=5)
    assert [name for name, _ in found.names] == expected
    assert found.proven
    for name, result in found.names:
        assert result.logprob == pytest.approx(exact[name], rel=1e-9)
        assert result == pytest.approx(score(model, [name])[0], rel=1e-9)


def test_narrow_beams_say_what_they_cannot_prove() -> None:
    model = small_model(scale=1)
    wide, narrow = beam(model, 30), beam(model, 30, width=2)
    assert wide.proven
    assert not narrow.proven
    names = [name for name, _ in narrow.names]
    assert len(set(names)) == len(names) == 30
    assert narrow.names != wide.names
    assert sum(s.logprob for _, s in narrow.names) < sum(s.logprob for _, s in wide.names)


def test_beam_has_fewer_names_where_there_are_fewer() -> None:
    model = small_model()
    assert sorted(name for name, _ in beam(model, 20, max_length=1).names) == ["a", "b", "c"]
    assert [name for name, _ in beam(model, 20, prefix="AB", max_length=2).names] == ["ab"]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"width": 0}, "width is 0"),
        ({"max_length": 0}, "max_length is 0"),
        ({"prefix": "abc", "max_length": 2}, "max_length is 2"),
        ({"prefix": "axb"}, "prefix 'axb'.*'x'"),
    ],
    ids=str,
)
def test_bad_searches_are_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(FastLSTMError, match=message):
        beam(small_model(), **keywords)
    with pytest.raises(FastLSTMError, match="names"):
        beam(small_model(kind="text"))


def test_a_diverged_model_has_no_scores() -> None:
    model = small_model()
    model.network.parameters["head.b"][1] = np.nan
    with pytest.raises(FastLSTMError, match="not finite"):
        score(model, ["a"])
    with pytest.raises(FastLSTMError, match="not finite"):
        beam(model)
