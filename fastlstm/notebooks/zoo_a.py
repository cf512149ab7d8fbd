"""zoo-A: Hamlet's soliloquy as one sequence, hidden 25, 1,000 epochs of clipped gradient descent.

>>> from fastlstm.notebooks.zoo_a import LSTM
>>> lstm = LSTM(input_size=3 + 2, hidden_size=3, output_size=2, num_epochs=5, learning_rate=0.05)
>>> lstm.wf.shape, lstm.by.shape
((3, 5), (2, 1))
"""

from __future__ import annotations

from fastlstm.notebooks.cell import Bias, Weight
from fastlstm.notebooks.characters import one_hot_character
from fastlstm.notebooks.soliloquy import Empty, PerStep, ZooLSTM


class LSTM(ZooLSTM):
    """zoo-A's class, its arguments in the order of `ZooLSTM`."""

    wf, wi, wc, wo, wy = map(Weight, "ficoy")
    bf, bi, bc, bo, by = map(Bias, "ficoy")
    concat_inputs, hidden_states, cell_states = map(PerStep, ("concat", "hidden", "cells"))
    forget_gates, input_gates, candidate_gates, output_gates = map(PerStep, "fico")
    activation_outputs, outputs = Empty(), Empty()


oneHotEncode = one_hot_character
