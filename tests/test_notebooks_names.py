"""names: the mathematics of its oracle, and the cells of the notebook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import notebook_oracles as oracle
import numpy as np
import pytest

from fastlstm.errors import FastLSTMError
from fastlstm.notebooks import names
from fastlstm.notebooks.names import (
    backward_propagation,
    cal_loss_accuracy,
    forward_propagation,
    get_embeddings,
    initialize_parameters,
    initialize_S,
    initialize_V,
    lstm_cell,
    output_cell,
    predict,
    train,
    update_embedding,
    update_parameters,
)

NAMES = [
    "mary",
    "anna",
    "emma",
    "elizabeth",
    "minnie",
    "margaret",
    "ida",
    "alice",
    "bertha",
    "sarah",
    "annie",
    "clara",
]
LONGEST = max(map(len, NAMES)) + 1
# Not sorted: where the end mark stands is the caller's business.
VOCAB = tuple("zyxwvutsrqponm.lkjihgfedcba")
CHAR_ID = {c: n for n, c in enumerate(VOCAB)}
ID_CHAR = dict(enumerate(VOCAB))
E, H = 5, 6
SIZES: dict[str, Any] = {"input_units": E, "hidden_units": H}


def one_hots(batch: list[str]) -> list[np.ndarray]:
    """A batch as the notebook makes it: for each character, the names' one-hot rows."""
    padded = [name.ljust(LONGEST, ".") for name in batch]
    return [np.eye(27)[[CHAR_ID[name[k]] for name in padded]] for k in range(LONGEST)]


BATCHES = [NAMES[n : n + 4] for n in range(0, 12, 4)]
DATA = [one_hots(batch) for batch in BATCHES]


def start() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Weights large enough that every gradient matters."""
    rng = np.random.default_rng(0)
    parameters = {
        name: rng.normal(0, 0.5, value.shape) for name, value in initialize_parameters(**SIZES).items()
    }
    return parameters, rng.normal(0, 0.5, (27, E))


def oracle_names(batch: list[str]) -> list[list[int]]:
    return [[CHAR_ID[c] for c in name + "."] for name in batch]


def update(parameters: Any, embeddings: Any, V: Any, S: Any, batch: Any) -> tuple[Any, ...]:
    """One step as the notebook's `train` writes it."""
    caches = forward_propagation(batch, parameters, embeddings)
    scores = cal_loss_accuracy(batch, caches[-1])
    derivatives, embedding_errors = backward_propagation(batch, *caches, parameters)
    parameters, V, S = update_parameters(parameters, derivatives, V, S, 0)
    return parameters, names.update_embeddings(embeddings, embedding_errors, batch), V, S, scores


