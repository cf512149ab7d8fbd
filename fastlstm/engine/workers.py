"""The threads: plain Python threads that run one nogil program together and share its atoms by tickets.

The caller works too and never waits for a helper to arrive: a helper that is late finds fewer tickets, or none, or a
closed board. So a busy pool, a fork or a single core change how long a program takes and nothing else.
"""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from fastlstm.engine.cores import MOST_THREADS, available_cores
from fastlstm.engine.kernels.native import native
from fastlstm.engine.kernels.records import address
from fastlstm.engine.kernels.tickets import close, new_bell, new_board
from fastlstm.errors import FastLSTMError, quoted

# Below so many floating-point operations, waking a helper costs more than it brings.
SMALL_WORK = 3e6
# So many pauses a helper listens after a program before it sleeps.
PATIENCE = 4000


class Crew(NamedTuple):
    """At most `size` threads of somebody else's, in the helpers' place.

    `together` is given the address of a C function and of its argument: it calls the function so many times at once, once
    of them on the caller's thread, and returns when all have ended.
    """

    size: int
    together: Callable[[int, int, int], None]


class Job(NamedTuple):
    """A program with its arguments, all but a guest's patience."""

    program: Callable[..., None]
    arguments: tuple[Any, ...]


class Helper(threading.Thread):
    """One thread that is a guest in the callers' programs."""

    def __init__(self, number: int) -> None:
        super().__init__(name=f"fastlstm-{number}", daemon=True)
        self.job: Job | None = None
        self.lock, self.wake = threading.Lock(), threading.Lock()
        self.wake.acquire()
        self.asleep = False
        self.start()

    def run(self) -> None:
        while True:
            if not self.work():
                self.wake.acquire()

    def work(self) -> bool:
        """Run the job that is waiting; without one, return to be woken."""
        with self.lock:
            job, self.job = self.job, None
            self.asleep = job is None
        if job is None:
            return False
        # It ends with a while of listening: what comes next is found in this loop, without the system's help.
        job.program(*job.arguments, PATIENCE)
        return True

    def give(self, job: Job) -> None:
        with self.lock:
            self.job = job
            if self.asleep:
                # Nothing between these two can be interrupted: a helper that nobody wakes would be lost.
                self.asleep = False
                self.wake.release()


class Pool:
    """The helpers of this process; one program uses them at a time, others run on their caller's thread alone."""

    def __init__(self) -> None:
        # Who runs a program, or nobody. Not a lock: whoever is interrupted while taking one cannot tell whether it is theirs.
        self.turn: dict[str, object] = {}
        self.helpers: list[Helper] = []
        self.bell, self.rings = new_bell(), 0

    def run(
        self, program: Callable[..., None], arguments: tuple[Any, ...], workers: int, crew: Crew | None
    ) -> None:
        mine, board, interrupted = object(), None, None
        try:
            if workers < 2 or self.turn.setdefault("whose", mine) is not mine:
                program(*arguments, new_board(), 0)
                return
            self.rings += 1
            board = new_board(self.bell, self.rings)
            job = Job(program, (*arguments, board))
            if crew is not None:
                function, argument = native(program, job.arguments)
                crew.together(function, address(argument), workers)
            else:
                self.grow(workers - 1)
                for helper in self.helpers[: workers - 1]:
                    helper.give(job)
                program(*job.arguments, 0)
        finally:
            # Whatever comes, no guest may outlive the arrays it works on; one that comes late finds the board closed.
            while board is not None:
                try:
                    close(board)
                    break
                except BaseException as error:
                    interrupted = error
            # Without a call, after which Python would look for signals.
            if "whose" in self.turn and self.turn["whose"] is mine:
                del self.turn["whose"]
        if interrupted is not None:
            raise interrupted

    def grow(self, helpers: int) -> None:
        """Start helpers until there are so many, or the system grants no more threads."""
        try:
            while len(self.helpers) < helpers:
                self.helpers.append(Helper(len(self.helpers) + 1))
        except RuntimeError:
            return


_pool = Pool()


def _after_fork() -> None:
    """A child has none of its parent's threads."""
    global _pool
    _pool = Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


Threads = int | Crew | None
"""How many threads at most, by default as `thread_count` says, or whose."""


def run(program: Callable[..., None], *arguments: Any, threads: Threads = None, work: float = 0.0) -> None:
    """Run program(*arguments, board) on up to `threads` threads; `work` is its floating-point operations."""
    crew, count = (threads, threads.size) if isinstance(threads, Crew) else (None, thread_count(threads))
    _pool.run(program, arguments, 1 if work < SMALL_WORK else count, crew)


_available: int | None = None


def thread_count(threads: int | None = None) -> int:
    """`threads`, else FASTLSTM_NUM_THREADS, else the cores that this process may use, as `cores` counts them."""
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
    if not 1 <= count <= MOST_THREADS:
        raise FastLSTMError(
            f"{name} is {quoted(value)}; it must be a whole number from 1 to {MOST_THREADS:,}"
        )
    return count
