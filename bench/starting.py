"""What a trained model brings: 300 American cities, cities.txt, from a model of names and from nothing.

    fastlstm train                                      a model of the embedded names: runs/names-1
    python bench/starting.py runs/names-1

For each seed the lowest held-out loss of both, on the same split. The numbers of steps are those that one minute, and
three, come to on two cores (`fastlstm train bench/cities.txt --as names --minutes 3` says); a run ends before them once
it has long been getting worse. `--rate` tries other learning rates than the default.
"""

from __future__ import annotations

import copy
from pathlib import Path

import click

import fastlstm as fl

PATIENCE = 300  # validations, each after an epoch


@click.command()
@click.argument("run")
@click.option("--data", default=str(Path(__file__).parent / "cities.txt"))
@click.option("--steps", default=6000, help="Of the trained model.")
@click.option("--scratch", default=19000, help="Of the new one; 0 leaves it out.")
@click.option("--rate", type=float, multiple=True)
@click.option("--seed", type=int, multiple=True, default=[0, 1, 2])
def main(
    run: str, data: str, steps: int, scratch: int, rate: tuple[float, ...], seed: tuple[int, ...]
) -> None:
    """Held-out loss of RUN's model trained further on a list of names, and of a new one."""
    names, trained = fl.read_names(data), fl.CharLM.load(run)
    for number in seed:
        for lr in rate or (None,):
            history = copy.deepcopy(trained).fit(names, steps=steps, lr=lr, patience=PATIENCE, seed=number)
            show(f"from {run}, seed {number}, lr {lr or 'by default'}", history)
        if scratch:
            history = fl.CharLM().fit(names, steps=scratch, patience=PATIENCE, seed=number)
            show(f"from nothing, seed {number}", history)


def show(what: str, history: fl.History) -> None:
    """The best loss, and the last."""
    last = history.records[-1].validation
    assert history.best is not None
    assert last is not None
    print(
        f"{what}: {history.best.loss:.4f} at step {history.best_step:,}; ended at step {history.steps:,} with "
        f"{last.loss:.4f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
