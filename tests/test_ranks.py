"""Several ranks train as one process does, end together whatever happens, and go on in another number."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import ranks_program
from ranks_program import VARIANTS, run
from small_runs import some_names, write_data

from fastlstm.charlm import CharLM
from fastlstm.data.batching import NameBatches, Part
from fastlstm.data.names import Names
from fastlstm.data.streams import TextStreams
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.network.architecture import Architecture
from fastlstm.network.model import Network
from fastlstm.training.launchers import LAUNCHERS, launched
from fastlstm.training.model_file import load_arrays
from fastlstm.training.ranks import ALONE

MPIEXEC = shutil.which(
    "mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
)
needs_mpi = pytest.mark.skipif(
    not (MPIEXEC and find_spec("mpi4py")) and not os.environ.get("FASTLSTM_REQUIRE_MPI"),
    reason="needs mpi4py and mpiexec",
)


def together(ranks: int, *words: str, **options) -> subprocess.CompletedProcess[str]:
    """Run a Python program on so many ranks."""
    environment = {**os.environ, **options.pop("env", {})}
    return subprocess.run(
        [MPIEXEC, "-n", str(ranks), sys.executable, *words],
        capture_output=True, text=True, timeout=300, env=environment, **options,
    )  # fmt: skip


# Dealing


NAMES = Names(["bo", "anna", "eve", "maximilian", "al", "robert", "x"])


@pytest.mark.parametrize("of", [2, 3, 4, 9])
def test_names_are_dealt_once_and_by_their_characters(of):
    vocabulary = Vocabulary.from_texts(NAMES, boundary=True)
    (whole,) = NameBatches(NAMES, vocabulary, 7).ordered()
    rows, counts = [], []
    for number in range(of):
        (batch,) = NameBatches(NAMES, vocabulary, 7, part=Part(number, of)).ordered()
        share = batch.share
        assert share.whole == whole.lengths.sum()
        assert share.start.tolist() == [
            0,
            *np.cumsum((np.arange(len(whole.ids))[:, None] < whole.lengths).sum(1)),
        ]
        assert batch.ids.tolist() == whole.ids[: len(batch.ids), share.rows].tolist()
        assert batch.targets.tolist() == whole.targets[: len(batch.ids), share.rows].tolist()
        assert batch.lengths.tolist() == whole.lengths[share.rows].tolist()
        rows += share.rows.tolist()
        counts.append(int(batch.lengths.sum()))
    assert sorted(rows) == list(range(7))
    assert max(counts) <= max(whole.lengths[0], -(-whole.lengths.sum() // of) + whole.lengths[-1])


@pytest.mark.parametrize("of", [2, 3, 7])
def test_streams_are_dealt_once_and_in_order(of):
    ids = np.arange(101)
    whole = TextStreams(ids, 5, 6)
    parts = [TextStreams(ids, 5, 6, Part(number, of)) for number in range(of)]
    for index in range(whole.windows):
        windows = [part.window(index) for part in parts]
        assert np.concatenate([w.ids for w in windows], 1).tolist() == whole.window(index).ids.tolist()
        assert (
            np.concatenate([w.targets for w in windows], 1).tolist() == whole.window(index).targets.tolist()
        )
        assert np.concatenate([w.share.rows for w in windows]).tolist() == list(range(5))
        assert {w.share.whole for w in windows} == {whole.window(index).ids.size}


@pytest.mark.parametrize("key", [None, 5])
def test_shares_of_the_gradients_add_up(key):
    """Loss, hits and gradients of a batch are the sums of its shares'; dropout falls on the same elements."""
    vocabulary = Vocabulary.from_texts(NAMES, boundary=True)
    a = Architecture(vocabulary.size, 6, 4, 2, 0.4, 0.3, learned_state=True, dtype="float64")
    network = Network(a, seed=1)
    (whole,) = NameBatches(NAMES, vocabulary, 7).ordered()
    expected, _ = network.backward(whole.ids, whole.targets, whole.lengths, dropout_key=key)
    gradients = network.gradients.copy()
    sums, total = np.zeros(3), np.zeros_like(gradients.flat)
    for number in range(3):
        (batch,) = NameBatches(NAMES, vocabulary, 7, part=Part(number, 3)).ordered()
        mine, _ = network.backward(
            batch.ids, batch.targets, batch.lengths, dropout_key=key, share=batch.share
        )
        sums += mine.loss, mine.correct, mine.count
        total += network.gradients.flat
    np.testing.assert_allclose(sums, [expected.loss, expected.correct, expected.count], rtol=1e-14)
    np.testing.assert_allclose(total, gradients.flat, rtol=1e-11, atol=1e-15)


# Over MPI


@cache
def alone(variant: str) -> dict:
    return json.loads(json.dumps(run(variant, ALONE)))


