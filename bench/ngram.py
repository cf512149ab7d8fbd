"""What a 5-gram comes to: python bench/ngram.py DATA [--as names|text] [--validation 0.1] [--order 5] [--seed 0]

The n-gram that a neural model of characters has to beat: interpolated Kneser–Ney smoothing, on the same split as
`fastlstm train` with the same DATA, validation and seed (Kneser and Ney, 1995; the interpolated form and the estimate
of the discounts are those of Chen and Goodman, 1999, section 3). Prints nats a character of what is held out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from math import log

import click
import numpy as np

import fastlstm as fl
from fastlstm.data.batching import split_names, split_text
from fastlstm.data.opening import open_data

START = -1  # before a sequence's first character


class KneserNey:
    """Counts of all orders up to `order`, below the highest of how many different characters come before.

    `sequences` are lists of ids below `size`.

    >>> model = KneserNey([[0, 1, 0, 1, 1]], size=3, order=2)
    >>> round(sum(model.probability((1,), w) for w in range(3)), 12)
    1.0
    """

    def __init__(self, sequences: Iterable[Sequence[int]], size: int, order: int = 5) -> None:
        self.size, self.order = size, order
        grams = Counter()
        for sequence in sequences:
            padded = (START,) * (order - 1) + tuple(sequence)
            grams.update(zip(*(padded[k:] for k in range(order)), strict=False))
        self.followers: list[dict[tuple[int, ...], dict[int, int]]] = []  # by the length of the context
        self.discounts: list[float] = []
        for _ in range(order):
            seen = Counter(grams.values())
            self.discounts.insert(0, seen[1] / (seen[1] + 2 * seen[2]) if seen[1] else 0.5)
            after: dict[tuple[int, ...], dict[int, int]] = defaultdict(dict)
            for gram, count in grams.items():
                after[gram[:-1]][gram[-1]] = count
            self.followers.insert(0, dict(after))
            grams = Counter(gram[1:] for gram in grams)

    def probability(self, context: Sequence[int], character: int) -> float:
        """P(character | the last order - 1 of `context`)."""
        context = tuple(context)[-self.order + 1 :] if self.order > 1 else ()
        p = 1 / self.size
        for length in range(len(context) + 1):
            counts = self.followers[length].get(context[len(context) - length :])
            if counts is None:
                break
            total, discount = sum(counts.values()), self.discounts[length]
            p = (max(counts.get(character, 0) - discount, 0) + discount * len(counts) * p) / total
        return p

    def loss(self, sequences: Iterable[Sequence[int]]) -> float:
        """The mean of -ln P over all characters of all sequences."""
        total, count = 0.0, 0
        for sequence in sequences:
            padded = (START,) * (self.order - 1) + tuple(sequence)
            for n in range(self.order - 1, len(padded)):
                total -= log(self.probability(padded[n - self.order + 1 : n], padded[n]))
            count += len(sequence)
        return total / count


def held_out_loss(data: fl.Names | fl.Text, validation: float, order: int, seed: int) -> float:
    """An n-gram's loss on the part of the data that a run of this seed holds out; names with their ends."""
    vocabulary = data.vocabulary()
    if isinstance(data, fl.Names):
        parts = [
            [[*vocabulary.encode(part.distinct[row]).tolist(), 0] for row in part.rows]
            for part in split_names(data, validation, seed)
        ]
    else:
        parts = [[np.asarray(part).tolist()] for part in split_text(data.ids(vocabulary)[:], validation)]
    return KneserNey(parts[0], vocabulary.size, order).loss(parts[1])


@click.command()
@click.argument("data", required=False)
@click.option("--as", "kind", type=click.Choice(["names", "text"]))
@click.option("--validation", default="0.1")
@click.option("--order", default=5)
@click.option("--seed", default=0)
def main(data: str | None, kind: str | None, validation: str, order: int, seed: int) -> None:
    """See above."""
    share = int(validation) if validation.isdigit() else float(validation)
    read = open_data(data, kind=kind)
    print(f"{order}-gram: {held_out_loss(read, share, order, seed):.4f} nats a character held out")


if __name__ == "__main__":
    main()
