"""The grid behind the defaults for few names: python bench/few_names.py NAMES

For training sets of several sizes, each with 1,000 other names held out, it prints the 5-gram's loss and, for each setting,
the best and the last validation loss in nats a character (runs stop early). Runs go by steps, so that nothing depends on the
machine's speed.
"""

from __future__ import annotations

import random
from itertools import product

import click
from ngram import held_out_loss

import fastlstm as fl
from fastlstm.training.options import Options
from fastlstm.training.session import Session, train

NOISE = {"dropout 0.2, decay 0.01": (0.2, 0.01), "dropout 0.5, decay 0.1": (0.5, 0.1)}
# Size of the training set -> (units, batch, steps).
GRID = {
    180: [(256, 32, 150), (256, 32, 300), (256, 128, 150), (128, 32, 150), (128, 32, 300), (128, 128, 150)],
    1000: [(256, 64, 300), (128, 64, 300), (128, 64, 600), (128, 32, 600), (256, 32, 400), (64, 32, 600)],
    4000: [(256, 64, 600), (128, 64, 900)],
}
HELD_OUT = 1000


@click.command()
@click.argument("names")
@click.option("--seed", default=1)
def main(names: str, seed: int) -> None:
    """See above."""
    pool = sorted(set(fl.read_names(names).distinct))
    for size, settings in GRID.items():
        data = fl.Names(random.Random(seed).sample(pool, size + HELD_OUT))
        print(f"{size} names: 5-gram {held_out_loss(data, HELD_OUT, 5, seed):.4f}")
        for (hidden, batch, steps), (noise, (dropout, decay)) in product(settings, NOISE.items()):
            options = Options(
                hidden=hidden, batch_size=batch, steps=steps, dropout=dropout, weight_decay=decay,
                validation=HELD_OUT, validate_every=max(10, steps // 8), seed=seed,
            )  # fmt: skip
            losses = [r.validation.loss for r in train(Session(data, options)) if r.validation]
            print(
                f"  {hidden} units, {steps} × {batch}, {noise}: best {min(losses):.4f}, end {losses[-1]:.4f}"
            )


if __name__ == "__main__":
    main()
