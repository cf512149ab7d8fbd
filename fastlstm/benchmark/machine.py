"""The machine and the software that a figure belongs to, and a process's memory."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from fastlstm.engine.cores import allowed
from fastlstm.errors import FastLSTMError

PACKAGES = ("fastlstm", "numpy", "numba", "llvmlite", "torch", "jax", "jaxlib", "onnx", "onnxruntime")


def describe() -> dict[str, Any]:
    """CPU, cores this process may use, system, versions, and the commit if run from a git checkout."""
    return {
        "cpu": cpu_name(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {package: version for package in PACKAGES if (version := installed_version(package))},
        **commit(),
    }


def cpu_name() -> str:
    """The CPU's name with what tells models of one name apart, as the system gives it; else as the compiler does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if {"model name", "cpu family", "model"} <= told.keys():
        return f"{told['model name']} (family {told['cpu family']}, model {told['model']})"
    return told.get("model name", f"{platform.machine()} ({llvm.get_host_cpu_name()})")


def cores() -> int:
    """The cores this process may run on."""
    return len(list(allowed()))


def installed_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit() -> dict[str, Any]:
    """The commit the package was run from, and whether files differed from it; None outside a checkout."""
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)
        return {"commit": git("rev-parse", "HEAD"), "modified": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "modified": None}


def resident_memory() -> int:
    """Bytes of this process in memory now; where the system allows, the count of its peak starts anew."""
    if sys.platform == "win32":
        return windows_memory()[1]
    try:
        now = linux_memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        command = ["ps", "-o", "rss=", "-p", str(os.getpid())]
        return int(subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout) * 1024
    return now


def peak_memory() -> int:
    """The most bytes of this process that were in memory at a time."""
    if sys.platform == "win32":
        return windows_memory()[0]
    try:
        return linux_memory("VmHWM")
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def linux_memory(what: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split(f"{what}:")[1].split()[0]) * 1024


def windows_memory() -> tuple[int, int]:
    """The peak of this process's working set and its size now: of PROCESS_MEMORY_COUNTERS."""
    counters = ctypes.create_string_buffer(72)
    kernel: Any = getattr(ctypes, "WinDLL")("kernel32")  # noqa: B009, only there is it known
    if not kernel.K32GetProcessMemoryInfo(ctypes.c_void_p(-1), counters, len(counters)):
        raise FastLSTMError("Windows does not say how much memory this process has")
    peak, now = struct.unpack_from("<8xQQ", counters)
    return peak, now
