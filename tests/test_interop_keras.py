"""Keras' layout: against Keras' own formula, written out."""

from __future__ import annotations

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.errors import FastLSTMError
from fastlstm.interop.keras import from_keras, to_keras


def keras_lstm(x, kernel, recurrent_kernel, bias):
    """Keras' LSTM cell with its default activations over x (T, B, I): outputs (T, B, H), h and c (B, H)."""

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    h = c = np.zeros((x.shape[1], len(recurrent_kernel)))
    out = []
    for x_t in x:
        i, f, candidate, o = np.split(x_t @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(candidate)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.stack(out), h, c


def weights(rng, I=3, H=5):
    return rng.normal(size=(I, 4 * H)), rng.normal(size=(H, 4 * H)), rng.normal(size=4 * H)


def test_keras_arrays_compute_the_same_here():
    rng = np.random.default_rng(0)
    arrays, x = weights(rng), rng.normal(size=(7, 2, 3))
    out, (h, c), _ = fl.lstm_forward(x, *from_keras(*arrays))
    for comp, ref in zip((out, h, c), keras_lstm(x, *arrays), strict=True):
        np.testing.assert_allclose(comp, ref, rtol=1e-10, atol=1e-12)


def test_round_trip():
    arrays = weights(np.random.default_rng(1))
    W, b = from_keras(*arrays)
    for comp, ref in zip(to_keras(W, b), arrays, strict=True):
        assert np.array_equal(comp, ref)
    W[:] = b[:] = 0
    assert arrays[2].any()


def test_a_layer_without_bias():
    kernel, recurrent, _ = weights(np.random.default_rng(2))
    W, b = from_keras(kernel.astype("float32"), recurrent.astype("float32"))
    assert W.dtype == b.dtype == np.float32
    assert not b.any()
    assert not to_keras(W).bias.any()


@pytest.mark.parametrize("shapes", [((3, 20), (4, 20), 20), ((3, 16), (5, 20), 20), ((3, 20), (5, 20), 40)])
def test_shapes_that_do_not_fit(shapes):
    with pytest.raises(FastLSTMError, match=r"they must be \(I, 4H\), \(H, 4H\) and \(4H,\)"):
        from_keras(*map(np.zeros, shapes))


@pytest.mark.parametrize("shape", [(20,), (21, 8), (20, 5), (0, 3)])
def test_weights_that_are_no_layer(shape):
    with pytest.raises(FastLSTMError, match=r"they must be \(4H, H\+I\) and \(4H,\)"):
        to_keras(np.zeros(shape))
