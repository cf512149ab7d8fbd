"""The fault campaign: runs that are killed, interrupted, out of disk or fought over are never lost.

    python scripts/faults.py --kills 500
    python scripts/faults.py --kills 20 --seed 7 --tmpfs        (as root: full and read-only disks as well)

Every run is ended at random moments and resumed until it is done, and must then hold the bytes of one that was left
alone. What is tried: SIGKILL, SIGTERM and Ctrl-C (also twice in a row), a disk that fills up, a folder that can only be
read, two processes on one run.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import NoReturn

from fastlstm.commands import cli
from fastlstm.training.model_file import load_arrays

SIZES = "--hidden 16 --embedding 8 --batch-size 4 --window 8 --threads 1 --dropout 0.2 --log-every 7"
TIMES = ("characters_per_second", "seconds")  # columns that two equal runs need not share
KINDS = ("names", "text")
LIMIT = 300.0  # seconds for one process


class Lost(Exception):
    """A run is gone, or ends otherwise than it should."""


class Command:
    """`fastlstm train WORDS` in a process forked from this one, which has all code loaded: it trains at once."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115, for the process's life
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            self._run(folder, words)

    def _run(self, folder: Path, words: tuple[str, ...]) -> NoReturn:
        code = 99
        try:
            os.chdir(folder)
            sys.stdout, sys.stderr = open(os.devnull, "w"), self.said  # noqa: SIM115
            cli.main(["train", *words], prog_name="fastlstm")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 98
        except BaseException:
            traceback.print_exc()
        finally:
            self.said.flush()
            os._exit(code)

    def poll(self) -> int | None:
        """The exit code, negative after a signal; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def send(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def end(self) -> str:
        """Wait for it; what it said on standard error: nothing, or a line."""
        until = time.monotonic() + LIMIT
        while self.poll() is None:
            if time.monotonic() > until:
                self.send(signal.SIGKILL)
                raise Lost(f"{LIMIT:g} seconds were not enough")
            time.sleep(0.003)
        self.said.seek(0)
        said = self.said.read().strip()  # Click closes the terminal's line of ^C
        if self.returncode in (98, 99) or "Traceback" in said or "\n" in said:
            raise Lost(f"exit code {self.returncode} with {said!r}")
        return said


def words(kind: str, steps: int) -> list[str]:
    """A training of a second or so, with checkpoints and validations all the time."""
    often = f"--steps {steps} --checkpoint-every 5 --validate-every 15"
    return [f"{kind}.txt", "--as", kind, "--out", "run", *SIZES.split(), *often.split()]


def write_data(folder: Path, kind: str) -> None:
    rng = random.Random(kind)
    names = [
        "".join(rng.choices(["an", "na", "be", "lo", "mi", "ra"], k=rng.randint(1, 4))) for _ in range(80)
    ]
    (folder / f"{kind}.txt").write_text("\n".join(names * (1 if kind == "names" else 9)) + "\n", "utf-8")


def left(run: Path) -> tuple[object, ...]:
    """What a finished run holds that must not differ from another's."""
    lines = [line.split(",") for line in (run / "metrics.csv").read_text("utf-8").splitlines()]
    skipped = [lines[0].index(column) for column in TIMES]
    rows = [[cell for i, cell in enumerate(line) if i not in skipped] for line in lines]
    arrays, facts = load_arrays(run / "checkpoint.safetensors")
    position = {name: value for name, value in facts["position"].items() if "seconds" not in name}
    if hidden := [path.name for path in run.iterdir() if path.name.startswith(".") and path.name != ".lock"]:
        raise Lost(f"{hidden} stayed in the finished run")
    tensors = {name: array.tobytes() for name, array in arrays.items()}
    return (run / "model.safetensors").read_bytes(), tensors, position, rows


