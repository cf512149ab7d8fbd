"""An LSTM layer's weights in Keras' layout, as arrays; Keras is not needed.

Keras keeps the transposes of both halves of W, `kernel` (I, 4H) and `recurrent_kernel` (H, 4H), with one
`bias` (4H,). Its gates i, f, c, o are i, f, g, o here under another letter. Its default activations are the
engine's; layers made with `recurrent_activation="hard_sigmoid"` compute something else and do not fit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fastlstm.errors import FastLSTMError


class KerasWeights(NamedTuple):
    """What `keras.layers.LSTM.get_weights` returns and `set_weights` takes, in their order."""

    kernel: np.ndarray
    recurrent_kernel: np.ndarray
    bias: np.ndarray


def to_keras(W: npt.ArrayLike, b: npt.ArrayLike | None = None) -> KerasWeights:
    """Keras' arrays of the layer with weights `W` (4H, H+I) and bias `b` (4H,), zero if None; copies.

    Raises FastLSTMError where the shapes don't fit.

    >>> [array.shape for array in to_keras(np.zeros((8, 2 + 3)))]
    [(3, 8), (2, 8), (8,)]
    """
    W = np.asarray(W)
    H = len(W) // 4 if W.ndim == 2 else 0
    b = np.zeros(4 * H, W.dtype) if b is None else np.asarray(b)
    if H == 0 or len(W) % 4 or W.shape[1] <= H or b.shape != (4 * H,):
        raise FastLSTMError(f"W is {W.shape} and b {b.shape}: they must be (4H, H+I) and (4H,)")
    return KerasWeights(W[:, H:].T.copy(), W[:, :H].T.copy(), b.copy())


def from_keras(
    kernel: npt.ArrayLike, recurrent_kernel: npt.ArrayLike, bias: npt.ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`W` (4H, H+I) and `b` (4H,) of a Keras layer: `from_keras(*layer.get_weights())`; copies.

    `bias` is None for a layer with `use_bias=False`. Raises FastLSTMError where the shapes don't fit.

    >>> W, b = from_keras(np.zeros((3, 8)), np.zeros((2, 8)), np.ones(8))
    >>> W.shape, b.shape
    ((8, 5), (8,))
    """
    kernel, recurrent = np.asarray(kernel), np.asarray(recurrent_kernel)
    H = len(recurrent) if recurrent.ndim else 0
    b = np.zeros(4 * H, recurrent.dtype) if bias is None else np.array(bias)
    fits = (
        kernel.ndim == 2
        and kernel.shape[1] == 4 * H
        and recurrent.shape == (H, 4 * H)
        and b.shape == (4 * H,)
    )
    if not fits:
        raise FastLSTMError(
            f"kernel is {kernel.shape}, recurrent_kernel {recurrent.shape} and bias {b.shape}: "
            "they must be (I, 4H), (H, 4H) and (4H,)"
        )
    return np.ascontiguousarray(np.concatenate([recurrent, kernel]).T), b
