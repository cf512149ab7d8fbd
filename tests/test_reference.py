"""The oracle itself: every gradient against central differences, and the identities that define it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fastlstm.network import reference


def numeric_gradient(loss: Callable[[], float], array: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central differences of `loss()` by each entry of `array`, which is changed in place and restored."""
    gradient = np.zeros(array.shape)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + step
        above = loss()
        array[index] = value - step
        below = loss()
        array[index] = value
        gradient[index] = (above - below) / (2 * step)
    return gradient


def close(computed: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(computed - expected).max() <= 1e-6 * max(1.0, np.abs(expected).max())


def test_one_step_by_hand() -> None:
    """H = I = 1, every number written out."""
    W = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]])
    b = np.array([0.01, 0.02, 0.03, 0.04])
    h, c, x = 0.5, -0.25, 2.0

    def logistic(a: float) -> float:
        return 1 / (1 + np.exp(-a))

    i, f, o = logistic(0.05 + 0.4 + 0.01), logistic(0.15 + 0.8 + 0.02), logistic(0.35 + 1.6 + 0.04)
    c_next = f * c + i * np.tanh(0.25 + 1.2 + 0.03)
    out, h_n, c_n, _ = reference.lstm_sequence_forward(np.array([[x]]), W, b, np.array([h]), np.array([c]))
    assert c_n == pytest.approx([c_next], abs=1e-15)
    assert h_n == pytest.approx([o * np.tanh(c_next)], abs=1e-15)
    assert np.array_equal(out[0], h_n)


def test_sigmoid_does_not_overflow() -> None:
    assert reference.sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("T", "H", "I"), [(1, 1, 1), (4, 3, 2), (3, 5, 4)])
def test_layer_gradients(T: int, H: int, I: int, reverse: bool) -> None:
    rng = np.random.default_rng(T)
    x, W, b = rng.normal(size=(T, I)), rng.normal(size=(4 * H, H + I)), rng.normal(size=4 * H)
    h0, c0 = rng.normal(size=H), rng.normal(size=H)
    dout, dh_n, dc_n = rng.normal(size=(T, H)), rng.normal(size=H), rng.normal(size=H)

    def loss() -> float:
        out, h, c, _ = reference.lstm_sequence_forward(x, W, b, h0, c0, reverse)
        return float((out * dout).sum() + h @ dh_n + c @ dc_n)

    cache = reference.lstm_sequence_forward(x, W, b, h0, c0, reverse)[3]
    gradients = reference.lstm_sequence_backward(dout, cache, W, dh_n, dc_n, reverse)
    for computed, array in zip(gradients, (x, W, b, h0, c0), strict=True):
        close(computed, numeric_gradient(loss, array))


def test_ids_are_one_hot_rows_and_reversed_time_is_reversed_input() -> None:
    rng = np.random.default_rng(0)
    ids = np.array([2, 0, 1, 1])
    W, b, zero = rng.normal(size=(12, 6)), rng.normal(size=12), np.zeros(3)
    forward = reference.lstm_sequence_forward(ids, W, b, zero, zero)[0]
    assert np.array_equal(forward, reference.lstm_sequence_forward(np.eye(3)[ids], W, b, zero, zero)[0])
    backward = reference.lstm_sequence_forward(ids[::-1], W, b, zero, zero, reverse=True)[0]
    assert np.array_equal(forward, backward[::-1])


def parameters_of(
    rng: np.random.Generator,
    L: int = 1,
    V: int = 4,
    E: int = 0,
    H: int = 3,
    tied: bool = False,
    learned: bool = False,
) -> dict[str, np.ndarray]:
    """Random parameters under a network's names."""
    shapes: dict[str, tuple[int, ...]] = {"embedding": (V, E)} if E else {}
    for layer in range(L):
        shapes[f"lstm.{layer}.W"] = (4 * H, H + (H if layer else E or V))
        shapes[f"lstm.{layer}.b"] = (4 * H,)
    shapes |= {} if tied else {"head.W": (V, H)}
    shapes["head.b"] = (V,)
    shapes |= {"h0": (L, H), "c0": (L, H)} if learned else {}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


MODELS = {
    "one-hot": {},
    "embedding": {"E": 2},
    "deep": {"E": 2, "L": 2},
    "tied": {"E": 3, "tied": True},
    "tied, deep, learned": {"E": 3, "L": 2, "tied": True, "learned": True},
    "learned": {"learned": True},
}


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("sizes", MODELS.values(), ids=MODELS.keys())
def test_model_gradients_on_a_ragged_batch(sizes: dict, dropout: bool) -> None:
    rng = np.random.default_rng(1)
    parameters = parameters_of(rng, **sizes)
    T, lengths = 3, [3, 1, 2]
    ids, targets = rng.integers(0, 4, (2, T, len(lengths)))
    L, E, H = sizes.get("L", 1), sizes.get("E", 0), 3
    widths = [E] + [H] * L
    fixed = [(rng.random((T, 3, width)) < 0.5) * 2.0 if width else None for width in widths]
    masks = fixed if dropout else None

    def loss() -> float:
        return reference.loss_and_gradients(parameters, ids, targets, lengths, masks=masks).loss

    gradients = reference.loss_and_gradients(parameters, ids, targets, lengths, masks=masks).gradients
    assert gradients.keys() == parameters.keys()
    for name, array in parameters.items():
        close(gradients[name], numeric_gradient(loss, array))


def test_a_batch_is_the_mean_over_its_real_targets() -> None:
    rng = np.random.default_rng(2)
    parameters = parameters_of(rng, E=2)
    ids, targets = rng.integers(0, 4, (2, 4, 2))
    both = reference.loss_and_gradients(parameters, ids, targets, [1, 4])
    short = reference.loss_and_gradients(parameters, ids[:1, :1], targets[:1, :1])
    long = reference.loss_and_gradients(parameters, ids[:, 1:], targets[:, 1:])
    assert both.loss == pytest.approx((short.loss + 4 * long.loss) / 5, abs=1e-14)
    mean = (short.gradients["embedding"] + 4 * long.gradients["embedding"]) / 5
    assert both.gradients["embedding"] == pytest.approx(mean, abs=1e-14)
    assert np.array_equal(both.h[:, 0], short.h[:, 0])
    assert not both.logits[1:, 0].any()


def test_a_carried_state_continues_the_sequence_and_takes_no_gradient() -> None:
    rng = np.random.default_rng(3)
    parameters = parameters_of(rng, E=2, L=2, learned=True)
    ids, targets = rng.integers(0, 4, (2, 6, 2))
    whole = reference.loss_and_gradients(parameters, ids, targets)
    first = reference.loss_and_gradients(parameters, ids[:4], targets[:4])
    second = reference.loss_and_gradients(parameters, ids[4:], targets[4:], state=(first.h, first.c))
    assert second.logits == pytest.approx(whole.logits[4:], abs=1e-14)
    assert second.c == pytest.approx(whole.c, abs=1e-14)
    assert not second.gradients["h0"].any()
    assert whole.gradients["h0"].any()


def test_dense_rows_stand_for_ids() -> None:
    rng = np.random.default_rng(4)
    parameters = parameters_of(rng)
    ids, targets = rng.integers(0, 4, (2, 3, 2))
    dense = reference.loss_and_gradients(parameters, np.eye(4)[ids], targets)
    assert dense.loss == reference.loss_and_gradients(parameters, ids, targets).loss
