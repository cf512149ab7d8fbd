"""zoo-B: zoo-A's network under other names, on a file that holds the soliloquy as a Python literal.

>>> from fastlstm.notebooks.zoo_b import LSTM
>>> lstm = LSTM(input_size=3 + 2, output_size=2, hidden_size=3, num_epochs=5, learning_rate=0.05)
>>> lstm.weight_forget.shape, lstm.bias_final.shape
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
    """zoo-B's class; the sizes come as `input_size, output_size, hidden_size`.

    `weight_forget bias_forget weight_input bias_input weight_candidate bias_candidate weight_output
    bias_output weight_final bias_final` are views of the fused weights, as in `zoo_a.LSTM`, which says what
    the keywords mean and what is different from the notebook.
    """

    weight_forget, weight_input, weight_candidate, weight_output, weight_final = (Weight(g) for g in "ficoy")
    bias_forget, bias_input, bias_candidate, bias_output, bias_final = (Bias(gate) for gate in "ficoy")
    concat_inputs, hidden_state, cell_state = PerStep("concat"), PerStep("hidden"), PerStep("cells")
    forget_gates, input_gates, candidate_gates, output_gates = (PerStep(gate) for gate in "fico")

    def __init__(
        self,
        input_size: int,
        output_size: int,
        hidden_size: int,
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
        self.reset_memory()

    def reset_memory(self) -> None:
        """Forget the last forward pass: the dictionaries are empty, but for the zero states at step -1."""
        self._trace = None
        self.activation_outputs, self.output = {}, {}

    def bptt(self, errors: Sequence[np.ndarray], inputs: Steps) -> None:
        """Update all weights from columns of `errors`, onehot(label) − softmax; `inputs`: `concat_inputs`."""
        self._same_inputs(inputs)
        self._learn(errors, self.learning_rate)

    def train(self, inputs: Iterable[str], labels: Iterable[str]) -> None:
        """`num_epochs` updates on the characters `inputs` with `labels` to predict, in compiled code."""
        self._train_on_text(inputs, labels)

    def test(self, inputs: Iterable[str], labels: Iterable[str]) -> None:
        """Draw a prediction of each label from the true text before it; print both and the accuracy."""
        self._test_on_text(inputs, labels, separator=" ")


def one_hot_encoder(text: str, char_to_idx: Mapping[str, int] | None = None) -> np.ndarray:
    """A character's one-hot column (V, 1) by `char_to_idx`, else by `__main__.char_to_idx`."""
    return one_hot_character(text, char_to_idx)