@cache
def on(ranks: int) -> dict:
    done = together(ranks, ranks_program.__file__)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_mpi
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_a_run_on_several_ranks_is_the_run_on_one(ranks, variant):
    one, several = alone(variant), on(ranks)[variant]
    close = 1e-5 if variant != "float32" else 1e-3
    assert several["characters"] == one["characters"]
    assert len(several["validation"]) == len(one["validation"])
    for of in ("losses", "norms", "train", "validation"):
        np.testing.assert_allclose(several[of], one[of], rtol=close, atol=close)


@needs_mpi
def test_the_same_ranks_give_the_same_bytes_again():
    again = json.loads(together(3, ranks_program.__file__).stdout)
    assert again == on(3)


# The command


MAIN = "from fastlstm.commands.cli import main; main()"
SMALL = [
    "--hidden",
    "8",
    "--embedding",
    "4",
    "--batch-size",
    "4",
    "--window",
    "8",
    "--seed",
    "2",
    "--dtype",
    "float64",
    "--dropout",
    "0.2",
]


def train_on(ranks: int, folder: Path, *words: str, first: str = "") -> subprocess.CompletedProcess[str]:
    """`fastlstm train` on so many ranks in a folder; `first` is run before on each of them, which knows its `rank`."""
    program = f"import os; rank = int(os.environ['PMI_RANK']); {first}\n{MAIN}"
    return together(ranks, "-c", program, "train", *words, cwd=folder)


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines of our own on standard error."""
    return [line for line in done.stderr.splitlines() if line and not line.startswith(("=", "[mpiexec", "["))]


@needs_mpi
def test_a_run_stopped_on_two_ranks_goes_on_with_three_and_with_one(tmp_path):
    """Carried states are dealt anew; what is left in the end is the run of one process."""
    data = write_data(tmp_path, "text")
    words = [str(data), *SMALL, "--steps", "60", "--validate-every", "20", "--log-every", "5"]
    whole = subprocess.run(
        [sys.executable, "-c", MAIN, "train", *words, "--out", "one"], cwd=tmp_path, capture_output=True
    )
    assert whole.returncode == 0, whole.stderr
    stop = (
        "import signal; from fastlstm.training.session import Session; record = Session.record\n"
        "def stopping(self, metrics, rate):\n"
        "    if self.position.step in (23, 44) and rank == {by}: signal.raise_signal(signal.SIGINT)\n"
        "    return record(self, metrics, rate)\n"
        "Session.record = stopping"
    )
    for ranks, by, more in ((2, 1, [*words, "--out", "many"]), (3, 0, ["--resume", "many"])):
        done = train_on(ranks, tmp_path, *more, first=stop.format(by=by))
        assert done.returncode == 130, done.stderr
        (line,) = said(done)
        assert "all saved; go on with: fastlstm train --resume many" in line
        assert f"{ranks} ranks on 1 machine, " in done.stdout
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "train", "--resume", "many"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    one, many = (load_arrays(tmp_path / out / "checkpoint.safetensors") for out in ("one", "many"))
    for name, array in one[0].items():
        np.testing.assert_allclose(many[0][name], array, rtol=1e-6, atol=1e-8, err_msg=name)
    rows = [
        [row.split(",")[:9] for row in (tmp_path / out / "metrics.csv").read_text().splitlines()]
        for out in ("one", "many")
    ]
    assert [row[0] for row in rows[0]] == [row[0] for row in rows[1]]


FAILURES = {
    "a file that one rank lacks": ("rank and os.chdir('/')", "t.txt", "rank 1 on .*: t.txt: there is no such file"),
    "another file on one rank": (
        "rank and (os.mkdir('other'), os.chdir('other'), open('t.txt', 'w').write('abc' * 400))",
        "t.txt", "t.txt: the data of rank 1 on .* differ from those of rank 0",
    ),
    "standard input": ("", "-", "standard input reaches one rank alone"),
    "a wrong option": ("", "--hidden 0", "hidden is 0"),
    "a wrong command line": ("", "--hidden x", "'--hidden': 'x' is not a valid integer"),
    "an impossible network": ("", "--tied --embedding 3", "a tied output matrix needs embedding = hidden"),
    "no such run": ("", "--resume nowhere", "nowhere holds no checkpoint"),
    "a run that diverges": ("", "--optimizer sgd --lr 1e9 --clip-norm 0", "train again with a lower lr"),
    "a full disk": (
        "import fastlstm.training.runs as runs\n"
        "def full(*_): raise OSError(28, 'No space left on device', 'checkpoint.safetensors')\n"
        "runs.save_arrays = full", "", "checkpoint.safetensors: No space left on device",
    ),
    "no memory on one rank": (
        "from fastlstm.training.session import Session\n"
        "def out(*_): raise MemoryError\n"
        "if rank: Session.record = out", "", "rank 1 on .*: fastlstm: not enough memory",
    ),
    "weights that differ": (
        "from fastlstm.training.session import Session; validate = Session.validate\n"
        "def flipped(self, record):\n"
        "    if rank: self.network.parameters.flat[0] += 1e-7\n"
        "    return validate(self, record)\n"
        "Session.validate = flipped", "--validate-every 9", "the parameters after step 9 of rank 1 on .* differ",
    ),
}  # fmt: skip


@needs_mpi
@pytest.mark.parametrize("failure", FAILURES)
def test_whatever_fails_all_ranks_end_and_the_reason_is_said_once(failure, tmp_path):
    first, words, reason = FAILURES[failure]
    write_data(tmp_path, "text").rename(tmp_path / "t.txt")
    begun = time.monotonic()
    named = (
        words.split() if words.startswith(("t.txt", "-")) and "--" not in words else ["t.txt", *words.split()]
    )
    if words == "-":
        named = ["-", "--as", "text"]
    done = train_on(
        2, tmp_path, *named, *([] if "--hidden" in words or "--resume" in words else SMALL), first=first
    )
    assert done.returncode in (1, 2)
    assert time.monotonic() - begun < 60
    (line,) = said(done)
    assert re.search(reason, line), line


@needs_mpi
def test_a_killed_rank_ends_all_and_the_others_go_on_from_the_checkpoint(tmp_path):
    write_data(tmp_path, "text").rename(tmp_path / "t.txt")
    kill = (
        "import signal, time; from fastlstm.training.session import Session; record = Session.record\n"
        "def killed(self, metrics, rate):\n"
        "    if self.position.step == 33 and rank == 2: print(time.time(), file=open('when', 'w')); os.kill(os.getpid(), 9)\n"
        "    return record(self, metrics, rate)\n"
        "Session.record = killed"
    )
    words = ["t.txt", *SMALL, "--steps", "50", "--checkpoint-every", "10", "--out", "run"]
    done = train_on(3, tmp_path, *words, first=kill)
    ended = time.time()
    assert done.returncode != 0
    assert ended - float((tmp_path / "when").read_text()) < 10
    done = train_on(2, tmp_path, "--resume", "run")
    assert done.returncode == 0, done.stderr
    assert "going on with run at step 31 of 50" in done.stdout


@needs_mpi
def test_minutes_are_measured_together(tmp_path):
    done = train_on(2, tmp_path, *SMALL, "--minutes", "0.02", "--out", "run")
    assert done.returncode == 0, done.stderr
    assert "best at step" in done.stdout


@needs_mpi
def test_fit_takes_a_communicator(tmp_path):
    program = (
        "import sys, hashlib; sys.path[:0] = ['{tests}']\n"
        "from mpi4py import MPI; from small_runs import some_names; import fastlstm as fl\n"
        "lm = fl.CharLM(hidden=8, embedding=4, seed=1, dtype='float64')\n"
        "history = lm.fit(some_names(), steps=40, comm=MPI.COMM_WORLD, out='run')\n"
        "digest = hashlib.sha1(lm.network.parameters.flat).hexdigest()\n"
        "every = MPI.COMM_WORLD.gather((digest, history.best))\n"
        "if every: print(len(set(every)), history.best.loss)"
    )
    done = together(2, "-c", program.format(tests=Path(__file__).parent), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    different, loss = done.stdout.split()
    lm = CharLM(hidden=8, embedding=4, seed=1, dtype="float64")
    assert float(loss) == pytest.approx(lm.fit(some_names(), steps=40).best.loss, rel=1e-9)
    assert different == "1"
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_without_mpi4py_one_rank_says_so(tmp_path):
    (tmp_path / "mpi4py.py").write_text("raise ImportError('no such library')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    for number, lines in (("0", 1), ("1", 0)):
        done = subprocess.run(
            [sys.executable, "-c", MAIN, "train"],
            env={**os.environ, "PMI_RANK": number, "PMI_SIZE": "4", "PYTHONPATH": path},
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 1
        assert len(said(done)) == lines
        assert done.stderr.count("4 processes were started, which train together over mpi4py") == lines


@needs_mpi
def test_an_mpi_that_sees_fewer_processes_is_refused(tmp_path):
    environment = {**os.environ, "OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "train"], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "2 processes were started, of which mpi4py sees 1" in done.stderr


def test_alone_nothing_of_mpi_is_imported():
    program = "import sys; from fastlstm.training.ranks import ALONE, world; print(world(), 'mpi4py' in sys.modules, ALONE.part)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == ["None", "False"]


def test_launchers_are_recognised(monkeypatch):
    for name in (name for pair in LAUNCHERS for name in pair):
        monkeypatch.delenv(name, raising=False)
    assert launched() == (0, 1)
    for number, count in LAUNCHERS:
        with monkeypatch.context() as patch:
            patch.setenv(number, "2")
            assert launched() == (0, 1)
            patch.setenv(count, "1")
            assert launched() == (0, 1)
            patch.setenv(count, "4")
            assert launched() == (2, 4)
