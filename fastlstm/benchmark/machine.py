"""The machine and the software that a figure belongs to, and a process's memory."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

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
    """The CPU's name with what tells models of one name apart, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = told.get("model name", platform.machine())
    return f"{name} (family {told['cpu family']}, model {told['model']})" if "cpu family" in told else name


def cores() -> int:
    """The cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)
        return {"commit": git("rev-parse", "HEAD"), "modified": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "modified": None}


def resident_memory() -> int:
    """Bytes of this process in memory now; where the system allows, the count of its peak starts anew."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return peak_memory()
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_memory() -> int:
    """The most bytes of this process that were in memory at a time."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if platform.system() == "Darwin" else peak * 1024
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
