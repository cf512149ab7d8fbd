"""What zoo-A, zoo-B and the walkthrough share: their text, and an LSTM that learns a text as one sequence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fastlstm.errors import FastLSTMError
from fastlstm.network.optim import Optimizer, OptimizerConfig
from fastlstm.notebooks.cell import STATES, Bias, Cell, Steps, Weight, draw, softmax
from fastlstm.notebooks.characters import CharacterIndex, column_rows, encode

# Hamlet, act 3, scene 1, broken where the notebooks' string literal is.
LINES = (
    "To be, or not to be, that is the question: Whether ",
    "'tis nobler in the mind to suffer The slings and arrows of ou",
    "trageous fortune, Or to take arms against a sea of troubles A",
    "nd by opposing end them. To die—to sleep, No more; and by a s",
    "leep to say we end The heart-ache and the thousand natural sh",
    "ocks That flesh is heir to: 'tis a consummation Devoutly to b",
    "e wish'd. To die, to sleep; To sleep, perchance to dream—ay, ",
    "there's the rub: For in that sleep of death what dreams may c",
    "ome, When we have shuffled off this mortal coil, Must give us",
    " pause—there's the respect That makes calamity of so long lif",
    "e. For who would bear the whips and scorns of time, Th'oppres",
    "sor's wrong, the proud man's contumely, The pangs of dispriz'",
    "d love, the law's delay, The insolence of office, and the spu",
    "rns That patient merit of th'unworthy takes, When he himself ",
    "might his quietus make",
)
SOLILOQUY = "".join(LINES).lower()
# zoo-B's file holds the Python literal itself: quotes, backslashes and newlines.
SOLILOQUY_LITERAL = '"""' + "\\\n".join(LINES).lower() + '"""\n'


class PerStep:
    """An attribute: the last forward pass's columns of one quantity, by step; empty after a reset."""

    def __init__(self, quantity: str) -> None:
        self.quantity = quantity

    def __get__(self, lstm: Any, owner: type | None = None) -> Any:
        if lstm is None:
            return self
        if lstm._trace is not None:
            return lstm._trace.columns(self.quantity)
        zero = np.zeros((lstm.hidden_size, 1), lstm.parameters.flat.dtype)
        return Steps([-1] if self.quantity in STATES else [], lambda _: zero)


class Empty:
    """An attribute: a dictionary that the notebook never fills."""

    def __get__(self, lstm: Any, owner: type | None = None) -> Any:
        return self if lstm is None else {}


