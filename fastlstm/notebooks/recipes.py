"""The notebooks' own jobs at their own sizes: what they print and plot, and their time beside the old one."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastlstm.data.joined import read_names
from fastlstm.errors import FastLSTMError
from fastlstm.network.architecture import Architecture
from fastlstm.network.lstm import lstm_forward
from fastlstm.network.model import Network
from fastlstm.network.optim import Optimizer
from fastlstm.notebooks import kaggle, names, walkthrough, zoo_a, zoo_b
from fastlstm.notebooks.soliloquy import SOLILOQUY, SOLILOQUY_LITERAL, SoliloquyLSTM
from fastlstm.training.plots import picture

REPORTED = {"zoo-a": 144, "zoo-b": 122, "walkthrough": 145}  # seconds for 1,000 epochs
KAGGLE_SECONDS = 0.75  # an iteration, run again; the notebook reports no time


class Curve(NamedTuple):
    """One curve of a plot: its title, what an x is, and the values."""

    title: str
    x: str
    values: Sequence[float]


def soliloquy(notebook: str, *, epochs: int = 1000, dtype: str = "float64", seed: int = 0) -> list[Curve]:
    """zoo-a, zoo-b or walkthrough: learn Hamlet's soliloquy, then read it back."""
    data = SOLILOQUY_LITERAL if notebook == "zoo-b" else SOLILOQUY
    size, rng = len(set(data)), np.random.RandomState(seed)
    char_to_idx = {c: n for n, c in enumerate(sorted(set(data)))}
    inputs, labels = data[:-1], data[1:]
    print(f"Data size: {len(data)}, Char Size: {size}")
    _compile(dtype)
    begin = time.perf_counter()
    lstm: SoliloquyLSTM
    if notebook == "walkthrough":
        lstm = walkthrough.LSTM(size + 10, 10, size, 0.01, epochs, dtype=dtype, rng=rng)
        columns = walkthrough.oneHotEncode(inputs, size, char_to_idx)
        lstm.train(columns, labels, char_to_idx)
        seconds = time.perf_counter() - begin
        print(lstm.inference(columns, lstm.idx_to_char))
    else:
        module = zoo_a if notebook == "zoo-a" else zoo_b
        lstm = module.LSTM(
            input_size=size + 25, hidden_size=25, output_size=size, num_epochs=epochs, learning_rate=0.05,
            char_to_idx=char_to_idx, dtype=dtype, rng=rng,
        )  # fmt: skip
        lstm.train(inputs, labels)
        seconds = time.perf_counter() - begin
        lstm.test(inputs, labels)
    print(f"\nCross-entropy after {len(lstm.losses):,} epochs: {lstm.losses[-1]:.5f} nats a character")
    reported = REPORTED[notebook]
    _compare(
        seconds,
        f"{epochs:,} epochs",
        f"the notebook reports {reported} s for 1,000",
        reported * epochs / 1000,
    )
    return [Curve("cross-entropy, nats a character", "epoch", lstm.losses)]


def shakespeare(
    path: str | os.PathLike[str], *, iterations: int | None = None, dtype: str = "float64", seed: int = 0
) -> list[Curve]:
    """kaggle: a text in windows of 28, hidden 1000, until the smooth loss is 46; Ctrl-C ends it earlier."""
    generator = kaggle.DataGenerator(path, 28)
    lstm = kaggle.LSTM(1000, generator.vocab_size, 28, 1e-3, dtype=dtype, rng=np.random.RandomState(seed))
    _compile(dtype)
    begin = time.perf_counter()
    try:
        lstm.train(generator, max_iterations=iterations)
    except KeyboardInterrupt:
        print("\nInterrupted: the network goes on from here without more training.")
    seconds, count = time.perf_counter() - begin, len(lstm.losses)
    start = "c" if "c" in generator.char_to_idx else generator.data[0]
    print(f"\n{lstm.predict(generator, start, 150)}\n")
    note = f"the notebook, run again, needs {KAGGLE_SECONDS} s each"
    _compare(
        seconds,
        f"{count:,} iterations of {1000 * seconds / max(count, 1):.1f} ms",
        note,
        KAGGLE_SECONDS * count,
    )
    smooth, curve = np.log(generator.vocab_size) * 28, []
    for loss in lstm.losses:
        smooth = 0.999 * smooth + 0.001 * loss
        curve.append(smooth)
    return [Curve("smooth loss, nats a window of 28", "iteration", curve)]


