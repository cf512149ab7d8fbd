"""How the advantage over a peer depends on hidden size and batch size: training steps, one table."""

from __future__ import annotations

import click

from fastlstm.benchmark.machine import cores
from fastlstm.benchmark.report import columns, speedup
from fastlstm.benchmark.run import Bench, Settings
from fastlstm.benchmark.shapes import Shape
from fastlstm.data.embedded import embedded_names


@click.command()
@click.option("--hidden", "-H", multiple=True, type=int, default=(32, 64, 128, 256, 512), show_default=True)
@click.option("--batch", "-B", multiple=True, type=int, default=(1, 8, 32, 128), show_default=True)
@click.option("--steps", "-T", default=32, show_default=True, help="Time steps of a sequence.")
@click.option("--embedding", "-E", default=64, show_default=True, help="0: one-hot input.")
@click.option("--characters", "-V", default=64, show_default=True)
@click.option("--peer", type=click.Choice(["numpy", "torch", "jax"]), default="torch", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="Most threads for both [all cores].")
def main(
    hidden: tuple[int, ...],
    batch: tuple[int, ...],
    steps: int,
    embedding: int,
    characters: int,
    peer: str,
    threads: int | None,
) -> None:
    """Print how many times as fast as the peer a training step is, for every hidden size and batch size."""
    settings = Settings(("training",), threads or cores(), peers=(peer,))
    rows = [[f"times as fast as {peer}", *(f"B {B}" for B in batch)]]
    with Bench(settings, embedded_names(), lambda text: click.echo(text, err=True)) as bench:
        for H in hidden:
            cells = []
            for B in batch:
                shape = Shape(f"H{H}-B{B}", steps, B, embedding, H, characters, "of a sweep")
                best = bench.measure(shape, "training").best()
                cells.append(speedup(best[peer])[0] if peer in best else "–")
            rows.append([f"H {H}", *cells])
    click.echo(columns(rows))


if __name__ == "__main__":
    main()
