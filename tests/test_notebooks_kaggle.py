"""kaggle: the mathematics of its oracle, and the cells of the notebook."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from pathlib import Path

import notebook_oracles as oracle
import numpy as np
import pytest

from fastlstm.errors import FastLSTMError
from fastlstm.notebooks.kaggle import LSTM, DataGenerator
from fastlstm.notebooks.soliloquy import SOLILOQUY

TEXT = SOLILOQUY[:100]
V, H, T = len(set(TEXT)), 9, 6
ZERO = np.zeros((H, 1))


@pytest.fixture
def data(tmp_path: Path) -> DataGenerator:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return DataGenerator(str(path), T)


def make(dtype: str = "float64", T: int = T) -> LSTM:
    np.random.seed(4)  # noqa: NPY002
    return LSTM(hidden_size=H, vocab_size=V, sequence_length=T, learning_rate=1e-2, dtype=dtype)


def weights(lstm: LSTM) -> dict[str, np.ndarray]:
    """Copies of a network's weights under zoo-A's names."""
    names = [kind + gate for gate in "ficoy" for kind in "Wb"]
    return {name.lower(): getattr(lstm, name).copy() for name in names}


def window(lstm: LSTM, data: DataGenerator, c_prev: np.ndarray, a_prev: np.ndarray) -> tuple[np.ndarray, ...]:
    """One iteration as the notebook's loop writes it; returns loss and the next states."""
    inputs, targets = data.next_batch()
    X, y_pred, c, f, i, o, cc, a = lstm.forward(inputs, c_prev, a_prev)
    lstm.backward(X, targets, y_pred, c_prev, a_prev, c, f, i, o, cc, a)
    loss = lstm.loss(y_pred, targets)
    lstm.adamw()
    return loss, c[T - 1], a[T - 1]


def test_twenty_updates_are_the_oracles(data: DataGenerator) -> None:
    """Twenty windows cross the end of the text, where the state is zeroed."""
    lstm = make()
    w, ids = weights(lstm), [data.char_to_idx[c] for c in TEXT]
    lstm.train(data, threshold=0, max_iterations=20)
    losses = oracle.adamw_windows(w, ids, T, 1e-2, 20)
    np.testing.assert_allclose(lstm.losses, losses, rtol=0, atol=1e-9)
    for name, value in weights(lstm).items():
        np.testing.assert_allclose(value, w[name], rtol=0, atol=1e-9, err_msg=name)
    assert lstm.learning_rate == 1e-2 * 0.99


def test_pieces_are_the_training(data: DataGenerator) -> None:
    """The notebook's loop of pieces: losses, weights, gradients and moments are `train`'s."""
    lstm, trained = make(), make()
    trained.train(data, threshold=0, max_iterations=5)
    data.pointer = 0
    losses, c, a = [], ZERO, ZERO
    for iteration in range(5):
        loss, c, a = window(lstm, data, c, a)
        losses.append(loss)
        if iteration == 0:
            lstm.learning_rate *= 0.99
    np.testing.assert_allclose(losses, trained.losses, atol=1e-12)
    for prefix in ("", "d", "m", "v"):
        for name in ("Wf", "bf", "Wi", "bi", "Wc", "bc", "Wo", "bo", "Wy", "by"):
            mine, theirs = getattr(lstm, prefix + name), getattr(trained, prefix + name)
            np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12, err_msg=prefix + name)
            assert mine.any()
    # Training may go on where the pieces stopped, and the other way round.
    lstm.train(data, threshold=0, max_iterations=2)
    w = weights(lstm)
    window(lstm, data, c, a)
    assert 0 < np.abs(lstm.Wf - w["wf"]).max() < 0.05


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda lstm: pickle.loads(pickle.dumps(lstm))])
def test_a_copy_goes_on_as_the_original(data: DataGenerator, copied: Callable[[LSTM], LSTM]) -> None:
    lstm = make()
    lstm.train(data, threshold=0, max_iterations=3)
    other, w = copied(lstm), weights(lstm)
    data.pointer = 0
    other.train(data, threshold=0, max_iterations=3)
    assert all(np.array_equal(value, w[name]) for name, value in weights(lstm).items())
    data.pointer = 0
    lstm.train(data, threshold=0, max_iterations=3)
    assert all(np.array_equal(value, weights(other)[name]) for name, value in weights(lstm).items())
    assert np.array_equal(lstm.vWf, other.vWf)