class Campaign:
    """The whole runs to compare with, and counts of what was tried."""

    def __init__(self, folder: Path, rng: random.Random, steps: int) -> None:
        self.folder, self.rng, self.steps = folder, rng, steps
        self.done: Counter[str] = Counter()
        self.whole: dict[str, tuple[object, ...]] = {}
        self.seconds: dict[str, float] = {}
        for kind in KINDS:
            with self.room(kind) as room:
                self.load(room, kind)
                started = time.monotonic()
                Command(room, *words(kind, steps)).end()
                self.seconds[kind] = time.monotonic() - started
                self.whole[kind] = left(room / "run")

    def load(self, room: Path, kind: str) -> None:
        """Have all code compiled and loaded in this process."""
        with redirect_stdout(io.StringIO()), chdir(room), suppress(SystemExit):
            cli.main(["train", *words(kind, 20)], prog_name="fastlstm")
        shutil.rmtree(room / "run")

    @contextmanager
    def room(self, kind: str) -> Iterator[Path]:
        """A folder with the data, and nothing else."""
        room = Path(tempfile.mkdtemp(dir=self.folder))
        write_data(room, kind)
        yield room
        shutil.rmtree(room)

    def command(self, room: Path, kind: str) -> list[str]:
        """What goes on with the run, or begins it where there is none yet."""
        if (room / "run" / "checkpoint.safetensors").exists():
            return ["--resume", "run"]
        return words(kind, self.steps)

    def finish(self, room: Path, kind: str, how: str) -> None:
        """Let the run come to its end, and compare."""
        process = Command(room, *self.command(room, kind))
        said = process.end()
        if process.returncode or said:
            raise Lost(f"after {how} the run does not go on: {process.returncode}, {said!r}")
        if left(room / "run") != self.whole[kind]:
            raise Lost(f"after {how} the run ends with other bytes")

    def interrupted(self, number: int, times: int) -> None:
        """One run that is ended by signals at random moments, from its very start to its end."""
        kind, how = self.rng.choice(KINDS), signal.Signals(number).name
        with self.room(kind) as room:
            for _ in range(times):
                process = Command(room, *self.command(room, kind))
                time.sleep(self.rng.uniform(0, 0.12 * self.seconds[kind]))
                while process.poll() is None:
                    process.send(number)
                    if number == signal.SIGKILL or self.rng.random() < 0.7:
                        break
                    time.sleep(self.rng.uniform(0, 0.05))
                said = process.end()
                if (
                    number == signal.SIGTERM
                    and process.returncode == 128 + number
                    and "go on with" not in said
                ):
                    raise Lost(f"{how} was answered by {said!r}")
                if not process.returncode:
                    break
                self.done[how] += 1
            self.finish(room, kind, how)
            self.done["runs"] += 1

    def fought_over(self) -> None:
        """Several processes on one run: one trains, the others say so, and the bytes are right."""
        kind = self.rng.choice(KINDS)
        with self.room(kind) as room:
            first = Command(room, *words(kind, self.steps))
            while not (room / "run" / "checkpoint.safetensors").exists() and first.poll() is None:
                time.sleep(0.01)
            first.send(signal.SIGKILL)
            first.end()
            several = [Command(room, *self.command(room, kind)) for _ in range(3)]
            for process in several:
                said = process.end()
                if process.returncode and "in use by another" not in said:
                    raise Lost(f"one of three processes on a run said {said!r}")
            self.finish(room, kind, "three processes at once")
            self.done["fought over"] += 1

    def full_disk(self) -> None:
        """A small disk that fills up while the run is trained, and is emptied again."""
        kind = self.rng.choice(KINDS)
        with self.room(kind) as room, mounted(room, f"size={self.rng.randint(30, 200)}k"):
            write_data(room, kind)
            process = Command(room, *words(kind, self.steps))
            time.sleep(self.rng.uniform(0.1, 0.6) * self.seconds[kind])
            filler = room / "filler"
            with suppress(OSError):
                filler.write_bytes(bytes(1 << 20))
            said = process.end()
            if process.returncode and "No space left" not in said:
                raise Lost(f"a full disk was answered by {said!r}")
            filler.unlink()
            subprocess.run(["mount", "-o", "remount,size=4m", str(room)], check=True)
            self.finish(room, kind, "a full disk")
            self.done["full disk" if process.returncode else "room enough"] += 1

    def read_only(self) -> None:
        """A disk that turns read-only in mid-run."""
        kind = self.rng.choice(KINDS)
        with self.room(kind) as room, mounted(room, "size=4m"):
            write_data(room, kind)
            process = Command(room, *words(kind, self.steps))
            time.sleep(self.rng.uniform(0.1, 0.6) * self.seconds[kind])
            # Refused while a file is open for writing: the run's own metrics.csv; then the start is what is tried.
            remounted = subprocess.run(
                ["mount", "-o", "remount,ro", str(room)], capture_output=True
            ).returncode
            if remounted:
                process.send(signal.SIGKILL)
                process.end()
                subprocess.run(["mount", "-o", "remount,ro", str(room)], check=True)
                process = Command(room, *self.command(room, kind))
            said = process.end()
            if process.returncode and "Read-only" not in said:
                raise Lost(f"a read-only disk was answered by {said!r}")
            subprocess.run(["mount", "-o", "remount,rw", str(room)], check=True)
            self.finish(room, kind, "a read-only disk")
            self.done["read-only disk"] += 1


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A disk in memory at `folder`."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20, help="how many SIGKILLs; the rest goes along")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--tmpfs", action="store_true", help="full and read-only disks too; needs mount")
    given = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder), random.Random(given.seed), given.steps)
        while campaign.done["SIGKILL"] < given.kills:
            campaign.interrupted(signal.SIGKILL, 25)
            for number in (signal.SIGTERM, signal.SIGINT):
                campaign.interrupted(number, 3)
            campaign.fought_over()
            if given.tmpfs:
                campaign.full_disk()
                campaign.read_only()
            counts = ", ".join(f"{what} {count:,}" for what, count in sorted(campaign.done.items()))
            print(f"{time.monotonic() - started:,.0f} s: {counts}; nothing lost", flush=True)


if __name__ == "__main__":
    main()
