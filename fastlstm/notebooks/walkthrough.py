"""The walkthrough: the soliloquy again, hidden 10, with random biases and a greedy read-out.

>>> from fastlstm.notebooks.walkthrough import LSTM, oneHotEncode
>>> lstm = LSTM(3 + 2, 3, 2, 0.01, 5)
>>> lstm.inference(oneHotEncode("ab", 2, {"a": 0, "b": 1}), {0: "a", 1: "b"}) in ("aa", "ab", "ba", "bb")
True
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fastlstm.errors import FastLSTMError
from fastlstm.notebooks.cell import Bias, Weight
from fastlstm.notebooks.characters import column_rows, encode, one_hot_columns, one_hot_ids
from fastlstm.notebooks.soliloquy import PerStep, SoliloquyLSTM


class LSTM(SoliloquyLSTM):
    """The walkthrough's class: the learning rate comes before the epochs, the vocabulary with each call, and biases
    start at random like weights.

    Different from the notebook, which diverges: the sigmoid is a sigmoid (it clipped its input to ≥ 1e-5),
    step 0 takes part in the backward pass, the candidate's error reaches h_{t−1}, and the clip has an effect.
    """

    wf, wi, wc, wo, wy = map(Weight, "ficoy")
    bf, bi, bc, bo, by = map(Bias, "ficoy")
    concatenated_input, hidden_state, cell_state = map(PerStep, ("concat", "hidden", "cells"))
    forget_gate, input_gate, intermediate_cell_state, output_gate = map(PerStep, "fico")
    random_biases, reads_global = True, False

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        learning_rate: float,
        num_epochs: int,
        **named: Any,
    ) -> None:
        super().__init__(input_size, hidden_size, output_size, num_epochs, learning_rate, **named)

    def backward(self, errors: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
        """Update every weight from columns of `errors`, softmax − onehot(label), of `forward`'s `outputs`."""
        if len(errors) != len(outputs):
            raise FastLSTMError(f"{len(errors)} errors for {len(outputs)} outputs")
        self._learn(errors, -self.learning_rate)

    def train(
        self, inputs: Sequence[np.ndarray], labels: Iterable[str], chr_to_idx: Mapping[str, int]
    ) -> None:
        """`num_epochs` updates on one-hot columns with the characters to predict, in compiled code."""
        ids = one_hot_ids(column_rows(inputs, self.output_size, "inputs"), "inputs")
        self._fit(ids, encode(labels, self._vocabulary.use(chr_to_idx), "labels"))

    def inference(self, input: Sequence[np.ndarray], idx_to_chr: Mapping[int, str]) -> str:
        """The likeliest next character at each step of a list of one-hot columns, as one string."""
        self._vocabulary.use({c: n for n, c in idx_to_chr.items()})
        return "".join(idx_to_chr[int(logits.argmax())] for logits in self.forward(input))


def oneHotEncode(data: Iterable[str], num_chars: int, chr_to_idx: Mapping[str, int]) -> list[np.ndarray]:
    """A list of one-hot columns (num_chars, 1), one for each character."""
    return one_hot_columns(encode(data, chr_to_idx, "data"), num_chars)
