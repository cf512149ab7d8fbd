"""Draw the chart of a recorded benchmark: `python scripts/plot_bench.py bench.json bench.png`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from fastlstm.benchmark.plot import plot


@click.command()
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("picture", type=click.Path(dir_okay=False, path_type=Path))
def main(results: Path, picture: Path) -> None:
    """Draw RESULTS, a file of `fastlstm bench --json`, as PICTURE (.png, .svg or .pdf)."""
    plot(json.loads(results.read_text(encoding="utf-8")), picture)


if __name__ == "__main__":
    main()
