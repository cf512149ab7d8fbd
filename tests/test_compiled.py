"""Compiled code on disk: whatever happened to the files and their folder, what is run is sound."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import types
from numba.core.typing.templates import Signature

from fastlstm.engine.compiled import Entry
from fastlstm.engine.kernels.compile import kernel
from fastlstm.engine.signals import Signals, uncut
from fastlstm.engine.simd.memory import intrinsic

CODE = bytes(range(256)) * 40

DAMAGE: dict[str, Any] = {
    "emptied": lambda code: b"",
    "truncated": lambda code: code[: len(code) // 2],
    "short of a byte": lambda code: code[:-1],
    "longer by a byte": lambda code: code + b"\0",
    "a bit flipped": lambda code: code[:500] + bytes([code[500] ^ 4]) + code[501:],
    "noise": lambda code: random.Random(1).randbytes(len(code)),
    "zeros": lambda code: bytes(len(code)),
}


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    return Entry(tmp_path / "folder", "family", "version" * 9, "name")


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_as_good_as_none_and_is_replaced(entry: Entry, damage: str) -> None:
    assert entry.read() is None
    entry.write(CODE)
    assert entry.read() == CODE
    entry.path.write_bytes(DAMAGE[damage](entry.path.read_bytes()))
    assert entry.read() is None
    entry.write(CODE)
    assert entry.read() == CODE


def test_only_the_same_version_of_a_family_stays(entry: Entry) -> None:
    kept = [entry, entry._replace(name="other"), entry._replace(family="fam")]
    for one in [entry._replace(version="old"), *kept]:
        one.write(CODE)
    # One that was being written when its process was killed.
    (entry.folder / "family-old-name.0123456789abcdef").touch()
    entry.write(CODE)
    assert {path.name for path in entry.folder.iterdir()} == {one.path.name for one in kept}


def test_a_folder_that_takes_nothing_costs_a_word(entry: Entry) -> None:
    entry.folder.touch()
    with pytest.warns(UserWarning, match="cannot be kept in .*: every start compiles anew"):
        entry.write(CODE)
    assert entry.read() is None


# From one process to the next

SCRIPT = """
import numpy as np
from fastlstm.engine.kernels.compile import kernel

@kernel
def total(array):
    total = 0
    for number in array:
        total += number
    return total

assert total(np.arange(4)) == 6
print(sum(total.stats.cache_hits.values()))
"""


def begun(folder: Path, limit: int | None = None) -> subprocess.Popen[str]:
    """A process that needs one kernel, and may write files of `limit` bytes."""
    script = folder.parent / "script.py"
    script.write_text(SCRIPT)

    def limited() -> None:
        import resource

        if limit is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [sys.executable, script], env={**os.environ, "NUMBA_CACHE_DIR": str(folder)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=None if limit is None else limited,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Whether the kernel came from its file, and what was said."""
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return int(out), errors


def test_processes_share_sound_code_alone(tmp_path: Path) -> None:
    tmp_path /= "kept"
    # Two at once on an empty folder.
    both = [begun(tmp_path), begun(tmp_path)]
    assert [ended(process) for process in both] == [(0, ""), (0, "")]
    files = list(tmp_path.rglob("*.*"))
    assert [file.suffix for file in files] == [".code"]
    # Whoever may read the folder may read what is in it.
    (tmp_path / "new").touch()
    assert files[0].stat().st_mode == (tmp_path / "new").stat().st_mode
    for file in files:
        file.write_bytes(file.read_bytes()[:-100])
    assert ended(begun(tmp_path)) == (0, "")
    assert ended(begun(tmp_path)) == (1, "")


@pytest.mark.skipif(sys.platform == "win32", reason="limits on files' sizes")
def test_a_full_disk_means_compiling_for_this_process(tmp_path: Path) -> None:
    tmp_path /= "kept"
    hits, said = ended(begun(tmp_path, 3000))
    assert hits == 0
    assert said.count("File too large): every start compiles anew") == 1
    assert not list(tmp_path.rglob("*.*"))


# Signals


@intrinsic
def interrupted(typingctx: Any) -> tuple[Signature, Any]:
    """Is compiled just when somebody presses Ctrl-C."""
    signal.raise_signal(signal.SIGINT)
    return types.void(), lambda context, builder, signature, values: context.get_dummy_value()


@kernel
def one_more(array):
    interrupted()
    array[0] += 1


def test_an_interruption_waits_until_a_kernel_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Entry, "read", lambda entry: None
    )  # what an earlier run of this test has kept is not compiled
    array = np.zeros(1, np.int64)
    with pytest.raises(KeyboardInterrupt):
        one_more(array)
    assert len(one_more.overloads) == 1
    one_more(array)
    assert array[0] == 1


class Dropped:
    """An exception in `__del__` is printed and lost, as one in a callback from LLVM is."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


@pytest.mark.parametrize("failing", [False, True])
def test_no_signal_is_lost_where_an_exception_would_be(failing: bool) -> None:
    def block() -> None:
        with uncut():
            Dropped(signal.SIGINT)
            if failing:
                raise OSError

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        block()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_signal_is_not_held_back() -> None:
    with Signals(signal.SIGINT) as signals:
        signal.raise_signal(signal.SIGINT)
        assert signals.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
