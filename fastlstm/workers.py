"""The threads: plain Python threads that run one nogil program together and share its atoms by tickets.

The caller works too and never waits for a helper to arrive: a helper that is late finds fewer tickets, or none. So a
busy pool, a fork or a single core change how long a program takes and nothing else.
"""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from fastlstm.errors import FastLSTMError
from fastlstm.kernels.tickets import new_board

# Below so many floating-point operations, waking a helper costs more than it brings.
SMALL_WORK = 3e6


class Helper(threading.Thread):
    """One thread that waits for jobs."""

    def __init__(self, number: int) -> None:
        super().__init__(name=f"fastlstm-{number}", daemon=True)
        self.box: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.wake, self.idle = threading.Semaphore(0), threading.Event()
        self.idle.set()
        self.start()

    def run(self) -> None:
        while True:
            self.wake.acquire()
            # Before looking into the box: whoever empties it and then finds this thread idle is alone.
            self.idle.clear()
            try:
                self.work()
            finally:
                self.idle.set()

    def work(self) -> None:
        """Run the job in the box, unless the caller finished alone and took it back."""
        try:
            program, arguments = self.box.pop()
        except IndexError:
            return
        program(*arguments)

    def give(self, program: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self.box.append((program, arguments))
        self.wake.release()

    def join_job(self) -> None:
        """Take the job back if it was not begun, else wait until it has ended."""
        self.box.clear()
        self.idle.wait()


class Pool:
    """The helpers of this process; one program uses them at a time, others run on their caller's thread alone."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.helpers: list[Helper] = []

    def run(self, program: Callable[..., None], arguments: tuple[Any, ...], workers: int) -> None:
        board = new_board()
        arguments = (*arguments, board)
        if workers < 2 or not self.lock.acquire(blocking=False):
            program(*arguments)
            return
        engaged: list[Helper] = []
        try:
            self.grow(workers - 1)
            engaged = self.helpers[: workers - 1]
            for helper in engaged:
                helper.give(program, arguments)
            program(*arguments)
        finally:
            interrupted = join_all(engaged)
            self.lock.release()
        if interrupted is not None:
            raise interrupted

    def grow(self, helpers: int) -> None:
        """Start helpers until there are so many, or the system grants no more threads."""
        try:
            while len(self.helpers) < helpers:
                self.helpers.append(Helper(len(self.helpers) + 1))
        except RuntimeError:
            return


def join_all(helpers: list[Helper]) -> BaseException | None:
    """Wait for all helpers whatever comes: no thread may outlive the arrays it works on."""
    interrupted = None
    while True:
        try:
            for helper in helpers:
                helper.join_job()
            return interrupted
        except BaseException as error:
            interrupted = error


_pool = Pool()


def _after_fork() -> None:
    """A child has none of its parent's threads."""
    global _pool
    _pool = Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def run(program: Callable[..., None], *arguments: Any, threads: int | None = None, work: float = 0.0) -> None:
    """Run program(*arguments, board) on up to `threads` threads; `work` is its floating-point operations."""
    count = thread_count(threads)
    _pool.run(program, arguments, 1 if work < SMALL_WORK else count)


_available: int | None = None


def thread_count(threads: int | None = None) -> int:
    """`threads`, else FASTLSTM_NUM_THREADS, else the physical cores that this process may use."""
    global _available
    if threads is not None:
        return checked(threads, "threads")
    setting = os.environ.get("FASTLSTM_NUM_THREADS")
    if setting:
        return checked(setting, "FASTLSTM_NUM_THREADS")
    if _available is None:
        _available = available_cores()
    return _available


def checked(value: int | str, name: str) -> int:
    try:
        count = int(value) if isinstance(value, str) else operator.index(value)
    except (TypeError, ValueError):
        count = 0
    if count < 1:
        raise FastLSTMError(f"{name} is {value!r}; it must be a whole number of at least 1")
    return count


def available_cores() -> int:
    """Distinct physical cores within this process's affinity, at most the control group's quota."""
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = {physical_core(cpu) for cpu in cpus}
    return max(1, min(len(cores), quota()))


def physical_core(cpu: int) -> tuple[str, str]:
    """The package and core that a logical processor belongs to; itself where the system does not say."""
    place = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
    try:
        return (place / "physical_package_id").read_text().strip(), (place / "core_id").read_text().strip()
    except OSError:
        return "", str(cpu)


def quota(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """Whole processors that this process's control groups (version 2 or 1) grant, rounded up."""
    try:
        own = next(line[3:] for line in membership.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        own = "/"
    # A limit of any group above holds too; within a container all of them may be out of sight.
    parts = PurePosixPath(own).parts[1:]
    groups = [root.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
    return min([os.cpu_count() or 1, *(granted(group) for group in groups)])


def granted(group: Path) -> int:
    """Whole processors that one control group grants, rounded up; all where it sets no limit."""
    try:
        limit, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            old = group / "cpu"
            limit, period = ((old / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return os.cpu_count() or 1
    if limit.strip() in ("max", "-1"):
        return os.cpu_count() or 1
    return max(1, -(-int(limit) // int(period)))