def name_generator(
    path: str | os.PathLike[str],
    *,
    column: str | None = "Name",
    limit: int = 10000,
    steps: int = 8001,
    dtype: str = "float64",
    seed: int = 0,
) -> list[Curve]:
    """names: the first names of a table, 8,001 steps; 20 new names, and the three curves."""
    data = list(read_names(path, column=column, limit=limit))
    if any("." in name for name in data):
        raise FastLSTMError(f"{path} has names with a dot, which is the notebook's end mark")
    if len(data) < 20:
        raise FastLSTMError(f"{path} has {len(data)} names; a batch is 20")
    longest = max(map(len, data)) + 1
    padded = [name.ljust(longest, ".") for name in data]
    vocab = sorted(set("".join(padded)))
    print(f"Transformed Data\n{padded[1:10]}\nVocab size = {len(vocab)}\nVocab      = {vocab}\n")
    char_id = {c: n for n, c in enumerate(vocab)}
    rows = np.eye(len(vocab), dtype=dtype)
    batches = [
        [rows[[char_id[name[k]] for name in padded[n : n + 20]]] for k in range(longest)]
        for n in range(0, len(data) - 19, 20)
    ]
    rng = np.random.RandomState(seed)
    _compile(dtype)
    begin = time.perf_counter()
    embeddings, parameters, J, P, A = names.train(batches, iters=steps, dtype=dtype, rng=rng)
    seconds = time.perf_counter() - begin
    print(*names.predict(parameters, embeddings, dict(enumerate(vocab)), len(vocab), rng=rng), sep="\n")
    each = 1000 * seconds / max(steps, 1)
    print(f"\n{steps:,} steps in {seconds:.1f} s, {each:.2f} ms each; the notebook itself does not run.")
    titles = ("Loss", "Perplexity", "Accuracy")
    return [
        Curve(f"{title} (Avg of 30 batches)", "batch / 30", _averages(v))
        for title, v in zip(titles, (J, P, A), strict=True)
    ]


def plot(curves: Sequence[Curve], path: str | os.PathLike[str]) -> None:
    """Draw each curve into a panel of the picture `path`; needs matplotlib."""
    with picture(path, len(curves), 5 * len(curves)) as panels:
        for axes, curve in zip(panels, curves, strict=True):
            axes.plot(curve.values)
            axes.set(title=curve.title, xlabel=curve.x)
            axes.grid(alpha=0.3)


def _averages(values: Sequence[float]) -> list[float]:
    """Means of 30 values after each other."""
    return [float(np.mean(values[n : n + 30])) for n in range(0, len(values), 30)]


def _compare(seconds: float, work: str, note: str, reported: float) -> None:
    print(f"{work} in {seconds:.2f} s; {note}: {reported / seconds:.0f} times as fast.")


def _compile(dtype: str) -> None:
    """Compile before the clock starts, and say how long it took where the cache was cold."""
    begin = time.perf_counter()
    network, ids = Network(Architecture(2, hidden=4, embedding=0, dtype=dtype)), np.zeros((2, 1), np.int32)
    network.step(ids, ids, Optimizer(network.parameters), 0.0)
    lstm_forward(ids, np.zeros((16, 6), dtype))
    seconds = time.perf_counter() - begin
    if seconds > 2:
        print(f"Compiled in {seconds:.0f} s; the next run takes this from the cache.")