def test_twenty_updates_are_the_oracles(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters, embeddings = start()
    monkeypatch.setattr(names, "initialize_parameters", lambda **_: parameters)
    rng = type("Same", (), {"normal": lambda *_: embeddings})()
    trained_embeddings, trained, J, P, A = train(DATA, iters=20, batch_size=4, rng=rng, **SIZES)
    w = {name: value.copy() for name, value in parameters.items()}
    expected, history = oracle.adam_names(w, embeddings, [oracle_names(b) for b in BATCHES], 0.005, 20)
    np.testing.assert_allclose(np.array([P, J, A]).T, history, rtol=0, atol=1e-9)
    np.testing.assert_allclose(trained_embeddings, expected, rtol=0, atol=1e-9)
    assert list(trained) == ["fgw", "igw", "ogw", "ggw", "how"]
    for name, value in trained.items():
        np.testing.assert_allclose(value, w[name], rtol=0, atol=1e-9, err_msg=name)


def test_pieces_are_the_oracle() -> None:
    """The notebook's functions in the notebook's loop, on the notebook's own dictionaries."""
    parameters, embeddings = start()
    w = {name: value.copy() for name, value in parameters.items()}
    V, S = initialize_V(parameters), initialize_S(parameters)
    expected, history = oracle.adam_names(w, embeddings, [oracle_names(b) for b in BATCHES], 0.005, 6)
    scores = []
    for step in range(6):
        parameters, embeddings, V, S, score = update(parameters, embeddings, V, S, DATA[step % 3])
        scores.append(score)
    np.testing.assert_allclose(scores, history, atol=1e-9)
    np.testing.assert_allclose(embeddings, expected, atol=1e-9)
    for name, value in parameters.items():
        np.testing.assert_allclose(value, w[name], atol=1e-9, err_msg=name)
    assert sorted(V) == ["vfgw", "vggw", "vhow", "vigw", "vogw"]
    assert sorted(S) == ["sfgw", "sggw", "show", "sigw", "sogw"]


def test_the_caches_are_the_cells() -> None:
    """Step by step: `get_embeddings`, `lstm_cell` and `output_cell` on the previous step's caches."""
    parameters, embeddings = start()
    emb, lstm, a, c, o = forward_propagation(DATA[0], parameters, embeddings)
    T = LONGEST - 1
    assert list(emb) == [f"emb{t}" for t in range(T)]
    assert list(lstm) == [f"lstm{t}" for t in range(1, T + 1)]
    assert list(a) == [f"a{t}" for t in range(T + 1)]
    assert list(c) == [f"c{t}" for t in range(T + 1)]
    assert list(o) == [f"o{t}" for t in range(1, T + 1)]
    assert not a["a0"].any()
    for t in range(T):
        assert np.array_equal(emb[f"emb{t}"], get_embeddings(DATA[0][t], embeddings))
        gates, ct, at = lstm_cell(emb[f"emb{t}"], a[f"a{t}"], c[f"c{t}"], parameters)
        assert gates.keys() == lstm[f"lstm{t + 1}"].keys() == {"fa", "ia", "oa", "ga"}
        for name, value in gates.items():
            np.testing.assert_allclose(lstm[f"lstm{t + 1}"][name], value, atol=1e-12)
        np.testing.assert_allclose(c[f"c{t + 1}"], ct, atol=1e-12)
        np.testing.assert_allclose(a[f"a{t + 1}"], at, atol=1e-12)
        np.testing.assert_allclose(o[f"o{t + 1}"], output_cell(at, parameters), atol=1e-12)


def test_plain_dictionaries_will_do() -> None:
    parameters, embeddings = start()
    caches = forward_propagation(DATA[1], parameters, embeddings)
    derivatives, errors = backward_propagation(DATA[1], *caches, parameters)
    again, errors_again = backward_propagation(DATA[1], *map(dict, caches), parameters)
    for name, value in derivatives.items():
        np.testing.assert_allclose(again[name], value, atol=1e-13)
    for name, value in errors.items():
        np.testing.assert_allclose(errors_again[name], value, atol=1e-13)
        assert value.shape == (4, E)


def test_padding_counts_in_nothing() -> None:
    """Longer padding changes neither scores nor derivatives."""
    parameters, embeddings = start()
    longer = [*DATA[0], DATA[0][-1], DATA[0][-1]]
    results = []
    for batch in (DATA[0], longer):
        caches = forward_propagation(batch, parameters, embeddings)
        results.append(
            (cal_loss_accuracy(batch, caches[-1]), backward_propagation(batch, *caches, parameters))
        )
    (scores, (derivatives, _)), (longer_scores, (longer_derivatives, errors)) = results
    assert scores == pytest.approx(longer_scores, abs=1e-14)
    for name, value in derivatives.items():
        np.testing.assert_allclose(longer_derivatives[name], value, atol=1e-14)
    assert not errors[f"eemb{LONGEST}"].any()


def test_the_parameters_are_the_callers() -> None:
    """Writing into the dictionary's arrays takes effect at the next call."""
    parameters, embeddings = start()
    before = forward_propagation(DATA[0], parameters, embeddings)[4]["o1"]
    parameters["fgw"][...] = 0
    parameters["igw"] = np.zeros((E + H, H))
    parameters["how"][:, CHAR_ID["a"]] += 9
    after = forward_propagation(DATA[0], parameters, embeddings)
    assert np.abs(after[4]["o1"] - before).max() > 0.01
    assert (after[1]["lstm1"]["ia"] == 0.5).all()


def test_draws_follow_numpys_generator() -> None:
    np.random.seed(6)  # noqa: NPY002
    embeddings, parameters, _, _, _ = train(DATA, iters=0, batch_size=4, **SIZES)
    np.random.seed(6)  # noqa: NPY002
    for name in ("fgw", "igw", "ogw", "ggw", "how"):
        expected = np.random.normal(0, 0.01, (H, 27) if name == "how" else (E + H, H))  # noqa: NPY002
        assert np.array_equal(parameters[name], expected)
    assert np.array_equal(embeddings, np.random.normal(0, 0.01, (27, E)))  # noqa: NPY002


def test_cells(capsys: pytest.CaptureFixture[str]) -> None:
    """Train, look at the curves, draw names; float32 as an option."""
    np.random.seed(0)  # noqa: NPY002
    embeddings, parameters, J, P, A = train(DATA, iters=600, input_units=16, hidden_units=32, dtype="float32")
    assert parameters["fgw"].dtype == embeddings.dtype == np.float32
    assert len(J) == len(P) == len(A) == 600
    assert np.mean(J[-30:]) < np.mean(J[:30]) / 4
    assert np.mean(P[-30:]) < 2 < 10 < np.mean(P[:30])
    assert np.mean(A[:30]) < 0.5 < 0.8 < np.mean(A[-30:])
    printed = capsys.readouterr().out
    assert f"Step       = 0\nLoss       = {round(J[0], 2)}\nPerplexity = {round(P[0], 2)}\n" in printed
    assert f"Accuracy   = {round(A[0] * 100, 2)}\n" in printed

    drawn = predict(parameters, embeddings, ID_CHAR, 27)
    assert len(drawn) == 20
    assert all(name.count(".") == 1 and name.endswith(".") for name in drawn)
    assert {name.rstrip(".") for name in predict(parameters, embeddings, ID_CHAR, 27)} & set(NAMES)


def test_predict_draws_what_choice_draws() -> None:
    parameters, embeddings = start()
    np.random.seed(2)  # noqa: NPY002
    drawn = predict(parameters, embeddings, ID_CHAR, 27)
    np.random.seed(2)  # noqa: NPY002
    for name in drawn:
        n = np.random.randint(0, 27)  # noqa: NPY002
        expected, a, c = VOCAB[n], np.zeros((1, H)), np.zeros((1, H))
        while expected[-1] != ".":
            _, c, a = lstm_cell(get_embeddings(np.eye(27)[[n]], embeddings), a, c, parameters)
            n = np.random.choice(27, p=output_cell(a, parameters)[0])  # noqa: NPY002
            expected += VOCAB[n]
        assert name == expected
    assert len(predict(parameters, embeddings, ID_CHAR, 27, rng=np.random.default_rng(0))) == 20


def test_a_training_that_diverges_is_ended() -> None:
    rng = type("Diverged", (), {"normal": lambda self, mean, deviation, shape: np.full(shape, np.nan)})()
    refused(lambda: train(DATA, iters=9, rng=rng, **SIZES), "diverged at step")


def refused(action: Callable[[], object], match: str) -> None:
    with pytest.raises(FastLSTMError, match=match) as caught:
        action()
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_refused() -> None:
    parameters, embeddings = start()
    refused(lambda: train([], iters=1, **SIZES), "at least one")
    refused(lambda: train([DATA[0], DATA[1][:-1]], iters=1, **SIZES), "same length")
    refused(lambda: train([DATA[0][:1]], iters=1, **SIZES), "a batch of 1 characters")
    letters = one_hots(["ma.ry", "anna"])
    refused(lambda: train([letters], iters=1, **SIZES), "also stands within them")
    caches = forward_propagation(letters, parameters, embeddings)
    refused(lambda: cal_loss_accuracy(letters, caches[-1]), "also stands within them")
    parameters["how"][...] = np.nan
    refused(lambda: predict(parameters, embeddings, ID_CHAR, 27), "diverged")


def test_a_name_without_an_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters, embeddings = start()
    monkeypatch.setattr(names, "LONGEST", 30)
    drawn = predict(parameters, embeddings, dict.fromkeys(range(27), "a"), 27)
    assert drawn == ["a" * 30 + "."] * 20


def test_initial_shapes() -> None:
    parameters = initialize_parameters()
    assert {name: value.shape for name, value in parameters.items()} == {
        "fgw": (356, 256), "igw": (356, 256), "ogw": (356, 256), "ggw": (356, 256), "how": (256, 27),
    }  # fmt: skip
    assert update_embedding is names.update_embeddings
