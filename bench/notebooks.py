"""A step of each notebook's training at its own sizes, verified against the notebook's formulas, then timed.

With `--against CHECKOUT`, another checkout of fastlstm trains in a process of its own, and blocks of both take turns.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ("zoo-a", "zoo-b", "walkthrough", "kaggle", "names")
ROUNDS, SECONDS = 9, 1.0
FEW = 20  # batches of names that a block goes through, and the fewest steps
UPDATES, TOLERANCE = 2, {"float64": 1e-9, "float32": 1e-3}
Job = tuple[Callable[[int], Any], Callable[[], float]]  # so many steps of training; the error after UPDATES


def rename(lstm: Any) -> dict[str, np.ndarray]:
    """A network's weights under zoo-A's names, in float64."""
    parts = {"f": "forget", "i": "input", "c": "candidate", "o": "output", "y": "final"}
    found = {}
    for gate, word in parts.items():
        for kind, long in (("w", "weight"), ("b", "bias")):
            names = (kind + gate, kind.upper() + gate if kind == "w" else kind + gate, f"{long}_{word}")
            name = next(name for name in names if hasattr(lstm, name))
            found[kind + gate] = getattr(lstm, name).astype(np.float64)
    return found


def apart(found: Any, expected: Any) -> float:
    """The largest difference of two dictionaries' arrays or of two lists."""
    if isinstance(expected, dict):
        return max(apart(found[name], expected[name]) for name in expected)
    return float(np.abs(np.asarray(found) - np.asarray(expected)).max())


def soliloquy(notebook: str, dtype: str, oracle: Any) -> Job:
    from fastlstm.notebooks import walkthrough, zoo_a, zoo_b
    from fastlstm.notebooks.soliloquy import SOLILOQUY, SOLILOQUY_LITERAL

    text = SOLILOQUY_LITERAL if notebook == "zoo-b" else SOLILOQUY
    index = {c: n for n, c in enumerate(sorted(set(text)))}
    size, hidden, rate = (
        len(index),
        (10 if notebook == "walkthrough" else 25),
        (0.01 if notebook == "walkthrough" else 0.05),
    )
    module: Any = {"zoo-a": zoo_a, "zoo-b": zoo_b, "walkthrough": walkthrough}[notebook]
    lstm = module.LSTM(input_size=size + hidden, hidden_size=hidden, output_size=size, num_epochs=1, learning_rate=rate,
                       dtype=dtype, rng=np.random.RandomState(0),
                       **({} if notebook == "walkthrough" else {"char_to_idx": index}))  # fmt: skip
    columns = walkthrough.oneHotEncode(text[:-1], size, index)

    def train(epochs: int) -> None:
        lstm.num_epochs = epochs
        if notebook == "walkthrough":
            lstm.train(columns, text[1:], index)
        else:
            lstm.train(text[:-1], text[1:])

    def error() -> float:
        w, ids = rename(lstm), [index[c] for c in text]
        train(UPDATES)
        losses = oracle.descend(w, ids[:-1], ids[1:], rate, UPDATES)
        return max(apart(lstm.losses, losses), apart(rename(lstm), w))

    return train, error


def kaggle(path: str, dtype: str, oracle: Any) -> Job:
    from fastlstm.notebooks.kaggle import LSTM, DataGenerator

    generator = DataGenerator(path, 28)
    lstm: Any = LSTM(1000, generator.vocab_size, 28, 1e-3, dtype=dtype, rng=np.random.RandomState(0))
    # One sample in a thousand steps is part of the training; one in each block would be most of it.
    lstm.sample = lambda *_: []

    def train(steps: int) -> None:
        lstm.train(generator, threshold=0, max_iterations=steps)

    def error() -> float:
        w, ids = rename(lstm), [generator.char_to_idx[c] for c in generator.data]
        train(UPDATES)
        losses = oracle.adamw_windows(w, ids, 28, 1e-3, UPDATES)
        return max(apart(lstm.losses, losses), apart(rename(lstm), w))

    return train, error


def names(path: str, dtype: str, oracle: Any) -> Job:
    from fastlstm.notebooks.names import train

    rows = Path(path).read_text(encoding="utf-8").split()
    longest = max(map(len, rows)) + 1
    index = {c: n for n, c in enumerate(sorted(set(".".join(rows))))}
    one_hot, padded = np.eye(len(index)), [row.ljust(longest, ".") for row in rows]
    batches = [
        [one_hot[[index[name[k]] for name in padded[n : n + 20]]] for k in range(longest)]
        for n in range(0, len(rows) - 19, 20)
    ]

    def error() -> float:
        rng, E, H, V = np.random.RandomState(0), 100, 256, len(index)
        found_rows, found, J, P, A = train(batches, UPDATES, dtype=dtype, rng=np.random.RandomState(0))
        shapes = dict.fromkeys(("fgw", "igw", "ogw", "ggw"), (E + H, H)) | {"how": (H, V)}
        w = {name: rng.normal(0, 0.01, shape) for name, shape in shapes.items()}
        ids = [
            [[index[c] for c in name + "."] for name in rows[n : n + 20]] for n in range(0, 20 * UPDATES, 20)
        ]
        expected, history = oracle.adam_names(w, rng.normal(0, 0.01, (V, E)), ids, 0.005, UPDATES)
        scores = np.array([P, J, A]).T
        return max(apart(scores, history), apart(found_rows, expected), apart(found, w))

    # 8,001 steps outweigh what `train` does with its data before the first; those of a block do not.
    return lambda steps: train(batches[:FEW], steps, dtype=dtype), error


