"""One setting after another against the defaults: python bench/settings.py DATA --base OPTIONS --try OPTIONS…

OPTIONS are as Python has them, "hidden=256,precision=bf16,steps=2800". For the base alone and with each trial's changes it
prints the best and the last validation loss and the last training loss, in nats a character. Runs go by steps and to their
end, so that nothing depends on the machine's speed; `--json FILE` keeps what was printed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from fastlstm.data.opening import open_data
from fastlstm.training.options import Options
from fastlstm.training.session import Session, train


def parsed(words: str) -> dict[str, Any]:
    """Keywords from "name=value,name=value"; values are JSON, or else strings.

    >>> parsed("hidden=256,precision=bf16,lr=5e-3")
    {'hidden': 256, 'precision': 'bf16', 'lr': 0.005}
    """
    found = {}
    for name, _, value in (word.partition("=") for word in words.split(",") if word):
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


@click.command()
@click.argument("data", required=False)
@click.option("--as", "kind", type=click.Choice(["names", "lines", "text"]))
@click.option("--base", default="", help="What all runs have.")
@click.option("--try", "trials", multiple=True, help="What one run changes.")
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path))
def main(data: str | None, kind: str | None, base: str, trials: tuple[str, ...], target: Path | None) -> None:
    """See above."""
    read, results = open_data(data, kind=kind), []
    for trial in ("", *trials):
        options = Options.of({"patience": 0, **parsed(base), **parsed(trial)})
        records = [r for r in train(Session(read, options)) if r.validation]
        best = min(records, key=lambda record: record.validation.loss)
        result = {
            "base": base, "trial": trial, "best": best.validation.loss, "best_step": best.step,
            "last": records[-1].validation.loss, "last_step": records[-1].step, "trained": records[-1].train.loss,
        }  # fmt: skip
        results.append(result)
        click.echo(
            f"{trial or 'base'}: best {result['best']:.4f} at step {best.step:,}, last {result['last']:.4f}, "
            f"trained on {result['trained']:.4f}"
        )
    if target:
        target.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
