"""How many threads a program should have: the cores that this process may use, as each system tells them.

A core counts once however many hardware threads it has, and only beside equals: the phases of a program end with their
last atom, so one core of half the others' speed would hold them up.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

MOST_THREADS = 2**10
CPUS = Path("/sys/devices/system/cpu")


def available_cores() -> int:
    """Distinct physical cores within this process's affinity, the slow ones left out; at most its groups' quota."""
    cores = {"darwin": macos_cores, "win32": windows_cores}.get(sys.platform, linux_cores)()
    return max(1, min(cores or os.cpu_count() or 1, quota()))


def allowed() -> Iterable[int]:
    """The logical processors that this process may run on; all where the system does not say."""
    affinity: Any = getattr(os, "sched_getaffinity", None)
    return affinity(0) if affinity else range(os.cpu_count() or 1)


def linux_cores() -> int:
    """Groups of hardware threads that are one core, with at least half of the fastest one's capacity."""
    cores = {told(cpu, "topology/thread_siblings_list") or str(cpu): capacity(cpu) for cpu in allowed()}
    return sum(2 * speed >= max(cores.values()) for speed in cores.values())


def told(cpu: int, name: str) -> str:
    """What Linux says of a logical processor; nothing where it does not."""
    try:
        return (CPUS / f"cpu{cpu}" / name).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def capacity(cpu: int) -> int:
    """The speed of a logical processor: 1024 is the fastest's, and everyone's where they are all alike."""
    return int(told(cpu, "cpu_capacity") or 1024)


def macos_cores() -> int:
    """Performance cores, or all where there is only one kind; 0 where macOS does not say."""
    try:
        ask: Any = ctypes.CDLL(None).sysctlbyname
    except (OSError, AttributeError):
        return 0
    for name in (b"hw.perflevel0.physicalcpu", b"hw.physicalcpu"):
        value, size = ctypes.c_int64(0), ctypes.c_size_t(8)
        if not ask(name, ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)):
            return value.value
    return 0


def windows_cores() -> int:
    """Cores of the fastest class that this process's affinity touches; 0 where Windows does not say."""
    library: Any = getattr(ctypes, "WinDLL", None)
    if library is None:
        return 0
    kernel = library("kernel32")
    own, whole, size = ctypes.c_size_t(0), ctypes.c_size_t(0), ctypes.c_uint32(0)
    # -1 is this process's own handle.
    kernel.GetProcessAffinityMask(ctypes.c_void_p(-1), ctypes.byref(own), ctypes.byref(whole))
    kernel.GetLogicalProcessorInformationEx(0, None, ctypes.byref(size))
    records = ctypes.create_string_buffer(size.value)
    if not kernel.GetLogicalProcessorInformationEx(0, records, ctypes.byref(size)):
        return 0
    return fastest_cores(records.raw[: size.value], own.value)


def fastest_cores(records: bytes, affinity: int) -> int:
    """Cores of the highest efficiency class among PROCESSOR_RELATIONSHIP records, of those that `affinity` touches.

    An affinity of 0 is that of a process which may use more than one group of 64 processors: all of them.
    """
    classes, place = [], 0
    while place < len(records):
        length, efficiency, mask, group = struct.unpack_from("<4xIxB22xQH", records, place)
        if not affinity or (group == 0 and mask & affinity):
            classes.append(efficiency)
        place += length
    return classes.count(max(classes, default=0))


def quota(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """Whole processors that this process's control groups (version 2 or 1) grant, rounded up."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    # Within a container a group's own place may be out of sight, and the container's is the root.
    groups = [root, root / "cpu"]
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            place = root / "cpu" if controllers else root
            # A limit of any group above holds too.
            parts = PurePosixPath(own).parts[1:]
            groups += [place.joinpath(*parts[: depth + 1]) for depth in range(len(parts))]
    return min([os.cpu_count() or 1, *(granted(group) for group in groups)])


def granted(group: Path) -> int:
    """Whole processors that one control group grants, rounded up; all where it sets no limit."""
    try:
        limit, period = (group / "cpu.max").read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        try:
            old = [group / f"cpu.cfs_{name}_us" for name in ("quota", "period")]
            limit, period = (file.read_text(encoding="utf-8") for file in old)
        except OSError:
            return os.cpu_count() or 1
    if limit.strip() in ("max", "-1"):
        return os.cpu_count() or 1
    return max(1, -(-int(limit) // int(period)))
