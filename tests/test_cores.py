"""How many cores a process may use, as Linux, macOS, Windows and control groups tell it."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from fastlstm.engine import cores


def board(folder: Path, siblings: list[str], capacities: list[int] | None = None) -> None:
    """What Linux says of its processors, as files: which are one core, and how fast each is."""
    for cpu, together in enumerate(siblings):
        place = folder / f"cpu{cpu}"
        (place / "topology").mkdir(parents=True)
        # As on boards that are described by a device tree: numbered anew in every cluster, all in one package.
        (place / "topology" / "core_id").write_text(f"{cpu % 2}\n")
        (place / "topology" / "physical_package_id").write_text("0\n")
        (place / "topology" / "thread_siblings_list").write_text(f"{together}\n")
        if capacities:
            (place / "cpu_capacity").write_text(f"{capacities[cpu]}\n")


RK3588 = [str(cpu) for cpu in range(8)], [397] * 4 + [1024] * 4
SMT = ["0,4", "1,5", "2-3", "2-3", "0,4", "1,5"], None


@pytest.mark.parametrize(
    ("siblings", "capacities", "allowed", "expected"),
    [
        (*SMT, range(6), 3),
        (*SMT, {0, 4}, 1),
        (*SMT, {1, 2, 3}, 2),
        (*RK3588, range(8), 4),
        (*RK3588, {0, 1, 2}, 3),
        (*RK3588, {0, 1, 7}, 1),
        # A big core, its three near equals and four small ones.
        ([str(cpu) for cpu in range(8)], [250] * 4 + [900] * 3 + [1024], range(8), 4),
        # A system that says nothing.
        ([], None, {3, 5}, 2),
    ],
)
def test_linux(
    siblings: list[str], capacities: list[int] | None, allowed: Any, expected: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    board(tmp_path, siblings, capacities)
    monkeypatch.setattr(cores, "CPUS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(allowed), raising=False)
    assert cores.linux_cores() == expected


def test_a_system_without_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "CPUS", tmp_path)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert cores.linux_cores() == 3


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({b"hw.perflevel0.physicalcpu": 4, b"hw.perflevel1.physicalcpu": 6, b"hw.physicalcpu": 10}, 4),
        ({b"hw.physicalcpu": 2}, 2),
        ({}, 0),
    ],
)
def test_macos(known: dict[bytes, int], expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class System:
        @staticmethod
        def sysctlbyname(name: bytes, value: Any, size: Any, new: None, length: Any) -> int:
            if name not in known:
                return -1
            ctypes.memmove(value, struct.pack("=i", known[name]), 4)
            return 0

    monkeypatch.setattr(ctypes, "CDLL", lambda name: System)
    assert cores.macos_cores() == expected


def record(mask: int, efficiency: int = 0, group: int = 0, groups: int = 1) -> bytes:
    """A SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX of one core, as a C compiler lays it out."""
    affinities = struct.pack("<QH6x", mask, group) * groups
    return struct.pack("<IIBB20xH", 0, 32 + len(affinities), 0, efficiency, groups) + affinities


@pytest.mark.parametrize(
    ("records", "affinity", "expected"),
    [
        ([record(0b11), record(0b1100)], 0b1111, 2),
        ([record(0b11), record(0b1100)], 0b0010, 1),
        # Two performance cores of two threads each and four efficiency cores.
        ([record(3, 1), record(12, 1), *(record(16 << n) for n in range(4))], 0xFF, 2),
        ([record(3, 1), record(12, 1), *(record(16 << n) for n in range(4))], 0xF0, 4),
        # Two groups: of one, and of whichever.
        ([record(3), record(12), record(3, group=1)], 0xF, 2),
        ([record(3), record(12), record(3, group=1, groups=2)], 0, 3),
        ([], 1, 0),
    ],
)
def test_windows(records: list[bytes], affinity: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Kernel:
        def __init__(self, name: str) -> None:
            assert name == "kernel32"

        @staticmethod
        def GetProcessAffinityMask(process: Any, own: Any, system: Any) -> int:
            ctypes.memmove(own, struct.pack("=Q", affinity), 8)
            return 1

        @staticmethod
        def GetLogicalProcessorInformationEx(kind: int, buffer: Any, size: Any) -> int:
            contents = b"".join(records)
            ctypes.memmove(size, struct.pack("=I", len(contents)), 4)
            if buffer is not None:
                ctypes.memmove(buffer, contents, len(contents))
            return buffer is not None

    monkeypatch.setattr(ctypes, "WinDLL", Kernel, raising=False)
    assert cores.windows_cores() == expected


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32", "freebsd14"])
def test_there_is_a_core_wherever_nothing_is_told(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    monkeypatch.delattr(ctypes, "WinDLL", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    assert cores.available_cores() == 1


def test_the_quota_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "quota", lambda: 1)
    assert cores.available_cores() == 1


@pytest.mark.parametrize(
    ("files", "own", "granted"),
    [
        ({}, "0::/", 64),
        ({"cpu.max": "max 100000\n"}, "0::/", 64),
        ({"cpu.max": "150000 100000\n"}, "0::/", 2),
        ({"cpu.max": "5000 100000\n"}, "0::/", 1),
        ({"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, "0::/a/b", 3),
        ({"a/b/cpu.max": "100000 100000\n", "a/cpu.max": "300000 100000\n"}, "0::/a/b", 1),
        ({"cpu.max": "200000 100000\n"}, "0::/not/seen/here", 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "4:cpu,cpuacct:/x", 64),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, "4:cpu,cpuacct:/x", 3),
        (
            {"cpu/x/cpu.cfs_quota_us": "50000\n", "cpu/x/cpu.cfs_period_us": "100000\n"},
            "2:cpuset:/\n1:cpu:/x",
            1,
        ),
    ],
)
def test_control_groups(
    files: dict[str, str], own: str, granted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    for name, text in files.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "own").write_text(own + "\n")
    assert cores.quota(tmp_path / "groups", tmp_path / "own") == granted
    assert cores.quota(tmp_path / "groups", tmp_path / "missing") >= granted
