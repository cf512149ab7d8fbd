"""A PyTorch language model of names, trained for an epoch as it is and once more after `accelerate(model)`."""

from __future__ import annotations

import time
from typing import Any

import click
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from fastlstm.data.embedded import embedded_names
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.engine.workers import thread_count
from fastlstm.interop.torch import accelerate

BATCH = 128


class CharacterModel(nn.Module):
    """Embedding, one LSTM layer, output layer: logits for every character of a packed batch of names."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 64)
        self.lstm = nn.LSTM(64, 256)
        self.head = nn.Linear(256, vocabulary)

    def forward(self, ids: PackedSequence) -> torch.Tensor:
        embedded = PackedSequence(self.embedding(ids.data), *ids[1:])
        return self.head(self.lstm(embedded)[0].data)


def epoch(model: nn.Module, names: list[torch.Tensor]) -> tuple[list[float], float]:
    """The losses of one pass over the names, and its seconds."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses, start = [], time.perf_counter()
    for first in range(0, len(names), BATCH):
        batch = names[first : first + BATCH]
        inputs: Any = pack_sequence([name[:-1] for name in batch], enforce_sorted=False)
        targets: Any = pack_sequence([name[1:] for name in batch], enforce_sorted=False)
        loss = nn.functional.cross_entropy(model(inputs), targets.data)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses, time.perf_counter() - start


def trained(names: list[torch.Tensor], size: int, threads: int | None) -> tuple[list[float], float]:
    """An epoch of a new model, its LSTM accelerated on so many threads if any are given."""
    torch.manual_seed(0)
    model = CharacterModel(size)
    if threads:
        accelerate(model, threads=threads)
    return epoch(model, names)


@click.command()
@click.option("--threads", type=click.IntRange(1), default=thread_count(), help="For both  [all cores].")
def main(threads: int) -> None:
    """Print both epochs' seconds and last losses, and how they compare."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    lines = list(embedded_names())
    vocabulary = Vocabulary.from_texts(lines, boundary=True)
    names = [torch.tensor([0, *vocabulary.encode(line).tolist(), 0]) for line in lines]
    theirs, slow = trained(names, vocabulary.size, None)
    click.echo(f"{'torch.nn.LSTM':18} {slow:6.1f} s an epoch, last loss {theirs[-1]:.5f}")
    trained(names[:BATCH], vocabulary.size, threads)  # compiles, or loads what is compiled
    ours, quick = trained(names, vocabulary.size, threads)
    apart = max(abs(a - b) for a, b in zip(theirs, ours, strict=True))
    click.echo(
        f"{'accelerate(model)':18} {quick:6.1f} s an epoch, last loss {ours[-1]:.5f}: {slow / quick:.2f} times as fast, "
        f"no loss differs by more than {apart:.1g}"
    )


if __name__ == "__main__":
    main()
