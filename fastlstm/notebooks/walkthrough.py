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
from fastlstm.notebooks.soliloquy import PerStep, SoliloquyLSTM, xavier


class LSTM(SoliloquyLSTM):
    """The walkthrough's class: whole-text gradients, summed, clipped to ±1, subtracted at `learning_rate`.

    `wf bf wi bi wc bc wo bo wy by` are views of the fused weights, as in `zoo_a.LSTM`; weights and biases
    start Xavier uniform. `dtype` is float64 or float32; `rng` is where draws come from, else NumPy's global
    generator.

    Different from the notebook, which diverges: the sigmoid is a sigmoid (it clipped its input to ≥ 1e-5),
    step 0 takes part in the backward pass, the candidate's error reaches h_{t−1}, and the clip has an effect.
    The per-step dictionaries are read-only records, and `losses` holds each epoch's mean cross-entropy.
    """

    wf, wi, wc, wo, wy = (Weight(gate) for gate in "ficoy")
    bf, bi, bc, bo, by = (Bias(gate) for gate in "ficoy")
    concatenated_input, hidden_state, cell_state = PerStep("concat"), PerStep("hidden"), PerStep("cells")
    forget_gate, input_gate, intermediate_cell_state, output_gate = (PerStep(gate) for gate in "fico")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        learning_rate: float,
        num_epochs: int,
        *,
        dtype: str = "float64",
        rng: Any = None,
    ) -> None:
        sizes = (input_size, hidden_size, output_size)
        super().__init__(sizes, num_epochs, learning_rate, None, dtype, rng, read_main=False)
        self._draw((Weight, Bias), xavier(self._rng))

    def reset(self) -> None:
        """Forget the last forward pass: the dictionaries are empty, but for the zero states at step -1."""
        self._trace = None

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
