"""zoo-A: Hamlet's soliloquy as one sequence, hidden 25, 1,000 epochs of clipped gradient descent.

>>> from fastlstm.notebooks.zoo_a import LSTM
>>> lstm = LSTM(input_size=3 + 2, hidden_size=3, output_size=2, num_epochs=5, learning_rate=0.05)
>>> lstm.wf.shape, lstm.by.shape
((3, 5), (2, 1))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fastlstm.notebooks.cell import Bias, Steps, Weight
from fastlstm.notebooks.characters import one_hot_character
from fastlstm.notebooks.soliloquy import PerStep, SoliloquyLSTM, xavier


class LSTM(SoliloquyLSTM):
    """zoo-A's class: whole-text gradients, summed, clipped to ±1, added at `learning_rate`.

    `wf bf wi bi wc bc wo bo wy by` are views of the fused weights, (H, H+V) and (H, 1), (V, H) and (V, 1):
    reading, `lstm.wf[...] = a` and `lstm.wf = a` all act on what is trained. `input_size` counts the
    concatenation, characters + hidden.

    Beyond the notebook's arguments: `char_to_idx` is the vocabulary, else `__main__.char_to_idx`, else that
    of the sorted text; `dtype` is float64 or float32; `rng` is where draws come from, else NumPy's global
    generator.

    Different from the notebook: the vocabulary can be read (`char_to_idx`, `idx_to_char`) and cannot change
    under the weights; softmax does not overflow; the per-step dictionaries are read-only records, made when
    they are read; `losses` holds each epoch's mean cross-entropy; what does not fit is an error.
    """

    wf, wi, wc, wo, wy = (Weight(gate) for gate in "ficoy")
    bf, bi, bc, bo, by = (Bias(gate) for gate in "ficoy")
    concat_inputs, hidden_states, cell_states = PerStep("concat"), PerStep("hidden"), PerStep("cells")
    forget_gates, input_gates, candidate_gates, output_gates = (PerStep(gate) for gate in "fico")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        num_epochs: int,
        learning_rate: float,
        *,
        char_to_idx: Mapping[str, int] | None = None,
        dtype: str = "float64",
        rng: Any = None,
    ) -> None:
        super().__init__(
            (input_size, hidden_size, output_size), num_epochs, learning_rate, char_to_idx, dtype, rng
        )
        self._draw((Weight,), xavier(self._rng))
        self.reset()

    def reset(self) -> None:
        """Forget the last forward pass: the dictionaries are empty, but for the zero states at step -1."""
        self._trace = None
        self.activation_outputs, self.outputs = {}, {}

    def backward(self, errors: Sequence[np.ndarray], inputs: Steps) -> None:
        """Update all weights from columns of `errors`, onehot(label) − softmax; `inputs`: `concat_inputs`."""
        self._same_inputs(inputs)
        self._learn(errors, self.learning_rate)

    def train(self, inputs: Iterable[str], labels: Iterable[str]) -> None:
        """`num_epochs` updates on the characters `inputs` with `labels` to predict, in compiled code."""
        self._train_on_text(inputs, labels)

    def test(self, inputs: Iterable[str], labels: Iterable[str]) -> None:
        """Draw a prediction of each label from the true text before it; print both and the accuracy."""
        self._test_on_text(inputs, labels, separator="")


def oneHotEncode(text: str, char_to_idx: Mapping[str, int] | None = None) -> np.ndarray:
    """A character's one-hot column (V, 1) by `char_to_idx`, else by `__main__.char_to_idx`."""
    return one_hot_character(text, char_to_idx)
