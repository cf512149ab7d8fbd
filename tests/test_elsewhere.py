"""Other systems than this one: without what only Linux has, with their consoles, and with odd names of folders."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastlstm.benchmark import machine
from fastlstm.errors import FastLSTMError
from fastlstm.training import folders

TESTS = Path(__file__).parent
TAKEN_AWAY = os.pathsep.join([str(TESTS / "elsewhere"), str(TESTS.parent)])


def test_the_suite_without_what_only_linux_has() -> None:
    """By hand with every test: PYTHONPATH=tests/elsewhere python -X warn_default_encoding -m pytest."""
    chosen = [str(TESTS / f"test_{name}.py") for name in ("cores", "workers", "checkpoint", "cli_train")]
    command = [
        sys.executable,
        "-X",
        "warn_default_encoding",
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        *chosen,
    ]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": TAKEN_AWAY}, cwd=TESTS.parent, capture_output=True, text=True,
        encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


# Locks


class Msvcrt(SimpleNamespace):
    """Windows' locks, as far as a process meets its own."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        super().__init__(held=set())

    def locking(self, descriptor: int, mode: int, size: int) -> None:
        place = os.fstat(descriptor).st_ino
        if place in self.held:
            raise PermissionError(13, "Permission denied")
        self.held.add(place)


def test_a_lock_of_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", Msvcrt())
    with folders.lock(tmp_path), pytest.raises(FastLSTMError, match="in use by another training process"):
        folders.lock(tmp_path)


def test_a_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with folders.lock(tmp_path), folders.lock(tmp_path):
        pass


# Memory and names


def test_memory_by_each_systems_way(monkeypatch: pytest.MonkeyPatch) -> None:
    now, peak = machine.resident_memory(), machine.peak_memory()
    assert 1 << 24 < now <= peak < 1 << 38

    def nowhere(what: str) -> int:
        raise FileNotFoundError

    monkeypatch.setattr(machine, "linux_memory", nowhere)
    if sys.platform != "win32":
        assert now / 3 < machine.resident_memory() < 3 * now

    class Kernel:
        def __init__(self, name: str) -> None:
            assert name == "kernel32"

        @staticmethod
        def K32GetProcessMemoryInfo(process: Any, counters: Any, size: int) -> int:
            ctypes.memmove(counters, struct.pack("=II8Q", 72, 0, 300, 200, *range(6)), size)
            return 1

    monkeypatch.setattr(ctypes, "WinDLL", Kernel, raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    assert (machine.peak_memory(), machine.resident_memory()) == (300, 200)


def test_every_file_has_a_name_of_its_own_where_case_is_nothing() -> None:
    for folder in ("fastlstm", "tests", "bench", "scripts"):
        names = [
            str(path).lower()
            for path in (TESTS.parent / folder).rglob("*")
            if "__pycache__" not in path.parts
        ]
        assert len(set(names)) == len(names)