def test_float32_is_close(data: DataGenerator) -> None:
    single, double = make("float32"), make()
    for name, value in single.parameters.items():
        double.parameters[name][...] = value
    single.train(data, threshold=0, max_iterations=5)
    data.pointer = 0
    double.train(data, threshold=0, max_iterations=5)
    assert single.Wf.dtype == np.float32
    np.testing.assert_allclose(single.losses, double.losses, rtol=1e-4)


def test_draws_follow_numpys_generator() -> None:
    lstm = make()
    np.random.seed(4)  # noqa: NPY002
    limit = np.sqrt(1.0 / H)
    for gate in "ficoy":
        shape = (V, H) if gate == "y" else (H, H + V)
        assert np.array_equal(getattr(lstm, "W" + gate), np.random.uniform(-limit, limit, shape))  # noqa: NPY002
        assert not getattr(lstm, "b" + gate).any()
    given = LSTM(H, V, T, 1e-2, rng=np.random.RandomState(4))
    assert np.array_equal(given.parameters.flat, lstm.parameters.flat)


def test_data_generator(data: DataGenerator) -> None:
    assert (data.data, data.data_size, data.vocab_size, data.sequence_length) == (TEXT, 100, V, T)
    assert data.idx_to_char == {n: c for c, n in data.char_to_idx.items()}
    pointers = []
    for _ in range(17):
        pointers.append(data.pointer)
        start = data.pointer
        inputs, targets = data.next_batch()
        assert inputs.shape == (T, V)
        assert "".join(data.idx_to_char[n] for n in inputs.argmax(1)) == TEXT[start : start + T]
        assert "".join(data.idx_to_char[n] for n in targets) == TEXT[start + 1 : start + T + 1]
        assert isinstance(targets, list)
    # 90 + 6 + 1 < 100, 96 + 6 + 1 is not: sixteen windows, then from the start.
    assert pointers == [*range(0, 96, 6), 0]


def test_cells(data: DataGenerator, capsys: pytest.CaptureFixture[str]) -> None:
    """Train until the smooth loss is reached, predict, look at a window, write a weight."""
    lstm = LSTM(hidden_size=24, vocab_size=data.vocab_size, sequence_length=T, learning_rate=1e-2)
    start = math.log(V) * T
    lstm.train(data, threshold=0.5 * start)
    smooth = start
    for loss in lstm.losses[:-1]:
        smooth = 0.999 * smooth + 0.001 * loss
    assert smooth > 0.5 * start >= 0.999 * smooth + 0.001 * lstm.losses[-1]
    printed = capsys.readouterr().out
    assert f"iter :0, loss:{0.999 * start + 0.001 * lstm.losses[0]:f}" in printed
    sample = printed.partition("\n\n\niter :0")[0]
    assert len(sample) == 200
    assert set(sample) <= set(TEXT)

    text = lstm.predict(data, "to be, ", 8)
    assert len(text) == 15
    assert text.startswith("to be, or not")

    X, y_pred, c, f, i, o, cc, a = lstm.forward(data.next_batch()[0], np.zeros((24, 1)), np.zeros((24, 1)))
    assert X.shape == (T, V)
    assert list(c) == list(a) == list(range(-1, T))
    assert list(y_pred) == list(f) == list(i) == list(o) == list(cc) == list(range(T))
    assert y_pred[0].shape == (V, 1)
    assert y_pred[0].sum() == pytest.approx(1)
    for t in range(T):
        np.testing.assert_allclose(c[t], f[t] * c[t - 1] + i[t] * cc[t], atol=1e-12)
        np.testing.assert_allclose(a[t], o[t] * np.tanh(c[t]), atol=1e-12)
    assert lstm.sigmoid(np.array([0.0])) == 0.5
    assert lstm.softmax(np.zeros((4, 1))).tolist() == [[0.25]] * 4

    lstm.Wy = np.zeros((V, 24))
    lstm.by[...] = 0
    lstm.by[data.char_to_idx["q"]] = 50
    assert lstm.predict(data, "t", 5) == "tqqqqq"


def test_training_stops_by_its_own_rule(tmp_path: Path) -> None:
    """At the notebook's window and threshold: smooth loss 46."""
    path = tmp_path / "text.txt"
    path.write_text(SOLILOQUY[:150], encoding="utf-8")
    data = DataGenerator(path, 28)
    np.random.seed(0)  # noqa: NPY002
    lstm = LSTM(32, data.vocab_size, 28, 1e-2)
    lstm.train(data)
    smooth = [math.log(data.vocab_size) * 28]
    for loss in lstm.losses:
        smooth.append(0.999 * smooth[-1] + 0.001 * loss)
    assert smooth[-1] <= 46 < smooth[-2]
    assert lstm.losses[-1] < 1


