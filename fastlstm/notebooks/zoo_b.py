"""zoo-B: zoo-A's network under other names, on a file that holds the soliloquy as a Python literal.

>>> from fastlstm.notebooks.zoo_b import LSTM
>>> lstm = LSTM(input_size=3 + 2, output_size=2, hidden_size=3, num_epochs=5, learning_rate=0.05)
>>> lstm.weight_forget.shape, lstm.bias_final.shape
((3, 5), (2, 1))
"""

from __future__ import annotations

from typing import Any

from fastlstm.notebooks.cell import Bias, Weight
from fastlstm.notebooks.characters import one_hot_character
from fastlstm.notebooks.soliloquy import Empty, PerStep, ZooLSTM


class LSTM(ZooLSTM):
    """zoo-B's class: the output's size comes before the hidden one, and predictions are joined with spaces."""

    weight_forget, weight_input, weight_candidate, weight_output, weight_final = map(Weight, "ficoy")
    bias_forget, bias_input, bias_candidate, bias_output, bias_final = map(Bias, "ficoy")
    concat_inputs, hidden_state, cell_state = map(PerStep, ("concat", "hidden", "cells"))
    forget_gates, input_gates, candidate_gates, output_gates = map(PerStep, "fico")
    activation_outputs, output = Empty(), Empty()
    reset_memory, bptt, separator = ZooLSTM.reset, ZooLSTM.backward, " "

    def __init__(
        self,
        input_size: int,
        output_size: int,
        hidden_size: int,
        num_epochs: int,
        learning_rate: float,
        **named: Any,
    ) -> None:
        super().__init__(input_size, hidden_size, output_size, num_epochs, learning_rate, **named)


one_hot_encoder = one_hot_character
