"""Train on a synthetic text larger than the memory that the process may have, and time it against reading the file.

    python scripts/check_large_text.py [--bytes 4000000000] [--memory 512] [--folder /tmp]

Memory is limited by RLIMIT_DATA: all that is private and writable counts, touched or not; mapped files do not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

TRAIN = """
import resource, sys, time
started = time.perf_counter()
limit = int(sys.argv[1]) << 20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
from fastlstm.data.opening import open_data
from fastlstm.training.folders import claimed, ids_file
from fastlstm.training.options import Options
from fastlstm.training.runs import Run
from fastlstm.training.session import Session
options = Options(steps=50, validation=100_000, validate_every=50, threads=1)
with claimed(sys.argv[3], sys.argv[2]) as place:
    read = open_data(sys.argv[2], keep=ids_file(sys.argv[2], options, place.folder), **options.reading)
    opened = time.perf_counter() - started
    run = Run.begin(Session(read, options), sys.argv[2], place)
with run:
    for record in run.follow():
        if record.step == 1:
            first = time.perf_counter() - started
status = dict(line.split(":") for line in open("/proc/self/status"))
print(f"open {opened:.1f} s, first step {first:.1f} s, loss {record.smoothed:.3f} after {record.step} steps; "
      f"anonymous memory {int(status['RssAnon'].split()[0]) >> 10} MB, VmData {int(status['VmData'].split()[0]) >> 10} MB")
"""


def write_text(path: Path, size: int) -> None:
    """Made-up words in lines, words and letters by Zipf's law, with a few characters beyond ASCII."""
    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlcumwfgypbvkjxqzäéß"))
    frequent = 1 / np.arange(1, 1 + len(letters))
    frequent /= frequent.sum()
    words = ["".join(rng.choice(letters, rng.integers(2, 9), p=frequent)) for _ in range(5000)]
    block = " ".join(words[i % 5000] for i in rng.zipf(1.2, 3_000_000) % 100_000)
    data = block.replace(" e", "\n").encode()
    with open(path, "wb") as file:
        for _ in range(-(-size // len(data))):
            file.write(data)


def forget(path: Path) -> None:
    """Put the file out of the system's cache."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(path: Path) -> float:
    """Seconds of one sequential read."""
    started = time.perf_counter()
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass
    return time.perf_counter() - started


@click.command()
@click.option("--bytes", "size", default=4_000_000_000, show_default=True)
@click.option("--memory", default=512, show_default=True, help="MB.")
@click.option("--folder", default=tempfile.gettempdir(), show_default=True)
def main(size: int, memory: int, folder: str) -> None:
    """Make the text, read it, train on it from cold and from warm files, and delete it."""
    place = Path(tempfile.mkdtemp(dir=folder))
    try:
        text = place / "large.txt"
        write_text(text, size)
        for warmth in ("cold", "warm"):
            if warmth == "cold":
                forget(text)
            click.echo(f"{warmth}: {text.stat().st_size:,} bytes, one sequential read {read(text):.1f} s")
            if warmth == "cold":
                forget(text)
            for out in ("cold", "warm"):
                words = [sys.executable, "-c", TRAIN, str(memory), str(text), str(place / f"{warmth}-{out}")]
                click.echo(
                    f"  {subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()}"
                )
                if out == "cold":
                    ids = place / f"{warmth}-{out}" / "text.ids"
                    forget(ids)
                    click.echo(f"  ids: {ids.stat().st_size:,} bytes")
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