def test_sample_draws_what_choice_draws(data: DataGenerator) -> None:
    """Against single steps of the oracle and `np.random.choice` under the same seed."""
    lstm = make()
    w = weights(lstm)
    rng = np.random.default_rng(0)
    a, c = rng.normal(size=(H, 1)), rng.normal(size=(H, 1))
    seed = np.eye(V)[3]
    np.random.seed(8)  # noqa: NPY002
    drawn = lstm.sample(c, a, seed, 30)
    assert isinstance(drawn, list)
    np.random.seed(8)  # noqa: NPY002
    token = 3
    for ours in drawn:
        z = np.concatenate([a, oracle.column(token, V)])
        f, i, o = (oracle.sigmoid(w["w" + gate] @ z + w["b" + gate]) for gate in "fio")
        c = f * c + i * np.tanh(w["wc"] @ z + w["bc"])
        a = o * np.tanh(c)
        p = oracle.softmax(w["wy"] @ a + w["by"]).ravel()
        token = np.random.choice(range(V), p=p)  # noqa: NPY002
        assert ours == token


def test_backward_takes_plain_dictionaries_and_its_own_predictions(data: DataGenerator) -> None:
    """Copies of what `forward` returned give the same gradients; other predictions are honoured."""
    lstm = make()
    inputs, targets = data.next_batch()
    X, y_pred, c, f, i, o, cc, a = lstm.forward(inputs, ZERO, ZERO)
    lstm.backward(X, targets, y_pred, ZERO, ZERO, c, f, i, o, cc, a)
    gradients = lstm.gradients.flat.copy()
    lstm.backward(X, targets, dict(y_pred), ZERO, ZERO, dict(c), dict(f), dict(i), dict(o), dict(cc), dict(a))
    assert np.array_equal(lstm.gradients.flat, gradients)
    certain = {t: oracle.column(target, V) for t, target in enumerate(targets)}
    lstm.backward(X, targets, certain, ZERO, ZERO, c, f, i, o, cc, a)
    assert not lstm.gradients.flat.any()
    lstm.backward(X, targets, {t: 9 * p for t, p in y_pred.items()}, ZERO, ZERO, c, f, i, o, cc, a)
    assert np.abs(lstm.dby).max() == 1
    lstm.dWf = np.full((H, H + V), 2.0)
    assert lstm.gradients["lstm.0.W"][H, 0] == 2


def test_adamws_arguments() -> None:
    """With β1 = β2 = 0 a step is −lr · (sign(d) + L2_reg · W), for Wo and biases too."""
    lstm = make()
    for gate in "ficoy":
        setattr(lstm, "dW" + gate, np.full(getattr(lstm, "dW" + gate).shape, 1e-3))
        setattr(lstm, "db" + gate, np.full(getattr(lstm, "db" + gate).shape, 1e-3))
    w = weights(lstm)
    lstm.adamw(beta1=0, beta2=0, epsilon=1e-15, L2_reg=0.5)
    for name, value in weights(lstm).items():
        np.testing.assert_allclose(value, w[name] - 1e-2 * (1 + 0.5 * w[name]), rtol=1e-9, err_msg=name)


def refused(action: Callable[[], object], match: str) -> None:
    with pytest.raises(FastLSTMError, match=match) as caught:
        action()
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_refused(data: DataGenerator, tmp_path: Path) -> None:
    lstm = make()
    refused(lambda: DataGenerator(str(tmp_path / "none.txt"), 5), "cannot be read")
    refused(lambda: DataGenerator(data_path(tmp_path), 100), "too few")
    refused(lambda: LSTM(H, V + 1, T, 0.1).train(data), "vocab_size")
    refused(lambda: make(T=5).train(data, threshold=0), "sequence_length")
    refused(lambda: lstm.forward(np.zeros((T, V + 1)), ZERO, ZERO), "expected")
    refused(lambda: lstm.forward(np.zeros((T, V)), ZERO.T, ZERO), "expected")
    refused(lambda: lstm.predict(data, "to bX", 5), "'X'")
    refused(lambda: lstm.predict(data, "", 5), "empty")
    lstm.by[...] = np.nan
    refused(lambda: lstm.train(data, threshold=0), "diverged")
    refused(lambda: lstm.predict(data, "t", 5), "diverged")


def data_path(folder: Path) -> str:
    return str(folder / "text.txt")