def work(notebook: str, dtype: str, path: str) -> None:
    """A process that answers with its error, then trains as many steps as each line asks for, and answers with seconds."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    sys.path.append(str(ROOT / "tests"))
    import notebook_oracles as oracle

    job = {"kaggle": kaggle, "names": names}.get(notebook)
    train, error = job(path, dtype, oracle) if job else soliloquy(notebook, dtype, oracle)
    print(error(), file=answers)
    for line in sys.stdin:
        start = time.perf_counter()
        train(int(line))
        print(time.perf_counter() - start, file=answers)


class Worker:
    """Such a process, of one checkout."""

    def __init__(self, checkout: Path, notebook: str, dtype: str, data: str) -> None:
        command = [
            sys.executable,
            __file__,
            "--worker",
            notebook,
            "--dtype",
            dtype,
            "--names",
            data,
            "--text",
            data,
        ]
        # Each keeps what it compiles beside its sources: in one folder they would take turns to remove the other's.
        environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
        self.process = subprocess.Popen(command, env=environment | {"PYTHONPATH": str(checkout)}, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        self.error = self.answer()
        self.ask(1)
        # Every block draws weights and reserves memory anew: it has so many steps that these do not count.
        self.steps = max(FEW, round(SECONDS / (self.ask(FEW + 1) - self.ask(1)) * FEW))

    def answer(self) -> float:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise click.ClickException("a process ended before it answered")
        return float(line)

    def ask(self, steps: int) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return self.answer()

    def block(self) -> float:
        """Milliseconds a step, over about SECONDS."""
        return 1000 * self.ask(self.steps) / self.steps

    def close(self) -> None:
        self.process.communicate()


def measure(notebook: str, dtype: str, data: str, against: Path | None) -> list[str]:
    """A row of the table: ours, and the other checkout's with the ratio of neighbouring blocks."""
    workers = [Worker(checkout, notebook, dtype, data) for checkout in (ROOT, against) if checkout]
    worst = max(worker.error for worker in workers)
    if not worst <= TOLERANCE[dtype]:
        raise click.ClickException(f"{notebook} is {worst:.1e} from its formulas: not timed")
    blocks = np.array([[worker.block() for worker in workers] for _ in range(ROUNDS)])
    for worker in workers:
        worker.close()
    row = [notebook, f"{worst:.0e}", *(f"{ms:.3g}" for ms in np.median(blocks, axis=0))]
    if against:
        low, middle, high = np.quantile(blocks[:, 1] / blocks[:, 0], [0.25, 0.5, 0.75])
        row += [f"{middle:.2f}", f"{low:.2f}-{high:.2f}"]
    return row


@click.command()
@click.option("--notebook", type=click.Choice(NOTEBOOKS), multiple=True, default=NOTEBOOKS)
@click.option("--dtype", type=click.Choice(["float64", "float32"]), default="float64", show_default=True)
@click.option("--names", "table", metavar="FILE", help="A name a line, in place of the embedded ones.")
@click.option("--text", metavar="FILE", help="kaggle's text, in place of the soliloquy.")
@click.option("--against", metavar="CHECKOUT", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--worker", hidden=True)
def main(
    notebook: tuple[str, ...], dtype: str, table: str, text: str, against: Path | None, worker: str | None
) -> None:
    """Print each notebook's largest error after two updates and its milliseconds a step."""
    if worker:
        work(worker, dtype, table)
        return
    import tempfile

    from fastlstm.benchmark.report import columns
    from fastlstm.data.embedded import embedded_names
    from fastlstm.notebooks.soliloquy import SOLILOQUY

    head = ["notebook", "error", "ms a step"]
    rows = [[*head, "the other's", "times as fast", "quartiles"] if against else head]
    with tempfile.TemporaryDirectory() as folder:
        standard = {"names": "\n".join(list(embedded_names())[:10000]), "kaggle": SOLILOQUY}
        for name in notebook:
            path = {"names": table, "kaggle": text}.get(name)
            if not path:
                path = str(Path(folder) / "data.txt")
                Path(path).write_text(standard.get(name, ""), encoding="utf-8")
            rows.append(measure(name, dtype, path, against))
    click.echo(columns(rows))


if __name__ == "__main__":
    main()