class SoliloquyLSTM(Cell):
    """An LSTM trained by full-sequence gradient descent: gradients summed over the text, each clipped to ±1.

    `input_size` counts the concatenation, characters + hidden. Beyond the notebooks' arguments: `char_to_idx` is the
    vocabulary, else the notebook's global one, else that of the sorted text; `dtype` is float64 or float32; `rng` is
    where draws come from, else NumPy's global generator. Weights start Xavier uniform, ±sqrt(6 / (inputs + outputs)),
    and so do biases where a class says so. The per-step dictionaries are read-only records of the last forward pass.
    `losses` holds the last training's mean cross-entropy of each epoch, in nats a character.
    """

    random_biases, reads_global = False, True

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
        counted = hidden_size + output_size
        if input_size not in (counted, output_size):
            raise FastLSTMError(f"input_size is {input_size}; hidden_size + output_size is {counted}")
        super().__init__(hidden_size, output_size, dtype, rng)
        self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, output_size
        self.num_epochs, self.learning_rate = num_epochs, learning_rate
        self.losses: list[float] = []
        self._vocabulary = CharacterIndex(output_size, char_to_idx, self.reads_global)
        self._draw(
            (Weight, Bias) if self.random_biases else (Weight,),
            lambda shape: self.rng.uniform(-1, 1, shape) * np.sqrt(6 / sum(shape)),
        )

    @property
    def char_to_idx(self) -> dict[str, int]:
        """The number of each character, which is the place of the 1 in its one-hot column."""
        return dict(self._vocabulary.get())

    @property
    def idx_to_char(self) -> dict[int, str]:
        """The character of each number."""
        return {n: c for c, n in self._vocabulary.get().items()}

    def reset(self) -> None:
        """Forget the last forward pass: the dictionaries are empty, but for the zero states at step -1."""
        self._trace = None

    def forward(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Logits (V, 1) for each of a list of one-hot columns (V, 1), from a zero state."""
        self._trace = self._run(column_rows(inputs, self.output_size, "forward(inputs)"))
        return list(self._logits(self._trace)[:, :, None])

    def _learn(self, errors: Sequence[np.ndarray], rate: float) -> None:
        """Take columns of errors (V, 1) back through the last forward pass; add `rate` times the result."""
        if self._trace is None:
            raise FastLSTMError("there is no forward pass to go back through: call forward(inputs) first")
        rows = column_rows(errors, self.output_size, "errors")
        if len(rows) != len(self._trace.out):
            raise FastLSTMError(f"{len(rows)} errors for a forward pass of {len(self._trace.out)} steps")
        self._vocabulary.use_columns()
        self._backpropagate(self._trace, rows)
        self.parameters.flat += rate * np.clip(self.gradients.flat, -1, 1)

    def _fit(self, ids: np.ndarray, targets: np.ndarray) -> None:
        """`num_epochs` updates on one sequence of ids and targets (T,), each one call of the compiled program."""
        from tqdm import tqdm

        if len(ids) == 0 or len(ids) != len(targets):
            raise FastLSTMError(
                f"{len(ids)} inputs and {len(targets)} labels: as many of each are needed, at least one"
            )
        optimizer = Optimizer(self.parameters, OptimizerConfig("sgd", clip_value=1.0))
        columns, before = (ids[:, None], targets[:, None]), self.parameters
        self.losses = []
        for epoch in tqdm(range(self.num_epochs)):
            if epoch == self.num_epochs - 1:
                before = self.parameters.copy()
            metrics, _ = self._network.step(*columns, optimizer, self.learning_rate, final=False, divisor=1)
            self.losses.append(metrics.loss)
            if not np.isfinite(metrics.loss):
                raise FastLSTMError(f"training diverged at epoch {epoch + 1}: try a smaller learning_rate")
        self._trace = self._run(ids, parameters=before)


class ZooLSTM(SoliloquyLSTM):
    """What zoo-A and zoo-B share beyond that: strings of characters, and a test that draws its predictions.

    Different from the notebooks: the vocabulary can be read (`char_to_idx`, `idx_to_char`) and cannot change under the
    weights; softmax does not overflow; what does not fit is an error.
    """

    separator = ""  # between printed predictions

    def train(self, inputs: Iterable[str], labels: Iterable[str]) -> None:
        """`num_epochs` updates on the characters `inputs` with `labels` to predict, in compiled code."""
        inputs, labels = list(inputs), list(labels)
        vocabulary = self._vocabulary.use_text(inputs + labels)
        self._fit(encode(inputs, vocabulary, "inputs"), encode(labels, vocabulary, "labels"))

    def test(self, inputs: Iterable[str], labels: Iterable[str]) -> None:
        """Draw a prediction of each label from the true text before it; print both and the accuracy."""
        inputs, labels = list(inputs), list(labels)
        ids = encode(inputs, self._vocabulary.use_text(inputs + labels), "inputs")
        self._trace = self._run(ids)
        names = self.idx_to_char
        predictions = [names[int(n)] for n in draw(softmax(self._logits(self._trace)), self.rng)]
        right = sum(prediction == label for prediction, label in zip(predictions, labels, strict=False))
        print(f"Ground Truth:\n{''.join(labels)}\n")
        print(f"Predictions:\n{self.separator.join(predictions)}\n")
        print(f"Accuracy: {round(right * 100 / len(inputs), 2)}%")

    def backward(self, errors: Sequence[np.ndarray], inputs: Mapping[int, np.ndarray]) -> None:
        """Update all weights from columns of `errors`, onehot(label) − softmax; `inputs`: `concat_inputs`."""
        trace = self._trace
        if trace and not (isinstance(inputs, Steps) and inputs.trace is trace):
            own = trace.columns("concat")
            if len(inputs) != len(own) or not all(np.array_equal(inputs[t], own[t]) for t in range(len(own))):
                raise FastLSTMError(
                    "the inputs are not concat_inputs of the last forward pass: call forward first"
                )
        self._learn(errors, self.learning_rate)
